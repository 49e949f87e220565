//! What is known of the trials of a study.

/// All trials of one search.
#[derive(Debug, Clone, Default)]
pub struct Study {
    /// How the user named it: a file, a folder or a table.
    pub name: String,
    /// The names of the hyperparameters.
    pub hyperparameters: Vec<String>,
    /// The trials, in the order of the table.
    pub trials: Vec<Trial>,
    /// What the networks were trained on, if that is known.
    pub data: Option<String>,
    /// SQL that trains the best network again, if all that takes is known.
    pub again: Option<String>,
    /// How the best network does on images that chose nothing.
    pub test: Option<Box<Evaluation>>,
    /// The names of what the study made small, where that was several things at once.
    pub objectives: Vec<String>,
    /// Two hyperparameters that a reader wants side by side, instead of those that matter
    /// most.
    pub contour: Option<[String; 2]>,
}

/// One training run.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// Its digest.
    pub id: Option<String>,
    /// Its number, in the order in which a search proposed its trials.
    pub number: Option<u64>,
    /// How often it went on, where a pruner compared trials.
    pub rung: Option<u32>,
    /// A value for each name in [`Study::objectives`]; less is better.
    pub objectives: Vec<f64>,
    /// A value for each name in [`Study::hyperparameters`].
    pub values: Vec<Value>,
    /// How it ended.
    pub status: Status,
    /// Why it did not succeed.
    pub error: Option<String>,
    /// Share of the validation split that the network of the best epoch gets right.
    pub accuracy: Option<f64>,
    /// Mean loss of that network on the validation split.
    pub loss: Option<f64>,
    /// The epoch with the best network, from 1.
    pub best_epoch: Option<u32>,
    /// How long it trained.
    pub seconds: Option<f64>,
    /// Every epoch that ended.
    pub history: Vec<Epoch>,
    /// Path or URL of the network.
    pub model: Option<String>,
    /// When it began, in seconds since 1970, UTC.
    pub started_at: Option<f64>,
    /// What trained it: a thread of a process of a machine.
    pub worker: Option<String>,
}

/// One pass over the training split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u32,
    /// Mean loss over the mini-batches.
    pub train_loss: Option<f64>,
    /// Loss on the validation split.
    pub loss: Option<f64>,
    /// Accuracy on the validation split.
    pub accuracy: Option<f64>,
}

/// A hyperparameter of one trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// Not given, or NULL.
    #[default]
    Null,
    /// A number.
    Number(f64),
    /// Anything else, as SQL shows it.
    Text(String),
}

impl Value {
    /// The number, if it is a finite one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) if number.is_finite() => Some(*number),
            Self::Number(_) | Self::Null | Self::Text(_) => None,
        }
    }

    /// The value as people read it.
    pub fn text(&self) -> String {
        match self {
            Self::Null => "NULL".to_string(),
            Self::Number(number) => crate::format::number(*number),
            Self::Text(text) => text.clone(),
        }
    }
}

/// How a trial ended, the best end first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// It has a network.
    Succeeded,
    /// It was ended because others were better.
    Pruned,
    /// Its loss became NaN or infinite.
    Diverged,
    /// It took longer than it was allowed to.
    TimedOut,
    /// Its hyperparameters describe no network.
    Infeasible,
    /// Something went wrong that was not its own fault.
    Failed,
    /// The table does not say.
    #[default]
    Unknown,
}

impl Status {
    /// All of them, the best end first.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Pruned,
        Self::Diverged,
        Self::TimedOut,
        Self::Infeasible,
        Self::Failed,
        Self::Unknown,
    ];

    /// The name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Pruned => "PRUNED",
            Self::Diverged => "DIVERGED",
            Self::TimedOut => "TIMED_OUT",
            Self::Infeasible => "INFEASIBLE",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status with this name in SQL.
    pub fn from_name(name: &str) -> Self {
        let named = |status: &Self| status.name() == name;
        Self::ALL.into_iter().find(named).unwrap_or_default()
    }
}

/// What a study makes as small as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// The share of the validation split that is classified wrong.
    Error,
    /// The validation loss, where numbers are predicted.
    Loss,
}

impl Objective {
    /// What stands at an axis.
    pub fn title(self) -> &'static str {
        match self {
            Self::Error => "validation error",
            Self::Loss => "validation loss",
        }
    }

    /// The value as people read it.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Error => crate::format::percent(value),
            Self::Loss => crate::format::number(value),
        }
    }

    /// The value at the end of an epoch.
    pub fn of_epoch(self, epoch: &Epoch) -> Option<f64> {
        let value = match self {
            Self::Error => epoch.accuracy.map(|accuracy| 1.0 - accuracy),
            Self::Loss => epoch.loss,
        };
        value.filter(|value| value.is_finite())
    }

    /// The value of a trial that has a network.
    pub fn of_trial(self, trial: &Trial) -> Option<f64> {
        let counts = matches!(trial.status, Status::Succeeded | Status::Pruned);
        let value = match self {
            Self::Error => trial.accuracy.map(|accuracy| 1.0 - accuracy),
            Self::Loss => trial.loss,
        };
        value.filter(|value| counts && value.is_finite())
    }
}

impl Study {
    /// The error where there are classes, the loss where numbers are predicted.
    pub fn objective(&self) -> Objective {
        match self.trials.iter().any(|trial| trial.accuracy.is_some()) {
            true => Objective::Error,
            false => Objective::Loss,
        }
    }

