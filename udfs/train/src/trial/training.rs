//! A trial on a thread of the compute pool.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use atoll_compute::CancellationToken;
use atoll_compute::pool;
use atoll_compute::progress::{Progress, TrialProgress};
use atoll_nn::{
    Checkpoint, Epoch, Error, Hyperparameters, Observer, Options, Outcome, Report,
};

use super::{Ended, STARTED, Study, Trial};
use crate::checkpoints::Maker;
use crate::record::{EpochRecord, Status, TrialRecord, finite};
use crate::snapshot::of_split;

impl Study {
    /// Trains on this thread; `None` when the statement was cancelled.
    pub(super) fn train(
        &self,
        (trial, hyperparameters): (&Trial, &Hyperparameters),
        start: Option<&Checkpoint>,
        maker: Option<Maker>,
        (token, progress): (&CancellationToken, &Progress),
    ) -> Option<Ended> {
        STARTED.fetch_add(1, Ordering::SeqCst);
        let started = Instant::now();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started_at = now.ok().and_then(|now| i64::try_from(now.as_micros()).ok());
        let mut watch = Watch {
            token,
            deadline: self
                .timeout
                .and_then(|timeout| started.checked_add(timeout)),
            progress: progress.trial(trial.title(), hyperparameters.epochs),
            history: start.map_or_else(Vec::new, |start| {
                start.history().iter().map(EpochRecord::from).collect()
            }),
            maker,
        };
        let (data, fraction) =
            (&self.snapshot.dataset, hyperparameters.validation_fraction);
        let split = self.snapshot.split(fraction, self.split_seed);
        // Where the data came split, the snapshot says so already.
        let drawn = split.as_ref().ok();
        let drawn = drawn.filter(|_| self.snapshot.validation.is_none());
        let warning = drawn.and_then(|split| of_split(&data.labels, split));
        let report = split.and_then(|split| {
            let options = Options {
                threads: self.threads,
                checkpoint: start,
            };
            atoll_nn::train_with(data, &split, hyperparameters, options, &mut watch)
        });
        let record = |status| {
            let mut record = TrialRecord {
                started_at,
                worker: Some(pool::worker()),
                ..trial.record(self, status)
            };
            record.warnings.extend(warning.clone());
            record
        };
        Some(match report {
            Ok(report) => {
                let checkpoint = watch.maker.and_then(|maker| maker.last);
                Ended {
                    checkpoint,
                    ..trained(record, report)
                }
            }
            Err(Error::Cancelled) if token.is_cancelled() => return None,
            Err(Error::Cancelled) => {
                let seconds = self.timeout.unwrap_or_default().as_secs_f64();
                let error = format!(
                    "it trained longer than timeout_seconds, which is {seconds}; try \
                     fewer epochs or more time"
                );
                let record = record(Status::TimedOut).because("TIMED_OUT", error);
                Ended::without_network(watch.complete(record, started))
            }
            Err(error) if error.is_infeasible() => Ended {
                // Without the checkpoint that it does not fit, the trial may well run.
                keeps: start.is_none(),
                ..Ended::without_network(
                    record(Status::Infeasible).because(code(&error), error.to_string()),
                )
            },
            Err(error) => {
                let keeps = !matches!(error, Error::Checkpoint { .. });
                let record =
                    record(Status::Failed).because(code(&error), error.to_string());
                Ended {
                    keeps,
                    ..Ended::without_network(watch.complete(record, started))
                }
            }
        })
    }
}

fn trained(record: impl Fn(Status) -> TrialRecord, report: Report) -> Ended {
    let record = match report.outcome {
        Outcome::Succeeded => record(Status::Succeeded),
        Outcome::Diverged { epoch } => record(Status::Diverged).because(
            "DIVERGED",
            format!(
                "the loss became NaN or infinite in epoch {epoch}; try a smaller \
                 learning_rate or clip_norm"
            ),
        ),
    };
    let record = TrialRecord {
        epochs: Some(report.epochs),
        best_epoch: Some(report.best_epoch).filter(|epoch| *epoch > 0),
        train_loss: finite(report.train_loss),
        validation_loss: finite(report.validation_loss),
        validation_accuracy: finite(report.validation_accuracy),
        history: report.history.iter().map(EpochRecord::from).collect(),
        seconds: report.seconds,
        ..record
    };
    Ended {
        network: report.onnx,
        ..Ended::without_network(record)
    }
}

/// The word for programs that goes with an error of a trial.
pub(super) fn code(error: &Error) -> &'static str {
    match error {
        Error::Hyperparameter { .. } | Error::UnknownHyperparameter { .. } => {
            "INVALID_HYPERPARAMETER"
        }
        Error::Architecture { .. } => "INVALID_ARCHITECTURE",
        Error::Dataset { .. } => "INVALID_DATASET",
        Error::Checkpoint { .. } => "INVALID_CHECKPOINT",
        Error::Cancelled => "CANCELLED",
    }
}

/// Watches one training: its bar, its clock, and whether anyone still wants it.
struct Watch<'a> {
    token: &'a CancellationToken,
    deadline: Option<Instant>,
    progress: TrialProgress,
    history: Vec<EpochRecord>,
    /// Makes checkpoints, if they are wanted.
    maker: Option<Maker>,
}

impl Watch<'_> {
    /// Adds to a record what is known of a training that did not end well.
    fn complete(self, record: TrialRecord, started: Instant) -> TrialRecord {
        let last = self.history.last();
        TrialRecord {
            epochs: u32::try_from(self.history.len()).ok(),
            train_loss: last.and_then(|epoch| epoch.train_loss),
            validation_loss: last.and_then(|epoch| epoch.validation_loss),
            validation_accuracy: last.and_then(|epoch| epoch.validation_accuracy),
            seconds: started.elapsed().as_secs_f64(),
            history: self.history,
            ..record
        }
    }
}

impl Observer for Watch<'_> {
    fn on_epoch(&mut self, epoch: &Epoch) {
        self.progress.epoch(epoch.epoch, epoch.train_loss);
        self.history.push(EpochRecord::from(epoch));
    }

    fn wants_checkpoint(&mut self, last: bool) -> bool {
        self.maker.as_mut().is_some_and(|maker| maker.wants(last))
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint) {
        if let Some(maker) = &mut self.maker {
            maker.take(checkpoint);
        }
    }

    fn should_stop(&mut self) -> bool {
        self.token.is_cancelled()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }
}
