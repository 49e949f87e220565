//! Runs the trials of one call on one dataset, and keeps what they come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atoll_compute::pool::{self, PoolError};
use atoll_nn::{Checkpoint, Hyperparameters, Labels, Metric};
use atoll_udf_common::{CallContext, pool_error};
use datafusion::common::{Result, exec_err};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::identity::{Surroundings, TrialId};
use super::progress::CheckpointWriter;
use super::training::Training;
use super::{Trial, code};
use crate::backbone::{BACKBONE, Backbone, BackboneFile};
use crate::dataset::{Drawing, GROUP, SharedSnapshot, WEIGHT};
use crate::record::{Status, TrialRecord};
use crate::shared::TrainShared;
use crate::single_flight::Shared;
use crate::store::{TrialStore, load_checkpoint};

/// What the trials of one call on one dataset have in common.
#[derive(Debug)]
pub(crate) struct TrialRunner {
    /// The dataset, and with it its scan, which other calls of the same statement find.
    pub(crate) snapshot: Shared<SharedSnapshot>,
    /// What made the features of the dataset and becomes a part of its models.
    pub(crate) backbone: Option<RunnerBackbone>,
    /// Where trials are kept.
    pub(crate) store: TrialStore,
    /// How validation rows are chosen.
    pub(crate) drawing: Drawing,
    /// What chooses the best epoch, if the options name it.
    pub(crate) metric: Option<Metric>,
    /// How long a trial may train.
    pub(crate) timeout: Option<Duration>,
    /// How many threads work on one trial.
    pub(crate) threads: usize,
    /// Whether trials write checkpoints and go on from them.
    pub(crate) checkpoint: bool,
    /// What the calls of the session share.
    pub(crate) shared: Arc<TrainShared>,
}

/// A backbone whose file is read when the first trial trains.
#[derive(Debug)]
pub(crate) struct RunnerBackbone {
    backbone: Arc<Backbone>,
    key: String,
    file: OnceCell<Arc<BackboneFile>>,
}

impl RunnerBackbone {
    pub(crate) fn new(backbone: &Arc<Backbone>) -> Self {
        Self {
            key: backbone.key(),
            backbone: Arc::clone(backbone),
            file: OnceCell::new(),
        }
    }

    async fn file(&self, context: &CallContext) -> Result<Arc<BackboneFile>> {
        let read = async || self.backbone.read(context).await.map(Arc::new);
        self.file.get_or_try_init(read).await.cloned()
    }
}

/// How a trial ended.
pub(super) enum TrialEnd {
    /// The record says something about the trial, and is kept with its files.
    Kept {
        record: TrialRecord,
        /// The bytes of an ONNX file, if it has weights worth having.
        network: Option<Vec<u8>>,
        checkpoints: CheckpointChain,
    },
    /// The record is about the checkpoint that the trial was to go on from.
    NotKept(TrialRecord),
    /// Nobody wants it any more.
    Cancelled,
}

/// The checkpoints that a training leaves.
#[derive(Default)]
pub(super) struct CheckpointChain {
    /// The digest of the latest one that was written on the way.
    pub(super) before: Option<String>,
    /// The state at the end of the trial, not written yet.
    pub(super) last: Option<Box<Checkpoint>>,
}

/// Where a trial begins.
enum Start {
    /// At its first epoch.
    Fresh,
    /// After this checkpoint.
    From(Arc<Checkpoint>),
    /// Nowhere: the checkpoint that its row names cannot be used.
    Unusable(Box<TrialRecord>),
}

impl TrialEnd {
    pub(super) fn without_network(record: TrialRecord) -> Self {
        Self::Kept {
            record,
            network: None,
            checkpoints: CheckpointChain::default(),
        }
    }

    /// The same end, after this checkpoint was written on the way.
    fn after(mut self, before: Option<String>) -> Self {
        if let Self::Kept { checkpoints, .. } = &mut self {
            checkpoints.before = before;
        }
        self
    }
}

impl TrialRunner {
    /// Names the trial with these hyperparameters, given as a row has them.
    pub(crate) fn trial(&self, mut given: Map<String, Value>) -> Result<Trial> {
        self.complete(&mut given);
        let hyperparameters = Hyperparameters::from_json(&given);
        let surroundings = Surroundings {
            snapshot: &self.snapshot.sha256,
            split_seed: self.split_seed(),
            backbone: self.backbone.as_ref().map(|backbone| backbone.key.as_str()),
            engine: &atoll_nn::engine(),
            split: self.is_stratified().then_some("stratified"),
            folds: self.drawing.folds,
            metric: self.metric,
        };
        Ok(Trial {
            id: TrialId::new(surroundings, &hyperparameters, &given)?,
            given,
            hyperparameters,
            resume_from: None,
        })
    }

