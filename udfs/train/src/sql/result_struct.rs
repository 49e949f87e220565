//! The struct that `train` returns: a trial as SQL sees it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, NullBufferBuilder, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::Result;

use crate::record::{EpochRecord, FoldRecord, TrialRecord};

/// A trial with the paths or URLs of its files.
#[derive(Debug)]
pub(crate) struct TrialRow {
    /// The trial.
    pub(crate) record: TrialRecord,
    /// The path or URL.
    pub(crate) model: Option<String>,
    /// The path or URL of its checkpoint.
    pub(crate) checkpoint: Option<String>,
}

static HISTORY: LazyLock<Fields> = LazyLock::new(|| {
    let metric = |name: &str| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        Field::new("epoch", DataType::Int64, false),
        metric("learning_rate"),
        metric("train_loss"),
        metric("validation_loss"),
        metric("validation_accuracy"),
        metric("seconds"),
        metric("validation_score"),
    ])
});

static FOLDS: LazyLock<Fields> = LazyLock::new(|| {
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    let metric = |name: &str| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        count("fold"),
        count("train_rows"),
        count("validation_rows"),
        count("epochs"),
        count("best_epoch"),
        metric("train_loss"),
        metric("validation_loss"),
        metric("validation_accuracy"),
        metric("validation_score"),
        metric("seconds"),
    ])
});

/// One of a list of folds.
fn fold_field() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(FOLDS.clone()), true))
}

/// With an offset and not a name, which Arrow reads without a time zone database.
const UTC: &str = "+00:00";

static TRIAL: LazyLock<Fields> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let history = Field::new_list_field(DataType::Struct(HISTORY.clone()), true);
    Fields::from(vec![
        field("trial_id", DataType::Utf8),
        field("status", DataType::Utf8),
        field("error_code", DataType::Utf8),
        field("error", DataType::Utf8),
        field("epochs", DataType::Int64),
        field("best_epoch", DataType::Int64),
        field("train_loss", DataType::Float64),
        field("validation_loss", DataType::Float64),
        field("validation_accuracy", DataType::Float64),
        field("history", DataType::List(Arc::new(history))),
        field("model", DataType::Utf8),
        field("model_sha256", DataType::Utf8),
        field("checkpoint", DataType::Utf8),
        field("seed", DataType::Int64),
        field(
            "started_at",
            DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        ),
        field("worker", DataType::Utf8),
        field("seconds", DataType::Float64),
        field("engine", DataType::Utf8),
        field("validation_score", DataType::Float64),
        field("validation_score_std", DataType::Float64),
        field("folds", DataType::List(fold_field())),
    ])
});

/// The type that `train` returns.
pub(crate) fn trial_type() -> DataType {
    DataType::Struct(TRIAL.clone())
}

/// The columns that a trial has.
pub(crate) fn trial_fields() -> Fields {
    TRIAL.clone()
}

/// Trials as SQL sees them: a row out for every row in.
pub(crate) fn trial_array(rows: &[Option<TrialRow>]) -> Result<ArrayRef> {
    let mut nulls = NullBufferBuilder::new(rows.len());
    rows.iter().for_each(|row| nulls.append(row.is_some()));
    let text = |get: fn(&TrialRow) -> Option<&str>| -> ArrayRef {
        Arc::new(StringArray::from_iter(
            rows.iter().map(|row| get(row.as_ref()?)),
        ))
    };
    let count = |get: fn(&TrialRecord) -> Option<u32>| -> ArrayRef {
        let counts = rows
            .iter()
            .map(|row| get(&row.as_ref()?.record).map(i64::from));
        Arc::new(Int64Array::from_iter(counts))
    };
    let number = |get: fn(&TrialRecord) -> Option<f64>| -> ArrayRef {
        let numbers = rows.iter().map(|row| get(&row.as_ref()?.record));
        Arc::new(Float64Array::from_iter(numbers))
    };
    let seeds = rows.iter().map(|row| row.as_ref()?.record.seed);
    let starts = rows.iter().map(|row| row.as_ref()?.record.started_at);
    let columns = vec![
        text(|row| {
            Some(&row.record.trial_id)
                .filter(|id| !id.is_empty())
                .map(|id| &**id)
        }),
        text(|row| Some(row.record.status.name())),
        text(|row| row.record.error_code.as_deref()),
        text(|row| row.record.error.as_deref()),
        count(|trial| trial.epochs),
        count(|trial| trial.best_epoch),
        number(|trial| trial.train_loss),
        number(|trial| trial.validation_loss),
        number(|trial| trial.validation_accuracy),
        history_array(rows)?,
        text(|row| row.model.as_deref()),
        text(|row| row.record.model_sha256.as_deref()),
        text(|row| row.checkpoint.as_deref()),
        Arc::new(Int64Array::from_iter(seeds)),
        Arc::new(TimestampMicrosecondArray::from_iter(starts).with_timezone(UTC)),
        text(|row| row.record.worker.as_deref()),
        number(|trial| Some(trial.seconds)),
        text(|row| Some(&row.record.engine)),
        number(TrialRecord::score),
        number(|trial| trial.validation_score_std),
        folds_array(rows)?,
    ];
    Ok(Arc::new(StructArray::try_new(
        TRIAL.clone(),
        columns,
        nulls.finish(),
    )?))
}

