//! What the operator of expensive calls promises: each call runs once a row, whatever
//! the statement around it, and every thread of the pool is busy.
//!
//! One process with a pool of four threads; the tests take turns, because the probe's
//! counters and the pool are the process's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail by panicking"
)]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atoll_compute::{CancellationToken, pool};
use atoll_session::{Session, SessionOptions};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, Usage, expensive,
    map_rows, usage,
};
use atoll_udf_train::TrainShared;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs};
use futures::TryStreamExt;
use tokio::sync::{Mutex, MutexGuard};

const THREADS: usize = 4;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::const_new(());

/// `probe(x)`: a struct of x and its negative, after a while.
#[derive(Debug)]
struct Probe;

fn fields() -> Fields {
    let field = |name| Field::new(name, DataType::Int64, true);
    vec![field("x"), field("minus")].into()
}

#[async_trait]
impl ExpensiveFunction for Probe {
    fn usage(&self) -> &Usage {
        &Usage {
            name: "probe",
            syntax: "probe(x)",
            arguments: &[Argument("x", usage::any)],
            optional: 0,
        }
    }

    fn return_type(&self, _: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    async fn prepare(&self, _: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(PreparedProbe))
    }
}

#[derive(Debug)]
struct PreparedProbe;

#[async_trait]
impl PreparedCall for PreparedProbe {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let x = args.args[0].to_array(rows)?;
        let x = x.as_primitive::<Int64Type>().clone();
        let values = map_rows(rows, context, move |row, _| {
            if x.is_null(row) {
                return Ok(None);
            }
            CALLS.fetch_add(1, Ordering::SeqCst);
            let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
            MOST.fetch_max(running, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(Some(x.value(row)))
        });
        let values = values.await?;
        let minus: Int64Array = values.iter().map(|x| x.map(|x| -x)).collect();
        let x = Int64Array::from(values);
        let nulls = x.nulls().cloned();
        Ok(Arc::new(StructArray::new(
            fields(),
            vec![Arc::new(x), Arc::new(minus)],
            nulls,
        )))
    }
}

/// `wide(x)`: four mebibytes.
#[derive(Debug)]
struct Wide;

const WIDTH: usize = 4 << 20;

#[async_trait]
impl ExpensiveFunction for Wide {
    fn usage(&self) -> &Usage {
        &Usage {
            name: "wide",
            syntax: "wide(x)",
            arguments: &[Argument("x", usage::any)],
            optional: 0,
        }
    }

    fn return_type(&self, _: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    async fn prepare(&self, _: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(PreparedWide))
    }
}

#[derive(Debug)]
struct PreparedWide;

#[async_trait]
impl PreparedCall for PreparedWide {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let values = map_rows(args.number_rows, context, |_, _| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            Ok(vec![7_u8; WIDTH])
        });
        let values = values.await?;
        Ok(Arc::new(BinaryArray::from_iter_values(values)))
    }
}

struct Bench {
    session: Session,
    _storage: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    async fn new() -> Self {
        let turn = TURN.lock().await;
        let storage = tempfile::tempdir().unwrap();
        let options = SessionOptions {
            storage: Some(storage.path().to_string_lossy().into_owned()),
            threads: NonZeroUsize::new(THREADS),
            ..SessionOptions::default()
        };
        let session = Session::new(options).await.unwrap();
        session.context().register_udf(expensive(Probe));
        session.context().register_udf(expensive(Wide));
        let bench = Self {
            session,
            _storage: storage,
            _turn: turn,
        };
        bench
            .run("CREATE TABLE thirteen AS SELECT unnest(range(1, 14)) AS x")
            .await;
        bench
    }

