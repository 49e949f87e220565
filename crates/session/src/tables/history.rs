//! `history('t')`: the commits of a table, as rows that a query can use.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::{DocSection, Documentation, Expr};
use datafusion::physical_plan::ExecutionPlan;

use atoll_delta::{Commit, Source, Table};
use atoll_udf_common::tables::state_of;

use crate::functions::TableFunction;
use crate::sql::Action;

/// `history` as the list of functions has it.
pub(crate) fn table_function() -> TableFunction {
    let documentation = Documentation::builder(
        DocSection {
            include: true,
            label: "Table Functions",
            description: None,
        },
        "Returns the commits of a stored table, or of the Delta table in a folder, a row \
         each, the newest first: `version`, `timestamp` (UTC), `operation`, `parameters` \
         (JSON), `statement` (its text, if Atoll ran it) and `engine`. `DESCRIBE HISTORY` \
         says the same.",
        "history(table)",
    )
    .with_sql_example(
        "CREATE OR REPLACE TABLE labels AS SELECT 'a.jpg' AS filename, 'cat' AS label;\n\
         SELECT version, operation FROM history('labels');",
    )
    .with_argument("table", "name of the table, or its folder, as a literal")
    .build();
    ("history".to_string(), Arc::new(History), documentation)
}

/// The table function.
#[derive(Debug)]
struct History;

impl TableFunctionImpl for History {
    fn call(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(name, _)] = args else {
            return plan_err!(
                "history takes the name of a table, as in history('labels')"
            );
        };
        match name.try_as_str().flatten() {
            Some(name) => Ok(Arc::new(Commits(name.to_string()))),
            None => plan_err!("history takes the name of a table as text, got {name}"),
        }
    }
}

/// The commits of the table that has this name when they are read.
#[derive(Debug)]
struct Commits(String);

#[async_trait]
impl TableProvider for Commits {
    fn schema(&self) -> SchemaRef {
        Arc::new(Action::History.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = &self.0;
        let state = state_of(session, "history")?;
        let mut found = None;
        for reference in [
            TableReference::parse_str(name),
            TableReference::bare(&**name),
        ] {
            let schema = state.schema_for_ref(reference.clone())?;
            found = found.or(schema.table(reference.table()).await?);
        }
        let Some(table) = found else {
            return plan_err!("there is no table {name}; see SHOW TABLES");
        };
        let Some(source) = table.downcast_ref::<Source>() else {
            return plan_err!(
                "{name} has no history: it is no stored table and no Delta table"
            );
        };
        let rows = rows(source.table()).await?;
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(session, projection, filters, limit).await
    }
}

/// The commits of a table, as `DESCRIBE HISTORY` and `history` give them.
pub(super) async fn rows(table: &Table) -> Result<RecordBatch> {
    let commits = table.history().await?;
    let numbers = commits
        .iter()
        .map(|commit| i64::try_from(commit.version).ok());
    let texts = |of: &dyn Fn(&Commit) -> Option<String>| {
        Arc::new(commits.iter().map(of).collect::<StringArray>()) as ArrayRef
    };
    let times = commits.iter().map(|commit| commit.time);
    let times = times.map(|time| time.map(|time| time.timestamp_millis()));
    let columns = vec![
        Arc::new(numbers.collect::<Int64Array>()) as ArrayRef,
        Arc::new(times.collect::<TimestampMillisecondArray>()),
        texts(&|commit| commit.operation.clone()),
        texts(&|commit| Some(commit.parameters.clone())),
        texts(&|commit| commit.statement.clone()),
        texts(&|commit| commit.engine.clone()),
    ];
    Ok(RecordBatch::try_new(
        Arc::new(Action::History.schema()),
        columns,
    )?)
}
