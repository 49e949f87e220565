//! `atoll run` as a job: its help, locks, limits, records and exit codes.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Atoll, Output, files, wait_until};

const COUNT: &str = "-- Count to a number.\n\
     -- Parameter: n integer = 3 -- how far\n\
     -- Parameter: output path -- where to\n\
     CREATE OR REPLACE TABLE numbers AS\n\
     SELECT value AS n FROM generate_series(1, ${n});\n\
     COPY (SELECT * FROM numbers) TO '${output}/' STORED AS PARQUET;\n\
     SELECT count(*) AS n FROM numbers;\n";

/// Trains longer than any test may take.
const FOREVER: &str = "SELECT train('sql/data/digits.parquet', {epochs: 100000}) AS t;";

#[track_caller]
fn exits(output: &Output, code: i32, parts: &[&str]) {
    let stderr = &output.stderr;
    assert_eq!(output.status.code(), Some(code), "standard error: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

fn rows(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

#[test]
fn help_shows_what_the_script_declares() {
    let atoll = Atoll::new();
    let script = atoll.file("count.sql", COUNT);
    let help = atoll.run(&["run", &script, "--help"]).ok().stdout;
    assert!(help.starts_with("Count to a number.\n"), "{help}");
    assert!(
        help.contains("n       integer  how far [default: 3]"),
        "{help}"
    );
    assert!(
        help.contains("output  path     where to [required]"),
        "{help}"
    );
    let help = atoll.run(&["run", "--help"]).ok().stdout;
    assert!(help.contains("--interval <START/END>"), "{help}");
}

#[test]
fn parameters_are_checked_before_anything_runs() {
    let atoll = Atoll::new();
    let script = atoll.file("count.sql", COUNT);
    let output = atoll.run(&["run", &script]);
    exits(
        &output,
        2,
        &["the parameter output must be given", "--set output="],
    );
    let output = atoll.run(&["run", &script, "--set", "output=x", "--set", "n=many"]);
    exits(
        &output,
        2,
        &["n must be an integer, such as 20, got 'many'"],
    );
    let output = atoll.run(&["run", &script, "--set", "output=x", "--set", "m=1"]);
    exits(&output, 2, &["--set m: no script uses ${m}"]);
    assert!(!atoll.path("storage/runs").exists());
}

#[test]
fn a_dry_run_finds_mistakes_and_touches_nothing() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let set = format!("output={out}");
    let good = atoll.file("count.sql", COUNT);
    let output = atoll.run(&["run", &good, "--set", &set, "--dry-run"]).ok();
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("3 statements can be planned"));
    let bad = COUNT.replace("SELECT count(*) AS n", "SELECT count(m) AS n");
    let bad = atoll.file("bad.sql", &bad);
    let output = atoll.run(&["run", &bad, "--set", &set, "--dry-run"]);
    output.fails_naming(&["bad.sql:7: statement 3", "no column named m"]);
    assert!(!atoll.path("out").exists());
    assert!(!atoll.path("storage/tables").exists());
    assert!(!atoll.path("storage/runs").exists());
}

#[test]
fn a_record_says_what_a_run_did() {
    let atoll = Atoll::new();
    let script = atoll.file("count.sql", COUNT);
    let set = format!("output={}", atoll.path("out").display());
    let manifest = atoll.path("run.json").display().to_string();
    let interval = "2026-11-24/2026-11-25";
    let arguments = ["run", &script, "--set", &set, "--interval", interval];
    let arguments = [&arguments[..], &["--manifest", &manifest]].concat();
    atoll.run(&arguments).ok();
    let text = std::fs::read_to_string(&manifest).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["job"], "count");
    assert_eq!(record["status"], "succeeded");
    assert_eq!(record["exit_code"], 0);
    assert_eq!(record["parameters"]["n"], "3");
    assert_eq!(record["interval"]["start"], "2026-11-24T00:00:00Z");
    let statements = record["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 3);
    assert_eq!(statements[1]["rows"], 3);
    assert_eq!(statements[1]["line"], 6);
    let file = &statements[1]["files"][0];
    let path = file["path"].as_str().unwrap();
    let size = std::fs::metadata(path).unwrap().len();
    assert_eq!(file["bytes"], size);
    let hash =
        format!("SELECT encode(sha256(content), 'hex') AS h FROM read_blob('{path}')");
    let hash = rows(&atoll, &hash);
    assert_eq!(hash, format!("h\n{}\n", file["sha256"].as_str().unwrap()));
    let history = "SELECT job, status, exit_code, cardinality(files) AS files, \
        interval_end FROM job_runs()";
    assert_eq!(
        rows(&atoll, history),
        "job,status,exit_code,files,interval_end\n\
         count,succeeded,0,2,2026-11-25T00:00:00Z\n"
    );
}

#[test]
fn a_failed_run_names_its_statement_and_skips_the_rest() {
    let atoll = Atoll::new();
    let script = atoll.file("s.sql", "SELECT 1;\nSELECT 1 / 0;\nSELECT 3;");
    let output = atoll.run(&["run", &script, "--log-format", "json"]);
    exits(&output, 1, &["s.sql:2: statement 2", "statement_finished"]);
    let log = output.stderr.lines().filter(|line| line.starts_with('{'));
    let log: Vec<Value> = log.map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(log.last().unwrap()["status"], "failed");
    let sql = "SELECT status, error LIKE '%ivide by zero%' AS why FROM job_runs()";
    assert_eq!(rows(&atoll, sql), "status,why\nfailed,true\n");
    let sql = "SELECT s['status'] AS status FROM \
        (SELECT unnest(statements) AS s FROM job_runs()) ORDER BY s['number']";
    assert_eq!(rows(&atoll, sql), "status\nsucceeded\nfailed\nskipped\n");
}

#[test]
fn two_runs_of_a_job_and_interval_never_overlap() {
    let atoll = Atoll::new();
    let script = atoll.file("s.sql", FOREVER);
    let day = "2026-11-24/2026-11-25";
    let job = |interval: &'static str| {
        ["run", &script, "--job", "train", "--interval", interval]
    };
    let first = atoll.start(&job(day));
    let folder = atoll.path("storage/runs/train");
    wait_until("the record", || files(&folder, "json") == 1);
    let output = atoll.run(&job(day));
    exits(
        &output,
        3,
        &["train for 2026-11-24", "is already running: process"],
    );
    let next = ["run", &script, "--job", "train", "--timeout", "300ms"];
    let next = [&next[..], &["--interval", "2026-11-25/2026-11-26"]].concat();
    exits(&atoll.run(&next), 4, &["longer than --timeout 300ms"]);
    // A killed run keeps no lock, and the next one says that it was killed.
    first.signal("KILL");
    first.finish();
    let again = [&job(day)[..], &["--timeout", "300ms"]].concat();
    exits(&atoll.run(&again), 4, &[]);
    let sql = "SELECT status FROM job_runs() ORDER BY started_at";
    assert_eq!(rows(&atoll, sql), "status\nkilled\ntimed_out\ntimed_out\n");
}

