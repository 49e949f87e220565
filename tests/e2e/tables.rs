//! Stored tables: many who write at once, kills, older and newer storages, and tables in
//! folders and buckets.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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
pub(crate) fn winner(ended: &[Output]) -> usize {
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
            .fails_naming(&["has files of the Delta table", "deep/"]);
    }
    let sql = format!("COPY (SELECT 2 AS n) TO '{root}/deep/' STORED AS PARQUET");
    atoll
        .run(&["-c", &sql])
        .fails_naming(&["holds files that COPY did not write"]);
    let sql = format!("SELECT n FROM '{root}/deep/'");
    assert_eq!(rows(&atoll, &sql), "n\n1\n");
}

#[test]
fn a_pattern_that_finds_files_of_a_delta_table_is_refused() {
    let atoll = Atoll::new();
    let root = atoll.path("root").display().to_string();
    let copy = |n: usize| {
        format!(
            "COPY (SELECT {n} AS n, 'a' AS label, {n} AS day) TO '{root}/deep/' \
             STORED AS DELTA PARTITIONED BY (day);"
        )
    };
    let files = format!("COPY (SELECT 7 AS n) TO '{root}/files/' STORED AS PARQUET;");
    rows(&atoll, &[copy(1), copy(2), files].concat());
    for name in [
        "deep/**/*.parquet",
        "deep/day=*/*.parquet",
        "deep/day=2/*.parquet",
        "deep/day=2/",
        "*/*/*",
        "**/*.parquet",
        "dee?/**/part-*",
    ] {
        for sql in [
            format!("SELECT n FROM '{root}/{name}'"),
            format!("COPY (SELECT n FROM '{root}/{name}') TO '{root}/copy.parquet'"),
            format!("SELECT train('{root}/{name}', {{epochs: 1}})"),
            format!("CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{root}/{name}'"),
            format!(
                "CREATE EXTERNAL TABLE e (n BIGINT) STORED AS PARQUET LOCATION \
                 '{root}/{name}'; SELECT n FROM e"
            ),
        ] {
            atoll.run(&["-c", &sql]).fails_naming(&[
                "has files of the Delta table",
                &format!("Name its folder, FROM '{root}/deep/'"),
            ]);
        }
    }
    // One file by its whole name, names as blobs, and what lies beside the table.
    let part = fs::read_dir(atoll.path("root/deep/day=1")).unwrap().next();
    let part = part.unwrap().unwrap().path().display().to_string();
    assert_eq!(rows(&atoll, &format!("SELECT n FROM '{part}'")), "n\n1\n");
    let sql = format!("SELECT count(*) AS n FROM read_blob('{root}/**/*.parquet')");
    assert_eq!(rows(&atoll, &sql), "n\n3\n");
    let sql = format!("SELECT n FROM '{root}/f*/*.parquet'");
    assert_eq!(rows(&atoll, &sql), "n\n7\n");
    let sql = format!("SELECT n FROM '{root}/deep/' WHERE day = 2");
    assert_eq!(rows(&atoll, &sql), "n\n2\n");
}

#[test]
fn under_one_write_id_a_script_adds_its_rows_once_and_equal_statements_twice() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let sql = format!(
        "SET atoll.write_id = 'day 1'; CREATE OR REPLACE TABLE t AS SELECT 0 AS n; \
         CREATE TABLE once AS SELECT 5 AS n; \
         INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); \
         UPDATE t SET n = n + 1; UPDATE t SET n = n + 1; \
         COPY (SELECT 3 AS n) TO '{out}/' STORED AS DELTA; \
         COPY (SELECT 4 AS n) TO '{out}/' STORED AS DELTA OPTIONS (mode append); \
         COPY (SELECT 4 AS n) TO '{out}/' STORED AS DELTA OPTIONS (mode append); \
         RESTORE once TO VERSION AS OF 0; INSERT INTO once VALUES (6)"
    )
    .replace("RESTORE once", "INSERT INTO once VALUES (9); RESTORE once");
    let found = |atoll: &Atoll| {
        let sql = format!(
            "SELECT n FROM t ORDER BY n; SELECT n FROM '{out}/' ORDER BY n; \
             SELECT n FROM once ORDER BY n"
        );
        rows(atoll, &sql)
    };
    let expected = "n\n2\n3\n3\nn\n3\n4\n4\nn\n5\n6\n";
    for run in 0..3 {
        let output = atoll.run(&["-c", &sql]).ok();
        let is_said = output.stderr.contains("t took this statement before");
        assert_eq!(is_said, run > 0, "{}", output.stderr);
        assert_eq!(found(&atoll), expected);
    }
    // A run is what follows SET, also in one session.
    atoll.run(&["-c", &format!("{sql}; {sql}")]).ok();
    assert_eq!(found(&atoll), expected);
}

