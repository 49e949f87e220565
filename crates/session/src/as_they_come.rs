//! Rows of a search are seen as its trials end.

use std::sync::Arc;

use atoll_udf_common::RowsExec;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ExecutionPlan, Partitioning, replace_children_if_necessary,
};

/// Leaves the rows of a [`RowsExec`] in their order and on one core where they are only
/// computed with.
///
/// The planner deals them to all cores, which collects batches of thousands: the first trial
/// of a study would be seen after its last one. Calls that are worth a core are dealt still.
#[derive(Debug, Default)]
pub(crate) struct RowsAsTheyCome;

impl PhysicalOptimizerRule for RowsAsTheyCome {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match undealt(&node) {
            Some(rows) => {
                let node = replace_children_if_necessary(node, vec![rows])?;
                Ok(Transformed::yes(node))
            }
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "rows_as_they_come"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows below a projection or a filter, if they were dealt for it alone.
fn undealt(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    if !(node.is::<ProjectionExec>() || node.is::<FilterExec>()) {
        return None;
    }
    let children = node.children();
    let dealt = children.first()?.downcast_ref::<RepartitionExec>()?;
    let is_dealt = matches!(dealt.partitioning(), Partitioning::RoundRobinBatch(_));
    (is_dealt && makes_rows(dealt.input())).then(|| Arc::clone(dealt.input()))
}

fn makes_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<RowsExec>()
        || plan.is::<ProjectionExec>() && plan.children().into_iter().all(makes_rows)
}
