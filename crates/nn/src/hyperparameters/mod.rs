//! What is chosen before training: the hyperparameters of a trial and their domains.

mod augmentation;
mod check;
mod class_weights;
mod places;
mod read;
mod table;

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::architecture::{Plan, Preset, parse};
use crate::columns::Layout;
use crate::error::nearest;
use crate::{Dataset, Error, ImageShape, Labels};

use read::Kept;
use table::{
    BELOW_ONE, Domain, FROM_ONE, FROM_ZERO, NOT_NEGATIVE, POSITIVE, default_text,
    hyperparameters, sentence,
};

pub use augmentation::Augmentation;
pub use class_weights::ClassWeights;
pub use table::Hyperparameter;

hyperparameters! {
    /// Everything that distinguishes one trial on a dataset from another.
    ///
    /// It serialises to JSON with its fields in this order, which is what identifies a
    /// trial. A hyperparameter that the chosen optimizer, schedule or preset does not use
    /// has no effect, so that a search may vary the optimizer and its keys together.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    Hyperparameters, "";

    /// A preset (`lenet`, `mlp`, `linear`, `resnet8`, `resnet20`, `mobilenet`, `vit_tiny`,
    /// `tabular_resnet`, or `auto`: `lenet` for images, `mlp` for rows and `linear` behind a
    /// backbone), or layers:
    /// `conv(32, 5), relu, max_pool(2), dense(10)`, where `residual(conv(32, 3), relu)` adds what
    /// its layers make to what they were given. `conv1d` and `max_pool1d` go along a series,
    /// which is a list of numbers. Layers may name `hidden` and `dropout`, as `dense(hidden)`
    /// and `dropout(dropout)` do, so that a search may vary them.
    architecture: String = "auto".to_owned(), Domain::Any;
    /// What the network learns to make small. For classes: their cross-entropy, or `focal`,
    /// in which rows that are nearly right count less. For lists of labels, of which a row
    /// may have several: the binary cross-entropy. For numbers, in their own units and
    /// without an accuracy: the mean squared error, the mean absolute error (`mae`), which
    /// outliers pull less, `huber` between the two, `quantile`, and `poisson` for counts.
    loss: Option<LossKind> = None, Domain::Any,
        ["'cross_entropy' for classes, 'binary_cross_entropy' for lists, 'mse' for numbers"];
    /// `focal`: how much less rows count that are nearly right; 0 is cross-entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    focal_gamma: Option<f64> = None, NOT_NEGATIVE, ["2"];
    /// `huber`: the error, in standard deviations of the numbers, up to which it is squared.
    #[serde(skip_serializing_if = "Option::is_none")]
    huber_delta: Option<f64> = None, POSITIVE, ["1"];
    /// `quantile`: the share of rows whose number is to be below the prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantile: Option<f64> = None, Domain::Number {
        words: "greater than 0 and less than 1",
        inside: |x| x > 0.0 && x < 1.0,
    }, ["0.5"];
    /// Numbers to predict: the share of new rows whose number is to lie between two more
    /// outputs of the model, `low` and `high`, which are as far from the prediction as that
    /// share of the validation rows was (split conformal prediction; J. Lei and others, 2018).
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<f64> = None, Domain::Number {
        words: "greater than 0 and less than 1",
        inside: |x| x > 0.0 && x < 1.0,
    }, ["no interval"];
    /// Preset `lenet`: filters of each convolution; `resnet8`, `resnet20` and `mobilenet`: those
    /// of each stage.
    filters: Option<Vec<u32>> = None, Domain::Any,
        ["[32, 64], for residual networks [16, 32, 64], for `mobilenet` [16, 24, 32, 64]"];
    /// Units of the hidden dense layer of a preset, or of layers that name it; `vit_tiny`: the
    /// width of its blocks, a multiple of 4.
    hidden: Option<u32> = None, FROM_ONE,
        ["512 for `lenet`, 128 for `mlp` and `tabular_resnet`, 64 for `vit_tiny`"];
    /// Size of a step, before schedule and warm-up.
    learning_rate: f64 = 0.01, POSITIVE;
    /// How gradients become steps; the formulas are PyTorch's.
    optimizer: OptimizerKind = OptimizerKind::Sgd, Domain::Any;
    /// `sgd`: how much of the last step is repeated.
    momentum: f64 = 0.9, BELOW_ONE;
    /// `sgd`: whether to look ahead along the momentum (Nesterov).
    nesterov: bool = false, Domain::Any;
    /// `adam`, `adamw`: decay of the mean of the gradients.
    beta1: f64 = 0.9, BELOW_ONE;
    /// `adam`, `adamw`: decay of the mean of their squares.
    beta2: f64 = 0.999, BELOW_ONE;
    /// `adam`, `adamw`, `rmsprop`: keeps the divisor from zero.
    epsilon: f64 = 1e-8, POSITIVE;
    /// `rmsprop`: decay of the mean of the squared gradients.
    rho: f64 = 0.99, BELOW_ONE;
    /// Pull of the weights towards zero; biases and batch norms are exempt. It is added to
    /// the gradient (L2) except by `adamw`, which shrinks the weights directly: in both
    /// cases as PyTorch does.
    weight_decay: f64 = 0.0, NOT_NEGATIVE;
    /// Rows per mini-batch; the last one of an epoch may be smaller.
    batch_size: u32 = 64, FROM_ONE;
    /// Passes over the training split.
    epochs: u32 = 10, Domain::Whole { least: 1, most: Some(MAX_EPOCHS) };
    /// The epoch after which training stops, though the schedule goes on to `epochs`; at
    /// most `epochs`.
    stop_after: Option<u32> = None, FROM_ONE, ["the last epoch"];
    /// How the learning rate changes from epoch to epoch: not (`constant`), by the factor
    /// `decay` after each epoch (`exponential`) or every `decay_epochs` epochs (`step`), or
    /// along half a cosine down to zero (`cosine`).
    schedule: Option<ScheduleKind> = None, Domain::Any,
        ["'exponential' where `decay` is given, else 'cosine'"];
    /// Factor of the learning rate: per epoch (`exponential`) or every `decay_epochs`
    /// (`step`).
    decay: Option<f64> = None, SHARE, ["0.95 for `exponential`, 0.1 for `step`"];
    /// `step`: epochs between two reductions.
    decay_epochs: u32 = 10, FROM_ONE;
    /// First epochs, in which the learning rate rises linearly.
    warmup_epochs: u32 = 0, FROM_ZERO;
    /// Probability of dropping a hidden unit, of a preset or of layers that name it.
    dropout: Option<f64> = None, BELOW_ONE, ["0.5 for `lenet`, 0 for `mlp`"];
    /// Share of a label that is spread over all classes while training.
    label_smoothing: f64 = 0.0, BELOW_ONE;
    /// How much the rows of each class count while training: `'balanced'`, so that all
    /// classes count alike, or a struct of class names with numbers, such as
    /// `{cat: 1, dog: 2.5}`. Classes that it leaves out have 1; only the ratios matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_weights: Option<ClassWeights> = None, Domain::Any, ["every row counts alike"];
    /// Tables of mixed columns: how many numbers the vector has that each text of a column
    /// becomes, which is learned. 0 makes an input for each text instead (one-hot).
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<u32> = None, Domain::Whole { least: 0, most: Some(1_024) },
        ["one-hot up to 32 texts, `round(1.6 * n^0.56)` numbers, at most 50, for `n` of more"];
    /// Mixes training images with each other, with shares from the beta distribution with
    /// this parameter (Zhang 2018); 0 mixes nothing.
    mixup: f64 = 0.0, UNIT;
    /// Random changes of training images, each time anew: a struct of the keys below.
    augmentation: Option<Augmentation> = None, Domain::Any;
    /// Decay of a moving average of the weights, such as 0.999, which is validated and
    /// exported in their place; the first steps decay faster, as in TensorFlow. 0 averages
    /// nothing.
    ema_decay: f64 = 0.0, BELOW_ONE;
    /// Largest global norm of the gradients; longer ones are shortened.
    clip_norm: Option<f64> = None, POSITIVE, ["no limit"];
    /// Epochs without a better one after which training stops; 0 never stops it.
    patience: u32 = 0, FROM_ZERO;
    /// Share of the rows held out to choose the best epoch, where the data does not come
    /// split.
    validation_fraction: f64 = 0.1, Domain::Number {
        words: "greater than 0 and less than 1",
        inside: |x| x > 0.0 && x < 1.0,
    };
    /// Source of all randomness of the trial.
    seed: u64 = 0, Domain::Any;
}

