//! What is odd about data is said once a statement, wherever the statement runs, and kept
//! with the trials.

use crate::server::Server;
use crate::support::{Atoll, Output};

/// Three trials on rows of which `only` is a class of the validation rows.
const ONLY_IN_VALIDATION: &str = "\
    CREATE OR REPLACE VIEW animals AS \
    SELECT CAST(value AS DOUBLE) AS x, \
        CASE WHEN value = 7 THEN 'only' WHEN value % 2 = 0 THEN 'cat' ELSE 'dog' END AS label, \
        CASE WHEN value > 12 OR value = 7 THEN 'validation' ELSE 'train' END AS split \
    FROM generate_series(1, 16) AS numbers(value); \
    SELECT seed, t['status'] AS status \
    FROM (SELECT seed, train('animals', {epochs: 1, hidden: 4, seed: seed}) AS t \
        FROM generate_series(1, 3) AS seeds(seed)) ORDER BY seed;";

const SAID: &str = "warning: train: animals: the class only has rows for validation and none \
    to train on, so that no network can learn to tell it\n";

#[track_caller]
fn check_once(output: &Output) {
    assert_eq!(
        output.stderr.matches("warning:").count(),
        1,
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains(SAID), "{}", output.stderr);
    let rows = "seed,status\n1,SUCCEEDED\n2,SUCCEEDED\n3,SUCCEEDED\n";
    assert_eq!(output.stdout, rows);
}

#[test]
fn a_class_that_only_validates_is_said_once_and_kept() {
    let atoll = Atoll::new();
    let csv = ["--format", "csv"];
    check_once(
        &atoll
            .run(&[&csv[..], &["-c", ONLY_IN_VALIDATION]].concat())
            .ok(),
    );
    // Trials that are found say so again.
    check_once(&atoll.pipe(&csv, ONLY_IN_VALIDATION).ok());
    let script = atoll.file("job.sql", ONLY_IN_VALIDATION);
    check_once(&atoll.run(&["run", &script, "--format", "csv"]).ok());
    for trial in std::fs::read_dir(atoll.path("storage/trials")).unwrap() {
        let json = std::fs::read_to_string(trial.unwrap().path()).unwrap();
        let record: serde_json::Value = serde_json::from_str(&json).unwrap();
        let warnings = record["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{json}");
        assert!(
            warnings[0]
                .as_str()
                .unwrap()
                .starts_with("the class only has rows")
        );
    }
}

#[test]
fn a_cluster_says_it_too() {
    let atoll = Atoll::new();
    let cluster = Server::cluster(2, |_| {});
    let address = cluster.address();
    let on =
        |sql: &str| atoll.run(&["--format", "csv", "--cluster", &address, "-c", sql]);
    check_once(&on(ONLY_IN_VALIDATION).ok());
    // What only the executors know: how their trials ended, and whose rows were drawn.
    let output = on(NONE).ok();
    let stderr = &output.stderr;
    assert_eq!(stderr.matches("warning:").count(), 1, "{stderr}");
    assert!(stderr.contains(NONE_SAID), "{stderr}");
}

/// A search space that is outside of the domain as a whole.
const NONE: &str = "SELECT t['status'] AS status FROM (SELECT train( \
    'sql/data/digits.parquet', {learning_rate: rate, epochs: 1}) AS t \
    FROM (VALUES (-1.0), (-2.0)) AS space(rate))";

const NONE_SAID: &str = "warning: none of the 2 trials succeeded; the first: INFEASIBLE: \
    learning_rate must be greater than 0, got -";

#[test]
fn a_statement_without_any_network_warns() {
    let atoll = Atoll::new();
    let output = atoll.run(&["-c", NONE]).ok();
    assert!(output.stderr.contains(NONE_SAID), "{}", output.stderr);
    // One of them is enough, also one that is found.
    let some = NONE
        .replace("(-2.0)", "(0.1)")
        .replace("epochs: 1}", "epochs: 1, architecture: 'dense(10)'}");
    for _ in 0..2 {
        let output = atoll.run(&["-c", &some]).ok();
        assert!(!output.stderr.contains("warning"), "{}", output.stderr);
    }
    // The next statement does not hear of the one before.
    let two = format!("{NONE}; SELECT 1");
    let output = atoll.run(&["-c", &two]).ok();
    assert_eq!(
        output.stderr.matches("warning:").count(),
        1,
        "{}",
        output.stderr
    );
}

