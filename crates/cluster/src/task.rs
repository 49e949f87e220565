//! The one operator of a job that Ballista sees.
//!
//! A job is `SortPreservingMergeExec <- TaskExec <- rows`, a row and a partition for
//! each task. Ballista cuts the rows by partition and deals the partitions; the merge on
//! top is a stage of its own, because Ballista loses results of a last stage with their
//! executor, and it puts the tasks back into their order.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_session::{Task, TaskOutput};
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array, UInt64Array,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalProtoConverterExtension,
};
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;

use crate::Token;

/// Parts that wait to be written.
const PARTS_AHEAD: usize = 2;

/// What goes into [`TaskExec`].
static INPUT: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("task", DataType::UInt32, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("signature", DataType::Binary, false),
        Field::new("plan", DataType::Binary, false),
    ]))
});

/// What comes out of it.
pub(crate) static OUTPUT: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("task", DataType::UInt32, false),
        Field::new("part", DataType::UInt32, false),
        Field::new("rows_in", DataType::UInt64, true),
        Field::new("data", DataType::Binary, false),
    ]))
});

/// A task as an executor gets it.
#[derive(Debug)]
pub(crate) struct SignedTask {
    pub(crate) task: u32,
    pub(crate) rows: u64,
    pub(crate) signature: Vec<u8>,
    pub(crate) plan: bytes::Bytes,
}

/// Runs the tasks that come to this process.
#[async_trait]
pub(crate) trait RunTask: Debug + Send + Sync {
    /// Runs a task of a job and sends its parts; refuses one that nobody signed.
    async fn run(
        &self,
        job: &str,
        task: SignedTask,
        token: &CancellationToken,
        parts: &Sender<Result<RecordBatch>>,
    ) -> Result<()>;
}

/// The plan of a job.
pub(crate) fn job_plan<'a>(
    key: &str,
    tasks: impl IntoIterator<Item = (u32, &'a Task)>,
    token: &Token,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rows = tasks.into_iter().map(|(number, task)| {
        let signature = token.sign(&signed(key, number, task.rows, &task.plan));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(vec![number])),
            Arc::new(UInt64Array::from(vec![task.rows])),
            Arc::new(BinaryArray::from_iter_values([signature])),
            Arc::new(BinaryArray::from_iter_values([&task.plan])),
        ];
        Ok(vec![RecordBatch::try_new(Arc::clone(&INPUT), columns)?])
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let rows = MemorySourceConfig::try_new_exec(&rows, Arc::clone(&INPUT), None)?;
    let tasks: Arc<dyn ExecutionPlan> = Arc::new(TaskExec::new(key.to_string(), rows));
    let Some(order) = order() else {
        return internal_err!("tasks have an order");
    };
    Ok(Arc::new(SortPreservingMergeExec::new(order, tasks)))
}

/// The message that a signature is over. The job is in it, so that a task cannot be
/// replayed as one of another job.
pub(crate) fn signed(key: &str, task: u32, rows: u64, plan: &[u8]) -> Vec<u8> {
    let head = format!("{key} {task} {rows} ");
    [head.as_bytes(), plan].concat()
}

fn order() -> Option<LexOrdering> {
    let columns = ["task", "part"].iter().enumerate();
    LexOrdering::new(columns.map(|(index, name)| {
        PhysicalSortExpr::new_default(Arc::new(Column::new(name, index)))
    }))
}

/// The results in a record batch of a job.
pub(crate) fn outputs(batch: &RecordBatch) -> Result<Vec<TaskOutput>> {
    let [task, part, rows_in, data] = batch.columns() else {
        return internal_err!("results with other columns");
    };
    let (Some(task), Some(part), Some(rows_in), Some(data)) = (
        task.as_primitive_opt::<UInt32Type>(),
        part.as_primitive_opt::<UInt32Type>(),
        rows_in.as_primitive_opt::<UInt64Type>(),
        data.as_binary_opt::<i32>(),
    ) else {
        return internal_err!("results of other types");
    };
    let output = |row| TaskOutput {
        task: task.value(row),
        part: part.value(row),
        rows_in: rows_in.is_valid(row).then(|| rows_in.value(row)),
        data: bytes::Bytes::copy_from_slice(data.value(row)),
    };
    Ok((0..batch.num_rows()).map(output).collect())
}

