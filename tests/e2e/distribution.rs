//! What the tasks of a cluster read and write by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bucket::S3;
use crate::cluster::{cluster, executors, kill, with_test_functions, within};
use crate::server::Server;
use crate::support::{Atoll, Running};

/// Makes files of 2.5 MB that do not compress, with columns of several kinds.
const FILES: &str = "COPY (SELECT value AS id, sha512(CAST(value AS VARCHAR)) AS bytes, \
    CASE WHEN value % 7 = 0 THEN CAST('NaN' AS DOUBLE) WHEN value % 5 = 0 THEN NULL \
    ELSE value / 3.0 END AS score, CAST(value % 4 AS VARCHAR) AS part \
    FROM generate_series(1, 40000)) TO '${folder}' STORED AS PARQUET";

/// What every statement of a cluster starts with that runs in stages however small it is.
const EVERYTHING: &str =
    "SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback = 'error'; ";

/// What `path` holds of [`FILES`], by calls that are cheap.
fn query(path: &str, condition: &str) -> String {
    format!(
        "SELECT id, octet_length(bytes) AS n, score, test_abort_in_group(id < 0) AS status \
         FROM '{path}' WHERE {condition} ORDER BY id"
    )
}

/// Starts a run that knows the functions for tests.
fn start(atoll: &Atoll, arguments: &[&str]) -> Running {
    let mut command = atoll.command(arguments);
    with_test_functions(&mut command);
    Running::new(command.spawn().unwrap())
}

#[track_caller]
fn make(atoll: &Atoll, sql: &str, folder: &str) -> String {
    let path = atoll.path(folder).display().to_string();
    let sql = sql.replace("${folder}", &path);
    atoll.run(&["-c", &sql]).ok();
    path
}

#[test]
fn executors_read_ranges_of_parquet() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let plain = make(&atoll, FILES, "plain");
    let by_part = format!("{FILES} PARTITIONED BY (part)");
    let parts = make(&atoll, &by_part, "[odd] parts#1 %25");
    let conditions = [
        "true",
        "id < 9",
        "id BETWEEN 11990 AND 12020",
        "score > 13000",
        "score IS NULL AND id < 100",
        "id IN (1, 2, 40000, 50000)",
        "false",
    ];
    for path in [&plain, &parts] {
        for condition in conditions {
            let sql = query(path, condition);
            let here = start(&atoll, &["--format", "csv", "-c", &sql]).finish();
            let there = atoll.on(&cluster, &sql).ok();
            assert_eq!(here.ok().stdout, there.stdout, "{path}: {condition}");
        }
        let plan = format!("EXPLAIN {}", query(path, "true"));
        let plan = atoll.on(&cluster, &plan).ok().stdout;
        let read = "ranges of Parquet files, read by the executor";
        assert!(plan.contains(read), "{plan}");
    }
    // A column of the folders, and one row that no executor survives.
    let sql = format!(
        "SELECT part, status, count(*) AS n, min(id) AS first FROM (SELECT part, id, \
         test_abort_in_group(id = 20001) AS status FROM '{parts}' WHERE id > 19900 \
         AND id < 20300) GROUP BY part, status ORDER BY part, status"
    );
    assert_eq!(
        atoll.on(&cluster, &sql).ok().stdout,
        "part,status,n,first\n0,SUCCEEDED,99,19904\n1,FAILED,1,20001\n\
         1,SUCCEEDED,99,19901\n2,SUCCEEDED,100,19902\n3,SUCCEEDED,100,19903\n"
    );
}

/// Rows of 64 bytes that tasks make, about 5 MB of them.
const ROWS: &str =
    "SELECT id, bytes, part, test_abort_in_group(id < 0) AS status FROM '${folder}'";

