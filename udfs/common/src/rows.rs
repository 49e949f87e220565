//! How many rows operators have.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

/// The statistics of an operator that gives a row of `schema` for each row of its input:
/// nothing is known of the columns.
pub fn as_many_rows(schema: &Schema, inputs: &[Arc<Statistics>]) -> Arc<Statistics> {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = inputs
        .first()
        .map_or(Precision::Absent, |input| input.num_rows);
    Arc::new(statistics)
}

/// How many rows a plan gives, as far as that can be told without running it.
pub fn known_rows(plan: &dyn ExecutionPlan) -> Option<usize> {
    let known = StatisticsContext::new().compute(plan, &StatisticsArgs::new());
    known.ok()?.num_rows.get_value().copied()
}
