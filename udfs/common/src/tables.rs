//! Tables that functions are given by their names.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, TableReference, internal_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use futures::{Stream, StreamExt, stream};

use crate::structs::suggest;

/// The table functions whose columns have the types of the table that they are given first.
pub const TYPED_BY_TABLE: [&str; 2] = ["near_duplicates", "nearest"];

/// The columns of the tables that a statement gives to [`TYPED_BY_TABLE`], by the texts that
/// name them, as an extension of the session: who plans a table function cannot wait for a
/// table to be opened.
#[derive(Debug, Default)]
pub struct GivenTables(pub HashMap<String, SchemaRef>);

/// The state of the session that plans a table of a function, or a table of files: `who` names
/// it if that is another engine's.
pub fn state_of<'a>(session: &'a dyn Session, who: &str) -> Result<&'a SessionState> {
    match session.as_any().downcast_ref() {
        Some(state) => Ok(state),
        None => internal_err!("the session of {who} is another's"),
    }
}

/// What to say where no table is called `name`.
pub fn table_hint(session: &SessionState, name: &str) -> String {
    let catalog = &session.config_options().catalog;
    let tables = session
        .catalog_list()
        .catalog(&catalog.default_catalog)
        .and_then(|all| all.schema(&catalog.default_schema))
        .map_or_else(Vec::new, |schema| schema.table_names());
    match suggest(name, tables.iter().map(String::as_str)) {
        Some(table) => format!("did you mean '{table}'?"),
        None if tables.is_empty() => "there are no tables yet".to_string(),
        None => format!("tables and views are {}", tables.join(", ")),
    }
}

/// A table or view of the session by its SQL name or, as it is written, by its exact name.
pub async fn table_named(
    ctx: &SessionContext,
    name: &str,
) -> Option<Arc<dyn TableProvider>> {
    for reference in [TableReference::parse_str(name), TableReference::bare(name)] {
        if let Ok(table) = ctx.table_provider(reference).await {
            return Some(table);
        }
    }
    None
}

/// The rows of a table in the order that it has them: over one core, one partition after
/// the other.
pub async fn rows_in_order(
    frame: DataFrame,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let (mut state, plan) = frame.into_parts();
    state.config_mut().options_mut().execution.target_partitions = 1;
    let frame = DataFrame::new(state, plan);
    let partitions = frame.execute_stream_partitioned().await?;
    Ok(stream::iter(partitions).flatten())
}
