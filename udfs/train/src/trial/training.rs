//! A trial on a thread of the compute pool.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use atoll_compute::CancellationToken;
use atoll_compute::pool;
use atoll_compute::progress::Progress;
use atoll_nn::{Checkpoint, Error, Hyperparameters, Options, Outcome, Report};

use super::progress::{CheckpointWriter, Watch};
use super::runner::{CheckpointChain, TrialEnd};
use super::{Trial, TrialRunner, code};
use crate::backbone::BackboneFile;
use crate::record::{EpochRecord, Status, TrialRecord, finite};

/// One training, with all that it needs on its thread.
pub(super) struct Training {
    pub(super) runner: Arc<TrialRunner>,
    pub(super) trial: Arc<Trial>,
    pub(super) hyperparameters: Hyperparameters,
    /// What its network is the head of.
    pub(super) backbone: Option<Arc<BackboneFile>>,
    /// Where it goes on from; it starts anew without.
    pub(super) start: Option<Arc<Checkpoint>>,
    /// Makes checkpoints, if they are wanted.
    pub(super) writer: Option<CheckpointWriter>,
    /// Cancelled when nobody wants the trial any more.
    pub(super) token: CancellationToken,
    pub(super) progress: Progress,
}

impl Training {
    /// Trains on this thread.
    pub(super) fn run(self) -> TrialEnd {
        self.runner.shared.start_training();
        let started = Instant::now();
        let mut record = TrialRecord {
            started_at: now(),
            worker: Some(pool::worker()),
            ..self.runner.record(&self.trial, Status::Succeeded)
        };
        let start = self.start.as_deref();
        let hyperparameters = &self.hyperparameters;
        let timeout = self.runner.timeout;
        let mut watch = Watch {
            token: self.token.clone(),
            deadline: timeout.and_then(|timeout| started.checked_add(timeout)),
            progress: self
                .progress
                .trial(self.trial.title(), hyperparameters.epochs),
            history: start.map_or_else(Vec::new, |start| {
                start.history().iter().map(EpochRecord::from).collect()
            }),
            writer: self.writer,
        };
        let snapshot = &self.runner.snapshot;
        let data = &snapshot.dataset;
        let fraction = hyperparameters.validation_fraction;
        let drawn = snapshot.split(fraction, &self.runner.drawing);
        if let Ok(drawn) = &drawn {
            record.warnings.extend(drawn.warnings.iter().cloned());
        }
        let report = drawn.and_then(|drawn| {
            let options = Options {
                threads: self.runner.threads,
                checkpoint: start,
                metric: self.runner.metric,
                ..Options::default()
            };
            let split = &drawn.splits[0];
            atoll_nn::train_with(data, split, hyperparameters, options, &mut watch)
        });
        match report {
            Ok(report) => {
                let last = watch.writer.and_then(|writer| writer.last);
                let backbone = self.backbone.as_deref();
                trained(record, report, backbone, last.map(Box::new))
            }
            Err(Error::Cancelled) if self.token.is_cancelled() => TrialEnd::Cancelled,
            Err(error) => {
                let (status, code, message) = failure(&error, timeout);
                let mut record = record.ended(status, code, message);
                if status != Status::Infeasible {
                    record = watch.complete(record, started);
                }
                // Without the checkpoint that it does not fit, the trial may well run.
                let blames_checkpoint = matches!(error, Error::Checkpoint { .. })
                    || (status == Status::Infeasible && start.is_some());
                match blames_checkpoint {
                    true => TrialEnd::NotKept(record),
                    false => TrialEnd::without_network(record),
                }
            }
        }
    }
}

/// How a training that gave no report ended, and why.
pub(super) fn failure(
    error: &Error,
    timeout: Option<Duration>,
) -> (Status, &'static str, String) {
    let status = match error {
        Error::Cancelled => {
            let seconds = timeout.unwrap_or_default().as_secs_f64();
            let message = format!(
                "it trained longer than timeout_seconds, which is {seconds}; try fewer \
                 epochs or more time"
            );
            return (Status::TimedOut, "TIMED_OUT", message);
        }
        error if error.is_infeasible() => Status::Infeasible,
        _ => Status::Failed,
    };
    (status, code(error), error.to_string())
}

/// Why a trial diverged.
pub(super) fn diverged(epoch: u32) -> String {
    format!(
        "the loss became NaN or infinite in epoch {epoch}; try a smaller learning_rate or \
         clip_norm"
    )
}

/// The model of a trial: the network itself, or the backbone with it as its head.
pub(super) fn with_backbone(
    head: Option<Vec<u8>>,
    backbone: Option<&BackboneFile>,
) -> Result<Option<Vec<u8>>, String> {
    match (head, backbone) {
        (Some(head), Some(backbone)) => backbone.with_head(&head).map(Some),
        (head, _) => Ok(head),
    }
}

/// The end of a trial whose network cannot be put behind its backbone.
pub(super) fn not_joined(record: TrialRecord, error: String) -> TrialEnd {
    let record = record.ended(Status::Failed, "INVALID_BACKBONE", error);
    TrialEnd::without_network(record)
}

/// Microseconds since 1970, UTC.
pub(super) fn now() -> Option<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.ok().and_then(|now| i64::try_from(now.as_micros()).ok())
}

/// The end of a training that ran to its last epoch, or until its loss had no value.
fn trained(
    record: TrialRecord,
    report: Report,
    backbone: Option<&BackboneFile>,
    last: Option<Box<Checkpoint>>,
) -> TrialEnd {
    let network = match with_backbone(report.onnx, backbone) {
        Ok(network) => network,
        Err(error) => return not_joined(record, error),
    };
    let record = match report.outcome {
        Outcome::Succeeded => record,
        Outcome::Diverged { epoch } => {
            record.ended(Status::Diverged, "DIVERGED", diverged(epoch))
        }
    };
    TrialEnd::Kept {
        record: TrialRecord {
            epochs: Some(report.epochs),
            best_epoch: Some(report.best_epoch).filter(|epoch| *epoch > 0),
            train_loss: finite(report.train_loss),
            validation_loss: finite(report.validation_loss),
            validation_accuracy: finite(report.validation_accuracy),
            validation_score: report.validation_score.and_then(finite),
            history: report.history.iter().map(EpochRecord::from).collect(),
            seconds: report.seconds,
            ..record
        },
        network,
        checkpoints: CheckpointChain { before: None, last },
    }
}
