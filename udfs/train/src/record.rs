//! What is known about a trial, and how the trial store writes it: as JSON.

use datafusion::common::{Result, exec_datafusion_err};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The layout of a record. Records of another version count as absent.
const VERSION: u32 = 3;

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    /// It has a network.
    Succeeded,
    /// Its loss became NaN or infinite.
    Diverged,
    /// Its hyperparameters are outside their domains or describe no network.
    Infeasible,
    /// An internal error, or data that cannot be used. Another run tries again.
    Failed,
    /// It took longer than the options allow. Another run tries again.
    TimedOut,
}

impl Status {
    /// The name in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Diverged => "DIVERGED",
            Self::Infeasible => "INFEASIBLE",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// Whether running the trial again would give the same.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Diverged | Self::Infeasible)
    }
}

/// One trial. A number that is not finite is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrialRecord {
    /// The layout of this record.
    pub(crate) version: u32,
    /// Names the trial: a digest of everything that decides its result.
    pub(crate) trial_id: String,
    /// How it ended.
    pub(crate) status: Status,
    /// A word for programs when it did not succeed.
    pub(crate) error_code: Option<String>,
    /// A sentence for people when it did not succeed.
    pub(crate) error: Option<String>,
    /// Epochs that ended.
    pub(crate) epochs: Option<u32>,
    /// The epoch whose weights the network has.
    pub(crate) best_epoch: Option<u32>,
    /// Training loss of the best epoch.
    pub(crate) train_loss: Option<f64>,
    /// Validation loss of the best epoch.
    pub(crate) validation_loss: Option<f64>,
    /// Validation accuracy of the best epoch.
    pub(crate) validation_accuracy: Option<f64>,
    /// The metric of the best epoch, if the options name one; in folds its mean.
    #[serde(default)]
    pub(crate) validation_score: Option<f64>,
    /// How far the scores of the folds are apart: their standard deviation.
    #[serde(default)]
    pub(crate) validation_score_std: Option<f64>,
    /// The name of that metric.
    #[serde(default)]
    pub(crate) metric: Option<String>,
    /// What each fold came to, of a trial in folds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) folds: Vec<FoldRecord>,
    /// Every epoch that ended.
    pub(crate) history: Vec<EpochRecord>,
    /// Names the network file.
    pub(crate) model_sha256: Option<String>,
    /// Names the checkpoint at its end, if one was asked for.
    pub(crate) checkpoint_sha256: Option<String>,
    /// The seed of the trial.
    pub(crate) seed: Option<i64>,
    /// When training began, in microseconds since 1970, UTC.
    pub(crate) started_at: Option<i64>,
    /// The thread that trained it; see `atoll_compute::pool::worker`.
    pub(crate) worker: Option<String>,
    /// How long it trained.
    pub(crate) seconds: f64,
    /// What trained it.
    pub(crate) engine: String,
    /// The snapshot that it saw, for whoever reads the store.
    pub(crate) snapshot: Option<String>,
    /// What chose its validation rows; absent where the data came split.
    #[serde(default)]
    pub(crate) split_seed: Option<u64>,
    /// The options by which the trial is found again on its snapshot; none in records of
    /// before there were such.
    #[serde(default)]
    pub(crate) options: Option<Map<String, Value>>,
    /// All hyperparameters, for whoever reads the store.
    pub(crate) hyperparameters: Map<String, Value>,
    /// What is odd about the data that it saw.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

/// One epoch of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    /// Counted from 1.
    pub(crate) epoch: u32,
    /// The learning rate of its last step.
    pub(crate) learning_rate: Option<f64>,
    /// Mean loss over its mini-batches.
    pub(crate) train_loss: Option<f64>,
    /// Loss over the validation rows after it.
    pub(crate) validation_loss: Option<f64>,
    /// Accuracy over the validation rows after it.
    pub(crate) validation_accuracy: Option<f64>,
    /// The metric after it, if the options name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) validation_score: Option<f64>,
    /// How long it took.
    pub(crate) seconds: Option<f64>,
}

/// One fold of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoldRecord {
    /// Counted from 1.
    pub(crate) fold: u32,
    /// Rows that its network learned from.
    pub(crate) train_rows: u64,
    /// Rows that validated it.
    pub(crate) validation_rows: u64,
    /// Epochs that ended.
    pub(crate) epochs: u32,
    /// The best of them.
    pub(crate) best_epoch: u32,
    /// Training loss of the best epoch.
    pub(crate) train_loss: Option<f64>,
    /// Validation loss of the best epoch.
    pub(crate) validation_loss: Option<f64>,
    /// Validation accuracy of the best epoch.
    pub(crate) validation_accuracy: Option<f64>,
    /// What its best epoch is judged by.
    pub(crate) validation_score: Option<f64>,
    /// How long it trained.
    pub(crate) seconds: f64,
}

/// What a trial is judged by without a metric, the larger the better: the accuracy, or the
/// negative loss where there is none, as scikit-learn's scorers have it.
pub(crate) fn plain_score(accuracy: Option<f64>, loss: Option<f64>) -> Option<f64> {
    accuracy.or(loss.map(|loss| -loss))
}

