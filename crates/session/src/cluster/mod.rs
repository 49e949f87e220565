//! Expensive calls on a cluster.
//!
//! The client plans a statement as it always does, and runs all of it itself but the
//! expensive calls: [`DealExpensiveCalls`] finds each chain of operators around such
//! calls, and [`ClusterExec`] cuts the chain's input into tasks. A task is a physical
//! plan over its own rows. It reads no other task's output, so it may run anywhere, any
//! number of times, and the loss of a machine loses nothing but time.
//!
//! Who carries tasks to machines is behind [`TaskRunner`]; nothing here knows how.

mod exec;
mod journal;
mod ledger;
mod listings;
mod messages;
mod notes;
mod numbers;
mod output;
mod outputs;
mod pace;
mod pieces;
#[cfg(test)]
mod pins;
mod rule;
mod runtime;
mod source;
mod stages;
mod wire;

use std::fmt::Debug;
use std::sync::Arc;

use atoll_compute::progress::Progress;
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub(crate) use journal::Journal;
pub(crate) use listings::ListingTables;
pub(crate) use messages::WireTarget;
pub(crate) use output::{Target, WrittenByTasks, divert, is_dealt};
pub(crate) use rule::DealExpensiveCalls;
pub use runtime::{RunningTask, TaskRuntime};
pub use stages::{Left, LocalRange, Output, PartsExec, Range, Shuffle, Stage, TaskPlan};
pub(crate) use stages::{distribute, explain};

/// The cluster of a session, among the extensions of its settings.
#[derive(Debug)]
pub(crate) struct Cluster(pub(crate) Arc<dyn TaskRunner>);

/// Whether an operator makes expensive calls.
pub fn is_expensive(plan: &Arc<dyn ExecutionPlan>) -> bool {
    rule::calls(plan).is_some()
}

/// Carries tasks to a cluster and their results back.
pub trait TaskRunner: Debug + Send + Sync {
    /// The cluster, as the user named it.
    fn address(&self) -> &str;

    /// How many tasks the cluster runs at once now.
    fn slots(&self) -> BoxFuture<'_, Result<usize>>;

    /// Runs a job; its results come in the order of tasks, each task's in its own
    /// order. Dropping the stream cancels the job.
    fn run(&self, job: Job) -> BoxStream<'static, Result<TaskOutput>>;

    /// What cuts plans into stages.
    fn shuffle(&self) -> Arc<dyn Shuffle>;

    /// Runs what is left to do when a statement was dropped.
    fn linger(&self, last: BoxFuture<'static, ()>);

    /// Waits until the cluster knows of the jobs that were cancelled, and for what lingers.
    fn settle(&self) -> BoxFuture<'_, ()>;
}

/// Tasks that run in any order, at once as far as there are slots.
#[derive(Debug)]
pub struct Job {
    /// What the tasks do, for people: the functions they call.
    pub label: String,
    /// The tasks, each opaque to everything but [`TaskRuntime`].
    pub tasks: Vec<Task>,
    /// Where to report how far they are.
    pub progress: Progress,
    /// Whether a task that takes far longer than the others is started a second time.
    pub speculates: bool,
}

/// A physical plan over its own rows.
#[derive(Debug, Clone)]
pub struct Task {
    /// How many rows go in.
    pub rows: u64,
    /// The plan.
    pub plan: Bytes,
}

/// A part of what a task gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput {
    /// The task's place in its job.
    pub task: u32,
    /// Counts the parts of a task from 0.
    pub part: u32,
    /// How many rows went into the task; on its last part only.
    pub rows_in: Option<u64>,
    /// A record batch as an Arrow IPC stream.
    pub data: Bytes,
}
