//! The struct that `evaluate` returns: scores as SQL sees them.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, NullBufferBuilder, StringArray,
    StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use crate::score::{ClassScores, Interval, OfClass, Score};

/// A model's scores, and the value of the metric that was asked for.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) score: Score,
    pub(crate) metric: Option<f64>,
    classes: Option<ClassScores>,
}

impl Evaluation {
    pub(crate) fn new(score: Score, metric: Option<f64>) -> Self {
        Self {
            classes: score.of_classes(),
            score,
            metric,
        }
    }
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

static MEANS: LazyLock<Fields> =
    LazyLock::new(|| ["precision", "recall", "f1"].map(number).to_vec().into());

static CLASS: LazyLock<Fields> = LazyLock::new(|| {
    let mut fields = vec![Field::new("class", DataType::Utf8, true)];
    let numbers = [
        "precision",
        "precision_low",
        "precision_high",
        "recall",
        "recall_low",
        "recall_high",
        "f1",
    ];
    fields.extend(numbers.map(number));
    fields.push(Field::new("support", DataType::Int64, true));
    fields.push(number("roc_auc"));
    fields.into()
});

static BIN: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("rows", DataType::Int64, true),
        number("confidence"),
        number("accuracy"),
    ])
});

static EVALUATION: LazyLock<Fields> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Fields::from(vec![
        field("rows", DataType::Int64),
        number("accuracy"),
        number("accuracy_low"),
        number("accuracy_high"),
        number("loss"),
        field("confusion", list(list(DataType::Int64))),
        number("score"),
        number("balanced_accuracy"),
        field("macro", DataType::Struct(MEANS.clone())),
        field("weighted", DataType::Struct(MEANS.clone())),
        field("classes", list(DataType::Struct(CLASS.clone()))),
        number("roc_auc"),
        field("top_k_accuracy", list(DataType::Float64)),
        field("top_k_low", list(DataType::Float64)),
        field("top_k_high", list(DataType::Float64)),
        number("log_loss"),
        number("brier_score"),
        number("calibration_error"),
        field("calibration", list(DataType::Struct(BIN.clone()))),
        number("rmse"),
        number("mae"),
        number("r2"),
    ])
});

/// The type that `evaluate` returns.
pub(crate) fn evaluation_type() -> DataType {
    DataType::Struct(EVALUATION.clone())
}

type Rows<'a> = &'a [Option<Evaluation>];

/// Evaluations as SQL sees them: a row out for every row in.
pub(crate) fn evaluation_array(rows: Rows<'_>) -> Result<ArrayRef> {
    let of_row = |get: fn(&Evaluation) -> Option<f64>| -> ArrayRef {
        let numbers = rows.iter().map(|row| finite(get(row.as_ref()?)));
        Arc::new(Float64Array::from_iter(numbers))
    };
    let of_classes = |get: fn(&ClassScores) -> Option<f64>| -> ArrayRef {
        let numbers = classes(rows).map(|scores| finite(get(scores?)));
        Arc::new(Float64Array::from_iter(numbers))
    };
    let counts = rows.iter().map(|row| Some(row.as_ref()?.score.rows as i64));
    let columns = vec![
        Arc::new(Int64Array::from_iter(counts)),
        of_classes(|scores| Some(scores.accuracy?.share)),
        of_classes(|scores| Some(scores.accuracy?.low)),
        of_classes(|scores| Some(scores.accuracy?.high)),
        of_row(|row| row.score.mean_loss()),
        confusion(rows)?,
        of_row(|row| row.metric),
        of_classes(|scores| scores.balanced_accuracy),
        means(rows, |scores| {
            let means = &scores.macro_means;
            [means.precision, means.recall, means.f1]
        })?,
        means(rows, |scores| {
            let means = &scores.weighted_means;
            [means.precision, means.recall, means.f1]
        })?,
        each_class(rows)?,
        of_classes(|scores| scores.roc_auc),
        top_k(rows, |interval| interval.share)?,
        top_k(rows, |interval| interval.low)?,
        top_k(rows, |interval| interval.high)?,
        of_classes(|scores| scores.log_loss),
        of_classes(|scores| scores.brier_score),
        of_classes(|scores| scores.calibration_error),
        calibration(rows)?,
        of_row(|row| Some(row.score.of_numbers()?.rmse())),
        of_row(|row| Some(row.score.of_numbers()?.mae())),
        of_row(|row| Some(row.score.of_numbers()?.r2())),
    ];
    let mut nulls = NullBufferBuilder::new(rows.len());
    rows.iter().for_each(|row| nulls.append(row.is_some()));
    let (fields, nulls) = (EVALUATION.clone(), nulls.finish());
    Ok(Arc::new(StructArray::try_new(fields, columns, nulls)?))
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

/// The scores of classes of each row, if it has any.
fn classes(rows: Rows<'_>) -> impl Iterator<Item = Option<&ClassScores>> {
    rows.iter().map(|row| row.as_ref()?.classes.as_ref())
}

/// A list for each row, of items that are one after the other; NULL where there are no
/// classes.
fn lists(
    rows: Rows<'_>,
    items: ArrayRef,
    count: impl Fn(&ClassScores) -> usize,
) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let counts = classes(rows).map(|scores| scores.map_or(0, &count));
    let mut nulls = NullBufferBuilder::new(rows.len());
    // Where rows have lists of labels, there are no such lists.
    let is_there = |scores: &ClassScores| count(scores) > 0;
    classes(rows).for_each(|scores| nulls.append(scores.is_some_and(is_there)));
    let offsets = OffsetBuffer::from_lengths(counts);
    Ok(Arc::new(ListArray::try_new(
        field,
        offsets,
        items,
        nulls.finish(),
    )?))
}

