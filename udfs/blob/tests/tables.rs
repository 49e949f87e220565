//! The table functions in statements, as DataFusion plans them.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic too")]

use std::path::{Path, PathBuf};

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The rows of a statement, and its physical plan.
async fn run(sql: &str) -> Result<(Vec<String>, String)> {
    let config = SessionConfig::new().with_target_partitions(4);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .build();
    let context = SessionContext::new_with_state(state);
    for (name, function, _) in atoll_udf_blob::table_functions() {
        context.register_udtf(&name, function);
    }
    let root = root().canonicalize().unwrap();
    let frame = context
        .sql(&sql.replace("ROOT", root.to_str().unwrap()))
        .await?;
    let plan = frame.clone().explain(false, false)?.collect().await?;
    let rows = pretty_format_batches(&frame.collect().await?)?.to_string();
    let cells = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join("|")
    };
    let rows = rows
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(1)
        .map(cells);
    Ok((rows.collect(), pretty_format_batches(&plan)?.to_string()))
}

async fn fails(sql: &str, expected: &str) {
    let error = run(sql).await.unwrap_err().strip_backtrace();
    assert!(error.contains(expected), "{sql}: {error}");
}

#[tokio::test]
async fn counting_files_reads_none() {
    let (rows, plan) = run("SELECT count(*) FROM read_blob('ROOT/sql/data/photos')")
        .await
        .unwrap();
    assert_eq!(rows, ["9"]);
    assert!(!plan.contains("ReadBlobExec"), "{plan}");
}

#[tokio::test]
async fn a_filter_on_the_listing_reads_fewer_files() {
    let (rows, plan) = run(
        "SELECT octet_length(encode(content, 'hex')) / 2 = size AS whole
         FROM read_blob('ROOT/sql/data/photos/*') WHERE size < 100000 AND filename LIKE '%.png'",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["true", "true"]);
    assert!(plan.contains("files=2"), "{plan}");
}

#[tokio::test]
async fn a_filter_on_the_content_is_left_to_the_engine() {
    let sql = "SELECT count(*) FROM read_blob('ROOT/sql/data/photos/*')
               WHERE size < 100000 AND content IS NOT NULL AND encode(content, 'hex') LIKE '8950%'";
    let (rows, plan) = run(sql).await.unwrap();
    assert_eq!(rows, ["2"]);
    assert!(plan.contains("files=2"), "{plan}");
}

#[tokio::test]
async fn a_filter_that_is_null_keeps_nothing() {
    let sql = "SELECT count(*) FROM read_blob('ROOT/sql/data/photos/*')
               WHERE CASE WHEN size < 100000 THEN NULL ELSE size > 700000 END";
    assert_eq!(run(sql).await.unwrap().0, ["1"]);
}

#[tokio::test]
async fn a_limit_reads_no_more_files() {
    let sql = "SELECT octet_length(encode(content, 'hex')) > 0
               FROM (SELECT content FROM read_blob('ROOT/sql/data/photos/*') LIMIT 1)";
    let (rows, plan) = run(sql).await.unwrap();
    assert_eq!(rows, ["true"]);
    assert!(plan.contains("files=1"), "{plan}");
}

#[tokio::test]
async fn lists_and_nothing_found() {
    let sql = "SELECT size FROM read_blob(['ROOT/sql/data/photos/r*.jpg',
               'ROOT/sql/data/photos/horse.png']) ORDER BY size";
    assert_eq!(run(sql).await.unwrap().0, ["16633", "112525", "269564"]);
    fails(
        "SELECT * FROM read_blob('ROOT/sql/data/photos/*.gif')",
        "no file matches",
    )
    .await;
    fails("SELECT * FROM read_blob([])", "read_blob takes").await;
    fails("SELECT * FROM read_blob(NULL)", "read_blob takes text").await;
}

const PLAIN: &str = "read_idx('ROOT/tests/data/idx/plain-images-idx3-ubyte',
                     'ROOT/tests/data/idx/plain-labels-idx1-ubyte')";
const PACKED: &str = "read_idx('ROOT/tests/data/idx/train-images-idx3-ubyte.gz',
                      'ROOT/tests/data/idx/train-labels-idx1-ubyte.gz')";

#[tokio::test]
async fn idx_rows_are_known_where_the_size_of_the_file_proves_them() {
    let (rows, plan) = run(&format!("SELECT count(*) FROM {PLAIN}")).await.unwrap();
    assert_eq!(rows, ["20"]);
    assert!(!plan.contains("ReadIdxExec"), "{plan}");
    let (rows, plan) = run(&format!("SELECT count(*) FROM {PACKED}"))
        .await
        .unwrap();
    assert_eq!(rows, ["200"]);
    assert!(plan.contains("ReadIdxExec"), "{plan}");
}

#[tokio::test]
async fn idx_gives_images_and_labels() {
    let sql = format!(
        "SELECT count(*), sum(label), min(image['width']), max(image['height']),
                min(octet_length(encode(image['data'], 'hex')) / 2)
         FROM (SELECT * FROM {PACKED} LIMIT 10)"
    );
    // The first ten digits are 0 to 9.
    assert_eq!(run(&sql).await.unwrap().0, ["10|45|8|8|64"]);
}

#[tokio::test]
async fn a_truncated_idx_file_fails_the_statement() {
    let short =
        PACKED.replace("train-images-idx3-ubyte.gz", "short-images-idx3-ubyte.gz");
    fails(
        &format!("SELECT image FROM {short}"),
        "short-images-idx3-ubyte.gz is truncated",
    )
    .await;
    let mixed = PACKED.replace("train-labels-idx1-ubyte.gz", "plain-labels-idx1-ubyte");
    fails(
        &format!("SELECT image FROM {mixed}"),
        "holds 200 images but",
    )
    .await;
}
