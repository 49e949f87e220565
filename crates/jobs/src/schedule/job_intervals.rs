//! The intervals of one job: which one is open, which wait, which runs, and what becomes of
//! an interval when its tick comes.
//!
//! All decisions of a schedule are made here. There is no clock, no file and no process, so
//! each of them can be tested alone.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    CancellationToken, CatchUp, FollowMode, JobState, LastRun, OnFailure, Overlap,
    RunOutcome, ScheduleEvent, ScheduledJob,
};
use crate::Interval;

/// How late a tick may be seen and still count as seen in time. A later one came while the
/// schedule was down, or the machine slept.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// How long to wait at first for a run that another process has begun.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for it at most, after waits that doubled each time.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Why an interval is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// Its tick came while the schedule was down.
    Missed,
    /// An earlier interval of the job was running or waiting.
    Overlap,
    /// A later interval of the job took its place.
    Replaced,
}

/// The intervals of one job.
pub(crate) struct JobIntervals<'a> {
    pub(crate) job: &'a ScheduledJob,
    /// The first interval whose tick has not been seen.
    upcoming: Option<Interval>,
    /// Where `upcoming` begins, or would.
    seen: DateTime<Utc>,
    /// What is to run, in this order. Each entry may be several intervals in a row.
    waiting: VecDeque<Interval>,
    /// Was started and has to be started again, before anything that waits.
    again: Option<Again>,
    running: Option<RunningInterval>,
    /// Nothing more is started until the schedule is started again.
    halted: bool,
    last: Option<LastRun>,
}

/// One look at the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// It is the first since the schedule was started, which may have been down before.
    pub(crate) is_first: bool,
    pub(crate) mode: FollowMode,
}

/// A run that is to be started now.
pub(crate) struct StartedRun {
    pub(crate) interval: Interval,
    /// It was started before and has not finished.
    pub(crate) again: bool,
    pub(crate) cancel: CancellationToken,
}

/// An interval that was started and is to be started again.
struct Again {
    interval: Interval,
    not_before: DateTime<Utc>,
    /// How often it was found to run elsewhere.
    times_busy: u32,
}

/// An interval whose run has not ended.
struct RunningInterval {
    interval: Interval,
    since: DateTime<Utc>,
    cancel: CancellationToken,
    /// Needs no other run if it is cancelled.
    replaced: bool,
    times_busy: u32,
}

/// Intervals in a row.
#[derive(Default)]
struct IntervalSpan {
    all: Option<Interval>,
    last: Option<Interval>,
    count: u64,
}

impl IntervalSpan {
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

impl<'a> JobIntervals<'a> {
    /// Takes up a job where its state left it; `None` beyond the calendar's end.
    pub(crate) fn new(
        job: &'a ScheduledJob,
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

    /// Whether there is nothing to do before the next tick. In the mode `Once` a run in
    /// another process is not waited for.
    pub(crate) fn is_idle(&self, mode: FollowMode) -> bool {
        let once = mode == FollowMode::Once;
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
        look: Look,
        tell: &mut impl FnMut(ScheduleEvent),
    ) -> bool {
        let (mut late, mut in_time) = (IntervalSpan::default(), IntervalSpan::default());
        while let Some(next) = self.upcoming
            && next.end <= now
        {
            if now - next.end > LATE {
                late.push(next);
            } else {
                in_time.push(next);
            }
            self.seen = next.end;
            self.upcoming = self.job.interval_from(next.end);
        }
        let before = self.state();
        let accepted = self.catch_up(&late, in_time, look.mode, tell);
        if look.is_first || self.halted || !self.is_active() {
            self.wait(accepted.all);
        } else {
            self.overlap(&accepted, tell);
        }
        self.state() != before
    }

    /// What is left to run of intervals whose ticks were missed and of those in time.
    fn catch_up(
        &mut self,
        late: &IntervalSpan,
        mut in_time: IntervalSpan,
        mode: FollowMode,
        tell: &mut impl FnMut(ScheduleEvent),
    ) -> IntervalSpan {
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
            (CatchUp::Latest, _) | (CatchUp::None, FollowMode::Once) => true,
            (CatchUp::None, FollowMode::Forever) => false,
        };
        if latest {
            self.drop_waiting(SkipReason::Missed, tell);
        }
        if latest && in_time.all.is_none() {
            if let Some((interval, count)) = late.without_last() {
                tell(skipped(interval, count, SkipReason::Missed));
            }
            return IntervalSpan {
                all: late.last,
                last: late.last,
                count: 1,
            };
        }
        tell(skipped(missed, late.count, SkipReason::Missed));
        in_time
    }

