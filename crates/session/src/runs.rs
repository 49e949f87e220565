//! `job_runs()`: the runs of jobs, as the storage remembers them.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_jobs::{Run, RunStore};
use atoll_udf_common::{AtollOptions, Location};
use datafusion::arrow::datatypes::{
    DataType, Field, Fields, Schema, SchemaRef, TimeUnit,
};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::{DocSection, Documentation, Expr};
use datafusion::physical_plan::ExecutionPlan;
use serde::Serialize;

use crate::functions::TableFunction;

/// The runs kept in a storage.
pub fn run_store(storage: &str) -> Result<RunStore> {
    let runs = Location::parse(storage)?.join("runs")?;
    let folder = runs.local_path();
    Ok(RunStore::new(runs.store, runs.path, folder))
}

/// `job_runs` as the list of functions has it.
pub(crate) fn table_function() -> TableFunction {
    let documentation = Documentation::builder(
        DocSection {
            include: true,
            label: "Job Functions",
            description: None,
        },
        "Returns the runs of `atoll run` that the storage remembers, a row each: `job`, \
         `run_id`, `interval_start` and `interval_end` (of `--interval`), `status` \
         (`running`, `succeeded`, `failed`, `timed_out`, `cancelled`, or `killed`: its \
         process ended without a word), `exit_code`, `started_at`, `finished_at`, \
         `seconds`, `error`, `script`, `script_sha256`, `parameters` and `versions` \
         (lists with `name` and `value`), `statements` (a list with `number`, `line`, \
         `sql`, `status`, `attempts`, `rows` and `seconds`), `files` (what COPY and \
         CREATE TABLE wrote: a list with `path`, `bytes` and `sha256`), `host` and \
         `pid`.",
        "job_runs()",
    )
    .with_sql_example(
        "SELECT count(*) AS runs, sum(seconds) AS seconds\n\
         FROM job_runs()\n\
         WHERE status <> 'succeeded';",
    )
    .build();
    ("job_runs".to_string(), Arc::new(JobRuns), documentation)
}

/// The table function.
#[derive(Debug)]
struct JobRuns;

impl TableFunctionImpl for JobRuns {
    fn call(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if !args.is_empty() {
            return plan_err!(
                "job_runs takes no arguments; filter with WHERE job = '...'"
            );
        }
        Ok(Arc::new(Runs))
    }
}

/// The runs of the storage that the session has when it reads them.
#[derive(Debug)]
struct Runs;

#[async_trait]
impl TableProvider for Runs {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
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
        let storage = AtollOptions::get(session.config_options()).storage;
        let runs = run_store(&storage)?.runs(None).await;
        let runs = runs.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let rows: Vec<Row<'_>> = runs.iter().map(Row::new).collect();
        let mut decoder = ReaderBuilder::new(self.schema())
            .with_batch_size(rows.len().max(1))
            .build_decoder()?;
        decoder.serialize(&rows)?;
        let batches = decoder.flush()?.into_iter().collect();
        let table = MemTable::try_new(self.schema(), vec![batches])?;
        table.scan(session, projection, filters, limit).await
    }
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'a> {
    job: &'a str,
    run_id: &'a str,
    interval_start: Option<String>,
    interval_end: Option<String>,
    status: &'static str,
    exit_code: Option<u8>,
    started_at: String,
    finished_at: Option<String>,
    seconds: Option<f64>,
    error: Option<&'a str>,
    script: &'a str,
    script_sha256: &'a str,
    parameters: Vec<Pair<'a>>,
    versions: Vec<Pair<'a>>,
    statements: Vec<StatementRow<'a>>,
    files: Vec<FileRow<'a>>,
    host: &'a str,
    pid: u32,
}

#[derive(Serialize)]
struct Pair<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct StatementRow<'a> {
    number: usize,
    line: usize,
    sql: &'a str,
    status: &'static str,
    attempts: u32,
    rows: Option<u64>,
    seconds: f64,
}

#[derive(Serialize)]
struct FileRow<'a> {
    path: &'a str,
    bytes: u64,
    sha256: &'a str,
}

impl<'a> Row<'a> {
    fn new(run: &'a Run) -> Self {
        let pairs = |map: &'a std::collections::BTreeMap<String, String>| {
            map.iter()
                .map(|(name, value)| Pair { name, value })
                .collect()
        };
        let files = run.statements.iter().flat_map(|statement| &statement.files);
        Self {
            job: &run.job,
            run_id: &run.run_id,
            interval_start: run.interval.map(|interval| interval.start.to_rfc3339()),
            interval_end: run.interval.map(|interval| interval.end.to_rfc3339()),
            status: run.status.name(),
            exit_code: run.exit_code,
            started_at: run.started_at.to_rfc3339(),
            finished_at: run.finished_at.map(|time| time.to_rfc3339()),
            seconds: run.seconds,
            error: run.error.as_ref().map(|error| error.message.as_str()),
            script: &run.script,
            script_sha256: &run.script_sha256,
            parameters: pairs(&run.parameters),
            versions: pairs(&run.versions),
            statements: run
                .statements
                .iter()
                .map(|statement| StatementRow {
                    number: statement.number,
                    line: statement.line,
                    sql: &statement.sql,
                    status: statement.status.name(),
                    attempts: statement.attempts,
                    rows: statement.rows,
                    seconds: statement.seconds,
                })
                .collect(),
            files: files
                .map(|file| FileRow {
                    path: &file.path,
                    bytes: file.bytes,
                    sha256: &file.sha256,
                })
                .collect(),
            host: &run.host,
            pid: run.pid,
        }
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let text = |name: &str| field(name, DataType::Utf8);
    let number = |name: &str| field(name, DataType::Int64);
    let seconds = || field("seconds", DataType::Float64);
    // With an offset and not a name, which Arrow reads without a time zone database.
    let time = |name: &str| {
        let utc = Some("+00:00".into());
        field(name, DataType::Timestamp(TimeUnit::Microsecond, utc))
    };
    let list = |name: &str, fields: Vec<Field>| {
        let item = Field::new_list_field(DataType::Struct(Fields::from(fields)), true);
        field(name, DataType::List(Arc::new(item)))
    };
    let pairs = |name: &str| list(name, vec![text("name"), text("value")]);
    Arc::new(Schema::new(vec![
        text("job"),
        text("run_id"),
        time("interval_start"),
        time("interval_end"),
        text("status"),
        number("exit_code"),
        time("started_at"),
        time("finished_at"),
        seconds(),
        text("error"),
        text("script"),
        text("script_sha256"),
        pairs("parameters"),
        pairs("versions"),
        list(
            "statements",
            vec![
                number("number"),
                number("line"),
                text("sql"),
                text("status"),
                number("attempts"),
                number("rows"),
                seconds(),
            ],
        ),
        list("files", vec![text("path"), number("bytes"), text("sha256")]),
        text("host"),
        number("pid"),
    ]))
});
