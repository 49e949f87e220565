//! Processes that are killed, whatever they do, in a bucket that refuses requests.
//!
//! A seed is who is killed (an executor with its worker, a worker, the client), when (while
//! tasks read, leave rows, read those, write, or while the client publishes) and what is
//! written (a stored table in the place of another, a prefix of files). The moment is that
//! of a request to the bucket, so that it does not depend on how fast the machine is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::bucket::{IsBait, S3, Trap};
use crate::cluster::{executors, is_idle, kill, with_test_functions, within};
use crate::server::Server;
use crate::support::{Atoll, Output, Running, files};

/// Which seeds, such as `0..100`, if not the first three, one for each who is killed.
const SEEDS: &str = "ATOLL_KILL_SEEDS";

/// Every so many-th request is refused.
const REFUSED: usize = 7;

/// No statement may take longer; half of it where the machine does nothing else.
const LIMIT: Duration = Duration::from_secs(120);

const EVERYTHING: &str =
    "SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback = 'error'; ";

/// Reads, calls, joins and groups: 20,000 rows.
const ROWS: &str = "SELECT a.id, b.part, min(a.bytes) AS bytes, min(a.status) AS status \
    FROM (SELECT id, bytes, test_abort_in_group(id < 0) AS status FROM 's3://bucket/rows/') \
    AS a JOIN 's3://bucket/rows/' AS b ON a.id = b.id * 2 GROUP BY a.id, b.part";

/// What [`sums`] says of them.
const NEW: &str = "20000,20000,400020000,20000,SUCCEEDED";

/// What it says of the table before.
const OLD: &str = "1,1,-1,1,OLD";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Executor,
    Worker,
    Client,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    Map,
    Shuffle,
    Reduce,
    Write,
    Commit,
}

/// What is killed, and when.
#[derive(Debug)]
struct Plan {
    victim: Victim,
    moment: Moment,
    is_table: bool,
    skip: usize,
    is_after: bool,
}

impl Plan {
    fn of(seed: usize) -> Self {
        use Moment::{Commit, Map, Reduce, Shuffle, Write};
        let moment = [Map, Shuffle, Reduce, Write, Commit][seed % 5];
        let later = seed / 30;
        Self {
            victim: [Victim::Executor, Victim::Worker, Victim::Client][seed % 3],
            moment,
            is_table: (seed / 15).is_multiple_of(2),
            // What the client reads of the files to plan comes first.
            skip: match moment {
                Map => 12 + later,
                Commit => 0,
                _ => later,
            },
            is_after: seed / 5 % 2 == 1,
        }
    }

    /// Whether a request belongs to the moment.
    fn is_bait(&self) -> IsBait {
        let (moment, is_table) = (self.moment, self.is_table);
        Box::new(move |method, path| {
            let is_write = method == "PUT" || method == "POST";
            let is_shuffled = path.contains("/work/") && path.ends_with(".arrow");
            match moment {
                Moment::Map => method == "GET" && path.contains("/rows/"),
                Moment::Shuffle => is_write && is_shuffled,
                Moment::Reduce => method == "GET" && is_shuffled,
                Moment::Write if is_table => {
                    is_write
                        && path.contains("/tables/made/")
                        && path.ends_with(".parquet")
                }
                Moment::Write => is_write && path.contains("/out.atoll-"),
                Moment::Commit if is_table => is_write && path.contains("/_delta_log/"),
                Moment::Commit => is_write && path.contains("/out/"),
            }
        })
    }
}

/// A bucket, a client's home and a cluster.
struct Scene {
    atoll: Atoll,
    s3: S3,
    cluster: Server,
    temporary: PathBuf,
}

impl Scene {
    fn new(rows: &Path) -> Self {
        let s3 = S3::start(REFUSED);
        copy_folder(rows, &s3.folder.path().join("bucket/rows"));
        let atoll = Atoll::new();
        let temporary = atoll.path("temporary");
        std::fs::create_dir(&temporary).unwrap();
        let cluster = Server::cluster(2, |command| {
            s3.open_to(command);
            with_test_functions(command);
            command.env("TMPDIR", &temporary);
        });
        Self {
            atoll,
            s3,
            cluster,
            temporary,
        }
    }

    fn start(&self, sql: &str) -> Running {
        let mut command = self
            .atoll
            .command_in("s3://bucket/atoll", &["--format", "csv"]);
        command.args(["--cluster", &self.cluster.address(), "-c", sql]);
        self.s3.open_to(&mut command);
        with_test_functions(&mut command);
        Running::new(command.spawn().unwrap())
    }

    #[track_caller]
    fn run(&self, sql: &str) -> String {
        self.start(sql).finish().ok().stdout
    }

    /// The last line of what a statement gives.
    #[track_caller]
    fn sums(&self, from: &str) -> String {
        let sums = format!(
            "SELECT count(*), count(DISTINCT id), sum(id), count(DISTINCT bytes), \
             max(status) FROM {from}"
        );
        self.run(&sums)
            .lines()
            .last()
            .unwrap_or_default()
            .to_string()
    }

    fn in_bucket(&self, path: &str) -> PathBuf {
        self.s3.folder.path().join("bucket").join(path)
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_folder(&from, &to),
            false => {
                std::fs::copy(&from, &to).unwrap();
            }
        }
    }
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => files_below(&path),
            false => vec![path],
        });
    files.collect()
}

/// Makes what lies below a folder older.
fn age(folder: &Path, by: Duration) {
    for file in files_below(folder) {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }
}

