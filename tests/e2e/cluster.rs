//! A cluster gives the same rows as one machine, whatever happens to its processes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bucket::{S3, SECRET};
use crate::server::Server;
use crate::support::{Atoll, Output, Running};

/// Twelve short trials. Seconds and paths differ between runs, and are left out.
const STUDY: &str = "SELECT hidden, seed, t.status, t.epochs, t.validation_accuracy, \
    t.train_loss, t.trial_id, t.model_sha256 \
    FROM (SELECT hidden, seed, train('sql/data/digits.parquet', {architecture: 'mlp', \
    hidden: hidden, epochs: 12, learning_rate: 0.1, seed: seed}) AS t \
    FROM generate_series(1, 4) AS s(seed) CROSS JOIN (VALUES (48), (64), (96)) AS h(hidden)) \
    ORDER BY hidden, seed";

pub(crate) fn with_test_functions(command: &mut std::process::Command) {
    command.env("ATOLL_TEST_FUNCTIONS", "1");
}

pub(crate) fn cluster(executors: usize) -> Server {
    Server::cluster(executors, with_test_functions)
}

impl Atoll {
    /// Runs statements on a cluster.
    pub(crate) fn on(&self, cluster: &Server, sql: &str) -> Output {
        self.start_on(cluster, &["--format", "csv", "-c", sql])
            .finish()
    }

    /// Starts something on a cluster.
    pub(crate) fn start_on(&self, cluster: &Server, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.args(["--cluster", &cluster.address()]);
        with_test_functions(&mut command);
        Running::new(command.spawn().unwrap())
    }
}

/// Asks a scheduler for its status; empty when it does not answer.
pub(crate) fn status(cluster: &Server) -> String {
    let address = cluster.address();
    let address = address.trim_start_matches("df://");
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /status.json HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    ask().unwrap_or_default()
}

/// The status of a scheduler, which must answer.
fn status_json(cluster: &Server) -> serde_json::Value {
    let status = status(cluster);
    let (_, body) = status.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn busy(status: &serde_json::Value) -> usize {
    let executors = status["executors"].as_array().unwrap();
    let running = |one: &serde_json::Value| one["running"].as_u64().unwrap();
    executors.iter().map(running).sum::<u64>() as usize
}

pub(crate) fn slots_busy(cluster: &Server) -> usize {
    busy(&status_json(cluster))
}

/// Whether no job runs, and no task of one that was cancelled.
pub(crate) fn is_idle(cluster: &Server) -> bool {
    let status = status_json(cluster);
    let jobs = status["jobs"].as_array().unwrap();
    let has_ended =
        |job: &serde_json::Value| job["state"] != "running" && job["state"] != "merging";
    busy(&status) == 0 && jobs.iter().all(has_ended)
}

#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose command line has all of these words, such as the workers of an
/// executor.
fn processes(words: &[&str]) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word)).then_some(id)
    })
    .collect()
}

pub(crate) fn kill(id: u32) {
    let id = id.to_string();
    // It may have ended by itself.
    let _ = std::process::Command::new("kill")
        .args(["-9", &id])
        .status();
}

/// The executors of a cluster: those that watch, and those that work.
pub(crate) fn executors(cluster: &Server) -> (Vec<u32>, Vec<u32>) {
    let address = cluster.address();
    let all = processes(&["executor", "--scheduler", &address]);
    let workers = processes(&["executor", "--scheduler", &address, "--worker"]);
    let watching = all.into_iter().filter(|id| !workers.contains(id)).collect();
    (watching, workers)
}

