//! Trials that stop and go on give what trials give that never stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atoll_nn::Checkpoint;
use atoll_udf_common::CallContext;
use atoll_udf_train::Train;
use datafusion::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, StringArray, StructArray,
};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;

use crate::support::{
    Argument, COUNTING, call, digits, prepare, session, strings, structs, text,
    trainings_started,
};

/// One row of hyperparameters.
fn row(epochs: i64, learning_rate: f64, resume_from: Option<&str>) -> Argument {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let architecture = "dense(32), relu, dropout(0.5), dense(10)";
    Argument::Column(structs(vec![
        ("architecture", text(architecture)),
        ("epochs", Arc::new(Int64Array::from(vec![epochs]))),
        ("schedule", text("constant")),
        (
            "learning_rate",
            Arc::new(Float64Array::from(vec![learning_rate])),
        ),
        ("ema_decay", Arc::new(Float64Array::from(vec![0.9]))),
        (
            "resume_from",
            Arc::new(StringArray::from(vec![resume_from])),
        ),
    ]))
}

fn options(checkpoint: bool) -> Argument {
    let field = Field::new("checkpoint", DataType::Boolean, true);
    let options = ScalarStructBuilder::new()
        .with_scalar(field, ScalarValue::from(checkpoint))
        .build();
    Argument::Literal(options.unwrap())
}

async fn trained(storage: &Path, row: Argument, checkpoint: bool) -> StructArray {
    let arguments = [text(&digits()), row, options(checkpoint)];
    call(&session(storage), &Train, &arguments, 1)
        .await
        .unwrap()
}

fn one<'a>(trial: &'a StructArray, name: &str) -> &'a str {
    strings(trial, name)[0].unwrap_or("NULL")
}

/// The history without the times, which differ.
fn losses(trial: &StructArray) -> Vec<f64> {
    let history = trial
        .column_by_name("history")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    let history = history.as_struct();
    [
        "train_loss",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
    ]
    .iter()
    .flat_map(|name| {
        let column = history.column_by_name(name).unwrap();
        column.as_primitive::<Float64Type>().values().to_vec()
    })
    .collect()
}

fn files(storage: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(storage.join("checkpoints")) else {
        return Vec::new();
    };
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

#[track_caller]
fn check_equal(resumed: &StructArray, whole: &StructArray) {
    for name in ["trial_id", "status", "model_sha256"] {
        assert_eq!(one(resumed, name), one(whole, name), "{name}");
    }
    assert_eq!(losses(resumed), losses(whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_epochs_and_two_are_the_trial_of_five() {
    let _turn = COUNTING.lock().await;
    let (parts, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let three = trained(parts.path(), row(3, 0.1, None), true).await;
    let checkpoint = one(&three, "checkpoint");
    let resumed = trained(parts.path(), row(5, 0.1, Some(checkpoint)), true).await;
    let whole = trained(whole.path(), row(5, 0.1, None), true).await;
    check_equal(&resumed, &whole);
    let name = |trial| {
        PathBuf::from(one(trial, "checkpoint"))
            .file_name()
            .unwrap()
            .to_owned()
    };
    assert_eq!(name(&resumed), name(&whole));
    assert_ne!(name(&resumed), name(&three));
    // What only an unfinished trial needs is gone.
    assert_eq!(files(parts.path(), ".latest").len(), 0);
    assert_eq!(files(parts.path(), ".ckpt").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_was_stopped_goes_on_where_it_was() {
    let _turn = COUNTING.lock().await;
    let (storage, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let epochs = 60;
    let arguments = [text(&digits()), row(epochs, 0.1, None), options(true)];
    let ctx = session(storage.path());
    let prepared = prepare(&ctx, &Train, &arguments, 1).await.unwrap();
    let context = CallContext::default();
    let token = context.token.clone();
    let running =
        tokio::spawn(async move { prepared.call.invoke(prepared.args, &context).await });
    while files(storage.path(), ".latest").is_empty() && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    token.cancel();
    running.await.unwrap().unwrap_err();
    assert!(!storage.path().join("trials").exists());
    let pointer = files(storage.path(), ".latest").remove(0);
    let sha256 = fs::read_to_string(pointer).unwrap();
    let file = storage.path().join(format!("checkpoints/{sha256}.ckpt"));
    let checkpoint = Checkpoint::from_bytes(fs::read(file).unwrap()).unwrap();
    assert!((1..epochs as u32).contains(&checkpoint.epochs()));

    let resumed = trained(storage.path(), row(epochs, 0.1, None), true).await;
    let history = resumed
        .column_by_name("history")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    let seconds = history.as_struct().column_by_name("seconds").unwrap();
    // Times are never the same twice, so this epoch was not trained again.
    assert_eq!(
        seconds.as_primitive::<Float64Type>().value(0),
        checkpoint.history()[0].seconds
    );
    check_equal(
        &resumed,
        &trained(other.path(), row(epochs, 0.1, None), false).await,
    );
    assert_eq!(files(storage.path(), ".latest").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_trial_without_a_checkpoint_runs_again_for_one() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let before = trainings_started();
    let first = trained(storage.path(), row(1, 0.1, None), false).await;
    assert_eq!(one(&first, "checkpoint"), "NULL");
    let second = trained(storage.path(), row(1, 0.1, None), true).await;
    assert!(Path::new(one(&second, "checkpoint")).exists());
    check_equal(&second, &first);
    assert_eq!(trainings_started() - before, 2);
    let third = trained(storage.path(), row(1, 0.1, None), true).await;
    assert_eq!(one(&third, "checkpoint"), one(&second, "checkpoint"));
    assert_eq!(trainings_started() - before, 2);
    fs::remove_file(one(&third, "checkpoint")).unwrap();
    trained(storage.path(), row(1, 0.1, None), true).await;
    assert!(Path::new(one(&third, "checkpoint")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_does_not_fit_spoils_nothing() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let first = trained(storage.path(), row(2, 0.1, None), true).await;
    let checkpoint = one(&first, "checkpoint").to_string();
    let other = trained(storage.path(), row(3, 0.2, Some(&checkpoint)), true).await;
    assert_eq!(one(&other, "status"), "INFEASIBLE");
    assert_eq!(
        one(&other, "error"),
        "learning_rate must be 0.1 as in the checkpoint that it resumes from, got 0.2"
    );
    // The trial itself is none the worse for it.
    let alone = trained(storage.path(), row(3, 0.2, None), true).await;
    assert_eq!(one(&alone, "status"), "SUCCEEDED");
    assert_eq!(one(&alone, "trial_id"), one(&other, "trial_id"));

    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = trained(storage.path(), row(4, 0.1, Some(&checkpoint)), true).await;
    assert_eq!(one(&damaged, "error_code"), "INVALID_CHECKPOINT");
    let missing = trained(storage.path(), row(4, 0.1, Some("no/such.ckpt")), true).await;
    assert_eq!(one(&missing, "status"), "FAILED");
    assert!(
        one(&missing, "error").contains("no/such.ckpt"),
        "{}",
        one(&missing, "error")
    );
}
