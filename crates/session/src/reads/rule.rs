//! Leaves out what nobody looks at of the files that rows name.

use std::collections::BTreeSet;
use std::sync::Arc;

use atoll_udf_blob::ReadFilesExec;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use crate::expensive::ExpensiveExec;

/// Has [`ReadFilesExec`] read only what the operators above it use.
///
/// The planner drops columns that nobody needs from scans and projections. Of an operator
/// of ours it drops columns of the input only, so here the rest is not read: it stays a
/// column, of NULLs.
#[derive(Debug, Default)]
pub(crate) struct ReadsWhatIsUsed;

impl PhysicalOptimizerRule for ReadsWhatIsUsed {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match has_reads(&plan) {
            true => reading(plan, &None),
            false => Ok(plan),
        }
    }

    fn name(&self) -> &'static str {
        "reads_what_is_used"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn has_reads(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ReadFilesExec>() || plan.children().into_iter().any(has_reads)
}

/// The columns of an operator that those above it use; `None` are all.
type Used = Option<BTreeSet<usize>>;

/// The plan, if only some of its columns are used.
fn reading(plan: Arc<dyn ExecutionPlan>, used: &Used) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = match (plan.downcast_ref::<ReadFilesExec>(), used) {
        (Some(read), Some(used)) => {
            Arc::new(read.reading(|column| used.contains(&column)))
        }
        _ => plan,
    };
    let below = used_below(&plan, used)?;
    let children = plan.children().into_iter().map(Arc::clone);
    let children = children.map(|child| reading(child, &below));
    let children = children.collect::<Result<Vec<_>>>()?;
    match children.is_empty() {
        true => Ok(plan),
        false => replace_children_if_necessary(plan, children),
    }
}

/// What an operator uses of the columns of its input.
fn used_below(plan: &Arc<dyn ExecutionPlan>, used: &Used) -> Result<Used> {
    if plan.is::<ProjectionExec>() {
        return own(plan).map(Some);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let reads_rows = matches!(
            aggregate.mode(),
            AggregateMode::Partial
                | AggregateMode::Single
                | AggregateMode::SinglePartitioned
        );
        return match reads_rows {
            true => own(plan).map(Some),
            false => Ok(None),
        };
    }
    let Some(width) = kept_columns(plan) else {
        return Ok(None);
    };
    let Some(used) = used else {
        return Ok(None);
    };
    let mut below = own(plan)?;
    if let Some(read) = plan.downcast_ref::<ReadFilesExec>() {
        below.insert(read.filename());
    }
    if let Some(calls) = plan.downcast_ref::<ExpensiveExec>() {
        below.extend(calls.source());
    }
    match plan.downcast_ref::<FilterExec>() {
        Some(filter) => match filter.projection().as_deref() {
            Some(projection) => {
                below.extend(used.iter().filter_map(|column| projection.get(*column)));
            }
            None => below.extend(used),
        },
        None => below.extend(used.iter().filter(|column| **column < width)),
    }
    Ok(Some(below))
}

/// How many columns of its input an operator passes on first; `None` for one of which
/// that is not known.
fn kept_columns(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let keeps = plan.is::<FilterExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<ReadFilesExec>()
        || plan.is::<ExpensiveExec>();
    let [child] = plan.children()[..] else {
        return None;
    };
    keeps.then(|| child.schema().fields().len())
}

/// The columns in an operator's own expressions.
fn own(plan: &Arc<dyn ExecutionPlan>) -> Result<BTreeSet<usize>> {
    let mut columns = BTreeSet::new();
    plan.apply_expressions(&mut |expr| {
        let found = collect_columns(expr);
        columns.extend(found.iter().map(|column| column.index()));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}
