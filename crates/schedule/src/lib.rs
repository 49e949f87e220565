//! Which interval of which job runs when, and what a crash leaves to do.
//!
//! The ticks of a job's cron expression cut time into intervals: each tick closes the
//! interval since the tick before. [`Follower`] starts a run for every interval of every
//! job, once the interval is closed, and remembers in a [`Store`] what it started. An
//! interval that was started and never finished is started again after a crash, one
//! that finished never is, and none is forgotten: not between a run's end and its entry
//! in the store, not while the schedule was down, not when clocks change.
//!
//! How an interval is run and what time it is are traits, so that a year passes in
//! seconds in a test. This crate knows nothing about SQL and starts no process.

mod backfill;
mod clock;
mod cron;
mod error;
mod follow;
mod interval;
mod jobs;
mod line;
mod runner;
mod store;
mod time;

pub use backfill::Backfill;
pub use clock::{Clock, SystemClock};
pub use cron::Cron;
pub use error::Error;
pub use follow::{Event, Follower, Happening, Mode, Stop, Summary};
pub use interval::Interval;
pub use jobs::{CatchUp, Job, Jobs, OnFailure, Overlap};
pub use line::Why;
pub use runner::{Outcome, Runner};
pub use store::{Folder, JobState, Last, Store};
pub use time::parse_time;

/// Ends a run early.
pub use tokio_util::sync::CancellationToken;
