//! The trait that a schedule runs its intervals through, and how a run can end.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CancellationToken, ScheduledJob};
use crate::Interval;

/// Runs intervals and knows which ones succeeded.
///
/// A run replaces what an earlier run of the same interval left, so that running an
/// interval again does no harm.
pub trait IntervalRunner {
    /// Runs a job for an interval, until it ends.
    ///
    /// Once `cancel` is cancelled the run has to end soon. Dropping the future ends it
    /// at once.
    fn run(
        &self,
        job: &ScheduledJob,
        interval: Interval,
        cancel: CancellationToken,
    ) -> impl Future<Output = RunOutcome>;

    /// Whether a run of this interval has succeeded, by whomever it was started, or why
    /// that cannot be said.
    ///
    /// It must be remembered by the run itself: the schedule asks for what it could not
    /// write down before it was killed.
    fn succeeded(
        &self,
        job: &ScheduledJob,
        interval: Interval,
    ) -> impl Future<Output = Result<bool, String>>;
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Everything was done.
    Succeeded,
    /// An earlier run had succeeded, so there was nothing to do.
    AlreadyDone,
    /// It failed, with the last thing that it said.
    Failed(String),
    /// It took longer than the job's `timeout`.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// Another process runs this job for this interval.
    AlreadyRunning,
}

impl RunOutcome {
    /// Whether the interval needs another run by hand.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::TimedOut)
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::AlreadyDone => f.write_str("had succeeded before"),
            Self::Failed(message) => write!(f, "failed: {message}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::AlreadyRunning => f.write_str("runs elsewhere"),
        }
    }
}
