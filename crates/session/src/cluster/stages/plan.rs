//! Decides which statements run in stages, and plans them.

use std::sync::Arc;

use atoll_udf_blob::ReadFilesExec;
use atoll_udf_common::{AtollOptions, CallContext, Fallback};
use datafusion::arrow::datatypes::Field;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::logical_plan::{PlanType, StringifiedPlan};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, displayable, replace_children_if_necessary,
};
use datafusion::physical_planner::PhysicalPlanner;

use super::scans::ScansExec;
use super::statement::StagesExec;
use crate::cluster::exec::ClusterExec;
use crate::cluster::runtime::encode_plan;
use crate::cluster::{Cluster, TaskRunner};

/// Tasks of a stage for each slot of the cluster.
const TASKS_PER_SLOT: usize = 2;

/// About how many bytes a text, a list or a struct has.
const VALUE_BYTES: u64 = 64;

/// Most tasks of a stage: each reads a range of what each task before it left.
const MOST_TASKS: usize = 256;

/// A statement's plan in stages, if it reads enough for that; otherwise the plan that
/// the client runs.
pub(crate) async fn distribute(
    plan: Arc<dyn ExecutionPlan>,
    logical: &LogicalPlan,
    session: &dyn Session,
    planner: &dyn PhysicalPlanner,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(cluster) = session.config().get_extension::<Cluster>() else {
        return Ok(plan);
    };
    if plan.is::<DataSinkExec>() {
        return under_sink(plan, logical, session, planner).await;
    }
    let options = AtollOptions::get(session.config().options());
    if plan.is::<ClusterExec>() || bytes_of_client(&plan) <= options.distribute_bytes {
        return Ok(plan);
    }
    let bytes = bytes_read(&plan)?;
    let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
        return Ok(plan);
    };
    match in_stages(logical, state, planner, &cluster.0, bytes).await {
        Ok(stages) => Ok(Arc::new(stages)),
        Err(error) if options.cluster_fallback == Fallback::Error => {
            let reason = error.find_root().message();
            plan_err!(
                "the cluster cannot run this statement: {reason}; change it, or let the \
                 client run it with SET atoll.cluster_fallback = 'client'"
            )
        }
        Err(error) => {
            let reason = error.find_root().message();
            let warnings = CallContext::of(session.config()).warnings;
            warnings.add(format!(
                "this statement reads {bytes} bytes, and the client joins, groups and \
                 sorts them alone: {reason}"
            ));
            Ok(plan)
        }
    }
}

/// What writes files here stays here, over rows that come from stages.
async fn under_sink(
    sink: Arc<dyn ExecutionPlan>,
    logical: &LogicalPlan,
    session: &dyn Session,
    planner: &dyn PhysicalPlanner,
) -> Result<Arc<dyn ExecutionPlan>> {
    let input = match logical {
        LogicalPlan::Copy(copy) => &copy.input,
        LogicalPlan::Dml(dml) => &dml.input,
        _ => return Ok(sink),
    };
    let [rows] = sink.children()[..] else {
        return Ok(sink);
    };
    let rows = Arc::clone(rows);
    let rows = Box::pin(distribute(rows, input, session, planner)).await?;
    match rows.is::<StagesExec>() {
        true => replace_children_if_necessary(sink, vec![rows]),
        false => Ok(sink),
    }
}

/// EXPLAIN of a statement that runs in stages.
pub(crate) async fn explain(
    shown: Arc<dyn ExecutionPlan>,
    explained: &LogicalPlan,
    session: &dyn Session,
    planner: &dyn PhysicalPlanner,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(explain) = shown.downcast_ref::<ExplainExec>() else {
        return Ok(shown);
    };
    let LogicalPlan::Explain(statement) = explained else {
        return Ok(shown);
    };
    if session.config().get_extension::<Cluster>().is_none() {
        return Ok(shown);
    }
    let Ok(plan) = planner.create_physical_plan(&statement.plan, session).await else {
        // EXPLAIN shows why.
        return Ok(shown);
    };
    let plan = distribute(plan, &statement.plan, session, planner).await?;
    if !plan.is::<StagesExec>() {
        return Ok(shown);
    }
    let plans = explain.stringified_plans().iter().map(|stage| {
        match stage.plan_type == PlanType::FinalPhysicalPlan {
            true => StringifiedPlan::new(
                PlanType::FinalPhysicalPlan,
                displayable(plan.as_ref())
                    .indent(statement.verbose)
                    .to_string(),
            ),
            false => stage.clone(),
        }
    });
    let schema = explain.schema();
    let explain = ExplainExec::new(schema, plans.collect(), explain.verbose());
    Ok(Arc::new(explain))
}

