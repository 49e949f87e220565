//! A bucket as storage, input and output, on one machine and on a cluster.

use std::path::Path;

use crate::bucket::{S3, SECRET};
use crate::server::Server;
use crate::support::{Atoll, Output, Running, files};

/// Everything that touches files: a snapshot, trials, models, a stored table, images
/// from the bucket, partitioned output and its manifest.
const SCRIPT: &str = "
    CREATE TABLE trials AS SELECT hidden, train('sql/data/digits.parquet',
        {architecture: 'mlp', hidden: hidden, epochs: 2, learning_rate: 0.1}) AS t
        FROM (VALUES (8), (16), (24)) AS s(hidden);
    SELECT hidden, t.status, t.model_sha256 FROM trials ORDER BY hidden;
    SELECT hidden, e.accuracy FROM (SELECT hidden,
        evaluate(trials.t.model, 'sql/data/digits.parquet') AS e FROM trials) ORDER BY hidden;
    COPY (SELECT split_part(filename, '/', -1) AS name, classify(
        'sql/data/efficientnet-lite0.onnx', content, 1)[1]['label'] AS label,
        left(split_part(filename, '/', -1), 1) AS initial
        FROM read_blob('${root}/photos/*')) TO '${root}/labels/'
        STORED AS PARQUET PARTITIONED BY (initial)
        OPTIONS (compression 'snappy', manifest true);
    SELECT initial, name, label FROM '${root}/labels/' ORDER BY name;
    INSERT INTO trials SELECT * FROM trials WHERE hidden = 8;
    SELECT count(*) FROM trials";

/// Photos where the script looks for them.
fn put_photos(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/data/photos");
    for name in ["coffee.png", "rocket.jpg"] {
        std::fs::copy(photos.join(name), folder.join(name)).unwrap();
    }
}

/// Runs the script with a bucket, from a process that may open it.
fn in_bucket(s3: &S3, cluster: Option<&Server>) -> Output {
    let atoll = Atoll::new();
    let script = SCRIPT.replace("${root}", "s3://bucket");
    let mut command = atoll.command_in("s3://bucket/atoll", &["--format", "csv"]);
    command.args(["-c", &script]);
    if let Some(cluster) = cluster {
        command.args(["--cluster", &cluster.address()]);
    }
    s3.open_to(&mut command);
    Running::new(command.spawn().unwrap()).finish()
}

fn expected() -> String {
    let atoll = Atoll::new();
    put_photos(&atoll.path("photos"));
    let root = atoll.path("").display().to_string();
    let script = SCRIPT.replace("${root}", root.trim_end_matches('/'));
    let rows = atoll.run(&["--format", "csv", "-c", &script]).ok().stdout;
    assert!(rows.contains("c,coffee.png,espresso"), "{rows}");
    rows
}

#[test]
fn a_bucket_serves_one_machine_and_a_cluster() {
    let expected = expected();
    let s3 = S3::start(0);
    put_photos(&s3.folder.path().join("bucket/photos"));
    assert_eq!(in_bucket(&s3, None).ok().stdout, expected);
    let trials = s3.folder.path().join("bucket/atoll/trials");
    assert_eq!(files(&trials, "json"), 3);

    // A storage of its own, so that the executors have something to train.
    let s3 = S3::start(0);
    put_photos(&s3.folder.path().join("bucket/photos"));
    let cluster = Server::cluster(2, |command| s3.open_to(command));
    assert_eq!(in_bucket(&s3, Some(&cluster)).ok().stdout, expected);
    let bucket = s3.folder.path().join("bucket");
    let labels = bucket.join("labels");
    assert!(labels.join("_SUCCESS").is_file());
    assert!(labels.join("_manifest.json").is_file());
    assert_eq!(files(&labels.join("initial=c"), "parquet"), 1);
    let staging = std::fs::read_dir(&bucket).unwrap().flatten();
    let mut staging = staging.filter(|entry| holds_files(&entry.path(), ".atoll-"));
    assert!(staging.next().is_none(), "staging files stayed");
    assert!(!cluster.said().contains(SECRET), "{}", cluster.said());
}

