//! One trial: what names it, how it runs, and how its end becomes a record.

mod training;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use atoll_compute::pool::{self, PoolError};
use atoll_nn::{Checkpoint, Error, Hyperparameters};
use atoll_udf_common::{CallContext, pool_error};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::checkpoints::{self, Maker};
use crate::record::{Status, TrialRecord};
use crate::single_flight::SingleFlight;
use crate::snapshot::SharedSnapshot;
use crate::store::TrialStore;
use training::code;

/// Trainings of this process so far.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Trials that are running now, so that equal ones run once.
static RUNNING: LazyLock<SingleFlight<TrialRecord>> = LazyLock::new(Default::default);

/// How many trainings this process has started. A trial that was looked up does not
/// count, so a test can tell that nothing was trained twice.
pub fn trainings_started() -> u64 {
    STARTED.load(Ordering::SeqCst)
}

/// What the trials of one call on one dataset have in common.
#[derive(Debug)]
pub(crate) struct Study {
    /// The images.
    pub(crate) snapshot: SharedSnapshot,
    /// Where trials are kept.
    pub(crate) store: TrialStore,
    /// Seeds the choice of validation rows.
    pub(crate) split_seed: u64,
    /// How long a trial may train.
    pub(crate) timeout: Option<Duration>,
    /// How many threads work on one trial.
    pub(crate) threads: usize,
    /// Whether trials write checkpoints and go on from them.
    pub(crate) checkpoint: bool,
    /// Keeps the scan findable for other calls of the same statement.
    pub(crate) _scan: Arc<OnceCell<SharedSnapshot>>,
}

/// A trial that has a name, but has not run yet.
#[derive(Debug)]
pub(crate) struct Trial {
    id: String,
    given: Map<String, Value>,
    hyperparameters: Result<Hyperparameters, Error>,
    /// The path or URL of a checkpoint to go on from.
    resume_from: Option<String>,
}

/// What decides the result of a trial, in the order in which it is hashed.
#[derive(Serialize)]
struct Identity<'a, H> {
    version: u32,
    snapshot: &'a str,
    /// Absent where the data comes split.
    split_seed: Option<u64>,
    engine: String,
    hyperparameters: H,
}

impl<H: Serialize> Identity<'_, H> {
    /// The name of the trial.
    fn digest(&self) -> Result<String> {
        let text = serde_json::to_vec(self)
            .map_err(|error| exec_datafusion_err!("cannot name a trial: {error}"))?;
        Ok(hex::encode(Sha256::digest(text)))
    }
}

/// How a trial left the compute pool.
struct Ended {
    record: TrialRecord,
    network: Option<Vec<u8>>,
    /// The state at its end.
    checkpoint: Option<Checkpoint>,
    /// Whether the record says something about the trial, and not only about the
    /// checkpoint that it was to go on from.
    keeps: bool,
}

impl Ended {
    fn without_network(record: TrialRecord) -> Self {
        Self {
            record,
            network: None,
            checkpoint: None,
            keeps: true,
        }
    }
}

impl Study {
    /// Names the trial with these hyperparameters, given as a row has them.
    pub(crate) fn trial(&self, mut given: Map<String, Value>) -> Result<Trial> {
        given.retain(|_, value| !value.is_null());
        let hyperparameters = Hyperparameters::from_json(&given);
        let id = match &hyperparameters {
            Ok(complete) => self.identify(complete),
            // The order of a JSON map depends on how serde_json was built.
            Err(_) => self.identify(given.iter().collect::<BTreeMap<_, _>>()),
        }?;
        Ok(Trial {
            id,
            given,
            hyperparameters,
            resume_from: None,
        })
    }

    /// What chooses the validation rows, unless the data came split.
    fn split_seed(&self) -> Option<u64> {
        let splits = self.snapshot.validation.is_none();
        splits.then_some(self.split_seed)
    }

