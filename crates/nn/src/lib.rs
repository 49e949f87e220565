//! Training of small neural networks, one network per trial.
//!
//! A trial is fully described by its [`Hyperparameters`] (seed included), its
//! [`Dataset`] and its [`Split`]: the same three give the same bits, whatever else runs
//! beside it, on every machine for which [`engine`] says the same. One trial uses one
//! thread, unless [`Options`] give it more, which changes no bit; a caller with more cores
//! trains more trials.
//!
//! ```
//! use atoll_nn::{Dataset, Hyperparameters, ImageShape, Observer, Split, train};
//!
//! struct Silent;
//! impl Observer for Silent {}
//!
//! # fn main() -> Result<(), atoll_nn::Error> {
//! let shape = ImageShape { height: 1, width: 2, channels: 1 };
//! let pixels = [[0, 255], [255, 0]].repeat(20).concat();
//! let labels = [0, 1].repeat(20);
//! let names = vec!["right".to_owned(), "left".to_owned()];
//! let dataset = Dataset::new(shape, pixels, labels, names)?;
//! let split = Split::by_fraction(dataset.len(), 0.25, 7)?;
//! let hyperparameters = Hyperparameters {
//!     architecture: "dense(2)".to_owned(),
//!     learning_rate: 0.5,
//!     ..Hyperparameters::default()
//! };
//! let report = train(&dataset, &split, &hyperparameters, &mut Silent)?;
//! assert_eq!(report.validation_accuracy, 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows nothing about SQL, Arrow, files or threads. Test data has no way in:
//! a trial sees a training and a validation split and nothing else.

#[cfg(test)]
mod allocations;
mod architecture;
mod augment;
mod checkpoint;
mod columns;
mod dataset;
mod draw;
mod ema;
mod error;
#[cfg(test)]
mod gradients;
mod hyperparameters;
mod kernels;
mod layers;
mod loss;
mod mixup;
mod network;
mod onnx;
mod optimizer;
mod precision;
mod profile;
#[cfg(test)]
mod pytorch;
mod random;
mod scaling;
mod schedule;
pub mod scores;
mod training;
mod weights;

pub use checkpoint::Checkpoint;
pub use columns::{Column, ColumnKind};
pub use dataset::{Dataset, Features, ImageShape, Labels, Split};
pub use draw::Draw;
pub use error::Error;
pub use hyperparameters::{
    Augmentation, ClassWeights, Hyperparameter, Hyperparameters, LossKind, OptimizerKind,
    ScheduleKind,
};
pub use kernels::products;
pub use network::Network;
pub use precision::{Wide, needs_64_bits};
pub use profile::{LayerTime, StepTime, peak, profile};
pub use random::permutation;
pub use scores::Metric;
pub use training::{
    Epoch, Observer, Options, Outcome, Report, resume, train, train_with,
};

/// To be raised by every change that gives the same hyperparameters other bits, other
/// kernels or another default: stored trials of before are then not taken for new ones.
const REVISION: u32 = 3;

/// The version of this crate with its revision, and the CPU feature level that its
/// kernels use here.
///
/// It is part of a trial's identity: another level sums in another order, so the same
/// hyperparameters give other bits.
pub fn engine() -> String {
    format!(
        "atoll-nn {}+{REVISION} {}",
        env!("CARGO_PKG_VERSION"),
        kernels::cpu_level()
    )
}