/// Greater than 0 and at most 1.
const SHARE: Domain = Domain::Number {
    words: "greater than 0 and at most 1",
    inside: |x| x > 0.0 && x <= 1.0,
};

/// From 0 to 1.
const UNIT: Domain = Domain::Number {
    words: "from 0 to 1",
    inside: |x| (0.0..=1.0).contains(&x),
};

/// What the network learns to make small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Cross-entropy of classes.
    CrossEntropy,
    /// Binary cross-entropy of each of several labels, as a mean over them.
    BinaryCrossEntropy,
    /// Cross-entropy in which classes that are nearly right count less (Lin 2017).
    Focal,
    /// Mean squared error of a number.
    Mse,
    /// Mean absolute error of a number.
    Mae,
    /// Squared near zero and absolute beyond (Huber 1964).
    Huber,
    /// The pinball loss, whose least is a quantile (Koenker 1978).
    Quantile,
    /// The negative log-likelihood of a count, whose logarithm the network gives.
    Poisson,
}

impl LossKind {
    /// What it is called in SQL.
    fn word(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::BinaryCrossEntropy => "binary_cross_entropy",
            Self::Focal => "focal",
            Self::Mse => "mse",
            Self::Mae => "mae",
            Self::Huber => "huber",
            Self::Quantile => "quantile",
            Self::Poisson => "poisson",
        }
    }

    /// Whether it is about numbers that are predicted, and not about classes.
    pub(crate) fn is_of_numbers(self) -> bool {
        match self {
            Self::CrossEntropy | Self::BinaryCrossEntropy | Self::Focal => false,
            Self::Mse | Self::Mae | Self::Huber | Self::Quantile | Self::Poisson => true,
        }
    }
}