/// Whether a folder with this in its name has a file anywhere below.
fn holds_files(folder: &Path, name: &str) -> bool {
    let named = folder.to_string_lossy().contains(name);
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    named
        && below
            .into_iter()
            .any(|entry| entry.path().is_file() || holds_files(&entry.path(), ""))
}

#[test]
fn a_bucket_that_refuses_requests_now_and_then_is_asked_again() {
    let expected = expected();
    let s3 = S3::start(4);
    put_photos(&s3.folder.path().join("bucket/photos"));
    let cluster = Server::cluster(2, |command| s3.open_to(command));
    assert_eq!(in_bucket(&s3, Some(&cluster)).ok().stdout, expected);
    assert!(s3.requests() > 40, "{} requests", s3.requests());
}

#[test]
fn a_storage_that_executors_cannot_open_is_named() {
    let s3 = S3::start(0);
    put_photos(&s3.folder.path().join("bucket/photos"));
    let cluster = Server::cluster(1, |command| {
        // Another server, where nobody listens.
        s3.open_to(command);
        command.env("AWS_ENDPOINT", "http://127.0.0.1:1");
    });
    let output = in_bucket(&s3, Some(&cluster));
    output.fails_naming(&["s3://bucket/atoll", "an executor cannot reach the storage"]);
}

/// What a run says about a bucket, from a process whose environment is changed.
fn said(
    s3: &S3,
    storage: &str,
    sql: &str,
    change: impl FnOnce(&mut std::process::Command),
) -> String {
    let atoll = Atoll::new();
    let storage = match storage {
        "" => atoll.path("storage").display().to_string(),
        storage => storage.to_string(),
    };
    let mut command = atoll.command_in(&storage, &["-c", sql]);
    s3.open_to(&mut command);
    change(&mut command);
    let output = Running::new(command.spawn().unwrap()).finish();
    output.fails_naming(&["error: "]);
    for noise in ["<", "http://127.0.0.1", "retries", "Generic", "status code"] {
        assert!(!output.stderr.contains(noise), "{sql}: {}", output.stderr);
    }
    output.stderr
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let s3 = S3::start(0);
    let mut wrong = vec![];
    let train = "SELECT train('sql/data/digits.parquet', {architecture: 'dense(10)', \
        epochs: 1})";
    for (storage, sql) in [
        ("", "SELECT * FROM read_blob('s3://nowhere/a/*.jpg')"),
        ("", "SELECT * FROM read_blob('s3://nowhere/a.jpg')"),
        ("", "SELECT * FROM read_blob('s3://nowhere/')"),
        ("", "SELECT * FROM 's3://nowhere/a.parquet'"),
        ("", "SELECT * FROM 's3://nowhere/a/*.csv'"),
        ("", "SELECT * FROM 's3://nowhere/'"),
        ("", "SELECT url_download('s3://nowhere/a.jpg')"),
        ("", "COPY (SELECT 1 AS n) TO 's3://nowhere/a.csv'"),
        (
            "",
            "COPY (SELECT 1 AS n) TO 's3://nowhere/a/' STORED AS PARQUET",
        ),
        ("s3://nowhere/atoll", "CREATE TABLE t AS SELECT 1 AS n"),
        ("s3://nowhere/atoll", train),
    ] {
        let said = said(&s3, storage, sql, |_| {});
        let parts = ["there is no bucket named nowhere", "create it"];
        if !parts.iter().all(|part| said.contains(part)) {
            wrong.push(format!("{storage} {sql}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bucket_that_cannot_be_opened_says_what_to_set() {
    let s3 = S3::start(0);
    for sql in [
        "SELECT * FROM read_blob('s3://bucket/a/*.jpg')",
        "COPY (SELECT 1 AS n) TO 's3://bucket/a.csv'",
    ] {
        let refused = said(&s3, "", sql, |command| {
            command.env("AWS_SECRET_ACCESS_KEY", "another");
        });
        assert!(refused.contains("access is refused"), "{sql}: {refused}");
        assert!(
            refused.contains("AWS_SECRET_ACCESS_KEY"),
            "{sql}: {refused}"
        );
        let unknown = said(&s3, "", sql, |command| {
            command.env("AWS_ACCESS_KEY_ID", "another");
        });
        assert!(unknown.contains("access is refused"), "{sql}: {unknown}");
    }
}
