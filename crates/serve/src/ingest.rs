//! A client's rows as a new table, as `adbc_ingest` sends them.

use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{
    Constraints, Result, TableReference, exec_datafusion_err, internal_err, not_impl_err,
};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, LogicalPlan, LogicalPlanBuilder,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{Stream, TryStreamExt};

use datafusion::arrow::array::RecordBatch;
use tonic::Status;

/// A plan that makes the table, and the count of its rows, which is complete once the
/// plan has run.
pub(crate) fn plan(
    command: CommandStatementIngest,
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> Result<(LogicalPlan, Arc<AtomicI64>)> {
    let options = command.table_definition_options.unwrap_or_default();
    if options.if_exists == TableExistsOption::Append as i32 {
        return not_impl_err!(
            "rows are not appended to the table {}\nhint: ingest them into a table of their \
             own, or write CREATE OR REPLACE TABLE .. AS SELECT .. UNION ALL SELECT ..",
            command.table
        );
    }
    let replaces = options.if_exists == TableExistsOption::Replace as i32;
    if replaces && options.if_not_exist == TableNotExistOption::Fail as i32 {
        return not_impl_err!("a table is not replaced on condition that it exists");
    }
    if command.temporary {
        return not_impl_err!("tables that end with the session are not made");
    }
    let count = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&count);
    let rows = rows
        .map_err(|status| {
            exec_datafusion_err!("the rows ended early: {}", status.message())
        })
        .inspect_ok(move |batch| {
            let rows = i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
            counted.fetch_add(rows, Ordering::Relaxed);
        });
    let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows));
    let rows = Uploaded {
        schema: Arc::clone(&schema),
        rows: Mutex::new(Some(rows)),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(rows)])?;
    let table = provider_as_source(Arc::new(table));
    let input = LogicalPlanBuilder::scan("rows", table, None)?.build()?;
    let name = match (command.catalog, command.schema) {
        (Some(catalog), Some(schema)) => {
            TableReference::full(catalog, schema, command.table)
        }
        (None, Some(schema)) => TableReference::partial(schema, command.table),
        (_, None) => TableReference::bare(command.table),
    };
    let create = CreateMemoryTable {
        name,
        constraints: Constraints::default(),
        input: Arc::new(input),
        if_not_exists: false,
        or_replace: replaces,
        column_defaults: vec![],
        temporary: false,
    };
    let plan = LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create));
    Ok((plan, count))
}

/// Rows that come once.
struct Uploaded {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl Debug for Uploaded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Uploaded")
    }
}

impl PartitionStream for Uploaded {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self
            .rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        rows.unwrap_or_else(|| {
            let failed =
                futures::stream::iter([internal_err!("the rows were read twice")]);
            Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                failed,
            ))
        })
    }
}
