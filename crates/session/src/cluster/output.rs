//! Results that stay where a task computed them: in files of a table or a folder.
//!
//! A task writes its rows as files that nobody sees before the client publishes them, and
//! gives the client their names and what has to be known of them. A task that runs twice
//! leaves files that no result names; the client publishes what the one result names that
//! came for each task, so no row is there twice. Few rows come to the client as they are,
//! which writes them together: a file for each small task would make a table of many
//! small files.

use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use atoll_udf_common::{AtollOptions, Location};
use datafusion::arrow::array::{
    ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::exec::ClusterExec;
use super::journal::Journal;
use super::messages::WireTarget;
use super::source::compact;
use super::stages::StagesExec;
use super::wire::{from_ipc, to_ipc};

/// Up to so many bytes of rows a task gives to the client.
const FEW_BYTES: u64 = 16 << 20;

/// The same once all tasks of a statement have given as many as the client takes.
const FEWER_BYTES: u64 = 1 << 20;

/// What [`OutputExec`] gives: rows or files, and how many rows these are.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("count", DataType::UInt64, false),
        Field::new("rows", DataType::Binary, true),
        Field::new("files", DataType::Utf8, true),
    ]))
});

/// Where tasks write.
#[async_trait]
pub(crate) trait Target: Debug + Send + Sync {
    /// For executors.
    fn encode(&self) -> Result<WireTarget>;

    /// Whether this process writes where the client reads; asked of executors.
    async fn is_here(&self) -> bool;

    /// Writes the rows of a task; how many they were, and what the client has to know of
    /// the files.
    async fn write(
        &self,
        rows: SendableRecordBatchStream,
        task: &str,
        context: &Arc<TaskContext>,
    ) -> Result<(u64, String)>;

    /// The files that a task wrote, from what it said of them; nothing where they do not
    /// outlive the statement.
    fn locate(&self, _files: &str) -> Result<Option<Vec<Location>>> {
        Ok(None)
    }
}

/// The rows that tasks gave to the client, and the files of the others.
pub(crate) struct Diverted {
    /// A stream for each partition of the plan. The files are complete when all streams
    /// have ended.
    pub(crate) rows: Vec<SendableRecordBatchStream>,
    pub(crate) files: WrittenByTasks,
}

/// What tasks said of the files that they wrote. Clones share one list.
#[derive(Debug, Clone, Default)]
pub(crate) struct WrittenByTasks(Arc<Mutex<Vec<String>>>);

impl WrittenByTasks {
    /// All so far.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes files out of a task's output, and gives the rows.
    fn enter(
        &self,
        output: &RecordBatch,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let rows = output
            .columns()
            .get(1)
            .and_then(|rows| rows.as_binary_opt());
        let Some(rows): Option<&BinaryArray> = rows else {
            return internal_err!("a task's output has other columns");
        };
        let files = OutputExec::files_of(output)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(files);
        let rows = rows.iter().flatten().map(from_ipc).collect::<Vec<_>>();
        Ok(futures::stream::iter(rows).boxed())
    }
}

/// Whether the rows of a plan are those of tasks.
pub(crate) fn is_dealt(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ClusterExec>() || plan.is::<StagesExec>()
}

/// Has the tasks of a plan write to a target; `None` if its rows are not those of tasks.
pub(crate) fn divert(
    plan: &Arc<dyn ExecutionPlan>,
    target: &Arc<dyn Target>,
    context: &Arc<TaskContext>,
    journal: Option<&Arc<Journal>>,
) -> Result<Option<Diverted>> {
    if !is_dealt(plan) {
        return Ok(None);
    }
    let options = AtollOptions::get(context.session_config().options());
    let passed = Arc::new(AtomicU64::new(0));
    let files = WrittenByTasks::default();
    let schema = plan.schema();
    let rows = (0..plan.output_partitioning().partition_count()).map(|partition| {
        let terms = Terms::Dealt {
            partition,
            tasks: AtomicU64::new(0).into(),
            passed: Arc::clone(&passed),
            most: options.distribute_bytes,
            journal: journal.cloned(),
        };
        let tasks = writing(plan, Arc::clone(target), terms)?;
        let outputs = tasks.execute(partition, Arc::clone(context))?;
        let (files, passed) = (files.clone(), Arc::clone(&passed));
        let rows = outputs.map(move |batch| {
            let batch = batch?;
            passed.fetch_add(batch.get_array_memory_size() as u64, Ordering::Relaxed);
            files.enter(&batch)
        });
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&schema), rows.try_flatten());
        Ok(Box::pin(rows) as SendableRecordBatchStream)
    });
    Ok(Some(Diverted {
        rows: rows.collect::<Result<_>>()?,
        files,
    }))
}

/// The tasks of a plan, writing to a target.
fn writing(
    plan: &Arc<dyn ExecutionPlan>,
    target: Arc<dyn Target>,
    terms: Terms,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(exec) = plan.downcast_ref::<StagesExec>() {
        return Ok(Arc::new(exec.with_output(target, terms)));
    }
    let Some(exec) = plan.downcast_ref::<ClusterExec>() else {
        return internal_err!("{} has no tasks", plan.name());
    };
    let output = OutputExec::new(Arc::clone(exec.chain()), target, terms);
    Ok(Arc::new(exec.with_chain(Arc::new(output))))
}

/// How many rows a part of a task's output stands for.
pub(super) fn rows_of(chain: &Arc<dyn ExecutionPlan>, part: &RecordBatch) -> usize {
    match chain.is::<OutputExec>() {
        true => usize::try_from(counted(part)).unwrap_or(usize::MAX),
        false => part.num_rows(),
    }
}

