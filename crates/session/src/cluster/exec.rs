//! The operator that has a chain of operators run by a cluster.

use std::collections::VecDeque;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use atoll_udf_common::files::parquet_scan;
use atoll_udf_common::{AtollOptions, CallContext, storage_root};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::config::SessionConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    replace_children_if_necessary,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::sync::mpsc;

use super::journal::{self, Journal};
use super::ledger::Ledger;
use super::messages::WireTask;
use super::notes::Notes;
use super::numbers::Numbers;
use super::output::{self, OutputExec, Target, Terms};
use super::pace::Pace;
use super::rule::{TaskInputExec, calls};
use super::runtime::{changed_options, encode_plan, identify_storage};
use super::source::{self, Input, Source};
use super::wire::{from_ipc, under};
use super::{Job, Task, TaskOutput, TaskRunner};
use crate::expensive::ExpensiveExec;

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
    numbers: Numbers,
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
            numbers: Numbers::default(),
        }
    }

    /// What the tasks run.
    pub(super) fn chain(&self) -> &Arc<dyn ExecutionPlan> {
        &self.chain
    }

    /// The same tasks with another chain over the same input.
    pub(super) fn with_chain(&self, chain: Arc<dyn ExecutionPlan>) -> Self {
        let cluster = Arc::clone(&self.cluster);
        Self {
            numbers: self.numbers.clone(),
            ..Self::new(chain, self.job, cluster)
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
        let numbers = self.numbers.clone();
        rows.spawn(async move {
            run((chain, cluster), partition, context, &numbers, sender).await
        });
        Ok(rows.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.numbers.metrics())
    }
}

