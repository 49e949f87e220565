//! Tests the best network of a study and finds what it gets most wrong.

use atoll_report::{
    CalibrationBin, ClassScores, Evaluation, Study, Thumbnail, WorstImage,
};
use atoll_session::Session;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float32Type, Schema};

use super::columns::{
    column, each, field, integers, lists, literal, numbers, rows, schema, texts,
};
use super::gather::source;
use crate::errors::Failure;

/// Evaluates the best network of a study on a dataset.
pub(super) async fn test(
    session: &Session,
    study: &mut Study,
    dataset: &str,
    images: usize,
) -> Result<(), Failure> {
    let Some(model) = study.best().and_then(|best| best.model.clone()) else {
        return Ok(());
    };
    let source = source(session, dataset)?;
    let mut evaluation = evaluate(session, &model, dataset).await?;
    evaluation.classes = classes(session, &model).await?;
    let schema = schema(session, &source).await?;
    if images > 0 && !evaluation.confusion.is_empty() && has_images(&schema) {
        let worst = worst(
            session,
            &model,
            &source,
            &schema,
            (&evaluation.classes, images),
        );
        evaluation.worst = worst.await?;
    }
    study.test = Some(Box::new(evaluation));
    Ok(())
}

fn has_images(schema: &Schema) -> bool {
    schema.column_with_name("image").is_some()
        && schema.column_with_name("label").is_some()
}

async fn evaluate(
    session: &Session,
    model: &str,
    dataset: &str,
) -> Result<Evaluation, Failure> {
    let sql = format!(
        "SELECT evaluate({}, {}) AS e",
        literal(model),
        literal(dataset)
    );
    let batches = rows(session, &sql).await?;
    let result = batches.first().and_then(|batch| column(batch, "e"));
    let Some(result) = result.filter(|result| !result.is_empty()) else {
        return Err(Failure::new(format!("the test on {dataset} gave no row")));
    };
    let number = |name: &str| -> Result<Option<f64>, Failure> {
        let numbers = field(result, name).map(numbers).transpose()?;
        Ok(numbers.and_then(|numbers| numbers.first().copied().flatten()))
    };
    let accuracy = (
        number("accuracy")?,
        number("accuracy_low")?,
        number("accuracy_high")?,
    );
    Ok(Evaluation {
        dataset: dataset.to_string(),
        rows: number("rows")?.unwrap_or_default() as u64,
        accuracy: match accuracy {
            (Some(accuracy), Some(low), Some(high)) => Some((accuracy, low, high)),
            _ => None,
        },
        loss: number("loss")?,
        confusion: match field(result, "confusion") {
            Some(confusion) => matrix(confusion)?,
            None => Vec::new(),
        },
        scores: class_scores(result)?,
        calibration: calibration(result)?,
        calibration_error: number("calibration_error")?,
        ..Evaluation::default()
    })
}

/// The items of a list in the first row; none where it is NULL.
fn items(result: &ArrayRef, name: &str) -> Result<Option<ArrayRef>, Failure> {
    let lists = field(result, name).map(lists).transpose()?;
    let lists = lists.filter(|lists| !lists.is_empty() && lists.is_valid(0));
    Ok(lists.map(|lists| lists.value(0)))
}

/// The numbers of a field of each item; 0 where one is missing.
fn of_items(items: &ArrayRef, name: &str) -> Result<Vec<f64>, Failure> {
    let found = field(items, name).map(numbers).transpose()?;
    let found = found.unwrap_or_else(|| vec![None; items.len()]);
    Ok(found.into_iter().map(Option::unwrap_or_default).collect())
}

fn class_scores(result: &ArrayRef) -> Result<Vec<ClassScores>, Failure> {
    let Some(items) = items(result, "classes")? else {
        return Ok(Vec::new());
    };
    let names = field(&items, "class")
        .map(texts)
        .transpose()?
        .unwrap_or_default();
    let number = |name: &str| of_items(&items, name);
    let (precision, recall) = (number("precision")?, number("recall")?);
    let (f1, support) = (number("f1")?, number("support")?);
    let scores = names
        .into_iter()
        .enumerate()
        .map(|(class, name)| ClassScores {
            class: name.unwrap_or_else(|| class.to_string()),
            precision: precision[class],
            recall: recall[class],
            f1: f1[class],
            support: support[class] as u64,
        });
    Ok(scores.collect())
}