    /// What becomes of intervals that close while others run or wait.
    fn overlap(&mut self, closed: &IntervalSpan, tell: &mut impl FnMut(ScheduleEvent)) {
        let (Some(all), Some(last)) = (closed.all, closed.last) else {
            return;
        };
        match self.job.overlap {
            Overlap::Queue => self.wait(Some(all)),
            Overlap::Skip => tell(skipped(all, closed.count, SkipReason::Overlap)),
            Overlap::Cancel => {
                if let Some(again) = self.again.take() {
                    tell(skipped(again.interval, 1, SkipReason::Replaced));
                }
                self.drop_waiting(SkipReason::Replaced, tell);
                if let Some((interval, count)) = closed.without_last() {
                    tell(skipped(interval, count, SkipReason::Replaced));
                }
                if let Some(running) = &mut self.running {
                    running.replaced = true;
                    running.cancel.cancel();
                    let interval = running.interval;
                    tell(ScheduleEvent::Cancelling { interval });
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

    fn drop_waiting(&mut self, why: SkipReason, tell: &mut impl FnMut(ScheduleEvent)) {
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
    pub(crate) fn start(&mut self, now: DateTime<Utc>) -> Option<StartedRun> {
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
        self.running = Some(RunningInterval {
            interval,
            since: now,
            cancel: cancel.clone(),
            replaced: false,
            times_busy,
        });
        Some(StartedRun {
            interval,
            again,
            cancel,
        })
    }

    /// Asks what runs to end; its interval stays to be done.
    pub(crate) fn cancel(&self, tell: &mut impl FnMut(ScheduleEvent)) {
        if let Some(running) = &self.running
            && !running.cancel.is_cancelled()
        {
            running.cancel.cancel();
            let interval = running.interval;
            tell(ScheduleEvent::Cancelling { interval });
        }
    }

    /// Takes note of a run's end.
    pub(crate) fn end(
        &mut self,
        outcome: RunOutcome,
        now: DateTime<Utc>,
        tell: &mut impl FnMut(ScheduleEvent),
    ) {
        let Some(run) = self.running.take() else {
            return;
        };
        let interval = run.interval;
        let (interrupted, busy) = match &outcome {
            RunOutcome::Cancelled => (run.cancel.is_cancelled() && !run.replaced, false),
            RunOutcome::AlreadyRunning => (false, !run.replaced),
            _ => (false, false),
        };
        let halts = outcome.is_failure() && self.job.on_failure == OnFailure::Stop;
        if busy {
            let wait = FIRST_WAIT * 2_u32.saturating_pow(run.times_busy.min(10));
            let wait = TimeDelta::from_std(wait.min(LONGEST_WAIT)).unwrap_or(LATE);
            let not_before = now + wait;
            self.again = Some(Again {
                interval,
                not_before,
                times_busy: run.times_busy + 1,
            });
            tell(ScheduleEvent::Busy {
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
        self.last = Some(LastRun {
            interval,
            outcome: outcome.clone(),
            at: now,
        });
        let seconds = (now - run.since).as_seconds_f64();
        tell(ScheduleEvent::Ended {
            interval,
            outcome,
            seconds,
        });
        if halts {
            tell(ScheduleEvent::Halted { interval });
        }
    }
}

fn skipped(interval: Interval, count: u64, why: SkipReason) -> ScheduleEvent {
    ScheduleEvent::Skipped {
        interval,
        count,
        why,
    }
}
