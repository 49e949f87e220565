//! Lookups, scans, errors and scores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll_udf_common::CallContext;
use atoll_udf_train::{Evaluate, Train};
use datafusion::arrow::array::{
    ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, UInt8Array, UInt32Array,
};
use datafusion::arrow::buffer::{Buffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::datasource::MemTable;

use crate::support::{
    Argument, COUNTING, call, digits, prepare, seeds, session, strings, structs, text,
    train, trainings_started,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_trains_only_new_rows() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let before = trainings_started();
    let first = train(&ctx, &digits(), seeds(&[1, 2, 1]), 3).await;
    assert_eq!(trainings_started() - before, 2, "equal rows train once");
    assert_eq!(strings(&first, "status"), [Some("SUCCEEDED"); 3]);

    let again = train(&session(storage.path()), &digits(), seeds(&[1, 2, 1]), 3).await;
    assert_eq!(trainings_started() - before, 2, "nothing is trained again");
    assert_eq!(again, first);

    train(&ctx, &digits(), seeds(&[1, 2, 3]), 3).await;
    assert_eq!(
        trainings_started() - before,
        3,
        "only the new row is trained"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_finished_rows_come_back_at_once() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let rates: Vec<f64> = (0..1_000).map(|row| f64::from(-row)).collect();
    let rates = || {
        let rates = datafusion::arrow::array::Float64Array::from(rates.clone());
        Argument::Column(structs(vec![("learning_rate", Arc::new(rates))]))
    };
    let first = train(&ctx, &digits(), rates(), 1_000).await;
    assert_eq!(strings(&first, "status"), [Some("INFEASIBLE"); 1_000]);
    let started = Instant::now();
    let again = train(&ctx, &digits(), rates(), 1_000).await;
    let elapsed = started.elapsed();
    eprintln!("1,000 finished rows, scan included: {elapsed:?}");
    assert_eq!(again, first);
    // Typically 0.2 s; the margin is for machines that do other work.
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_thousand_images_are_read_quickly() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let (rows, values) = (60_000, 28 * 28);
    let pixels: Vec<u8> = (0..rows * values)
        .map(|n| (n as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let offsets = OffsetBuffer::from_repeated_length(values, rows);
    let image = structs(vec![
        ("width", Arc::new(UInt32Array::from_value(28, rows))),
        ("height", Arc::new(UInt32Array::from_value(28, rows))),
        ("channels", Arc::new(UInt8Array::from_value(1, rows))),
        (
            "data",
            Arc::new(BinaryArray::new(offsets, Buffer::from_vec(pixels), None)),
        ),
    ]);
    let label: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..rows as i64).map(|row| row % 10),
    ));
    let schema = Arc::new(Schema::new(vec![
        Field::new("image", image.data_type().clone(), true),
        Field::new("label", DataType::Int64, true),
    ]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![image, label]).unwrap();
    let batches = (0..rows)
        .step_by(8_000)
        .map(|start| batch.slice(start, 8_000.min(rows - start)));
    let table = MemTable::try_new(schema, vec![batches.collect()]).unwrap();
    ctx.register_table("mnist", Arc::new(table)).unwrap();
    let refused = || {
        let rate: ArrayRef = Arc::new(Int64Array::from(vec![-1]));
        Argument::Column(structs(vec![("learning_rate", rate)]))
    };
    for run in ["first", "second"] {
        let started = Instant::now();
        train(&ctx, "mnist", refused(), 1).await;
        let elapsed = started.elapsed();
        eprintln!("60,000 images, {run} run: {elapsed:?}");
        // Typically under 1 s; the margin is for machines that do other work.
        assert!(elapsed < Duration::from_secs(5), "{run} run: {elapsed:?}");
    }
    assert_eq!(
        std::fs::read_dir(storage.path().join("snapshots"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_at_once_share_their_trials() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let before = trainings_started();
    let dataset = digits();
    let (first, second) = tokio::join!(
        train(&ctx, &dataset, seeds(&[11, 12]), 2),
        train(&ctx, &dataset, seeds(&[12, 11]), 2),
    );
    assert_eq!(trainings_started() - before, 2);
    let (first, second) = (strings(&first, "trial_id"), strings(&second, "trial_id"));
    assert_eq!((first[0], first[1]), (second[1], second[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_statement_stops_and_keeps_nothing() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let long = ScalarValue::try_from_array(
        &structs(vec![("epochs", Arc::new(Int64Array::from(vec![100_000])))]),
        0,
    );
    let arguments = [text(&digits()), Argument::Literal(long.unwrap())];
    let prepared = prepare(&ctx, &Train, &arguments, 1).await.unwrap();
    let context = CallContext::default();
    let token = context.token.clone();
    let running =
        tokio::spawn(async move { prepared.call.invoke(prepared.args, &context).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cancelled = Instant::now();
    token.cancel();
    let error = running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(
        cancelled.elapsed() < Duration::from_secs(2),
        "{:?}",
        cancelled.elapsed()
    );
    assert!(!storage.path().join("trials").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_datasets_are_errors_at_plan_time() {
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let view = "CREATE VIEW digits AS SELECT named_struct('a', 1) AS picture, 2 AS label";
    ctx.sql(view).await.unwrap().collect().await.unwrap();
    let check = async |dataset: &str, expected: &str| {
        let arguments = [text(dataset)];
        let error = prepare(&ctx, &Train, &arguments, 1).await.err().unwrap();
        let error = error.strip_backtrace();
        assert!(error.contains(expected), "{dataset}: {error}");
    };
    check(
        "digit",
        "no table, view or file is called 'digit'; did you mean 'digits'?",
    )
    .await;
    check("digits", "no column image; its columns are picture, label").await;
    check("/no/such.parquet", "file not found: /no/such.parquet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_kind_are_datasets() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let csv = storage.path().join("tiny data.csv");
    let lines = (0..40).map(|n| format!("{},\"{} 255 {} 9\"", n % 2, n % 2 * 200, n));
    let lines = lines.collect::<Vec<_>>().join("\n");
    std::fs::write(&csv, format!("label,image\n{lines}\n")).unwrap();
    let trained = train(&ctx, &csv.display().to_string(), seeds(&[1]), 1).await;
    assert_eq!(strings(&trained, "status"), [Some("SUCCEEDED")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluate_scores_the_test_rows() {
    if let Err(error) = atoll_onnx::runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let trained = train(&ctx, &digits(), seeds(&[1]), 1).await;
    let model = Arc::clone(trained.column_by_name("model").unwrap());
    let arguments = [Argument::Column(model), text(&digits())];
    let scored = call(&ctx, &Evaluate, &arguments, 1).await.unwrap();
    let count = format!("SELECT count(*) FROM '{}' WHERE split = 'test'", digits());
    let count = ctx.clone().enable_url_table().sql(&count).await.unwrap();
    let count = Arc::clone(count.collect().await.unwrap()[0].column(0));
    let rows = scored.column_by_name("rows").unwrap();
    let expected = count.as_primitive::<Int64Type>().value(0);
    assert_eq!(rows.as_primitive::<Int64Type>().value(0), expected);
    let number = |name: &str| {
        scored
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Float64Type>()
            .value(0)
    };
    assert!(number("accuracy_low") < number("accuracy"));
    assert!(number("accuracy") < number("accuracy_high"));
    let confusion = scored
        .column_by_name("confusion")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    let counts: i64 = confusion
        .as_list::<i32>()
        .iter()
        .flatten()
        .map(|line| {
            line.as_primitive::<Int64Type>()
                .values()
                .iter()
                .sum::<i64>()
        })
        .sum();
    assert_eq!(counts, expected);
}

/// Prints what a trial costs beyond its arithmetic; says something in a release build:
/// `cargo test --release -p atoll-udf-train --test calls -- --nocapture tiny`.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tiny_networks() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    let snapshot = train(&ctx, &digits(), seeds(&[-1]), 1).await;
    assert_eq!(strings(&snapshot, "status"), [Some("INFEASIBLE")]);
    let all: Vec<i64> = (0..1_000).collect();
    let before = trainings_started();
    let started = Instant::now();
    let trained = train(&ctx, &digits(), seeds(&all), 1_000).await;
    let wall = started.elapsed();
    assert_eq!(trainings_started() - before, 1_000);
    assert_eq!(strings(&trained, "status"), [Some("SUCCEEDED"); 1_000]);
    let seconds = trained.column_by_name("seconds").unwrap();
    let seconds: f64 = seconds.as_primitive::<Float64Type>().values().iter().sum();
    // The trials' own seconds hold arithmetic and export, and waiting for a core where
    // other work wants it too.
    let threads = atoll_compute::pool::threads() as f64;
    eprintln!(
        "1,000 trials in {wall:?} on {threads} threads: {:.3} ms a trial, {:.3} ms of them \
         in train itself",
        wall.as_secs_f64() * threads,
        seconds
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_of_a_trial_change_no_bit() {
    let _turn = COUNTING.lock().await;
    let mut digests = Vec::new();
    for threads in [1_i64, 2] {
        let storage = tempfile::tempdir().unwrap();
        let ctx = session(storage.path());
        let field = Field::new("threads_per_trial", DataType::Int64, true);
        let options = ScalarStructBuilder::new().with_scalar(field, threads.into());
        let options = Argument::Literal(options.build().unwrap());
        let arguments = [text(&digits()), seeds(&[5]), options];
        let trained = call(&ctx, &Train, &arguments, 1).await.unwrap();
        digests.push(strings(&trained, "model_sha256")[0].unwrap().to_string());
    }
    assert_eq!(digests[0], digests[1]);
}
