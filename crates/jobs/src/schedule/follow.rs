//! The loop of a schedule: sees the ticks that have come, starts runs, and writes down how
//! they end.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::job_intervals::{JobIntervals, Look, SkipReason, StartedRun};
use super::{Clock, IntervalRunner, JobFile, RunOutcome, ScheduledJob, StateStore};
use crate::{Error, Interval};

/// How long to sleep when no job has a tick to come.
const LONG: TimeDelta = TimeDelta::hours(1);

/// How long to follow a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowMode {
    /// Until told to stop.
    Forever,
    /// Until everything has run that is due at the start.
    Once,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopRequest {
    /// Go on.
    Go,
    /// Start nothing more, and wait for what runs.
    Drain,
    /// Cancel what runs. Its intervals run again with the next start.
    Cancel,
}

/// Something that happened to a job.
#[derive(Debug)]
pub struct JobEvent<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// To which job.
    pub job: &'a ScheduledJob,
    /// What.
    pub what: ScheduleEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleEvent {
    /// The job is followed; this interval is open.
    Open(Interval),
    /// A run started.
    Started {
        /// What it is for.
        interval: Interval,
        /// It was started before and has not finished.
        again: bool,
    },
    /// A run ended.
    Ended {
        /// What it was for.
        interval: Interval,
        /// How it ended.
        outcome: RunOutcome,
        /// How long it took.
        seconds: f64,
    },
    /// Intervals are left out.
    Skipped {
        /// All of them together.
        interval: Interval,
        /// How many they are.
        count: u64,
        /// Why.
        why: SkipReason,
    },
    /// A run was asked to end.
    Cancelling {
        /// What it is for.
        interval: Interval,
    },
    /// Another process runs the interval.
    Busy {
        /// The interval.
        interval: Interval,
        /// When it is tried again.
        until: DateTime<Utc>,
    },
    /// A failed run stops its job.
    Halted {
        /// What it was for.
        interval: Interval,
    },
}

/// How many runs ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// They did all they were to do, now or before.
    pub succeeded: u64,
    /// They failed or took too long.
    pub failed: u64,
    /// They were cancelled.
    pub cancelled: u64,
    /// Intervals that were left out.
    pub skipped: u64,
    /// They run in another process.
    pub busy: u64,
}

impl RunCounts {
    pub(crate) fn count(&mut self, what: &ScheduleEvent) {
        match what {
            ScheduleEvent::Ended { outcome, .. } => match outcome {
                RunOutcome::Succeeded | RunOutcome::AlreadyDone => self.succeeded += 1,
                RunOutcome::Failed(_) | RunOutcome::TimedOut => self.failed += 1,
                RunOutcome::Cancelled => self.cancelled += 1,
                RunOutcome::AlreadyRunning => self.busy += 1,
            },
            ScheduleEvent::Skipped { count, .. } => self.skipped += count,
            ScheduleEvent::Busy { .. } => self.busy += 1,
            _ => {}
        }
    }
}

/// A schedule, with everything it needs.
#[derive(Debug)]
pub struct Follower<'a, S, R, C> {
    /// The jobs to follow.
    pub jobs: &'a JobFile,
    /// What survives a crash.
    pub store: &'a mut S,
    /// Runs intervals.
    pub runner: &'a R,
    /// Tells the time.
    pub clock: &'a C,
}