fn calibration(result: &ArrayRef) -> Result<Vec<CalibrationBin>, Failure> {
    let Some(items) = items(result, "calibration")? else {
        return Ok(Vec::new());
    };
    let number = |name: &str| of_items(&items, name);
    let (rows, confidence) = (number("rows")?, number("confidence")?);
    let accuracy = number("accuracy")?;
    let bin = |place: usize| CalibrationBin {
        rows: rows[place] as u64,
        confidence: confidence[place],
        accuracy: accuracy[place],
    };
    Ok((0..items.len()).map(bin).collect())
}

/// The list of lists in the first row.
fn matrix(array: &ArrayRef) -> Result<Vec<Vec<u64>>, Failure> {
    let lines = lists(array)?;
    if lines.is_empty() || lines.is_null(0) {
        return Ok(Vec::new());
    }
    let lines = lists(&lines.value(0))?;
    (0..lines.len())
        .map(|line| {
            let counts = integers(&lines.value(line))?.into_iter();
            Ok(counts
                .map(|n| u64::try_from(n.unwrap_or(0)).unwrap_or(0))
                .collect())
        })
        .collect()
}

/// The names of the classes, if the model has any.
async fn classes(session: &Session, model: &str) -> Result<Vec<String>, Failure> {
    let sql = format!("SELECT model_info({})['labels'] AS labels", literal(model));
    let batches = rows(session, &sql).await?;
    let labels = batches.first().and_then(|batch| column(batch, "labels"));
    let Some(labels) = labels.map(lists).transpose()? else {
        return Ok(Vec::new());
    };
    if labels.is_empty() || labels.is_null(0) {
        return Ok(Vec::new());
    }
    Ok(texts(&labels.value(0))?.into_iter().flatten().collect())
}

/// A row that the network got wrong, with its image as the table has it.
struct Wrong {
    loss: f64,
    probability: f64,
    label: usize,
    predicted: usize,
    image: ArrayRef,
}

async fn worst(
    session: &Session,
    model: &str,
    source: &str,
    schema: &Schema,
    (classes, images): (&[String], usize),
) -> Result<Vec<WorstImage>, Failure> {
    let only_test = match schema.column_with_name("split") {
        // As evaluate chooses: test rows, where there are any.
        Some(_) => format!(
            " WHERE split = 'test' OR NOT EXISTS \
             (SELECT 1 FROM {source} AS any_row WHERE any_row.split = 'test')"
        ),
        None => String::new(),
    };
    let sql = format!(
        "SELECT label, image, predict({}, image) AS outputs FROM {source}{only_test}",
        literal(model)
    );
    let mut worst: Vec<Wrong> = Vec::new();
    each(session, &sql, |batch| {
        collect(batch, classes, images, &mut worst)
    })
    .await?;
    let white = whitest(&worst);
    let name = |class: usize| {
        let name = classes.get(class).cloned();
        name.unwrap_or_else(|| class.to_string())
    };
    let images = worst.into_iter().map(|wrong| WorstImage {
        label: name(wrong.label),
        predicted: name(wrong.predicted),
        probability: wrong.probability,
        loss: wrong.loss,
        thumbnail: thumbnail(&wrong.image, white),
    });
    Ok(images.collect())
}

/// Keeps the rows with the highest losses, the highest first.
fn collect(
    batch: &RecordBatch,
    classes: &[String],
    most: usize,
    worst: &mut Vec<Wrong>,
) -> Result<(), Failure> {
    let (Some(labels), Some(images)) = (column(batch, "label"), column(batch, "image"))
    else {
        return Ok(());
    };
    let labels = indices(labels, classes)?;
    let Some(logits) = column(batch, "outputs").and_then(first_output) else {
        return Ok(());
    };
    let logits = lists(logits)?;
    for (row, label) in labels.into_iter().enumerate() {
        let Some(label) = label.filter(|_| !logits.is_null(row)) else {
            continue;
        };
        let scores: Vec<f64> =
            numbers(&logits.value(row))?.into_iter().flatten().collect();
        let Some((loss, predicted)) = cross_entropy(&scores, label) else {
            continue;
        };
        let full = worst.len() >= most;
        if predicted == label
            || full && worst.last().is_some_and(|last| last.loss >= loss)
        {
            continue;
        }
        let at = worst.partition_point(|other| other.loss >= loss);
        worst.insert(
            at,
            Wrong {
                loss,
                probability: (-loss).exp(),
                label,
                predicted,
                image: images.slice(row, 1),
            },
        );
        worst.truncate(most);
    }
    Ok(())
}