async fn in_stages(
    logical: &LogicalPlan,
    state: &SessionState,
    planner: &dyn PhysicalPlanner,
    cluster: &Arc<dyn TaskRunner>,
    bytes: u64,
) -> Result<StagesExec> {
    let shuffle = cluster.shuffle();
    let slots = cluster.slots().await?;
    let least = state.config().target_partitions();
    let tasks = (slots * TASKS_PER_SLOT).clamp(least, MOST_TASKS.max(least));
    let config = shuffle.settings(state.config().clone().with_target_partitions(tasks));
    let rules = state.physical_optimizers().iter();
    let rules = rules.filter(|rule| rule.name() != crate::cluster::rule::NAME);
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_physical_optimizer_rules(rules.cloned().collect())
        .build();
    let plan = planner.create_physical_plan(logical, &state).await?;
    // Whether every operator can be sent, which shows only when it is tried.
    let trial = ScansExec::in_place(Arc::clone(&plan))?;
    encode_plan(Arc::clone(&trial))?;
    let stages = shuffle.cut(trial, state.config_options())?;
    let (plan, cluster) = (plan, Arc::clone(cluster));
    let options = Arc::clone(state.config_options());
    Ok(StagesExec::new(
        plan,
        cluster,
        (stages.len(), bytes),
        options,
    ))
}

/// About how many bytes the client would have to join, group and sort: the files that it
/// reads itself, and the rows that tasks give it. Those of a task that groups them already
/// are few.
fn bytes_of_client(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    if let Some(exec) = plan.downcast_ref::<ClusterExec>() {
        if exec.chain().is::<AggregateExec>() {
            return 0;
        }
        let known = StatisticsContext::new().compute(exec, &StatisticsArgs::new());
        let rows = known
            .ok()
            .and_then(|known| known.num_rows.get_value().copied());
        if let Some(rows) = rows {
            let schema = plan.schema();
            let width: u64 = schema.fields().iter().map(|field| width_of(field)).sum();
            return (rows as u64).saturating_mul(width);
        }
    }
    let below = plan
        .children()
        .into_iter()
        .map(bytes_of_client)
        .sum::<u64>();
    below + bytes_scanned(plan)
}

/// About how many bytes a value has.
fn width_of(field: &Field) -> u64 {
    let width = field.data_type().primitive_width();
    width.map_or(VALUE_BYTES, |width| width as u64)
}

/// How many bytes of files a plan reads.
fn bytes_read(plan: &Arc<dyn ExecutionPlan>) -> Result<u64> {
    let mut bytes = 0;
    plan.apply(|node| {
        bytes += bytes_scanned(node);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}

/// How many bytes of files an operator reads.
fn bytes_scanned(node: &Arc<dyn ExecutionPlan>) -> u64 {
    let files = node.downcast_ref::<DataSourceExec>().and_then(|scan| {
        let source: &dyn std::any::Any = scan.data_source().as_ref();
        source.downcast_ref::<FileScanConfig>()
    });
    if let Some(files) = files {
        let files = files.file_groups.iter().flat_map(FileGroup::iter);
        return files.map(|file| file.effective_size()).sum();
    }
    if let Some(reads) = node.downcast_ref::<ReadFilesExec>() {
        return reads.bytes();
    }
    let partitions = 0..node.output_partitioning().partition_count();
    let sizes = partitions
        .filter_map(|partition| atoll_udf_blob::file_sizes(node.as_ref(), partition));
    sizes.flatten().sum()
}
