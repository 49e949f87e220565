//! Models with names: what one process names another finds, on a cluster and in a bucket;
//! writers at once lose nothing; files say which version made them.

use std::path::Path;

use crate::bucket::S3;
use crate::server::Server;
use crate::support::{Atoll, Output, Running};

/// The rows of a query as CSV.
#[track_caller]
fn rows(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

fn in_bucket(s3: &S3, atoll: &Atoll, arguments: &[&str]) -> Running {
    let mut command = atoll.command_in("s3://bucket/atoll", arguments);
    s3.open_to(&mut command);
    Running::new(command.spawn().unwrap())
}

fn model(name: &str) -> Vec<u8> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    std::fs::read(data.join(name)).unwrap()
}

/// Models whose files differ.
const DIFFERENT: [&str; 4] = ["identity", "argmax", "softmax", "scalar"];

fn create(name: &str) -> String {
    format!("CREATE OR REPLACE MODEL m FROM 'tests/data/models/{name}.onnx'")
}

const VERSIONS: &str = "SELECT count(*) AS n, min(version) AS a, max(version) AS b, \
    count(DISTINCT sha256) AS c, count(*) FILTER (WHERE newest) AS newest FROM models()";

#[test]
fn a_model_is_there_for_another_process_and_is_copied_bit_by_bit() {
    let atoll = Atoll::new();
    rows(
        &atoll,
        "CREATE MODEL rgb FROM 'tests/data/models/colours.onnx'",
    );
    rows(&atoll, "ALTER MODEL rgb SET ALIAS champion = 1");
    let copy = atoll.path("new/rgb.onnx");
    let found = rows(
        &atoll,
        &format!("COPY MODEL rgb@champion TO '{}'", copy.display()),
    );
    assert!(found.starts_with("path,bytes,sha256,version\n"), "{found}");
    assert_eq!(std::fs::read(&copy).unwrap(), model("colours.onnx"));
    // What a file says of itself: the version behind the alias, and its hash.
    let labels = atoll.path("labels.parquet");
    let sql = format!(
        "COPY (SELECT classify('rgb@champion', content, 1) AS l \
         FROM read_blob('sql/data/photos/coffee.png')) TO '{}'",
        labels.display()
    );
    rows(&atoll, &sql);
    let sha256 = rows(&atoll, "SELECT sha256 FROM models()");
    let sha256 = sha256.lines().nth(1).unwrap();
    let bytes = std::fs::read(&labels).unwrap();
    let expected = format!("\"models\":{{\"rgb@1\":\"{sha256}\"}}");
    let is_there = bytes
        .windows(expected.len())
        .any(|part| part == expected.as_bytes());
    assert!(is_there, "no {expected}");
    let plan = rows(
        &atoll,
        "EXPLAIN SELECT classify('rgb', content) FROM read_blob('sql/data/photos/*.png')",
    );
    assert!(plan.contains(&format!("models/{sha256}.onnx")), "{plan}");
}

#[test]
fn tasks_of_a_cluster_see_the_version_that_the_client_meant() {
    let atoll = Atoll::new();
    let cluster = Server::cluster(2, |_| {});
    let address = cluster.address();
    rows(&atoll, &create("identity"));
    rows(&atoll, &create("colours"));
    let on_cluster = |sql: &str| -> Output {
        atoll.run(&["--format", "csv", "--cluster", &address, "-c", sql])
    };
    on_cluster("ALTER MODEL m SET ALIAS champion = 2").ok();
    let sql = "SELECT classify('m@champion', content, 1)[1]['label'] AS label \
        FROM read_blob('sql/data/photos/coffee.png')";
    assert_eq!(on_cluster(sql).ok().stdout, "label\nred\n");
    // A column of names is looked up by whoever runs the row.
    let sql = "SELECT n, array_length(model_info('m@' || n)['labels']) AS labels \
        FROM generate_series(1, 2) AS t(n) ORDER BY n";
    assert_eq!(on_cluster(sql).ok().stdout, "n,labels\n1,0\n2,3\n");
    on_cluster("CREATE MODEL mine AS SELECT 'm@2'").ok();
    let sql = "SELECT count(DISTINCT sha256) AS n FROM models() WHERE name = 'mine' \
        OR version = 2";
    assert_eq!(rows(&atoll, sql), "n\n1\n");
}

