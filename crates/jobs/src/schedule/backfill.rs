//! Runs chosen intervals of one job, again if need be.

use std::num::NonZeroUsize;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::{
    CancellationToken, Clock, IntervalRunner, JobEvent, RunCounts, RunOutcome,
    ScheduleEvent, ScheduledJob, StopRequest,
};
use crate::Interval;

/// Intervals of one job that are to be run now.
#[derive(Debug)]
pub struct Backfill<'a, R, C> {
    /// The job.
    pub job: &'a ScheduledJob,
    /// The intervals, in the order in which they start.
    pub intervals: Vec<Interval>,
    /// How many run at once.
    pub parallel: NonZeroUsize,
    /// Leave out intervals of which a run has succeeded.
    pub missing_only: bool,
    /// Runs them.
    pub runner: &'a R,
    /// Tells the time.
    pub clock: &'a C,
}

impl<R: IntervalRunner, C: Clock> Backfill<'_, R, C> {
    /// Runs the intervals, also after one that failed, until told to stop.
    pub async fn run(
        self,
        mut stop: watch::Receiver<StopRequest>,
        mut tell: impl FnMut(JobEvent<'_>),
    ) -> RunCounts {
        let cancel = CancellationToken::new();
        let watched = stop.clone();
        let going = || *watched.borrow() == StopRequest::Go;
        let (events, mut happened) = tokio::sync::mpsc::unbounded_channel();
        let (this, cancel_all) = (&self, &cancel);
        let runs = stream::iter(self.intervals.iter().copied())
            .take_while(|_| std::future::ready(going()))
            .map(|interval| {
                let events = events.clone();
                async move {
                    let began = this.clock.now();
                    let again = false;
                    // The receiver outlives the runs.
                    let _ =
                        events.send((began, ScheduleEvent::Started { interval, again }));
                    let outcome = this.attempt(interval, cancel_all.child_token()).await;
                    let now = this.clock.now();
                    let seconds = seconds_between(began, now);
                    let ended = ScheduleEvent::Ended {
                        interval,
                        outcome,
                        seconds,
                    };
                    let _ = events.send((now, ended));
                }
            })
            .buffer_unordered(self.parallel.get())
            .for_each(std::future::ready);
        let mut runs = std::pin::pin!(runs);
        let mut summary = RunCounts::default();
        let mut note = |(at, what): (DateTime<Utc>, ScheduleEvent)| {
            summary.count(&what);
            let job = this.job;
            tell(JobEvent { at, job, what });
        };
        let mut stoppable = true;
        loop {
            tokio::select! {
                biased;
                Some(event) = happened.recv() => note(event),
                () = &mut runs => break,
                changed = stop.changed(), if stoppable => {
                    stoppable = changed.is_ok();
                    if *stop.borrow() == StopRequest::Cancel {
                        cancel.cancel();
                    }
                }
            }
        }
        while let Ok(event) = happened.try_recv() {
            note(event);
        }
        summary
    }

    async fn attempt(&self, interval: Interval, cancel: CancellationToken) -> RunOutcome {
        if self.missing_only {
            match self.runner.succeeded(self.job, interval).await {
                Ok(true) => return RunOutcome::AlreadyDone,
                Ok(false) => {}
                Err(reason) => return RunOutcome::Failed(reason),
            }
        }
        self.runner.run(self.job, interval, cancel).await
    }
}

fn seconds_between(start: DateTime<Utc>, end: DateTime<Utc>) -> f64 {
    (end - start).as_seconds_f64()
}
