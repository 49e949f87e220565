//! How well a model labels images or rows of numbers.

mod found;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use found::{ClassScores, Interval, OfClass, Score};

use atoll_imaging::Preprocess;
use atoll_nn::needs_64_bits;
use atoll_onnx::{Data, ElementType, LoadedModel, Output, OutputKind, scores};
use atoll_udf_common::{CallContext, RowError, map_rows};
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, internal_err,
};

use crate::dataset::{Features, Holds, Labels, Table, TableColumn};

/// The smallest probability that a loss counts, so that one wrong answer of a model
/// that rounds to zero does not make the mean infinite.
const SMALLEST: f64 = 1e-15;

/// Rows in one piece of work on the compute pool.
const PIECE: usize = 256;

/// What turns rows into answers of one model.
struct Scorer {
    model: LoadedModel,
    input: Input,
    table: Arc<Table>,
    answers: Answers,
}

/// How a row becomes the input of the model.
enum Input {
    /// An image, preprocessed as the model says.
    Pixels(Preprocess),
    /// Numbers as FLOAT.
    Floats,
    /// Numbers as DOUBLE, for the input of this name.
    Doubles(String),
    /// Columns by their names: which column of the table each input of the model is.
    Columns(Vec<(String, usize)>),
    /// Columns of numbers in the order of the table, as the list that the input of this name
    /// takes: the model has no names for them.
    Spread(String),
}

impl Input {
    /// Whether the model takes FLOAT where that does not tell numbers apart.
    fn loses_bits(&self, model: &LoadedModel, features: &Features) -> bool {
        let takes_floats = |name: &str| {
            model
                .input(name)
                .is_ok_and(|port| port.element == ElementType::Float32)
        };
        let are_close = |column: &TableColumn| {
            let numbers = column.numbers.iter().copied();
            needs_64_bits(numbers.filter(|number| !number.is_nan()))
        };
        match (self, features) {
            (Self::Floats, features) => features.need_64_bits(),
            (Self::Columns(inputs), Features::Columns(columns)) => inputs
                .iter()
                .any(|(name, place)| takes_floats(name) && are_close(&columns[*place])),
            (Self::Spread(name), Features::Columns(columns)) => {
                takes_floats(name) && columns.iter().any(are_close)
            }
            _ => false,
        }
    }
}

/// The true answer of each row.
enum Answers {
    /// The index that the model has for the class.
    Classes(Vec<usize>),
    /// The indices that the model has for the labels of the row, in their order.
    Sets(Vec<Vec<u32>>),
    /// The number to predict.
    Numbers(Vec<f64>),
}

/// Scores a model on all rows of a dataset, spread over the compute pool.
pub(crate) async fn score(
    function: &'static str,
    model: LoadedModel,
    dataset: &str,
    table: Arc<Table>,
    context: &CallContext,
) -> Result<Score> {
    let named = |error| of_function(function, error);
    let input = input(&model, &table.features).map_err(named)?;
    if input.loses_bits(&model, &table.features) {
        context.warnings.add(format!(
            "{function}: model {} takes FLOAT, which does not tell some features of {dataset} \
             apart: they differ by too little for their size; train it on them again",
            model.name()
        ));
    }
    let pieces = table.len().div_ceil(PIECE);
    let progress = context.progress.rows(function);
    progress.add_total(table.len() as u64);
    let names = model.labels().to_vec();
    let scorer = Scorer {
        input,
        answers: answers(&model, dataset, &table.labels).map_err(named)?,
        model,
        table,
    };
    let scores = map_rows(pieces, context, move |piece, token| {
        let end = ((piece + 1) * PIECE).min(scorer.table.len());
        let mut score = Score::default();
        let rows = piece * PIECE..end;
        let mut known = scorer.run_columns(rows.clone())?.into_iter();
        for row in rows {
            if token.is_cancelled() {
                return exec_err!("the statement was cancelled");
            }
            let outputs = match known.next() {
                Some(outputs) => outputs,
                None => scorer.run(row)?,
            };
            scorer.score_row(row, outputs, &mut score)?;
            progress.advance(1);
        }
        Ok(score)
    });
    let scores = scores.await.map_err(without_row).map_err(named)?;
    let mut score = scores.into_iter().fold(Score::default(), Score::merge);
    score.names = names;
    Ok(score)
}

impl Scorer {
    /// What the first output means.
    fn kind(&self) -> OutputKind {
        let kind = self.model.output_kind(0, None);
        kind.unwrap_or(OutputKind::Unknown)
    }

