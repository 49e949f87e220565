//! Finds the parts of a plan that a cluster runs.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use atoll_udf_blob::ReadFilesExec;
use atoll_udf_common::Grain;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    replace_children_if_necessary,
};

use super::TaskRunner;
use super::exec::ClusterExec;
use super::runtime::encode_plan;
use super::source::ReadBy;
use super::stages::FilesRead;
use crate::expensive::ExpensiveExec;

/// The name of [`DealExpensiveCalls`].
pub(super) const NAME: &str = "deal_expensive_calls";

/// Gives every chain of operators around expensive calls to the cluster.
///
/// The last rule of all: what runs on the client was planned as for one machine, and
/// the chain keeps its partitions and their order.
#[derive(Debug)]
pub(crate) struct DealExpensiveCalls {
    pub(crate) cluster: Arc<dyn TaskRunner>,
}

impl PhysicalOptimizerRule for DealExpensiveCalls {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.deal(plan, &mut 0)
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl DealExpensiveCalls {
    /// Jobs are numbered in the order in which they run, inputs first.
    fn deal(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        jobs: &mut usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some((links, input)) = chain(&plan) else {
            let children = plan.children().into_iter().map(Arc::clone);
            let children = children
                .map(|child| self.deal(child, jobs))
                .collect::<Result<Vec<_>>>()?;
            return match children.is_empty() {
                true => Ok(plan),
                false => replace_children_if_necessary(plan, children),
            };
        };
        let grain = links
            .iter()
            .filter_map(calls)
            .map(ExpensiveExec::grain)
            .max();
        let input = self.deal(input, jobs)?;
        let bottom = TaskInputExec {
            input,
            grain: grain.unwrap_or(Grain::Groups),
        };
        let bottom: Arc<dyn ExecutionPlan> = Arc::new(bottom);
        let chain = links.into_iter().rev().try_fold(bottom, |below, link| {
            replace_children_if_necessary(link, vec![below])
        })?;
        *jobs += 1;
        let cluster = Arc::clone(&self.cluster);
        Ok(Arc::new(ClusterExec::new(chain, *jobs, cluster)))
    }
}

/// Operators, each above the next.
type Links = Vec<Arc<dyn ExecutionPlan>>;

/// The operators at the top of `plan` that one task can run over its own rows, and what
/// gives the rows; `None` when no expensive call is among them.
fn chain(plan: &Arc<dyn ExecutionPlan>) -> Option<(Links, Arc<dyn ExecutionPlan>)> {
    let mut links = Links::new();
    let mut lowest_calls = None;
    let mut below = plan;
    loop {
        if is_link(below) {
            // What calls look at is read where they are made.
            let is_read_for_calls = lowest_calls.is_some() && below.is::<ReadFilesExec>();
            if calls(below).is_some() || is_read_for_calls {
                lowest_calls = Some(links.len());
            }
            links.push(Arc::clone(below));
        } else if !spreads_a_scan(below) {
            break;
        }
        below = below.children().first().copied()?;
    }
    let lowest_calls = lowest_calls?;
    // Executors read files themselves. Of anything else only the rows that the calls
    // need are sent, and the cheap operators below the calls run here.
    if ReadBy::of(below.as_ref()) == ReadBy::Client {
        links.truncate(lowest_calls + 1);
        below = links.last()?.children().first().copied()?;
        let input = Arc::clone(below);
        return Some((links, input));
    }
    Some((links, Arc::clone(below)))
}

/// Whether an operator only gives the rows of one scan to more threads, which tasks do
/// without.
fn spreads_a_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let spreads = plan.downcast_ref::<RepartitionExec>().is_some_and(|exec| {
        matches!(exec.partitioning(), Partitioning::RoundRobinBatch(_))
            && !exec.preserve_order()
    });
    let mut below = plan;
    while spreads && (is_link(below) || below.is::<RepartitionExec>()) {
        let Some(child) = below.children().first().copied() else {
            return false;
        };
        below = child;
    }
    spreads && ReadBy::of(below.as_ref()) == ReadBy::ExecutorParquet
}

