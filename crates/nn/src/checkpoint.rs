//! Everything that a trial needs to go on later as if it had never stopped.
//!
//! A checkpoint is a small header in JSON, the numbers that training changes (weights,
//! statistics, the optimizer's moments, the best weights so far, the average) and how
//! long each epoch took. All but the last decides how the trial goes on, so equal trials
//! have checkpoints with equal digests. The order of the images is not in it: it is drawn
//! again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::schedule;
use crate::{
    Dataset, Epoch, Error, Features, Hyperparameters, Labels, Metric, ScheduleKind,
    Split, engine,
};

/// The first bytes of a file; the last of them is the version of its layout.
const MAGIC: &[u8; 8] = b"ATOLLCP1";

/// A trial at the end of an epoch.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(crate) header: CheckpointHeader,
    bytes: Vec<u8>,
    sha256: String,
    /// Where the numbers start.
    start: usize,
}

/// What is known of a trial besides its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointHeader {
    pub(crate) engine: String,
    pub(crate) hyperparameters: Hyperparameters,
    /// Digest of the dataset and its split.
    pub(crate) data: String,
    /// What chose its best epoch, if that was no matter of course.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metric: Option<Metric>,
    /// Updates so far.
    pub(crate) steps: usize,
    pub(crate) best: Option<usize>,
    /// The bits of the last finite loss of a mini-batch.
    pub(crate) last_finite: u64,
    /// Numbers drawn from each random stream so far, in the order of the network.
    pub(crate) drawn: Vec<u64>,
    pub(crate) epochs: Vec<EpochBits>,
    /// How many numbers each group has.
    pub(crate) lengths: Vec<usize>,
}

/// An epoch without its time, its numbers as bits, because text would round them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochBits {
    learning_rate: u64,
    train_loss: u64,
    validation_loss: u64,
    validation_accuracy: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validation_score: Option<u64>,
}

impl From<&Epoch> for EpochBits {
    fn from(epoch: &Epoch) -> Self {
        Self {
            learning_rate: epoch.learning_rate.to_bits(),
            train_loss: epoch.train_loss.to_bits(),
            validation_loss: epoch.validation_loss.to_bits(),
            validation_accuracy: epoch.validation_accuracy.to_bits(),
            validation_score: epoch.validation_score.map(f64::to_bits),
        }
    }
}

impl Checkpoint {
    /// Writes a header, its groups of numbers and the seconds of its epochs.
    pub(crate) fn new(
        header: CheckpointHeader,
        groups: &[&[f32]],
        seconds: &[f64],
    ) -> Self {
        // Plain numbers and texts, whose serialisation cannot fail.
        let json = serde_json::to_vec(&header).unwrap_or_default();
        let numbers: usize = groups.iter().map(|group| group.len()).sum();
        let start = MAGIC.len() + 8 + json.len();
        let mut bytes = Vec::with_capacity(start + 4 * numbers + 8 * seconds.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&json);
        for group in groups {
            bytes.extend(group.iter().flat_map(|number| number.to_le_bytes()));
        }
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        bytes.extend(seconds.iter().flat_map(|number| number.to_le_bytes()));
        Self {
            header,
            bytes,
            sha256,
            start,
        }
    }