/// How gradients become steps. The formulas are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam; weight decay is added to the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// RMSProp, not centered, without momentum.
    RmsProp,
}

/// How the learning rate changes from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// It does not.
    Constant,
    /// Multiplied by `decay` after each epoch.
    Exponential,
    /// Multiplied by `decay` every `decay_epochs` epochs.
    Step,
    /// Half a cosine, from the learning rate down to zero.
    Cosine,
}

/// More epochs than this are a slip.
const MAX_EPOCHS: u32 = 100_000;

impl Hyperparameters {
    /// Every hyperparameter, those of `augmentation` last.
    pub fn table() -> Vec<Hyperparameter> {
        let mut rows = Self::rows();
        rows.extend(Augmentation::table());
        rows
    }

    /// Reads and checks hyperparameters; what is absent or null has its default.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, Error> {
        let mut hyperparameters = Self::default();
        for (key, value) in map {
            Self::check_key(key)?;
            if !value.is_null() {
                hyperparameters.set(key, value)?;
            }
        }
        hyperparameters.validate()?;
        // The same trial has one name.
        let weights = hyperparameters.class_weights.take();
        hyperparameters.class_weights = weights.filter(|weights| !weights.is_even());
        let last = hyperparameters.epochs;
        hyperparameters.stop_after = hyperparameters.stop_after.filter(|n| *n < last);
        Ok(hyperparameters)
    }

    /// Checks what is known when only some of the keys are, and those in `open` will have
    /// values that are not known yet.
    pub fn check_known(known: &Map<String, Value>, open: &[&str]) -> Result<(), Error> {
        let mut known = known.clone();
        known.retain(|_, value| !value.is_null());
        // `stop_after` must not be beyond `epochs`; the other keys go with any value that
        // the missing ones may have.
        if open.contains(&"epochs") {
            known.insert("epochs".to_owned(), MAX_EPOCHS.into());
        }
        if open.contains(&"architecture") {
            known.insert("architecture".to_owned(), "lenet".into());
        }
        // A list of layers that names them must get them.
        let architecture = known.get("architecture").and_then(Value::as_str);
        let architecture = architecture.unwrap_or_default().to_owned();
        for (name, value) in [("hidden", Value::from(1)), ("dropout", Value::from(0.5))] {
            if open.contains(&name) && places::names(&architecture, name) {
                known.insert(name.to_owned(), value);
            }
        }
        Self::from_json(&known).map(|_| ())
    }

    /// Checks everything that can be checked without knowing the images.
    pub fn validate(&self) -> Result<(), Error> {
        self.check_domains()?;
        if let Some(augmentation) = &self.augmentation {
            augmentation.validate()?;
        }
        self.check_steps()?;
        self.check_preset()
    }

    /// Checks also that the architecture fits the images and classes.
    pub fn validate_for(&self, shape: ImageShape, classes: usize) -> Result<(), Error> {
        self.validate()?;
        if let Some(augmentation) = &self.augmentation {
            augmentation.validate_for(shape)?;
        }
        self.plan(shape, classes).map(|_| ())
    }

    /// About how many multiplications an epoch of training makes.
    ///
    /// It says how long a trial takes beside another one, before either runs, and is the
    /// same on every machine.
    pub fn cost(&self, dataset: &Dataset) -> Result<f64, Error> {
        let images = dataset.labels.len() as f64 * (1.0 - self.validation_fraction);
        Ok(self.plan_for(dataset)?.products() * images)
    }

    /// The last epoch that is made, unless `patience` ends it before.
    pub(crate) fn last_epoch(&self) -> u32 {
        self.stop_after.unwrap_or(self.epochs).min(self.epochs)
    }

    /// The shapes and weights of the network for images.
    pub(crate) fn plan(&self, shape: ImageShape, classes: usize) -> Result<Plan, Error> {
        let text = self.text(true, classes);
        Plan::new(&text, &parse(&text)?, shape, classes)
    }

    /// The shapes and weights of the network for a dataset.
    pub(crate) fn plan_for(&self, dataset: &Dataset) -> Result<Plan, Error> {
        let outputs = match self.loss_for(dataset)? {
            loss if loss.is_of_numbers() => 1,
            _ => dataset.classes(),
        };
        if dataset.has_images() {
            return self.plan(dataset.shape, outputs);
        }
        if self.augmentation.is_some() {
            let expected = "left out for features that are no images";
            return refuse("augmentation", expected, &"a struct");
        }
        let text = self.text(false, outputs);
        if !dataset.columns.is_empty() {
            let layout = Layout::new(&dataset.columns, self.embedding);
            let tables = layout.tables();
            if self.mixup > 0.0 && !tables.is_empty() {
                let expected = "0 for texts that become vectors, which cannot be mixed; or \
                                give {embedding: 0}";
                return refuse("mixup", expected, &self.mixup);
            }
            let inputs = (layout.width(), tables);
            return Plan::of_columns(&text, &parse(&text)?, inputs, outputs);
        }
        Plan::of_numbers(&text, &parse(&text)?, dataset.shape.values(), outputs)
    }

    /// The architecture with presets written out.
    fn text(&self, has_images: bool, outputs: usize) -> String {
        match Preset::named(&self.architecture) {
            Some(preset) => {
                let filters = self.filters.as_deref();
                let preset = preset.resolved(has_images);
                preset.text(filters, self.hidden, self.dropout, outputs)
            }
            None => self.layers(),
        }
    }

    /// A list of layers with `hidden` and `dropout` in the places that name them.
    fn layers(&self) -> String {
        let units = self.hidden.map(|units| units.to_string());
        let probability = self.dropout.map(|probability| probability.to_string());
        let mut layers = self.architecture.clone();
        for (name, value) in [("hidden", units), ("dropout", probability)] {
            if let Some(value) = value {
                layers = places::fill(&layers, name, &value);
            }
        }
        layers
    }

    /// The loss that these labels are trained with.
    pub(crate) fn loss_for(&self, dataset: &Dataset) -> Result<LossKind, Error> {
        let (default, classes) = match &dataset.labels {
            Labels::Classes { names, .. } => (LossKind::CrossEntropy, names.as_slice()),
            Labels::Numbers(_) => (LossKind::Mse, &[][..]),
            Labels::Sets { .. } => (LossKind::BinaryCrossEntropy, &[][..]),
        };
        let loss = self.loss.unwrap_or(default);
        match (loss, default) {
            (loss, default) if loss == default => return Ok(loss),
            (_, LossKind::BinaryCrossEntropy) => {
                let expected = "binary_cross_entropy for labels that are lists";
                return refuse("loss", expected, &loss.word());
            }
            (LossKind::BinaryCrossEntropy, _) => {
                let expected = "cross_entropy or mse for labels that are no lists";
                return refuse("loss", expected, &loss.word());
            }
            _ => {}
        }
        // Class indices are numbers too, names are not.
        let are_numbers = classes
            .iter()
            .enumerate()
            .all(|(n, name)| *name == n.to_string());
        match (loss.is_of_numbers(), default) {
            (true, LossKind::CrossEntropy) if !are_numbers => {
                refuse("loss", "cross_entropy for labels of text", &loss.word())
            }
            (false, LossKind::Mse) => {
                let expected = "mse for labels that are numbers and no class indices";
                refuse("loss", expected, &loss.word())
            }
            _ => self.check_loss(loss, dataset),
        }
    }

    /// How many validation rows an interval needs, so that one of them is its end.
    pub(crate) fn check_interval(
        &self,
        loss: LossKind,
        validation: usize,
    ) -> Result<(), Error> {
        let Some(share) = self.interval else {
            return Ok(());
        };
        if !loss.is_of_numbers() {
            let expected = "left out for classes, which have probabilities";
            return refuse("interval", expected, &share);
        }
        if conformal_place(share, validation).is_none() {
            let problem = format!(
                "an interval of {share} needs more rows that validate than {validation}; give \
                 a smaller interval or a larger validation_fraction, and no folds"
            );
            return Err(Error::Dataset { problem });
        }
        Ok(())
    }

    /// Checks what a loss asks of labels and of other hyperparameters.
    fn check_loss(&self, loss: LossKind, dataset: &Dataset) -> Result<LossKind, Error> {
        if loss == LossKind::Focal {
            for (name, value) in [
                ("mixup", self.mixup),
                ("label_smoothing", self.label_smoothing),
            ] {
                if value > 0.0 {
                    return refuse(name, "0 with the loss focal", &value);
                }
            }
        }
        if let (LossKind::Poisson, Labels::Numbers(numbers)) = (loss, &dataset.labels)
            && let Some(least) = numbers.iter().find(|number| **number < 0.0)
        {
            let problem = format!(
                "the loss poisson is for counts, but a label is {least}; choose another loss"
            );
            return Err(Error::Dataset { problem });
        }
        Ok(loss)
    }
}

