//! What every family of SQL functions shares.
//!
//! The contract between the functions and the session ([`ExpensiveFunction`]), the
//! options a session carries ([`AtollOptions`]), files behind URLs ([`Location`]),
//! and the reading of arguments.
//!
//! No function is defined here, and no family depends on another: what two of them
//! need moves into this crate.

pub mod args;
pub mod days;
mod erased;
mod expensive;
pub mod files;
pub mod image;
pub mod model;
mod option_struct;
mod options;
pub mod outcome;
mod rows;
mod rows_exec;
mod store_error;
mod stores;
pub mod structs;
pub mod tables;
pub mod usage;

pub use atoll_onnx::Inference;
pub use erased::Erased;
pub use expensive::{
    Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, Grain, JoinedCalls,
    PreparedCall, Price, REPORT, Rescue, RowError, SharedCall, as_expensive, expensive,
    map_rows, panicked, pool_error,
};
pub use option_struct::OptionStruct;
pub use options::{AtollOptions, Fallback};
pub use rows::{as_many_rows, known_rows};
pub use rows_exec::{RowsExec, StartRows};
pub use store_error::{StoreError, explain_store_error};
pub use stores::{Location, Stores, read_local_beside, storage_root};
pub use usage::{Argument, Usage};

// The function in CONTRIBUTING.md is compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../CONTRIBUTING.md")]
struct Contributing;
