//! Trials in folds: how often data is read and networks are trained, and what they come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atoll_udf_train::Train;
use datafusion::arrow::array::{
    Array, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef,
};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;

use super::support::{
    Argument, COUNTING, call, session, strings, structs, text, trainings_started,
};

/// Rows whose bytes are counted whenever they are read.
#[derive(Debug)]
struct Counted {
    batch: RecordBatch,
    bytes: Arc<AtomicUsize>,
}

impl PartitionStream for Counted {
    fn schema(&self) -> &SchemaRef {
        self.batch.schema_ref()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (batch, bytes) = (self.batch.clone(), Arc::clone(&self.bytes));
        let rows = futures::stream::once(async move {
            bytes.fetch_add(batch.get_array_memory_size(), Ordering::Relaxed);
            Ok(batch)
        });
        let schema = Arc::clone(self.schema());
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

/// A table of 200 rows, two to a patient, and the bytes of it that were read.
fn visits(ctx: &SessionContext) -> Arc<AtomicUsize> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("x", DataType::Float64, false),
        Field::new("label", DataType::Utf8, false),
        Field::new("patient", DataType::Int64, false),
    ]));
    let x: Vec<f64> = (0..200).map(|n| f64::from((n * 37) % 101)).collect();
    let labels = x.iter().map(|x| if *x > 80.0 { "ill" } else { "well" });
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(Float64Array::from(x.clone())),
        Arc::new(StringArray::from_iter_values(labels)),
        Arc::new(Int64Array::from_iter_values((0..200).map(|n| n / 2))),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let bytes = Arc::new(AtomicUsize::new(0));
    let rows = Counted {
        batch,
        bytes: Arc::clone(&bytes),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(rows)]).unwrap();
    ctx.register_table("visits", Arc::new(table)).unwrap();
    bytes
}

async fn crossed(ctx: &SessionContext, folds: Option<i64>) -> StructArray {
    let epochs: Arc<dyn Array> = Arc::new(Int64Array::from(vec![3]));
    let layers: Arc<dyn Array> = Arc::new(StringArray::from(vec!["dense(2)"]));
    let given = structs(vec![("epochs", epochs), ("architecture", layers)]);
    let options: [(&str, ScalarValue); 2] = [
        ("folds", ScalarValue::Int64(folds)),
        ("group", "patient".into()),
    ];
    let options =
        options
            .into_iter()
            .fold(ScalarStructBuilder::new(), |builder, (name, value)| {
                builder.with_scalar(Field::new(name, value.data_type(), true), value)
            });
    let options = Argument::Literal(options.build().unwrap());
    let arguments = [text("visits"), Argument::Column(given), options];
    call(ctx, &Train, &arguments, 1).await.unwrap()
}

/// Names and sizes of the files of snapshots.
fn snapshots(storage: &std::path::Path) -> Vec<(std::ffi::OsString, u64)> {
    std::fs::read_dir(storage.join("snapshots"))
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name(), file.metadata().unwrap().len()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_validation_reads_the_data_once() {
    let _turn = COUNTING.lock().await;
    let mut seen = Vec::new();
    for folds in [None, Some(5)] {
        let storage = tempfile::tempdir().unwrap();
        let ctx = session(storage.path());
        let bytes = visits(&ctx);
        let before = trainings_started();
        let trained = crossed(&ctx, folds).await;
        assert_eq!(strings(&trained, "status"), [Some("SUCCEEDED")]);
        // One for each fold, and one on all rows.
        let networks = folds.map_or(1, |folds| folds as u64 + 1);
        assert_eq!(trainings_started() - before, networks);
        seen.push((bytes.load(Ordering::Relaxed), snapshots(storage.path())));
    }
    assert!(seen[0].0 > 0);
    assert_eq!(seen[0].1.len(), 1);
    // As many bytes read, and the same snapshot written, as without folds.
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_in_folds_has_their_means_and_is_found_again() {
    let _turn = COUNTING.lock().await;
    let storage = tempfile::tempdir().unwrap();
    let ctx = session(storage.path());
    visits(&ctx);
    let trained = crossed(&ctx, Some(4)).await;
    let folds = trained
        .column_by_name("folds")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    let folds = folds.as_struct();
    let numbers = |name: &str| -> Vec<f64> {
        let column = folds.column_by_name(name).unwrap();
        column.as_primitive::<Float64Type>().values().to_vec()
    };
    let counts = |name: &str| -> i64 {
        let column = folds.column_by_name(name).unwrap();
        column.as_primitive::<Int64Type>().values().iter().sum()
    };
    assert_eq!(
        (counts("validation_rows"), counts("train_rows")),
        (200, 600)
    );
    let of_trial = |name: &str| {
        let column = trained.column_by_name(name).unwrap();
        column.as_primitive::<Float64Type>().value(0)
    };
    for name in ["validation_loss", "validation_accuracy", "validation_score"] {
        let mean = numbers(name).iter().sum::<f64>() / 4.0;
        assert!((of_trial(name) - mean).abs() < 1e-12, "{name}");
    }
    assert!(of_trial("validation_score_std") >= 0.0);
    let before = trainings_started();
    let again = crossed(&ctx, Some(4)).await;
    assert_eq!(trainings_started(), before);
    assert_eq!(again.to_data(), trained.to_data());
    // Other folds are another trial.
    crossed(&ctx, Some(3)).await;
    assert_eq!(trainings_started() - before, 4);
}
