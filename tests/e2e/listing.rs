//! Listings that are not kept: rows come while they go on, and on a cluster its executors
//! make a table of them.

use std::path::Path;

use crate::bucket::S3;
use crate::cluster::{cluster, with_test_functions};
use crate::server::Server;
use crate::support::{Atoll, Running};

/// Nothing is kept, so that a few files are as many.
const STREAM: &str = "SET atoll.distribute_files = 0";

/// Files at many places, with names that mean something elsewhere.
fn put_odd(folder: &Path) {
    let names = [
        "a.jpg",
        "a#b.jpg",
        "a?b.jpg",
        "a%20b.jpg",
        "a b/c ü.jpg",
        "a/b.jpg",
        "a-b/c.jpg",
        "a/.hidden.jpg",
        "p=1/q=x%2Fy/z.jpg",
        "[x]/[y].jpg",
        "deep/er/and/er/d.jpg",
        ".git/e.jpg",
        "no.png",
    ];
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    std::fs::create_dir_all(folder.join("empty/er")).unwrap();
}

/// What a listing says, in order, and what its files hold.
fn rows_of(place: &str) -> String {
    format!(
        "SELECT filename, size, last_modified > TIMESTAMP '2020-01-01' AS t, \
         encode(content, 'hex') AS c FROM read_blob('{place}') ORDER BY filename; \
         SELECT filename FROM read_blob('{place}') WHERE size > 8 ORDER BY filename; \
         SELECT count(*) AS n FROM read_blob('{place}'); \
         SELECT test_abort_in_group(octet_length(content) > 99) AS s, size \
         FROM read_blob('{place}') ORDER BY size; \
         SELECT filename, octet_length(content) AS n FROM read_blob(( \
         SELECT filename FROM read_blob('{place}'))) ORDER BY filename"
    )
}

fn run(atoll: &Atoll, cluster: Option<&Server>, sql: &str) -> String {
    let mut command = atoll.command(&["--format", "csv", "-c", sql]);
    if let Some(cluster) = cluster {
        command.args(["--cluster", &cluster.address()]);
    }
    with_test_functions(&mut command);
    Running::new(command.spawn().unwrap()).finish().ok().stdout
}

#[test]
fn a_stream_and_a_table_have_the_rows_that_a_list_has() {
    let cluster = cluster(2);
    let atoll = Atoll::new();
    let folder = atoll.path("odd");
    put_odd(&folder);
    let folder = folder.display().to_string();
    for pattern in [
        "",
        "/**",
        "/**/*.jpg",
        "/a*/*",
        "/[[]x[]]/*",
        "/*.jpg",
        "/*=*/*/*",
    ] {
        let sql = rows_of(&format!("{folder}{pattern}"));
        let kept = run(&atoll, None, &sql);
        assert!(kept.lines().count() > 6, "{pattern}: {kept}");
        let stream = format!("{STREAM}; {sql}");
        assert_eq!(run(&atoll, None, &stream), kept, "{pattern}");
        assert_eq!(run(&atoll, Some(&cluster), &stream), kept, "{pattern}");
        let stages = format!("SET atoll.distribute_bytes = 0; {stream}");
        assert_eq!(run(&atoll, Some(&cluster), &stages), kept, "{pattern}");
    }
    assert!(is_empty(&atoll.path("storage/work")), "a table stayed");
}

/// Whether no file lies below a folder.
fn is_empty(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .all(|path| is_empty(&path) && path.is_dir())
}