#[test]
fn an_interrupted_run_says_so() {
    let atoll = Atoll::new();
    let script = atoll.file("s.sql", FOREVER);
    let run = atoll.start(&["run", &script]);
    wait_until("the snapshot", || atoll.path("storage/snapshots").exists());
    std::thread::sleep(Duration::from_millis(300));
    run.signal("INT");
    exits(&run.finish(), 130, &[]);
    let sql = "SELECT status, exit_code FROM job_runs()";
    assert_eq!(rows(&atoll, sql), "status,exit_code\ncancelled,130\n");
}

#[test]
fn an_interval_runs_again_over_its_own_partition_only() {
    let atoll = Atoll::new();
    let script = atoll.file(
        "s.sql",
        "-- Parameter: n integer = 1\n\
         COPY (SELECT ${n} AS n, '${interval_date}' AS day) TO '${out}' STORED AS \
         PARQUET PARTITIONED BY (day) OPTIONS (mode 'overwrite_partitions', manifest true);",
    );
    let out = format!("out={}", atoll.path("out").display());
    let run = |interval: &str, n: &str| {
        let arguments = ["run", &script, "--interval", interval, "--set", n];
        atoll.run(&[&arguments[..], &["--set", &out]].concat()).ok();
    };
    run("2026-11-24/2026-11-25", "n=1");
    run("2026-11-25/2026-11-26", "n=2");
    run("2026-11-24/2026-11-25", "n=3");
    let sql = format!(
        "SELECT n, day FROM '{}/' ORDER BY day",
        atoll.path("out").display()
    );
    assert_eq!(rows(&atoll, &sql), "n,day\n3,2026-11-24\n2,2026-11-25\n");
    let manifest = std::fs::read_to_string(atoll.path("out/_manifest.json")).unwrap();
    assert_eq!(manifest.matches("\"sha256\"").count(), 2, "{manifest}");
    let output = atoll.run(&["run", &script, "--set", &out]);
    exits(&output, 2, &["${interval_date} wants to know an interval"]);
}
