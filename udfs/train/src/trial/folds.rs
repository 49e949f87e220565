//! A trial in folds: a network for each, which together say how good the hyperparameters
//! are, and one that is trained on all rows.
//!
//! The snapshot is read once and in memory once; a fold is a list of its rows.

use std::sync::Arc;
use std::time::Instant;

use atoll_compute::progress::Progress;
use atoll_compute::{CancellationToken, pool};
use atoll_nn::{Error, Hyperparameters, Options, Outcome, Report, Split};
use atoll_udf_common::CallContext;
use datafusion::common::Result;
use futures::future::try_join_all;

use super::progress::Watch;
use super::runner::{CheckpointChain, TrialEnd};
use super::training::{diverged, failure, not_joined, now, with_backbone};
use super::{Trial, TrialRunner};
use crate::backbone::BackboneFile;
use crate::record::{
    EpochRecord, FoldRecord, Status, TrialRecord, finite, mean_of, plain_score,
};

/// One network of a trial in folds, with all that it needs on its thread.
struct FoldTraining {
    runner: Arc<TrialRunner>,
    title: String,
    hyperparameters: Hyperparameters,
    split: Split,
    /// When the time of the trial is up.
    deadline: Option<Instant>,
    token: CancellationToken,
    progress: Progress,
}

impl FoldTraining {
    /// Trains on this thread; with no row that validates to the last epoch.
    fn run(self) -> Result<Report, Error> {
        self.runner.shared.start_training();
        let mut watch = Watch {
            token: self.token,
            deadline: self.deadline,
            progress: self.progress.trial(self.title, self.hyperparameters.epochs),
            history: Vec::new(),
            writer: None,
        };
        let all_train = self.split.validation.is_empty();
        let options = Options {
            threads: self.runner.threads,
            checkpoint: None,
            metric: self.runner.metric.filter(|_| !all_train),
            all_train,
        };
        let data = &self.runner.snapshot.dataset;
        atoll_nn::train_with(
            data,
            &self.split,
            &self.hyperparameters,
            options,
            &mut watch,
        )
    }
}

/// What the networks of a trial have in common.
struct Plan<'a> {
    runner: &'a Arc<TrialRunner>,
    trial: &'a Trial,
    hyperparameters: &'a Hyperparameters,
    started: Instant,
    token: CancellationToken,
    progress: &'a Progress,
}

impl Plan<'_> {
    fn training(&self, name: &str, split: Split) -> FoldTraining {
        let timeout = self.runner.timeout;
        FoldTraining {
            runner: Arc::clone(self.runner),
            title: format!("{name}, {}", self.trial.title()),
            hyperparameters: self.hyperparameters.clone(),
            split,
            deadline: timeout.and_then(|timeout| self.started.checked_add(timeout)),
            token: self.token.clone(),
            progress: self.progress.clone(),
        }
    }

    /// Trains the network of a fold.
    async fn fold(&self, fold: usize, split: &Split) -> Result<Report, Stop> {
        let training = self.training(&format!("fold {}", fold + 1), split.clone());
        let report = pool::run(&self.token, move || training.run()).await;
        let report = report.map_err(Stop::Pool)?;
        let report = report.map_err(|error| Stop::Failed(Some(fold), error))?;
        match report.outcome {
            Outcome::Succeeded => Ok(report),
            Outcome::Diverged { epoch } => Err(Stop::Diverged(Some(fold), epoch)),
        }
    }

    /// Trains the network of all rows for so many epochs; also says on which thread.
    async fn all_rows(&self, epochs: u32) -> Result<(Report, String), Stop> {
        let all = Split {
            train: (0..self.runner.snapshot.dataset.len() as u32).collect(),
            validation: vec![],
        };
        let mut training = self.training("all rows", all);
        let hyperparameters = &mut training.hyperparameters;
        // The schedule is the one of all epochs, as it was in the folds.
        hyperparameters.stop_after =
            Some(epochs).filter(|epochs| *epochs < hyperparameters.epochs);
        hyperparameters.patience = 0;
        let run = move || (training.run(), pool::worker());
        let (report, worker) = pool::run(&self.token, run).await.map_err(Stop::Pool)?;
        let report = report.map_err(|error| Stop::Failed(None, error))?;
        match report.outcome {
            Outcome::Succeeded => Ok((report, worker)),
            Outcome::Diverged { epoch } => Err(Stop::Diverged(None, epoch)),
        }
    }
}

