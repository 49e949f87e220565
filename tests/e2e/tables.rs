//! Stored tables: many who write at once, kills, older and newer storages, and tables in
//! folders and buckets.

use std::fs;
use std::time::Duration;

use crate::bucket::S3;
use crate::support::{Atoll, Output, Running, files};

/// The rows of a query as CSV.
#[track_caller]
fn rows(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

/// Runs statements in a process each.
fn at_once(atoll: &Atoll, statements: &[String]) -> Vec<Output> {
    let running: Vec<Running> = statements
        .iter()
        .map(|sql| atoll.start(&["-c", sql]))
        .collect();
    running.into_iter().map(Running::finish).collect()
}

/// Asserts that one statement won and that the others say why they did not.
#[track_caller]
fn winner(ended: &[Output]) -> usize {
    let won: Vec<usize> = (0..ended.len())
        .filter(|who| ended[*who].status.success())
        .collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    for output in ended.iter().filter(|output| !output.status.success()) {
        output.fails_naming(&["exists already"]);
    }
    won[0]
}

#[test]
fn one_of_many_creates_a_table() {
    let atoll = Atoll::new();
    for race in 0..3 {
        let create = |who: usize| {
            format!(
                "CREATE TABLE race_{race} AS SELECT {who} AS who \
                 FROM generate_series(1, 100)"
            )
        };
        let statements: Vec<String> = (0..4).map(create).collect();
        let who = winner(&at_once(&atoll, &statements));
        let sql = format!("SELECT who, count(*) AS n FROM race_{race} GROUP BY who");
        assert_eq!(rows(&atoll, &sql), format!("who,n\n{who},100\n"));
    }
}

#[test]
fn of_two_who_overwrite_an_empty_table_the_rows_of_one_stay() {
    let atoll = Atoll::new();
    rows(&atoll, "CREATE TABLE t (who BIGINT)");
    let overwrite = |who: usize| {
        format!("INSERT OVERWRITE t SELECT {who} AS who FROM generate_series(1, 100)")
    };
    for output in at_once(&atoll, &[overwrite(0), overwrite(1)]) {
        output.ok();
    }
    let sql = "SELECT count(*) AS n, count(DISTINCT who) AS writers FROM t";
    assert_eq!(rows(&atoll, sql), "n,writers\n100,1\n");
}

#[test]
fn many_insert_at_once_and_no_row_is_lost() {
    let atoll = Atoll::new();
    rows(&atoll, "CREATE TABLE t (who BIGINT, n BIGINT)");
    let insert = |who: usize| {
        let statements: Vec<String> = (0..5)
            .map(|n| format!("INSERT INTO t VALUES ({who}, {n})"))
            .collect();
        statements.join("; ")
    };
    let statements: Vec<String> = (0..4).map(insert).collect();
    for output in at_once(&atoll, &statements) {
        output.ok();
    }
    let sql = "SELECT count(*) AS n, count(DISTINCT who * 5 + n) AS different FROM t";
    assert_eq!(rows(&atoll, sql), "n,different\n20,20\n");
}

#[test]
fn a_killed_insert_has_added_all_rows_or_none_and_is_run_again_once() {
    const ROWS: usize = 20_000;
    let atoll = Atoll::new();
    rows(&atoll, "CREATE TABLE t (round BIGINT, n BIGINT)");
    for round in 1..=10 {
        let sql = format!(
            "SET atoll.write_id = 'round {round}'; \
             INSERT INTO t SELECT {round}, value FROM generate_series(1, {ROWS})"
        );
        let job = atoll.start(&["-c", &sql]);
        std::thread::sleep(Duration::from_millis(25) * round);
        job.signal("KILL");
        job.finish();
        let count = format!("SELECT count(n) AS n FROM t WHERE round = {round}");
        let found = rows(&atoll, &count);
        let whole = format!("n\n{ROWS}\n");
        assert!(found == "n\n0\n" || found == whole, "{round}: {found}");
        rows(&atoll, &sql);
        assert_eq!(rows(&atoll, &count), whole, "{round}");
    }
    let sql = "SELECT count(n) AS n FROM t";
    assert_eq!(rows(&atoll, sql), format!("n\n{}\n", 10 * ROWS));
    let tables = rows(&atoll, "SHOW TABLES");
    assert!(tables.contains("public,t,BASE TABLE"), "{tables}");
}

#[test]
fn a_table_of_an_older_storage_is_read_and_becomes_a_delta_table() {
    let atoll = Atoll::new();
    let old = atoll.path("storage/tables/old");
    let part = old.join("v1/part-0.parquet");
    let sql = format!(
        "COPY (SELECT value AS n FROM generate_series(1, 3)) TO '{}'",
        part.display()
    );
    rows(&atoll, &sql);
    let pointer = r#"{"version":"v1","previous":null}"#;
    fs::write(old.join("table.json"), pointer).unwrap();
    assert_eq!(rows(&atoll, "SELECT sum(n) AS n FROM old"), "n\n6\n");
    atoll
        .run(&["-c", "INSERT INTO old VALUES (4)"])
        .fails_naming(&["older Atoll", "CREATE OR REPLACE TABLE old"]);
    assert!(!old.join("_delta_log").exists());
    let sql = "CREATE OR REPLACE TABLE old AS SELECT n + 1 AS n FROM old; \
        INSERT INTO old VALUES (10); SELECT sum(n) AS n FROM old";
    assert_eq!(rows(&atoll, sql), "count\n1\nn\n19\n");
    assert!(old.join("_delta_log").is_dir());
    assert!(!old.join("table.json").exists());
    assert!(!part.exists());
    assert!(atoll.path("storage/version.json").is_file());
}

#[test]
fn a_storage_of_a_newer_atoll_is_refused() {
    let atoll = Atoll::new();
    fs::create_dir(atoll.path("storage")).unwrap();
    atoll.file("storage/version.json", r#"{"storage": 99, "atoll": "9.9"}"#);
    for sql in ["SELECT 1", "CREATE TABLE t AS SELECT 1 AS n"] {
        let output = atoll.run(&["-c", sql]);
        output.fails_naming(&["written by Atoll 9.9", "layout 99"]);
        assert_eq!(output.stderr.matches("error").count(), 1, "{sql}");
    }
    assert!(!atoll.path("storage/tables").exists());
}

#[test]
fn copy_writes_a_delta_table_and_keeps_its_versions() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let copy = |n: usize, options: &str| {
        format!("COPY (SELECT {n} AS n) TO '{out}/' STORED AS DELTA {options};")
    };
    let sql = [
        copy(1, ""),
        copy(2, "OPTIONS (mode append)"),
        format!("SELECT n FROM '{out}/' ORDER BY n;"),
        copy(3, "OPTIONS (mode overwrite)"),
        format!("SELECT n FROM '{out}/';"),
        format!("SELECT n FROM '{out}/' VERSION AS OF 0;"),
        format!("SELECT n FROM '{out}/' VERSION AS OF 1 ORDER BY n;"),
        format!("CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{out}/';"),
        "INSERT INTO e VALUES (4);".to_string(),
        "SELECT n FROM e ORDER BY n".to_string(),
    ];
    let expected = "count\n1\ncount\n1\nn\n1\n2\ncount\n1\nn\n3\nn\n1\nn\n1\n2\n\
        count\n1\nn\n3\n4\n";
    assert_eq!(rows(&atoll, &sql.concat()), expected);
    let sql = format!("SELECT n FROM '{out}/' VERSION AS OF 9");
    atoll
        .run(&["-c", &sql])
        .fails_naming(&["has no version 9; its newest is 3"]);
}

#[test]
fn a_delta_table_is_not_read_file_by_file() {
    let atoll = Atoll::new();
    let root = atoll.path("root").display().to_string();
    let copy = format!("COPY (SELECT 1 AS n) TO '{root}/deep/' STORED AS DELTA");
    rows(&atoll, &copy);
    for sql in [
        format!("SELECT n FROM '{root}/'"),
        format!("SELECT n FROM '{root}/**'"),
        format!("CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{root}/deep/'"),
    ] {
        atoll
            .run(&["-c", &sql])
            .fails_naming(&["has a Delta table in it", "deep/"]);
    }
    let sql = format!("COPY (SELECT 2 AS n) TO '{root}/deep/' STORED AS PARQUET");
    atoll
        .run(&["-c", &sql])
        .fails_naming(&["holds files that COPY did not write"]);
    let sql = format!("SELECT n FROM '{root}/deep/'");
    assert_eq!(rows(&atoll, &sql), "n\n1\n");
}

#[test]
fn vacuum_removes_what_no_version_needs() {
    let atoll = Atoll::new();
    let sql = "CREATE TABLE t AS SELECT 1 AS n; INSERT INTO t VALUES (2); OPTIMIZE t";
    rows(&atoll, sql);
    let folder = atoll.path("storage/tables/t");
    let left = [
        "orphan.parquet",
        "part-0.parquet#1",
        "_delta_log/00000000000000000009.json#1",
    ];
    for name in left {
        fs::write(folder.join(name), "left").unwrap();
    }
    let nothing = "files_deleted,bytes_deleted\n0,0\n";
    assert_eq!(rows(&atoll, "VACUUM t"), nothing);
    assert_eq!(files(&folder, "parquet"), 4);
    let vacuumed = rows(&atoll, "VACUUM t RETAIN 0 HOURS");
    // Those three and the two that OPTIMIZE put together.
    assert!(vacuumed.contains("\n5,"), "{vacuumed}");
    assert_eq!(files(&folder, "parquet"), 1);
    for name in left {
        assert!(!folder.join(name).exists(), "{name}");
    }
    assert_eq!(rows(&atoll, "VACUUM t RETAIN 0 HOURS"), nothing);
    assert_eq!(rows(&atoll, "SELECT n FROM t ORDER BY n"), "n\n1\n2\n");
}

/// Starts statements with a bucket as storage.
fn in_bucket(s3: &S3, atoll: &Atoll, sql: &str) -> Running {
    let arguments = ["--format", "csv", "-c", sql];
    let mut command = atoll.command_in("s3://bucket/atoll", &arguments);
    s3.open_to(&mut command);
    Running::new(command.spawn().unwrap())
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
    // One after the other: this server looks whether a file is there and then writes it,
    // so that both of two at once may be told that they made it.
    let ended = [create(0).finish(), create(1).finish()];
    let who = winner(&ended);
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
