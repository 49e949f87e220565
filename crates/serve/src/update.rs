//! Statements that are run for what they change and not for their rows, such as INSERT.

use atoll_session::{Session, changes_something};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

use crate::output;
use crate::prepared::Planned;

/// Runs statements to their ends, one after the other. Returns how many rows they changed
/// together, or `None` if one of them does not say.
pub(crate) async fn run(session: &Session, plans: Vec<Planned>) -> Result<Option<i64>> {
    let mut total = Some(0);
    for Planned { plan, text } in plans {
        let plan = session.resolve(plan).await?;
        let counts = matches!(plan, LogicalPlan::Copy(_) | LogicalPlan::Dml(_));
        let changes = changes_something(&plan);
        let rows = session.execute_plan(plan, &text).await?;
        let last = output::drain(rows).await?;
        let count = match (counts, changes, last) {
            (true, _, Some(batch)) => batch
                .columns()
                .first()
                .and_then(|column| column.as_primitive_opt::<UInt64Type>())
                .filter(|counts| !counts.is_empty())
                .and_then(|counts| i64::try_from(counts.value(0)).ok()),
            // Neither a table made nor a setting is a row changed.
            (false, true, _) => Some(0),
            _ => None,
        };
        total = total.zip(count).map(|(total, count)| total + count);
    }
    Ok(total)
}