    /// Takes out what is NULL. Behind a backbone the network is linear unless the row says
    /// more: the features are what a linear layer was trained on.
    fn complete(&self, given: &mut Map<String, Value>) {
        given.retain(|_, value| !value.is_null());
        if self.backbone.is_some() && !given.contains_key("architecture") {
            given.insert("architecture".to_string(), "linear".into());
        }
    }

    /// The backbone, as the statement names it.
    pub(crate) fn backbone_name(&self) -> Option<&str> {
        let backbone = self.backbone.as_ref();
        backbone.map(|backbone| backbone.backbone.name.as_str())
    }

    /// What a trial with these hyperparameters costs, unless it is infeasible.
    pub(crate) fn cost(&self, mut given: Map<String, Value>) -> Option<f64> {
        self.complete(&mut given);
        let complete = Hyperparameters::from_json(&given).ok()?;
        let cost = complete.cost(&self.snapshot.dataset).ok()?;
        // A network for each fold, and one on all rows.
        let networks = self.drawing.folds.map_or(1, |folds| folds + 1);
        Some(cost * networks as f64)
    }

    /// What chooses the validation rows, unless the data came split.
    fn split_seed(&self) -> Option<u64> {
        let splits = self.snapshot.validation.is_none();
        splits.then_some(self.drawing.seed)
    }

    fn is_stratified(&self) -> bool {
        self.snapshot.is_stratified(&self.drawing)
    }

    /// The options that find the trial again on its snapshot.
    fn options(&self) -> Map<String, Value> {
        let snapshot = &self.snapshot;
        let has_classes = matches!(snapshot.dataset.labels, Labels::Classes { .. });
        let is_plain =
            snapshot.validation.is_none() && has_classes && !self.is_stratified();
        let options: [(&str, Option<Value>); 5] = [
            ("group", snapshot.groups.as_ref().map(|_| GROUP.into())),
            (
                "weight",
                snapshot.dataset.weights.as_ref().map(|_| WEIGHT.into()),
            ),
            ("stratify", is_plain.then_some(false.into())),
            ("folds", self.drawing.folds.map(Value::from)),
            ("metric", self.metric.map(|metric| metric.name().into())),
        ];
        let given = options.into_iter();
        given
            .filter_map(|(key, value)| Some((key.to_string(), value?)))
            .collect()
    }

    /// A record of a trial without results.
    pub(crate) fn record(&self, trial: &Trial, status: Status) -> TrialRecord {
        let complete = trial.hyperparameters.as_ref().ok();
        let seed = match complete {
            Some(hyperparameters) => i64::try_from(hyperparameters.seed).ok(),
            None => trial.given.get("seed").and_then(Value::as_i64),
        };
        let all = complete.and_then(|complete| serde_json::to_value(complete).ok());
        let mut hyperparameters = match all {
            Some(Value::Object(all)) => all,
            _ => trial.given.clone(),
        };
        if let Some(name) = self.backbone_name() {
            hyperparameters.insert(BACKBONE.to_string(), name.into());
        }
        TrialRecord {
            seed,
            snapshot: Some(self.snapshot.sha256.clone()),
            split_seed: self.split_seed(),
            options: Some(self.options()),
            metric: self.metric.map(|metric| metric.name().to_string()),
            hyperparameters,
            warnings: self.snapshot.warnings.clone(),
            ..TrialRecord::new(trial.id.to_string(), status)
        }
    }

    /// The trial, if it is kept and running it again would give the same.
    pub(crate) async fn find(&self, trial: &Trial) -> Result<Option<TrialRecord>> {
        let found = self.store.find(trial.id.as_str()).await?;
        let Some(record) = found.filter(|record| record.status.is_final()) else {
            return Ok(None);
        };
        if !self.checkpoint || record.status != Status::Succeeded {
            return Ok(Some(record));
        }
        // It runs again for the checkpoint that it does not have.
        let is_there = match &record.checkpoint_sha256 {
            Some(sha256) => self.store.checkpoint(sha256)?.exists().await?,
            None => false,
        };
        Ok(is_there.then_some(record))
    }