impl From<&atoll_nn::Epoch> for EpochRecord {
    fn from(epoch: &atoll_nn::Epoch) -> Self {
        Self {
            epoch: epoch.epoch,
            learning_rate: finite(epoch.learning_rate),
            train_loss: finite(epoch.train_loss),
            validation_loss: finite(epoch.validation_loss),
            validation_accuracy: finite(epoch.validation_accuracy),
            validation_score: epoch.validation_score.and_then(finite),
            seconds: finite(epoch.seconds),
        }
    }
}

/// The mean; none if any is missing.
pub(crate) fn mean_of(numbers: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let numbers: Option<Vec<f64>> = numbers.collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty())?;
    Some(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// JSON has no NaN and no infinity, and SQL's NULL sorts better than either.
pub(crate) fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

impl TrialRecord {
    /// A trial that did not train, yet.
    pub(crate) fn new(trial_id: String, status: Status) -> Self {
        Self {
            version: VERSION,
            trial_id,
            status,
            error_code: None,
            error: None,
            epochs: None,
            best_epoch: None,
            train_loss: None,
            validation_loss: None,
            validation_accuracy: None,
            validation_score: None,
            validation_score_std: None,
            metric: None,
            folds: Vec::new(),
            history: Vec::new(),
            model_sha256: None,
            checkpoint_sha256: None,
            seed: None,
            started_at: None,
            worker: None,
            seconds: 0.0,
            engine: atoll_nn::engine(),
            snapshot: None,
            split_seed: None,
            options: None,
            hyperparameters: Map::new(),
            warnings: Vec::new(),
        }
    }

    /// The same trial with the reason why it did not succeed.
    pub(crate) fn because(mut self, code: &str, error: impl Into<String>) -> Self {
        self.error_code = Some(code.to_string());
        self.error = Some(error.into());
        self
    }

    /// The same trial, ended in this way for this reason.
    pub(crate) fn ended(
        mut self,
        status: Status,
        code: &str,
        error: impl Into<String>,
    ) -> Self {
        self.status = status;
        self.because(code, error)
    }

    /// What the trial is judged by; none where the metric that was asked for is not
    /// defined.
    pub(crate) fn score(&self) -> Option<f64> {
        match self.metric {
            Some(_) => self.validation_score,
            None => {
                let plain = plain_score(self.validation_accuracy, self.validation_loss);
                self.validation_score.or(plain)
            }
        }
    }

    /// Gives the trial the means of its folds, and how far their scores are apart.
    pub(crate) fn average_folds(&mut self) {
        let folds = self.folds.iter();
        self.validation_loss = mean_of(folds.clone().map(|fold| fold.validation_loss));
        self.validation_accuracy =
            mean_of(folds.clone().map(|fold| fold.validation_accuracy));
        let mean = mean_of(folds.clone().map(|fold| fold.validation_score));
        self.validation_score = mean;
        self.validation_score_std = mean.and_then(|mean| {
            let squares = folds.map(|fold| Some((fold.validation_score? - mean).powi(2)));
            mean_of(squares).map(f64::sqrt)
        });
    }

    /// Why it has no network, if it has none.
    pub(crate) fn failure(&self) -> Option<String> {
        let status = self.status.name();
        (self.status != Status::Succeeded).then(|| match &self.error {
            Some(error) => format!("{status}: {error}"),
            None => status.to_string(),
        })
    }

    /// The bytes that the store keeps.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| exec_datafusion_err!("cannot write a trial: {error}"))
    }

    /// Reads what the store kept for `trial_id`; the error says why it cannot be.
    pub(crate) fn from_json(bytes: &[u8], trial_id: &str) -> Result<Self, String> {
        let record: Self =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.version != VERSION {
            return Err(format!("it has version {}", record.version));
        }
        if record.trial_id != trial_id {
            return Err(format!("it is the record of trial {}", record.trial_id));
        }
        Ok(record)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A trial that succeeded in one epoch.
    pub(crate) fn record(trial_id: &str) -> TrialRecord {
        let epoch = EpochRecord {
            epoch: 1,
            learning_rate: Some(0.1),
            train_loss: Some(0.1 + 0.2),
            validation_loss: None,
            validation_accuracy: Some(0.97),
            validation_score: None,
            seconds: Some(1.0 / 3.0),
        };
        TrialRecord {
            epochs: Some(1),
            best_epoch: Some(1),
            train_loss: Some(0.1 + 0.2),
            history: vec![epoch],
            seed: Some(i64::MAX),
            seconds: 1.0 / 3.0,
            ..TrialRecord::new(trial_id.to_string(), Status::Succeeded)
        }
    }

    #[test]
    fn json_gives_the_same_record() {
        let written = record("a1");
        let json = written.to_json().unwrap();
        assert_eq!(TrialRecord::from_json(&json, "a1").unwrap(), written);
    }

    #[test]
    fn the_record_of_another_trial_or_version_is_refused() {
        let json = record("a1").to_json().unwrap();
        assert!(
            TrialRecord::from_json(&json, "b2")
                .unwrap_err()
                .contains("a1")
        );
        let newer = TrialRecord {
            version: 4,
            ..record("a1")
        }
        .to_json()
        .unwrap();
        let error = TrialRecord::from_json(&newer, "a1").unwrap_err();
        assert_eq!(error, "it has version 4");
    }

    #[test]
    fn a_status_has_one_name() {
        for status in [
            Status::Succeeded,
            Status::Diverged,
            Status::Infeasible,
            Status::TimedOut,
        ] {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{}\"", status.name()));
        }
    }
}