    /// What the model says of a row.
    fn run(&self, row: usize) -> Result<Vec<Output>> {
        let outputs = match (&self.input, &self.table.features) {
            (Input::Pixels(preprocess), Features::Pixels(images)) => {
                let mut input = vec![0.0; preprocess.output_len()];
                preprocess
                    .apply(images.image_ref(row), &mut input)
                    .map_err(|error| exec_datafusion_err!("{error}"))?;
                self.model.run_floats(&input)
            }
            (Input::Floats, Features::Numbers(numbers)) => {
                let numbers = numbers.row(row).iter();
                let numbers: Vec<f32> = numbers.map(|number| *number as f32).collect();
                self.model.run_floats(&numbers)
            }
            (Input::Doubles(name), Features::Numbers(numbers)) => {
                let numbers = Data::Doubles(numbers.row(row).to_vec());
                self.model.run(vec![(name.clone(), numbers)])
            }
            (Input::Spread(name), Features::Columns(columns)) => {
                let numbers = columns.iter().flat_map(|column| {
                    let width = column.width.unwrap_or(1);
                    column.numbers[row * width..][..width].iter().copied()
                });
                let numbers = Data::Doubles(numbers.collect());
                self.model.run(vec![(name.clone(), numbers)])
            }
            (
                Input::Pixels(_)
                | Input::Floats
                | Input::Doubles(_)
                | Input::Columns(_)
                | Input::Spread(_),
                _,
            ) => {
                return internal_err!("the input was chosen for other features");
            }
        };
        outputs.map_err(failure)
    }

    /// What the model says of rows of columns; nothing of other rows, which are run one by
    /// one.
    fn run_columns(&self, rows: Range<usize>) -> Result<Vec<Vec<Output>>> {
        let (Input::Columns(inputs), Features::Columns(columns)) =
            (&self.input, &self.table.features)
        else {
            return Ok(vec![]);
        };
        let inputs = inputs.iter().map(|(name, place)| {
            let column = &columns[*place];
            let width = column.width.unwrap_or(1);
            let data = match column.holds {
                Holds::Texts => {
                    let text =
                        |row| column.texts.get(row).unwrap_or_default().to_string();
                    Data::Strings(rows.clone().map(text).collect())
                }
                _ => {
                    let numbers = &column.numbers[rows.start * width..rows.end * width];
                    Data::Doubles(numbers.to_vec())
                }
            };
            (name.clone(), data)
        });
        self.model
            .run_rows(inputs.collect(), rows.len())
            .map_err(failure)
    }

    fn score_row(
        &self,
        row: usize,
        outputs: Vec<Output>,
        score: &mut Score,
    ) -> Result<()> {
        let first = outputs.into_iter().next().map(|output| output.data);
        if let (Answers::Numbers(labels), Some(Data::Doubles(outputs))) =
            (&self.answers, &first)
            && let [prediction] = outputs.as_slice()
        {
            score.add_number(labels[row], *prediction);
            return Ok(());
        }
        let output = first.and_then(Data::into_floats);
        let Some(output) = output.filter(|output| !output.is_empty()) else {
            return exec_err!(
                "the first output of model {} is not a list of numbers",
                self.model.name()
            );
        };
        let label = match (&self.answers, output.as_slice()) {
            (Answers::Sets(sets), _) => {
                return self.score_set(&sets[row], &output, score);
            }
            (Answers::Classes(labels), _) => labels[row],
            (Answers::Numbers(labels), [prediction]) => {
                score.add_number(labels[row], f64::from(*prediction));
                return Ok(());
            }
            (Answers::Numbers(_), outputs) => {
                return exec_err!(
                    "the labels are numbers to predict, but model {} gives {} \
                     values a row and not one",
                    self.model.name(),
                    outputs.len()
                );
            }
        };
        let probabilities = self.probabilities(&output)?;
        if label >= probabilities.len() {
            return exec_err!(
                "the dataset has class {label}, but model {} has {} classes",
                self.model.name(),
                probabilities.len()
            );
        }
        let loss = match self.are_logits(&output, &probabilities) {
            true => cross_entropy(&output, label),
            false => -probabilities[label].max(SMALLEST).ln(),
        };
        score.add(label, &probabilities, loss);
        Ok(())
    }