    /// Runs a trial on the compute pool and keeps it. Whoever asks for the same trial
    /// meanwhile gets the same record. Only cancelling and a storage that does not
    /// work are errors.
    pub(crate) async fn run(
        self: Arc<Self>,
        trial: Arc<Trial>,
        context: &CallContext,
    ) -> Result<TrialRecord> {
        // By the checkpoint too: one that cannot be used fails the row that names it, and
        // no other row with the same trial.
        let start = trial.resume_from.as_deref().unwrap_or_default();
        let key = format!("{}#{}#{start}", self.store.root().url, trial.id);
        let drawn = AtomicBool::new(false);
        let run = || async {
            // Another statement or process may have finished it meanwhile.
            if let Some(found) = self.find(&trial).await? {
                return Ok(found);
            }
            drawn.store(trial.hyperparameters.is_ok(), Ordering::Relaxed);
            match self.end(&trial, context).await? {
                TrialEnd::Kept {
                    record,
                    network,
                    checkpoints,
                } => self.keep(record, network, checkpoints).await,
                TrialEnd::NotKept(record) => Ok(record),
                TrialEnd::Cancelled => exec_err!("train: the statement was cancelled"),
            }
        };
        let record = self.shared.running.get_or_make(&key, run).await?;
        if !drawn.load(Ordering::Relaxed) {
            context.progress.trial_done();
        }
        Ok(TrialRecord::clone(&record))
    }

    /// Trains a trial, unless it is known before that it cannot be trained.
    async fn end(
        self: &Arc<Self>,
        trial: &Arc<Trial>,
        context: &CallContext,
    ) -> Result<TrialEnd> {
        let start = match self.start(trial, context).await? {
            Start::Fresh => None,
            Start::From(checkpoint) => Some(checkpoint),
            Start::Unusable(record) => return Ok(TrialEnd::NotKept(*record)),
        };
        let hyperparameters = match &trial.hyperparameters {
            Ok(hyperparameters) => hyperparameters.clone(),
            Err(error) => {
                let record = self.record(trial, Status::Infeasible);
                let record = record.because(code(error), error.to_string());
                return Ok(TrialEnd::without_network(record));
            }
        };
        let backbone = match &self.backbone {
            Some(backbone) => Some(backbone.file(context).await?),
            None => None,
        };
        if self.drawing.folds.is_some() {
            return self
                .cross_validate(trial, hyperparameters, backbone, context)
                .await;
        }
        // Dropping this future stops the training.
        let token = context.token.child_token();
        let _stop = token.clone().drop_guard();
        let (writer, coming) = CheckpointWriter::new();
        let training = Training {
            runner: Arc::clone(self),
            trial: Arc::clone(trial),
            hyperparameters,
            backbone,
            start,
            writer: self.checkpoint.then_some(writer),
            token: token.clone(),
            progress: context.progress.clone(),
        };
        let trained = pool::run(&token, move || training.run());
        // Checkpoints are written while the trial goes on. Both end together, because
        // the trial has the other end.
        let write = async {
            let written = self.store.keep_coming(trial.id.as_str(), coming).await;
            if written.is_err() {
                token.cancel();
            }
            written
        };
        let (trained, before) = futures::join!(trained, write);
        let before = before?;
        match trained {
            Ok(end) => Ok(end.after(before)),
            Err(error) => self.not_trained(trial, error),
        }
    }

    /// The end of a trial whose thread did not come back with one.
    pub(super) fn not_trained(
        &self,
        trial: &Trial,
        error: PoolError,
    ) -> Result<TrialEnd> {
        match error {
            PoolError::Panicked(message) => {
                let record = self.record(trial, Status::Failed);
                let message =
                    format!("{message}; this is a bug of Atoll, please report it");
                let record = record.because("INTERNAL_ERROR", message);
                Ok(TrialEnd::without_network(record))
            }
            error => Err(pool_error(error)),
        }
    }

    /// The checkpoint that a trial goes on from: its own, if its process was killed, or
    /// the one that its row names.
    async fn start(&self, trial: &Trial, context: &CallContext) -> Result<Start> {
        let own = match self.checkpoint {
            true => self.store.unfinished(trial.id.as_str()).await?,
            false => None,
        };
        let Some(name) = &trial.resume_from else {
            return Ok(own.map_or(Start::Fresh, |own| Start::From(Arc::new(own))));
        };
        Ok(match load_checkpoint(name, context).await {
            Ok(named) => Start::From(match own {
                Some(own) if own.epochs() > named.epochs() => Arc::new(own),
                _ => named,
            }),
            Err(error) => {
                let record = self.record(trial, Status::Failed);
                let error = format!("resume_from: {}", error.strip_backtrace());
                Start::Unusable(Box::new(record.because("INVALID_CHECKPOINT", error)))
            }
        })
    }