#[test]
fn tasks_write_what_they_made() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let sql = FILES.replace("40000", "400000");
    let path = make(&atoll, &sql, "rows");
    let rows = ROWS.replace("${folder}", &path);
    let out = |name: &str| atoll.path(name).display().to_string();
    let (files, parts) = (out("files"), out("parts"));
    let script = format!(
        "SET atoll.distribute_bytes = 1000000; CREATE TABLE made AS {rows}; INSERT INTO made {rows} WHERE id <= 300000; \
         CREATE TABLE by_part PARTITIONED BY (part) AS {rows}; \
         COPY ({rows}) TO '{files}' STORED AS PARQUET OPTIONS (manifest true); \
         COPY ({rows}) TO '{parts}' STORED AS PARQUET PARTITIONED BY (part)"
    );
    atoll.on(&cluster, &script).ok();
    let sums = "SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(id) AS s, \
        count(DISTINCT bytes) AS b, min(part) AS p, max(status) AS m FROM ";
    let once = "400000,400000,80000200000,400000,0,SUCCEEDED\n";
    for (from, expected) in [
        ("made", "700000,400000,125000350000,400000,0,SUCCEEDED\n"),
        ("by_part", once),
        (&format!("'{files}'"), once),
        (&format!("'{parts}'"), once),
    ] {
        let found = atoll.run(&["--format", "csv", "-c", &format!("{sums}{from}")]);
        let found = found.ok().stdout;
        assert!(found.ends_with(expected), "{from}: {found}");
    }
    let names = std::fs::read_dir(&files).unwrap().flatten();
    let names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let by_tasks = names.iter().filter(|name| name.contains("-t")).count();
    assert!(by_tasks >= 2, "{names:?}");
    assert!(names.iter().all(|name| !name.contains('~')), "{names:?}");
}

/// How many rows the jobs have that a cluster's scheduler knows.
fn rows_of_jobs(cluster: &Server) -> u64 {
    let status = crate::cluster::status(cluster);
    let (_, body) = status.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    let jobs = status["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["rows"].as_u64().unwrap()).sum()
}

#[test]
fn a_statement_goes_on_where_its_killed_client_stopped() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let path = make(&atoll, FILES, "rows");
    let sql = format!(
        "CREATE TABLE slept AS SELECT id, bytes, test_sleep_in_group(0.0005) AS s FROM '{path}'"
    );
    let address = cluster.address();
    let mut first = start(&atoll, &["--cluster", &address, "-c", &sql]);
    let journals = atoll.path("storage/journals");
    let notes = || crate::support::files_below(&journals, "note-");
    within(Duration::from_secs(60), "two notes", || notes() >= 2);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let before = rows_of_jobs(&cluster);
    assert_eq!(
        atoll
            .run(&["-c", "SHOW TABLES"])
            .ok()
            .stdout
            .matches("slept")
            .count(),
        0
    );
    atoll.on(&cluster, &sql).ok();
    let again = rows_of_jobs(&cluster) - before;
    assert!(again > 0 && again < 40000, "{again} of 40000 rows again");
    let sums = "SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(id) AS s, \
        count(DISTINCT bytes) AS b, count(s) AS slept FROM slept";
    let found = atoll.run(&["--format", "csv", "-c", sums]).ok().stdout;
    assert_eq!(
        found,
        "n,ids,s,b,slept\n40000,40000,800020000,40000,40000\n"
    );
    assert_eq!(notes(), 0);
    // What ran to its end is not taken for one that did not.
    let before = rows_of_jobs(&cluster);
    atoll
        .on(&cluster, &sql.replace("CREATE", "CREATE OR REPLACE"))
        .ok();
    assert_eq!(rows_of_jobs(&cluster) - before, 40000);
}