/// The folds of each trial; NULL of trials without.
fn folds_array(rows: &[Option<TrialRow>]) -> Result<ArrayRef> {
    let of_row = |row: &Option<TrialRow>| match row {
        Some(row) => row.record.folds.clone(),
        None => Vec::new(),
    };
    let of_rows: Vec<Vec<FoldRecord>> = rows.iter().map(of_row).collect();
    let folds: Vec<&FoldRecord> = of_rows.iter().flatten().collect();
    let count = |get: fn(&FoldRecord) -> u64| -> ArrayRef {
        let counts = folds.iter().map(|fold| get(fold) as i64);
        Arc::new(Int64Array::from_iter_values(counts))
    };
    let number = |get: fn(&FoldRecord) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(folds.iter().map(|fold| get(fold))))
    };
    let columns: Vec<ArrayRef> = vec![
        count(|fold| fold.fold.into()),
        count(|fold| fold.train_rows),
        count(|fold| fold.validation_rows),
        count(|fold| fold.epochs.into()),
        count(|fold| fold.best_epoch.into()),
        number(|fold| fold.train_loss),
        number(|fold| fold.validation_loss),
        number(|fold| fold.validation_accuracy),
        number(|fold| fold.validation_score),
        number(|fold| Some(fold.seconds)),
    ];
    let folds = StructArray::try_new(FOLDS.clone(), columns, None)?;
    let mut nulls = NullBufferBuilder::new(rows.len());
    of_rows
        .iter()
        .for_each(|folds| nulls.append(!folds.is_empty()));
    let offsets = OffsetBuffer::from_lengths(of_rows.iter().map(Vec::len));
    let folds = Arc::new(folds);
    Ok(Arc::new(ListArray::try_new(
        fold_field(),
        offsets,
        folds,
        nulls.finish(),
    )?))
}

fn history_array(rows: &[Option<TrialRow>]) -> Result<ArrayRef> {
    let history = |row: &Option<TrialRow>| match row {
        Some(row) => row.record.history.clone(),
        None => Vec::new(),
    };
    let histories: Vec<Vec<EpochRecord>> = rows.iter().map(history).collect();
    let epochs: Vec<&EpochRecord> = histories.iter().flatten().collect();
    let number = |get: fn(&EpochRecord) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(
            epochs.iter().map(|epoch| get(epoch)),
        ))
    };
    let counts = epochs.iter().map(|epoch| i64::from(epoch.epoch));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(counts)),
        number(|epoch| epoch.learning_rate),
        number(|epoch| epoch.train_loss),
        number(|epoch| epoch.validation_loss),
        number(|epoch| epoch.validation_accuracy),
        number(|epoch| epoch.seconds),
        number(|epoch| epoch.validation_score),
    ];
    let epochs = StructArray::try_new(HISTORY.clone(), columns, None)?;
    let mut nulls = NullBufferBuilder::new(rows.len());
    rows.iter().for_each(|row| nulls.append(row.is_some()));
    Ok(Arc::new(ListArray::try_new(
        Arc::new(Field::new_list_field(
            DataType::Struct(HISTORY.clone()),
            true,
        )),
        OffsetBuffer::from_lengths(histories.iter().map(Vec::len)),
        Arc::new(epochs),
        nulls.finish(),
    )?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray};
    use datafusion::arrow::datatypes::Float64Type;

    use super::*;
    use crate::record::tests::record;

    #[test]
    fn a_row_out_for_every_row_in() {
        let row = TrialRow {
            record: record("a1"),
            model: Some("m.onnx".to_string()),
            checkpoint: None,
        };
        let array = trial_array(&[None, Some(row), None]).unwrap();
        assert_eq!(*array.data_type(), trial_type());
        let trials = array.as_struct();
        let nulls: Vec<bool> = (0..3).map(|row| trials.is_null(row)).collect();
        assert_eq!(nulls, [true, false, true]);
        let history = trials.column_by_name("history").unwrap().as_list::<i32>();
        assert!(history.is_null(0));
        let epochs = history.value(1);
        let epochs = epochs.as_struct();
        let loss = epochs.column_by_name("train_loss").unwrap();
        assert_eq!(loss.as_primitive::<Float64Type>().value(0), 0.1 + 0.2);
        assert!(epochs.column_by_name("validation_loss").unwrap().is_null(0));
    }
}
