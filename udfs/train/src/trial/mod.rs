//! Trials: what names one, how it runs, and how its end becomes a record.

mod folds;
mod identity;
mod progress;
mod runner;
mod training;

use atoll_nn::{Error, Hyperparameters};
use serde_json::{Map, Value};

use crate::record::{Status, TrialRecord};

pub(crate) use identity::TrialId;
pub(crate) use runner::{RunnerBackbone, TrialRunner};

/// A trial that has a name, but has not run yet.
#[derive(Debug)]
pub(crate) struct Trial {
    id: TrialId,
    /// The hyperparameters as the row has them, without those that are NULL.
    given: Map<String, Value>,
    /// All hyperparameters, or why they were refused.
    hyperparameters: Result<Hyperparameters, Error>,
    /// The path or URL of a checkpoint to go on from.
    resume_from: Option<String>,
}

impl Trial {
    /// The same trial, going on from a checkpoint if there is one.
    pub(crate) fn resuming(self, resume_from: Option<String>) -> Self {
        Self {
            resume_from,
            ..self
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

/// The word for programs that goes with an error of a trial.
fn code(error: &Error) -> &'static str {
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