/// The calls of an operator that makes some.
pub(super) fn calls(plan: &Arc<dyn ExecutionPlan>) -> Option<&ExpensiveExec> {
    plan.downcast_ref::<ExpensiveExec>()
}

/// Whether an operator treats each row by itself and can be sent.
fn is_link(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if calls(plan).is_some() || plan.is::<ReadFilesExec>() {
        return true;
    }
    if plan.downcast_ref::<AggregateExec>().is_some_and(is_exact) {
        return is_sendable(plan);
    }
    let by_row = plan.is::<ProjectionExec>()
        || plan.is::<CooperativeExec>()
        || plan
            .downcast_ref::<FilterExec>()
            .is_some_and(|filter| filter.fetch().is_none());
    by_row && is_sendable(plan)
}

/// Whether an aggregate can be begun by each task and gives the same in the end, however
/// the rows are dealt. A sum of floats would not: its last bits depend on who adds what.
fn is_exact(aggregate: &AggregateExec) -> bool {
    let is_exact = |call: &Arc<AggregateFunctionExpr>| {
        let types = call.expressions().into_iter().map(|argument| {
            let input = aggregate.input().schema();
            argument.data_type(&input).unwrap_or(DataType::Float64)
        });
        let mut types = types.collect::<Vec<_>>().into_iter();
        let plain = !call.is_distinct() && call.order_bys().is_empty();
        plain
            && match call.fun().name() {
                "count" => true,
                "min" | "max" => types.all(|t| !t.is_floating() && !t.is_nested()),
                "sum" => types.all(|t| t.is_integer()),
                "bool_and" | "bool_or" => true,
                _ => false,
            }
    };
    *aggregate.mode() == AggregateMode::Partial
        && aggregate.limit_options().is_none()
        && aggregate.aggr_expr().iter().all(is_exact)
}

/// Whether an operator survives being written; some expressions, such as a subquery's
/// result, exist in this process only.
fn is_sendable(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let [child] = plan.children()[..] else {
        return false;
    };
    let empty = Arc::new(EmptyExec::new(child.schema()));
    let alone = replace_children_if_necessary(Arc::clone(plan), vec![empty]);
    alone.and_then(encode_plan).is_ok()
}

/// Marks where the client's part of a plan ends: its rows become tasks.
#[derive(Debug)]
pub(super) struct TaskInputExec {
    pub(super) input: Arc<dyn ExecutionPlan>,
    pub(super) grain: Grain,
}

impl DisplayAs for TaskInputExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let tasks = match (self.grain, ReadBy::of(self.input.as_ref())) {
            (Grain::Rows, ReadBy::Client) => "one row a task",
            (Grain::Groups, ReadBy::Client) => "groups of rows",
            (Grain::Rows, ReadBy::ExecutorFiles) => {
                "one file a task, read by the executor"
            }
            (Grain::Groups, ReadBy::ExecutorFiles) => {
                "groups of files, read by the executor"
            }
            (Grain::Rows, ReadBy::ExecutorParquet) => {
                "one row of a Parquet file a task, read by the executor"
            }
            (Grain::Groups, ReadBy::ExecutorParquet) => {
                "ranges of Parquet files, read by the executor"
            }
        };
        write!(f, "TaskInputExec: tasks={tasks}")?;
        let read = FilesRead::of(&self.input).unwrap_or_default();
        match read.files {
            0 => Ok(()),
            _ => write!(f, ", reads={read}"),
        }
    }
}

impl ExecutionPlan for TaskInputExec {
    fn name(&self) -> &'static str {
        "TaskInputExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        let (1, Some(input)) = (children.len(), children.pop()) else {
            return internal_err!("TaskInputExec takes one child");
        };
        let grain = self.grain;
        Ok(Arc::new(Self { input, grain }))
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
            _ => internal_err!("TaskInputExec has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
