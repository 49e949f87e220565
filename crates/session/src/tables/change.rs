//! INSERT, DELETE, UPDATE, MERGE and TRUNCATE of stored tables.

use std::sync::Arc;

use atoll_delta::{Change, Replaced, Rewrite, Sink, Source, Table};
use atoll_udf_common::files::Parquet;
use atoll_udf_common::{Location, as_expensive};
use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference, exec_datafusion_err, plan_err};
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::{
    MemTable, ViewTable, provider_as_source, source_as_provider,
};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Volatility, WriteOp,
};
use datafusion::prelude::SessionContext;
use tempfile::TempDir;

use super::{
    ByTasks, Found, StoredTables, log, notes, statement, stored_name, warn_of_done,
};
use crate::sql::split;
use crate::{Origin, parquet_files};

/// Whether a statement changes a Delta table, which no operator of the engine does.
pub(crate) fn is_changed_here(dml: &DmlStatement) -> Result<bool> {
    let provider = source_as_provider(&dml.target)?;
    Ok(atoll_delta::location_of(provider.as_ref()).is_some())
}

impl StoredTables {
    /// Runs a statement that changes the rows of a stored table; `None` if it is about
    /// another kind of table.
    pub(crate) async fn change(
        &self,
        context: &SessionContext,
        dml: &DmlStatement,
        origin: &Origin,
    ) -> Result<Option<SendableRecordBatchStream>> {
        let Some(table) = self.target(dml).await? else {
            return Ok(None);
        };
        let rows = match &dml.op {
            WriteOp::Insert(insert) => {
                self.insert(context, table, dml, *insert, origin).await?
            }
            op => {
                let (change, copy) = change_of(context, dml, op).await?;
                let location = table.location().clone();
                let statement = statement(origin);
                let (provenance, warnings) = notes(context, origin);
                let rewrite = Rewrite {
                    context,
                    location: &location,
                    statement: &statement,
                    provenance,
                    warnings,
                    writer: &ByTasks(origin),
                };
                let changed = rewrite.run(&change).await?;
                drop(copy);
                if changed.was_done {
                    warn_of_done(context, origin, &dml.table_name);
                }
                log(origin, &location, &changed.files).await?;
                changed.rows
            }
        };
        let count = counted(dml.output_schema.inner(), rows)?;
        let count = context.read_table(Arc::new(count))?;
        Ok(Some(count.execute_stream().await?))
    }

    /// The Delta table that a statement is to change, stored or not.
    async fn target(&self, dml: &DmlStatement) -> Result<Option<Table>> {
        let (name, at) = split(dml.table_name.table());
        let provider = source_as_provider(&dml.target)?;
        if let Some(location) = atoll_delta::location_of(provider.as_ref()) {
            if let Some(at) = at {
                return plan_err!(
                    "{name} {at} cannot be changed: it is an older version"
                );
            }
            // Once more, because the statement may have been planned a while ago.
            return match Table::open(location).await? {
                Some(table) => Ok(Some(table)),
                None => plan_err!("the table {location} is not there any more"),
            };
        }
        if let Ok(name) = stored_name(&dml.table_name)
            && !self.memory.table_exist(name)
            && matches!(self.find(name).await?, Found::Old(_))
        {
            return plan_err!(
                "table {name} is one of an older Atoll, which can be read but not changed; \
                 write CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name} first"
            );
        }
        Ok(None)
    }

    async fn insert(
        &self,
        context: &SessionContext,
        table: Table,
        dml: &DmlStatement,
        insert: InsertOp,
        origin: &Origin,
    ) -> Result<u64> {
        let replaced = match insert {
            InsertOp::Append => Replaced::None,
            InsertOp::Overwrite if table.partition_columns()?.is_empty() => Replaced::All,
            InsertOp::Overwrite => Replaced::Partitions,
            InsertOp::Replace => {
                return plan_err!("REPLACE INTO is not supported; write MERGE INTO");
            }
        };
        let rows = context.execute_logical_plan(dml.input.as_ref().clone());
        let plan = rows.await?.create_physical_plan().await?;
        let sink = Sink::of(&table, notes(context, origin))?;
        let written = super::write::write(sink, plan, context.task_ctx(), origin).await?;
        let (rows, files) = (written.rows, written.files());
        let location = table.location().clone();
        let statement = statement(origin);
        if !atoll_delta::add(table, written, replaced, &statement).await? {
            warn_of_done(context, origin, &dml.table_name);
            return Ok(0);
        }
        log(origin, &location, &files).await?;
        Ok(rows)
    }
}

/// The row that says how many rows a statement wrote.
pub(crate) fn counted(schema: &SchemaRef, rows: u64) -> Result<MemTable> {
    let count = Arc::new(UInt64Array::from(vec![rows])) as ArrayRef;
    let count = RecordBatch::try_new(Arc::clone(schema), vec![count])?;
    MemTable::try_new(Arc::clone(schema), vec![vec![count]])
}

