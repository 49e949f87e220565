//! Plans cut into stages, and the rows of a task sorted by who reads them: with Ballista's
//! planner, its restriction of a plan to a partition, and its shuffle writer.
//!
//! Ballista would run the stages itself. It loses rows, or doubles them, when an executor
//! is lost between two stages, so only its parts are used here. Its planner alone gives
//! wrong rows for three shapes of plans, which [`sort_again`], [`collect_for_loops`] and
//! [`deal_joins`] close before it cuts them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use atoll_session::{
    Left, LocalRange, Output, PartsExec, Range, Shuffle, Stage, TaskPlan,
};
use ballista_core::JobId;
use ballista_core::execution_plans::sort_shuffle::{ShuffleIndex, get_index_path};
use ballista_core::execution_plans::{
    ShuffleReaderExec, ShuffleWriterExec, SortShuffleWriterExec, UnresolvedShuffleExec,
    compute_global_output_partition_ids,
};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::scheduler::{
    ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification,
    PartitionId, PartitionLocation, PartitionStats,
};
use ballista_scheduler::planner::{
    DefaultDistributedPlanner, DistributedPlanner, remove_unresolved_shuffles,
};
use ballista_scheduler::state::task_builder::restrict_plan_to_partitions;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, internal_datafusion_err, internal_err,
};
use datafusion::config::ConfigOptions;
use datafusion::execution::TaskContext;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;

use crate::joins::{collect_for_loops, deal_joins, sort_big_joins};

/// Ballista's names of jobs are of no use here, where a job is one stage.
const JOB: &str = "statement";

/// A join whose smaller side is not known to be smaller than this is sorted, because
/// sorting spills and a hash table does not.
const HASHED_BYTES: usize = 256 << 20;

/// Options that the session had before and that Ballista changes for its own transport.
const KEPT: [&str; 2] = [
    "datafusion.execution.parquet.schema_force_view_types",
    "datafusion.sql_parser.map_string_types_to_utf8view",
];

/// Cuts plans and shuffles rows.
#[derive(Debug)]
pub(crate) struct Stages;

#[async_trait]
impl Shuffle for Stages {
    fn settings(&self, config: SessionConfig) -> SessionConfig {
        let before = config.options().entries();
        let mut config = config.upgrade_for_ballista();
        for entry in before {
            let (true, Some(value)) = (KEPT.contains(&entry.key.as_str()), entry.value)
            else {
                continue;
            };
            // It had this value before.
            let _ = config.options_mut().set(&entry.key, &value);
        }
        // Without it every table of a join is shuffled, however small.
        config.set_bool("datafusion.optimizer.prefer_hash_join", true)
    }