#[test]
fn a_script_gives_the_same_rows_on_both_engines() {
    let script = "CREATE TABLE trials AS SELECT hidden, train('sql/data/digits.parquet', \
        {architecture: 'mlp', hidden: hidden, epochs: 3, learning_rate: 0.1}) AS t \
        FROM (VALUES (16), (32), (64)) AS s(hidden); \
        CREATE VIEW held_out AS SELECT image, label FROM 'sql/data/digits.parquet' \
        WHERE split = 'test'; \
        SELECT hidden, t.model_sha256, t.validation_loss FROM trials ORDER BY hidden; \
        SELECT hidden, e.rows, e.accuracy, e.loss, e.confusion FROM (SELECT hidden, \
        evaluate(trials.t.model, 'held_out') AS e FROM trials) ORDER BY hidden; \
        SELECT filename, classify('sql/data/efficientnet-lite0.onnx', content, 2) AS l \
        FROM read_blob('sql/data/photos/*') ORDER BY filename; \
        COPY (SELECT filename, image_info(content)['width'] AS width \
        FROM read_blob('sql/data/photos/*.png')) TO '${out}' STORED AS CSV; \
        SELECT * FROM '${out}' ORDER BY 1; \
        SHOW COLUMNS FROM trials; SHOW TABLES; SELECT count(*) FROM generate_series(1, 5)";
    let cluster = cluster(2);
    let outputs = [None, Some(cluster.address())].map(|address| {
        let atoll = Atoll::new();
        let out = atoll.path("out.csv").display().to_string();
        let script = script.replace("${out}", &out);
        let mut arguments = vec!["--format", "csv", "-c", script.as_str()];
        if let Some(address) = &address {
            arguments.extend(["--cluster", address]);
        }
        atoll.run(&arguments).ok().stdout
    });
    assert!(outputs[0].lines().count() > 30, "{}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn executors_die_and_no_row_is_lost() {
    let undisturbed = Atoll::new();
    let expected = undisturbed
        .run(&["--format", "csv", "-c", STUDY])
        .ok()
        .stdout;
    for seed in 0..3 {
        let cluster = cluster(3);
        let (_, workers) = executors(&cluster);
        let atoll = Atoll::new();
        let address = cluster.address();
        let arguments = ["--format", "csv", "--cluster", &address, "-c", STUDY];
        let running = atoll.start(&arguments);
        // In the middle of the study, another executor and another time for each seed.
        let trials = 2 + 3 * seed;
        within(Duration::from_secs(60), "trials", || {
            atoll.trials() >= trials
        });
        kill(workers[seed % workers.len()]);
        let output = running.finish().ok();
        assert_eq!(output.stdout, expected, "seed {seed}");
        assert_eq!(atoll.trials(), 12);
        let again = atoll.on(&cluster, STUDY).ok();
        assert_eq!(again.stdout, expected, "finished trials are found again");
    }
}

#[test]
fn a_machine_is_lost_without_a_word() {
    let cluster = cluster(2);
    let (watching, _) = executors(&cluster);
    let atoll = Atoll::new();
    let address = cluster.address();
    let expected = atoll.run(&["--format", "csv", "-c", STUDY]).ok().stdout;
    let atoll = Atoll::new();
    let running = atoll.start(&["--format", "csv", "--cluster", &address, "-c", STUDY]);
    within(Duration::from_secs(60), "a trial", || atoll.trials() >= 1);
    // The supervisor cannot tell the scheduler, and the worker ends with it.
    kill(watching[0]);
    assert_eq!(running.finish().ok().stdout, expected);
}

#[test]
fn a_row_that_kills_executors_is_given_up() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let rows = atoll.on(
        &cluster,
        "SELECT n, test_abort(n = 3) AS status FROM generate_series(1, 5) AS s(n) \
         ORDER BY n",
    );
    let expected =
        "n,status\n1,SUCCEEDED\n2,SUCCEEDED\n3,FAILED\n4,SUCCEEDED\n5,SUCCEEDED\n";
    assert_eq!(rows.ok().stdout, expected);
    // Among rows of one task only the one row is given up.
    let rows = atoll.on(
        &cluster,
        "SELECT status, count(*) AS n, min(n) AS first FROM (SELECT n, \
         test_abort_in_group(n = 70) AS status FROM generate_series(1, 200) AS s(n)) \
         GROUP BY status ORDER BY status",
    );
    assert_eq!(
        rows.ok().stdout,
        "status,n,first\nFAILED,1,70\nSUCCEEDED,199,1\n"
    );
    // What fails as a value does so here too.
    let rows = atoll.on(
        &cluster,
        "SELECT d.error_code, e.error_code, d.image IS NULL AS no_image, status \
         FROM (SELECT filename, try_image_decode(content) AS d, \
         try_classify('sql/data/efficientnet-lite0.onnx', content) AS e, \
         test_abort_in_group(filename LIKE '%coffee%') AS status \
         FROM read_blob('sql/data/photos/c*')) ORDER BY filename",
    );
    let rows = rows.ok().stdout;
    let died = "EXECUTOR_DIED,EXECUTOR_DIED,true,FAILED";
    assert_eq!(rows.matches(died).count(), 1, "{rows}");
    assert_eq!(rows.matches("\n,,false,SUCCEEDED").count(), 3, "{rows}");
    let rows = atoll
        .on(&cluster, "SELECT test_abort(false) AS status")
        .ok();
    assert_eq!(rows.stdout, "status\nSUCCEEDED\n", "the cluster lives");
}