/// Runs a partition's jobs and passes their rows on.
async fn run(
    (chain, cluster): (Arc<dyn ExecutionPlan>, Arc<dyn TaskRunner>),
    partition: usize,
    context: Arc<TaskContext>,
    numbers: &Numbers,
    rows: mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let dealer = Dealer::new(&chain, cluster, &context).await?;
    let Some(input) = task_input(&chain) else {
        return internal_err!("a chain without input");
    };
    let mut source = source::open(&input.input, partition, &context)?;
    let mut pace = Pace::new(input.grain);
    let mut noted = Noted::new(&dealer.chain, partition, &context)?;
    let skipped = noted
        .replay(source.as_mut(), &rows, &chain.schema())
        .await?;
    if !skipped {
        // Nobody wants the rest.
        return Ok(());
    }
    let mut jobs = VecDeque::new();
    let mut ended = false;
    loop {
        while jobs.len() < JOBS_AHEAD && !ended {
            // Executors come and go while a statement runs.
            let slots = dealer.cluster.slots().await?.max(1);
            match source.next_job(slots, &pace).await? {
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
            let came = output::rows_of(&chain, &batch);
            ledger.enter(&output, came)?;
            let notes = Notes::of(&batch);
            numbers.enter(came as u64, output.data.len() as u64);
            numbers.end(&notes);
            if let (Some(rows), Some(seconds)) = (output.rows_in, notes.seconds) {
                pace.enter(rows, seconds);
            }
            dealer.context.warnings.merge(notes.noticed);
            // Field names and metadata are the plan's own, whatever they went through.
            let batch = under(&chain.schema(), &batch)?;
            noted.enter(&batch);
            if batch.num_rows() > 0 && rows.send(Ok(batch)).await.is_err() {
                // Nobody wants the rest; dropping the jobs cancels them.
                return Ok(());
            }
        }
        ledger.finish()?;
        noted.job_ended(ledger.tasks(), ledger.rows()).await?;
    }
}

/// Where a partition's tasks are noted.
struct Notebook {
    journal: Arc<Journal>,
    target: Arc<dyn Target>,
    terms: Terms,
    /// What the rows depend on.
    key: Vec<u8>,
}

/// What a partition of a statement that writes notes of its tasks, if it does.
struct Noted {
    notes: Option<Notebook>,
    partition: usize,
    /// How many rows went into tasks that ended.
    rows: u64,
    /// What the tasks of the job gave that ends.
    outputs: Vec<RecordBatch>,
}

impl Noted {
    fn new(
        shipped: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: &TaskContext,
    ) -> Result<Self> {
        let output = shipped.downcast_ref::<OutputExec>();
        let journal = output.and_then(|output| Some((output, output.terms.journal()?)));
        let journal = match journal {
            Some((output, journal)) => {
                journal::key(shipped, context)?.map(|key| Notebook {
                    journal: Arc::clone(journal),
                    target: Arc::clone(&output.target),
                    terms: output.terms.clone(),
                    key,
                })
            }
            None => None,
        };
        Ok(Self {
            notes: journal,
            partition,
            rows: 0,
            outputs: vec![],
        })
    }

    /// Passes on what an earlier run noted, and leaves the rows of its tasks out; whether
    /// anybody wants more.
    async fn replay(
        &mut self,
        source: &mut dyn Source,
        rows: &mpsc::Sender<Result<RecordBatch>>,
        schema: &SchemaRef,
    ) -> Result<bool> {
        let Some(notes) = &self.notes else {
            return Ok(true);
        };
        let journal = &notes.journal;
        for note in journal
            .resume(&notes.key, self.partition, &notes.target)
            .await?
        {
            for output in note.outputs() {
                let batch = under(schema, &output?)?;
                if rows.send(Ok(batch)).await.is_err() {
                    return Ok(false);
                }
            }
            notes.terms.skip(note.tasks);
            self.rows += note.rows;
        }
        source.skip(self.rows).await?;
        Ok(true)
    }

    fn enter(&mut self, output: &RecordBatch) {
        if self.notes.is_some() && output.num_rows() > 0 {
            self.outputs.push(output.clone());
        }
    }

    async fn job_ended(&mut self, tasks: u64, rows: u64) -> Result<()> {
        if let Some(Notebook { journal, key, .. }) = &self.notes {
            let at = (self.partition, self.rows);
            journal.note(key, at, (tasks, rows), &self.outputs).await?;
        }
        self.rows += rows;
        self.outputs.clear();
        Ok(())
    }
}

/// The bottom of a chain.
pub(super) fn task_input(chain: &Arc<dyn ExecutionPlan>) -> Option<&TaskInputExec> {
    match chain.downcast_ref::<TaskInputExec>() {
        Some(input) => Some(input),
        None => task_input(chain.children().first()?),
    }
}

/// The chain with other rows at its bottom.
pub(super) fn over(
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
    speculates: bool,
    keeps_rows: bool,
    /// Everything of a task but its plan.
    envelope: WireTask,
}

/// A task without its plan.
pub(super) async fn envelope(config: &SessionConfig) -> Result<WireTask> {
    let storage = storage_root(config.options())?;
    let directory = std::env::current_dir()?;
    Ok(WireTask {
        storage: storage.url.to_string(),
        storage_id: identify_storage(&storage).await?,
        directory: directory.to_string_lossy().into_owned(),
        options: changed_options(config.options()),
        plan: vec![],
    })
}

/// A task that runs a plan over so many rows.
pub(super) fn task(
    envelope: &WireTask,
    rows: u64,
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Task> {
    let task = WireTask {
        plan: encode_plan(plan)?,
        ..envelope.clone()
    };
    let plan = task.encode_to_vec().into();
    Ok(Task { rows, plan })
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
        let envelope = envelope(config).await?;
        let mut keeps_rows = true;
        let mut link = chain;
        loop {
            keeps_rows &= !link.is::<FilterExec>()
                && !link.is::<AggregateExec>()
                && !leaves_rows_out(link);
            match link.children().first() {
                Some(child) if !link.is::<TaskInputExec>() => link = child,
                _ => break,
            }
        }
        Ok(Self {
            chain: ship(chain, &call_context).await?,
            cluster,
            context: call_context,
            label: label(chain),
            speculates: AtollOptions::get(config.options()).speculation,
            keeps_rows,
            envelope,
        })
    }

    /// Submits a job; its results wait in the channel.
    fn start(&self, inputs: &[Input]) -> Result<Started> {
        let sent = inputs.iter().map(|(rows, _)| *rows).collect();
        let tasks = inputs
            .iter()
            .map(|(rows, leaf)| task(&self.envelope, *rows, over(&self.chain, leaf)?));
        let mut outputs = self.cluster.run(Job {
            label: self.label.clone(),
            tasks: tasks.collect::<Result<_>>()?,
            progress: self.context.progress.clone(),
            speculates: self.speculates,
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

/// Whether what is below a chain may read fewer rows than it is asked for.
fn leaves_rows_out(link: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(input) = link.downcast_ref::<TaskInputExec>() else {
        return false;
    };
    parquet_scan(input.input.as_ref())
        .is_some_and(|(config, _)| config.file_source().filter().is_some())
}

/// The expensive functions that tasks call, for people.
pub(super) fn label(plan: &Arc<dyn ExecutionPlan>) -> String {
    fn functions(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<String>) {
        if plan.is::<TaskInputExec>() {
            return;
        }
        for child in plan.children() {
            functions(child, found);
        }
        let made = calls(plan).into_iter().flat_map(ExpensiveExec::calls);
        found.extend(made.map(|call| call.function.clone()));
    }
    let mut found = vec![];
    functions(plan, &mut found);
    match found.is_empty() {
        true => "query".to_string(),
        false => found.join(", "),
    }
}

/// Has every call that tasks make put what it needs where executors find it.
pub(super) fn ship<'a>(
    plan: &'a Arc<dyn ExecutionPlan>,
    context: &'a CallContext,
) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
    async move {
        if plan.is::<TaskInputExec>() {
            return Ok(Arc::clone(plan));
        }
        let mut below = Vec::new();
        for child in plan.children() {
            below.push(ship(child, context).await?);
        }
        match (calls(plan), below.pop()) {
            (Some(exec), Some(input)) => {
                Ok(Arc::new(exec.shipped(input, context).await?) as _)
            }
            (None, Some(last)) => {
                below.push(last);
                replace_children_if_necessary(Arc::clone(plan), below)
            }
            (_, None) => Ok(Arc::clone(plan)),
        }
    }
    .boxed()
}