    fn optimizer_rules(
        &self,
        rules: &[Arc<dyn OptimizerRule + Send + Sync>],
    ) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
        ballista_core::optimizer::with_ballista_optimizer_rules(rules)
    }

    fn cut(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Vec<Stage>> {
        let plan = sort_big_joins(deal_joins(plan, options)?, HASHED_BYTES)?;
        let plan = sort_again(collect_for_loops(plan)?)?;
        let mut planner = DefaultDistributedPlanner::new();
        let stages = planner.plan_query_stages(&JobId::from(JOB), plan, options);
        let stages = stages.map_err(failed)?.into_iter().map(|writer| {
            let id = writer.stage_id();
            let partitioning = writer.shuffle_output_partitioning().cloned();
            let plan: Arc<dyn ExecutionPlan> = writer;
            let mut inputs = BTreeSet::new();
            plan.apply(|node| {
                if let Some(input) = node.downcast_ref::<UnresolvedShuffleExec>() {
                    inputs.insert(input.stage_id);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(Stage {
                id,
                plan,
                inputs,
                partitioning,
            })
        });
        stages.collect()
    }

    fn tasks(
        &self,
        stage: &Stage,
        left: &HashMap<usize, Left>,
        folder: &str,
    ) -> Result<Vec<TaskPlan>> {
        let plan = Arc::clone(&stage.plan);
        let plan = remove_unresolved_shuffles(plan, &locations(stage, left));
        let plan = plan.map_err(failed)?;
        let tasks = 0..tasks_of(&stage.plan)?;
        tasks
            .map(|task| task_plan((stage.id, &plan), task, left, folder))
            .collect()
    }

    async fn write(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        output: &Output,
        folder: &Path,
        context: Arc<TaskContext>,
    ) -> Result<Vec<LocalRange>> {
        let folder = folder.to_string_lossy().into_owned();
        let partitions = output.partitions.clone();
        let (job, stage, task) = (JobId::from(JOB), 1, 0);
        let writer: Arc<dyn ExecutionPlan> = match &output.partitioning {
            Some(partitioning) => Arc::new(
                SortShuffleWriterExec::try_new(
                    job,
                    stage,
                    plan,
                    folder,
                    partitioning.clone(),
                    Default::default(),
                )?
                .with_task_id(task)
                .with_global_output_partition_ids(partitions),
            ),
            None => Arc::new(
                ShuffleWriterExec::try_new(job, stage, plan, folder)?
                    .with_task_id(task)
                    .with_global_output_partition_ids(partitions),
            ),
        };
        // All at once: the first starts the writer, and the others wait for it.
        let outputs = writer.output_partitioning().partition_count();
        let outputs = (0..outputs).map(|partition| {
            let rows = writer.execute(partition, Arc::clone(&context))?;
            Ok(rows.try_collect::<Vec<_>>())
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let outputs = futures::future::try_join_all(outputs).await?;
        let is_sorted = output.partitioning.is_some();
        let ranges = outputs
            .iter()
            .flatten()
            .map(|batch| ranges(batch, is_sorted));
        Ok(ranges
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }
}

/// What one task of a stage runs, whose plan reads what the stages before left.
fn task_plan(
    (stage, plan): (usize, &Arc<dyn ExecutionPlan>),
    task: usize,
    left: &HashMap<usize, Left>,
    folder: &str,
) -> Result<TaskPlan> {
    let partitions = compute_global_output_partition_ids(plan, &[task]);
    let plan = restrict_plan_to_partitions(Arc::clone(plan), &[task])?;
    let partitioning = plan
        .downcast_ref::<SortShuffleWriterExec>()
        .map(|writer| writer.shuffle_output_partitioning().clone());
    let [input] = plan.children()[..] else {
        return internal_err!("a stage writes the rows of one operator");
    };
    // What is not restricted gives every row in every task.
    let kept = input.output_partitioning().partition_count();
    if kept != 1 {
        return internal_err!("a task of stage {stage} kept {kept} partitions");
    }
    let plan = read_ranges(Arc::clone(input), left, folder)?;
    let output = Output {
        partitioning,
        partitions,
    };
    Ok(TaskPlan { plan, output })
}

fn failed(error: impl Display) -> DataFusionError {
    exec_datafusion_err!("this statement cannot be cut into stages: {error}")
}

/// How many tasks a stage has: one for each partition of what is written.
fn tasks_of(writer: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    match writer.children()[..] {
        [input] => Ok(input.output_partitioning().partition_count().max(1)),
        _ => internal_err!("a stage writes the rows of one operator"),
    }
}

/// What a writer says that it wrote.
fn ranges(batch: &RecordBatch, is_sorted: bool) -> Result<Vec<LocalRange>> {
    let [partition, path, _, stats] = batch.columns() else {
        return internal_err!("a writer of rows gave other columns");
    };
    let (Some(partition), Some(path), Some(stats)) = (
        partition.as_primitive_opt::<UInt32Type>(),
        path.as_string_opt::<i32>(),
        stats.as_struct_opt(),
    ) else {
        return internal_err!("a writer of rows gave other types");
    };
    let rows = stats.column(0).as_primitive_opt::<UInt64Type>();
    let range = |row: usize| {
        let partition = partition.value(row) as usize;
        let file = PathBuf::from(path.value(row));
        let (start, end) = match is_sorted {
            true => {
                let index = ShuffleIndex::read_from_file(&get_index_path(&file));
                index.map_err(failed)?.get_partition_range(partition)
            }
            false => {
                let bytes = std::fs::metadata(&file)?.len();
                (0, i64::try_from(bytes).unwrap_or(i64::MAX))
            }
        };
        Ok(LocalRange {
            partition,
            file,
            start: u64::try_from(start).unwrap_or_default(),
            end: u64::try_from(end).unwrap_or_default(),
            rows: rows.map_or(0, |rows| rows.value(row)),
        })
    };
    (0..batch.num_rows()).map(range).collect()
}

/// A shuffle forgets the order that a repartition keeps, so whoever needs it sorts.
fn sort_again(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let repartition = node.downcast_ref::<RepartitionExec>();
        let repartition = repartition.filter(|exec| exec.preserve_order());
        let (Some(repartition), Some(order)) =
            (repartition, node.output_ordering().cloned())
        else {
            return Ok(Transformed::no(node));
        };
        let input = Arc::clone(repartition.input());
        let plain = RepartitionExec::try_new(input, repartition.partitioning().clone())?;
        let sorted =
            SortExec::new(order, Arc::new(plain)).with_preserve_partitioning(true);
        Ok(Transformed::yes(Arc::new(sorted) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(plan.data)
}

/// What the stages before left, as Ballista names it.
fn locations(
    stage: &Stage,
    left: &HashMap<usize, Left>,
) -> HashMap<usize, HashMap<usize, Vec<PartitionLocation>>> {
    // Nobody asks an executor for them.
    let nobody = ExecutorMetadata {
        id: String::new(),
        host: String::new(),
        port: 0,
        grpc_port: 0,
        specification: ExecutorSpecification::default(),
        os_info: ExecutorOperatingSystemSpecification::default(),
    };
    let location = |stage: usize, partition: usize, task: usize| PartitionLocation {
        map_partition_id: task,
        partition_id: PartitionId {
            job_id: JobId::from(JOB),
            stage_id: stage,
            partition_id: partition,
        },
        executor_meta: nobody.clone(),
        partition_stats: PartitionStats::default(),
        file_id: Some(task as u64),
        is_sort_shuffle: true,
    };
    let inputs = stage
        .inputs
        .iter()
        .filter_map(|id| Some((*id, left.get(id)?)));
    inputs
        .map(|(id, left)| {
            let partitions = left.ranges.iter().map(|(partition, tasks)| {
                let tasks = tasks.keys().map(|task| location(id, *partition, *task));
                (*partition, tasks.collect())
            });
            (id, partitions.collect())
        })
        .collect()
}

/// Reads ranges of the storage where Ballista would ask executors for rows.
fn read_ranges(
    plan: Arc<dyn ExecutionPlan>,
    left: &HashMap<usize, Left>,
    folder: &str,
) -> Result<Arc<dyn ExecutionPlan>> {
    let range = |at: &PartitionLocation| {
        let of_stage = left.get(&at.partition_id.stage_id);
        let of_partition =
            of_stage.and_then(|left| left.ranges.get(&at.partition_id.partition_id));
        let range = of_partition.and_then(|tasks| tasks.get(&at.map_partition_id));
        range
            .cloned()
            .ok_or_else(|| internal_datafusion_err!("a range that no task left"))
    };
    let plan = plan.transform_up(|node| {
        if let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() {
            let partitions = reader.partition.iter().map(|partition| {
                partition.iter().map(range).collect::<Result<Vec<Range>>>()
            });
            let parts = PartsExec::new(
                folder,
                reader.schema(),
                partitions.collect::<Result<_>>()?,
                reader.broadcast,
                reader.properties().output_partitioning().clone(),
            );
            return Ok(Transformed::yes(Arc::new(parts) as Arc<dyn ExecutionPlan>));
        }
        // One range after the other, where a coalesce gives them as they come.
        let coalesce = node.downcast_ref::<CoalescePartitionsExec>();
        let parts =
            coalesce.and_then(|coalesce| coalesce.input().downcast_ref::<PartsExec>());
        let (Some(coalesce), Some(parts)) = (coalesce, parts) else {
            return Ok(Transformed::no(node));
        };
        let all: Arc<dyn ExecutionPlan> = Arc::new(parts.in_one());
        let all = match coalesce.fetch() {
            Some(fetch) => Arc::new(GlobalLimitExec::new(all, 0, Some(fetch))),
            None => all,
        };
        Ok(Transformed::yes(all))
    })?;
    Ok(plan.data)
}