/// Runs a statement, at one moment of which a process is killed.
fn killed(scene: &Scene, plan: &Plan, seed: usize, statement: &str) -> (Output, bool) {
    let (watching, workers) = executors(&scene.cluster);
    let victim = Arc::new(Mutex::new(match plan.victim {
        Victim::Executor => Some(watching[seed % watching.len()]),
        Victim::Worker => Some(workers[seed % workers.len()]),
        Victim::Client => None,
    }));
    let sprung = Arc::new(AtomicBool::new(false));
    let (target, did) = (Arc::clone(&victim), Arc::clone(&sprung));
    scene.s3.set(Trap {
        is_bait: plan.is_bait(),
        skip: plan.skip,
        is_after: plan.is_after,
        spring: Box::new(move || {
            if let Some(id) = *target.lock().unwrap() {
                did.store(true, Ordering::Relaxed);
                kill(id);
            }
        }),
    });
    let held = victim.lock().unwrap();
    let running = scene.start(&format!("{EVERYTHING}{statement}"));
    let mut held = held;
    held.get_or_insert(running.child.id());
    drop(held);
    let output = running.finish();
    (output, sprung.load(Ordering::Relaxed))
}

/// One seed; whether its process was killed.
fn play(seed: usize, rows: &Path) -> bool {
    let plan = Plan::of(seed);
    let what = format!("seed {seed}: {plan:?}");
    let scene = Scene::new(rows);
    let (statement, from) = match plan.is_table {
        true => (format!("CREATE OR REPLACE TABLE made AS {ROWS}"), "made"),
        false => (
            format!("COPY ({ROWS}) TO 's3://bucket/out/' STORED AS PARQUET"),
            "'s3://bucket/out/'",
        ),
    };
    if plan.is_table {
        scene.run(
            "CREATE TABLE made AS SELECT CAST(-1 AS BIGINT) AS id, 'old' AS part, \
            arrow_cast('old', 'Binary') AS bytes, 'OLD' AS status",
        );
    }
    let (output, sprung) = killed(&scene, &plan, seed, &statement);
    let took = output.took.as_secs_f32();
    eprintln!("{what}: killed {sprung}, took {took:.1} s");
    assert!(output.took < LIMIT, "{what}: {took} s");
    let work = scene.in_bucket("atoll/work");
    let is_published = scene.in_bucket("out/_SUCCESS").exists();
    if plan.victim == Victim::Client && sprung {
        assert_eq!(output.status.code(), None, "{what}: {}", output.stderr);
        match plan.is_table {
            true => {
                let found = scene.sums(from);
                assert!(found == OLD || found == NEW, "{what}: {found}");
            }
            false if is_published => assert_eq!(scene.sums(from), NEW, "{what}"),
            false => {}
        }
        // Nothing runs for it any more, and then an hour passes, or a day.
        within(LIMIT, &what, || is_idle(&scene.cluster));
        age(&scene.in_bucket(""), Duration::from_secs(2 * 24 * 60 * 60));
        scene.run(&format!("{EVERYTHING}{statement}"));
    } else {
        assert_eq!(output.status.code(), Some(0), "{what}: {}", output.stderr);
    }
    assert_eq!(scene.sums(from), NEW, "{what}");
    let left = files_below(&work);
    assert!(left.is_empty(), "{what}: {left:?}");
    leaves_no_files(&scene, &plan, &what);
    leaves_nothing_temporary(scene, &plan, &what);
    sprung
}

/// Of files that no version names, what VACUUM leaves, and COPY.
fn leaves_no_files(scene: &Scene, plan: &Plan, what: &str) {
    if plan.is_table {
        scene.run("VACUUM made RETAIN 0 HOURS");
        let detail = scene.run("DESCRIBE DETAIL made");
        let (names, values) = detail.split_once('\n').unwrap();
        let mut columns = names.split(',').zip(values.split(','));
        let named = columns.find(|(name, _)| *name == "files").unwrap().1;
        let there = files(&scene.in_bucket("atoll/tables/made"), "parquet");
        assert_eq!(named, there.to_string(), "{what}");
    }
    let outside: Vec<_> = files_below(&scene.in_bucket(""))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(".atoll-"))
        .collect();
    assert!(outside.is_empty(), "{what}: {outside:?}");
}

/// Executors leave nothing on their machines; what one left that was killed itself goes with
/// the next.
fn leaves_nothing_temporary(scene: Scene, plan: &Plan, what: &str) {
    let Scene {
        cluster, temporary, ..
    } = scene;
    drop(cluster);
    if plan.victim == Victim::Executor {
        drop(Server::cluster(1, |command| {
            command.env("TMPDIR", &temporary);
        }));
    }
    let left = std::fs::read_dir(&temporary).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

#[test]
fn whoever_is_killed_rows_and_files_are_exact() {
    let (first, end) = match std::env::var(SEEDS) {
        Ok(seeds) => {
            let (first, end) = seeds.split_once("..").unwrap();
            (first.parse().unwrap(), end.parse().unwrap())
        }
        Err(_) => (0, 3),
    };
    let atoll = Atoll::new();
    let rows = atoll.path("rows");
    let sql = format!(
        "COPY (SELECT value AS id, sha512(CAST(value AS VARCHAR)) AS bytes, \
         CAST(value % 4 AS VARCHAR) AS part FROM generate_series(1, 40000)) TO '{}' \
         STORED AS PARQUET PARTITIONED BY (part)",
        rows.display()
    );
    atoll.run(&["-c", &sql]).ok();
    let (next, killed) = (AtomicUsize::new(first), AtomicUsize::new(0));
    // Two at once: a seed mostly waits for somebody to be missed.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    killed.fetch_add(usize::from(play(seed, &rows)), Ordering::Relaxed);
                }
            });
        }
    });
    let (killed, seeds) = (killed.into_inner(), end - first);
    assert!(killed * 10 >= seeds * 8, "{killed} of {seeds} were killed");
}