    /// Of labels that do not exclude each other a model has to give a probability each.
    fn score_set(&self, set: &[u32], output: &[f32], score: &mut Score) -> Result<()> {
        if !matches!(self.kind(), OutputKind::Sigmoid | OutputKind::Probabilities) {
            return exec_err!(
                "the labels are lists, but model {} gives one class a row: its \
                 output ends in no sigmoid",
                self.model.name()
            );
        }
        if let Some(label) = set.iter().find(|label| **label as usize >= output.len()) {
            return exec_err!(
                "the dataset has label {label}, but model {} has {} labels",
                self.model.name(),
                output.len()
            );
        }
        let probabilities: Vec<f64> = output.iter().map(|p| f64::from(*p)).collect();
        let losses = (0_u32..).zip(&probabilities).map(|(label, p)| {
            let of_truth = if set.contains(&label) { *p } else { 1.0 - p };
            -of_truth.max(SMALLEST).ln()
        });
        let loss = losses.sum::<f64>() / probabilities.len() as f64;
        score.add_set(set, &probabilities, loss);
        Ok(())
    }

    /// The probability of each class: of logits with 64 bits, so that no class of a sure
    /// model is rounded to zero.
    fn probabilities(&self, output: &[f32]) -> Result<Vec<f64>> {
        // One output is the probability of the second of two classes, or its logit.
        let names = if output.len() == 1 { 2 } else { output.len() };
        let found = scores(output.to_vec(), self.kind(), names).map_err(|problem| {
            exec_datafusion_err!(
                "the first output of model {} {problem}",
                self.model.name()
            )
        })?;
        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
        Ok(match self.are_logits(output, &found) {
            true => softmax(output),
            false => found,
        })
    }

    /// Whether an output holds logits. Where the model does not say, only probabilities
    /// pass through unchanged.
    fn are_logits(&self, output: &[f32], probabilities: &[f64]) -> bool {
        match self.kind() {
            _ if output.len() == 1 => false,
            OutputKind::Unknown | OutputKind::Layer => !output
                .iter()
                .map(|value| f64::from(*value))
                .eq(probabilities.iter().copied()),
            kind => !kind.are_probabilities(),
        }
    }
}

/// Probabilities of logits.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponentials = logits
        .iter()
        .map(|logit| (f64::from(*logit) - largest).exp());
    let exponentials: Vec<f64> = exponentials.collect();
    let total: f64 = exponentials.iter().sum();
    exponentials
        .into_iter()
        .map(|value| value / total)
        .collect()
}

/// The cross-entropy of one row of logits, in float64 and without an exponential that
/// could overflow.
fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponentials = logits
        .iter()
        .map(|logit| (f64::from(*logit) - largest).exp());
    largest + exponentials.sum::<f64>().ln() - f64::from(logits[label])
}

/// What the model takes of such rows.
fn input(model: &LoadedModel, features: &Features) -> Result<Input> {
    match features {
        Features::Columns(columns) => columns_of(model, columns),
        Features::Numbers(_) => {
            let port = model.single_input().map_err(failure)?;
            Ok(match port.element {
                ElementType::Float64 => Input::Doubles(port.name.clone()),
                _ => Input::Floats,
            })
        }
        Features::Pixels(_) => match model.preprocess().map_err(failure)? {
            Some(preprocess) => Ok(Input::Pixels(preprocess)),
            None => exec_err!(
                "model {} does not say how images become its input; write \
                 the image.* keys into its metadata, as train does",
                model.name()
            ),
        },
    }
}

/// The column that each input of the model is. The list that a model without names for columns
/// takes are all columns.
fn columns_of(model: &LoadedModel, columns: &[TableColumn]) -> Result<Input> {
    if let (None, [port]) = (model.columns(), model.signature().inputs.as_slice()) {
        for column in columns {
            let problem = match column.holds {
                Holds::Texts => "text",
                _ if column.numbers.iter().any(|number| number.is_nan()) => "NULL",
                _ => continue,
            };
            return exec_err!(
                "model {} takes a list of numbers, but column {} has {problem}; \
                 name the columns that it takes, {{features: ['...']}}",
                model.name(),
                column.name
            );
        }
        return Ok(Input::Spread(port.name.clone()));
    }
    let inputs = model.signature().inputs.iter().map(|port| {
        let place = columns.iter().position(|column| column.name == port.name);
        let Some(place) = place else {
            let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            return exec_err!(
                "model {} takes {}, which is no column of the dataset; its columns \
                 are {}",
                model.name(),
                port.name,
                names.join(", ")
            );
        };
        let column = &columns[place];
        let is_text = port.element == ElementType::String;
        if is_text != (column.holds == Holds::Texts) {
            return exec_err!(
                "model {} takes {} as {}, but the column holds {}",
                model.name(),
                port.name,
                if is_text { "text" } else { "numbers" },
                if is_text { "numbers" } else { "text" }
            );
        }
        if let (Some(width), Some(length)) = (column.width, port.row_len())
            && width != length
        {
            return exec_err!(
                "model {} takes {length} numbers as {}, but the column has {width}",
                model.name(),
                port.name
            );
        }
        Ok((port.name.clone(), place))
    });
    Ok(Input::Columns(inputs.collect::<Result<_>>()?))
}