#[test]
fn rows_are_dealt_one_by_one_to_free_slots() {
    let cluster = cluster(3);
    let atoll = Atoll::new();
    // One long row and eight short ones: two slots do the short ones meanwhile. In three
    // equal runs of rows two of them would wait for the long one.
    let sql = "SELECT sum(test_sleep(CASE WHEN n = 1 THEN 120.0 ELSE 0.1 END)) AS slept \
        FROM generate_series(1, 9) AS s(n)";
    let running = atoll.start_on(&cluster, &["-c", sql]);
    within(Duration::from_secs(60), "eight rows", || {
        status(&cluster).contains("\"done\":8")
    });
    assert_eq!(slots_busy(&cluster), 1);
    running.signal("INT");
    assert_eq!(running.finish().status.code(), Some(130));
}

#[test]
fn explain_shows_the_jobs() {
    let cluster = cluster(1);
    let atoll = Atoll::new();
    let sql = "EXPLAIN SELECT evaluate(x.t.model, 'sql/data/digits.parquet') FROM (SELECT \
        train('sql/data/digits.parquet', {hidden: h}) AS t FROM (VALUES (1)) AS s(h)) AS x";
    let plan = atoll.on(&cluster, sql).ok().stdout;
    // Trained and evaluated in one task: a row needs nothing of another row.
    assert!(plan.contains("ClusterExec: job=1"), "{plan}");
    assert!(plan.contains("one row a task"), "{plan}");
    let sql = "EXPLAIN SELECT classify('sql/data/efficientnet-lite0.onnx', content) FROM \
        read_blob('sql/data/photos/*') WHERE filename IN (SELECT filename FROM (SELECT \
        filename, try_classify('sql/data/efficientnet-lite0.onnx', content) AS c FROM \
        read_blob('sql/data/photos/*')) WHERE c.error IS NULL)";
    let plan = atoll.on(&cluster, sql).ok().stdout;
    assert!(plan.contains("job=2"), "{plan}");
    assert!(
        plan.contains("groups of files, read by the executor"),
        "{plan}"
    );
}

#[test]
fn ctrl_c_stops_executors_and_frees_their_slots() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let address = cluster.address();
    let sql = "SELECT t.status FROM (SELECT train('sql/data/digits.parquet', \
        {architecture: 'lenet', learning_rate: 0.01, epochs: 100000, patience: 0, \
        seed: seed}) AS t FROM generate_series(1, 4) AS s(seed))";
    let running = atoll.start(&["--cluster", &address, "-c", sql]);
    within(Duration::from_secs(30), "two trials", || {
        slots_busy(&cluster) == 2
    });
    let page = status(&cluster);
    assert!(page.contains("\"label\":\"train\""), "{page}");
    within(Duration::from_secs(30), "an epoch", || {
        status(&cluster).contains("\"epochs\":100000,\"loss\":0")
            || status(&cluster).contains("\"epochs\":100000,\"loss\":1")
            || status(&cluster).contains("\"epochs\":100000,\"loss\":2")
    });
    running.signal("INT");
    let output = running.finish();
    assert_eq!(output.status.code(), Some(130), "{}", output.stderr);
    within(Duration::from_secs(5), "free slots", || {
        slots_busy(&cluster) == 0
    });
    // The slots take new work at once, so nothing trains on behind the scenes.
    let quick = atoll.on(
        &cluster,
        "SELECT sum(test_sleep(0.1)) AS s FROM (VALUES (1), (2))",
    );
    assert!(quick.took < Duration::from_secs(5), "{:?}", quick.took);
}

