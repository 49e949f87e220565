//! The training loop of one network.
//!
//! All memory is allocated before the first step, so that a step of a small network is not
//! mostly the allocator's work; a test counts the allocations.

mod report;
mod state;
mod validation;

use std::cmp::Ordering;
use std::ops::Range;
use std::time::Instant;

use crate::augment::Augmenter;
use crate::checkpoint::Checkpoint;
use crate::ema::Average;
use crate::layers::PassMode;
use crate::loss::{
    Cost, NumberLoss, NumberTargets, SetTargets, Targets, binary_cross_entropy,
    cross_entropy, focal, number_loss,
};
use crate::mixup::Mixup;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::random::Stream;
use crate::scaling::Scaling;
use crate::schedule::learning_rate;
use crate::weights::row_weights;
use crate::{Dataset, Error, Hyperparameters, LossKind, Metric, Split, onnx};

use validation::Validated;

pub use report::{Epoch, Observer, Outcome, Report};

/// A mean loss above this counts as infinite.
///
/// Logits that far apart are so large that two neighbouring 32-bit numbers differ by
/// more than 1, so the probabilities are noise. Without this limit a network whose units
/// all died in the explosion would go on with a huge but finite loss.
const MAX_LOSS: f64 = 16_777_216.0;

/// Trains one network and keeps the weights of its best epoch.
///
/// A loss that explodes is an [`Outcome`] of the report and no error.
///
/// # Errors
///
/// [`Error::Hyperparameter`] and its kin if the trial cannot be made of these
/// hyperparameters, [`Error::Dataset`] if the data or the split does not fit them, and
/// [`Error::Cancelled`] if the observer asked to stop.
pub fn train(
    dataset: &Dataset,
    split: &Split,
    hyperparameters: &Hyperparameters,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    train_with(
        dataset,
        split,
        hyperparameters,
        Options::default(),
        observer,
    )
}

/// How a trial runs. Threads and a checkpoint change no bit of what the trial finds.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The threads that work on the trial, the caller's included. A mini-batch is cut into
    /// slices of 32 images, so more threads than that have nothing to do.
    pub threads: usize,
    /// Where to go on from; see [`resume`].
    pub checkpoint: Option<&'a Checkpoint>,
    /// What chooses the best epoch, and with it ends a trial that has patience. Without it
    /// that is the accuracy, or the loss where numbers are predicted.
    pub metric: Option<Metric>,
    /// Whether no row validates, and the network is that of the last epoch.
    pub all_train: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            threads: 1,
            checkpoint: None,
            metric: None,
            all_train: false,
        }
    }
}

/// Trains one network as [`train`] does, on more threads or from a checkpoint.
///
/// ```
/// use atoll_nn::{
///     Dataset, Hyperparameters, ImageShape, Observer, Options, Split, train_with,
/// };
///
/// struct Silent;
/// impl Observer for Silent {}
///
/// # fn main() -> Result<(), atoll_nn::Error> {
/// let shape = ImageShape { height: 1, width: 2, channels: 1 };
/// let (pixels, labels) = ([[0, 255], [255, 0]].repeat(8).concat(), [0, 1].repeat(8));
/// let dataset = Dataset::new(shape, pixels, labels, vec!["right".into(), "left".into()])?;
/// let split = Split::by_fraction(dataset.len(), 0.25, 7)?;
/// let hyperparameters = Hyperparameters {
///     architecture: "dense(2)".to_owned(),
///     epochs: 2,
///     ..Hyperparameters::default()
/// };
/// let options = Options { threads: 2, ..Options::default() };
/// let report = train_with(&dataset, &split, &hyperparameters, options, &mut Silent)?;
/// assert_eq!(report.epochs, 2);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`train`], and [`Error::Checkpoint`] if the checkpoint is not one of this trial.
pub fn train_with(
    dataset: &Dataset,
    split: &Split,
    hyperparameters: &Hyperparameters,
    options: Options<'_>,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    let mut trial = TrainingLoop::new(dataset, split, hyperparameters, options)?;
    if let Some(checkpoint) = options.checkpoint {
        trial.restore(checkpoint)?;
    }
    let outcome = trial.run(observer)?;
    Ok(trial.into_report(outcome))
}