/// Which of so many errors, the smallest first, covers this share of new rows.
pub(crate) fn conformal_place(share: f64, errors: usize) -> Option<usize> {
    let place = ((errors as f64 + 1.0) * share).ceil() as usize;
    (1..=errors).contains(&place).then(|| place - 1)
}

fn check(
    name: &str,
    value: f64,
    expected: &str,
    inside: impl Fn(f64) -> bool,
) -> Result<(), Error> {
    if value.is_finite() && inside(value) {
        return Ok(());
    }
    refuse(name, expected, &value)
}

fn refuse<T>(name: &str, expected: &str, actual: &dyn Display) -> Result<T, Error> {
    Err(Error::Hyperparameter {
        name: name.to_owned(),
        expected: expected.to_owned(),
        actual: actual.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Hyperparameters, Error> {
        Hyperparameters::from_json(&serde_json::from_str(json).unwrap())
    }

    #[track_caller]
    fn check_refused(json: &str, expected: &str) {
        let error = read(json).unwrap_err();
        assert!(error.is_infeasible());
        assert_eq!(error.to_string(), expected, "{json}");
    }

    #[test]
    fn a_cost_grows_with_the_images_and_with_the_network() {
        let shape = ImageShape {
            height: 4,
            width: 4,
            channels: 1,
        };
        let cost = |json: &str, images: usize| {
            let names = vec!["a".to_owned(), "b".to_owned()];
            let labels = (0..images).map(|n| n as u32 % 2).collect();
            let dataset = Dataset::new(shape, vec![0; 16 * images], labels, names);
            read(json).unwrap().cost(&dataset.unwrap()).unwrap()
        };
        // Of ten images nine train: 3 passes of 16 times 2 products, and of the 16 values
        // that are flattened.
        let one = cost(r#"{"architecture": "flatten, dense(2)"}"#, 10);
        assert!(
            (one - 9.0 * 3.0 * (16.0 * 2.0 + 16.0)).abs() < 1e-6,
            "{one}"
        );
        let twice = cost(r#"{"architecture": "flatten, dense(2)"}"#, 20);
        assert!((twice / one - 2.0).abs() < 1e-9);
        let wide = r#"{"architecture": "conv(8, 3), relu, flatten, dense(2)"}"#;
        assert!(cost(wide, 10) > 5.0 * one);
    }

    #[test]
    fn what_is_absent_or_null_has_its_default() {
        assert_eq!(read("{}").unwrap(), Hyperparameters::default());
        let nulls: Map<String, Value> = KEYS
            .iter()
            .map(|key| ((*key).to_owned(), Value::Null))
            .collect();
        let read = Hyperparameters::from_json(&nulls).unwrap();
        assert_eq!(read, Hyperparameters::default());
    }

    #[test]
    fn every_key_can_be_set() {
        let json = r#"{"architecture": "lenet", "loss": "mse", "filters": [4, 8], "hidden": 16,
            "learning_rate": 0.1, "optimizer": "adamw", "momentum": 0.5, "nesterov": true,
            "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-7, "rho": 0.5, "weight_decay": 5e-4,
            "batch_size": 32.0, "epochs": 3, "stop_after": 2, "schedule": "cosine", "decay": 0.9,
            "decay_epochs": 2, "warmup_epochs": 1, "dropout": 0.1, "clip_norm": 1,
            "label_smoothing": 0.1, "class_weights": {"cat": 2}, "embedding": 4, "focal_gamma": 1, "huber_delta": 2, "quantile": 0.9, "interval": 0.9, "mixup": 0.2,
            "augmentation": {"shift": 2},
            "ema_decay": 0.99, "patience": 2, "validation_fraction": 0.2, "seed": 18446744073709551615}"#;
        let map: Map<String, Value> = serde_json::from_str(json).unwrap();
        assert_eq!(map.len(), KEYS.len());
        let read = Hyperparameters::from_json(&map).unwrap();
        let default = serde_json::to_value(Hyperparameters::default()).unwrap();
        let set = serde_json::to_value(&read).unwrap();
        for key in KEYS.iter().filter(|key| **key != "architecture") {
            assert_ne!(set.get(*key), default.get(*key), "{key}");
        }
        assert_eq!(read.seed, u64::MAX);
    }

    #[test]
    fn json_has_the_documented_keys_in_their_order_and_reads_back() {
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1 + 0.2,
            optimizer: OptimizerKind::RmsProp,
            class_weights: Some(ClassWeights::Balanced),
            embedding: Some(8),
            focal_gamma: Some(1.0),
            huber_delta: Some(2.0),
            quantile: Some(0.9),
            interval: Some(0.9),
            ..Hyperparameters::default()
        };
        let json = serde_json::to_string(&hyperparameters).unwrap();
        let places: Vec<_> = KEYS
            .iter()
            .map(|key| json.find(&format!("\"{key}\":")).unwrap())
            .collect();
        assert!(places.is_sorted(), "{json}");
        assert_eq!(read(&json).unwrap(), hyperparameters);
    }

    #[test]
    fn the_table_says_what_is_read_and_checked() {
        let table = Hyperparameters::table();
        let row = |key: &str| table.iter().find(|row| row.key == key).unwrap();
        let rate = row("learning_rate");
        assert_eq!(rate.domain, "a number, greater than 0");
        assert_eq!(rate.default, "0.01");
        assert_eq!(
            rate.sentence,
            "Size of a step, before schedule and warm-up."
        );
        assert_eq!(row("epochs").domain, "an integer from 1 to 100000");
        assert_eq!(row("optimizer").default, "'sgd'");
        assert_eq!(row("epsilon").default, "1e-8");
        assert_eq!(
            row("schedule").domain,
            "one of constant, exponential, step, cosine"
        );
        let hidden =
            "512 for `lenet`, 128 for `mlp` and `tabular_resnet`, 64 for `vit_tiny`";
        assert_eq!(row("hidden").default, hidden);
        assert_eq!(row("augmentation").default, "none");
        assert_eq!(row("augmentation.elastic_sigma").default, "4");
        assert_eq!(table.len(), KEYS.len() + Augmentation::keys().len());
    }

    #[test]
    fn an_unknown_key_is_suggested_the_nearest() {
        let error = read(r#"{"learning_rat": 0.1}"#).unwrap_err().to_string();
        let expected =
            "unknown hyperparameter 'learning_rat', did you mean 'learning_rate'?";
        assert!(error.starts_with(expected), "{error}");
        assert!(
            error.contains("valid: architecture, loss, focal_gamma"),
            "{error}"
        );
    }

    #[test]
    fn values_outside_their_domain_are_refused() {
        let cases = [
            (
                r#"{"learning_rate": -1}"#,
                "learning_rate must be greater than 0, got -1",
            ),
            (
                r#"{"learning_rate": 0}"#,
                "learning_rate must be greater than 0, got 0",
            ),
            (
                r#"{"momentum": 1}"#,
                "momentum must be at least 0 and less than 1, got 1",
            ),
            (
                r#"{"batch_size": 0}"#,
                "batch_size must be at least 1, got 0",
            ),
            (r#"{"epochs": 0}"#, "epochs must be from 1 to 100000, got 0"),
            (r#"{"hidden": 0}"#, "hidden must be at least 1, got 0"),
            (
                r#"{"decay": 1.5}"#,
                "decay must be greater than 0 and at most 1, got 1.5",
            ),
            (
                r#"{"filters": []}"#,
                "filters must be a list of integers of at least 1, got []",
            ),
            (
                r#"{"label_smoothing": 1}"#,
                "label_smoothing must be at least 0 and less than 1, got 1",
            ),
            (r#"{"mixup": 2}"#, "mixup must be from 0 to 1, got 2"),
            (
                r#"{"class_weights": {"cat": -1}}"#,
                "class_weights must be 'balanced' or a struct of numbers of at least 0, one \
                 of them greater, such as {cat: 1, dog: 2.5}, got {\"cat\":-1}",
            ),
            (
                r#"{"class_weights": "even"}"#,
                "class_weights must be 'balanced' or a struct of numbers of at least 0, one \
                 of them greater, such as {cat: 1, dog: 2.5}, got \"even\"",
            ),
            (
                r#"{"ema_decay": -0.5}"#,
                "ema_decay must be at least 0 and less than 1, got -0.5",
            ),
            (
                r#"{"nesterov": true, "momentum": 0}"#,
                "momentum must be greater than 0 when nesterov is true, got 0",
            ),
        ];
        for (json, expected) in cases {
            check_refused(json, expected);
        }
        let infinite = Hyperparameters {
            learning_rate: f64::INFINITY,
            ..Hyperparameters::default()
        };
        assert!(infinite.validate().is_err());
    }

    #[test]
    fn a_preset_key_does_not_go_with_layers() {
        check_refused(
            r#"{"architecture": "dense(64), relu, dense(10)", "hidden": 32}"#,
            "hidden must be left out when architecture is a list of layers, because it is a \
             key of the presets; write dense(hidden) into the layers, got 32",
        );
        check_refused(
            r#"{"architecture": "dense(hidden), relu, dense(10)"}"#,
            "hidden must be given where the layers name it, got NULL",
        );
        check_refused(
            r#"{"architecture": "mlp", "filters": [8]}"#,
            "filters must be left out for the preset 'mlp', which has no convolution, \
             got [8]",
        );
    }

    #[test]
    fn layers_name_what_a_search_varies() {
        let json = r#"{"architecture": "dense( hidden ), relu, dropout(probability: dropout), dense(10)", "hidden": 32, "dropout": 0.25}"#;
        let layers = read(json).unwrap().text(true, 10);
        let expected = "dense( 32 ), relu, dropout(probability: 0.25), dense(10)";
        assert_eq!(layers, expected);
        let known: Map<String, Value> =
            serde_json::from_str(r#"{"architecture": "dense(hidden), relu, dense(10)"}"#)
                .unwrap();
        Hyperparameters::check_known(&known, &["hidden"]).unwrap();
        assert!(Hyperparameters::check_known(&known, &[]).is_err());
    }

    #[test]
    fn a_wrong_architecture_is_found_before_the_images_are_known() {
        let error = read(r#"{"architecture": "dens(10)"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean 'dense'?"), "{error}");
    }

    #[test]
    fn whether_the_architecture_fits_depends_on_the_images() {
        let lenet = Hyperparameters::default();
        let image = |side| ImageShape {
            height: side,
            width: side,
            channels: 1,
        };
        assert!(lenet.validate_for(image(28), 10).is_ok());
        assert!(
            lenet
                .validate_for(image(3), 10)
                .unwrap_err()
                .is_infeasible()
        );
    }
}