/// How many rows the output of [`OutputExec`] stands for.
pub(super) fn counted(output: &RecordBatch) -> u64 {
    let counts = output.column(0).as_primitive_opt::<UInt64Type>();
    counts.map_or(0, |counts| counts.values().iter().sum())
}

/// What a task has to heed of the statement's other tasks.
#[derive(Debug, Clone)]
pub(super) enum Terms {
    /// Where tasks are made.
    Dealt {
        partition: usize,
        /// How many there are so far.
        tasks: Arc<AtomicU64>,
        /// How many bytes of rows the client was given so far by all of them.
        passed: Arc<AtomicU64>,
        /// How many it takes.
        most: u64,
        /// Where is noted what the tasks did.
        journal: Option<Arc<Journal>>,
    },
    /// Where one runs.
    Task(TaskTerms),
}

/// The same for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskTerms {
    /// What the names of its files begin with: they sort as the rows did.
    pub(super) name: String,
    /// Up to so many bytes are given to the client.
    pub(super) few: u64,
}

impl Terms {
    /// The terms of the next task.
    pub(super) fn next(&self) -> TaskTerms {
        match self {
            Self::Task(terms) => terms.clone(),
            Self::Dealt {
                partition,
                tasks,
                passed,
                most,
                ..
            } => {
                let task = tasks.fetch_add(1, Ordering::Relaxed);
                let passed = passed.load(Ordering::Relaxed);
                TaskTerms {
                    name: format!("part-{partition:05}-t{task:06}"),
                    few: match passed < *most {
                        true => FEW_BYTES.min(*most),
                        false => FEWER_BYTES.min(*most),
                    },
                }
            }
        }
    }
}

impl Terms {
    /// The journal of the statement.
    pub(super) fn journal(&self) -> Option<&Arc<Journal>> {
        match self {
            Self::Dealt { journal, .. } => journal.as_ref(),
            Self::Task(_) => None,
        }
    }

    /// Leaves out the names of tasks that ran before.
    pub(super) fn skip(&self, count: u64) {
        if let Self::Dealt { tasks, .. } = self {
            tasks.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Writes its input to a target, unless it is small.
#[derive(Debug)]
pub(super) struct OutputExec {
    input: Arc<dyn ExecutionPlan>,
    pub(super) target: Arc<dyn Target>,
    pub(super) terms: Terms,
    properties: Arc<PlanProperties>,
}

impl OutputExec {
    /// What it gives.
    pub(super) fn columns() -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    /// What is written.
    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// What tasks said of their files, among a part of their output.
    pub(super) fn files_of(output: &RecordBatch) -> Result<Vec<String>> {
        let Some(files) = output
            .columns()
            .get(2)
            .and_then(|files| files.as_string_opt())
        else {
            return internal_err!("a task's output has other columns");
        };
        let files: &StringArray = files;
        Ok(files.iter().flatten().map(ToString::to_string).collect())
    }

    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        target: Arc<dyn Target>,
        terms: Terms,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&SCHEMA)),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            target,
            terms,
            properties: Arc::new(properties),
        }
    }
}

/// One row of [`SCHEMA`].
fn output(count: u64, rows: Option<&[u8]>, files: Option<String>) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(vec![count])),
        Arc::new(BinaryArray::from(vec![rows])),
        Arc::new(StringArray::from(vec![files])),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

/// Gives few rows as they are, and writes many.
async fn pass_or_write(
    mut rows: SendableRecordBatchStream,
    target: Arc<dyn Target>,
    terms: TaskTerms,
    context: Arc<TaskContext>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let (mut held, mut bytes) = (vec![], 0);
    while bytes <= terms.few {
        let Some(batch) = rows.try_next().await? else {
            return Ok(futures::stream::iter(held)
                .map(|batch| pass(&batch))
                .boxed());
        };
        let batch = compact(&batch)?;
        bytes += batch.get_array_memory_size() as u64;
        held.push(batch);
    }
    let schema = rows.schema();
    let first = futures::stream::iter(held);
    if !target.is_here().await {
        let rest = rows.map(|batch| pass(&compact(&batch?)?));
        return Ok(first.map(|batch| pass(&batch)).chain(rest).boxed());
    }
    let rows = first.map(Ok).chain(rows);
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
    let (count, files) = target.write(rows, &terms.name, &context).await?;
    let written = output(count, None, Some(files));
    Ok(futures::stream::iter([written]).boxed())
}

/// Rows for the client, which share no buffers with others.
fn pass(batch: &RecordBatch) -> Result<RecordBatch> {
    output(batch.num_rows() as u64, Some(&to_ipc(batch)?), None)
}

impl DisplayAs for OutputExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "OutputExec: target={:?}", self.target)
    }
}

impl ExecutionPlan for OutputExec {
    fn name(&self) -> &'static str {
        "OutputExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (1, Some(input)) = (children.len(), children.pop()) else {
            return internal_err!("OutputExec takes one child");
        };
        let target = Arc::clone(&self.target);
        Ok(Arc::new(Self::new(input, target, self.terms.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, Arc::clone(&context))?;
        let target = Arc::clone(&self.target);
        let outputs = pass_or_write(rows, target, self.terms.next(), context);
        let outputs = futures::stream::once(outputs).try_flatten();
        let schema = Arc::clone(&SCHEMA);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, outputs)))
    }
}