/// What the model should say of each row. A model with one output predicts a number, and
/// class indices are numbers too.
fn answers(model: &LoadedModel, dataset: &str, labels: &Labels) -> Result<Answers> {
    let predicts = model.predicts_a_number();
    Ok(match labels {
        Labels::Numbers(numbers) => Answers::Numbers(numbers.clone()),
        Labels::Indices(indices) if predicts => {
            Answers::Numbers(indices.iter().map(|index| f64::from(*index)).collect())
        }
        Labels::Sets(sets) => {
            let all = Labels::Names(sets.concat());
            let mut classes = model_classes(model, dataset, &all)?.into_iter();
            let set = |set: &Vec<String>| {
                let set = classes.by_ref().take(set.len()).map(|class| class as u32);
                let mut set: Vec<u32> = set.collect();
                set.sort_unstable();
                set.dedup();
                set
            };
            Answers::Sets(sets.iter().map(set).collect())
        }
        _ => Answers::Classes(model_classes(model, dataset, labels)?),
    })
}

/// The model's class index of each row.
///
/// Classes are matched by name where the dataset has names, or where the model's names
/// are numbers: then label 7 is the class that is called 7, wherever the model has it.
fn model_classes(
    model: &LoadedModel,
    dataset: &str,
    labels: &Labels,
) -> Result<Vec<usize>> {
    let names = model.labels();
    let position = |name: &str| names.iter().position(|label| label == name);
    let numbers =
        !names.is_empty() && names.iter().all(|name| name.parse::<u32>().is_ok());
    let classes: Vec<Option<usize>> = match labels {
        // Not asked for: these have no classes.
        Labels::Numbers(_) | Labels::Sets(_) => return Ok(vec![]),
        Labels::Indices(labels) if !numbers => {
            return Ok(labels.iter().map(|label| *label as usize).collect());
        }
        Labels::Indices(labels) => labels
            .iter()
            .map(|label| position(&label.to_string()))
            .collect(),
        Labels::Names(labels) => labels.iter().map(|label| position(label)).collect(),
    };
    let unknown = classes
        .iter()
        .position(Option::is_none)
        .map(|row| match labels {
            Labels::Indices(labels) => labels[row].to_string(),
            Labels::Names(labels) => labels[row].clone(),
            Labels::Numbers(labels) => labels[row].to_string(),
            Labels::Sets(labels) => labels[row].join(", "),
        });
    match unknown {
        None => Ok(classes.into_iter().flatten().collect()),
        Some(unknown) => {
            let known: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
            exec_err!(
                "label '{unknown}' of {dataset} is no class of model {}; its \
                 classes are {}",
                model.name(),
                if known.is_empty() {
                    "not named".to_string()
                } else {
                    known.join(", ")
                }
            )
        }
    }
}

/// The error itself: a piece is no row of the statement, and must not be named as one.
fn without_row(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::External(error) => match error.downcast::<RowError>() {
            Ok(piece) => piece.error,
            Err(error) => DataFusionError::External(error),
        },
        other => other,
    }
}

/// The same error in the name of the function that scores.
fn of_function(function: &str, error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Execution(problem) => {
            DataFusionError::Execution(format!("{function}: {problem}"))
        }
        other => other,
    }
}

/// Translates an error of a model once, at the edge to SQL.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it by value")]
fn failure(error: atoll_onnx::Error) -> DataFusionError {
    exec_datafusion_err!("{error} ({})", error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    // torch.nn.functional.cross_entropy(torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([2]))
    #[test]
    fn cross_entropy_is_that_of_pytorch() {
        assert!((cross_entropy(&[2.0, -1.0, 0.5], 2) - 1.741_311).abs() < 1e-6);
        assert!((cross_entropy(&[1e38, 0.0], 0)).abs() < 1e-6);
    }

    #[test]
    fn a_sure_model_has_small_probabilities_left() {
        let found = softmax(&[200.0, 0.0]);
        assert_eq!(found[0], 1.0);
        assert!(found[1] > 0.0);
        assert!(softmax(&[f32::NAN, 0.0]).iter().all(|p| p.is_nan()));
    }
}
