//! The operator that has a chain of operators run by a cluster.

use std::collections::VecDeque;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use atoll_udf_common::{CallContext, Grain, storage_root};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    replace_children_if_necessary,
};
use futures::StreamExt;
use prost::Message;
use tokio::sync::mpsc;

use super::ledger::Ledger;
use super::notes::noticed;
use super::rule::{TaskInputExec, calls, is_scan_of_files};
use super::runtime::{WireTask, changed_options, encode_plan, identify_storage};
use super::wire::from_ipc;
use super::{Job, Task, TaskOutput, TaskRunner};

/// Most rows of a task. At the ten milliseconds of an image that is half a second, a
/// hundred times what a task costs.
const ROWS_PER_TASK: usize = 64;

/// Tasks for each slot of the cluster, so that the slowest one ends with little to wait
/// for.
const TASKS_PER_SLOT: usize = 4;

/// Most tasks of a job, however many slots there are: the scheduler looks at all of a
/// job's tasks, and one message carries them.
const TASKS_PER_JOB: usize = 1024;

/// Most bytes of rows in a job: they pass through the scheduler.
const BYTES_PER_JOB: usize = 16 << 20;

/// Most bytes of files in a task.
const FILE_BYTES_PER_TASK: u64 = 64 << 20;

/// Jobs of one partition at once: while one ends the next has tasks for free slots.
const JOBS_AHEAD: usize = 2;

/// Parts of results that wait for the operators above.
const PARTS_AHEAD: usize = 4;

/// The rows of a chain of operators, evaluated as tasks of a cluster.
#[derive(Debug)]
pub(super) struct ClusterExec {
    /// The chain, down to a [`TaskInputExec`].
    chain: Arc<dyn ExecutionPlan>,
    /// Counts the jobs of a statement from 1.
    job: usize,
    cluster: Arc<dyn TaskRunner>,
}

impl ClusterExec {
    pub(super) fn new(
        chain: Arc<dyn ExecutionPlan>,
        job: usize,
        cluster: Arc<dyn TaskRunner>,
    ) -> Self {
        Self {
            chain,
            job,
            cluster,
        }
    }
}

impl DisplayAs for ClusterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let (job, address) = (self.job, self.cluster.address());
        write!(f, "ClusterExec: job={job}, cluster={address}")
    }
}