    fn identify(&self, hyperparameters: impl Serialize) -> Result<String> {
        Identity {
            version: 1,
            snapshot: &self.snapshot.sha256,
            split_seed: self.split_seed(),
            engine: atoll_nn::engine(),
            hyperparameters,
        }
        .digest()
    }

    /// The trial, if it is kept and running it again would give the same.
    pub(crate) async fn find(&self, trial: &Trial) -> Result<Option<TrialRecord>> {
        let found = self.store.find(&trial.id).await?;
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
        // A checkpoint that does not fit is the affair of the row that names it.
        let start = trial.resume_from.as_deref().unwrap_or_default();
        let key = format!("{}#{}#{start}", self.store.root().url, trial.id);
        let cell = RUNNING.cell(&key);
        let drawn = AtomicBool::new(false);
        let run = || async {
            // Another statement or process may have finished it meanwhile.
            if let Some(found) = self.find(&trial).await? {
                return Ok(found);
            }
            drawn.store(trial.hyperparameters.is_ok(), Ordering::Relaxed);
            let ended = match self.start(&trial, context).await? {
                Ok(start) => self.end(&trial, start, context).await?,
                Err(refused) => refused,
            };
            self.keep(ended).await
        };
        let record = cell.get_or_try_init(run).await.cloned()?;
        if !drawn.load(Ordering::Relaxed) {
            context.progress.trial_done();
        }
        Ok(record)
    }

    /// The checkpoint that a trial goes on from: its own, if its process was killed, or
    /// the one that its row names.
    async fn start(
        &self,
        trial: &Trial,
        context: &CallContext,
    ) -> Result<Result<Option<Arc<Checkpoint>>, Ended>> {
        let own = match self.checkpoint {
            true => self.store.unfinished(&trial.id).await?,
            false => None,
        };
        let Some(name) = &trial.resume_from else {
            return Ok(Ok(own.map(Arc::new)));
        };
        match checkpoints::load(name, context).await {
            Ok(named) => Ok(Ok(Some(match own {
                Some(own) if own.epochs() > named.epochs() => Arc::new(own),
                _ => named,
            }))),
            Err(error) => {
                let record = trial.record(self, Status::Failed);
                let error = format!("resume_from: {}", error.strip_backtrace());
                Ok(Err(Ended {
                    keeps: false,
                    ..Ended::without_network(record.because("INVALID_CHECKPOINT", error))
                }))
            }
        }
    }

    /// Keeps what a trial came to.
    async fn keep(&self, ended: Ended) -> Result<TrialRecord> {
        let Ended {
            mut record,
            network,
            checkpoint,
            keeps,
        } = ended;
        if !keeps {
            return Ok(record);
        }
        let passing = record.checkpoint_sha256.take();
        if let Some(checkpoint) = &checkpoint {
            let sha256 = self.store.keep_checkpoint(checkpoint).await?;
            record.checkpoint_sha256 = Some(sha256);
        } else {
            record.checkpoint_sha256.clone_from(&passing);
        }
        let finished = record.status.is_final();
        let last = record.checkpoint_sha256.clone();
        let (id, record) = (
            record.trial_id.clone(),
            self.store.keep(record, network).await?,
        );
        if self.checkpoint && finished {
            let passing = passing.filter(|passing| last.as_ref() != Some(passing));
            self.store.finish(&id, passing.as_deref()).await?;
        }
        Ok(record)
    }