#[test]
fn labels_that_may_be_something_else_are_said() {
    let atoll = Atoll::new();
    let warning = |label: &str, rows: u32| {
        let sql = format!(
            "CREATE OR REPLACE VIEW odd AS SELECT CAST(value AS DOUBLE) AS x, \
             7 AS constant, {label} AS label FROM generate_series(1, {rows}) AS n(value); \
             SELECT train('odd', {{architecture: 'mlp', hidden: 1, epochs: 1}}, \
             {{features: 'x'}})['status']"
        );
        let output = atoll.run(&["--format", "csv", "-c", &sql]).ok();
        assert!(output.stdout.ends_with("SUCCEEDED\n"), "{}", output.stdout);
        output.stderr
    };
    let nearly_unique = warning("(value - 1) * 1681 / 2000", 2_000);
    assert!(
        nearly_unique.contains("the labels have 1681 different values in 2000 rows"),
        "{nearly_unique}"
    );
    let gaps = warning("CASE value % 2 WHEN 0 THEN 3 ELSE 40000 END", 40);
    assert!(
        gaps.contains("39999 of these 40001 classes have no row, such as 0"),
        "{gaps}"
    );
    assert_eq!(gaps.matches("warning:").count(), 1, "{gaps}");
    let constant = warning("2.5", 10);
    assert!(constant.contains("all labels are 2.5"), "{constant}");
    assert_eq!(warning("value % 2", 40), "");
    // Whichever row is drawn for validation is the only one of its class.
    let drawn = warning("value - 1", 4);
    assert!(
        drawn.contains("has rows for validation and none to train on"),
        "{drawn}"
    );
}

#[test]
fn a_feature_that_never_changes_is_said() {
    let atoll = Atoll::new();
    let data = atoll.file("data.csv", "x,same,label\n1,7,0.5\n2,7,1.5\n3,7,2.5\n");
    let sql = format!("SELECT train('{data}', {{hidden: 2, epochs: 1}})['status']");
    let output = atoll.run(&["-c", &sql]).ok();
    let said = "1 column is left out: same (the same in all rows)";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}

/// What 32 bits would swallow comes through: in the model that is trained, in its file, and
/// in what `predict` gives.
#[test]
fn numbers_that_need_64_bits_get_them() {
    let atoll = Atoll::new();
    let csv = |sql: &str| atoll.run(&["--format", "csv", "-c", sql]).ok();
    let view = "CREATE OR REPLACE VIEW seconds AS SELECT \
        CAST(1700000000 + value AS DOUBLE) AS at, \
        CAST(1000000000 + 3 * value AS DOUBLE) AS label \
        FROM generate_series(1, 400) AS n(value);";
    csv(&format!(
        "{view} CREATE TABLE timed AS SELECT train('seconds', \
         {{architecture: 'dense(1)', epochs: 40, learning_rate: 0.05}}) AS t;"
    ));
    let model = csv("SELECT t['model'] FROM timed").stdout;
    let model = model.lines().nth(1).unwrap().to_string();
    let predicted = csv(&format!(
        "SELECT predict('{model}', {{at: 1700000123.0}})['label'][1] AS p"
    ));
    let predicted: f64 = predicted.stdout.lines().nth(1).unwrap().parse().unwrap();
    assert!((predicted - 1_000_000_369.0).abs() < 2.0, "{predicted}");
    // The type of a model in a column is not known, and FLOAT is what it may be.
    let rounded = csv(
        "SELECT predict(t['model'], {at: 1700000123.0})['logits'][1] AS p FROM timed",
    );
    let warning = "gives DOUBLE, which is rounded to FLOAT; name the model by a literal";
    assert!(rounded.stderr.contains(warning), "{}", rounded.stderr);
    // A model of ordinary numbers takes FLOAT, and is not silent about these.
    let narrow = csv(&format!(
        "{view} CREATE OR REPLACE VIEW small AS SELECT at - 1700000000 AS at, label \
         FROM seconds; SELECT evaluate(t['model'], 'seconds')['rows'] AS n FROM \
         (SELECT train('small', {{architecture: 'dense(1)', epochs: 1}}) AS t)"
    ));
    assert!(
        narrow.stderr.contains("takes FLOAT, which does not tell"),
        "{narrow:?}"
    );
}