    /// Keeps what a trial came to.
    async fn keep(
        &self,
        mut record: TrialRecord,
        network: Option<Vec<u8>>,
        checkpoints: CheckpointChain,
    ) -> Result<TrialRecord> {
        let CheckpointChain { before, last } = checkpoints;
        record.checkpoint_sha256 = match &last {
            Some(last) => Some(self.store.keep_checkpoint(last).await?),
            None => before.clone(),
        };
        let is_final = record.status.is_final();
        let (id, kept) = (record.trial_id.clone(), record.checkpoint_sha256.clone());
        let record = self.store.keep(record, network).await?;
        if self.checkpoint && is_final {
            let outdated = before.filter(|before| kept.as_ref() != Some(before));
            self.store.finish(&id, outdated.as_deref()).await?;
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use atoll_udf_common::Location;

    use super::*;
    use crate::dataset::{Snapshot, Split, images};

    async fn runner(
        splits: &[Split],
        split_seed: u64,
    ) -> (tempfile::TempDir, Arc<TrialRunner>) {
        let folder = tempfile::tempdir().unwrap();
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        let rows: Vec<_> = (0..40u8)
            .map(|n| (vec![n, if n % 2 == 0 { 0 } else { 255 }], u32::from(n % 2)))
            .collect();
        let snapshot = Snapshot::from_table("digits", &images(&rows, splits)).unwrap();
        let shared = Arc::<TrainShared>::default();
        let snapshot = scanned(snapshot, &root, &shared).await;
        let store = TrialStore::new(root);
        (
            folder,
            Arc::new(TrialRunner {
                snapshot,
                backbone: None,
                store,
                drawing: Drawing {
                    seed: split_seed,
                    ..Drawing::default()
                },
                metric: None,
                timeout: None,
                threads: 1,
                checkpoint: false,
                shared,
            }),
        )
    }

    /// A dataset as a statement has it.
    async fn scanned(
        snapshot: Snapshot,
        root: &Location,
        shared: &TrainShared,
    ) -> Shared<SharedSnapshot> {
        let name = snapshot.sha256.clone();
        let publish = || snapshot.publish(root, &shared.snapshots);
        shared.scans.get_or_make(&name, publish).await.unwrap()
    }

    fn given(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    fn id(runner: &TrialRunner, json: &str) -> String {
        runner.trial(given(json)).unwrap().id.to_string()
    }

    async fn run(runner: &Arc<TrialRunner>, json: &str) -> TrialRecord {
        let trial = Arc::new(runner.trial(given(json)).unwrap());
        let context = CallContext::default();
        Arc::clone(runner).run(trial, &context).await.unwrap()
    }

    const MLP: &str = r#""architecture": "dense(2)", "learning_rate": 0.5, "epochs": 2"#;

    #[tokio::test]
    async fn what_decides_the_result_names_the_trial() {
        let (_folder, runner0) = runner(&[], 0).await;
        let (_folder, runner1) = runner(&[], 1).await;
        let base = id(&runner0, "{}");
        assert_eq!(base.len(), 64);
        // Writing a default out, or a NULL, changes nothing.
        assert_eq!(
            id(&runner0, r#"{"epochs": 10, "seed": 0, "hidden": null}"#),
            base
        );
        assert_ne!(id(&runner0, r#"{"seed": 1}"#), base);
        assert_ne!(id(&runner1, "{}"), base);
        let refused = id(&runner0, r#"{"learning_rate": -1}"#);
        assert_ne!(refused, id(&runner0, r#"{"learning_rate": -2}"#));
    }

    #[tokio::test]
    async fn the_seed_of_the_split_does_not_matter_where_data_comes_split() {
        let mut splits = [Split::Train; 40];
        splits[7] = Split::Validation;
        let (_folder, runner0) = runner(&splits, 0).await;
        let (_folder, runner1) = runner(&splits, 1).await;
        assert_eq!(id(&runner0, "{}"), id(&runner1, "{}"));
    }

    #[tokio::test]
    async fn equal_trials_at_once_train_once() {
        let (_folder, runner) = runner(&[], 0).await;
        let json = format!("{{{MLP}, \"seed\": 77}}");
        let trial = Arc::new(runner.trial(given(&json)).unwrap());
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (runner, trial) = (Arc::clone(&runner), Arc::clone(&trial));
                let run = async move { runner.run(trial, &CallContext::default()).await };
                tokio::spawn(run)
            })
            .collect();
        let mut records = Vec::new();
        for task in tasks {
            records.push(task.await.unwrap().unwrap());
        }
        // Had any of them trained again, it would differ in its seconds.
        assert!(
            records.iter().all(|record| *record == records[0]),
            "{records:?}"
        );
        assert_eq!(records[0].status, Status::Succeeded);
        assert_eq!(records[0].history.len(), 2);
        let found = runner.find(&trial).await.unwrap();
        assert_eq!(found.as_ref(), Some(&records[0]));
    }

    #[tokio::test]
    async fn a_bad_trial_is_a_record_that_says_why() {
        let (_folder, runner) = runner(&[], 0).await;
        let record = run(&runner, r#"{"learning_rate": -1, "seed": 5}"#).await;
        assert_eq!(record.status, Status::Infeasible);
        assert_eq!(record.error_code.as_deref(), Some("INVALID_HYPERPARAMETER"));
        assert!(
            record
                .error
                .unwrap()
                .contains("learning_rate must be greater than 0")
        );
        assert_eq!(record.seed, Some(5));
        let record = run(&runner, r#"{"architecture": "dense(3)"}"#).await;
        assert_eq!(record.status, Status::Infeasible);
        assert_eq!(record.error_code.as_deref(), Some("INVALID_ARCHITECTURE"));
    }

    #[tokio::test]
    async fn divergence_is_final_and_keeps_its_epoch() {
        let (_folder, runner) = runner(&[], 0).await;
        let json = r#"{"architecture": "dense(8), dense(2)", "learning_rate": 1e30}"#;
        let record = run(&runner, json).await;
        assert_eq!(record.status, Status::Diverged);
        assert!(
            record.error.as_deref().unwrap().contains("in epoch "),
            "{record:?}"
        );
        assert!(record.status.is_final());
    }

    #[tokio::test]
    async fn a_timeout_is_kept_but_runs_again() {
        let (_folder, runner) = runner(&[], 0).await;
        let hurried = Arc::new(TrialRunner {
            snapshot: runner.snapshot.clone(),
            backbone: None,
            store: runner.store.clone(),
            drawing: Drawing::default(),
            metric: None,
            timeout: Some(Duration::ZERO),
            threads: 1,
            checkpoint: false,
            shared: Arc::clone(&runner.shared),
        });
        let json = format!("{{{MLP}}}");
        let record = run(&hurried, &json).await;
        assert_eq!(record.status, Status::TimedOut);
        assert_eq!(record.error_code.as_deref(), Some("TIMED_OUT"));
        assert_eq!(run(&runner, &json).await.status, Status::Succeeded);
        // The finished trial is found, however short the time.
        assert_eq!(run(&hurried, &json).await.status, Status::Succeeded);
    }

    #[tokio::test]
    async fn a_panic_while_training_is_a_failed_trial_that_says_so() {
        let (folder, runner) = runner(&[], 0).await;
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        let rows: Vec<_> = (0..8u8).map(|n| (vec![n, n], u32::from(n % 2))).collect();
        let mut broken = Snapshot::from_table("digits", &images(&rows, &[])).unwrap();
        // No data set that was checked has a label without a class.
        broken.dataset.labels = Labels::Classes {
            indices: vec![7; 8],
            names: vec!["a".to_string(), "b".to_string()],
        };
        let broken = Arc::new(TrialRunner {
            snapshot: scanned(broken, &root, &runner.shared).await,
            backbone: None,
            store: runner.store.clone(),
            drawing: Drawing::default(),
            metric: None,
            timeout: None,
            threads: 1,
            checkpoint: false,
            shared: Arc::clone(&runner.shared),
        });
        let record = run(&broken, &format!("{{{MLP}}}")).await;
        assert_eq!(record.status, Status::Failed);
        assert_eq!(record.error_code.as_deref(), Some("INTERNAL_ERROR"));
        let error = record.error.unwrap();
        assert!(error.contains("index out of bounds"), "{error}");
    }

    #[tokio::test]
    async fn a_cancelled_trial_is_not_kept() {
        let (_folder, runner) = runner(&[], 0).await;
        let trial = runner.trial(given(r#"{"epochs": 100000, "architecture": "mlp"}"#));
        let trial = Arc::new(trial.unwrap());
        let context = CallContext::default();
        let token = context.token.clone();
        let (runner_too, trial_too) = (Arc::clone(&runner), Arc::clone(&trial));
        let running =
            tokio::spawn(async move { runner_too.run(trial_too, &context).await });
        while runner.shared.trainings_started() == 0 {
            tokio::task::yield_now().await;
        }
        token.cancel();
        let error = running.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        assert_eq!(runner.store.find(trial.id.as_str()).await.unwrap(), None);
    }
}