    async fn end(
        self: &Arc<Self>,
        trial: &Arc<Trial>,
        start: Option<Arc<Checkpoint>>,
        context: &CallContext,
    ) -> Result<Ended> {
        let hyperparameters = match &trial.hyperparameters {
            Ok(hyperparameters) => hyperparameters.clone(),
            Err(error) => {
                let record = trial.record(self, Status::Infeasible);
                let record = record.because(code(error), error.to_string());
                return Ok(Ended::without_network(record));
            }
        };
        // Dropping this future stops the training.
        let token = context.token.child_token();
        let _stop = token.clone().drop_guard();
        let (study, shared, poll) = (Arc::clone(self), Arc::clone(trial), token.clone());
        let progress = context.progress.clone();
        let (maker, coming) = Maker::new();
        let maker = self.checkpoint.then_some(maker);
        let trained = pool::run(&token, move || {
            let start = start.as_deref();
            study.train(
                (&shared, &hyperparameters),
                start,
                maker,
                (&poll, &progress),
            )
        });
        // Checkpoints are written while the trial goes on. Both end together, because
        // the trial has the other end.
        let write = async {
            let written = self.store.keep_coming(&trial.id, coming).await;
            if written.is_err() {
                token.cancel();
            }
            written
        };
        let (trained, latest) = futures::join!(trained, write);
        let latest = latest?;
        match trained {
            Ok(Some(mut ended)) => {
                ended.record.checkpoint_sha256 = latest;
                Ok(ended)
            }
            Ok(None) => exec_err!("train: the statement was cancelled"),
            Err(PoolError::Panicked(message)) => {
                let record = trial.record(self, Status::Failed);
                let message =
                    format!("{message}; this is a bug of Atoll, please report it");
                let record = record.because("INTERNAL_ERROR", message);
                Ok(Ended::without_network(record))
            }
            Err(error) => Err(pool_error(error)),
        }
    }
}

impl Trial {
    /// The same trial, going on from a checkpoint if there is one.
    pub(crate) fn resuming(self, resume_from: Option<String>) -> Self {
        Self {
            resume_from,
            ..self
        }
    }

    /// A record of this trial without results.
    pub(crate) fn record(&self, study: &Study, status: Status) -> TrialRecord {
        let complete = self.hyperparameters.as_ref().ok();
        let seed = match complete {
            Some(hyperparameters) => i64::try_from(hyperparameters.seed).ok(),
            None => self.given.get("seed").and_then(Value::as_i64),
        };
        let all = complete.and_then(|complete| serde_json::to_value(complete).ok());
        let hyperparameters = match all {
            Some(Value::Object(all)) => all,
            _ => self.given.clone(),
        };
        TrialRecord {
            seed,
            snapshot: Some(study.snapshot.sha256.clone()),
            split_seed: study.split_seed(),
            hyperparameters,
            warnings: study.snapshot.warnings.clone(),
            ..TrialRecord::new(self.id.clone(), status)
        }
    }

