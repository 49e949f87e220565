//! What a trial tells its caller: through an [`Observer`] while it runs, and as a
//! [`Report`] when it has ended.

use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::network::Network;

/// Watches a trial and may end it. Every method has a default that does nothing, and all
/// are called on the thread that called `train`.
pub trait Observer {
    /// Called after each epoch, validation included.
    fn on_epoch(&mut self, _epoch: &Epoch) {}

    /// Called after each step: `done` of at most `total` weight updates are made. Early
    /// stopping may end the trial before `total`.
    fn on_step(&mut self, _done: usize, _total: usize) {}

    /// Asked at the end of each epoch: whether to make a checkpoint of this moment. `last`
    /// says that the trial ends here.
    fn wants_checkpoint(&mut self, _last: bool) -> bool {
        false
    }

    /// Receives the checkpoint that [`Observer::wants_checkpoint`] asked for.
    fn on_checkpoint(&mut self, _checkpoint: Checkpoint) {}

    /// Whether to end the trial with [`Error::Cancelled`](crate::Error::Cancelled); asked before each mini-batch.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// One pass over the training split.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u32,
    /// The learning rate of its steps.
    pub learning_rate: f64,
    /// The mean loss of the mini-batches as they were trained on: dropout, augmentation,
    /// mixup and label smoothing included, weight decay not.
    pub train_loss: f64,
    /// The mean loss on the validation split at its end, images and labels as they are.
    pub validation_loss: f64,
    /// The share of the validation split that is classified right at its end; NaN where
    /// numbers are predicted.
    pub validation_accuracy: f64,
    /// The value of the metric that was asked for on the validation split at its end.
    pub validation_score: Option<f64>,
    /// How long it took, validation included.
    pub seconds: f64,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs were made, or early stopping ended them.
    Succeeded,
    /// The loss became NaN, infinite, or larger than 2^24.
    Diverged {
        /// In this epoch, counted from 1.
        epoch: u32,
    },
}

/// What a trial found.
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// How many epochs ended.
    pub epochs: u32,
    /// The best epoch: highest validation accuracy, then lowest validation loss, then
    /// first. Where numbers are predicted, lowest validation loss. A metric that was asked
    /// for takes the place of the accuracy. 0 if none ended.
    pub best_epoch: u32,
    /// The training loss of the best epoch. For a trial that diverged, the last finite
    /// loss of a mini-batch, or NaN if there was none.
    pub train_loss: f64,
    /// The validation loss of the best epoch; NaN if no epoch ended.
    pub validation_loss: f64,
    /// The validation accuracy of the best epoch; NaN if no epoch ended.
    pub validation_accuracy: f64,
    /// The value of the metric that was asked for after the best epoch.
    pub validation_score: Option<f64>,
    /// Every epoch that ended.
    pub history: Vec<Epoch>,
    /// The network of the best epoch as an ONNX file; none if no epoch ended.
    pub onnx: Option<Vec<u8>>,
    /// The network of the best epoch itself; none if no epoch ended.
    pub network: Option<Network>,
    /// How long the trial took.
    pub seconds: f64,
}

impl fmt::Debug for Report {
    /// The ONNX file is left out: there may be megabytes of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("outcome", &self.outcome)
            .field("best_epoch", &self.best_epoch)
            .field("train_loss", &self.train_loss)
            .field("validation_loss", &self.validation_loss)
            .field("validation_accuracy", &self.validation_accuracy)
            .field("history", &self.history)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
