//! Many writers of a table at once: rows are there once, whoever else drops or replaces
//! the table, on disk and in a bucket, and when writers are killed.

use std::time::Duration;

use crate::bucket::S3;
use crate::support::{Atoll, Output, Running, files};

/// The rows of a query as CSV.
#[track_caller]
fn rows(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

/// Starts statements with a bucket as storage.
fn in_bucket(s3: &S3, atoll: &Atoll, sql: &str) -> Running {
    let arguments = ["--format", "csv", "-c", sql];
    let mut command = atoll.command_in("s3://bucket/atoll", &arguments);
    s3.open_to(&mut command);
    Running::new(command.spawn().unwrap())
}

/// Asserts that a statement succeeded, or that its table was dropped.
#[track_caller]
fn ended_or_dropped(output: &Output) {
    if output.status.success() {
        return;
    }
    let reasons = [
        "was dropped meanwhile",
        "no table named t",
        "is not there any more",
    ];
    let is_said = reasons.iter().any(|reason| output.stderr.contains(reason));
    assert!(is_said, "{}", output.stderr);
}

#[test]
fn a_table_that_is_dropped_while_rows_are_added_is_gone() {
    let atoll = Atoll::new();
    for round in 0..8 {
        rows(&atoll, "CREATE TABLE t (n BIGINT)");
        let inserts: Vec<_> = (0..12)
            .map(|n| format!("INSERT INTO t VALUES ({n})"))
            .collect();
        let inserts = atoll.start(&["-c", &inserts.join("; ")]);
        std::thread::sleep(Duration::from_millis(100 + 40 * round));
        rows(&atoll, "DROP TABLE t");
        let inserts = inserts.finish();
        ended_or_dropped(&inserts);
        let log = atoll.path("storage/tables/t/_delta_log");
        assert_eq!(files(&log, "json"), 0, "{round}: {}", inserts.stderr);
    }
}

#[test]
fn rows_that_are_added_while_a_table_is_replaced_come_before_or_after() {
    const INSERTS: usize = 12;
    let atoll = Atoll::new();
    rows(&atoll, "CREATE TABLE t AS SELECT -1 AS n");
    let inserts: Vec<_> = (0..INSERTS)
        .map(|n| format!("INSERT INTO t VALUES ({n})"))
        .collect();
    let inserts = atoll.start(&["-c", &inserts.join("; ")]);
    let replace = ["CREATE OR REPLACE TABLE t AS SELECT -1 AS n"; 4];
    let replaced = atoll.start(&["-c", &replace.join("; ")]);
    inserts.finish().ok();
    replaced.finish().ok();
    let sql = "SELECT count(*) AS n FROM history('t') WHERE operation = 'WRITE'";
    assert_eq!(rows(&atoll, sql), format!("n\n{INSERTS}\n"));
    let sql = "WITH h AS (SELECT * FROM history('t')) SELECT \
        (SELECT count(*) FROM h WHERE version > (SELECT max(version) FROM h \
         WHERE operation = 'CREATE OR REPLACE TABLE')) \
        = (SELECT count(*) FROM t WHERE n >= 0) AS same, \
        (SELECT count(*) FROM t WHERE n = -1) AS first";
    let found = rows(&atoll, sql);
    assert_eq!(found, "same,first\ntrue,1\n");
}

#[test]
fn a_table_is_restored_while_rows_are_added() {
    let atoll = Atoll::new();
    rows(&atoll, "CREATE TABLE t AS SELECT -1 AS n");
    let inserts: Vec<_> = (0..12)
        .map(|n| format!("INSERT INTO t VALUES ({n})"))
        .collect();
    let inserts = atoll.start(&["-c", &inserts.join("; ")]);
    let restores = ["RESTORE t TO VERSION AS OF 0"; 12];
    let restores = atoll.start(&[
        "-c",
        &format!("INSERT INTO t VALUES (-2); {}", restores.join("; ")),
    ]);
    inserts.finish().ok();
    restores.finish().ok();
    let sql = "SELECT count(*) AS n FROM t WHERE n = -1";
    assert_eq!(rows(&atoll, sql), "n\n1\n");
}

#[test]
fn a_bucket_has_stored_tables_too() {
    let s3 = S3::start(0);
    let atoll = Atoll::new();
    let sql = "CREATE TABLE t AS SELECT 1 AS n; INSERT INTO t VALUES (2), (3); \
        DELETE FROM t WHERE n = 1; SELECT n FROM t ORDER BY n; \
        SELECT count(*) AS n FROM t VERSION AS OF 1";
    let found = in_bucket(&s3, &atoll, sql).finish().ok().stdout;
    assert_eq!(found, "count\n2\ncount\n1\nn\n2\n3\nn\n3\n");
    let create = |who: usize| {
        let sql = format!(
            "CREATE TABLE race AS SELECT {who} AS who FROM generate_series(1, 9)"
        );
        in_bucket(&s3, &atoll, &sql)
    };
    let started = [create(0), create(1), create(2)];
    let ended = started.map(Running::finish);
    let who = crate::tables::winner(&ended);
    let sql = "SELECT who, count(*) AS n FROM race GROUP BY who";
    let found = in_bucket(&s3, &atoll, sql).finish().ok().stdout;
    assert_eq!(found, format!("who,n\n{who},9\n"));
    let insert =
        |n: usize| in_bucket(&s3, &atoll, &format!("INSERT INTO t VALUES ({n})"));
    for n in [10, 11, 12] {
        insert(n).finish().ok();
    }
    let sql = "SELECT n FROM t ORDER BY n";
    let found = in_bucket(&s3, &atoll, sql).finish().ok().stdout;
    assert_eq!(found, "n\n2\n3\n10\n11\n12\n");
}

#[test]
fn many_insert_into_a_bucket_at_once_and_each_row_is_there_once() {
    let s3 = S3::start(0);
    let atoll = Atoll::new();
    let create = "CREATE TABLE t (who BIGINT, n BIGINT)";
    in_bucket(&s3, &atoll, create).finish().ok();
    let insert = |who: usize| {
        let statements: Vec<_> = (0..5)
            .map(|n| format!("INSERT INTO t VALUES ({who}, {n})"))
            .collect();
        in_bucket(&s3, &atoll, &statements.join("; "))
    };
    let started: Vec<Running> = (0..4).map(insert).collect();
    for running in started {
        running.finish().ok();
    }
    let sql = "SELECT count(*) AS n, count(DISTINCT who * 5 + n) AS different FROM t";
    let found = in_bucket(&s3, &atoll, sql).finish().ok().stdout;
    assert_eq!(found, "n,different\n20,20\n");
}

#[test]
fn a_writer_to_a_bucket_that_is_killed_has_added_all_rows_or_none() {
    const ROWS: usize = 20_000;
    let s3 = S3::start(0);
    let atoll = Atoll::new();
    let run = |sql: &str| in_bucket(&s3, &atoll, sql).finish().ok().stdout;
    run("CREATE TABLE t (round BIGINT, n BIGINT)");
    for round in 1..=5 {
        let sql = format!(
            "SET atoll.write_id = 'round {round}'; \
             INSERT INTO t SELECT {round}, value FROM generate_series(1, {ROWS})"
        );
        let job = in_bucket(&s3, &atoll, &sql);
        std::thread::sleep(Duration::from_millis(80) * round);
        job.signal("KILL");
        job.finish();
        let count = format!("SELECT count(n) AS n FROM t WHERE round = {round}");
        let found = run(&count);
        let whole = format!("n\n{ROWS}\n");
        assert!(found == "n\n0\n" || found == whole, "{round}: {found}");
        run(&sql);
        assert_eq!(run(&count), whole, "{round}");
    }
    assert_eq!(
        run("SELECT count(n) AS n FROM t"),
        format!("n\n{}\n", 5 * ROWS)
    );
}

#[test]
fn a_pattern_that_finds_files_of_a_delta_table_in_a_bucket_is_refused() {
    let s3 = S3::start(0);
    let atoll = Atoll::new();
    let sql = "COPY (SELECT 1 AS n, 2 AS day) TO 's3://bucket/a/t/' STORED AS DELTA \
        PARTITIONED BY (day)";
    in_bucket(&s3, &atoll, sql).finish().ok();
    for name in [
        "a/t/day=2/",
        "a/t/day=2/*.parquet",
        "a/*/*/*",
        "**/*.parquet",
    ] {
        let sql = format!("SELECT n FROM 's3://bucket/{name}'");
        let output = in_bucket(&s3, &atoll, &sql).finish();
        output.fails_naming(&["has files of the Delta table 's3://bucket/a/t/'"]);
    }
}
