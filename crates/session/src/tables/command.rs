//! Statements about a stored table as a whole: OPTIMIZE, VACUUM, RESTORE, ADD COLUMN, and
//! what it says of itself.

use std::sync::Arc;

use atoll_delta::{RETENTION_HOURS, Rewrite, Table};
use datafusion::arrow::array::{
    ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::SchemaProvider;
use datafusion::common::{
    Result, TableReference, internal_err, plan_datafusion_err, plan_err,
};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::prelude::SessionContext;

use super::{
    ByTasks, Found, StoredTables, history, notes, statement, stored_name, version,
    warn_of_done,
};
use crate::Origin;
use crate::files::delta_table;
use crate::sql::{Action, NewColumn, TableCommand, split};

impl StoredTables {
    /// Runs a command, and gives what it reports.
    pub(crate) async fn command(
        &self,
        context: &SessionContext,
        command: &TableCommand,
        origin: &Origin,
    ) -> Result<RecordBatch> {
        let table = self.delta_table(&command.table).await?;
        let columns = match &command.action {
            Action::Optimize { predicate } => {
                let (provenance, warnings) = notes(context, origin);
                let rewrite = Rewrite {
                    context,
                    location: table.location(),
                    statement: &statement(origin),
                    provenance,
                    warnings,
                    writer: &ByTasks(origin),
                };
                let filters = predicate.clone().map(split_conjunction_owned);
                let done = rewrite.optimize(&filters.unwrap_or_default()).await?;
                if done.is_none() {
                    warn_of_done(context, origin, &command.table);
                }
                let done = done.unwrap_or_default();
                vec![
                    number(done.files_removed),
                    number(done.files_added),
                    number(done.bytes_removed),
                    number(done.bytes_added),
                ]
            }
            Action::Vacuum { retain, dry_run } => {
                let hours = retain.map(|retain| retain.as_secs() / 3600);
                let hours = hours.and_then(|hours| i64::try_from(hours).ok());
                let done = table.vacuum(hours.unwrap_or(RETENTION_HOURS), *dry_run);
                let done = done.await?;
                vec![number(done.files), number(done.bytes)]
            }
            Action::Restore { to } => {
                let current = table.version();
                let restored = table.restore(&version(to)?, &statement(origin)).await?;
                if restored.is_none() {
                    warn_of_done(context, origin, &command.table);
                }
                vec![number(restored.unwrap_or(current))]
            }
            Action::AddColumns { columns } => {
                match statement(origin).is_done(&table).await? {
                    true => warn_of_done(context, origin, &command.table),
                    false => add_columns(table, &command.table, columns, origin).await?,
                }
                vec![]
            }
            Action::Detail => detail(&command.table, &table)?,
            Action::Extended => extended(&table)?,
            Action::History => return history::rows(&table).await,
            // The session plans a MERGE of it.
            Action::Refresh { .. } => return internal_err!("REFRESH is no command"),
        };
        let schema = Arc::new(command.action.schema());
        if columns.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// Leaves a table without rows in memory that has the columns which ALTER TABLE
    /// adds. No other command is seen by the statements after it.
    pub(crate) async fn rehearse_command(&self, command: &TableCommand) -> Result<()> {
        let Action::AddColumns { columns } = &command.action else {
            return Ok(());
        };
        let name = command.table.table();
        // A folder's columns are found when the statement runs.
        let Some(table) = self.table(name).await? else {
            return Ok(());
        };
        let mut fields: Vec<FieldRef> = table.schema().fields().to_vec();
        fields.extend(new_columns(&command.table, &table.schema(), columns)?);
        let empty = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]])?;
        let memory = self.memory();
        memory.deregister_table(name)?;
        memory.register_table(name.to_string(), Arc::new(empty))?;
        Ok(())
    }

    /// The Delta table of a name or of a folder.
    async fn delta_table(&self, table: &TableReference) -> Result<Table> {
        // DESCRIBE may be about an older version.
        if let (name, Some(at)) = split(table.table()) {
            let folder = self.root.join(name)?;
            return match Table::open_at(&folder, &version(&at)?).await? {
                Some(table) => Ok(table),
                None => plan_err!("there is no stored table {name}; see SHOW TABLES"),
            };
        }
        let Ok(name) = stored_name(table) else {
            let name = table.table();
            return match delta_table(name, None).await? {
                Some(table) => Ok(table),
                None => plan_err!("'{name}' is no Delta table; see SHOW TABLES"),
            };
        };
        match self.find(name).await? {
            Found::Delta(table) => Ok(*table),
            Found::Old(_) => plan_err!(
                "table {name} is one of an older Atoll, which has no versions; write CREATE \
                 OR REPLACE TABLE {name} AS SELECT * FROM {name} first"
            ),
            // An external table is a folder under another name.
            Found::Nothing => match self.memory.table(name).await? {
                Some(table) => match atoll_delta::location_of(table.as_ref()) {
                    Some(location) => Table::open(location).await?,
                    None => None,
                },
                None => None,
            }
            .ok_or_else(|| {
                plan_datafusion_err!("there is no stored table {name}; see SHOW TABLES")
            }),
        }
    }
}