    /// The trials that succeeded, the best first: lowest objective, lowest loss, then by
    /// their digests, which is how the jobs choose.
    pub fn ranked(&self) -> Vec<&Trial> {
        let objective = self.objective();
        let rank = |trial: &Trial| {
            let loss = trial.loss.filter(|loss| loss.is_finite());
            (
                objective.of_trial(trial).unwrap_or(f64::INFINITY),
                loss.unwrap_or(f64::INFINITY),
            )
        };
        let mut ranked: Vec<&Trial> = self
            .trials
            .iter()
            .filter(|trial| trial.status == Status::Succeeded)
            .collect();
        ranked.sort_by(|a, b| {
            let ((a_objective, a_loss), (b_objective, b_loss)) = (rank(a), rank(b));
            a_objective
                .total_cmp(&b_objective)
                .then(a_loss.total_cmp(&b_loss))
                .then_with(|| a.id.cmp(&b.id))
        });
        ranked
    }

    /// The best trial that succeeded.
    pub fn best(&self) -> Option<&Trial> {
        self.ranked().into_iter().next()
    }

    /// How many trials ended in which way, without the ways that do not occur.
    pub fn counts(&self) -> Vec<(Status, usize)> {
        let count = |status| {
            let trials = self.trials.iter();
            trials.filter(|trial| trial.status == status).count()
        };
        let counts = Status::ALL.map(|status| (status, count(status)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Whether the table says in which order its trials were proposed.
    pub(crate) fn is_numbered(&self) -> bool {
        self.trials.iter().all(|trial| trial.number.is_some())
    }

    /// The number of a trial, or else its place in the table, from 1.
    pub(crate) fn place(&self, index: usize) -> f64 {
        let number = self.trials.get(index).and_then(|trial| trial.number);
        match number.filter(|_| self.is_numbered()) {
            Some(number) => number as f64,
            None => index as f64 + 1.0,
        }
    }

    /// The values of a hyperparameter, one a trial.
    pub(crate) fn column(&self, index: usize) -> impl Iterator<Item = &Value> + Clone {
        const NULL: &Value = &Value::Null;
        let values = self.trials.iter();
        values.map(move |trial| trial.values.get(index).unwrap_or(NULL))
    }
}

/// How a network does on a dataset.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// How the user named the dataset.
    pub dataset: String,
    /// How many rows counted.
    pub rows: u64,
    /// The share that is right, with the ends of its 95 % interval; none where numbers
    /// are predicted.
    pub accuracy: Option<(f64, f64, f64)>,
    /// The mean loss.
    pub loss: Option<f64>,
    /// The names of the classes; indices where they have none.
    pub classes: Vec<String>,
    /// How many rows of each class (a line) were given each class (a column).
    pub confusion: Vec<Vec<u64>>,
    /// How well each class is told from the others.
    pub scores: Vec<ClassScores>,
    /// How sure the network was of rows, and how often it was right, from the least sure on.
    pub calibration: Vec<CalibrationBin>,
    /// The mean distance of the two.
    pub calibration_error: Option<f64>,
    /// The rows with the highest loss, the worst first.
    pub worst: Vec<WorstImage>,
}

/// How well a class is told from the others.
#[derive(Debug, Clone, Default)]
pub struct ClassScores {
    /// Its name.
    pub class: String,
    /// The share of the rows given this class that are of it.
    pub precision: f64,
    /// The share of its rows that were given it.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// Its rows.
    pub support: u64,
}

/// Rows of which a network was about as sure.
#[derive(Debug, Clone, Default)]
pub struct CalibrationBin {
    /// How many.
    pub rows: u64,
    /// The mean probability of the likeliest class.
    pub confidence: f64,
    /// The share that is right.
    pub accuracy: f64,
}

/// An image that the network got badly wrong.
#[derive(Debug, Clone, Default)]
pub struct WorstImage {
    /// What it is.
    pub label: String,
    /// What the network takes it for.
    pub predicted: String,
    /// The probability that the network gives to what it is.
    pub probability: f64,
    /// Its cross-entropy.
    pub loss: f64,
    /// A small version; none if it cannot be shown.
    pub thumbnail: Option<crate::Thumbnail>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(id: &str, status: Status, accuracy: f64, loss: f64) -> Trial {
        Trial {
            id: Some(id.to_string()),
            status,
            accuracy: Some(accuracy),
            loss: Some(loss),
            ..Trial::default()
        }
    }

    #[test]
    fn the_best_trial_is_the_one_that_the_jobs_choose() {
        let study = Study {
            trials: vec![
                trial("d", Status::Succeeded, 0.9, 0.3),
                trial("c", Status::Succeeded, 0.9, 0.2),
                trial("b", Status::Succeeded, 0.9, 0.2),
                trial("a", Status::Diverged, 0.99, 0.1),
            ],
            ..Study::default()
        };
        let ids: Vec<_> = study
            .ranked()
            .iter()
            .map(|t| t.id.clone().unwrap())
            .collect();
        assert_eq!(ids, ["b", "c", "d"]);
    }

    #[test]
    fn a_study_of_numbers_is_judged_by_its_loss() {
        let mut only_loss = trial("a", Status::Succeeded, 0.0, 0.5);
        only_loss.accuracy = None;
        let study = Study {
            trials: vec![only_loss],
            ..Study::default()
        };
        assert_eq!(study.objective(), Objective::Loss);
        assert_eq!(study.objective().of_trial(&study.trials[0]), Some(0.5));
    }

    #[test]
    fn every_status_has_a_name_of_its_own() {
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.name()), status);
        }
        assert_eq!(Status::from_name("WAITING"), Status::Unknown);
    }
}
