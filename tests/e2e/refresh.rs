//! REFRESH TABLE: a table of files is brought up to date with what is new.

use std::path::Path;

use crate::support::Atoll;

const MODEL: &str = "sql/data/efficientnet-lite0.onnx";

fn photo(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sql/data/photos")
        .join(name)
}

/// The number that a statement gives.
#[track_caller]
fn number(atoll: &Atoll, sql: &str) -> String {
    let output = atoll.run(&["--format", "csv", "-c", sql]).ok();
    let last = output.stdout.lines().last().unwrap_or_default();
    last.to_string()
}

#[test]
fn photos_that_are_new_are_labelled_and_no_others() {
    let atoll = Atoll::new();
    let folder = atoll.path("photos");
    std::fs::create_dir(&folder).unwrap();
    let place = |name: &str, photo_of: &str| {
        std::fs::copy(photo(photo_of), folder.join(name)).unwrap();
    };
    place("a.png", "coffee.png");
    place("b.png", "horse.png");
    std::fs::write(folder.join("c.png"), "no image").unwrap();
    let model = atoll.path("model.onnx");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL), &model).unwrap();
    let refresh = format!(
        "CREATE OR REFRESH TABLE labels AS SELECT filename, size, last_modified, \
         try_classify('{}', content, 1) AS result FROM read_blob('{}/*')",
        model.display(),
        folder.display()
    );
    assert_eq!(number(&atoll, &refresh), "3");
    assert_eq!(number(&atoll, &refresh), "0");
    let versions = "SELECT count(*) FROM history('labels')";
    assert_eq!(
        number(&atoll, versions),
        "1",
        "nothing new makes no version"
    );
    // Those that stay are marked, to see that they do.
    let mark = "UPDATE labels SET result = NULL WHERE filename LIKE '%b.png'";
    assert_eq!(number(&atoll, mark), "1");
    place("d.png", "camera.png");
    place("c.png", "horse.png");
    std::fs::remove_file(folder.join("a.png")).unwrap();
    assert_eq!(number(&atoll, "REFRESH TABLE labels"), "3");
    let sql = "SELECT count(*) || ' ' || count(result['labels']) FROM labels";
    assert_eq!(number(&atoll, sql), "3 2");

    // Another model under the same path: all photos are labelled again, and it is said.
    let mut bytes = std::fs::read(&model).unwrap();
    // A field of the protocol buffer that says nothing but its text: doc_string.
    bytes.extend([0x32, 1, b'x']);
    std::fs::write(&model, bytes).unwrap();
    let again = atoll
        .run(&["-c", "REFRESH TABLE labels", "--format", "csv"])
        .ok();
    assert!(again.stdout.ends_with("\n3\n"), "{}", again.stdout);
    assert!(again.stderr.contains("is made anew"), "{}", again.stderr);
    assert_eq!(number(&atoll, sql), "3 3");
    assert_eq!(number(&atoll, "REFRESH TABLE labels"), "0");
    let statement =
        "SELECT statement FROM history('labels') ORDER BY version DESC LIMIT 1";
    assert_eq!(number(&atoll, statement), "REFRESH TABLE labels");
}

#[test]
fn a_file_that_cannot_be_read_fails_the_refresh_and_leaves_the_table() {
    let atoll = Atoll::new();
    let folder = atoll.path("photos");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(photo("coffee.png"), folder.join("a.png")).unwrap();
    let refresh = format!(
        "CREATE OR REFRESH TABLE labels AS SELECT filename, size, last_modified, \
         classify('{MODEL}', content, 1) AS labels FROM read_blob('{}/*')",
        folder.display()
    );
    assert_eq!(number(&atoll, &refresh), "1");
    std::fs::write(folder.join("b.png"), "no image").unwrap();
    let failed = atoll.run(&["-c", &refresh]);
    assert!(!failed.status.success());
    assert!(failed.stderr.contains("b.png"), "{}", failed.stderr);
    assert_eq!(number(&atoll, "SELECT count(*) FROM labels"), "1");
    // The folder is gone, which is no reason to forget its labels.
    std::fs::remove_dir_all(&folder).unwrap();
    let failed = atoll.run(&["-c", "REFRESH TABLE labels"]);
    assert!(!failed.status.success(), "{}", failed.stdout);
    assert_eq!(number(&atoll, "SELECT count(*) FROM labels"), "1");
}

#[test]
fn a_script_is_checked_without_making_the_table() {
    let atoll = Atoll::new();
    let script = atoll.file(
        "night.sql",
        "CREATE OR REFRESH TABLE sizes AS SELECT filename, size, last_modified \
         FROM read_blob('sql/data/photos/*'); SELECT count(*) AS n FROM sizes;",
    );
    atoll.run(&["run", &script, "--dry-run"]).ok();
    assert!(!atoll.path("storage/tables/sizes").exists());
    let ran = atoll.run(&["run", &script, "--format", "csv"]).ok();
    assert!(ran.stdout.contains("\n9\n"), "{}", ran.stdout);
}
