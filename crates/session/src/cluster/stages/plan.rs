//! Decides which statements run in stages, and plans them.

use std::sync::Arc;

use atoll_udf_common::{AtollOptions, CallContext, Fallback};
use datafusion::catalog::Session;
use datafusion::common::format::ExplainFormat;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::logical_plan::{PlanType, StringifiedPlan};
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::{
    ExecutionPlan, displayable, replace_children_if_necessary,
};
use datafusion::physical_planner::PhysicalPlanner;

use super::scans::ScansExec;
use super::size::{FilesRead, bytes_of_client};
use super::stage::StageExec;
use super::statement::StagesExec;
use crate::cluster::exec::ClusterExec;
use crate::cluster::runtime::encode_plan;
use crate::cluster::{Cluster, TaskRunner};

/// Tasks of a stage for each slot of the cluster.
const TASKS_PER_SLOT: usize = 2;

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
    let placed = place(plan, logical, session, planner).await?;
    if let Some(reason) = placed.lost {
        let warnings = CallContext::of(session.config()).warnings;
        warnings.add(reason);
    }
    Ok(placed.plan)
}

/// A plan, and where it runs.
struct Placed {
    plan: Arc<dyn ExecutionPlan>,
    /// Who joins, groups and sorts, and why, for people.
    why: String,
    /// Why the client does it although it is much.
    lost: Option<String>,
}

async fn place(
    plan: Arc<dyn ExecutionPlan>,
    logical: &LogicalPlan,
    session: &dyn Session,
    planner: &dyn PhysicalPlanner,
) -> Result<Placed> {
    let Some(cluster) = session.config().get_extension::<Cluster>() else {
        let (why, lost) = (String::new(), None);
        return Ok(Placed { plan, why, lost });
    };
    let below = match logical {
        LogicalPlan::Copy(copy) if plan.is::<DataSinkExec>() => Some(&copy.input),
        LogicalPlan::Dml(dml) if plan.is::<DataSinkExec>() => Some(&dml.input),
        LogicalPlan::Analyze(analyze) => Some(&analyze.input),
        _ => None,
    };
    if let (Some(input), [rows]) = (below, &plan.children()[..]) {
        // What writes files or shows numbers stays here, over rows that come from stages.
        let rows = Arc::clone(rows);
        let mut placed = Box::pin(place(rows, input, session, planner)).await?;
        placed.plan = replace_children_if_necessary(plan, vec![placed.plan])?;
        return Ok(placed);
    }
    let options = AtollOptions::get(session.config().options());
    let (bytes, most) = (bytes_of_client(&plan), options.distribute_bytes);
    let here = |plan, why| {
        let lost = None;
        Ok(Placed { plan, why, lost })
    };
    if plan.is::<ClusterExec>() {
        return here(
            plan,
            "the client has nothing to join, group or sort".to_string(),
        );
    }
    if bytes <= most {
        return here(
            plan,
            format!(
                "the client joins, groups and sorts: {bytes} bytes are not more than \
                 atoll.distribute_bytes = {most}"
            ),
        );
    }
    let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
        return here(plan, String::new());
    };
    let read = FilesRead::of(&plan)?.bytes;
    match in_stages(logical, state, planner, &cluster.0, read).await {
        Ok(stages) => Ok(Placed {
            plan: Arc::new(stages),
            why: format!(
                "the cluster joins, groups and sorts: {bytes} bytes are more than \
                 atoll.distribute_bytes = {most}"
            ),
            lost: None,
        }),
        Err(error) if options.cluster_fallback == Fallback::Error => {
            let reason = error.find_root().message();
            plan_err!(
                "the cluster cannot run this statement: {reason}; change it, or let the \
                 client run it with SET atoll.cluster_fallback = 'client'"
            )
        }
        Err(error) => {
            let reason = error.find_root().message();
            let reason = format!(
                "this statement reads {read} bytes, and the client joins, groups and \
                 sorts them alone: {reason}"
            );
            let (why, lost) = (reason.clone(), Some(reason));
            Ok(Placed { plan, why, lost })
        }
    }
}

/// EXPLAIN of a statement on a cluster: its plan as it runs, and why it runs there.
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
    let is_text = statement.explain_format == ExplainFormat::Indent;
    if session.config().get_extension::<Cluster>().is_none() || !is_text {
        return Ok(shown);
    }
    let Ok(plan) = planner.create_physical_plan(&statement.plan, session).await else {
        // EXPLAIN shows why.
        return Ok(shown);
    };
    let placed = place(plan, &statement.plan, session, planner).await?;
    let plans = explain.stringified_plans().iter().map(|stage| {
        if stage.plan_type != PlanType::FinalPhysicalPlan {
            return stage.clone();
        }
        let plan = displayable(placed.plan.as_ref());
        let text = format!("{}where: {}\n", plan.indent(statement.verbose), placed.why);
        StringifiedPlan::new(PlanType::FinalPhysicalPlan, text)
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
    let stages = StageExec::all(&stages)?;
    let options = Arc::clone(state.config_options());
    let cluster = Arc::clone(cluster);
    Ok(StagesExec::new(plan, cluster, (stages, bytes), options))
}
