//! The answers to questions about the catalog: which catalogs, schemas, tables, columns and
//! kinds of tables there are.

use std::sync::Arc;

use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTables,
};
use atoll_session::Session;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;

use crate::{info, output};

/// The columns of the answer to a question about the catalog; `None` if it is another
/// kind of command.
pub(crate) fn schema(command: &Command) -> Option<SchemaRef> {
    let schema = match command {
        Command::CommandGetCatalogs(command) => command.into_builder().schema(),
        Command::CommandGetDbSchemas(command) => command.clone().into_builder().schema(),
        Command::CommandGetTables(command) => command.clone().into_builder().schema(),
        Command::CommandGetTableTypes(command) => command.into_builder().schema(),
        Command::CommandGetSqlInfo(_) => info::sql_info_schema(),
        Command::CommandGetXdbcTypeInfo(_) => info::types_schema().ok()?,
        Command::CommandGetPrimaryKeys(_) => primary_keys(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => foreign_keys(),
        _ => return None,
    };
    Some(schema)
}

/// The rows that answer a question about the catalog; `None` if it is another kind of
/// command.
pub(crate) async fn answer(
    session: &Session,
    command: Command,
) -> Result<Option<RecordBatch>> {
    let rows = match command {
        Command::CommandGetCatalogs(command) => catalogs(session, command)?,
        Command::CommandGetDbSchemas(command) => schemas(session, command)?,
        Command::CommandGetTables(command) => tables(session, command).await?,
        Command::CommandGetTableTypes(command) => {
            let mut builder = command.into_builder();
            for kind in [TableType::Base, TableType::View, TableType::Temporary] {
                builder.append(type_name(kind));
            }
            builder.build().map_err(failed)?
        }
        Command::CommandGetSqlInfo(command) => info::sql_info(command)?,
        Command::CommandGetXdbcTypeInfo(command) => info::types(command)?,
        // There are no keys.
        command => match schema(&command) {
            Some(schema) => RecordBatch::new_empty(schema),
            None => return Ok(None),
        },
    };
    Ok(Some(rows))
}

pub(crate) fn failed(error: FlightError) -> DataFusionError {
    match error {
        FlightError::Arrow(error) => error.into(),
        error => DataFusionError::External(Box::new(error)),
    }
}

fn catalogs(session: &Session, command: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    for catalog in session.context().catalog_names() {
        builder.append(catalog);
    }
    builder.build().map_err(failed)
}

fn schemas(session: &Session, command: CommandGetDbSchemas) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    for (catalog, schema) in all_schemas(session) {
        builder.append(catalog, schema);
    }
    builder.build().map_err(failed)
}

fn all_schemas(session: &Session) -> Vec<(String, String)> {
    let context = session.context();
    let mut all = vec![];
    for name in context.catalog_names() {
        if let Some(catalog) = context.catalog(&name) {
            let schemas = catalog.schema_names().into_iter();
            all.extend(schemas.map(|schema| (name.clone(), schema)));
        }
    }
    all
}

async fn tables(session: &Session, command: CommandGetTables) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    for (catalog, schema) in all_schemas(session) {
        let provider = session.context().catalog(&catalog);
        let Some(provider) = provider.and_then(|catalog| catalog.schema(&schema)) else {
            continue;
        };
        for name in provider.table_names() {
            // One that is damaged, or gone since, must not hide the others.
            let found = provider.table(&name).await.unwrap_or_default();
            let (kind, columns) = match &found {
                Some(table) => {
                    (table.table_type(), output::plain_schema(&table.schema()))
                }
                None => (TableType::Base, Arc::new(Schema::empty())),
            };
            let appended =
                builder.append(&catalog, &schema, &name, type_name(kind), &columns);
            appended.map_err(failed)?;
        }
    }
    builder.build().map_err(failed)
}

/// The word that JDBC has for the kind of a table.
fn type_name(kind: TableType) -> &'static str {
    match kind {
        TableType::Base => "TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    }
}

fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_keys() -> SchemaRef {
    let side = |side: &str| {
        [
            Field::new(format!("{side}_catalog_name"), DataType::Utf8, true),
            Field::new(format!("{side}_db_schema_name"), DataType::Utf8, true),
            Field::new(format!("{side}_table_name"), DataType::Utf8, false),
            Field::new(format!("{side}_column_name"), DataType::Utf8, false),
        ]
    };
    let rest = [
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ];
    let fields = side("pk").into_iter().chain(side("fk")).chain(rest);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