fn number(number: u64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![i64::try_from(number).ok()]))
}

fn text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

async fn add_columns(
    table: Table,
    name: &TableReference,
    columns: &[NewColumn],
    origin: &Origin,
) -> Result<()> {
    let schema = table.schema()?;
    let new = new_columns(name, &schema, columns)?;
    if new.is_empty() {
        return Ok(());
    }
    table.add_columns(&new, &statement(origin)).await
}

/// Those that a table has not; one that it has and that may not be there is an error.
fn new_columns(
    table: &TableReference,
    schema: &Schema,
    columns: &[NewColumn],
) -> Result<Vec<FieldRef>> {
    let mut new = vec![];
    for NewColumn {
        field,
        if_not_exists,
    } in columns
    {
        let name = field.name();
        let is_known = schema.fields().iter().any(|known| known.name() == name);
        match (is_known, if_not_exists) {
            (true, true) => {}
            (true, false) => {
                return plan_err!(
                    "table {table} has a column {name} already; write ADD COLUMN IF NOT \
                     EXISTS"
                );
            }
            (false, _) => new.push(Arc::clone(field)),
        }
    }
    Ok(new)
}

fn detail(name: &TableReference, table: &Table) -> Result<Vec<ArrayRef>> {
    let detail = table.detail()?;
    let mut partitions = ListBuilder::new(StringBuilder::new());
    partitions.append_value(detail.partition_columns.iter().map(Some));
    let rows = detail.rows.and_then(|rows| i64::try_from(rows).ok());
    Ok(vec![
        text("delta"),
        text(name.table()),
        text(&detail.location),
        number(detail.version),
        Arc::new(Int64Array::from(vec![rows])),
        number(detail.files),
        number(detail.bytes),
        Arc::new(partitions.finish()),
    ])
}

/// The columns as DESCRIBE lists them, and below a heading what the table consists of, as
/// Spark shows it.
fn extended(table: &Table) -> Result<Vec<ArrayRef>> {
    let detail = table.detail()?;
    let schema = table.schema()?;
    let mut rows: Vec<[String; 3]> = schema
        .fields()
        .iter()
        .map(|field| {
            let is_nullable = if field.is_nullable() { "YES" } else { "NO" };
            let data_type = field.data_type().to_string();
            [field.name().clone(), data_type, is_nullable.to_string()]
        })
        .collect();
    let count =
        |count: Option<u64>| count.map_or("unknown".to_string(), |n| n.to_string());
    let mut say = |what: &str, value: String| {
        rows.push([what.to_string(), value, String::new()]);
    };
    say("", String::new());
    say("# Table", String::new());
    say("format", "delta".to_string());
    say("location", detail.location.clone());
    say("version", detail.version.to_string());
    say("rows", count(detail.rows));
    say("files", detail.files.to_string());
    say("bytes", detail.bytes.to_string());
    say("partition_columns", detail.partition_columns.join(", "));
    let column = |at: usize| {
        let texts = rows.iter().map(|row| Some(row[at].as_str()));
        Arc::new(texts.collect::<StringArray>()) as ArrayRef
    };
    Ok(vec![column(0), column(1), column(2)])
}

#[cfg(test)]
mod tests {
    use crate::{Session, SessionOptions};

    #[tokio::test]
    async fn a_rehearsal_goes_on_with_the_new_columns() {
        let storage = tempfile::tempdir().unwrap();
        let options = SessionOptions {
            storage: Some(storage.path().to_string_lossy().into_owned()),
            ..SessionOptions::default()
        };
        let session = Session::new(options).await.unwrap();
        for sql in [
            "CREATE TABLE n PARTITIONED BY (x) AS SELECT 1 AS x, 2 AS y",
            "ALTER TABLE n ADD COLUMN z TEXT",
            "ALTER TABLE n ADD COLUMN IF NOT EXISTS z TEXT",
            "INSERT INTO n (z) VALUES ('a')",
            "OPTIMIZE n WHERE x = 1",
            "VACUUM n RETAIN 1 DAY DRY RUN",
            "RESTORE n TO VERSION AS OF 0",
            "DESCRIBE HISTORY n",
            "SELECT z FROM n",
        ] {
            let rehearsed = session.rehearse(sql).await;
            rehearsed.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let error = session.rehearse("ALTER TABLE n ADD COLUMN z TEXT").await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("has a column z already")
        );
        let tables = storage.path().join("tables/n");
        assert!(!tables.exists(), "a rehearsal writes nothing");
    }
}
