//! Joins of two large sides, sorted instead of hashed.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

/// Sorts the sides of each hash join of which neither is known to have less than `most`
/// bytes: a sort goes to disk when memory ends, and a hash table does not.
pub(crate) fn sort_big_joins(
    plan: Arc<dyn ExecutionPlan>,
    most: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let join = node.downcast_ref::<HashJoinExec>();
        let is_big = |join: &&HashJoinExec| {
            *join.partition_mode() == PartitionMode::Partitioned
                && !join.null_aware
                && !is_small(join.left(), most)
                && !is_small(join.right(), most)
        };
        match join.filter(is_big) {
            Some(join) => Ok(Transformed::yes(sorted(join)?)),
            None => Ok(Transformed::no(node)),
        }
    })?;
    Ok(plan.data)
}

fn is_small(side: &Arc<dyn ExecutionPlan>, most: usize) -> bool {
    let known = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new());
    known.is_ok_and(|known| {
        let bytes = known.total_byte_size.get_value();
        bytes.is_some_and(|bytes| *bytes < most)
    })
}

fn sorted(join: &HashJoinExec) -> Result<Arc<dyn ExecutionPlan>> {
    let options = SortOptions::default();
    let sort = |side: &Arc<dyn ExecutionPlan>, keys: Vec<PhysicalExprRef>| {
        let keys = keys
            .into_iter()
            .map(|key| PhysicalSortExpr::new(key, options));
        let Some(order) = LexOrdering::new(keys) else {
            return internal_err!("a join without keys");
        };
        let sort = SortExec::new(order, Arc::clone(side));
        Ok(Arc::new(sort.with_preserve_partitioning(true)) as Arc<dyn ExecutionPlan>)
    };
    let keys = |of: fn(&(PhysicalExprRef, PhysicalExprRef)) -> &PhysicalExprRef| {
        join.on().iter().map(|on| Arc::clone(of(on))).collect()
    };
    let merge: Arc<dyn ExecutionPlan> = Arc::new(SortMergeJoinExec::try_new(
        sort(join.left(), keys(|(left, _)| left))?,
        sort(join.right(), keys(|(_, right)| right))?,
        join.on().to_vec(),
        join.filter().cloned(),
        *join.join_type(),
        vec![options; join.on().len()],
        join.null_equality(),
    )?);
    let Some(projection) = join.projection.as_ref() else {
        return Ok(merge);
    };
    let schema = merge.schema();
    let columns = projection.iter().map(|at| {
        let name = schema.field(*at).name();
        ProjectionExpr {
            expr: Arc::new(Column::new(name, *at)),
            alias: name.clone(),
        }
    });
    let columns: Vec<_> = columns.collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, merge)?))
}