/// The change that a plan asks for, and a folder that is to stay until it is made.
async fn change_of(
    context: &SessionContext,
    dml: &DmlStatement,
    op: &WriteOp,
) -> Result<(Change, Option<TempDir>)> {
    let table = &dml.table_name;
    let input = dml.input.as_ref();
    let change = match op {
        WriteOp::Truncate => Change::Delete {
            qualifier: table.clone(),
            condition: None,
        },
        WriteOp::Delete => {
            let Some((qualifier, condition)) = rows_of(input) else {
                return plan_err!(
                    "DELETE FROM {table} takes a table and WHERE, and nothing else"
                );
            };
            Change::Delete {
                qualifier,
                condition,
            }
        }
        WriteOp::Update => {
            let LogicalPlan::Projection(values) = input else {
                return plan_err!("UPDATE {table} takes SET and WHERE, and nothing else");
            };
            let Some((qualifier, condition)) = rows_of(&values.input) else {
                return plan_err!("UPDATE {table} .. FROM is not supported; write MERGE");
            };
            if let Some(condition) = &condition {
                refuse_unstable(condition)?;
            }
            let values = values.expr.iter().cloned().map(Expr::unalias);
            Change::Update {
                qualifier,
                condition,
                values: values.collect(),
            }
        }
        WriteOp::MergeInto(merge) => {
            let (source, copy) = match is_stable(input)? {
                true => (input.clone(), None),
                false => {
                    let (source, copy) = copied(context, input).await?;
                    (source, Some(copy))
                }
            };
            let change = Change::Merge {
                qualifier: table.clone(),
                source: Box::new(source),
                merge: merge.as_ref().clone(),
            };
            return Ok((change, copy));
        }
        op => return plan_err!("{op} is not supported for table {table}"),
    };
    Ok((change, None))
}

/// UPDATE asks its condition of each row twice, and a query in it must answer the same.
fn refuse_unstable(condition: &Expr) -> Result<()> {
    condition.apply(|expr| {
        let query = match expr {
            Expr::Exists(exists) => &exists.subquery,
            Expr::InSubquery(subquery) => &subquery.subquery,
            Expr::SetComparison(comparison) => &comparison.subquery,
            Expr::ScalarSubquery(query) => query,
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if is_stable(&query.subquery)? {
            return Ok(TreeNodeRecursion::Continue);
        }
        plan_err!(
            "the condition of UPDATE has a query of files or of what changes from one \
             moment to the next; write its rows to a table first, or write MERGE"
        )
    })?;
    Ok(())
}

/// What the rows of a table are qualified with and which are meant, if a plan is about
/// one table and has no other part than a filter.
fn rows_of(plan: &LogicalPlan) -> Option<(TableReference, Option<Expr>)> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let (qualifier, None) = rows_of(&filter.input)? else {
                return None;
            };
            Some((qualifier, Some(filter.predicate.clone())))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (_, None) = rows_of(&alias.input)? else {
                return None;
            };
            Some((alias.alias.clone(), None))
        }
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() => {
            Some((scan.table_name.clone(), None))
        }
        _ => None,
    }
}

/// Whether the rows of a source are the same each time they are read, and cheap: those of
/// stored tables, of which the plan has a version, and of VALUES.
fn is_stable(source: &LogicalPlan) -> Result<bool> {
    let mut stable = true;
    source.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            let provider = provider.as_ref();
            stable &= match provider.downcast_ref::<ViewTable>() {
                Some(view) => is_stable(view.logical_plan())?,
                None => provider.is::<Source>() || provider.is::<MemTable>(),
            };
        }
        stable &= !matches!(node, LogicalPlan::Extension(_));
        node.apply_expressions(|expr| {
            let changes = expr.exists(|expr| {
                Ok(matches!(
                    expr,
                    Expr::ScalarFunction(call)
                        if call.func.signature().volatility == Volatility::Volatile
                            || as_expensive(&call.func).is_some()
                ))
            })?;
            stable &= !changes;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(stable)
}

/// The rows of a source, run once, in files of a folder for temporary ones.
async fn copied(
    context: &SessionContext,
    source: &LogicalPlan,
) -> Result<(LogicalPlan, TempDir)> {
    let folder = tempfile::tempdir().map_err(|error| {
        exec_datafusion_err!(
            "MERGE needs a folder for temporary files: {error}; set TMPDIR"
        )
    })?;
    let frame = context
        .execute_logical_plan(atoll_delta::to_copy(source)?)
        .await?;
    let schema = Arc::clone(frame.schema().inner());
    let location = Location::parse(&folder.path().to_string_lossy())?;
    parquet_files::write(frame, &location, &Origin::default()).await?;
    let options =
        ListingOptions::new(Arc::new(Parquet::default())).with_file_extension(".parquet");
    let url = ListingTableUrl::try_new(location.folder_url(), None)?;
    let config = ListingTableConfig::new(url)
        .with_listing_options(options)
        .with_schema(schema);
    let rows = provider_as_source(Arc::new(ListingTable::try_new(config)?));
    let copy = LogicalPlanBuilder::scan("copy", rows, None)?.build()?;
    Ok((atoll_delta::as_source(copy, source)?, folder))
}
