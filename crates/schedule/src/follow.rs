//! Follows the time: sees ticks, starts runs, and takes note of their ends.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use crate::line::{Line, Why};
use crate::{
    CancellationToken, Clock, Error, Interval, Job, Jobs, Outcome, Runner, Store,
};

/// How long to sleep when nothing is to come.
const LONG: TimeDelta = TimeDelta::hours(1);

/// How long to follow a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Until told to stop.
    Forever,
    /// Until everything has run that is due at the start.
    Once,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    Go,
    /// Start nothing more, and wait for what runs.
    Drain,
    /// Cancel what runs. Its intervals run again with the next start.
    Cancel,
}

/// Something that happened to a job.
#[derive(Debug)]
pub struct Event<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// To which job.
    pub job: &'a Job,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
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
        outcome: Outcome,
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
        why: Why,
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
pub struct Summary {
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

impl Summary {
    pub(crate) fn count(&mut self, what: &Happening) {
        match what {
            Happening::Ended { outcome, .. } => match outcome {
                Outcome::Succeeded | Outcome::AlreadyDone => self.succeeded += 1,
                Outcome::Failed(_) | Outcome::TimedOut => self.failed += 1,
                Outcome::Cancelled => self.cancelled += 1,
                Outcome::AlreadyRunning => self.busy += 1,
            },
            Happening::Skipped { count, .. } => self.skipped += count,
            Happening::Busy { .. } => self.busy += 1,
            _ => {}
        }
    }
}

/// A schedule, with everything it needs.
#[derive(Debug)]
pub struct Follower<'a, S, R, C> {
    /// The jobs to follow.
    pub jobs: &'a Jobs,
    /// What survives a crash.
    pub store: &'a mut S,
    /// Runs intervals.
    pub runner: &'a R,
    /// Tells the time.
    pub clock: &'a C,
}

impl<'a, S: Store, R: Runner, C: Clock> Follower<'a, S, R, C> {
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
        mode: Mode,
        mut stop: watch::Receiver<Stop>,
        mut tell: impl FnMut(Event<'_>),
    ) -> Result<Summary, Error> {
        let Self {
            jobs,
            store,
            runner,
            clock,
        } = self;
        let mut summary = Summary::default();
        let mut note = |at: DateTime<Utc>, job: &Job, what: Happening| {
            summary.count(&what);
            tell(Event { at, job, what });
        };
        let mut lines = lines(jobs, store, clock.now())?;
        for line in &lines {
            if let Some(interval) = line.upcoming() {
                note(clock.now(), line.job, Happening::Open(interval));
            }
        }
        let mut runs = FuturesUnordered::new();
        let mut first_look = true;
        let mut stoppable = true;
        loop {
            let now = clock.now();
            let level = *stop.borrow_and_update();
            let once = mode == Mode::Once;
            if level == Stop::Go && (first_look || !once) {
                see_ticks(&mut lines, store, now, (first_look, mode), &mut note)?;
                first_look = false;
            }
            while level == Stop::Go
                && runs.len() < jobs.max_parallel.get()
                && let Some((index, line)) = next_to_start(&mut lines, now)
                && let Some((interval, again, cancel)) = line.start(now)
            {
                store.save(&line.job.name, &line.state())?;
                note(now, line.job, Happening::Started { interval, again });
                runs.push(attempt(runner, index, line.job, interval, cancel));
            }
            for line in lines.iter().filter(|_| level == Stop::Cancel) {
                line.cancel(&mut |what| note(now, line.job, what));
            }
            let idle = once && lines.iter().all(|line| line.is_idle(once));
            if runs.is_empty() && (level != Stop::Go || idle) {
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
                () = clock.sleep_until(wake_at(&lines, now)), if level == Stop::Go => {}
                changed = stop.changed(), if stoppable => stoppable = changed.is_ok(),
            }
        }
    }
}

/// Lets every job see the ticks that have come.
fn see_ticks<S: Store>(
    lines: &mut [Line<'_>],
    store: &mut S,
    now: DateTime<Utc>,
    (first_look, mode): (bool, Mode),
    note: &mut impl FnMut(DateTime<Utc>, &Job, Happening),
) -> Result<(), Error> {
    for line in lines {
        let job = line.job;
        let mut tell = |what| note(now, job, what);
        if line.see(now, first_look, mode, &mut tell) {
            store.save(&job.name, &line.state())?;
        }
    }
    Ok(())
}

/// The jobs that are switched on, where their states left them.
fn lines<'a, S: Store>(
    jobs: &'a Jobs,
    store: &mut S,
    now: DateTime<Utc>,
) -> Result<Vec<Line<'a>>, Error> {
    let mut lines = Vec::new();
    for job in jobs.jobs.iter().filter(|job| job.enabled) {
        let state = store.load(&job.name)?;
        let is_new = state.is_none();
        let Some(line) = Line::new(job, state, now) else {
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
    lines: &'l mut [Line<'a>],
    now: DateTime<Utc>,
) -> Option<(usize, &'l mut Line<'a>)> {
    let ready = lines.iter_mut().enumerate().filter_map(|(index, line)| {
        let at = line.ready_at().filter(|at| *at <= now)?;
        Some((at, index, line))
    });
    let (_, index, line) = ready.min_by_key(|(at, index, _)| (*at, *index))?;
    Some((index, line))
}

/// When something is to be done, unless a run ends before.
fn wake_at(lines: &[Line<'_>], now: DateTime<Utc>) -> DateTime<Utc> {
    let ticks = lines.iter().filter_map(|line| Some(line.upcoming()?.end));
    let starts = lines.iter().filter_map(Line::ready_at);
    // What is ready now waits for another run to end.
    let next = ticks.chain(starts).filter(|at| *at > now).min();
    next.unwrap_or(now + LONG)
}

/// Runs an interval, unless that has been done.
async fn attempt<R: Runner>(
    runner: &R,
    index: usize,
    job: &Job,
    interval: Interval,
    cancel: CancellationToken,
) -> (usize, Outcome) {
    let outcome = match runner.succeeded(job, interval).await {
        Ok(true) => Outcome::AlreadyDone,
        Ok(false) => runner.run(job, interval, cancel).await,
        Err(reason) => Outcome::Failed(reason),
    };
    (index, outcome)
}