#[test]
fn executors_die_while_they_write_and_every_row_is_there_once() {
    let atoll = Atoll::new();
    let path = make(&atoll, &FILES.replace("40000", "400000"), "rows");
    let rows = ROWS.replace("${folder}", &path);
    for seed in 0..2 {
        let cluster = cluster(3);
        let (_, workers) = executors(&cluster);
        let folder = atoll.path(&format!("copy-{seed}")).display().to_string();
        let table = format!("made{seed}");
        let script = format!(
            "CREATE TABLE {table} AS {rows}; COPY ({rows}) TO '{folder}' STORED AS PARQUET"
        );
        let address = cluster.address();
        let running = start(&atoll, &["--cluster", &address, "-c", &script]);
        let data = atoll.path(&format!("storage/tables/{table}"));
        within(Duration::from_secs(60), "a file", || data.exists());
        std::thread::sleep(Duration::from_millis(150 * seed as u64));
        kill(workers[seed % workers.len()]);
        running.finish().ok();
        for from in [table, format!("'{folder}'")] {
            let sql = format!("SELECT count(*), count(DISTINCT id), sum(id) FROM {from}");
            let found = atoll.run(&["--format", "csv", "-c", &sql]).ok().stdout;
            assert!(
                found.ends_with("\n400000,400000,80000200000\n"),
                "{from} {found}"
            );
        }
    }
}

#[test]
fn a_copy_to_one_file_is_written_by_the_client_over_stages() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let path = make(&atoll, FILES, "rows");
    let copy = |name: &str| {
        let to = atoll.path(name).display().to_string();
        format!(
            "COPY (SELECT a.id, b.part, a.score FROM '{path}' AS a JOIN '{path}' AS b \
             ON a.id = b.id * 2 ORDER BY a.id DESC) TO '{to}' OPTIONS (format.delimiter \
             ';')"
        )
    };
    atoll.run(&["-c", &copy("here.csv")]).ok();
    let script = format!("{EVERYTHING}{}", copy("there.csv"));
    atoll.on(&cluster, &script).ok();
    let read = |name: &str| std::fs::read_to_string(atoll.path(name)).unwrap();
    assert!(read("here.csv").starts_with("id;part;score\n40000;0;"));
    assert_eq!(read("here.csv"), read("there.csv"));
}

/// Joins and groups [`FILES`] with itself, by calls that are cheap.
const JOINED: &str = "SELECT b.part, count(*) AS n, sum(a.id) AS s, min(a.status) AS m \
    FROM (SELECT id, part, test_abort_in_group(id < 0) AS status FROM '${folder}') AS a \
    JOIN '${folder}' AS b ON a.id = b.id * 2 GROUP BY b.part ORDER BY b.part";

#[test]
fn executors_die_between_stages_and_the_rows_are_right() {
    let atoll = Atoll::new();
    let path = make(&atoll, &FILES.replace("40000", "200000"), "rows");
    let joined = JOINED.replace("${folder}", &path);
    let here = start(&atoll, &["--format", "csv", "-c", &joined]).finish();
    let expected = here.ok().stdout;
    assert!(expected.contains("\n0,25000,"), "{expected}");
    for seed in 0..4 {
        let cluster = cluster(3);
        let (_, workers) = executors(&cluster);
        let plan = format!("{EVERYTHING}EXPLAIN {joined}");
        let plan = atoll.on(&cluster, &plan).ok().stdout;
        assert!(plan.contains("StagesExec: stages="), "{plan}");
        let script = format!("{EVERYTHING}{joined}");
        let address = cluster.address();
        let arguments = ["--format", "csv", "--cluster", &address, "-c", &script];
        let running = start(&atoll, &arguments);
        std::thread::sleep(Duration::from_millis(300 + 500 * seed as u64));
        kill(workers[seed % workers.len()]);
        assert_eq!(running.finish().ok().stdout, expected, "seed {seed}");
        // Nothing is left of what tasks gave each other.
        let left = std::fs::read_dir(atoll.path("storage/work"));
        assert_eq!(left.map_or(0, Iterator::count), 0, "seed {seed}");
    }
}

