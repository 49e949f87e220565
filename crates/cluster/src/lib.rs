//! Scheduler, executor and client of a cluster.
//!
//! The only crate that names Ballista. Ballista keeps the list of executors and their
//! slots, deals tasks to slots as they come free, notices lost executors and carries
//! results. A task of ours is opaque to it: a row of a one-row partition with a physical
//! plan inside, under the one operator that Ballista sees, `TaskExec`.
//!
//! [`Client`] runs a session's jobs, [`scheduler`] and [`executor`] are the two kinds of
//! server. Nothing here prints.

mod address;
mod app;
mod board;
mod client;
mod error;
pub mod executor;
mod http;
mod joins;
mod policy;
mod protocol;
mod runs;
pub mod scheduler;
mod stages;
mod status;
mod submission;
mod task;
mod token;

pub use address::{Address, DEFAULT_PORT};
pub use client::{Client, who};
pub use error::Error;
pub use runs::{RunOrder, RunPhase, RunState};
pub use token::Token;