/// A result as a record batch of a job.
pub(crate) fn output_batch(output: &TaskOutput) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(vec![output.task])),
        Arc::new(UInt32Array::from(vec![output.part])),
        Arc::new(UInt64Array::from(vec![output.rows_in])),
        Arc::new(BinaryArray::from_iter_values([&output.data])),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&OUTPUT), columns)?)
}

/// Runs the task in each row of its input.
#[derive(Debug)]
pub(crate) struct TaskExec {
    /// The job's name among clients, executors and the scheduler's board.
    job: String,
    input: Arc<dyn ExecutionPlan>,
    /// Who runs tasks in this process; nobody in a scheduler or client.
    runner: Option<Arc<dyn RunTask>>,
    /// Cancelled when Ballista gives the task up.
    pub(crate) token: CancellationToken,
    properties: Arc<PlanProperties>,
}

impl TaskExec {
    fn new(job: String, input: Arc<dyn ExecutionPlan>) -> Self {
        let mut equivalences = EquivalenceProperties::new(Arc::clone(&OUTPUT));
        if let Some(order) = order() {
            equivalences.add_ordering(order);
        }
        let properties = PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            job,
            input,
            runner: None,
            token: CancellationToken::new(),
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for TaskExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "TaskExec: job={}", self.job)
    }
}

impl ExecutionPlan for TaskExec {
    fn name(&self) -> &'static str {
        "TaskExec"
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
            return internal_err!("TaskExec takes one child");
        };
        Ok(Arc::new(Self {
            runner: self.runner.clone(),
            token: self.token.clone(),
            ..Self::new(self.job.clone(), input)
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(runner) = self.runner.clone() else {
            return internal_err!("this process runs no tasks");
        };
        let mut input = self.input.execute(partition, context)?;
        let (job, token) = (self.job.clone(), self.token.clone());
        let mut parts =
            RecordBatchReceiverStreamBuilder::new(Arc::clone(&OUTPUT), PARTS_AHEAD);
        let sender = parts.tx();
        parts.spawn(async move {
            while let Some(batch) = input.try_next().await? {
                for task in signed_tasks(&batch)? {
                    runner.run(&job, task, &token, &sender).await?;
                }
            }
            Ok(())
        });
        Ok(parts.build())
    }
}

fn signed_tasks(batch: &RecordBatch) -> Result<Vec<SignedTask>> {
    let [task, rows, signature, plan] = batch.columns() else {
        return internal_err!("tasks with other columns");
    };
    let (Some(task), Some(rows), Some(signature), Some(plan)) = (
        task.as_primitive_opt::<UInt32Type>(),
        rows.as_primitive_opt::<UInt64Type>(),
        signature.as_binary_opt::<i32>(),
        plan.as_binary_opt::<i32>(),
    ) else {
        return internal_err!("tasks of other types");
    };
    let signed_task = |row| SignedTask {
        task: task.value(row),
        rows: rows.value(row),
        signature: signature.value(row).to_vec(),
        plan: bytes::Bytes::copy_from_slice(plan.value(row)),
    };
    Ok((0..batch.num_rows()).map(signed_task).collect())
}

/// Writes and reads [`TaskExec`]; everything else is Ballista's own.
#[derive(Debug, Default)]
pub(crate) struct TaskCodec {
    ballista: BallistaPhysicalExtensionCodec,
    /// Who runs the tasks that are read.
    runner: Option<Arc<dyn RunTask>>,
}

impl TaskCodec {
    /// Reads tasks that `runner` then runs.
    pub(crate) fn for_runner(runner: Arc<dyn RunTask>) -> Self {
        Self {
            runner: Some(runner),
            ..Self::default()
        }
    }
}

/// The first byte of what Ballista writes, and of what is ours.
const BALLISTA: u8 = 0;
const TASK: u8 = 1;

impl PhysicalExtensionCodec for TaskCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(task) = node.downcast_ref::<TaskExec>() {
            bytes.push(TASK);
            bytes.extend(task.job.as_bytes());
            return Ok(());
        }
        bytes.push(BALLISTA);
        self.ballista.try_encode(node, bytes, converter)
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (bytes.split_first(), inputs) {
            (Some((&TASK, job)), [input]) => Ok(Arc::new(TaskExec {
                runner: self.runner.clone(),
                ..TaskExec::new(
                    String::from_utf8_lossy(job).into_owned(),
                    Arc::clone(input),
                )
            })),
            (Some((&BALLISTA, rest)), _) => {
                self.ballista.try_decode(rest, inputs, context, converter)
            }
            _ => internal_err!("not an operator of a job"),
        }
    }
}
