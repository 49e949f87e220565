//! Where expensive work runs: one pool of threads for the whole process.
//!
//! Every trial, image and inference of every statement and partition goes through
//! [`pool::run`], so a process never starts more of them at once than it has
//! threads, and a table that arrives as one record batch still fills every core.
//! [`progress`] says what the pool is doing, for whoever draws it, [`warnings`] what it
//! noticed, for whoever ran the statement, and [`panics`] keeps a row that panics from
//! ending more than itself.
//!
//! This crate knows nothing about SQL, networks or images.

pub mod panics;
pub mod pool;
pub mod progress;
pub mod warnings;

pub use tokio_util::sync::CancellationToken;