/// Images of one pixel are too small for every network of the search.
#[test]
fn a_job_without_any_network_fails() {
    let atoll = Atoll::new();
    let dots = atoll.path("dots.parquet").display().to_string();
    let copy = format!(
        "COPY (SELECT [value] AS image, value % 2 AS label, \
         CASE WHEN value < 15 THEN 'train' ELSE 'test' END AS split \
         FROM generate_series(1, 20) AS n(value)) TO '{dots}' STORED AS PARQUET"
    );
    atoll.run(&["-c", &copy]).ok();
    let data = format!("data={dots}");
    let output = format!("output={}", atoll.path("out").display());
    let job = "sql/jobs/digits_search.sql";
    let run = atoll.run(&["run", job, "--set", &data, "--set", &output]);
    run.fails_naming(&["tune: all 27 trials are INFEASIBLE; the first one because "]);
    assert!(!atoll.path("out").exists());
}

/// Rows are counted as the file has them, however many threads read it and whatever is
/// left out.
#[test]
fn a_bad_row_is_named_by_its_number_in_the_file() {
    let atoll = Atoll::new();
    let mut csv = String::from("x,label,split\n");
    for row in 1..=5_000 {
        let (x, split) = match row {
            4_321 => ("inf", "train"),
            row if row % 3 == 0 => ("NaN", "test"),
            _ => ("1.5", "train"),
        };
        csv += &format!("{x},{},{split}\n", row % 2);
    }
    let data = atoll.file("data.csv", &csv);
    let train = format!("SELECT train('{data}', {{epochs: 1}})");
    atoll
        .run(&["-c", &train])
        .fails_naming(&["row 4321: the feature x of", "is inf"]);
    let named = csv
        .replace("inf", "2.5")
        .replacen(",0,train", ",0,training", 1);
    let data = atoll.file("named.csv", &named);
    let train = format!("SELECT train('{data}', {{epochs: 1}})");
    atoll
        .run(&["-c", &train])
        .fails_naming(&["row 2: a split must be", "got 'training'"]);
}

/// Parquet's statistics leave NaN out, so that this column looks like 2 in every row.
#[test]
fn a_nan_in_parquet_is_refused() {
    let atoll = Atoll::new();
    let data = atoll.path("nan.parquet").display().to_string();
    let copy = format!(
        "COPY (SELECT CASE value WHEN 1 THEN CAST('NaN' AS DOUBLE) ELSE 2.0 END AS x, \
         value % 2 AS label FROM generate_series(1, 2) AS n(value)) \
         TO '{data}' STORED AS PARQUET"
    );
    atoll.run(&["-c", &copy]).ok();
    let train = format!("SELECT train('{data}', {{epochs: 1}})");
    let parts = ["row 1: the feature x of", "is NaN; replace or leave out"];
    atoll.run(&["-c", &train]).fails_naming(&parts);
}

#[test]
fn the_column_at_fault_is_named() {
    let atoll = Atoll::new();
    let check = |name: &str, csv: &str, options: &str, parts: &[&str]| {
        let data = atoll.file(name, csv);
        let sql = format!("SELECT train('{data}', {{epochs: 1}}, {options})");
        atoll.run(&["-c", &sql]).fails_naming(parts);
    };
    check(
        "label.csv",
        "x,lable\n1,0\n2,1\n",
        "NULL",
        &["has no column label", "x, lable", "{label: 'lable'}"],
    );
    check("empty.csv", "", "NULL", &["empty.csv"]);
    check(
        "header.csv",
        "x,label\n",
        "NULL",
        &["header.csv has no rows"],
    );
    check(
        "only.csv",
        "label\n1\n0\n",
        "NULL",
        &["has nothing to learn from", "label"],
    );
    check(
        "null.csv",
        "y,label\n,0\n,1\n",
        "NULL",
        &["has nothing to learn from", "y (the same in all rows)"],
    );
}
