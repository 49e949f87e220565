//! Ctrl-C ends a statement at once, training included.

use std::time::{Duration, Instant};

use crate::support::{Atoll, Output, wait_until};

/// Trains far longer than any test may take.
const FOREVER: &str = "SELECT t.status FROM (SELECT train('sql/data/digits.parquet', \
    {architecture: 'lenet', learning_rate: 0.01, epochs: 100000, patience: 0, seed: seed}) AS t \
    FROM generate_series(1, 4) AS s(seed))";

#[track_caller]
fn check(atoll: &Atoll, sql: &str, started: &str) -> Output {
    let running = atoll.start(&["--format", "csv", "-c", sql]);
    wait_until(started, || atoll.path(started).exists());
    // Past the point where files exist, so that the work itself is interrupted.
    std::thread::sleep(Duration::from_millis(500));
    let pressed = Instant::now();
    running.signal("INT");
    let output = running.finish();
    let took = pressed.elapsed();
    assert!(took < Duration::from_secs(2), "returned after {took:?}");
    assert_eq!(
        output.status.code(),
        Some(130),
        "standard error: {}",
        output.stderr
    );
    assert!(
        output.stderr.ends_with("cancelled\n"),
        "standard error: {}",
        output.stderr
    );
    output
}

#[test]
fn training_is_cancelled_within_two_seconds() {
    let output = check(&Atoll::new(), FOREVER, "storage/snapshots");
    assert_eq!(output.stdout, "");
}

#[test]
fn a_query_is_cancelled_within_two_seconds() {
    let atoll = Atoll::new();
    // The statement before it leaves a file, which says that the query is next.
    let marker = atoll.path("marker.csv").display().to_string();
    let sql = format!(
        "COPY (SELECT 1 AS n) TO '{marker}' STORED AS CSV; \
         SELECT count(*) FROM generate_series(1, 10000000) AS a(x) \
         CROSS JOIN generate_series(1, 10000000) AS b(y) WHERE x + y = 3"
    );
    let output = check(&atoll, &sql, "marker.csv");
    assert_eq!(output.stdout, "count\n1\n");
}
