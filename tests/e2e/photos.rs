//! Photos in files: folders whose subfolders are classes, and tables of file names.

use std::fs;
use std::path::Path;

use crate::support::{Atoll, Output};

const BACKBONE: &str = "backbone: 'sql/data/efficientnet-lite0.onnx'";

/// A folder with six photos in two classes.
fn atoll() -> Atoll {
    let atoll = Atoll::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (class, photos) in [
        ("alive", ["astronaut.png", "chelsea.png", "horse.png"]),
        ("still", ["coffee.png", "rocket.jpg", "clock_motion.png"]),
    ] {
        fs::create_dir_all(atoll.path("photos").join(class)).unwrap();
        for photo in photos {
            let from = root.join("sql/data/photos").join(photo);
            fs::copy(from, atoll.path("photos").join(class).join(photo)).unwrap();
        }
    }
    atoll
}

fn sql(atoll: &Atoll, sql: &str) -> Output {
    let storage = atoll.path("storage").display().to_string();
    let photos = atoll.path("photos").display().to_string();
    let sql = sql.replace("photos/", &format!("{photos}/"));
    let sql = format!("SET atoll.storage = '{storage}'; {sql}");
    atoll.run(&["--format", "csv", "-c", &sql])
}

fn files_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    let entries = entries.flat_map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path),
            false => vec![path.display().to_string()],
        }
    });
    entries.collect()
}

#[test]
fn the_subfolders_of_a_folder_are_classes() {
    let atoll = atoll();
    let train = format!("train('photos/', {{{BACKBONE}, epochs: 2}}).status");
    let output = sql(&atoll, &format!("SELECT {train}"));
    assert!(output.stdout.contains("SUCCEEDED"), "{output:?}");
    let features = files_below(&atoll.path("storage/features"));
    assert_eq!(features.len(), 1, "{features:?}");
    // More trials on the same photos, and one photo more: only that one is computed.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let camera = root.join("sql/data/photos/camera.png");
    fs::copy(camera, atoll.path("photos/still/camera.png")).unwrap();
    let trials = format!(
        "SELECT count(*) FROM (SELECT train('photos/', {{{BACKBONE}, epochs: 2, \
         learning_rate: rate}}) AS t FROM (VALUES (0.1), (0.2), (0.3)) AS rates(rate)) \
         WHERE t.status = 'SUCCEEDED';"
    );
    let output = sql(&atoll, &trials);
    assert!(output.stdout.contains('3'), "{output:?}");
    let storage = atoll.path("storage/features").display().to_string();
    let count = format!("SELECT count(*) AS n FROM '{storage}/*/*.parquet'");
    let output = sql(&atoll, &count);
    assert_eq!(output.stdout.trim(), "n\n7", "{output:?}");
}

#[test]
fn a_photo_that_cannot_be_read_is_left_out_and_named() {
    let atoll = atoll();
    fs::write(atoll.path("photos/alive/odd.jpg"), "no photo").unwrap();
    fs::write(atoll.path("photos/alive/notes.txt"), "no photo either").unwrap();
    let train = format!("SELECT train('photos/', {{{BACKBONE}, epochs: 1}}).status");
    let output = sql(&atoll, &train);
    assert!(output.stdout.contains("SUCCEEDED"), "{output:?}");
    let warning = "1 of 7 images cannot be read and is left out, such as ";
    assert!(output.stderr.contains(warning), "{output:?}");
    assert!(
        output.stderr.contains("alive/odd.jpg (NOT_AN_IMAGE"),
        "{output:?}"
    );
}