/// Runs a statement that can write no file of more than 64 KiB, as if the disk were full.
fn without_room(atoll: &Atoll, sql: &str) -> Output {
    let command = atoll.command(&["-c", sql]);
    let set = command.get_envs();
    let set = set.filter_map(|(name, value)| Some((name, value?)));
    let child = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(set)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Running::new(child.unwrap()).finish()
}

#[test]
fn what_finds_no_room_says_so_and_leaves_the_table_as_it_was() {
    let atoll = Atoll::new();
    rows(&atoll, "CREATE TABLE t AS SELECT 1 AS n, 'a' AS m");
    let many = "SELECT value AS n, md5(CAST(value AS TEXT)) AS m \
                FROM generate_series(1, 50000)";
    let out = atoll.path("out").display().to_string();
    for (sql, where_to) in [
        (format!("CREATE TABLE other AS {many}"), "tables/other: "),
        (format!("INSERT INTO t {many}"), "tables/t: "),
        (
            format!(
                "MERGE INTO t USING ({many}) AS s ON t.n = s.n WHEN NOT MATCHED THEN INSERT *"
            ),
            // Its rows are copied first.
            "cannot write /",
        ),
        (
            format!("COPY ({many}) TO '{out}/' STORED AS DELTA"),
            "out: ",
        ),
        (
            format!("COPY ({many}) TO '{out}/' STORED AS PARQUET"),
            "out: ",
        ),
        (format!("COPY ({many}) TO '{out}.parquet'"), "out.parquet: "),
    ] {
        let output = without_room(&atoll, &sql);
        output.fails_naming(&["cannot write", where_to, "File too large"]);
        assert!(!output.stderr.contains("internal"), "{}", output.stderr);
    }
    assert_eq!(rows(&atoll, "SELECT * FROM t"), "n,m\n1,a\n");
    assert_eq!(files(&atoll.path("storage/tables/t"), "parquet"), 1);
    assert!(!atoll.path("storage/tables/other/_delta_log").exists());
}

#[test]
fn a_table_says_what_it_consists_of_below_its_columns() {
    let atoll = Atoll::new();
    rows(
        &atoll,
        "CREATE TABLE t PARTITIONED BY (day) AS SELECT 1 AS n, 2 AS day",
    );
    rows(&atoll, "INSERT INTO t VALUES (2, 2), (3, 3)");
    let columns = "column_name,data_type,is_nullable\nn,Int64,YES\nday,Int64,YES\n";
    let has = |statement: &str, expected: [&str; 3]| {
        let found = rows(&atoll, statement);
        let table = found.strip_prefix(columns);
        let table = table.unwrap_or_else(|| panic!("{statement}: {found}"));
        for row in ["format,delta", "partition_columns,day"]
            .iter()
            .chain(&expected)
        {
            let row = format!("\n{row},\"\"\n");
            assert!(table.contains(&row), "{statement}: {row} in {found}");
        }
        assert!(table.contains("\nbytes,"), "{statement}: {found}");
    };
    for name in [
        "DESCRIBE t",
        "DESC t",
        "DESCRIBE public.\"t\"",
        "DESCRIBE EXTENDED t",
    ] {
        has(name, ["version,1", "rows,3", "files,3"]);
    }
    has(
        "DESCRIBE t VERSION AS OF 0",
        ["version,0", "rows,1", "files,1"],
    );
    // What is no stored table has columns only, whatever it is called.
    let storage = atoll.path("storage");
    let storage = storage.display();
    let others = format!(
        "CREATE VIEW v AS SELECT * FROM t; DESCRIBE v; DESCRIBE (SELECT * FROM t); \
         DESCRIBE '{storage}/tables/t/'; CREATE EXTERNAL TABLE e STORED AS DELTA \
         LOCATION '{storage}/tables/t/'; DESCRIBE e"
    );
    assert_eq!(rows(&atoll, &others), columns.repeat(4));
    // Unless it is asked for.
    let external = format!(
        "CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{storage}/tables/t/'; \
         DESCRIBE EXTENDED e"
    );
    has(&external, ["version,1", "rows,3", "files,3"]);
}

