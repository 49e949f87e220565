//! Runs the stages of a statement, each as jobs of the cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Formatter};
use std::sync::Arc;

use atoll_udf_common::{CallContext, storage_root};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
};
use tokio::sync::mpsc;

use super::scans::ScansExec;
use super::shuffle::{ShuffleExec, enter};
use super::stage::StageExec;
use super::work::Work;
use super::{Left, PartsExec, Shuffle, Stage, TaskPlan};
use crate::cluster::exec::{envelope, label, ship, task};
use crate::cluster::messages::WireTask;
use crate::cluster::numbers::Numbers;
use crate::cluster::output::{OutputExec, Target, Terms, counted};
use crate::cluster::outputs::Outputs;
use crate::cluster::wire::under;
use crate::cluster::{Task, TaskRunner};

/// Parts of results that wait for the operators above.
const PARTS_AHEAD: usize = 4;

/// The rows of a plan that is run in stages.
#[derive(Debug)]
pub(in crate::cluster) struct StagesExec {
    /// The plan as it is cut.
    plan: Arc<dyn ExecutionPlan>,
    cluster: Arc<dyn TaskRunner>,
    /// Its stages, for people.
    stages: Vec<Arc<dyn ExecutionPlan>>,
    /// How many bytes of files it reads.
    bytes: u64,
    /// What the plan was made under.
    options: Arc<ConfigOptions>,
    /// Where the tasks of the last stage write, instead of giving their rows.
    output: Option<(Arc<dyn Target>, Terms)>,
    properties: Arc<PlanProperties>,
}

impl StagesExec {
    pub(super) fn new(
        plan: Arc<dyn ExecutionPlan>,
        cluster: Arc<dyn TaskRunner>,
        (stages, bytes): (Vec<Arc<dyn ExecutionPlan>>, u64),
        options: Arc<ConfigOptions>,
    ) -> Self {
        let of_plan = plan.properties();
        // The rows of one task come after those of the other, so that what is sorted by
        // one task stays so.
        let equivalences = match of_plan.partitioning.partition_count() {
            1 => of_plan.equivalence_properties().clone(),
            _ => EquivalenceProperties::new(plan.schema()),
        };
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            of_plan.emission_type,
            of_plan.boundedness,
        );
        Self {
            plan,
            cluster,
            stages,
            bytes,
            options,
            output: None,
            properties: Arc::new(properties),
        }
    }

    fn stages(&self) -> impl Iterator<Item = &StageExec> {
        let stages = self.stages.iter();
        stages.filter_map(|stage| stage.downcast_ref::<StageExec>())
    }

    /// The same, with the tasks of the last stage writing to a target.
    pub(in crate::cluster) fn with_output(
        &self,
        target: Arc<dyn Target>,
        terms: Terms,
    ) -> Self {
        let (plan, cluster) = (Arc::clone(&self.plan), Arc::clone(&self.cluster));
        let schema = OutputExec::columns();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            self.properties.emission_type,
            self.properties.boundedness,
        );
        Self {
            output: Some((target, terms)),
            properties: Arc::new(properties),
            ..Self::new(
                plan,
                cluster,
                (self.stages.clone(), self.bytes),
                Arc::clone(&self.options),
            )
        }
    }
}

impl DisplayAs for StagesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let (stages, bytes) = (self.stages.len(), self.bytes);
        let tasks: usize = self.stages().map(StageExec::tasks).sum();
        let address = self.cluster.address();
        write!(
            f,
            "StagesExec: stages={stages}, tasks={tasks}, read={bytes} bytes, \
             cluster={address}"
        )
    }
}

impl ExecutionPlan for StagesExec {
    fn name(&self) -> &'static str {
        "StagesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.stages.iter().collect()
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
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // They are only shown; what tasks run is cut from the plan.
        Ok(self)
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut rows = RecordBatchReceiverStreamBuilder::new(self.schema(), PARTS_AHEAD);
        let statement = Statement {
            plan: Arc::clone(&self.plan),
            schema: self.schema(),
            cluster: Arc::clone(&self.cluster),
            options: Arc::clone(&self.options),
            output: self.output.clone(),
            numbers: self
                .stages()
                .map(|stage| (stage.id, stage.numbers.clone()))
                .collect(),
            context,
        };
        let sender = rows.tx();
        rows.spawn(async move { statement.run(sender).await });
        Ok(rows.build())
    }
}

/// A statement that runs.
struct Statement {
    plan: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    cluster: Arc<dyn TaskRunner>,
    options: Arc<ConfigOptions>,
    output: Option<(Arc<dyn Target>, Terms)>,
    /// What is counted of each stage.
    numbers: HashMap<usize, Numbers>,
    context: Arc<TaskContext>,
}

/// For how many rows a part of the last stage stands, which may be of files.
fn rows_in(output: &Option<(Arc<dyn Target>, Terms)>, part: &RecordBatch) -> u64 {
    match output {
        Some(_) => counted(part),
        None => part.num_rows() as u64,
    }
}

/// What its stages share.
struct Shared {
    shuffle: Arc<dyn Shuffle>,
    envelope: WireTask,
    /// Where rows are shuffled.
    folder: String,
    label: String,
}