#[test]
fn without_a_backbone_too_and_a_score_counts_every_row() {
    let atoll = atoll();
    let small = "CREATE VIEW small AS SELECT \
        image_encode(image_resize(content, 16, 16), 'png') AS image, \
        split_part(filename, '/', -2) AS label FROM read_blob('photos/*/*') \
        UNION ALL SELECT X'0011', 'alive' UNION ALL SELECT X'FFD8FF', 'still';";
    let train = "train('small', {epochs: 1, architecture: 'linear'})";
    let output = sql(&atoll, &format!("{small} SELECT {train}.status AS s"));
    assert_eq!(output.stdout.trim(), "s\nSUCCEEDED", "{output:?}");
    let warning = "2 images cannot be read and are left out, such as the one in row ";
    assert!(output.stderr.contains(warning), "{output:?}");
    let score =
        format!("{small} SELECT evaluate(t.model, 'small') FROM (SELECT {train} AS t)");
    let output = sql(&atoll, &score);
    let expected = "find such rows with try_image_decode and leave them out";
    assert!(output.stderr.contains(expected), "{output:?}");
    let none = "CREATE VIEW none AS SELECT X'0011' AS image, 'a' AS label \
        UNION ALL SELECT X'0012', 'b'; SELECT train('none', {epochs: 1})";
    let output = sql(&atoll, none);
    assert!(
        output.stderr.contains("no image of none can be read"),
        "{output:?}"
    );
}

#[test]
fn folders_called_as_splits_are_splits() {
    let atoll = atoll();
    for (split, class) in [("train", "alive"), ("train", "still"), ("test", "still")] {
        let to = atoll.path("sets").join(split).join(class);
        fs::create_dir_all(&to).unwrap();
        for photo in files_below(&atoll.path("photos").join(class)) {
            let name = Path::new(&photo).file_name().unwrap();
            fs::copy(&photo, to.join(name)).unwrap();
        }
    }
    let sets = atoll.path("sets").display().to_string();
    let scores = format!(
        "SELECT evaluate(t.model, '{sets}').rows AS n FROM (SELECT train('{sets}', \
         {{{BACKBONE}, epochs: 1, validation_fraction: 0.5}}) AS t)"
    );
    let output = sql(&atoll, &scores);
    assert_eq!(output.stdout.trim(), "n\n3", "{output:?}");
}

#[test]
fn a_table_may_name_files() {
    let atoll = atoll();
    let names = "file_name,label\nalive/horse.png,a\nalive/chelsea.png,a\n\
        still/coffee.png,b\nstill/rocket.jpg,b\n";
    fs::write(atoll.path("photos/labels.csv"), names).unwrap();
    let train = |options: &str| {
        format!(
            "SELECT train('photos/labels.csv', {{{BACKBONE}, epochs: 1, \
             validation_fraction: 0.5}}{options}).status AS s"
        )
    };
    for options in ["", ", {image: 'file_name'}"] {
        let output = sql(&atoll, &train(options));
        assert_eq!(output.stdout.trim(), "s\nSUCCEEDED", "{output:?}");
    }
    // A missing file is no bad photo but a wrong table.
    let names = names.replace("horse", "house");
    fs::write(atoll.path("photos/labels.csv"), names).unwrap();
    let output = sql(&atoll, &train(""));
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stderr.contains("alive/house.png"), "{output:?}");
}

#[test]
fn folders_that_are_no_data_set_say_why() {
    let atoll = atoll();
    let train = format!("SELECT train('photos/alive/', {{{BACKBONE}}}).status");
    let output = sql(&atoll, &train);
    let expected =
        "has 3 photos and no subfolders with photos; each class needs a folder";
    assert!(output.stderr.contains(expected), "{output:?}");
    fs::copy(
        atoll.path("photos/alive/horse.png"),
        atoll.path("photos/x.png"),
    )
    .unwrap();
    let output = sql(&atoll, &format!("SELECT train('photos/', {{{BACKBONE}}})"));
    assert!(
        output.stderr.contains("photos/x.png is in no folder"),
        "{output:?}"
    );
    let output = sql(&atoll, "SELECT train('photos/still/', {epochs: 1})");
    assert!(
        output.stderr.contains("no subfolders with photos"),
        "{output:?}"
    );
}
