//! One job's place in time: what waits, what runs, and what becomes of an interval when
//! its tick comes. No clock, no files, no runs: all decisions and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::follow::Happening;
use crate::{
    CancellationToken, CatchUp, Interval, Job, JobState, Last, Mode, OnFailure, Outcome,
    Overlap,
};

/// A tick that is seen later than this came while the schedule was down, or slept.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// How long to wait for a run elsewhere at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Why an interval is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its tick came while the schedule was down.
    Missed,
    /// An earlier interval of the job was running or waiting.
    Overlap,
    /// A later interval of the job took its place.
    Replaced,
}

/// The intervals of one job.
pub(crate) struct Line<'a> {
    pub(crate) job: &'a Job,
    /// The first interval whose tick has not been seen.
    upcoming: Option<Interval>,
    /// Where `upcoming` begins, or would.
    seen: DateTime<Utc>,
    /// What is to run, in this order. Each entry may be several intervals in a row.
    waiting: VecDeque<Interval>,
    /// Was started and has to be started again, before anything that waits.
    again: Option<Again>,
    running: Option<Running>,
    /// Nothing more is started until the schedule is started again.
    halted: bool,
    last: Option<Last>,
}

struct Again {
    interval: Interval,
    not_before: DateTime<Utc>,
    /// How often it was found to run elsewhere.
    times_busy: u32,
}

struct Running {
    interval: Interval,
    since: DateTime<Utc>,
    cancel: CancellationToken,
    /// Needs no other run if it is cancelled.
    replaced: bool,
    times_busy: u32,
}

/// Intervals in a row.
#[derive(Default)]
struct Stretch {
    all: Option<Interval>,
    last: Option<Interval>,
    count: u64,
}

impl Stretch {
    fn push(&mut self, next: Interval) {
        let start = self.all.map_or(next.start, |all| all.start);
        let end = next.end;
        self.all = Some(Interval { start, end });
        self.last = Some(next);
        self.count += 1;
    }

    /// Everything but the last one.
    fn without_last(&self) -> Option<(Interval, u64)> {
        let (all, last) = (self.all?, self.last?);
        let (start, end) = (all.start, last.start);
        (start < end).then_some((Interval { start, end }, self.count - 1))
    }
}

impl<'a> Line<'a> {
    /// Takes up a job where its state left it; `None` beyond the calendar's end.
    pub(crate) fn new(
        job: &'a Job,
        state: Option<JobState>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let (seen, running, last) = match state {
            Some(state) => (state.next, state.running, state.last),
            None => (job.first_start(now)?, None, None),
        };
        Some(Self {
            job,
            upcoming: job.interval_from(seen),
            seen,
            waiting: VecDeque::new(),
            again: running.map(|interval| Again {
                interval,
                not_before: now,
                times_busy: 0,
            }),
            running: None,
            halted: false,
            last,
        })
    }

    /// What a crash must not lose.
    pub(crate) fn state(&self) -> JobState {
        let next = self.waiting.front().map_or(self.seen, |first| first.start);
        let running = self.running.as_ref().map(|running| running.interval);
        let again = self.again.as_ref().map(|again| again.interval);
        JobState::new(next, running.or(again), self.last.clone())
    }

    /// The interval that is open.
    pub(crate) fn upcoming(&self) -> Option<Interval> {
        self.upcoming
    }

    /// Whether there is nothing to do before the next tick. With `once`, a run elsewhere
    /// is not waited for.
    pub(crate) fn is_idle(&self, once: bool) -> bool {
        let busy = self
            .again
            .as_ref()
            .is_some_and(|again| again.times_busy > 0);
        self.running.is_none()
            && (self.halted
                || (once && busy)
                || (self.waiting.is_empty() && self.again.is_none()))
    }

    /// Sees the ticks that have come, at the first look since the start or later.
    ///
    /// Returns whether the state has changed.
    pub(crate) fn see(
        &mut self,
        now: DateTime<Utc>,
        first_look: bool,
        mode: Mode,
        tell: &mut impl FnMut(Happening),
    ) -> bool {
        let (mut late, mut in_time) = (Stretch::default(), Stretch::default());
        while let Some(next) = self.upcoming
            && next.end <= now
        {
            match now - next.end > LATE {
                true => late.push(next),
                false => in_time.push(next),
            }
            self.seen = next.end;
            self.upcoming = self.job.interval_from(next.end);
        }
        let before = self.state();
        let accepted = self.catch_up(&late, in_time, mode, tell);
        if first_look || self.halted || !self.is_active() {
            self.wait(accepted.all);
        } else {
            self.overlap(&accepted, tell);
        }
        self.state() != before
    }

    /// What is left to run of intervals whose ticks were missed and of those in time.
    fn catch_up(
        &mut self,
        late: &Stretch,
        mut in_time: Stretch,
        mode: Mode,
        tell: &mut impl FnMut(Happening),
    ) -> Stretch {
        let Some(missed) = late.all else {
            return in_time;
        };
        let latest = match (self.job.catch_up, mode) {
            (CatchUp::All, _) => {
                in_time.all = Some(Interval {
                    start: missed.start,
                    end: in_time.all.map_or(missed.end, |all| all.end),
                });
                in_time.last = in_time.last.or(late.last);
                in_time.count += late.count;
                return in_time;
            }
            // Whoever asks for one look wants to see something run.
            (CatchUp::Latest, _) | (CatchUp::None, Mode::Once) => true,
            (CatchUp::None, Mode::Forever) => false,
        };
        if latest {
            self.drop_waiting(Why::Missed, tell);
        }
        if latest && in_time.all.is_none() {
            if let Some((interval, count)) = late.without_last() {
                tell(skipped(interval, count, Why::Missed));
            }
            return Stretch {
                all: late.last,
                last: late.last,
                count: 1,
            };
        }
        tell(skipped(missed, late.count, Why::Missed));
        in_time
    }

