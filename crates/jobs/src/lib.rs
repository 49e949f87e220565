//! Jobs: when each one runs, who runs it now, and what its runs did.
//!
//! A job is a script that runs for stretches of time, its [`Interval`]s. Two things are
//! here:
//!
//! - [`Run`], [`RunStore`] and [`Lock`] are what `atoll run` leaves behind beside its rows:
//!   a record of each run, and while it runs a lock. Both live in the storage under
//!   `runs/<job>/`, so that every machine that may start a job sees the runs of the others.
//! - [`schedule`] is what `atoll schedule` and `atoll backfill` follow: which interval of
//!   which job is due by its cron expression, and what a crash left to do.
//!
//! The crate knows no SQL and starts no process. How an interval is run, and what time it
//! is, are traits of [`schedule`], so that a year of a schedule passes in seconds in a test.

mod error;
mod interval;
mod runs;
pub mod schedule;

pub use error::Error;
pub use interval::{Interval, rfc3339};
pub use runs::{Lock, Run, RunError, RunStatus, RunStore, StatementRun, WrittenFile};