#[test]
fn writers_at_once_lose_no_version() {
    let atoll = Atoll::new();
    for round in 1..=3 {
        let writers = DIFFERENT.map(|name| atoll.start(&["-c", &create(name)]));
        for writer in writers {
            writer.finish().ok();
        }
        let n = DIFFERENT.len() * round;
        let found = rows(&atoll, VERSIONS);
        let of_contents = DIFFERENT.len();
        // Whoever comes last in one round and first in the next adds no version.
        let count: usize = found
            .lines()
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(count <= n && count + round > n, "{found}");
        assert_eq!(
            found,
            format!("n,a,b,c,newest\n{count},1,{count},{of_contents},1\n")
        );
    }
    // Without OR REPLACE one of them wins.
    let writers = DIFFERENT.map(|name| {
        let sql = format!("CREATE MODEL one FROM 'tests/data/models/{name}.onnx'");
        atoll.start(&["-c", &sql])
    });
    let ended = writers.map(Running::finish);
    let won = ended.iter().filter(|output| output.status.success());
    assert_eq!(won.count(), 1);
    for output in ended.iter().filter(|output| !output.status.success()) {
        output.fails_naming(&["there is a model one", "CREATE OR REPLACE MODEL one"]);
    }
}

#[test]
fn a_bucket_has_names_too() {
    let s3 = S3::start(0);
    let atoll = Atoll::new();
    let run = |sql: &str| {
        let output = in_bucket(&s3, &atoll, &["--format", "csv", "-c", sql]).finish();
        output.ok().stdout
    };
    let writers = DIFFERENT.map(|name| in_bucket(&s3, &atoll, &["-c", &create(name)]));
    for writer in writers {
        writer.finish().ok();
    }
    assert_eq!(run(VERSIONS), "n,a,b,c,newest\n4,1,4,4,1\n");
    run("CREATE MODEL rgb FROM 'tests/data/models/colours.onnx'");
    run("COPY MODEL rgb TO 's3://bucket/out/rgb.onnx'");
    let copy = s3.folder.path().join("bucket/out/rgb.onnx");
    assert_eq!(std::fs::read(copy).unwrap(), model("colours.onnx"));
    let sql = "SELECT classify('rgb', content, 1)[1]['label'] AS label \
        FROM read_blob('sql/data/photos/coffee.png')";
    assert_eq!(run(sql), "label\nred\n");
}

#[test]
fn a_name_that_is_a_files_is_refused() {
    let atoll = Atoll::new();
    rows(
        &atoll,
        "CREATE MODEL rgb FROM 'tests/data/models/colours.onnx'",
    );
    std::fs::write(atoll.path("rgb"), model("identity.onnx")).unwrap();
    std::fs::write(atoll.path("alone"), model("identity.onnx")).unwrap();
    let here = |sql: &str| {
        let mut command = atoll.command(&["--format", "csv", "-c", sql]);
        command.current_dir(atoll.path(""));
        Running::new(command.spawn().unwrap()).finish()
    };
    let labels =
        |name: &str| format!("SELECT array_length(model_info('{name}')['labels']) AS n");
    here(&labels("rgb")).fails_naming(&[
        "'rgb' is the name of a model and that of a file; write './rgb' for the file",
    ]);
    assert_eq!(here(&labels("./rgb")).ok().stdout, "n\n0\n");
    assert_eq!(here(&labels("rgb@1")).ok().stdout, "n\n3\n");
    // A file is what it always was where no model has its name.
    assert_eq!(here(&labels("alone")).ok().stdout, "n\n0\n");
}

#[test]
fn a_script_may_name_a_model_and_use_it() {
    let atoll = Atoll::new();
    let script = atoll.file(
        "models.sql",
        "CREATE OR REPLACE MODEL rgb FROM 'tests/data/models/colours.onnx';\n\
         ALTER MODEL rgb SET ALIAS champion = 1;\n\
         CREATE TABLE labels AS SELECT classify('rgb@champion', content, 1)[1]['label'] \
         AS label FROM read_blob('sql/data/photos/coffee.png');\n",
    );
    let output = atoll.run(&["run", &script, "--dry-run"]).ok();
    assert!(
        output.stderr.contains("nothing was run"),
        "{}",
        output.stderr
    );
    assert_eq!(rows(&atoll, "SELECT count(*) AS n FROM models()"), "n\n0\n");
    for _ in 0..2 {
        let again = atoll.run(&["run", &script]);
        if !again.status.success() {
            again.fails_naming(&["labels"]);
        }
    }
    assert_eq!(rows(&atoll, "SELECT label FROM labels"), "label\nred\n");
    assert_eq!(rows(&atoll, "SELECT version FROM models()"), "version\n1\n");
}

#[test]
fn the_doctor_finds_a_version_without_its_file() {
    let atoll = Atoll::new();
    rows(&atoll, &create("identity"));
    rows(&atoll, &create("colours"));
    let output = atoll.run(&["doctor"]);
    let good = "1 names, 2 versions";
    assert!(output.stdout.contains(good), "{}", output.stdout);
    let sql = "SELECT model FROM models() WHERE version = 1";
    let found = rows(&atoll, sql);
    std::fs::remove_file(found.lines().nth(1).unwrap()).unwrap();
    let output = atoll.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    let wrong = "the file of m@1 is not there";
    assert!(output.stdout.contains(wrong), "{}", output.stdout);
    let output = atoll.run(&["-c", "SELECT model_info('m@1')"]);
    output.fails_naming(&["model file not found"]);
}
