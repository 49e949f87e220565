//! A client's rows as a new table or more rows of one, as `adbc_ingest` sends them.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use atoll_session::Session;
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{
    Constraints, Result, ScalarValue, TableReference, exec_datafusion_err, internal_err,
    not_impl_err, plan_err,
};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, LogicalPlan, LogicalPlanBuilder, cast, ident, lit,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{Stream, TryStreamExt};
use parking_lot::Mutex;

use datafusion::arrow::array::RecordBatch;
use tonic::Status;

use crate::prepared::Planned;

/// A plan that makes the table or adds to it, and the count of the rows, which is complete
/// once the plan has run.
pub(crate) async fn plan(
    session: &Session,
    command: CommandStatementIngest,
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> Result<(Planned, Arc<AtomicI64>)> {
    let options = command.table_definition_options.unwrap_or_default();
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
    let text = format!("ingest into {name}");
    let exists = session.context().table_exist(name.clone())?;
    if exists && options.if_exists == TableExistsOption::Append as i32 {
        let plan = append(session, name, input).await?;
        return Ok((Planned { plan, text }, count));
    }
    if !exists && options.if_not_exist == TableNotExistOption::Fail as i32 {
        return plan_err!(
            "there is no table {name} to append to\nhint: make it with the mode create or \
             create_append"
        );
    }
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
    Ok((Planned { plan, text }, count))
}

/// A plan that adds rows to a table, whose columns are found by their names. A column that
/// is not sent is NULL.
async fn append(
    session: &Session,
    name: TableReference,
    rows: LogicalPlan,
) -> Result<LogicalPlan> {
    let table = session.context().table_provider(name.clone()).await?;
    let schema = table.schema();
    let sent = Arc::clone(rows.schema());
    if let Some(field) = sent.fields().iter().find(|sent| {
        let same = |field: &FieldRef| field.name() == sent.name();
        !schema.fields().iter().any(same)
    }) {
        return plan_err!("the table {name} has no column {}", field.name());
    }
    let columns = schema.fields().iter().map(|field| {
        let is_sent = sent.has_column_with_unqualified_name(field.name());
        let value = if is_sent {
            ident(field.name())
        } else {
            lit(ScalarValue::Null)
        };
        cast(value, field.data_type().clone()).alias(field.name())
    });
    let rows = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
    let target = provider_as_source(table);
    LogicalPlanBuilder::insert_into(rows, name, target, InsertOp::Append)?.build()
}

/// A table whose rows are a client's upload, so that they can be read only once.
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
        let rows = self.rows.lock().take();
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