impl ExecutionPlan for ClusterExec {
    fn name(&self) -> &'static str {
        "ClusterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.chain.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.chain]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
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
        let (1, Some(chain)) = (children.len(), children.pop()) else {
            return internal_err!("ClusterExec takes one child");
        };
        let cluster = Arc::clone(&self.cluster);
        Ok(Arc::new(Self::new(chain, self.job, cluster)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("ClusterExec has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let mut rows = RecordBatchReceiverStreamBuilder::new(schema, PARTS_AHEAD);
        let (chain, cluster) = (Arc::clone(&self.chain), Arc::clone(&self.cluster));
        let sender = rows.tx();
        rows.spawn(async move { run(chain, cluster, partition, context, sender).await });
        Ok(rows.build())
    }
}

/// Runs a partition's jobs and passes their rows on.
async fn run(
    chain: Arc<dyn ExecutionPlan>,
    cluster: Arc<dyn TaskRunner>,
    partition: usize,
    context: Arc<TaskContext>,
    rows: mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let dealer = Dealer::new(&chain, cluster, &context).await?;
    let Some(input) = task_input(&chain) else {
        return internal_err!("a chain without input");
    };
    let mut source = Source::open(input, partition, &context)?;
    let mut jobs = VecDeque::new();
    let mut ended = false;
    loop {
        while jobs.len() < JOBS_AHEAD && !ended {
            // Executors come and go while a statement runs.
            let slots = dealer.cluster.slots().await?.max(1);
            match source.next_job(slots).await? {
                Some(inputs) => jobs.push_back(dealer.start(&inputs)?),
                None => ended = true,
            }
        }
        let Some((mut ledger, mut outputs, _running)) = jobs.pop_front() else {
            return Ok(());
        };
        while let Some(output) = outputs.recv().await {
            let output: TaskOutput = output?;
            let batch = from_ipc(&output.data)?;
            ledger.enter(&output, batch.num_rows())?;
            dealer.context.warnings.merge(noticed(&batch));
            // Field names and metadata are the plan's own, whatever they went through.
            let batch = RecordBatch::try_new(chain.schema(), batch.columns().to_vec())?;
            if batch.num_rows() > 0 && rows.send(Ok(batch)).await.is_err() {
                // Nobody wants the rest; dropping the jobs cancels them.
                return Ok(());
            }
        }
        ledger.finish()?;
    }
}

/// The bottom of a chain.
fn task_input(chain: &Arc<dyn ExecutionPlan>) -> Option<&TaskInputExec> {
    match chain.downcast_ref::<TaskInputExec>() {
        Some(input) => Some(input),
        None => task_input(chain.children().first()?),
    }
}

/// The chain with other rows at its bottom.
fn over(
    chain: &Arc<dyn ExecutionPlan>,
    leaf: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if chain.is::<TaskInputExec>() {
        return Ok(Arc::clone(leaf));
    }
    let [child] = chain.children()[..] else {
        return internal_err!("a chain with a branch");
    };
    replace_children_if_necessary(Arc::clone(chain), vec![over(child, leaf)?])
}

/// Turns rows into tasks.
struct Dealer {
    /// The chain, with what its calls ship.
    chain: Arc<dyn ExecutionPlan>,
    cluster: Arc<dyn TaskRunner>,
    context: CallContext,
    label: String,
    keeps_rows: bool,
    /// Everything of a task but its plan.
    envelope: WireTask,
}

/// A job under way: what must come of it, what came, and the task that fetches it.
type Started = (Ledger, mpsc::Receiver<Result<TaskOutput>>, SpawnedTask<()>);

impl Dealer {
    async fn new(
        chain: &Arc<dyn ExecutionPlan>,
        cluster: Arc<dyn TaskRunner>,
        context: &TaskContext,
    ) -> Result<Self> {
        let config = context.session_config();
        let call_context = CallContext::of(config);
        let storage = storage_root(config.options())?;
        let directory = std::env::current_dir()?;
        let envelope = WireTask {
            storage: storage.url.to_string(),
            storage_id: identify_storage(&storage).await?,
            directory: directory.to_string_lossy().into_owned(),
            options: changed_options(config.options()),
            plan: vec![],
        };
        let mut functions = Vec::new();
        let mut keeps_rows = true;
        let mut link = chain;
        loop {
            keeps_rows &= !link.is::<FilterExec>();
            let calls = calls(link).into_iter().flat_map(|exec| exec.calls());
            functions.extend(calls.map(|call| call.function.clone()));
            match link.children().first() {
                Some(child) if !link.is::<TaskInputExec>() => link = child,
                _ => break,
            }
        }
        functions.reverse();
        Ok(Self {
            chain: ship(chain, &call_context).await?,
            cluster,
            context: call_context,
            label: functions.join(", "),
            keeps_rows,
            envelope,
        })
    }

    /// Submits a job; its results wait in the channel.
    fn start(&self, inputs: &[Input]) -> Result<Started> {
        let sent = inputs.iter().map(|(rows, _)| *rows).collect();
        let tasks = inputs.iter().map(|(rows, leaf)| {
            let task = WireTask {
                plan: encode_plan(over(&self.chain, leaf)?)?,
                ..self.envelope.clone()
            };
            Ok(Task {
                rows: *rows,
                plan: task.encode_to_vec().into(),
            })
        });
        let mut outputs = self.cluster.run(Job {
            label: self.label.clone(),
            tasks: tasks.collect::<Result<_>>()?,
            progress: self.context.progress.clone(),
        });
        let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
        let running = SpawnedTask::spawn(async move {
            while let Some(output) = outputs.next().await {
                if sender.send(output).await.is_err() {
                    return;
                }
            }
        });
        let ledger = Ledger::new(sent, self.keeps_rows);
        Ok((ledger, receiver, running))
    }
}

/// Has every call of a chain put what it needs where executors find it.
async fn ship(
    chain: &Arc<dyn ExecutionPlan>,
    context: &CallContext,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut links = Vec::new();
    let mut link = chain;
    while !link.is::<TaskInputExec>() {
        links.push(Arc::clone(link));
        let Some(child) = link.children().first().copied() else {
            return internal_err!("a chain without input");
        };
        link = child;
    }
    let mut below = Arc::clone(link);
    for link in links.into_iter().rev() {
        below = match calls(&link) {
            Some(exec) => Arc::new(exec.shipped(below, context).await?),
            None => replace_children_if_necessary(link, vec![below])?,
        };
    }
    Ok(below)
}

/// What a task reads: how many rows, and the operator that gives them.
type Input = (u64, Arc<dyn ExecutionPlan>);

/// Where the rows of a partition come from.
enum Source {
    /// Rows that the client computes.
    Rows {
        stream: SendableRecordBatchStream,
        /// What is left of the last record batch, and its bytes a row.
        rest: Option<(RecordBatch, usize)>,
        grain: Grain,
    },
    /// Files that executors read.
    Files {
        scan: Arc<dyn ExecutionPlan>,
        partition: usize,
        sizes: Vec<u64>,
        next: usize,
        grain: Grain,
    },
}

impl Source {
    fn open(
        input: &TaskInputExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let (scan, grain) = (Arc::clone(&input.input), input.grain);
        if is_scan_of_files(scan.as_ref())
            && let Some(sizes) = atoll_udf_blob::file_sizes(scan.as_ref(), partition)
        {
            return Ok(Self::Files {
                scan,
                partition,
                sizes,
                next: 0,
                grain,
            });
        }
        Ok(Self::Rows {
            stream: scan.execute(partition, Arc::clone(context))?,
            rest: None,
            grain,
        })
    }

    /// The inputs of the next job's tasks; `None` at the end.
    async fn next_job(&mut self, slots: usize) -> Result<Option<Vec<Input>>> {
        match self {
            Self::Rows {
                stream,
                rest,
                grain,
            } => {
                let most = rows_per_job(*grain, slots);
                let Some(rows) = next_rows(stream, rest, most).await? else {
                    return Ok(None);
                };
                let step = rows_per_task(*grain, slots, rows.num_rows());
                let starts = (0..rows.num_rows()).step_by(step);
                let inputs = starts.map(|start| {
                    let len = step.min(rows.num_rows() - start);
                    let rows = compact(&rows.slice(start, len))?;
                    let schema = rows.schema();
                    let leaf =
                        MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?;
                    Ok((len as u64, leaf as Arc<dyn ExecutionPlan>))
                });
                inputs.collect::<Result<_>>().map(Some)
            }
            Self::Files {
                scan,
                partition,
                sizes,
                next,
                grain,
            } => {
                let end = (*next + rows_per_job(*grain, slots)).min(sizes.len());
                let step = rows_per_task(*grain, slots, end - *next);
                let mut inputs = Vec::new();
                // Of large files a task takes fewer, and a job so too.
                while *next < end && inputs.len() < TASKS_PER_JOB {
                    let mut bytes = 0;
                    let len = sizes[*next..end]
                        .iter()
                        .take(step)
                        .take_while(|size| {
                            bytes += **size;
                            bytes <= FILE_BYTES_PER_TASK
                        })
                        .count()
                        .max(1);
                    let piece = *next..*next + len;
                    *next += len;
                    let scan =
                        atoll_udf_blob::scan_piece(scan.as_ref(), *partition, piece);
                    let Some(scan) = scan else {
                        return internal_err!("a scan lost its files");
                    };
                    inputs.push((len as u64, scan));
                }
                Ok((!inputs.is_empty()).then_some(inputs))
            }
        }
    }
}

fn rows_per_job(grain: Grain, slots: usize) -> usize {
    match grain {
        Grain::Rows => TASKS_PER_JOB,
        Grain::Groups => tasks_per_job(slots) * ROWS_PER_TASK,
    }
}

fn tasks_per_job(slots: usize) -> usize {
    (slots * TASKS_PER_SLOT).min(TASKS_PER_JOB)
}

fn rows_per_task(grain: Grain, slots: usize, rows: usize) -> usize {
    match grain {
        Grain::Rows => 1,
        Grain::Groups => rows.div_ceil(tasks_per_job(slots)).clamp(1, ROWS_PER_TASK),
    }
}

/// The next rows of a stream, at most `most` of them and few enough bytes for a job.
async fn next_rows(
    stream: &mut SendableRecordBatchStream,
    rest: &mut Option<(RecordBatch, usize)>,
    most: usize,
) -> Result<Option<RecordBatch>> {
    let schema: SchemaRef = stream.schema();
    let (mut taken, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while rows < most && bytes < BYTES_PER_JOB {
        let (batch, row_bytes) = match rest.take() {
            Some(rest) => rest,
            None => match stream.next().await.transpose()? {
                // Slices share their buffers, so a row counts for its share.
                Some(batch) => {
                    let bytes = batch.get_array_memory_size();
                    let row_bytes = (bytes / batch.num_rows().max(1)).max(1);
                    (batch, row_bytes)
                }
                None => break,
            },
        };
        if batch.num_rows() == 0 {
            continue;
        }
        let fit = ((BYTES_PER_JOB - bytes) / row_bytes).max(1);
        let len = batch.num_rows().min(most - rows).min(fit);
        if len < batch.num_rows() {
            *rest = Some((batch.slice(len, batch.num_rows() - len), row_bytes));
        }
        taken.push(batch.slice(0, len));
        rows += len;
        bytes += len * row_bytes;
    }
    match taken.is_empty() {
        true => Ok(None),
        false => Ok(Some(concat_batches(&schema, &taken)?)),
    }
}

/// Lets go of text and bytes that only other rows use: views are sent with all of their
/// buffers.
fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => {
                Arc::new(column.as_string_view().gc()) as Arc<dyn Array>
            }
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        });
    let options = datafusion::arrow::array::RecordBatchOptions::new()
        .with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns.collect(),
        &options,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_bounded_however_large_the_cluster_is() {
        for slots in [1, 2, 100, 8000] {
            let rows = rows_per_job(Grain::Groups, slots);
            let step = rows_per_task(Grain::Groups, slots, rows);
            assert!(rows.div_ceil(step) <= TASKS_PER_JOB, "{slots} slots");
            assert!(step <= ROWS_PER_TASK, "{slots} slots");
            assert_eq!(rows_per_job(Grain::Rows, slots), TASKS_PER_JOB);
        }
    }
}