impl<'a, S: StateStore, R: IntervalRunner, C: Clock> Follower<'a, S, R, C> {
    /// Follows the schedule.
    ///
    /// Dropping the future ends all runs at once; whoever follows the schedule next
    /// starts their intervals again.
    ///
    /// # Errors
    ///
    /// If the store fails, since what it does not remember would run twice. All runs
    /// end.
    pub async fn follow(
        self,
        mode: FollowMode,
        mut stop: watch::Receiver<StopRequest>,
        mut tell: impl FnMut(JobEvent<'_>),
    ) -> Result<RunCounts, Error> {
        let Self {
            jobs,
            store,
            runner,
            clock,
        } = self;
        let mut summary = RunCounts::default();
        let mut note = |at: DateTime<Utc>, job: &ScheduledJob, what: ScheduleEvent| {
            summary.count(&what);
            tell(JobEvent { at, job, what });
        };
        let mut lines = lines(jobs, store, clock.now())?;
        for line in &lines {
            if let Some(interval) = line.upcoming() {
                note(clock.now(), line.job, ScheduleEvent::Open(interval));
            }
        }
        let mut runs = FuturesUnordered::new();
        let mut first_look = true;
        let mut stoppable = true;
        loop {
            let now = clock.now();
            let level = *stop.borrow_and_update();
            let once = mode == FollowMode::Once;
            if level == StopRequest::Go && (first_look || !once) {
                let look = Look {
                    is_first: first_look,
                    mode,
                };
                see_ticks(&mut lines, store, now, look, &mut note)?;
                first_look = false;
            }
            while level == StopRequest::Go
                && runs.len() < jobs.max_parallel.get()
                && let Some((index, line)) = next_to_start(&mut lines, now)
                && let Some(started) = line.start(now)
            {
                store.save(&line.job.name, &line.state())?;
                let (interval, again) = (started.interval, started.again);
                note(now, line.job, ScheduleEvent::Started { interval, again });
                runs.push(attempt(runner, index, line.job, started));
            }
            for line in lines.iter().filter(|_| level == StopRequest::Cancel) {
                line.cancel(&mut |what| note(now, line.job, what));
            }
            let idle = once && lines.iter().all(|line| line.is_idle(mode));
            if runs.is_empty() && (level != StopRequest::Go || idle) {
                return Ok(summary);
            }
            tokio::select! {
                Some((index, outcome)) = runs.next() => {
                    let now = clock.now();
                    if let Some(line) = lines.get_mut(index) {
                        let job = line.job;
                        line.end(outcome, now, &mut |what| note(now, job, what));
                        store.save(&job.name, &line.state())?;
                    }
                }
                () = clock.sleep_until(wake_at(&lines, now)), if level == StopRequest::Go => {}
                changed = stop.changed(), if stoppable => stoppable = changed.is_ok(),
            }
        }
    }
}

/// Lets every job see the ticks that have come.
fn see_ticks<S: StateStore>(
    lines: &mut [JobIntervals<'_>],
    store: &mut S,
    now: DateTime<Utc>,
    look: Look,
    note: &mut impl FnMut(DateTime<Utc>, &ScheduledJob, ScheduleEvent),
) -> Result<(), Error> {
    for line in lines {
        let job = line.job;
        let mut tell = |what| note(now, job, what);
        if line.see(now, look, &mut tell) {
            store.save(&job.name, &line.state())?;
        }
    }
    Ok(())
}

/// The jobs that are switched on, where their states left them.
fn lines<'a, S: StateStore>(
    jobs: &'a JobFile,
    store: &mut S,
    now: DateTime<Utc>,
) -> Result<Vec<JobIntervals<'a>>, Error> {
    let mut lines = Vec::new();
    for job in jobs.jobs.iter().filter(|job| job.enabled) {
        let state = store.load(&job.name)?;
        let is_new = state.is_none();
        let Some(line) = JobIntervals::new(job, state, now) else {
            continue;
        };
        if is_new {
            // Where it begins must not move with the next start.
            store.save(&job.name, &line.state())?;
        }
        lines.push(line);
    }
    Ok(lines)
}

/// The job whose run has been ready for longest.
fn next_to_start<'l, 'a>(
    lines: &'l mut [JobIntervals<'a>],
    now: DateTime<Utc>,
) -> Option<(usize, &'l mut JobIntervals<'a>)> {
    let ready = lines.iter_mut().enumerate().filter_map(|(index, line)| {
        let at = line.ready_at().filter(|at| *at <= now)?;
        Some((at, index, line))
    });
    let (_, index, line) = ready.min_by_key(|(at, index, _)| (*at, *index))?;
    Some((index, line))
}

/// When something is to be done, unless a run ends before.
fn wake_at(lines: &[JobIntervals<'_>], now: DateTime<Utc>) -> DateTime<Utc> {
    let ticks = lines.iter().filter_map(|line| Some(line.upcoming()?.end));
    let starts = lines.iter().filter_map(JobIntervals::ready_at);
    // What is ready now waits for another run to end.
    let next = ticks.chain(starts).filter(|at| *at > now).min();
    next.unwrap_or(now + LONG)
}

/// Runs an interval, unless that has been done.
async fn attempt<R: IntervalRunner>(
    runner: &R,
    index: usize,
    job: &ScheduledJob,
    run: StartedRun,
) -> (usize, RunOutcome) {
    let outcome = match runner.succeeded(job, run.interval).await {
        Ok(true) => RunOutcome::AlreadyDone,
        Ok(false) => runner.run(job, run.interval, run.cancel).await,
        Err(reason) => RunOutcome::Failed(reason),
    };
    (index, outcome)
}
