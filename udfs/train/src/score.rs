//! How well a model labels images or rows of numbers.

use std::sync::Arc;

use atoll_imaging::Preprocess;
use atoll_onnx::{Data, ElementType, LoadedModel, Output, OutputKind, scores, top_k};
use atoll_udf_common::{CallContext, RowError, map_rows};
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, internal_err,
};

use crate::dataset::{Features, Labels, Table};

/// The output of a network that predicts a number, as `train` names it.
const PREDICTION: &str = "prediction";

/// Rows in one piece of work on the compute pool.
const PIECE: usize = 256;

/// The quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// The smallest probability that a loss counts, so that one wrong answer of a model
/// that rounds to zero does not make the mean infinite (as scikit-learn clips).
const SMALLEST: f64 = 1e-15;

/// How well a model labelled rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Score {
    /// Rows.
    pub(crate) rows: usize,
    /// Whether labels are numbers that were predicted: then there is a loss only.
    pub(crate) is_regression: bool,
    /// Rows whose most probable class is their label.
    pub(crate) correct: usize,
    /// The loss of each row, in any order: cross-entropy, or squared error.
    pub(crate) losses: Vec<f64>,
    /// Images by label (line) and by most probable class (column).
    pub(crate) confusion: Vec<Vec<i64>>,
}

impl Score {
    /// The share of rows labelled right, if they have classes.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        (!self.is_regression).then(|| self.correct as f64 / self.rows as f64)
    }

    /// Where that share is likely to be: 95 % Wilson interval.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        (!self.is_regression).then(|| wilson(self.correct, self.rows))
    }

    /// The mean loss.
    pub(crate) fn mean_loss(&self) -> Option<f64> {
        // Summed in the order of their sizes, so that the order of rows, which a scan
        // may change, changes no bit of the mean.
        let mut losses = self.losses.clone();
        losses.sort_unstable_by(f64::total_cmp);
        let mean = losses.iter().sum::<f64>() / self.rows as f64;
        mean.is_finite().then_some(mean)
    }

    fn add(&mut self, label: usize, probabilities: &[f32], loss: f64) {
        let classes = probabilities.len();
        if self.confusion.is_empty() {
            self.confusion = vec![vec![0; classes]; classes];
        }
        self.rows += 1;
        self.losses.push(loss);
        // A row of nothing but NaN has no answer: it is wrong, and in no column.
        let best = top_k(probabilities, 1).first().map(|(class, _)| *class);
        let Some(best) = best.filter(|class| !probabilities[*class].is_nan()) else {
            return;
        };
        self.correct += usize::from(best == label);
        self.confusion[label][best] += 1;
    }

    fn add_number(&mut self, label: f64, prediction: f64) {
        self.is_regression = true;
        self.rows += 1;
        self.losses.push((prediction - label).powi(2));
    }

    fn merge(mut self, other: Score) -> Score {
        if self.rows == 0 {
            return other;
        }
        self.rows += other.rows;
        self.correct += other.correct;
        self.losses.extend(other.losses);
        for (line, more) in self.confusion.iter_mut().zip(other.confusion) {
            for (count, more) in line.iter_mut().zip(more) {
                *count += more;
            }
        }
        self
    }
}

/// The 95 % Wilson score interval of a share: unlike the normal approximation it stays
/// between 0 and 1 and is right for shares near them.
pub(crate) fn wilson(correct: usize, rows: usize) -> (f64, f64) {
    let (n, p) = (rows as f64, correct as f64 / rows as f64);
    let denominator = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / denominator;
    let half = Z / denominator * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

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
}

/// The true answer of each row.
enum Answers {
    /// The index that the model has for the class.
    Classes(Vec<usize>),
    /// The number to predict.
    Numbers(Vec<f64>),
}

/// Scores a model on all rows of a dataset, spread over the compute pool.
pub(crate) async fn score(
    model: LoadedModel,
    dataset: &str,
    table: Arc<Table>,
    context: &CallContext,
) -> Result<Score> {
    let input = input(&model, &table.features)?;
    if matches!(input, Input::Floats) && table.features.need_64_bits() {
        context.warnings.add(format!(
            "evaluate: model {} takes FLOAT, which does not tell some features of {dataset} \
             apart: they differ by too little for their size; train it on them again",
            model.name()
        ));
    }
    let pieces = table.len().div_ceil(PIECE);
    let progress = context.progress.rows("evaluate");
    progress.add_total(table.len() as u64);
    let scorer = Scorer {
        input,
        answers: answers(&model, dataset, &table.labels)?,
        model,
        table,
    };
    let scores = map_rows(pieces, context, move |piece, token| {
        let end = ((piece + 1) * PIECE).min(scorer.table.len());
        let mut score = Score::default();
        for row in piece * PIECE..end {
            if token.is_cancelled() {
                return exec_err!("evaluate: the statement was cancelled");
            }
            scorer.score_row(row, &mut score)?;
            progress.advance(1);
        }
        Ok(score)
    });
    let scores = scores.await.map_err(without_row)?;
    Ok(scores.into_iter().fold(Score::default(), Score::merge))
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
                    .map_err(|error| exec_datafusion_err!("evaluate: {error}"))?;
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
            (Input::Pixels(_) | Input::Floats | Input::Doubles(_), _) => {
                return internal_err!("the input was chosen for other features");
            }
        };
        outputs.map_err(failure)
    }

    fn score_row(&self, row: usize, score: &mut Score) -> Result<()> {
        let first = self.run(row)?.into_iter().next().map(|output| output.data);
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
                "evaluate: the first output of model {} is not a list of numbers",
                self.model.name()
            );
        };
        let label = match (&self.answers, output.as_slice()) {
            (Answers::Classes(labels), _) => labels[row],
            (Answers::Numbers(labels), [prediction]) => {
                score.add_number(labels[row], f64::from(*prediction));
                return Ok(());
            }
            (Answers::Numbers(_), outputs) => {
                return exec_err!(
                    "evaluate: the labels are numbers to predict, but model {} gives {} \
                     values a row and not one",
                    self.model.name(),
                    outputs.len()
                );
            }
        };
        let kind = self.kind();
        // One output is the probability of the second of two classes, or its logit.
        let names = if output.len() == 1 { 2 } else { output.len() };
        let probabilities = scores(output.clone(), kind, names).map_err(|problem| {
            exec_datafusion_err!(
                "evaluate: the first output of model {} {problem}",
                self.model.name()
            )
        })?;
        if label >= probabilities.len() {
            return exec_err!(
                "evaluate: the dataset has class {label}, but model {} has {} classes",
                self.model.name(),
                probabilities.len()
            );
        }
        // Where the model does not say, only probabilities pass through unchanged.
        let are_logits = match kind {
            _ if output.len() == 1 => false,
            OutputKind::Unknown | OutputKind::Layer => probabilities != output,
            kind => !kind.are_probabilities(),
        };
        let loss = match are_logits {
            true => cross_entropy(&output, label),
            false => -f64::from(probabilities[label]).max(SMALLEST).ln(),
        };
        score.add(label, &probabilities, loss);
        Ok(())
    }
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
                "evaluate: model {} does not say how images become its input; write \
                 the image.* keys into its metadata, as train does",
                model.name()
            ),
        },
    }
}