#[test]
fn a_killed_client_is_missed() {
    let cluster = cluster(1);
    let atoll = Atoll::new();
    let address = cluster.address();
    let mut command =
        atoll.command(&["--cluster", &address, "-c", "SELECT test_sleep(600)"]);
    with_test_functions(&mut command);
    let mut client = command.spawn().unwrap();
    within(Duration::from_secs(30), "a task", || {
        slots_busy(&cluster) == 1
    });
    client.kill().unwrap();
    client.wait().unwrap();
    within(Duration::from_secs(30), "a free slot", || {
        slots_busy(&cluster) == 0
    });
}

#[test]
fn a_lost_scheduler_is_reported_and_the_study_resumes() {
    let mut first = Server::start(&["scheduler", "--port", "0"], |_| {});
    let address = first.address();
    let port = address.rsplit(':').next().unwrap().to_string();
    let executor = Server::start(
        &["executor", "--scheduler", &address, "--slots", "1"],
        with_test_functions,
    );
    executor.wait(|said| said.contains(" executor: "));
    let atoll = Atoll::new();
    let running = atoll.start(&["--format", "csv", "--cluster", &address, "-c", STUDY]);
    // A job of its own, which is told to try again.
    let job = Atoll::new();
    let script = job.file("study.sql", STUDY);
    let log = job.path("log");
    let arguments = ["run", &script, "--retries", "5", "--log-format", "text"];
    let mut command = job.command(&arguments);
    command.args(["--format", "csv", "--cluster", &address]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let retrying = Running::new(command.spawn().unwrap());
    let both = || atoll.trials() >= 2 && job.trials() >= 2;
    within(Duration::from_secs(60), "trials", both);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let output = running.finish();
    assert!(output.took < Duration::from_secs(75), "{:?}", output.took);
    output.fails_naming(&[&address, "has not answered", "finished trials are kept"]);
    let logged = || std::fs::read_to_string(&log).unwrap();
    within(Duration::from_secs(30), "a retry", || {
        logged().contains("is tried again")
    });
    assert!(logged().contains("has not answered"), "{}", logged());
    let kept = atoll.trials();
    let second = Server::start(&["scheduler", "--port", &port], |_| {});
    executor.wait(|said| said.matches(" executor: ").count() == 2);
    let retried = retrying.finish();
    assert_eq!(retried.status.code(), Some(0), "{}", logged());
    assert_eq!(retried.stdout.lines().count(), 13);
    let rows = atoll.on(&second, STUDY).ok();
    assert_eq!(rows.stdout.lines().count(), 13);
    assert!(kept >= 2 && atoll.trials() == 12 && job.trials() == 12);
}

/// Files below a folder, such as results that wait in an executor's.
fn files_below(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |entry: std::fs::DirEntry| match entry.path() {
        path if path.is_dir() => files_below(&path),
        _ => 1,
    };
    entries.map(count).sum()
}

#[test]
fn results_leave_the_executors_once_they_are_fetched_or_not_wanted() {
    let scheduler = Server::start(&["scheduler", "--port", "0"], |_| {});
    let address = scheduler.address();
    let home = Atoll::new();
    let folder = home.path("work");
    let executor = Server::start(
        &["executor", "--scheduler", &address, "--slots", "2"],
        |command| {
            with_test_functions(command);
            command.arg("--work-dir").arg(&folder);
        },
    );
    executor.wait(|said| said.contains(" executor: "));
    let atoll = Atoll::new();
    let images = "SELECT image_encode(image_resize(content, 64, 64), 'png') AS i \
        FROM read_blob('sql/data/photos/*')";
    for (sql, rows) in [
        (images.to_string(), 0),
        // Nobody asks for the rest of the rows, nor for those of the failed statement.
        (format!("{images} LIMIT 1"), 0),
        (
            format!("SELECT CAST(encode(i, 'hex') AS INT) AS n FROM ({images})"),
            1,
        ),
    ] {
        let output = atoll.on(&scheduler, &sql);
        assert_eq!(output.status.code(), Some(rows), "{}", output.stderr);
        within(Duration::from_secs(20), "no results are left", || {
            files_below(&folder) == 0
        });
    }
}

#[test]
fn an_executor_that_is_told_to_stop_finishes_first() {
    let scheduler = Server::start(&["scheduler", "--port", "0"], |_| {});
    let address = scheduler.address();
    let mut executor = Server::start(
        &["executor", "--scheduler", &address, "--slots", "1"],
        with_test_functions,
    );
    executor.wait(|said| said.contains(" executor: "));
    let atoll = Atoll::new();
    let mut command = atoll.command(&[
        "--format",
        "csv",
        "--cluster",
        &address,
        "-c",
        "SELECT test_sleep(3) AS s",
    ]);
    with_test_functions(&mut command);
    let running = Running::new(command.spawn().unwrap());
    within(Duration::from_secs(30), "a task", || {
        slots_busy(&scheduler) == 1
    });
    let id = executor.child.id().to_string();
    std::process::Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .unwrap();
    executor.wait(|said| said.contains("finishing running tasks"));
    let ended = executor.child.wait().unwrap();
    assert!(ended.success(), "{}", executor.said());
    // Its results went with it, and the row runs again on the next executor.
    let _next = Server::start(
        &["executor", "--scheduler", &address, "--slots", "1"],
        with_test_functions,
    );
    assert_eq!(running.finish().ok().stdout, "s\n3.0\n");
}

#[test]
fn only_holders_of_the_token_are_served() {
    let token = "correct horse battery staple";
    let cluster = Server::cluster(1, |command| {
        with_test_functions(command);
        command.env("ATOLL_TOKEN", token);
    });
    let address = cluster.address();
    let atoll = Atoll::new();
    let sql = "SELECT test_sleep(0.0) AS s";
    let run = |given: Option<&str>| {
        let mut command =
            atoll.command(&["--format", "csv", "--cluster", &address, "-c", sql]);
        with_test_functions(&mut command);
        command.env_remove("ATOLL_TOKEN");
        if let Some(given) = given {
            command.env("ATOLL_TOKEN", given);
        }
        Running::new(command.spawn().unwrap()).finish()
    };
    run(None).fails_naming(&["asks for a token", "ATOLL_TOKEN"]);
    let wrong = [
        "the token given is not that of the scheduler",
        "ATOLL_TOKEN",
    ];
    run(Some("another secret of ours")).fails_naming(&wrong);
    assert_eq!(run(Some(token)).ok().stdout, "s\n0.0\n");
    assert!(
        status(&cluster).starts_with("HTTP/1.0 401"),
        "{}",
        status(&cluster)
    );
    let intruder = ["executor", "--scheduler", &address, "--slots", "1"];
    let mut command = atoll.command(&intruder);
    command.env_remove("ATOLL_TOKEN");
    let output = Running::new(command.spawn().unwrap()).finish();
    output.fails_naming(&["asks for a token"]);
    assert!(!cluster.said().contains(token), "{}", cluster.said());
}

/// Passes a connection on, and keeps what the client said.
fn listen_in(to: &str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (said, to) = (Arc::new(Mutex::new(Vec::new())), to.to_string());
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(&to).unwrap();
            let (mut back, mut answer) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answer, &mut back));
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(read @ 1..) = client.read(&mut bytes) {
                    heard.lock().unwrap().extend(&bytes[..read]);
                    server.write_all(&bytes[..read]).unwrap();
                }
            });
        }
    });
    (address, said)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn secrets_are_in_no_plan_record_page_or_log() {
    let token = "correct horse battery staple";
    let s3 = S3::start(0);
    let folder = s3.folder.path().join("executors");
    let cluster = Server::cluster(1, |command| {
        with_test_functions(command);
        s3.open_to(command);
        command.env("ATOLL_TOKEN", token).env("TMPDIR", {
            std::fs::create_dir(&folder).unwrap();
            &folder
        });
    });
    let address = cluster.address();
    let (proxy, said) = listen_in(address.trim_start_matches("df://"));
    let atoll = Atoll::new();
    // A record, a table by tasks, a statement in stages whose rows wait for a slow one, and
    // everything that can be shown of it.
    let script = "SELECT t.status FROM (SELECT train('sql/data/digits.parquet', \
        {architecture: 'dense(10)', epochs: 1}) AS t); \
        SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback = 'error'; \
        CREATE TABLE made AS SELECT n, test_abort_in_group(n < 0) AS s \
        FROM generate_series(1, 1000) AS g(n); \
        EXPLAIN VERBOSE SELECT s, count(*) FROM made GROUP BY s; \
        SELECT s, count(*) FROM made WHERE test_sleep(0.0) = 0 GROUP BY s; \
        SELECT classify('s3://bucket/absent.onnx', arrow_cast(s, 'Binary')) FROM made";
    let arguments = ["--format", "csv", "--cluster", &proxy, "-c", script];
    let mut command = atoll.command_in("s3://bucket/atoll", &arguments);
    with_test_functions(&mut command);
    s3.open_to(&mut command);
    command.env("ATOLL_TOKEN", token);
    let output = Running::new(command.spawn().unwrap()).finish();
    output.fails_naming(&["absent.onnx"]);
    assert!(
        output.stdout.contains("SUCCEEDED,1000"),
        "{}",
        output.stdout
    );
    let page = |path: &str| {
        let mut stream = TcpStream::connect(address.trim_start_matches("df://")).unwrap();
        let request =
            format!("GET {path} HTTP/1.0\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        answer.into_bytes()
    };
    let mut places = vec![
        ("the page".to_string(), page("/status")),
        ("the JSON".to_string(), page("/status.json")),
        ("the client".to_string(), format!("{output:?}").into_bytes()),
        ("the servers".to_string(), cluster.said().into_bytes()),
        ("the connection".to_string(), said.lock().unwrap().clone()),
    ];
    // Plans are seen here, or nothing is proven.
    assert!(holds(&said.lock().unwrap(), "test_abort_in_group"));
    let mut folders = vec![s3.folder.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    places.push((path.display().to_string(), bytes));
                }
            }
        }
    }
    assert!(places.len() > 10, "{}", places.len());
    for (place, bytes) in places {
        for secret in [token, SECRET] {
            assert!(!holds(&bytes, secret), "a secret is in {place}");
        }
    }
}