    /// What tells this trial from others on a progress bar.
    fn title(&self) -> String {
        let words = self
            .given
            .iter()
            .map(|(key, value)| format!("{key} {value}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// A trial that cannot even be named, such as one with a broken row.
pub(crate) fn refused(
    status: Status,
    error_code: &str,
    error: impl Into<String>,
) -> Box<TrialRecord> {
    Box::new(TrialRecord::new(String::new(), status).because(error_code, error))
}

#[cfg(test)]
mod tests {
    use atoll_udf_common::Location;

    use super::*;
    use crate::rows::Part;
    use crate::rows::tests::rows;
    use crate::snapshot::Snapshot;

    async fn study(parts: &[Part], split_seed: u64) -> (tempfile::TempDir, Arc<Study>) {
        let folder = tempfile::tempdir().unwrap();
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        let images: Vec<_> = (0..40u8)
            .map(|n| (vec![n, if n % 2 == 0 { 0 } else { 255 }], u32::from(n % 2)))
            .collect();
        let snapshot = Snapshot::from_rows("digits", &rows(&images, parts)).unwrap();
        let snapshot = snapshot.publish(&root).await.unwrap();
        let store = TrialStore::new(root);
        (
            folder,
            Arc::new(Study {
                snapshot,
                store,
                split_seed,
                timeout: None,
                threads: 1,
                checkpoint: false,
                _scan: Arc::default(),
            }),
        )
    }

    fn given(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    fn id(study: &Study, json: &str) -> String {
        study.trial(given(json)).unwrap().id
    }

    async fn run(study: &Arc<Study>, json: &str) -> TrialRecord {
        let trial = Arc::new(study.trial(given(json)).unwrap());
        let context = CallContext::default();
        Arc::clone(study).run(trial, &context).await.unwrap()
    }

    const MLP: &str = r#""architecture": "dense(2)", "learning_rate": 0.5, "epochs": 2"#;

    #[tokio::test]
    async fn what_decides_the_result_names_the_trial() {
        let (_folder, study0) = study(&[], 0).await;
        let (_folder, study1) = study(&[], 1).await;
        let base = id(&study0, "{}");
        assert_eq!(base.len(), 64);
        // Writing a default out, or a NULL, changes nothing.
        assert_eq!(
            id(&study0, r#"{"epochs": 10, "seed": 0, "hidden": null}"#),
            base
        );
        assert_ne!(id(&study0, r#"{"seed": 1}"#), base);
        assert_ne!(id(&study1, "{}"), base);
        let refused = id(&study0, r#"{"learning_rate": -1}"#);
        assert_ne!(refused, id(&study0, r#"{"learning_rate": -2}"#));
    }

    /// A storage of before is found again. The digests were made with Python's hashlib
    /// from the JSON text of version 1.
    #[test]
    fn a_trial_keeps_its_name() {
        let name = |split_seed, json: &str| {
            let given = given(json);
            let complete = Hyperparameters::from_json(&given);
            let (version, snapshot, engine) = (1, "5a", "some engine".to_string());
            match complete {
                Ok(hyperparameters) => Identity {
                    version,
                    snapshot,
                    split_seed,
                    engine,
                    hyperparameters,
                }
                .digest(),
                Err(_) => Identity {
                    version,
                    snapshot,
                    split_seed,
                    engine,
                    hyperparameters: given.iter().collect::<BTreeMap<_, _>>(),
                }
                .digest(),
            }
            .unwrap()
        };
        assert_eq!(
            name(Some(0), "{}"),
            "808980cd2709fbc00573ea811c347559c761035eb9f05b5861c823b2ef401599"
        );
        let other = r#"{"hidden": 32, "augmentation": {"shift": 2}, "filters": [4, 8],
            "epochs": 3, "stop_after": 2, "schedule": "step", "loss": "mse", "seed": 9}"#;
        assert_eq!(
            name(None, other),
            "1238149fe67ea1851b24dde145d5067396fdaef3555b362d4636c3abe4740823"
        );
        let refused = r#"{"seed": 9, "learning_rate": -1, "batch_size": 8}"#;
        assert_eq!(
            name(Some(7), refused),
            "ac2421e125c1d2b2dc5980ee4237d9072b0e2e4eb77b8688e7c7931b4fc2d316"
        );
    }

    #[tokio::test]
    async fn the_seed_of_the_split_does_not_matter_where_data_comes_split() {
        let mut parts = [Part::Train; 40];
        parts[7] = Part::Validation;
        let (_folder, study0) = study(&parts, 0).await;
        let (_folder, study1) = study(&parts, 1).await;
        assert_eq!(id(&study0, "{}"), id(&study1, "{}"));
    }

    #[tokio::test]
    async fn equal_trials_at_once_train_once() {
        let (_folder, study) = study(&[], 0).await;
        let json = format!("{{{MLP}, \"seed\": 77}}");
        let trial = Arc::new(study.trial(given(&json)).unwrap());
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (study, trial) = (Arc::clone(&study), Arc::clone(&trial));
                let run = async move { study.run(trial, &CallContext::default()).await };
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
        let found = study.find(&trial).await.unwrap();
        assert_eq!(found.as_ref(), Some(&records[0]));
    }

    #[tokio::test]
    async fn a_bad_trial_is_a_record_that_says_why() {
        let (_folder, study) = study(&[], 0).await;
        let record = run(&study, r#"{"learning_rate": -1, "seed": 5}"#).await;
        assert_eq!(record.status, Status::Infeasible);
        assert_eq!(record.error_code.as_deref(), Some("INVALID_HYPERPARAMETER"));
        assert!(
            record
                .error
                .unwrap()
                .contains("learning_rate must be greater than 0")
        );
        assert_eq!(record.seed, Some(5));
        let record = run(&study, r#"{"architecture": "dense(3)"}"#).await;
        assert_eq!(record.status, Status::Infeasible);
        assert_eq!(record.error_code.as_deref(), Some("INVALID_ARCHITECTURE"));
    }

    #[tokio::test]
    async fn divergence_is_final_and_keeps_its_epoch() {
        let (_folder, study) = study(&[], 0).await;
        let json = r#"{"architecture": "dense(8), dense(2)", "learning_rate": 1e30}"#;
        let record = run(&study, json).await;
        assert_eq!(record.status, Status::Diverged);
        assert!(
            record.error.as_deref().unwrap().contains("in epoch "),
            "{record:?}"
        );
        assert!(record.status.is_final());
    }

    #[tokio::test]
    async fn a_timeout_is_kept_but_runs_again() {
        let (_folder, study) = study(&[], 0).await;
        let hurried = Arc::new(Study {
            snapshot: study.snapshot.clone(),
            store: study.store.clone(),
            split_seed: 0,
            timeout: Some(Duration::ZERO),
            threads: 1,
            checkpoint: false,
            _scan: Arc::default(),
        });
        let json = format!("{{{MLP}}}");
        let record = run(&hurried, &json).await;
        assert_eq!(record.status, Status::TimedOut);
        assert_eq!(record.error_code.as_deref(), Some("TIMED_OUT"));
        assert_eq!(run(&study, &json).await.status, Status::Succeeded);
        // The finished trial is found, however short the time.
        assert_eq!(run(&hurried, &json).await.status, Status::Succeeded);
    }

    #[tokio::test]
    async fn a_panic_while_training_is_a_failed_trial_that_says_so() {
        let (folder, study) = study(&[], 0).await;
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        let images: Vec<_> = (0..8u8).map(|n| (vec![n, n], u32::from(n % 2))).collect();
        let mut broken = Snapshot::from_rows("digits", &rows(&images, &[])).unwrap();
        // No data set that was checked has a label without a class.
        broken.dataset.labels = atoll_nn::Labels::Classes {
            indices: vec![7; 8],
            names: vec!["a".to_string(), "b".to_string()],
        };
        let broken = Arc::new(Study {
            snapshot: broken.publish(&root).await.unwrap(),
            store: study.store.clone(),
            split_seed: 0,
            timeout: None,
            threads: 1,
            checkpoint: false,
            _scan: Arc::default(),
        });
        let record = run(&broken, &format!("{{{MLP}}}")).await;
        assert_eq!(record.status, Status::Failed);
        assert_eq!(record.error_code.as_deref(), Some("INTERNAL_ERROR"));
        let error = record.error.unwrap();
        assert!(error.contains("index out of bounds"), "{error}");
    }

    #[tokio::test]
    async fn a_cancelled_trial_is_not_kept() {
        let (_folder, study) = study(&[], 0).await;
        let trial = study.trial(given(r#"{"epochs": 100000, "architecture": "mlp"}"#));
        let trial = Arc::new(trial.unwrap());
        let context = CallContext::default();
        let token = context.token.clone();
        let (study_too, trial_too) = (Arc::clone(&study), Arc::clone(&trial));
        let running =
            tokio::spawn(async move { study_too.run(trial_too, &context).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        token.cancel();
        let error = running.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        assert_eq!(study.store.find(&trial.id).await.unwrap(), None);
    }
}