impl Statement {
    async fn run(self, rows: mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        let config = self.context.session_config();
        let call_context = CallContext::of(config);
        let storage = storage_root(config.options())?;
        let plan = ship(&self.plan, &call_context).await?;
        let plan = ScansExec::in_place(plan)?;
        let shuffle = self.cluster.shuffle();
        let stages = shuffle.cut(plan, &self.options)?;
        let envelope = envelope(config).await?;
        let work = Work::open(storage, Arc::clone(&self.cluster))?;
        let shared = Shared {
            shuffle,
            envelope,
            folder: work.folder.to_string(),
            label: label(&self.plan),
        };
        let done = self.run_stages(&shared, stages, rows).await;
        work.close().await;
        done
    }

    /// Runs stages as soon as those are done that they read.
    async fn run_stages(
        &self,
        shared: &Shared,
        mut stages: Vec<Stage>,
        rows: mpsc::Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        let Some(last) = stages.pop() else {
            return internal_err!("a statement without stages");
        };
        let mut left: HashMap<usize, Left> = HashMap::new();
        while !stages.is_empty() {
            let is_ready =
                |stage: &Stage| stage.inputs.iter().all(|id| left.contains_key(id));
            let (ready, waiting): (Vec<_>, Vec<_>) =
                stages.into_iter().partition(is_ready);
            if ready.is_empty() {
                return internal_err!("stages that wait for each other");
            }
            let running = ready
                .iter()
                .map(|stage| self.run_stage(shared, stage, &left));
            let done = futures::future::try_join_all(running).await?;
            left.extend(ready.iter().map(|stage| stage.id).zip(done));
            stages = waiting;
        }
        let plans = shared.plans(&last, &left)?;
        let tasks = plans.into_iter().map(|TaskPlan { plan, .. }| {
            shared.task(match &self.output {
                Some((target, terms)) => {
                    Arc::new(OutputExec::new(plan, Arc::clone(target), terms.clone()))
                }
                None => plan,
            })
        });
        let tasks = tasks.collect::<Result<Vec<_>>>()?;
        let mut outputs = self.outputs(shared, last.id, &tasks);
        let numbers = self.numbers(last.id);
        while let Some((_, batch, bytes)) = outputs.next().await? {
            numbers.enter(rows_in(&self.output, &batch), bytes);
            let batch = under(&self.schema, &batch)?;
            if batch.num_rows() > 0 && rows.send(Ok(batch)).await.is_err() {
                // Nobody wants the rest.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs a stage; what it left.
    async fn run_stage(
        &self,
        shared: &Shared,
        stage: &Stage,
        left: &HashMap<usize, Left>,
    ) -> Result<Left> {
        let plans = shared.plans(stage, left)?.into_iter().enumerate();
        let tasks = plans.map(|(task, plan)| {
            let place = (shared.folder.clone(), format!("{}-{task:06}", stage.id));
            let exec = ShuffleExec::new(plan.plan, plan.output, place, None);
            shared.task(Arc::new(exec))
        });
        let tasks = tasks.collect::<Result<Vec<_>>>()?;
        let mut outputs = self.outputs(shared, stage.id, &tasks);
        let numbers = self.numbers(stage.id);
        let mut done = Left::default();
        while let Some((task, ranges, _)) = outputs.next().await? {
            let (rows, bytes) = enter(&mut done, task, &ranges)?;
            numbers.enter(rows, bytes);
        }
        Ok(done)
    }

    fn numbers(&self, stage: usize) -> Numbers {
        self.numbers.get(&stage).cloned().unwrap_or_default()
    }

    /// Runs tasks of a stage.
    fn outputs(&self, shared: &Shared, stage: usize, tasks: &[Task]) -> Outputs {
        Outputs::new(
            Arc::clone(&self.cluster),
            shared.label.clone(),
            self.context.session_config(),
            self.numbers(stage),
            tasks,
        )
    }
}

impl Shared {
    /// What the tasks of a stage run.
    fn plans(&self, stage: &Stage, left: &HashMap<usize, Left>) -> Result<Vec<TaskPlan>> {
        let plans = self.shuffle.tasks(stage, left, &self.folder)?;
        let inputs = stage.inputs.iter().filter_map(|id| left.get(id));
        check_dealing(&plans, inputs)?;
        Ok(plans)
    }

    /// Nobody knows how many rows it reads, and it is never evaluated in parts.
    fn task(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Task> {
        task(&self.envelope, 0, plan)
    }
}

/// Checks that the tasks of a stage read each range that was left for them once, or each
/// of them every range: rows that are missing or twice show here before anything runs.
fn check_dealing<'a>(
    plans: &[TaskPlan],
    inputs: impl Iterator<Item = &'a Left>,
) -> Result<()> {
    let mut dealt: HashMap<(String, u64), usize> = HashMap::new();
    for TaskPlan { plan, .. } in plans {
        plan.apply(|node| {
            let parts = node.downcast_ref::<PartsExec>();
            for range in parts.into_iter().flat_map(PartsExec::ranges) {
                let range = (range.object.clone(), range.start);
                *dealt.entry(range).or_default() += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    for left in inputs {
        let ranges = left.ranges.values().flat_map(BTreeMap::values);
        let times: BTreeSet<usize> = ranges
            .map(|range| (range.object.clone(), range.start))
            .map(|range| dealt.get(&range).copied().unwrap_or_default())
            .collect();
        let is_right = |times: &usize| *times == 1 || *times == plans.len();
        if times.len() > 1 || !times.iter().all(is_right) {
            return internal_err!(
                "{} tasks would read rows {times:?} times; report this statement",
                plans.len()
            );
        }
    }
    Ok(())
}
