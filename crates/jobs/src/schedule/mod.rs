//! Which interval of which job runs when, and what a crash leaves to do.
//!
//! The ticks of a job's cron expression cut time into intervals: each tick closes the
//! interval since the tick before. [`Follower`] starts a run for every interval of every
//! job, once the interval is closed, and remembers in a [`StateStore`] what it started. An
//! interval that was started and never finished is started again after a crash, one
//! that finished never is, and none is forgotten: not between a run's end and its entry
//! in the store, not while the schedule was down, not when clocks change.

mod backfill;
mod clock;
mod cron;
mod file;
mod follow;
mod job_intervals;
mod runner;
mod state;
mod time;

pub use backfill::Backfill;
pub use clock::{Clock, SystemClock};
pub use cron::Cron;
pub use file::{CatchUp, JobFile, OnFailure, Overlap, ScheduledJob};
pub use follow::{FollowMode, Follower, JobEvent, RunCounts, ScheduleEvent, StopRequest};
pub use job_intervals::SkipReason;
pub use runner::{IntervalRunner, RunOutcome};
pub use state::{JobState, LastRun, StateFolder, StateStore};
pub use time::parse_time;

/// Ends a run early.
pub use tokio_util::sync::CancellationToken;
