//! What a network says of the validation split at the end of an epoch.

use super::{TrainingLoop, has_diverged};
use crate::hyperparameters::conformal_place;
use crate::layers::PassMode;
use crate::loss::{
    NumberLoss, NumberTargets, SetTargets, Targets, binary_cross_entropy, cross_entropy,
    focal, number_loss,
};
use crate::scaling::Scale;
use crate::scores::{ClassAnswers, Metric, NumberAnswers, SetAnswers, Task};
use crate::{Dataset, Error, Hyperparameters, Labels, LossKind, Observer};

/// What was found. Each row counts once, whatever its weight.
pub(super) struct Validated {
    /// The mean loss, of standardised numbers where numbers are predicted.
    pub(super) loss: f64,
    /// The share of rows that were classified right; NaN where numbers are predicted.
    pub(super) accuracy: f64,
    /// The metric, if one was asked for.
    pub(super) score: Option<f64>,
}

impl Validated {
    pub(super) fn has_diverged(&self) -> bool {
        has_diverged(self.loss)
    }
}

impl TrainingLoop<'_> {
    /// Runs the validation split through the network; none if no row validates.
    pub(super) fn validate(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<Option<Validated>, Error> {
        if self.all_train {
            return Ok(None);
        }
        let gamma = self.focal_gamma();
        let (mut loss, mut correct) = (0.0, 0);
        let mut outputs = Vec::new();
        for mini_batch in self.split.validation.chunks(self.network.rows()) {
            if observer.should_stop() {
                return Err(Error::Cancelled);
            }
            let rows = mini_batch.len();
            let inputs = self.network.images_mut(rows);
            self.dataset.gather(mini_batch, &self.scaling, inputs);
            let found = self.network.forward(rows, PassMode::Inference);
            if self.metric.is_some() {
                outputs.extend_from_slice(found);
            }
            let cost = match &self.scaling.target {
                None if self.loss == LossKind::BinaryCrossEntropy => {
                    let labels = self.dataset.classes();
                    let sets = &mut self.targets[..rows * labels];
                    self.dataset.gather_sets(mini_batch, sets);
                    let targets = SetTargets {
                        sets,
                        labels,
                        smoothing: 0.0,
                        kept: 1.0,
                        weights: None,
                    };
                    binary_cross_entropy(found, targets, None)
                }
                None => {
                    let labels = &mut self.classes[..rows];
                    self.dataset.gather_classes(mini_batch, labels);
                    match gamma {
                        Some(gamma) => focal(found, labels, gamma, None, None),
                        None => cross_entropy(found, Targets::plain(labels), None),
                    }
                }
                Some(scale) => {
                    let targets = &mut self.targets[..rows];
                    self.dataset.gather_numbers(mini_batch, scale, targets);
                    let loss = NumberLoss::of(self.loss, self.hyperparameters);
                    number_loss(loss, found, NumberTargets::plain(targets), None)
                }
            };
            loss += cost.loss;
            correct += cost.correct;
        }
        let rows = self.split.validation.len() as f64;
        Ok(Some(Validated {
            loss: loss / rows,
            accuracy: match self.loss.is_of_numbers() {
                true => f64::NAN,
                false => f64::from(correct) / rows,
            },
            score: self.metric.and_then(|metric| self.score(metric, &outputs)),
        }))
    }

    /// How far from a prediction the ends of the interval are, if one was asked for.
    pub(super) fn interval_radius(&mut self) -> Option<f64> {
        let share = self.hyperparameters.interval?;
        let scale = self.scaling.target.clone()?;
        let rows = self.split.validation.clone();
        let mut errors = Vec::with_capacity(rows.len());
        for mini_batch in rows.chunks(self.network.rows()) {
            let inputs = self.network.images_mut(mini_batch.len());
            self.dataset.gather(mini_batch, &self.scaling, inputs);
            let outputs = self.network.forward(mini_batch.len(), PassMode::Inference);
            errors.extend(outputs.iter().zip(mini_batch).map(|(output, row)| {
                (own_units(*output, &scale, self.loss) - number(self.dataset, *row)).abs()
            }));
        }
        errors.sort_unstable_by(f64::total_cmp);
        conformal_place(share, errors.len()).map(|place| errors[place])
    }

    /// The metric of the outputs for the validation split; none where it is not defined,
    /// such as an area under the curve of one class.
    fn score(&self, metric: Metric, outputs: &[f32]) -> Option<f64> {
        let rows = &self.split.validation;
        let score = match &self.scaling.target {
            Some(scale) => metric.of_numbers(&NumberAnswers {
                labels: rows.iter().map(|row| number(self.dataset, *row)).collect(),
                predictions: outputs
                    .iter()
                    .map(|output| own_units(*output, scale, self.loss))
                    .collect(),
            }),
            None if self.loss == LossKind::BinaryCrossEntropy => {
                let logistic = |logit: &f32| 1.0 / (1.0 + (-f64::from(*logit)).exp());
                metric.of_sets(&SetAnswers {
                    classes: self.dataset.classes(),
                    labels: rows.iter().map(|row| set(self.dataset, *row)).collect(),
                    probabilities: outputs.iter().map(logistic).collect(),
                })
            }
            None => {
                let indices = self.dataset.labels.indices();
                let classes = self.dataset.classes();
                metric.of_classes(&ClassAnswers {
                    classes,
                    labels: rows.iter().map(|row| indices[*row as usize]).collect(),
                    probabilities: outputs
                        .chunks_exact(classes)
                        .flat_map(softmax)
                        .collect(),
                })
            }
        };
        score.filter(|score| !score.is_nan())
    }
}