/// Adds a commit to a table's log that another engine may have made: features of its
/// protocol, properties, and notes of its column `n`.
fn commit_of_another(log: &Path, features: &str, properties: &str, notes: &str) {
    let first = fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let line = first
        .lines()
        .find(|line| line.starts_with("{\"metaData\""))
        .unwrap();
    let mut metadata: serde_json::Value = serde_json::from_str(line).unwrap();
    let metadata_of = &mut metadata["metaData"];
    metadata_of["configuration"] = serde_json::from_str(properties).unwrap();
    let schema = metadata_of["schemaString"].as_str().unwrap().to_string();
    let mut schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    schema["fields"][0]["metadata"] = serde_json::from_str(notes).unwrap();
    metadata_of["schemaString"] = schema.to_string().into();
    let features = features.split(' ').collect::<Vec<_>>();
    let protocol = serde_json::json!({"protocol": {
        "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features,
    }});
    let change = serde_json::json!({"cdc": {
        "path": "_change_data/cdc-0.parquet", "partitionValues": {}, "size": 10,
        "dataChange": false,
    }});
    let text = format!("{protocol}\n{metadata}\n{change}\n");
    fs::write(log.join("00000000000000000001.json"), text).unwrap();
}

#[test]
fn what_other_engines_promise_of_a_table_is_read_and_not_broken() {
    let feed = r#"{"delta.enableChangeDataFeed": "true"}"#;
    let generated = r#"{"delta.generationExpression": "m + 1"}"#;
    let identity = r#"{"delta.identity.start": 1, "delta.identity.step": 1,
        "delta.identity.allowExplicitInsert": false}"#;
    for (features, properties, notes, insert, update) in [
        ("changeDataFeed", feed, "{}", "", "a feed of changes"),
        (
            "generatedColumns",
            "{}",
            generated,
            "generated columns",
            "generated columns",
        ),
        (
            "identityColumns",
            "{}",
            identity,
            "identity columns",
            "identity columns",
        ),
        (
            "identityColumns",
            "{}",
            "{}",
            "identityColumns",
            "identityColumns",
        ),
    ] {
        let atoll = Atoll::new();
        rows(&atoll, "CREATE TABLE t AS SELECT 1 AS n, 0 AS m");
        let log = atoll.path("storage/tables/t/_delta_log");
        commit_of_another(&log, features, properties, notes);
        for version in ["", "VERSION AS OF 0", "VERSION AS OF 1"] {
            let sql = format!("SELECT n FROM t {version}");
            assert_eq!(rows(&atoll, &sql), "n\n1\n", "{notes} {version}");
        }
        let sql = "SELECT n FROM t TIMESTAMP AS OF '2100-01-01'; \
            SELECT version FROM history('t') ORDER BY version";
        assert_eq!(rows(&atoll, sql), "n\n1\nversion\n0\n1\n");
        let added = atoll.run(&["-c", "INSERT INTO t VALUES (2, 1)"]);
        match insert {
            "" => drop(added.ok()),
            what => added.fails_naming(&[what, "does not change it"]),
        }
        for sql in [
            "UPDATE t SET n = 3",
            "DELETE FROM t WHERE n = 1",
            "OPTIMIZE t",
        ] {
            atoll
                .run(&["-c", sql])
                .fails_naming(&[update, "does not change it"]);
        }
    }
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