/// What the model should say of each row. A model with one output predicts a number, and
/// class indices are numbers too.
fn answers(model: &LoadedModel, dataset: &str, labels: &Labels) -> Result<Answers> {
    let predicts = model
        .signature()
        .outputs
        .first()
        .is_some_and(|port| port.name == PREDICTION);
    Ok(match labels {
        Labels::Numbers(numbers) => Answers::Numbers(numbers.clone()),
        Labels::Indices(indices) if predicts => {
            Answers::Numbers(indices.iter().map(|index| f64::from(*index)).collect())
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
        Labels::Numbers(_) => return Ok(vec![]),
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
        });
    match unknown {
        None => Ok(classes.into_iter().flatten().collect()),
        Some(unknown) => {
            let known: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
            exec_err!(
                "evaluate: label '{unknown}' of {dataset} is no class of model {}; its \
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

/// Translates an error of a model once, at the edge to SQL.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it by value")]
fn failure(error: atoll_onnx::Error) -> DataFusionError {
    exec_datafusion_err!("evaluate: {error} ({})", error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wilson(correct: usize, rows: usize, expected: (f64, f64)) {
        let (low, high) = wilson(correct, rows);
        // The paper prints four digits.
        let close = |a: f64, b: f64| (a - b).abs() <= 5e-5;
        assert!(
            close(low, expected.0) && close(high, expected.1),
            "{low} {high}"
        );
    }

    // R. G. Newcombe, Two-sided confidence intervals for the single proportion,
    // Statistics in Medicine 17 (1998), table I, method 3.
    #[test]
    fn the_interval_is_that_of_the_literature() {
        check_wilson(81, 263, (0.2553, 0.3662));
        check_wilson(15, 148, (0.0624, 0.1605));
        check_wilson(0, 20, (0.0, 0.1611));
        check_wilson(1, 29, (0.0061, 0.1718));
    }

    #[test]
    fn the_interval_stays_between_zero_and_one() {
        // For no success in n it is z^2 / (n + z^2), by hand: 3.8414588 / 13.8414588.
        check_wilson(0, 10, (0.0, 0.2775));
        check_wilson(10, 10, (0.7225, 1.0));
    }

    #[test]
    fn confusion_counts_labels_by_answers() {
        let mut score = Score::default();
        score.add(0, &[0.9, 0.1], 0.1);
        score.add(0, &[0.2, 0.8], 1.6);
        score.add(1, &[f32::NAN, f32::NAN], f64::NAN);
        assert_eq!((score.rows, score.correct), (3, 1));
        assert_eq!(score.confusion, [[1, 1], [0, 0]]);
        assert_eq!(score.mean_loss(), None);
    }

    #[test]
    fn numbers_have_a_loss_only() {
        let mut score = Score::default();
        score.add_number(1.0, 3.0);
        let mut second = Score::default();
        second.add_number(5.0, 5.0);
        let both = score.merge(second);
        assert_eq!((both.rows, both.mean_loss()), (2, Some(2.0)));
        assert_eq!((both.accuracy(), both.interval()), (None, None));
    }

    #[test]
    fn pieces_add_up() {
        let mut first = Score::default();
        first.add(0, &[0.9, 0.1], 0.5);
        let mut second = Score::default();
        second.add(1, &[0.9, 0.1], 1.5);
        let both = Score::default().merge(first).merge(second);
        assert_eq!(
            (both.rows, both.correct, both.mean_loss()),
            (2, 1, Some(1.0))
        );
        assert_eq!(both.confusion, [[1, 0], [1, 0]]);
    }

    // torch.nn.functional.cross_entropy(torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([2]))
    #[test]
    fn cross_entropy_is_that_of_pytorch() {
        assert!((cross_entropy(&[2.0, -1.0, 0.5], 2) - 1.741_311).abs() < 1e-6);
        assert!((cross_entropy(&[1e38, 0.0], 0)).abs() < 1e-6);
    }
}