#[test]
fn a_bucket_holds_what_tasks_read_shuffle_and_write() {
    // Some requests are refused.
    let s3 = S3::start(29);
    let cluster = Server::cluster(2, |command| {
        s3.open_to(command);
        with_test_functions(command);
    });
    let atoll = Atoll::new();
    let rows = FILES.replace("40000", "100000");
    let rows = rows.replace("${folder}", "s3://bucket/rows/");
    let call = ROWS.replace("${folder}", "s3://bucket/rows/");
    let joined = JOINED.replace("${folder}", "s3://bucket/rows/");
    let script = format!(
        "{rows}; SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback = 'error'; \
         CREATE TABLE made AS {call}; INSERT INTO made {call} WHERE id <= 10; \
         COPY ({call}) TO 's3://bucket/copy/' STORED AS PARQUET PARTITIONED BY (part); \
         SELECT count(*), count(DISTINCT id), sum(id) FROM made; \
         SELECT count(*), count(DISTINCT id), sum(id), min(part), max(part) \
         FROM 's3://bucket/copy/'; {joined}"
    );
    let mut command = atoll.command_in("s3://bucket/atoll", &["--format", "csv"]);
    command.args(["--cluster", &cluster.address(), "-c", &script]);
    s3.open_to(&mut command);
    with_test_functions(&mut command);
    let output = Running::new(command.spawn().unwrap()).finish().ok().stdout;
    assert!(output.contains("\n100010,100000,5000050055\n"), "{output}");
    assert!(
        output.contains("\n100000,100000,5000050000,0,3\n"),
        "{output}"
    );
    assert!(output.contains("\n0,12500,"), "{output}");
}

#[test]
fn a_row_that_kills_executors_is_given_up_between_stages() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let path = make(&atoll, FILES, "rows");
    // Rows that a scan gives, and those that a join does.
    for from in [
        format!("'{path}' AS s"),
        format!(
            "(SELECT b.id, b.part FROM '{path}' AS a JOIN '{path}' AS b ON a.id = b.id)"
        ),
    ] {
        let sql = format!(
            "{EVERYTHING}SELECT part, status, count(*) AS n, min(id) AS first FROM (SELECT \
             id, part, test_abort_in_group(id = 20001) AS status FROM {from}) GROUP BY part, \
             status ORDER BY part, status"
        );
        assert_eq!(
            atoll.on(&cluster, &sql).ok().stdout,
            "part,status,n,first\n0,SUCCEEDED,10000,4\n1,FAILED,1,20001\n\
             1,SUCCEEDED,9999,1\n2,SUCCEEDED,10000,2\n3,SUCCEEDED,10000,3\n",
            "{from}"
        );
    }
}