/// The classes of labels: integers are indices, texts are names.
fn indices(array: &ArrayRef, classes: &[String]) -> Result<Vec<Option<usize>>, Failure> {
    if array.data_type().is_integer() {
        let indices = integers(array)?.into_iter();
        return Ok(indices.map(|index| usize::try_from(index?).ok()).collect());
    }
    let names = texts(array)?.into_iter();
    let index = |name: String| classes.iter().position(|class| *class == name);
    Ok(names.map(|name| name.and_then(index)).collect())
}

/// The logits: the field of that name, or else the first list of numbers.
fn first_output(outputs: &ArrayRef) -> Option<&ArrayRef> {
    if let Some(logits) = field(outputs, "logits") {
        return Some(logits);
    }
    let outputs = outputs.as_struct_opt()?;
    let is_list = |array: &&ArrayRef| matches!(array.data_type(), DataType::List(_));
    outputs.columns().iter().find(is_list)
}

/// The loss of a row and the class that it is given.
fn cross_entropy(logits: &[f64], label: usize) -> Option<(f64, usize)> {
    let own = *logits.get(label)?;
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let loss = largest + sum.ln() - own;
    let predicted = logits.iter().position(|logit| *logit == largest)?;
    loss.is_finite().then_some((loss, predicted))
}

fn number_list(image: &ArrayRef) -> Option<Vec<f32>> {
    let list = lists(image).ok().filter(|list| !list.is_null(0))?;
    let values =
        datafusion::arrow::compute::cast(&list.value(0), &DataType::Float32).ok()?;
    Some(
        values
            .as_primitive::<Float32Type>()
            .iter()
            .flatten()
            .collect(),
    )
}

/// The largest number in images that are lists of numbers.
fn whitest(worst: &[Wrong]) -> f32 {
    let lists = worst.iter().filter_map(|wrong| number_list(&wrong.image));
    lists.flatten().fold(0.0, f32::max)
}

/// A small version of an image that is a file, an IMAGE struct or a list of numbers.
fn thumbnail(image: &ArrayRef, white: f32) -> Option<Thumbnail> {
    if image.is_null(0) {
        return None;
    }
    if let Some(pixels) = field(image, "data") {
        let size = |name: &str| {
            let sizes = integers(field(image, name)?).ok()?;
            u32::try_from(sizes.first().copied().flatten()?).ok()
        };
        let data = bytes(pixels)?;
        return Thumbnail::of_pixels(
            &data,
            (size("width")?, size("height")?),
            u8::try_from(size("channels")?).ok()?,
        );
    }
    match bytes(image) {
        Some(file) => Thumbnail::of_file(&file).ok(),
        None => Thumbnail::of_numbers(&number_list(image)?, white),
    }
}

/// The bytes of the first row of a column of bytes.
pub(super) fn bytes(array: &ArrayRef) -> Option<Vec<u8>> {
    use datafusion::arrow::compute::cast;
    let is_bytes = matches!(
        array.data_type(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    );
    if !is_bytes || array.is_empty() || array.is_null(0) {
        return None;
    }
    let array = cast(array, &DataType::LargeBinary).ok()?;
    Some(array.as_binary::<i64>().value(0).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_cross_entropy() {
        let (loss, predicted) = cross_entropy(&[0.0, 0.0], 1).unwrap();
        assert!((loss - 2_f64.ln()).abs() < 1e-12);
        assert_eq!(predicted, 0);
        // Large logits do not overflow.
        let (loss, predicted) = cross_entropy(&[1e4, 0.0], 1).unwrap();
        assert!((loss - 1e4).abs() < 1e-6 && predicted == 0, "{loss}");
        assert_eq!(cross_entropy(&[1.0], 5), None);
        assert_eq!(cross_entropy(&[f64::NAN, 1.0], 0), None);
    }
}