#[test]
fn executors_list_ranges_of_a_bucket() {
    let s3 = S3::start(0);
    let root = s3.folder.path().join("bucket/photos");
    put_odd(&root);
    for n in 0..1200 {
        let path = root.join(format!("{:02}/{n:05}.jpg", n % 12));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let cluster = Server::cluster(2, |command| {
        s3.open_to(command);
        with_test_functions(command);
    });
    let atoll = Atoll::new();
    let run = |cluster: Option<&Server>, sql: &str| {
        let mut command = atoll.command_in("s3://bucket/atoll", &["--format", "csv"]);
        command.args(["-c", sql]);
        if let Some(cluster) = cluster {
            command.args(["--cluster", &cluster.address()]);
        }
        s3.open_to(&mut command);
        with_test_functions(&mut command);
        Running::new(command.spawn().unwrap()).finish().ok().stdout
    };
    let sql = rows_of("s3://bucket/photos/**/*.jpg");
    let kept = run(None, &sql);
    assert!(kept.contains("s3://bucket/photos/a%3Fb.jpg"), "{kept}");
    let stream = format!("{STREAM}; {sql}");
    assert_eq!(run(None, &stream), kept);
    assert_eq!(run(Some(&cluster), &stream), kept);
    // The first rows are those of the first keys, each time, in whatever order.
    let first = "SELECT filename FROM (SELECT filename FROM \
        read_blob('s3://bucket/photos/**') LIMIT 2) ORDER BY filename";
    let keys =
        "filename\ns3://bucket/photos/00/00000.jpg\ns3://bucket/photos/00/00012.jpg\n";
    assert_eq!(run(None, &format!("{STREAM}; {first}")), keys);
    let plan = format!(
        "{STREAM}; EXPLAIN SELECT count(content) FROM \
        read_blob('s3://bucket/photos/**/*.jpg') WHERE size = 1"
    );
    let there = run(Some(&cluster), &plan);
    assert!(
        there.contains("ReadFilesExec: by=filename, read=[content]"),
        "{there}"
    );
    assert!(there.contains("listed files=1200, bytes=1200"), "{there}");
    assert!(there.contains("atoll/work/"), "{there}");
    let here = run(None, &plan);
    assert!(here.contains("ListExec: files>0, a stream"), "{here}");
    let work = s3.folder.path().join("bucket/atoll/work");
    assert!(is_empty(&work), "a table stayed");
}

#[test]
fn a_listing_of_files_that_come_and_go_has_those_that_stay() {
    let atoll = Atoll::new();
    let folder = atoll.path("busy");
    for n in 0..400 {
        let path = folder.join(format!("{}/{n}.jpg", n % 7));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let busy = folder.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let coming_and_going = std::thread::spawn(move || {
        let mut rounds = 0;
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            let gone = busy.join("gone");
            std::fs::create_dir_all(gone.join("er")).unwrap();
            for n in 0..50 {
                std::fs::write(gone.join(format!("er/{n}.tmp")), "x").unwrap();
                std::fs::write(busy.join(format!("3/{n}.tmp")), "x").unwrap();
            }
            std::fs::remove_dir_all(&gone).unwrap();
            for n in 0..50 {
                std::fs::remove_file(busy.join(format!("3/{n}.tmp"))).unwrap();
            }
            rounds += 1;
        }
        rounds
    });
    let place = folder.display();
    let count = format!(
        "SELECT count(*) FILTER (WHERE filename LIKE '%.jpg') AS n \
         FROM read_blob('{place}/**')"
    );
    let sql = format!("{count}; {STREAM}; {}", vec![count.as_str(); 20].join("; "));
    let output = run(&atoll, None, &sql);
    stop.send(()).unwrap();
    let rounds = coming_and_going.join().unwrap();
    assert!(rounds > 0, "nothing came or went");
    assert_eq!(output.matches("\n400\n").count(), 21, "{output}");
}

#[test]
fn a_name_that_is_not_unicode_is_named_where_files_are_opened_by_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let cluster = cluster(1);
    let atoll = Atoll::new();
    let folder = atoll.path("odd");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(OsStr::from_bytes(b"a\xff.jpg")), "abc").unwrap();
    let sql = format!(
        "{STREAM}; SELECT octet_length(content) AS n FROM read_blob('{}')",
        folder.display()
    );
    assert_eq!(run(&atoll, None, &sql), "n\n3\n");
    let output = atoll.on(&cluster, &sql);
    output.fails_naming(&["is not valid Unicode; rename it"]);
}
