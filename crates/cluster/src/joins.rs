//! Joins in the form in which Ballista's planner cuts them rightly.

use std::sync::Arc;

use atoll_session::is_expensive;
use ballista_core::config::BallistaConfig;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, JoinType, Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::expressions::{Column, UnKnownColumn};
use datafusion::physical_expr::{
    LexOrdering, Partitioning, PhysicalExpr, PhysicalExprRef, PhysicalSortExpr,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

/// Deals both sides of a hash join by its keys where Ballista would do so itself: where
/// the collected side is too large for each task, or is one of which rows are given that
/// have no match, which no task knows alone.
///
/// Ballista leaves the operators above as they are, though they were planned for the
/// partitions that the join had: one that groups what was dealt by its own keys gave a
/// group twice. Here the join's rows are dealt again as they were.
pub(crate) fn deal_joins(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let config = options.extensions.get::<BallistaConfig>();
    let most = config.map_or(0, BallistaConfig::broadcast_join_threshold_bytes);
    let partitions = options.execution.target_partitions;
    let plan = plan.transform_up(|node| {
        let join = node.downcast_ref::<HashJoinExec>().filter(|join| {
            *join.partition_mode() == PartitionMode::CollectLeft
                && !join.null_aware
                && (gives_left(*join.join_type()) || !is_broadcast(join.left(), most))
        });
        match join {
            Some(join) => Ok(Transformed::yes(dealt(join, partitions)?)),
            None => Ok(Transformed::no(node)),
        }
    })?;
    Ok(plan.data)
}

/// Whether a join gives rows for its left side that have no match, or only such.
fn gives_left(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Left
            | JoinType::Full
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
    )
}

/// Whether Ballista gives a side to each task as a whole: its own estimate, which has to
/// be the same here.
fn is_broadcast(side: &Arc<dyn ExecutionPlan>, most: usize) -> bool {
    let known = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new());
    let Ok(known) = known else {
        return false;
    };
    if let Some(bytes) = known
        .total_byte_size
        .get_value()
        .filter(|bytes| **bytes > 0)
    {
        return *bytes < most;
    }
    let Some(rows) = known.num_rows.get_value().filter(|rows| **rows > 0) else {
        return false;
    };
    let schema = side.schema();
    let width = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Boolean | DataType::Int8 | DataType::UInt8 => 1,
        DataType::Int16 | DataType::UInt16 => 2,
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 => 4,
        DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Date64 => 8,
        DataType::Decimal128(..) => 16,
        _ => 32,
    });
    rows.saturating_mul(width.sum::<usize>().max(8)) < most
}

/// The join with both sides dealt by its keys, and its rows as they were dealt before.
fn dealt(join: &HashJoinExec, partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let by = |side: &Arc<dyn ExecutionPlan>, keys: Vec<PhysicalExprRef>| {
        let collected = side.downcast_ref::<CoalescePartitionsExec>();
        let collected = collected.filter(|exec| exec.fetch().is_none());
        let side = collected.map_or(side, CoalescePartitionsExec::input);
        let by = Partitioning::Hash(keys, partitions);
        let dealt = RepartitionExec::try_new(Arc::clone(side), by)?;
        Ok::<_, DataFusionError>(Arc::new(dealt) as Arc<dyn ExecutionPlan>)
    };
    let (left, right) = join.on().iter().cloned().unzip();
    let sides = vec![by(join.left(), left)?, by(join.right(), right)?];
    let dealt = join
        .builder()
        .with_partition_mode(PartitionMode::Partitioned)
        .with_new_children(sides)?
        .build_exec()?;
    as_before(dealt, join.properties().output_partitioning())
}

/// Deals the rows of a join as the operators above it were told that they are.
fn as_before(
    join: Arc<dyn ExecutionPlan>,
    before: &Partitioning,
) -> Result<Arc<dyn ExecutionPlan>> {
    if before.partition_count() == 1 {
        return Ok(Arc::new(CoalescePartitionsExec::new(join)));
    }
    match before {
        Partitioning::Hash(keys, _) if !keys.iter().any(is_gone) => {
            Ok(Arc::new(RepartitionExec::try_new(join, before.clone())?))
        }
        // Nothing above can count on a key that is no column any more.
        _ => Ok(join),
    }
}

/// Whether a key is of a column that a projection left out.
fn is_gone(key: &Arc<dyn PhysicalExpr>) -> bool {
    key.exists(|part| Ok(part.is::<UnKnownColumn>()))
        .unwrap_or(true)
}

/// What a nested loop or cross join collects is read by each of its tasks, so an expensive
/// call there must be a stage of its own. One that gives rows of the collected side must
/// see all of the other side in one task, or each task gives what has no match among its
/// own rows.
pub(crate) fn collect_for_loops(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let loops = node.downcast_ref::<NestedLoopJoinExec>();
        let ([left, right], true) = (
            &node.children()[..],
            loops.is_some() || node.is::<CrossJoinExec>(),
        ) else {
            return Ok(Transformed::no(node));
        };
        let gives_left = loops.is_some_and(|join| gives_left(*join.join_type()));
        let (mut left, mut right) = (Arc::clone(left), Arc::clone(right));
        if !left.is::<CoalescePartitionsExec>() && left.exists(|n| Ok(is_expensive(n)))? {
            left = Arc::new(CoalescePartitionsExec::new(left));
        }
        if gives_left && right.output_partitioning().partition_count() > 1 {
            right = Arc::new(CoalescePartitionsExec::new(right));
        }
        let before = node.output_partitioning().clone();
        let node = replace_children_if_necessary(node, vec![left, right])?;
        match node.output_partitioning().partition_count() == before.partition_count() {
            true => Ok(Transformed::yes(node)),
            false => Ok(Transformed::yes(as_before(node, &before)?)),
        }
    })?;
    Ok(plan.data)
}

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

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::common::NullEquality;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    /// A join over four partitions whose collected side is too large for each task.
    fn collected(
        right: Arc<dyn ExecutionPlan>,
        projection: Vec<usize>,
    ) -> Arc<dyn ExecutionPlan> {
        let fields = ["k", "v"].map(|name| Field::new(name, DataType::Int64, true));
        let left = EmptyExec::new(Arc::new(Schema::new(fields.to_vec())));
        let key: PhysicalExprRef = Arc::new(Column::new("k", 0));
        let join = HashJoinExec::try_new(
            Arc::new(left),
            right,
            vec![(Arc::clone(&key), key)],
            None,
            &JoinType::Inner,
            Some(projection),
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        );
        Arc::new(join.unwrap())
    }

    #[test]
    fn rows_are_not_dealt_by_a_key_that_a_projection_left_out() {
        let fields = ["k", "w"].map(|name| Field::new(name, DataType::Int64, true));
        let rows = EmptyExec::new(Arc::new(Schema::new(fields.to_vec())));
        let below = collected(Arc::new(rows.with_partitions(4)), vec![0, 3]);
        let above = collected(below, vec![3]);
        let dealt = deal_joins(above, &ConfigOptions::new()).unwrap();
        let mut joins = 0;
        let gone = dealt.exists(|node| {
            joins += usize::from(node.is::<HashJoinExec>());
            let dealt = node.downcast_ref::<RepartitionExec>();
            Ok(dealt.is_some_and(|exec| match exec.partitioning() {
                Partitioning::Hash(keys, _) => keys.iter().any(is_gone),
                _ => false,
            }))
        });
        assert!(!gone.unwrap());
        assert_eq!(joins, 2);
    }
}
