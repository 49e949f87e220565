//! How much faster a cluster is than one machine.
//!
//! Starts a scheduler and 1, 2, 4, 8 and 13 executors with one slot each, as processes on
//! this machine, and times statements on them. Rows that sleep stand for rows that train:
//! they need a slot and no core, so two cores can show what 13 machines would do. Then
//! what a row costs that does nothing, and real training on one slot and on two.
//!
//! `cargo bench --bench cluster_scaling` writes a CSV file to standard output, with
//! `-- training` only the lines of the training; `plot.py` draws it. Timings depend on the machine and are saved under `benches/runs`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program that prints what it measures"
)]

#[path = "../../tests/support/cluster.rs"]
mod server;

use std::process::{Command, Stdio};
use std::time::Instant;

use server::Server;

/// The numbers of executors; 13 is that of the article.
const EXECUTORS: [usize; 5] = [1, 2, 4, 8, 13];

/// Fifty rows, as the article's grid has.
const ROWS: usize = 50;

/// How long a row sleeps, on average.
const SECONDS: f64 = 2.0;

/// Rows of the measurement of overhead.
const EMPTY_ROWS: usize = 1000;

/// A storage that goes away.
struct Client {
    folder: tempfile::TempDir,
    /// The options that name the cluster, or none.
    cluster: Vec<String>,
}

impl Client {
    fn of(cluster: Option<&Server>) -> Self {
        let cluster = cluster.map(|server| vec!["--cluster".into(), server.address()]);
        Self {
            folder: tempfile::tempdir().unwrap(),
            cluster: cluster.unwrap_or_default(),
        }
    }

    /// Runs a statement; what it printed, and the seconds it took, start included.
    fn time(&self, sql: &str) -> (String, f64) {
        let since = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_atoll"))
            .args(["--format", "csv", "--quiet", "-c", sql])
            .args(&self.cluster)
            .arg("--storage")
            .arg(self.folder.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("ATOLL_TEST_FUNCTIONS", "1")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}");
        let seconds = since.elapsed().as_secs_f64();
        (String::from_utf8(output.stdout).unwrap(), seconds)
    }
}

fn cluster(executors: usize) -> Server {
    Server::cluster(executors, |command| {
        command.env("ATOLL_TEST_FUNCTIONS", "1");
    })
}

/// One measurement; `bound` is the least that any scheduler could take.
fn line(what: &str, executors: usize, rows: usize, bound: f64, seconds: f64) {
    println!("{what},{executors},{rows},{bound:.3},{seconds:.3}");
    eprintln!(
        "{what}: {executors} executors, {rows} rows: {seconds:.2} s, bound {bound:.2} s \
         ({:.1} %)",
        100.0 * bound / seconds
    );
}

fn main() {
    println!("what,executors,rows,bound_seconds,seconds");
    if std::env::args().any(|argument| argument == "training") {
        training();
        return;
    }
    // Inverse transform sampling; the same lengths in every run.
    let lengths = format!(
        "SELECT -{SECONDS} * ln(1 - hp_uniform(7, n, 'length', 0.0, 1.0)) AS seconds \
         FROM generate_series(1, {ROWS}) AS s(n)"
    );
    let sums = format!("SELECT sum(seconds), max(seconds) FROM ({lengths})");
    let (sums, _) = Client::of(None).time(&sums);
    let sums: Vec<f64> = sums
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .map(|number| number.parse().unwrap())
        .collect();
    for executors in EXECUTORS {
        let cluster = cluster(executors);
        let client = Client::of(Some(&cluster));
        let equal = format!(
            "SELECT sum(test_sleep({SECONDS})) FROM generate_series(1, {ROWS}) AS s(n)"
        );
        let (_, seconds) = client.time(&equal);
        let bound = ROWS.div_ceil(executors) as f64 * SECONDS;
        line("equal", executors, ROWS, bound, seconds);
        let unequal = format!("SELECT sum(test_sleep(seconds)) FROM ({lengths})");
        let (_, seconds) = client.time(&unequal);
        let bound = (sums[0] / executors as f64).max(sums[1]);
        line("exponential", executors, ROWS, bound, seconds);
    }
    overhead();
    training();
}

fn overhead() {
    let cluster = cluster(2);
    let client = Client::of(Some(&cluster));
    let sql = format!(
        "SELECT sum(test_sleep(0.0)) FROM generate_series(1, {EMPTY_ROWS}) AS s(n)"
    );
    let (_, seconds) = client.time(&sql);
    line("nothing", 2, EMPTY_ROWS, 0.0, seconds);
    eprintln!("  {:.2} ms a row", 1e3 * seconds / EMPTY_ROWS as f64);
}

/// Twelve equal trials that differ in their seed only.
fn training() {
    let sql = "SELECT count(DISTINCT t.model_sha256) FROM (SELECT \
        train('sql/data/digits.parquet', {architecture: 'lenet', epochs: 40, \
        patience: 0, learning_rate: 0.05, seed: seed}) AS t \
        FROM generate_series(1, 12) AS s(seed))";
    let mut alone = 0.0;
    for executors in [1, 2] {
        let cluster = cluster(executors);
        let (_, seconds) = Client::of(Some(&cluster)).time(sql);
        if executors == 1 {
            alone = seconds;
        }
        line("training", executors, 12, alone / executors as f64, seconds);
    }
}