    async fn run(&self, sql: &str) -> Vec<RecordBatch> {
        let rows = self.session.execute(sql).await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.try_collect()
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs a statement; gives its rows, its calls, and how many ran at once.
    async fn measure(&self, sql: &str) -> (usize, usize, usize) {
        CALLS.store(0, Ordering::SeqCst);
        MOST.store(0, Ordering::SeqCst);
        let rows = self.run(sql).await.iter().map(RecordBatch::num_rows).sum();
        (
            rows,
            CALLS.load(Ordering::SeqCst),
            MOST.load(Ordering::SeqCst),
        )
    }
}

const CALLED: &str = "(SELECT x, probe(x) AS t FROM thirteen)";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of statements")]
async fn a_call_runs_once_a_row_in_every_shape_of_statement() {
    let bench = Bench::new().await;
    let shapes = [
        // Statement, rows, calls.
        (format!("SELECT t['x'], t['minus'] FROM {CALLED}"), 13, 13),
        (
            format!("SELECT t['x'], t['minus'], t FROM {CALLED} WHERE t['x'] < 4"),
            3,
            13,
        ),
        (
            format!("SELECT t['minus'] FROM {CALLED} ORDER BY t['minus']"),
            13,
            13,
        ),
        (
            format!("SELECT t['x'] FROM {CALLED} ORDER BY t['minus'] LIMIT 5"),
            5,
            13,
        ),
        (
            format!("SELECT count(*), max(t['minus']) FROM {CALLED}"),
            1,
            13,
        ),
        (
            format!("SELECT t['x'] % 3, sum(t['x']) FROM {CALLED} GROUP BY t['x'] % 3"),
            3,
            13,
        ),
        (format!("SELECT DISTINCT t['x'] FROM {CALLED}"), 13, 13),
        (
            format!("SELECT a.t['x'] FROM {CALLED} a JOIN thirteen b ON a.t['x'] = b.x"),
            13,
            13,
        ),
        (
            format!("SELECT sum(t['x']) OVER (ORDER BY t['minus']) FROM {CALLED}"),
            13,
            13,
        ),
        (
            format!("SELECT t['x'] FROM {CALLED} UNION ALL SELECT 1"),
            14,
            13,
        ),
        (
            format!("SELECT * FROM thirteen WHERE x IN (SELECT t['x'] FROM {CALLED})"),
            13,
            13,
        ),
        (
            format!("WITH c AS {CALLED} SELECT t['x'] FROM c WHERE t['minus'] < 0"),
            13,
            13,
        ),
        (
            "SELECT probe(x)['x'], probe(x)['minus'] FROM thirteen".into(),
            13,
            13,
        ),
        (
            "SELECT x FROM thirteen WHERE probe(x)['x'] > 10".into(),
            3,
            13,
        ),
        (
            "SELECT x FROM thirteen ORDER BY probe(x)['minus']".into(),
            13,
            13,
        ),
        ("SELECT max(probe(x)['minus']) FROM thirteen".into(), 1, 13),
        (
            "SELECT probe(probe(x)['minus'])['minus'] FROM thirteen".into(),
            13,
            26,
        ),
        ("SELECT probe(1)['minus']".into(), 1, 1),
        // What a filter or LIMIT on other columns drops is never computed.
        (format!("SELECT t['x'] FROM {CALLED} WHERE x <= 4"), 4, 4),
        (format!("SELECT t['x'] FROM {CALLED} LIMIT 4"), 4, 4),
        (
            format!("CREATE TABLE made AS SELECT * FROM {CALLED}"),
            0,
            13,
        ),
        (
            "SELECT t['x'], t['minus'] FROM made WHERE t['x'] > 0".into(),
            13,
            0,
        ),
        (format!("CREATE VIEW seen AS SELECT * FROM {CALLED}"), 0, 0),
        (
            "SELECT t['x'], t['minus'] FROM seen WHERE t['x'] > 0".into(),
            13,
            13,
        ),
        (format!("EXPLAIN SELECT t['x'] FROM {CALLED}"), 2, 0),
    ];
    for (sql, rows, calls) in shapes {
        let (found_rows, found_calls, _) = bench.measure(&sql).await;
        assert_eq!((found_rows, found_calls), (rows, calls), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirteen_rows_fill_the_pool_whatever_their_source() {
    let bench = Bench::new().await;
    let file = tempfile::tempdir().unwrap();
    let parquet = file.path().join("x.parquet").display().to_string();
    bench.run(&format!("COPY thirteen TO '{parquet}'")).await;
    let sources = [
        "thirteen".to_string(),
        format!("'{parquet}'"),
        "(VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13)) AS v(x)".into(),
        "(SELECT unnest(range(1, 14)) AS x)".into(),
        "(SELECT a.y + b.z AS x FROM (SELECT unnest([0, 1, 2]) AS y) a \
         CROSS JOIN (SELECT unnest([1, 4, 7, 10]) AS z) b UNION ALL SELECT 13)"
            .into(),
        "(SELECT max(x) AS x FROM thirteen GROUP BY x)".into(),
    ];
    for source in sources {
        let sql = format!("SELECT probe(x)['x'] FROM {source}");
        let (rows, calls, most) = bench.measure(&sql).await;
        assert_eq!((rows, calls, most), (13, 13, THREADS), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_keep_their_order_and_the_pool_its_width() {
    let bench = Bench::new().await;
    let sql = "SELECT probe(x)['x'] AS x FROM (SELECT unnest(range(0, 3000)) AS x)";
    let (rows, calls, most) = bench.measure(sql).await;
    assert_eq!((rows, calls, most), (3000, 3000, THREADS));
    let batches = bench.run(sql).await;
    let values: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect();
    assert_eq!(values, (0..3000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_nobody_takes_are_few_when_they_are_large() {
    let bench = Bench::new().await;
    CALLS.store(0, Ordering::SeqCst);
    let sql = "SELECT wide(x) FROM (SELECT unnest(range(0, 400)) AS x)";
    let mut stream = bench.session.execute(sql).await.unwrap();
    let (mut taken, mut most) = (0, 0);
    while let Some(batch) = stream.try_next().await.unwrap() {
        // The pool is first in, first out: all that was queued before this is done.
        pool::run(&CancellationToken::new(), || ()).await.unwrap();
        most = most.max(CALLS.load(Ordering::SeqCst) - taken);
        taken += batch.num_rows();
    }
    assert_eq!(taken, 400);
    // 64 MiB are 16 rows, and a piece more; before the first result 16 rows.
    assert!((THREADS..=40).contains(&most), "{most} results at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_statement_stops_its_rows() {
    let bench = Bench::new().await;
    let sql = "SELECT probe(x) FROM (SELECT unnest(range(0, 100000)) AS x)";
    CALLS.store(0, Ordering::SeqCst);
    let statement = bench.run(sql);
    let late = tokio::time::timeout(Duration::from_millis(100), statement).await;
    assert!(late.is_err(), "100,000 rows of 2 ms took 0.1 s");
    // The rows that threads had begun end; those that were queued never start.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let calls = CALLS.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(CALLS.load(Ordering::SeqCst), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_call_of_constants_is_refused_at_plan_time() {
    let bench = Bench::new().await;
    let sql = "SELECT CASE WHEN x > 3 THEN probe(7)['x'] END FROM thirteen";
    let error = bench.session.execute(sql).await.err().unwrap().to_string();
    assert!(error.contains("inside CASE or COALESCE"), "{error}");
}

/// The sum of an expression over the rows of `thirteen`, and the calls that it took.
async fn check_conditional(bench: &Bench, expression: &str, sum: i64, calls: usize) {
    CALLS.store(0, Ordering::SeqCst);
    let sql = format!("SELECT sum(y) FROM (SELECT {expression} AS y FROM thirteen)");
    let batches = bench.run(&sql).await;
    let found = batches[0].column(0).as_primitive::<Int64Type>().value(0);
    let found = (found, CALLS.load(Ordering::SeqCst));
    assert_eq!(found, (sum, calls), "{expression}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_call_runs_for_the_rows_of_its_branch() {
    let bench = Bench::new().await;
    for (expression, sum, calls) in [
        ("CASE WHEN x > 10 THEN probe(x)['x'] END", 11 + 12 + 13, 3),
        ("CASE WHEN x > 10 THEN 0 ELSE probe(x)['x'] END", 55, 10),
        (
            "CASE WHEN x > 12 THEN probe(x)['x'] WHEN x > 10 THEN probe(x)['minus'] \
             ELSE 0 END",
            13 - 11 - 12,
            3,
        ),
        ("CASE x WHEN 2 THEN probe(x)['x'] ELSE 1 END", 2 + 12, 1),
        // A condition is evaluated for the rows that come to it.
        (
            "CASE WHEN x > 10 THEN 0 WHEN probe(x)['minus'] > -4 THEN 1 ELSE 2 END",
            3 + 2 * 7,
            10,
        ),
        (
            "coalesce(CASE WHEN x > 3 THEN x END, probe(x)['minus'])",
            85 - 6,
            3,
        ),
        // The second one runs where the first one gives nothing.
        (
            "coalesce(CASE WHEN x < 6 THEN probe(x)['x'] END, probe(x + 1)['minus'])",
            15 - (7..=14).sum::<i64>(),
            13,
        ),
        (
            "CASE WHEN x > 5 THEN CASE WHEN x < 8 THEN probe(x)['x'] ELSE 0 END END",
            6 + 7,
            2,
        ),
    ] {
        check_conditional(&bench, expression, sum, calls).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_references_to_a_cte_train_each_network_once() {
    let bench = Bench::new().await;
    let sql = "WITH trials AS (
            SELECT seed, train(
                'digits',
                {architecture: 'mlp', hidden: 4, epochs: 1, seed: seed}
            ) AS t
            FROM (SELECT unnest([1, 2, 3]) AS seed)
        )
        SELECT a.seed, a.t['status'], b.t['validation_loss']
        FROM trials a JOIN trials b ON a.t['trial_id'] = b.t['trial_id']
        WHERE a.t['status'] = 'SUCCEEDED'
        ORDER BY b.t['validation_loss']";
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/data/digits.parquet");
    bench
        .run(&format!("CREATE VIEW digits AS SELECT * FROM '{digits}'"))
        .await;
    let rows: usize = bench.run(sql).await.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 3);
    let state = bench.session.context().state();
    let shared = state.config().get_extension::<TrainShared>().unwrap();
    assert_eq!(shared.trainings_started(), 3);
}
