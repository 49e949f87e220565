//! Scripts that are left with a cluster are run to their end, whoever goes away.

use std::time::Duration;

use crate::cluster::{cluster, slots_busy, within};
use crate::server::Server;
use crate::support::{Atoll, Output};

const LIMIT: Duration = Duration::from_secs(60);

/// Leaves a script with a cluster and returns the name of the run.
fn leave(atoll: &Atoll, cluster: &Server, script: &str, more: &[&str]) -> String {
    std::fs::write(atoll.path("nightly.sql"), script).unwrap();
    let script = atoll.path("nightly.sql").display().to_string();
    let args = [&["run", &script, "--detach", "--quiet"], more].concat();
    let output = atoll.start_on(cluster, &args).finish().ok();
    assert_eq!(output.stderr, "");
    output.stdout.trim().to_string()
}

fn runs(atoll: &Atoll, cluster: &Server, args: &[&str]) -> Output {
    let args = [&["runs", "--format", "ndjson"], args].concat();
    atoll.start_on(cluster, &args).finish()
}

/// A column of the only run.
fn column(atoll: &Atoll, cluster: &Server, name: &str) -> String {
    let listed = runs(atoll, cluster, &[]).ok().stdout;
    let run: serde_json::Value = serde_json::from_str(&listed).unwrap();
    match &run[name] {
        serde_json::Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The process of the supervisor that drives the only run.
fn driver(atoll: &Atoll, cluster: &Server) -> String {
    let executor = column(atoll, cluster, "executor");
    executor.rsplit('-').nth(1).unwrap().to_string()
}

/// A script that holds on until it is told to go on by a file.
fn script(atoll: &Atoll) -> String {
    let out = atoll.path("out.csv").display().to_string();
    format!(
        "-- Parameter: rows integer = 1
        SET atoll.speculation = false;
        CREATE VIEW v AS SELECT n FROM generate_series(1, ${{rows}}) AS s(n);
        CREATE TABLE first AS SELECT n FROM v;
        INSERT INTO first SELECT 10 + n FROM v;
        CREATE TABLE second AS SELECT n, test_sleep(3.0) AS s FROM v;
        INSERT INTO first SELECT 20 + n FROM v;
        COPY (SELECT count(*) AS c, sum(n) AS s FROM first) TO '{out}';
        SHOW atoll.speculation"
    )
}

/// Sends a signal to the executor that drives a run in its middle, and returns how often
/// the run was started.
fn goes_on_after(signal: &str) -> String {
    let (cluster, atoll) = (cluster(2), Atoll::new());
    let id = leave(&atoll, &cluster, &script(&atoll), &["--set", "rows=4"]);
    within(LIMIT, "half of the statements", || {
        let shown = runs(&atoll, &cluster, &[&id]).ok();
        shown.stdout.contains("statement 4/8 INSERT INTO")
    });
    let status = std::process::Command::new("kill")
        .args([signal, &driver(&atoll, &cluster)])
        .status();
    assert!(status.unwrap().success());
    let output = runs(&atoll, &cluster, &[&id, "--follow"]).ok();
    assert!(output.stdout.contains("false"), "{}", output.stdout);
    let copied = std::fs::read_to_string(atoll.path("out.csv")).unwrap();
    assert_eq!(copied, "c,s\n12,150\n", "{}", output.stdout);
    let rows = atoll.on(&cluster, "SELECT count(*) AS c, sum(s) AS s FROM second");
    assert_eq!(rows.ok().stdout, "c,s\n4,12.0\n");
    let record = "SELECT run_id, job, count(*) AS n FROM (SELECT run_id, job, \
        unnest(statements) AS s FROM job_runs() WHERE status = 'succeeded') \
        WHERE s['status'] = 'succeeded' GROUP BY run_id, job";
    let record = atoll.on(&cluster, record);
    let expected = format!("run_id,job,n\n{id},nightly,8\n");
    assert_eq!(record.ok().stdout, expected);
    assert_eq!(column(&atoll, &cluster, "status"), "succeeded");
    column(&atoll, &cluster, "starts")
}

#[test]
fn another_executor_goes_on_with_the_run_of_one_that_was_killed() {
    assert_eq!(goes_on_after("-KILL"), "2");
}

#[test]
fn an_executor_that_stops_hands_its_run_over() {
    assert_eq!(goes_on_after("-TERM"), "1");
}

#[test]
fn a_run_is_ended_and_its_slots_are_free() {
    let (cluster, atoll) = (cluster(1), Atoll::new());
    let id = leave(
        &atoll,
        &cluster,
        "SELECT test_sleep(s) FROM (VALUES (600.0)) AS v(s)",
        &[],
    );
    within(LIMIT, "a task", || slots_busy(&cluster) == 1);
    runs(&atoll, &cluster, &[&id, "--cancel"]).ok();
    let output = runs(&atoll, &cluster, &[&id, "--follow"]);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert_eq!(column(&atoll, &cluster, "status"), "cancelled");
    within(LIMIT, "free slots", || slots_busy(&cluster) == 0);
}

#[test]
fn a_run_that_fails_says_why_and_exits_so() {
    let (cluster, atoll) = (cluster(1), Atoll::new());
    let id = leave(&atoll, &cluster, "SELECT 1 AS one;\nSELECT two", &[]);
    let output = runs(&atoll, &cluster, &[&id, "--follow"]);
    assert_eq!(output.status.code(), Some(1));
    let name = atoll.path("nightly.sql").display().to_string();
    for part in ["one", &format!("{name}:2"), "two"] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
    assert!(output.stderr.contains("failed"), "{}", output.stderr);
    assert_eq!(column(&atoll, &cluster, "exit_code"), "1");
}

#[test]
fn what_cannot_be_left_with_a_cluster_is_refused_at_once() {
    let (cluster, atoll) = (cluster(1), Atoll::new());
    std::fs::write(atoll.path("a.sql"), "SELECT ${n}").unwrap();
    let script = atoll.path("a.sql").display().to_string();
    let alone = atoll.start(&["run", &script, "--detach", "--set", "n=1"]);
    let alone = alone.finish();
    assert_eq!(alone.status.code(), Some(2));
    assert!(alone.stderr.contains("--cluster df://"), "{}", alone.stderr);
    let unset = atoll.start_on(&cluster, &["run", &script, "--detach"]);
    let unset = unset.finish();
    assert_eq!(unset.status.code(), Some(2));
    assert!(unset.stderr.contains("${n}"), "{}", unset.stderr);
    for id in ["20200101T000000.000000Z-1", "../slots", "a b", "%2e"] {
        let unknown = runs(&atoll, &cluster, &[id]);
        assert_eq!(unknown.status.code(), Some(1));
        let said = format!("knows no run {id}");
        assert!(unknown.stderr.contains(&said), "{}", unknown.stderr);
    }
    assert_eq!(runs(&atoll, &cluster, &[]).ok().stdout, "");
}
