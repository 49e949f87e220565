//! `read_blob((SELECT filename, .. FROM ..))`: files whose names are rows of a query.
//!
//! The query's columns stay, and columns of the file that each row names come beside them
//! ([`ReadFilesNode`]). The query is a part of the plan like any other, so that a cluster
//! deals its rows to executors, which open the files. What nobody looks at is not read
//! ([`ReadsWhatIsUsed`]).

mod node;
mod rule;

use std::sync::Arc;

use atoll_udf_blob::{Part, PartColumn, ReadFilesExec};
use datafusion::common::{Column, ExprSchema, Result, internal_datafusion_err, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;

pub(crate) use node::ReadFilesNode;
pub(crate) use rule::ReadsWhatIsUsed;

/// The column that names a row's file.
const FILENAME: &str = "filename";

/// The files that the rows of a query name.
pub(crate) fn plan(rows: LogicalPlan) -> Result<LogicalPlan> {
    let columns = rows.schema().columns();
    let is_named = |column: &Column| column.name == FILENAME;
    let filename = match &columns[..] {
        [only] => only,
        columns => match columns.iter().find(|column| is_named(column)) {
            Some(column) => column,
            None => {
                let names: Vec<_> = columns.iter().map(Column::name).collect();
                return plan_err!(
                    "read_blob takes a query of one column or with a column called \
                     filename, got {}; write the name as .. AS filename",
                    names.join(", ")
                );
            }
        },
    };
    let data_type = rows.schema().field_from_column(filename)?.data_type();
    if !atoll_udf_common::args::is_text(data_type) {
        return plan_err!(
            "read_blob takes the names of files as text, got {} of {data_type}",
            filename.name
        );
    }
    let parts = Part::ALL.into_iter();
    let has = |part: &Part| columns.iter().any(|c| c.name == *part.field(true).name());
    if has(&Part::Content) {
        return plan_err!(
            "read_blob adds a column content, and its query has one; leave that out of \
             the query"
        );
    }
    // What an inventory says of its files need not be asked again.
    let parts: Vec<Part> = parts.filter(|part| !has(part)).collect();
    let kept = columns.iter().map(|column| {
        let name = match column == filename {
            true => FILENAME,
            false => column.name(),
        };
        Expr::Column(column.clone()).alias(name)
    });
    let kept: Vec<Expr> = kept.collect();
    let rows = LogicalPlanBuilder::from(rows).project(kept)?.build()?;
    let filename = Column::new_unqualified(FILENAME);
    let node = ReadFilesNode::try_new(Expr::Column(filename), parts, rows)?;
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    }))
}

/// The operator of a node.
pub(crate) fn physical(
    node: &ReadFilesNode,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = node.input.schema();
    let filename = match &node.filename {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    };
    let filename = filename
        .ok_or_else(|| internal_datafusion_err!("files without a column of names"))?;
    let columns = node.parts.iter().map(|part| PartColumn {
        part: *part,
        is_read: true,
        nullable: true,
    });
    let input = Arc::clone(input);
    Ok(Arc::new(ReadFilesExec::new(
        input,
        filename,
        columns.collect(),
        None,
    )))
}
