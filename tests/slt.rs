//! Runs every file under `tests/slt`, and the example of every function, through the
//! session that the binary uses: embedded, and on a cluster of two executors.
//!
//! Each has its own storage. The process starts in the workspace root, so files
//! name data as `sql/data/..`. Filter with `cargo test --test slt -- train`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use atoll_cluster::{Client, Token};
use atoll_session::{Session, SessionOptions, function_docs};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::TryStreamExt;
use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Server;

/// What runs the expensive functions.
#[derive(Debug, Clone, Copy)]
enum Engine {
    Embedded,
    /// A cluster that leaves small statements to the client.
    Cluster,
    /// The same, which leaves nothing to the client that it can run in stages.
    Stages,
}

const ENGINES: [(Engine, &str); 3] = [
    (Engine::Embedded, "embedded"),
    (Engine::Cluster, "cluster"),
    (Engine::Stages, "stages"),
];

/// Started by the first test that needs it.
static CLUSTER: LazyLock<(Mutex<Option<Server>>, String)> = LazyLock::new(|| {
    let server = Server::cluster(2, |_| {});
    let address = server.address();
    (Mutex::new(Some(server)), address)
});

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new("tests/slt");
    let mut tests = Vec::new();
    for file in slt_files(root) {
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        for (engine, prefix) in ENGINES {
            let file = file.clone();
            let test = move || run(engine, &file);
            tests.push(Trial::test(format!("{prefix}::{name}"), test));
        }
    }
    for doc in function_docs() {
        let example = doc.documentation.sql_example.unwrap_or_default();
        for (engine, prefix) in ENGINES {
            let name = format!("{prefix}::example::{}::{}", doc.family, doc.name);
            let example = example.clone();
            tests.push(Trial::test(name, move || run_example(engine, &example)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    if let Some(cluster) = LazyLock::get(&CLUSTER) {
        // Statics are never dropped.
        if let Ok(mut server) = cluster.0.lock() {
            drop(server.take());
        }
    }
    conclusion.exit();
}

fn slt_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .flat_map(|path| {
            if path.is_dir() {
                slt_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    files
}

fn run(engine: Engine, file: &Path) -> Result<(), Failed> {
    with_session(engine, async |session| {
        let mut runner = Runner::new(|| {
            let session = Arc::clone(&session);
            async move { Ok(Database(session)) }
        });
        Ok(runner.run_file_async(file).await?)
    })
}

/// Runs what the documentation shows; only the rows are left to the reader.
fn run_example(engine: Engine, example: &str) -> Result<(), Failed> {
    let statements = Parser::parse_sql(&GenericDialect {}, example)?;
    if statements.is_empty() {
        return Err("the example holds no statement".into());
    }
    with_session(engine, async |session| {
        for statement in statements {
            let rows = session.execute(&statement.to_string()).await?;
            // What makes a table has no columns to give.
            let has_columns = !rows.schema().fields().is_empty();
            let rows: Vec<RecordBatch> = rows.try_collect().await?;
            if has_columns && rows.iter().all(|batch| batch.num_rows() == 0) {
                return Err(format!("no rows: {statement}").into());
            }
        }
        Ok(())
    })
}

fn with_session(
    engine: Engine,
    test: impl AsyncFnOnce(Arc<Session>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let storage = tempfile::tempdir()?;
    let mut options = SessionOptions {
        storage: Some(storage.path().to_string_lossy().into_owned()),
        ..SessionOptions::default()
    };
    runtime.block_on(async {
        if let Engine::Cluster | Engine::Stages = engine {
            let client = Client::connect(CLUSTER.1.parse()?, Token::default());
            options.cluster = Some(Arc::new(client.await?));
        }
        let session = Arc::new(Session::new(options).await?);
        if let Engine::Stages = engine {
            let all = session.execute("SET atoll.distribute_bytes = 0").await?;
            all.try_collect::<Vec<_>>().await?;
        }
        test(session).await
    })
}

/// A session, as sqllogictest sees it.
struct Database(Arc<Session>);

#[async_trait]
impl AsyncDB for Database {
    type Error = DataFusionError;
    type ColumnType = DefaultColumnType;

    async fn run(
        &mut self,
        sql: &str,
    ) -> Result<DBOutput<DefaultColumnType>, DataFusionError> {
        let rows = self.0.execute(sql).await?;
        let columns = rows.schema().fields().len();
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        if columns == 0 {
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(text(batch)?);
        }
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows,
        })
    }

    async fn shutdown(&mut self) {}
}

/// Every value as text; an empty text is made visible.
fn text(batch: &RecordBatch) -> Result<Vec<Vec<String>>, DataFusionError> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let cell = |column: &ArrayFormatter<'_>, row| match column.value(row).to_string() {
        empty if empty.is_empty() => "(empty)".to_string(),
        text => text,
    };
    Ok((0..batch.num_rows())
        .map(|row| columns.iter().map(|column| cell(column, row)).collect())
        .collect())
}