    /// Reads a file; fails on one that is damaged or of another kind.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let damaged = || problem("it is damaged or no checkpoint".to_owned());
        let length = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk::<8>())
            .and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok())
            .ok_or_else(damaged)?;
        let start = length.checked_add(MAGIC.len() + 8).ok_or_else(damaged)?;
        let json = bytes.get(MAGIC.len() + 8..start).ok_or_else(damaged)?;
        let header: CheckpointHeader =
            serde_json::from_slice(json).map_err(|_| damaged())?;
        let lengths = header.lengths.iter();
        let numbers = lengths.fold(0_usize, |sum, length| sum.saturating_add(*length));
        let hashed = numbers.saturating_mul(4).saturating_add(start);
        if hashed.saturating_add(8 * header.epochs.len()) != bytes.len() {
            return Err(damaged());
        }
        let sha256 = hexadecimal(&Sha256::digest(&bytes[..hashed]));
        Ok(Self {
            header,
            bytes,
            sha256,
            start,
        })
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of all but the times, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many epochs had ended.
    pub fn epochs(&self) -> u32 {
        self.header.epochs.len() as u32
    }

    /// The trial's hyperparameters.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.header.hyperparameters
    }

    /// Copies the groups of numbers into room of their sizes.
    pub(crate) fn restore(&self, groups: &mut [&mut [f32]]) -> Result<(), Error> {
        let lengths = groups.iter().map(|group| group.len());
        if !lengths.eq(self.header.lengths.iter().copied()) {
            return Err(problem("it is of another network".to_owned()));
        }
        let mut numbers = self.bytes[self.start..].chunks_exact(4);
        for number in groups.iter_mut().flat_map(|group| group.iter_mut()) {
            if let Some(bytes) = numbers.next().and_then(|bytes| bytes.first_chunk()) {
                *number = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }

    /// The epochs that had ended.
    pub fn history(&self) -> Vec<Epoch> {
        let times = self.bytes.len() - 8 * self.header.epochs.len();
        let times = self.bytes[times..].chunks_exact(8);
        let epochs = (1..).zip(&self.header.epochs).zip(times);
        epochs
            .map(|((epoch, bits), time)| Epoch {
                epoch,
                learning_rate: f64::from_bits(bits.learning_rate),
                train_loss: f64::from_bits(bits.train_loss),
                validation_loss: f64::from_bits(bits.validation_loss),
                validation_accuracy: f64::from_bits(bits.validation_accuracy),
                validation_score: bits.validation_score.map(f64::from_bits),
                seconds: time
                    .first_chunk()
                    .map_or(0.0, |time| f64::from_le_bytes(*time)),
            })
            .collect()
    }

    /// Checks that a trial with these hyperparameters would have come to this point.
    ///
    /// What only says when to stop may differ: `epochs`, `stop_after` and `patience`. The
    /// cosine schedule gets slower towards the last epoch, so its `epochs` may not.
    pub fn check(&self, hyperparameters: &Hyperparameters) -> Result<(), Error> {
        let json = |hyperparameters| match serde_json::to_value(hyperparameters) {
            Ok(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        let (then, now) = (json(&self.header.hyperparameters), json(hyperparameters));
        let cosine = schedule::kind(hyperparameters) == ScheduleKind::Cosine;
        // A key that has its default may be absent.
        let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        for key in keys {
            let value = now.get(key).unwrap_or(&Value::Null);
            let free = match key.as_str() {
                "epochs" => !cosine,
                "stop_after" | "patience" => true,
                _ => false,
            };
            let then = then.get(key).unwrap_or(&Value::Null);
            if !free && then != value {
                // Only a schedule that does not look ahead can be made longer.
                let remedy = match key.as_str() {
                    "epochs" => {
                        "; train the first part with all its epochs and stop_after, or \
                         with schedule 'constant'"
                    }
                    _ => "",
                };
                return Err(Error::Hyperparameter {
                    name: key.clone(),
                    expected: format!(
                        "{then} as in the checkpoint that it resumes from{remedy}"
                    ),
                    actual: value.to_string(),
                });
            }
        }
        if hyperparameters.last_epoch() < self.epochs() {
            return Err(Error::Hyperparameter {
                name: "epochs".to_owned(),
                expected: format!(
                    "at least {}, which the checkpoint that it resumes from has already",
                    self.epochs()
                ),
                actual: hyperparameters.last_epoch().to_string(),
            });
        }
        Ok(())
    }

    /// Checks that this process would go on with the same bits on the same data.
    pub(crate) fn check_place(
        &self,
        dataset: &Dataset,
        split: &Split,
        metric: Option<Metric>,
    ) -> Result<(), Error> {
        if self.header.metric != metric {
            let name = |metric: Option<Metric>| metric.map_or("none", Metric::name);
            return Err(problem(format!(
                "it was chosen by the metric {}, and this trial has {}",
                name(self.header.metric),
                name(metric)
            )));
        }
        if self.header.engine != engine() {
            return Err(problem(format!(
                "it was written by {}, and {} would go on with other bits",
                self.header.engine,
                engine()
            )));
        }
        if self.header.data != fingerprint(dataset, split) {
            return Err(problem("it is of another dataset or split".to_owned()));
        }
        Ok(())
    }
}

fn problem(problem: String) -> Error {
    Error::Checkpoint { problem }
}

/// Tells datasets and splits apart without reading all of the images.
pub(crate) fn fingerprint(dataset: &Dataset, split: &Split) -> String {
    let mut digest = Sha256::new();
    let shape = dataset.shape;
    for size in [shape.height, shape.width, shape.channels, dataset.classes()] {
        digest.update((size as u64).to_le_bytes());
    }
    let labels: Vec<u32> = match &dataset.labels {
        Labels::Classes { indices, .. } => indices.clone(),
        Labels::Sets { sets, .. } => sets
            .iter()
            .flat_map(|set| set.iter().copied().chain([u32::MAX]))
            .collect(),
        Labels::Numbers(numbers) if dataset.wide.labels => {
            let halves = |n: &f64| [n.to_bits() as u32, (n.to_bits() >> 32) as u32];
            numbers.iter().flat_map(halves).collect()
        }
        Labels::Numbers(numbers) => {
            numbers.iter().map(|n| (*n as f32).to_bits()).collect()
        }
    };
    for numbers in [&labels, &split.train, &split.validation] {
        digest.update((numbers.len() as u64).to_le_bytes());
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        digest.update(bytes);
    }
    let step = dataset.len() * dataset.shape.values() / 65_536 + 1;
    let sample: Vec<u8> = match &dataset.features {
        Features::Pixels(pixels) => pixels.iter().step_by(step).copied().collect(),
        Features::Numbers(numbers) => {
            let sample = numbers.iter().step_by(step);
            if dataset.wide.features {
                sample.flat_map(|number| number.to_le_bytes()).collect()
            } else {
                let sample = sample.map(|number| *number as f32);
                sample.flat_map(f32::to_le_bytes).collect()
            }
        }
    };
    digest.update(sample);
    for weight in dataset.weights.iter().flatten() {
        digest.update(weight.to_le_bytes());
    }
    hexadecimal(&digest.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
