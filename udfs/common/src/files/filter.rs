//! Filters that what a listing says decides, before any file is read.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

/// Whether a filter asks only for columns of which `is_listed` is true, means the same
/// each time, and has no subquery, which only a whole plan can run.
pub fn is_decided_by(filter: &Expr, is_listed: impl Fn(&str) -> bool) -> bool {
    let names = filter.column_refs();
    let subquery = filter.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    names.iter().all(|column| is_listed(&column.name))
        && !filter.is_volatile()
        && matches!(subquery, Ok(false))
}

/// The files for which a filter is true; `listing` has a row for each of them.
pub fn keep_where<T>(
    state: &dyn Session,
    filter: Expr,
    listing: &RecordBatch,
    files: Vec<T>,
) -> Result<Vec<T>> {
    let schema = DFSchema::try_from(listing.schema())?;
    let filter = state.create_physical_expr(filter, &schema)?;
    where_true(&filter, listing, files)
}

/// The same with a filter that is planned.
pub fn where_true<T>(
    filter: &Arc<dyn PhysicalExpr>,
    listing: &RecordBatch,
    files: Vec<T>,
) -> Result<Vec<T>> {
    let keep = filter.evaluate(listing)?.into_array(files.len())?;
    // As in WHERE, what is neither true nor false is left out.
    let kept = files.into_iter().zip(keep.as_boolean());
    let kept = kept.filter(|(_, keep)| *keep == Some(true));
    Ok(kept.map(|(file, _)| file).collect())
}