#[test]
fn explain_says_where_each_part_runs_and_why() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let path = make(&atoll, FILES, "rows");
    let joined = JOINED.replace("${folder}", &path);
    let plan = |sql: &str| atoll.on(&cluster, sql).ok().stdout;
    let check = |plan: &str, parts: &[&str]| {
        for part in parts {
            assert!(plan.contains(part), "no {part}: {plan}");
        }
    };
    let stages = plan(&format!("{EVERYTHING}EXPLAIN {joined}"));
    let why = "where: the cluster joins, groups and sorts";
    check(
        &stages,
        &[
            "StagesExec: stages=",
            "StageExec: stage=1, tasks=",
            "pieces of files of",
            "gives=rows by [",
            "rows of stage ",
            "gives=the statement's rows",
            why,
            "more than atoll.distribute_bytes = 0",
        ],
    );
    let here = plan(&format!("EXPLAIN {joined}"));
    check(
        &here,
        &[
            "ClusterExec: job=1",
            "ranges of Parquet files, read by the executor, reads=",
            "where: the client joins, groups and sorts",
            "not more than atoll.distribute_bytes = 268435456",
        ],
    );
    // What the tasks did, and not what the client would have done.
    let done = plan(&format!("{EVERYTHING}EXPLAIN ANALYZE {joined}"));
    check(
        &done,
        &[
            "StagesExec:",
            "tasks_done=",
            "task_time_sum=",
            "task_time_max=",
        ],
    );
    let stage = done
        .lines()
        .find(|line| line.contains("StageExec: stage=1,"));
    let stage = stage.unwrap();
    assert!(!stage.contains("tasks_done=0"), "{stage}");
    assert!(!stage.contains("output_rows=0"), "{stage}");
    let of_job = plan(&format!(
        "EXPLAIN ANALYZE SELECT id, test_abort_in_group(id < 0) FROM '{path}'"
    ));
    let job = of_job
        .lines()
        .find(|line| line.contains("ClusterExec: job=1"));
    let job = job.unwrap();
    check(job, &["output_rows=", "task_time_max="]);
    assert!(!job.contains("output_rows=0"), "{job}");
    // Row groups that no row of passes the condition are skipped, and counted.
    let wide = FILES.replace("40000", "400000");
    let wide = make(
        &atoll,
        &format!("{wide} OPTIONS (max_row_group_size 50000)"),
        "wide",
    );
    let few = plan(&format!(
        "{EVERYTHING}EXPLAIN ANALYZE SELECT part, count(*) FROM '{wide}' WHERE id > 390000 \
         GROUP BY part"
    ));
    let (_, skipped) = few.split_once("row_groups_skipped=").unwrap();
    let (of, rest) = skipped.split_once(" total → ").unwrap();
    let (read, _) = rest.split_once(" matched").unwrap();
    let number = |text: &str| text.parse::<usize>().unwrap();
    // Two files hold the last of the rows.
    assert!(number(of) >= 8 && number(read) <= 4, "{few}");
}

#[test]
fn tasks_write_what_update_delete_and_merge_leave() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    // Files of more than 32 MiB, which are not written as one by the client.
    let path = make(&atoll, &FILES.replace("40000", "700000"), "rows");
    let script = format!(
        "{EVERYTHING}CREATE TABLE made AS SELECT * FROM '{path}'; \
         UPDATE made SET part = 'new' WHERE id % 2 = 0; \
         DELETE FROM made WHERE id % 7 = 0; \
         MERGE INTO made USING (SELECT id + 1 AS id, part FROM '{path}' WHERE id % 70 = 0) AS s \
         ON made.id = s.id WHEN MATCHED AND made.id % 4 = 0 THEN DELETE \
         WHEN MATCHED THEN UPDATE SET part = 'merged' \
         WHEN NOT MATCHED THEN INSERT (id, part) VALUES (s.id, 'added')"
    );
    let counts = atoll.on(&cluster, &script).ok().stdout;
    // 70 n + 1 is odd and no multiple of 4; 700001 is not there, the others are, but for
    // those that 7 divides: none.
    assert_eq!(counts, "count\n350000\ncount\n100000\ncount\n10000\n");
    let sums = "SELECT part, count(*) AS n, count(DISTINCT id) AS ids, sum(id) AS s, \
        count(bytes) AS b FROM made GROUP BY part ORDER BY part";
    let found = atoll.run(&["--format", "csv", "-c", sums]).ok().stdout;
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for id in (1..=700_001_u64).filter(|id| id % 7 != 0 || *id == 700_001) {
        let part = match id {
            700_001 => "added",
            id if id % 70 == 1 && id > 1 => "merged",
            id if id % 2 == 0 => "new",
            id if id % 4 == 1 => "1",
            _ => "3",
        };
        let of_part = expected.entry(part).or_default();
        *of_part = (of_part.0 + 1, of_part.1 + id);
    }
    let expected = expected.into_iter().map(|(part, (count, sum))| {
        let with_bytes = if part == "added" { 0 } else { count };
        format!("{part},{count},{count},{sum},{with_bytes}\n")
    });
    let expected: String = expected.collect();
    assert_eq!(found, format!("part,n,ids,s,b\n{expected}"));
}
