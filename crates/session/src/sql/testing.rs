//! Plans statements over tables without rows, for the tests of the modules beside this.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;

use crate::{Session, SessionOptions};

/// Versions of tables are found under these names.
const TABLES: [&str; 5] = [
    "t",
    "t@version=3",
    "t@timestamp=2026-11-30 01:00:00",
    "folder/",
    "folder/@version=3",
];

/// A session with the tables above, which have the columns id, name and day, and with the
/// table `s`, which has id, name and price.
pub(super) async fn session() -> (Session, tempfile::TempDir) {
    let storage = tempfile::tempdir().unwrap();
    let options = SessionOptions {
        storage: Some(storage.path().to_string_lossy().into_owned()),
        ..SessionOptions::default()
    };
    let session = Session::new(options).await.unwrap();
    for name in TABLES {
        register(&session, name, Field::new("day", DataType::Date32, true));
    }
    register(&session, "s", Field::new("price", DataType::Float64, true));
    (session, storage)
}

fn register(session: &Session, name: &str, last: Field) {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        last,
    ]);
    let table = MemTable::try_new(Arc::new(schema), vec![vec![]]).unwrap();
    let name = TableReference::bare(name);
    let context = session.context();
    context.register_table(name, Arc::new(table)).unwrap();
}

pub(super) async fn plan(sql: &str) -> Result<LogicalPlan> {
    let (session, _storage) = session().await;
    session.plan(sql).await
}

/// The plan as EXPLAIN shows it, each operator on a line.
#[track_caller]
pub(super) fn check(sql: &str, expected: &[&str]) {
    let shown = match run(plan(sql)) {
        Ok(plan) => plan.display_indent().to_string(),
        Err(error) => panic!("{sql}: {}", error.strip_backtrace()),
    };
    let lines: Vec<&str> = shown.lines().map(str::trim_start).collect();
    assert_eq!(lines, expected, "{sql}");
}

/// The end of the error's message.
#[track_caller]
pub(super) fn check_error(sql: &str, expected: &str) {
    match run(plan(sql)) {
        Ok(plan) => panic!("{sql}: {}", plan.display_indent()),
        Err(error) => {
            let message = error.strip_backtrace();
            assert!(message.ends_with(expected), "{sql}: {message}");
        }
    }
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}
