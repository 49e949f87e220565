//! Who gets the slots of a cluster: a task that a slow executor holds up runs a second time
//! elsewhere, and clients share the slots whatever the number of their jobs.

use std::time::Duration;

use crate::cluster::{cluster, with_test_functions, within};
use crate::server::Server;
use crate::support::{Atoll, Running};

/// A cluster of three slots, and of a fourth on which a second of sleep is 1,000.
fn cluster_with_a_slow_executor() -> (Server, Server) {
    let cluster = cluster(3);
    let address = cluster.address();
    let slow = Server::start(
        &["executor", "--scheduler", &address, "--slots", "1"],
        |command| {
            with_test_functions(command);
            command.env("ATOLL_TEST_SLOWNESS", "1000");
        },
    );
    slow.wait(|said| said.contains(" executor: "));
    (cluster, slow)
}

fn start(atoll: &Atoll, cluster: &Server, sql: &str) -> Running {
    let address = cluster.address();
    let arguments = ["--format", "csv", "--cluster", &address, "-c", sql];
    let mut command = atoll.command(&arguments);
    with_test_functions(&mut command);
    Running::new(command.spawn().unwrap())
}

#[test]
fn a_slow_executor_holds_nothing_up() {
    let (cluster, _slow) = cluster_with_a_slow_executor();
    let atoll = Atoll::new();
    let keys = atoll.path("keys").display().to_string();
    let make = format!(
        "COPY (SELECT value AS id, value % 4 AS k FROM generate_series(1, 16)) TO '{keys}/' \
         STORED AS PARQUET PARTITIONED BY (k)"
    );
    atoll.run(&["-c", &make]).ok();
    let rows = "SELECT value AS id, test_sleep(0.2) AS slept FROM generate_series(1, 16)";
    let stages = format!(
        "SET atoll.distribute_bytes = 0; SELECT CAST(k AS INT) AS k, count(*) AS n, \
         sum(id) AS ids FROM (SELECT k, id, test_sleep(0.2) AS s FROM '{keys}/') \
         WHERE s > 0 GROUP BY k ORDER BY k"
    );
    // A task of the slow executor takes 200 s.
    for (sql, expected) in [
        (
            &format!(
                "SELECT count(*) AS n, sum(id) AS ids, sum(slept) AS s FROM ({rows})"
            ),
            "n,ids,s\n16,136,3.2",
        ),
        (
            &format!(
                "CREATE TABLE slept AS {rows}; SELECT count(*) AS n, sum(id) AS ids FROM slept"
            ),
            "n,ids\n16,136\n",
        ),
        (&stages, "k,n,ids\n0,4,40\n1,4,28\n2,4,32\n3,4,36\n"),
    ] {
        let output = start(&atoll, &cluster, sql).finish().ok();
        assert!(output.stdout.contains(expected), "{sql}: {}", output.stdout);
        assert!(output.took < Duration::from_secs(60), "{:?}", output.took);
    }
    // What an executor was stopped in leaves its slot free.
    within(Duration::from_secs(30), "free slots", || {
        crate::cluster::slots_busy(&cluster) == 0
    });
}

#[test]
fn without_speculation_a_slow_task_is_waited_for() {
    let (cluster, _slow) = cluster_with_a_slow_executor();
    let atoll = Atoll::new();
    let sql = "SET atoll.speculation = false; SELECT sum(test_sleep(0.05)) \
        FROM generate_series(1, 8)";
    let mut waiting = start(&atoll, &cluster, sql);
    within(Duration::from_secs(30), "one task that is left", || {
        let status = crate::cluster::status(&cluster);
        status.contains(r#""pending":0"#) && status.contains(r#""done":7"#)
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(waiting.child.try_wait().unwrap().is_none());
    assert_eq!(crate::cluster::slots_busy(&cluster), 1);
    waiting.child.kill().unwrap();
}

#[test]
fn a_client_with_many_jobs_leaves_others_their_share() {
    let cluster = cluster(2);
    let (many, one) = (Atoll::new(), Atoll::new());
    // Each part of the union is a partition of the statement, with jobs of its own.
    let part = "SELECT test_sleep(0.3) AS s FROM generate_series(1, 20)";
    let parts = vec![part; 32].join(" UNION ALL ");
    let mut busy = start(&many, &cluster, &format!("SELECT sum(s) FROM ({parts})"));
    within(Duration::from_secs(30), "32 jobs", || {
        let status = crate::cluster::status(&cluster);
        status.matches(r#""state":"running""#).count() == 32
    });
    // Of every 33 free slots one, if jobs shared them: 50 s.
    let sql = "SELECT sum(test_sleep(0.1)) AS s FROM generate_series(1, 10)";
    let output = start(&one, &cluster, sql).finish().ok();
    assert!(output.took < Duration::from_secs(20), "{:?}", output.took);
    assert!(busy.child.try_wait().unwrap().is_none(), "the other ended");
    busy.child.kill().unwrap();
}
