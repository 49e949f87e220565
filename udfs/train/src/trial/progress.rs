//! What watches a training from its own thread: the bar, the clock, whether anyone still
//! wants it, and which epochs leave a checkpoint.

use std::time::{Duration, Instant};

use atoll_compute::CancellationToken;
use atoll_compute::progress::TrialProgress;
use atoll_nn::{Checkpoint, Epoch, Observer};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::record::{EpochRecord, TrialRecord};

/// Watches one training: its bar, its clock, and whether anyone still wants it.
pub(super) struct Watch {
    pub(super) token: CancellationToken,
    /// When its time is up.
    pub(super) deadline: Option<Instant>,
    pub(super) progress: TrialProgress,
    pub(super) history: Vec<EpochRecord>,
    /// Makes checkpoints, if they are wanted.
    pub(super) writer: Option<CheckpointWriter>,
}

impl Watch {
    /// Adds to a record what is known of a training that did not end well.
    pub(super) fn complete(self, record: TrialRecord, started: Instant) -> TrialRecord {
        let last = self.history.last();
        TrialRecord {
            epochs: u32::try_from(self.history.len()).ok(),
            train_loss: last.and_then(|epoch| epoch.train_loss),
            validation_loss: last.and_then(|epoch| epoch.validation_loss),
            validation_accuracy: last.and_then(|epoch| epoch.validation_accuracy),
            validation_score: last.and_then(|epoch| epoch.validation_score),
            seconds: started.elapsed().as_secs_f64(),
            history: self.history,
            ..record
        }
    }
}

impl Observer for Watch {
    fn on_epoch(&mut self, epoch: &Epoch) {
        self.progress.epoch(epoch.epoch, epoch.train_loss);
        self.history.push(EpochRecord::from(epoch));
    }

    fn wants_checkpoint(&mut self, last: bool) -> bool {
        self.writer
            .as_mut()
            .is_some_and(|writer| writer.wants(last))
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint) {
        if let Some(writer) = &mut self.writer {
            writer.take(checkpoint);
        }
    }

    fn should_stop(&mut self) -> bool {
        self.token.is_cancelled()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Making checkpoints may take this share of a trial's time, one in so many parts.
const SHARE: u32 = 20;

/// Decides on the training thread which epochs get a checkpoint, and hands them on.
pub(super) struct CheckpointWriter {
    sender: Sender<Checkpoint>,
    /// When the last one was made, and how long that took.
    made: Option<(Instant, Duration)>,
    asked: Instant,
    is_last: bool,
    /// The one at the end of the trial.
    pub(super) last: Option<Checkpoint>,
}

impl CheckpointWriter {
    /// A writer, and where its checkpoints arrive while the trial runs.
    pub(super) fn new() -> (Self, Receiver<Checkpoint>) {
        let (sender, receiver) = channel(1);
        let writer = Self {
            sender,
            made: None,
            asked: Instant::now(),
            is_last: false,
            last: None,
        };
        (writer, receiver)
    }

    /// Whether an epoch gets one: the last does, the others where that costs little and
    /// the one before is written. It changes nothing of the trial.
    pub(super) fn wants(&mut self, is_last: bool) -> bool {
        self.asked = Instant::now();
        self.is_last = is_last;
        let cheap = self
            .made
            .is_none_or(|(when, cost)| when.elapsed() >= cost * SHARE);
        is_last || (cheap && self.sender.capacity() > 0)
    }

    /// Takes the checkpoint that was asked for.
    pub(super) fn take(&mut self, checkpoint: Checkpoint) {
        let now = Instant::now();
        self.made = Some((now, now - self.asked));
        if self.is_last {
            self.last = Some(checkpoint);
        } else {
            // There was room, and nobody else sends. If the receiver is gone, the
            // statement is too.
            let _ = self.sender.try_send(checkpoint);
        }
    }
}