    /// What becomes of intervals that close while others run or wait.
    fn overlap(&mut self, closed: &Stretch, tell: &mut impl FnMut(Happening)) {
        let (Some(all), Some(last)) = (closed.all, closed.last) else {
            return;
        };
        match self.job.overlap {
            Overlap::Queue => self.wait(Some(all)),
            Overlap::Skip => tell(skipped(all, closed.count, Why::Overlap)),
            Overlap::Cancel => {
                if let Some(again) = self.again.take() {
                    tell(skipped(again.interval, 1, Why::Replaced));
                }
                self.drop_waiting(Why::Replaced, tell);
                if let Some((interval, count)) = closed.without_last() {
                    tell(skipped(interval, count, Why::Replaced));
                }
                if let Some(running) = &mut self.running {
                    running.replaced = true;
                    running.cancel.cancel();
                    let interval = running.interval;
                    tell(Happening::Cancelling { interval });
                }
                self.wait(Some(last));
            }
        }
    }

    fn is_active(&self) -> bool {
        self.running.is_some() || self.again.is_some() || !self.waiting.is_empty()
    }

    fn wait(&mut self, stretch: Option<Interval>) {
        match (stretch, self.waiting.back_mut()) {
            (Some(new), Some(last)) if last.end == new.start => last.end = new.end,
            (Some(new), _) => self.waiting.push_back(new),
            (None, _) => {}
        }
    }

    fn drop_waiting(&mut self, why: Why, tell: &mut impl FnMut(Happening)) {
        for stretch in std::mem::take(&mut self.waiting) {
            let starts = std::iter::successors(Some(stretch.start), |start| {
                self.job.cron.after(*start)
            });
            let count = starts.take_while(|start| *start < stretch.end).count();
            tell(skipped(stretch, count as u64, why));
        }
    }

    /// When the next run may start, unless one is running.
    pub(crate) fn ready_at(&self) -> Option<DateTime<Utc>> {
        if self.running.is_some() || self.halted {
            return None;
        }
        if let Some(again) = &self.again {
            return Some(again.not_before);
        }
        let interval = self.front()?;
        let delay = TimeDelta::from_std(self.job.delay(interval)).ok()?;
        interval.end.checked_add_signed(delay)
    }

    /// The first interval that waits.
    fn front(&self) -> Option<Interval> {
        let stretch = self.waiting.front()?;
        let first = self.job.interval_from(stretch.start)?;
        // A stretch ends with a tick, but the expression may have changed since.
        let end = first.end.min(stretch.end);
        Some(Interval { end, ..first })
    }

    /// Takes the interval to start now. The state has to be saved before it starts.
    pub(crate) fn start(
        &mut self,
        now: DateTime<Utc>,
    ) -> Option<(Interval, bool, CancellationToken)> {
        let (interval, again, times_busy) = match self.again.take() {
            Some(again) => (again.interval, true, again.times_busy),
            None => {
                let interval = self.front()?;
                let stretch = self.waiting.front_mut()?;
                stretch.start = interval.end;
                if stretch.start >= stretch.end {
                    self.waiting.pop_front();
                }
                (interval, false, 0)
            }
        };
        let cancel = CancellationToken::new();
        self.running = Some(Running {
            interval,
            since: now,
            cancel: cancel.clone(),
            replaced: false,
            times_busy,
        });
        Some((interval, again, cancel))
    }

    /// Asks what runs to end; its interval stays to be done.
    pub(crate) fn cancel(&self, tell: &mut impl FnMut(Happening)) {
        if let Some(running) = &self.running
            && !running.cancel.is_cancelled()
        {
            running.cancel.cancel();
            let interval = running.interval;
            tell(Happening::Cancelling { interval });
        }
    }

    /// Takes note of a run's end.
    pub(crate) fn end(
        &mut self,
        outcome: Outcome,
        now: DateTime<Utc>,
        tell: &mut impl FnMut(Happening),
    ) {
        let Some(run) = self.running.take() else {
            return;
        };
        let interval = run.interval;
        let (interrupted, busy) = match &outcome {
            Outcome::Cancelled => (run.cancel.is_cancelled() && !run.replaced, false),
            Outcome::AlreadyRunning => (false, !run.replaced),
            _ => (false, false),
        };
        let halts = outcome.is_failure() && self.job.on_failure == OnFailure::Stop;
        if busy {
            let wait = PATIENCE.0 * 2_u32.saturating_pow(run.times_busy.min(10));
            let wait = TimeDelta::from_std(wait.min(PATIENCE.1)).unwrap_or(LATE);
            let not_before = now + wait;
            self.again = Some(Again {
                interval,
                not_before,
                times_busy: run.times_busy + 1,
            });
            tell(Happening::Busy {
                interval,
                until: not_before,
            });
            return;
        }
        if interrupted || halts {
            self.again = Some(Again {
                interval,
                not_before: now,
                times_busy: 0,
            });
            self.halted = halts;
        }
        self.last = Some(Last {
            interval,
            outcome: outcome.clone(),
            at: now,
        });
        let seconds = (now - run.since).as_seconds_f64();
        tell(Happening::Ended {
            interval,
            outcome,
            seconds,
        });
        if halts {
            tell(Happening::Halted { interval });
        }
    }
}

fn skipped(interval: Interval, count: u64, why: Why) -> Happening {
    Happening::Skipped {
        interval,
        count,
        why,
    }
}