/// Goes on from a checkpoint, to the same report as if the trial had never stopped.
///
/// The hyperparameters may differ from those of the checkpoint in when to stop; see
/// [`Checkpoint::check`].
pub fn resume(
    checkpoint: &Checkpoint,
    dataset: &Dataset,
    split: &Split,
    hyperparameters: &Hyperparameters,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    let options = Options {
        checkpoint: Some(checkpoint),
        ..Options::default()
    };
    train_with(dataset, split, hyperparameters, options, observer)
}

/// A network in training, with everything that its steps need.
struct TrainingLoop<'a> {
    dataset: &'a Dataset,
    split: &'a Split,
    hyperparameters: &'a Hyperparameters,
    network: Network,
    optimizer: Optimizer,
    augmenter: Option<Augmenter>,
    mixup: Option<Mixup>,
    average: Option<Average>,
    /// The training rows in the order of the current epoch.
    order: Vec<u32>,
    shuffle: Stream,
    loss: LossKind,
    scaling: Scaling,
    metric: Option<Metric>,
    all_train: bool,
    /// The weight of each row of the dataset, if not all count alike.
    row_weights: Option<Vec<f32>>,
    /// Those of the current mini-batch.
    weights: Vec<f32>,
    /// The class indices of the current mini-batch.
    classes: Vec<u32>,
    /// The scaled numbers that the current mini-batch is to predict, or the labels of its
    /// rows as zeros and ones.
    targets: Vec<f32>,
    steps: usize,
    history: Vec<Epoch>,
    /// The best epoch so far, as an index into `history`.
    best: Option<usize>,
    /// The weights and statistics after that epoch.
    best_weights: Vec<f32>,
    /// The last loss of a mini-batch that was finite, which is what a trial that diverged
    /// reports.
    last_finite: f64,
    started: Instant,
}

impl<'a> TrainingLoop<'a> {
    fn new(
        dataset: &'a Dataset,
        split: &'a Split,
        hyperparameters: &'a Hyperparameters,
        options: Options<'_>,
    ) -> Result<Self, Error> {
        hyperparameters.validate()?;
        split.check(dataset, !options.all_train)?;
        let started = Instant::now();
        let seed = hyperparameters.seed;
        let plan = hyperparameters.plan_for(dataset)?;
        let loss = hyperparameters.loss_for(dataset)?;
        hyperparameters.check_metric(options.metric, loss, dataset)?;
        hyperparameters.check_interval(loss, split.validation.len())?;
        let mut optimizer = Optimizer::new(hyperparameters, plan.weights);
        let largest = split.train.len().max(split.validation.len());
        let rows = largest.min(hyperparameters.batch_size as usize);
        let network = Network::with_threads(plan, rows, seed, options.threads.max(1))?;
        optimizer.share(network.team());
        let augmentation = hyperparameters.augmentation.as_ref();
        let augmenter =
            augmentation.map(|spec| Augmenter::new(spec, dataset.shape, seed));
        let (mixup, decay) = (hyperparameters.mixup, hyperparameters.ema_decay);
        Ok(Self {
            dataset,
            split,
            hyperparameters,
            optimizer,
            augmenter: augmenter.transpose()?,
            mixup: (mixup > 0.0).then(|| Mixup::new(mixup, seed)),
            average: (decay > 0.0).then(|| Average::new(decay, &network)),
            order: split.train.clone(),
            shuffle: Stream::new(seed, "shuffle"),
            loss,
            scaling: Scaling::new(dataset, split, loss, hyperparameters),
            metric: options.metric,
            all_train: options.all_train,
            row_weights: row_weights(dataset, split, hyperparameters)?,
            weights: vec![1.0; rows],
            classes: vec![0; rows],
            targets: vec![0.0; rows * dataset.classes().max(1)],
            steps: 0,
            history: Vec::with_capacity(hyperparameters.epochs as usize),
            best: None,
            best_weights: vec![0.0; network.saved_len()],
            network,
            last_finite: f64::NAN,
            started,
        })
    }

    fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        while !self.is_over() {
            let epoch = self.history.len() as u32 + 1;
            let started = Instant::now();
            let learning_rate = learning_rate(self.hyperparameters, epoch - 1);
            let train_loss = self.train_epoch(learning_rate, observer)?;
            let Some(train_loss) = train_loss else {
                return Ok(Outcome::Diverged { epoch });
            };
            // From here to the end of the epoch the network has the averaged weights.
            if let Some(average) = &mut self.average {
                average.enter(&mut self.network);
            }
            let validated = self.validate(observer)?;
            if validated.as_ref().is_some_and(Validated::has_diverged) {
                return Ok(Outcome::Diverged { epoch });
            }
            let of =
                |value: fn(&Validated) -> f64| validated.as_ref().map_or(f64::NAN, value);
            self.end_epoch(Epoch {
                epoch,
                learning_rate,
                train_loss,
                validation_loss: of(|validated| validated.loss)
                    * self.scaling.units(self.loss),
                validation_accuracy: of(|validated| validated.accuracy),
                validation_score: validated.and_then(|validated| validated.score),
                seconds: started.elapsed().as_secs_f64(),
            });
            observer.on_epoch(&self.history[epoch as usize - 1]);
            if let Some(average) = &self.average {
                average.leave(&mut self.network);
            }
            if observer.wants_checkpoint(self.is_over()) {
                observer.on_checkpoint(self.checkpoint());
            }
        }
        Ok(Outcome::Succeeded)
    }

    /// Whether training ends here: all epochs were made, or early stopping ends it.
    fn is_over(&self) -> bool {
        let patience = self.hyperparameters.patience as usize;
        let since = self.best.map_or(0, |best| self.history.len() - 1 - best);
        self.history.len() >= self.hyperparameters.last_epoch() as usize
            || (patience > 0 && since >= patience)
    }

    /// Adds an epoch to the history, and keeps its weights if it is the best so far.
    fn end_epoch(&mut self, epoch: Epoch) {
        let best = self.best.map(|best| &self.history[best]);
        if self.all_train || best.is_none_or(|best| is_better(&epoch, best)) {
            self.best = Some(self.history.len());
            self.network.save(&mut self.best_weights);
        }
        self.history.push(epoch);
    }

    /// Trains on every mini-batch of an epoch. Returns the mean loss of the rows, or `None`
    /// as soon as a mini-batch has diverged.
    fn train_epoch(
        &mut self,
        learning_rate: f64,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>, Error> {
        self.shuffle.shuffle(&mut self.order);
        let batch_size = self.network.rows();
        let steps = self.order.len().div_ceil(batch_size);
        let total = steps.saturating_mul(self.hyperparameters.last_epoch() as usize);
        let mut loss = 0.0;
        for start in (0..self.order.len()).step_by(batch_size) {
            if observer.should_stop() {
                return Err(Error::Cancelled);
            }
            let rows = batch_size.min(self.order.len() - start);
            let cost = self.step(start..start + rows, learning_rate);
            let mean = cost.loss / rows as f64;
            if has_diverged(mean) {
                return Ok(None);
            }
            self.last_finite = mean * self.scaling.units(self.loss);
            loss += cost.loss;
            self.steps += 1;
            observer.on_step(self.steps, total);
        }
        Ok(Some(
            loss / self.order.len() as f64 * self.scaling.units(self.loss),
        ))
    }

    /// Makes one step on one mini-batch. A loss that has diverged changes no weight.
    fn step(&mut self, places: Range<usize>, learning_rate: f64) -> Cost {
        let gamma = self.focal_gamma();
        let mini_batch = &self.order[places];
        let rows = mini_batch.len();
        let images = self.network.images_mut(rows);
        match &mut self.augmenter {
            Some(augmenter) => augmenter.gather(self.dataset, mini_batch, images),
            None => self.dataset.gather(mini_batch, &self.scaling, images),
        }
        let values = images.len() / rows;
        let mixup = self.mixup.as_mut();
        let kept = mixup.map_or(1.0, |mixup| mixup.mix(images, values));
        self.network.forward(rows, PassMode::Training);
        let (outputs, slopes) = self.network.logits_and_slopes(rows);
        let weights = self.row_weights.as_ref().map(|all| {
            let weights = &mut self.weights[..rows];
            for (weight, row) in weights.iter_mut().zip(mini_batch) {
                *weight = all[*row as usize];
            }
            &*weights
        });
        let smoothing = self.hyperparameters.label_smoothing as f32;
        let cost = match &self.scaling.target {
            None if self.loss == LossKind::BinaryCrossEntropy => {
                let labels = self.dataset.classes();
                let sets = &mut self.targets[..rows * labels];
                self.dataset.gather_sets(mini_batch, sets);
                let targets = SetTargets {
                    sets,
                    labels,
                    smoothing,
                    kept,
                    weights,
                };
                binary_cross_entropy(outputs, targets, Some(slopes))
            }
            None => {
                let labels = &mut self.classes[..rows];
                self.dataset.gather_classes(mini_batch, labels);
                if let Some(gamma) = gamma {
                    focal(outputs, labels, gamma, weights, Some(slopes))
                } else {
                    let targets = Targets {
                        labels,
                        smoothing,
                        kept,
                        weights,
                    };
                    cross_entropy(outputs, targets, Some(slopes))
                }
            }
            Some(scale) => {
                let targets = &mut self.targets[..rows];
                self.dataset.gather_numbers(mini_batch, scale, targets);
                let targets = NumberTargets {
                    numbers: targets,
                    kept,
                    weights,
                };
                let loss = NumberLoss::of(self.loss, self.hyperparameters);
                number_loss(loss, outputs, targets, Some(slopes))
            }
        };
        if has_diverged(cost.loss / rows as f64) {
            return cost;
        }
        self.network.backward(rows);
        let (parameters, weights, gradients) = self.network.learn();
        self.optimizer
            .step(parameters, weights, gradients, learning_rate);
        if let Some(average) = &mut self.average {
            average.update(&self.network);
        }
        cost
    }

    /// How much less rows count that are nearly right, if the loss is focal.
    fn focal_gamma(&self) -> Option<f32> {
        (self.loss == LossKind::Focal)
            .then(|| self.hyperparameters.focal_gamma.unwrap_or(2.0) as f32)
    }

    fn into_report(mut self, outcome: Outcome) -> Report {
        let best = self.best.map(|best| self.history[best].clone());
        let onnx = best.is_some().then(|| {
            self.network.restore(&self.best_weights);
            let radius = self.interval_radius();
            onnx::export(
                &self.network,
                self.dataset,
                (self.loss, radius),
                &self.scaling,
                self.hyperparameters,
            )
        });
        let of_best = |value: fn(&Epoch) -> f64| best.as_ref().map_or(f64::NAN, value);
        Report {
            outcome,
            epochs: self.history.len() as u32,
            best_epoch: best.as_ref().map_or(0, |best| best.epoch),
            train_loss: match outcome {
                Outcome::Succeeded => of_best(|best| best.train_loss),
                Outcome::Diverged { .. } => self.last_finite,
            },
            validation_loss: of_best(|best| best.validation_loss),
            validation_accuracy: of_best(|best| best.validation_accuracy),
            validation_score: best.as_ref().and_then(|best| best.validation_score),
            history: self.history,
            network: onnx.is_some().then_some(self.network),
            onnx,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

fn has_diverged(mean_loss: f64) -> bool {
    mean_loss.is_nan() || mean_loss > MAX_LOSS
}

/// Accuracy is what users select on, unless they ask for a metric; the loss decides between
/// equals, and where there is neither.
fn is_better(challenger: &Epoch, best: &Epoch) -> bool {
    let score =
        |epoch: &Epoch| epoch.validation_score.unwrap_or(epoch.validation_accuracy);
    match score(challenger).partial_cmp(&score(best)) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Less) => false,
        Some(Ordering::Equal) | None => challenger.validation_loss < best.validation_loss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageShape, allocations};

    fn stripes(rows: usize) -> Dataset {
        let shape = ImageShape {
            height: 8,
            width: 8,
            channels: 1,
        };
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 2).collect();
        let pixel = |row: usize, n: usize| {
            let place = if row.is_multiple_of(2) { n / 8 } else { n % 8 };
            if place % 2 == row / 2 % 2 {
                200
            } else {
                (row % 50) as u8
            }
        };
        let pixels = (0..rows)
            .flat_map(|row| (0..64).map(move |n| pixel(row, n)))
            .collect();
        let names = vec!["rows".to_owned(), "columns".to_owned()];
        Dataset::new(shape, pixels, labels, names).unwrap()
    }

    struct CountAllocations {
        after_first: u64,
        after_last: u64,
        steps: usize,
    }

    impl Observer for CountAllocations {
        fn on_step(&mut self, done: usize, _: usize) {
            if done == 1 {
                self.after_first = allocations::count();
            }
            self.after_last = allocations::count();
            self.steps = done;
        }
    }

    #[test]
    fn the_training_loop_does_not_allocate() {
        for (optimizer, clip_norm) in [("sgd", None), ("adamw", Some(1.0))] {
            let json = serde_json::json!({
                "architecture": "conv(3, 3), batch_norm, relu, max_pool(2), conv(3, 1), \
                                 gelu, avg_pool(2), dropout(0.5), dense(8), tanh, dense(2)",
                "optimizer": optimizer,
                "clip_norm": clip_norm,
                "augmentation": {"shift": 1, "rotate": 5, "elastic": 0.5, "cutout": 2},
                "mixup": 0.2,
                "label_smoothing": 0.1,
                "ema_decay": 0.9,
                "batch_size": 7,
                "epochs": 3,
            });
            let hyperparameters =
                Hyperparameters::from_json(json.as_object().unwrap()).unwrap();
            let dataset = stripes(40);
            let split = Split::by_fraction(40, 0.25, 1).unwrap();
            let mut observer = CountAllocations {
                after_first: 0,
                after_last: 0,
                steps: 0,
            };
            train(&dataset, &split, &hyperparameters, &mut observer).unwrap();
            assert_eq!(observer.steps, 15);
            assert!(observer.after_first > 0, "the allocator does not count");
            assert_eq!(observer.after_last, observer.after_first);
        }
    }

    #[test]
    fn accuracy_decides_and_then_the_loss() {
        let epoch = |validation_accuracy, validation_loss| Epoch {
            epoch: 1,
            learning_rate: 0.1,
            train_loss: 1.0,
            validation_loss,
            validation_accuracy,
            validation_score: None,
            seconds: 0.0,
        };
        assert!(is_better(&epoch(0.9, 2.0), &epoch(0.8, 1.0)));
        assert!(is_better(&epoch(0.9, 1.0), &epoch(0.9, 2.0)));
        assert!(!is_better(&epoch(0.9, 1.0), &epoch(0.9, 1.0)));
        assert!(is_better(&epoch(f64::NAN, 1.0), &epoch(f64::NAN, 2.0)));
        assert!(!is_better(&epoch(f64::NAN, 2.0), &epoch(f64::NAN, 1.0)));
        let scored = |accuracy, score| Epoch {
            validation_score: Some(score),
            ..epoch(accuracy, 1.0)
        };
        assert!(is_better(&scored(0.5, 0.7), &scored(0.9, 0.6)));
        assert!(!is_better(&scored(0.9, 0.6), &scored(0.5, 0.7)));
    }
}