/// Probabilities of logits, with 64 bits.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut all: Vec<f64> = logits
        .iter()
        .map(|logit| (f64::from(*logit) - largest).exp())
        .collect();
    let total: f64 = all.iter().sum();
    all.iter_mut().for_each(|p| *p /= total);
    all
}

/// The labels of a row.
fn set(dataset: &Dataset, row: u32) -> Vec<u32> {
    match &dataset.labels {
        Labels::Sets { sets, .. } => sets[row as usize].clone(),
        Labels::Classes { .. } | Labels::Numbers(_) => vec![],
    }
}

/// The number that a row is to be given.
fn number(dataset: &Dataset, row: u32) -> f64 {
    match &dataset.labels {
        Labels::Classes { indices, .. } => f64::from(indices[row as usize]),
        Labels::Numbers(numbers) => numbers[row as usize],
        Labels::Sets { .. } => f64::NAN,
    }
}

/// A prediction in the units of the data.
fn own_units(output: f32, scale: &Scale, loss: LossKind) -> f64 {
    match loss {
        LossKind::Poisson => f64::from(output).exp() / scale.inverse,
        _ => f64::from(output) / scale.inverse + scale.mean,
    }
}

impl Hyperparameters {
    /// Refuses a metric and class weights that do not go with the labels.
    pub(super) fn check_metric(
        &self,
        metric: Option<Metric>,
        loss: LossKind,
        dataset: &Dataset,
    ) -> Result<(), Error> {
        let refuse = |name: &str, expected: &str, actual: String| {
            Err(Error::Hyperparameter {
                name: name.to_owned(),
                expected: expected.to_owned(),
                actual,
            })
        };
        let predicts = loss.is_of_numbers();
        if predicts && let Some(weights) = &self.class_weights {
            let expected = "left out where numbers are predicted, which have no classes";
            return refuse("class_weights", expected, weights.to_string());
        }
        let has_sets = loss == LossKind::BinaryCrossEntropy;
        if has_sets && let Some(weights) = &self.class_weights {
            let expected = "left out for labels that are lists; weigh rows with a column";
            return refuse("class_weights", expected, weights.to_string());
        }
        let Some(metric) = metric else {
            return Ok(());
        };
        if has_sets && !metric.is_for_sets() {
            let expected = "one for lists of labels, such as f1_macro";
            return refuse("metric", expected, metric.name().to_owned());
        }
        let expected = match (metric.task(), predicts) {
            (Task::Numbers, false) => "one for classes, such as f1_macro",
            (Task::Classes | Task::TwoClasses, true) => {
                "one for predicted numbers, such as r2"
            }
            (Task::TwoClasses, false) if dataset.classes() != 2 => {
                "one for more than two classes, such as f1_macro or roc_auc_ovr"
            }
            _ => return Ok(()),
        };
        refuse("metric", expected, metric.name().to_owned())
    }
}
