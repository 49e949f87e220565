//! Statements whose rows go from task to task: joins, aggregates, windows, sorts.
//!
//! Such a statement is cut where rows change places. Each stage is a job; a task of it
//! reads its own piece of the files and of what the stages before left, and leaves its
//! rows in the storage, a range of an object for each task that will read them. So a task
//! reads no other task's process: it may run anywhere, any number of times, and a lost
//! machine costs its tasks and nothing else. The client holds the plan and where the
//! ranges are.
//!
//! Who cuts plans and sorts rows into ranges is behind [`Shuffle`].

mod codec;
mod parts;
mod plan;
mod scans;
mod shuffle;
mod size;
mod stage;
mod statement;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::execution::TaskContext;
use datafusion::execution::config::SessionConfig;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;

pub(super) use codec::{decode_parts, decode_shuffle, encode_parts, encode_shuffle};
pub use parts::PartsExec;
pub(crate) use plan::{distribute, explain};
pub(super) use scans::ScansExec;
pub(super) use shuffle::ShuffleExec;
pub(super) use size::FilesRead;
pub(super) use statement::StagesExec;
pub(super) use work::{Work, delete, keep_alive};

/// Cuts plans, and sorts the rows of a task by who will read them.
#[async_trait]
pub trait Shuffle: Debug + Send + Sync {
    /// The settings under which a plan is made that can be cut.
    fn settings(&self, config: SessionConfig) -> SessionConfig;

    /// The rules that shape statements so that their plans can be cut.
    fn optimizer_rules(
        &self,
        rules: &[Arc<dyn OptimizerRule + Send + Sync>],
    ) -> Vec<Arc<dyn OptimizerRule + Send + Sync>>;

    /// The stages of a plan, each after those that it reads, the last one's rows being
    /// the statement's.
    fn cut(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Vec<Stage>>;

    /// What the tasks of a stage run, given what the stages before left.
    fn tasks(
        &self,
        stage: &Stage,
        left: &HashMap<usize, Left>,
        folder: &str,
    ) -> Result<Vec<TaskPlan>>;

    /// Runs the first partition of a plan and writes its rows into a folder of this
    /// machine.
    async fn write(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        output: &Output,
        folder: &Path,
        context: Arc<TaskContext>,
    ) -> Result<Vec<LocalRange>>;
}

/// Tasks that run the same operators, each over other rows.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its number in the statement.
    pub id: usize,
    /// The operators, in the form of whoever cut them.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The stages that it reads.
    pub inputs: BTreeSet<usize>,
    /// By which values its rows are dealt to tasks of a later stage, if by any.
    pub partitioning: Option<Partitioning>,
}

/// What one task runs.
#[derive(Debug)]
pub struct TaskPlan {
    /// A plan with one partition.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Where its rows go, if another stage reads them.
    pub output: Output,
}

/// Where the rows of a task go.
#[derive(Debug, Clone)]
pub struct Output {
    /// By which values rows are dealt to the next stage's tasks; all to one without.
    pub partitioning: Option<Partitioning>,
    /// The numbers of the partitions that the task gives.
    pub partitions: Vec<usize>,
}

/// Rows in a file of this machine.
#[derive(Debug)]
pub struct LocalRange {
    /// Who reads them.
    pub partition: usize,
    /// The file.
    pub file: PathBuf,
    /// The first byte, and the one after the last.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// How many rows they are.
    pub rows: u64,
}

/// Rows that a task left, as Arrow IPC streams one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The object's name in the folder of the statement.
    pub object: String,
    /// The first byte, and the one after the last.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// How many rows they are.
    pub rows: u64,
}

/// What a stage left.
#[derive(Debug, Default)]
pub struct Left {
    /// The ranges of each partition by the task that left them. A task that left no rows
    /// for a partition has none.
    pub ranges: BTreeMap<usize, BTreeMap<usize, Range>>,
}

impl Left {
    /// Enters a range.
    fn enter(&mut self, partition: usize, task: usize, range: Range) -> Result<()> {
        let of_partition = self.ranges.entry(partition).or_default();
        match of_partition.insert(task, range) {
            None => Ok(()),
            Some(_) => datafusion::common::internal_err!(
                "task {task} left partition {partition} twice"
            ),
        }
    }
}