fn confusion(rows: Rows<'_>) -> Result<ArrayRef> {
    let lines = || classes(rows).flatten().flat_map(lines_of);
    let counts = lines().flatten().map(|count| *count as i64);
    let counts = Arc::new(Int64Array::from_iter_values(counts));
    let field = Arc::new(Field::new_list_field(DataType::Int64, true));
    let offsets = OffsetBuffer::from_lengths(lines().map(Vec::len));
    let lines = ListArray::try_new(field, offsets, counts, None)?;
    lists(rows, Arc::new(lines), |scores| lines_of(scores).len())
}

/// The lines of the confusion matrix, if there is one.
fn lines_of(scores: &ClassScores) -> &[Vec<u64>] {
    scores
        .confusion
        .as_ref()
        .map_or(&[], |confusion| &confusion.counts)
}

fn means(rows: Rows<'_>, get: fn(&ClassScores) -> [f64; 3]) -> Result<ArrayRef> {
    let column = |place: usize| -> ArrayRef {
        let numbers = classes(rows).map(|scores| Some(get(scores?)[place]));
        Arc::new(Float64Array::from_iter(numbers))
    };
    let mut nulls = NullBufferBuilder::new(rows.len());
    classes(rows).for_each(|scores| nulls.append(scores.is_some()));
    let columns = (0..3).map(column).collect();
    Ok(Arc::new(StructArray::try_new(
        MEANS.clone(),
        columns,
        nulls.finish(),
    )?))
}

fn each_class(rows: Rows<'_>) -> Result<ArrayRef> {
    let all: Vec<&OfClass> = classes(rows)
        .flatten()
        .flat_map(|scores| &scores.classes)
        .collect();
    let number = |get: fn(&OfClass) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(all.iter().map(|class| get(class))))
    };
    let names = all.iter().map(|class| class.name.as_str());
    let support = all.iter().map(|class| class.score.support as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        number(|class| Some(class.score.precision)),
        number(|class| Some(class.precision?.low)),
        number(|class| Some(class.precision?.high)),
        number(|class| Some(class.score.recall)),
        number(|class| Some(class.recall?.low)),
        number(|class| Some(class.recall?.high)),
        number(|class| Some(class.score.f1)),
        Arc::new(Int64Array::from_iter_values(support)),
        number(|class| class.roc_auc),
    ];
    let items = StructArray::try_new(CLASS.clone(), columns, None)?;
    lists(rows, Arc::new(items), |scores| scores.classes.len())
}

fn top_k(rows: Rows<'_>, get: fn(&Interval) -> f64) -> Result<ArrayRef> {
    let shares = classes(rows)
        .flatten()
        .flat_map(|scores| &scores.top_k)
        .map(get);
    let items = Arc::new(Float64Array::from_iter_values(shares));
    lists(rows, items, |scores| scores.top_k.len())
}

fn calibration(rows: Rows<'_>) -> Result<ArrayRef> {
    let bins = || {
        classes(rows)
            .flatten()
            .flat_map(|scores| &scores.calibration)
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            bins().map(|bin| bin.rows as i64),
        )),
        Arc::new(Float64Array::from_iter_values(
            bins().map(|bin| bin.confidence),
        )),
        Arc::new(Float64Array::from_iter_values(
            bins().map(|bin| bin.accuracy),
        )),
    ];
    let items = StructArray::try_new(BIN.clone(), columns, None)?;
    lists(rows, Arc::new(items), |scores| scores.calibration.len())
}