#[test]
fn wrong_addresses_say_what_is_wrong() {
    let atoll = Atoll::new();
    let run = |address: &str| atoll.run(&["--cluster", address, "-c", "SELECT 1"]);
    run("127.0.0.1:1").fails_naming(&["df://127.0.0.1:1", "atoll scheduler"]);
    for (body, parts) in [
        ("hello", ["no scheduler of Atoll", "check the port"]),
        (
            r#"{"name": "atoll", "version": "0.0.1"}"#,
            ["Atoll 0.0.1", "the same version"],
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        run(&address).fails_naming(&parts);
    }
    let output = atoll.run(&["scheduler", "--bind", "0.0.0.0", "--port", "0"]);
    output.fails_naming(&["0.0.0.0", "ATOLL_TOKEN"]);
}

#[test]
fn errors_of_rows_are_those_of_one_machine() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let bad = atoll.file("bad.jpg", "hello");
    let photo = format!("{}/sql/data/photos/coffee.png", env!("CARGO_MANIFEST_DIR"));
    let sql = format!(
        "SELECT classify('sql/data/efficientnet-lite0.onnx', content) \
         FROM read_blob(['{bad}', '{photo}'])"
    );
    let here = atoll.run(&["-c", &sql]);
    let there = atoll.on(&cluster, &sql);
    assert_eq!(here.stderr, there.stderr);
    there.fails_naming(&["bad.jpg", "try_classify"]);
}