impl TrialRunner {
    /// Trains a network for each fold, and then one on all rows for as many epochs as
    /// were best on average.
    pub(super) async fn cross_validate(
        self: &Arc<Self>,
        trial: &Arc<Trial>,
        hyperparameters: Hyperparameters,
        backbone: Option<Arc<BackboneFile>>,
        context: &CallContext,
    ) -> Result<TrialEnd> {
        let mut record = TrialRecord {
            started_at: now(),
            ..self.record(trial, Status::Succeeded)
        };
        let fraction = hyperparameters.validation_fraction;
        let drawn = match self.snapshot.split(fraction, &self.drawing) {
            Ok(drawn) => drawn,
            Err(error) => return Ok(self.failed(record, &error, None)),
        };
        record.warnings.extend(drawn.warnings.iter().cloned());
        // The row was announced as one training.
        context.progress.expect_trials(drawn.splits.len() as u64);
        // Dropping this future stops all of them.
        let token = context.token.child_token();
        let _stop = token.clone().drop_guard();
        let plan = Plan {
            runner: self,
            trial,
            hyperparameters: &hyperparameters,
            started: Instant::now(),
            token,
            progress: &context.progress,
        };
        let folds = drawn.splits.iter().enumerate();
        let folds = folds.map(|(fold, split)| plan.fold(fold, split));
        let reports = match try_join_all(folds).await {
            Ok(reports) => reports,
            Err(stop) => return self.stopped(trial, record, stop, &plan.token),
        };
        record.folds = self.fold_records(&drawn.splits, &reports);
        record.history = mean_history(&reports);
        let best: f64 = reports
            .iter()
            .map(|report| f64::from(report.best_epoch))
            .sum();
        let epochs = (best / reports.len() as f64).round().max(1.0) as u32;
        let (last, worker) = match plan.all_rows(epochs).await {
            Ok(found) => found,
            Err(stop) => return self.stopped(trial, record, stop, &plan.token),
        };
        let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
        record.seconds = seconds + last.seconds;
        record.epochs = Some(last.epochs);
        record.best_epoch = Some(last.best_epoch);
        record.train_loss = finite(last.train_loss);
        record.worker = Some(worker);
        record.average_folds();
        let network = match with_backbone(last.onnx, backbone.as_deref()) {
            Ok(network) => network,
            Err(error) => return Ok(not_joined(record, error)),
        };
        Ok(TrialEnd::Kept {
            record,
            network,
            checkpoints: CheckpointChain::default(),
        })
    }

    fn fold_records(&self, splits: &[Split], reports: &[Report]) -> Vec<FoldRecord> {
        let has_metric = self.metric.is_some();
        let folds = (1..).zip(splits.iter().zip(reports));
        folds
            .map(|(fold, (split, report))| FoldRecord {
                fold,
                ..fold_record(split, report, has_metric)
            })
            .collect()
    }

    /// The end of a trial of which one network did not come to its end.
    fn stopped(
        &self,
        trial: &Trial,
        record: TrialRecord,
        stop: Stop,
        token: &CancellationToken,
    ) -> Result<TrialEnd> {
        match stop {
            Stop::Pool(error) => self.not_trained(trial, error),
            Stop::Failed(_, Error::Cancelled) if token.is_cancelled() => {
                Ok(TrialEnd::Cancelled)
            }
            Stop::Failed(fold, error) => Ok(self.failed(record, &error, fold)),
            Stop::Diverged(fold, epoch) => {
                let place = fold.map_or_else(
                    || "trained on all rows".to_string(),
                    |fold| format!("fold {}", fold + 1),
                );
                let message = format!("{place}: {}", diverged(epoch));
                let record = record.ended(Status::Diverged, "DIVERGED", message);
                Ok(TrialEnd::without_network(record))
            }
        }
    }

    fn failed(
        &self,
        record: TrialRecord,
        error: &Error,
        fold: Option<usize>,
    ) -> TrialEnd {
        let (status, code, message) = failure(error, self.timeout);
        // What the hyperparameters get wrong is wrong in all folds.
        let message = match fold.filter(|_| status == Status::Failed) {
            Some(fold) => format!("fold {}: {message}", fold + 1),
            None => message,
        };
        TrialEnd::without_network(record.ended(status, code, message))
    }
}

/// Why the networks of a trial were not all trained.
enum Stop {
    Pool(pool::PoolError),
    Failed(Option<usize>, Error),
    Diverged(Option<usize>, u32),
}

fn fold_record(split: &Split, report: &Report, has_metric: bool) -> FoldRecord {
    let loss = finite(report.validation_loss);
    let accuracy = finite(report.validation_accuracy);
    FoldRecord {
        fold: 0,
        train_rows: split.train.len() as u64,
        validation_rows: split.validation.len() as u64,
        epochs: report.epochs,
        best_epoch: report.best_epoch,
        train_loss: finite(report.train_loss),
        validation_loss: loss,
        validation_accuracy: accuracy,
        validation_score: match has_metric {
            true => report.validation_score.and_then(finite),
            false => plain_score(accuracy, loss),
        },
        seconds: report.seconds,
    }
}

/// The mean of the folds in each epoch that all of them had.
fn mean_history(reports: &[Report]) -> Vec<EpochRecord> {
    let epochs = reports.iter().map(|report| report.history.len()).min();
    let epoch = |place: usize| {
        let records = reports
            .iter()
            .map(|report| EpochRecord::from(&report.history[place]));
        let records: Vec<EpochRecord> = records.collect();
        let mean =
            |value: fn(&EpochRecord) -> Option<f64>| mean_of(records.iter().map(value));
        EpochRecord {
            epoch: place as u32 + 1,
            learning_rate: records[0].learning_rate,
            train_loss: mean(|epoch| epoch.train_loss),
            validation_loss: mean(|epoch| epoch.validation_loss),
            validation_accuracy: mean(|epoch| epoch.validation_accuracy),
            validation_score: mean(|epoch| epoch.validation_score),
            seconds: mean(|epoch| epoch.seconds),
        }
    };
    (0..epochs.unwrap_or_default()).map(epoch).collect()
}
