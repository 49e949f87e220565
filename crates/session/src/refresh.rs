//! REFRESH TABLE and CREATE OR REFRESH TABLE: a table of files that is brought up to date.
//!
//! A table keeps in a property, [`MADE_OF`], the statement that made it, and which models
//! and engine its rows come from. REFRESH plans the query of that statement again. While
//! models and engine are the same, only files are taken up that are new, have another size
//! or time, or failed for a reason that may have passed; otherwise all are.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_delta::Table;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{DFSchema, Result, exec_datafusion_err, internal_err, plan_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use serde::{Deserialize, Serialize};

use crate::sql::{Action, TableCommand, TableQuery};
use crate::tables::{MADE_OF, counted};
use crate::{Origin, Session, tables};

/// What a table says of its making.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MadeOf {
    /// The text of CREATE TABLE.
    statement: String,
    /// The SHA-256 of the models in its query, by the names that it has for them.
    models: BTreeMap<String, String>,
    /// What decodes images and runs the models.
    engine: String,
}

impl MadeOf {
    fn new(statement: &str, origin: &Origin) -> Self {
        let release = || format!("atoll {}", crate::VERSION);
        Self {
            statement: statement.to_string(),
            models: origin.models.clone(),
            // One that cannot be loaded is an error where a row needs it.
            engine: origin.inference.clone().unwrap_or_else(release),
        }
    }

    fn of(table: &Table, name: &str) -> Result<Self> {
        let said = table.property(MADE_OF)?;
        let said = said.and_then(|said| serde_json::from_str(&said).ok());
        match said {
            Some(said) => Ok(said),
            None => plan_err!(
                "table {name} does not say how it was made; REFRESH TABLE is for tables \
                 that were made by CREATE TABLE {name} AS SELECT filename, size, \
                 last_modified, .. FROM read_blob(..)"
            ),
        }
    }

    fn text(&self) -> Result<String> {
        let text = serde_json::to_string(self);
        text.map_err(|error| exec_datafusion_err!("{error}"))
    }
}

/// What CREATE TABLE keeps of its query, if REFRESH may be about it.
pub(crate) fn made_of(origin: &Origin) -> Result<Option<String>> {
    let Some(statement) = &origin.statement else {
        return Ok(None);
    };
    if !statement.to_ascii_lowercase().contains("read_blob") {
        return Ok(None);
    }
    MadeOf::new(statement, origin).text().map(Some)
}

impl Session {
    /// Runs REFRESH TABLE; gives the number of rows that came, changed or went.
    pub(crate) async fn refresh(
        &self,
        command: &TableCommand,
        origin: Origin,
    ) -> Result<SendableRecordBatchStream> {
        let Action::Refresh { full, create } = &command.action else {
            return internal_err!("{command} is no REFRESH");
        };
        let name = command.table.table();
        let table = self.stored_tables()?.stored(&command.table).await?;
        let (table, create) = match (table, create) {
            (Some(table), create) => (table, create.as_deref()),
            (None, Some(create)) => return self.create_first(create, name, origin).await,
            (None, None) => {
                return plan_err!("there is no stored table {name}; see SHOW TABLES");
            }
        };
        if tables::statement(&origin).is_done(&table).await? {
            tables::warn_of_done(&self.context, &origin, &name);
            return self.count(0).await;
        }
        let before = MadeOf::of(&table, name)?;
        let statement = create.unwrap_or(&before.statement);
        let state = self.context.state();
        let planned = TableQuery::plan(&state, statement).await?;
        let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(made)) = &planned else {
            return internal_err!("CREATE TABLE is planned as something else");
        };
        let mut of_query = Origin::default();
        self.note_models(&mut of_query, &made.input)?;
        let now = MadeOf::new(statement, &of_query);
        let query = TableQuery::parse(&state, statement)?;
        let is_same_query =
            TableQuery::parse(&state, &before.statement)?.text() == query.text();
        let (kept, given) = (table.schema()?, made.input.schema());
        let columns = columns(name, &kept, given, is_same_query)?;
        let why = match full {
            true => None,
            false => difference(&before, &now, is_same_query),
        };
        if let Some(why) = &why {
            let (_, warnings) = tables::notes(&self.context, &origin);
            warnings.add(format!("{name} is made anew from all files: {why}"));
        }
        let everything = *full || why.is_some();
        let merge = query.merge(&state, name, &columns, everything).await?;
        let made_of = Some(now.text()?);
        let origin = Origin { made_of, ..origin };
        Box::pin(self.run_quietly(merge, origin)).await
    }

    /// Makes the table of CREATE OR REFRESH TABLE when it is not there.
    async fn create_first(
        &self,
        create: &str,
        name: &str,
        origin: Origin,
    ) -> Result<SendableRecordBatchStream> {
        let planned = TableQuery::plan(&self.context.state(), create).await?;
        let origin = Origin {
            statement: Some(create.to_string()),
            ..origin
        };
        Box::pin(self.run_quietly(planned, origin)).await?;
        let made = self.stored_tables()?.stored(&name.into()).await?;
        let rows = match made {
            Some(table) => table.detail()?.rows.unwrap_or_default(),
            None => 0,
        };
        self.count(rows).await
    }

    async fn count(&self, rows: u64) -> Result<SendableRecordBatchStream> {
        let action = Action::Refresh {
            full: false,
            create: None,
        };
        let count = counted(&Arc::new(action.schema()), rows)?;
        let count = self.context.read_table(Arc::new(count))?;
        count.execute_stream().await
    }
}

/// Why rows that are there may be others today.
fn difference(before: &MadeOf, now: &MadeOf, is_same_query: bool) -> Option<String> {
    if !is_same_query {
        return Some("the query is another one".to_string());
    }
    let changed = now.models.iter().find(|(name, sha256)| {
        before
            .models
            .get(*name)
            .is_none_or(|known| known != *sha256)
    });
    if let Some((name, sha256)) = changed {
        let short: String = sha256.chars().take(12).collect();
        return Some(format!("the model {name} is another one, now {short}"));
    }
    let (old, new) = (&before.engine, &now.engine);
    (old != new).then(|| format!("its rows are of {old}, and this is {new}"))
}

/// The columns of a table that its query gives, which come first. Others may have been added
/// to the table since it was made of the same query.
fn columns(
    name: &str,
    table: &Schema,
    query: &DFSchema,
    is_same_query: bool,
) -> Result<Schema> {
    let given = query.fields().iter().map(|field| field.name());
    let known = table.fields().iter().map(|field| field.name());
    let are_all = known.len() == given.len() || is_same_query;
    if !are_all || known.take(given.len()).ne(given.clone()) {
        let given: Vec<_> = given.map(String::as_str).collect();
        return plan_err!(
            "table {name} has other columns than its query gives now ({}); CREATE OR \
             REPLACE TABLE {name} makes it anew",
            given.join(", ")
        );
    }
    let fields: Vec<_> = table.fields().iter().take(given.len()).cloned().collect();
    Ok(Schema::new(fields))
}
