//! What a trial is called: a digest of everything that decides its result, and nothing
//! else. Equal trials have one name on every machine, so that none is trained twice.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use atoll_nn::{Error, Hyperparameters, Metric};
use datafusion::common::{Result, exec_datafusion_err};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::files::digest;

/// The name of a trial, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrialId(String);

/// What a trial sees and what computes it: all that names it besides its hyperparameters.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Surroundings<'a> {
    /// The digest of the snapshot.
    pub(super) snapshot: &'a str,
    /// What chooses the validation rows; none where the data comes split.
    pub(super) split_seed: Option<u64>,
    /// The name of the features that the snapshot has, where a backbone made them and is a
    /// part of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backbone: Option<&'a str>,
    /// The trainer, whose release and CPU level decide the bits.
    pub(super) engine: &'a str,
    /// How validation rows are drawn, where it is not without regard of classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) split: Option<&'static str>,
    /// In how many folds, if in any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) folds: Option<usize>,
    /// What chooses the best epoch, where that is no matter of course.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metric: Option<Metric>,
}

/// What is hashed, as JSON with the fields in this order.
#[derive(Serialize)]
struct Identity<'a, H> {
    version: u32,
    #[serde(flatten)]
    surroundings: Surroundings<'a>,
    hyperparameters: H,
}

impl TrialId {
    /// The name of the trial with these hyperparameters, complete and as they were given.
    ///
    /// Those that were refused have a name too, by which their record is found.
    pub(super) fn new(
        surroundings: Surroundings<'_>,
        complete: &Result<Hyperparameters, Error>,
        given: &Map<String, Value>,
    ) -> Result<Self> {
        match complete {
            Ok(complete) => Self::of(surroundings, complete),
            // The order of a JSON map depends on how serde_json was built.
            Err(_) => Self::of(surroundings, given.iter().collect::<BTreeMap<_, _>>()),
        }
    }

    fn of(
        surroundings: Surroundings<'_>,
        hyperparameters: impl Serialize,
    ) -> Result<Self> {
        let identity = Identity {
            version: 1,
            surroundings,
            hyperparameters,
        };
        let text = serde_json::to_vec(&identity)
            .map_err(|error| exec_datafusion_err!("cannot name a trial: {error}"))?;
        Ok(Self(digest(&text)))
    }

    /// The digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for TrialId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(split_seed: Option<u64>) -> Surroundings<'static> {
        Surroundings {
            snapshot: "5a",
            split_seed,
            backbone: None,
            engine: "some engine",
            split: None,
            folds: None,
            metric: None,
        }
    }

    fn id(surroundings: Surroundings<'_>, json: &str) -> String {
        let given: Map<String, Value> = serde_json::from_str(json).unwrap();
        let complete = Hyperparameters::from_json(&given);
        TrialId::new(surroundings, &complete, &given)
            .unwrap()
            .to_string()
    }

    #[track_caller]
    fn check(split_seed: Option<u64>, json: &str, expected: &str) {
        assert_eq!(id(plain(split_seed), json), expected, "{json}");
    }

    #[test]
    fn what_was_asked_for_besides_is_another_trial() {
        let base = plain(Some(0));
        let others = [
            Surroundings {
                split: Some("stratified"),
                ..base
            },
            Surroundings {
                folds: Some(5),
                ..base
            },
            Surroundings {
                metric: Metric::named("f1_macro"),
                ..base
            },
        ];
        let mut ids: Vec<String> = others.iter().map(|other| id(*other, "{}")).collect();
        ids.push(id(base, "{}"));
        ids.push(id(base, r#"{"class_weights": "balanced"}"#));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 5);
        // An alias, and weights that change nothing, are the same trial.
        let alias = Surroundings {
            metric: Metric::named("macro_f1"),
            ..base
        };
        assert_eq!(id(alias, "{}"), id(others[2], "{}"));
        let even = r#"{"class_weights": {"a": 1, "b": 1.0}}"#;
        assert_eq!(id(base, even), id(base, "{}"));
    }

    /// A storage of before is found again. The digests were made with Python's hashlib
    /// from the JSON text of version 1.
    #[test]
    fn a_trial_keeps_its_name() {
        check(
            Some(0),
            "{}",
            "808980cd2709fbc00573ea811c347559c761035eb9f05b5861c823b2ef401599",
        );
        let other = r#"{"hidden": 32, "augmentation": {"shift": 2}, "filters": [4, 8],
            "epochs": 3, "stop_after": 2, "schedule": "step", "loss": "mse", "seed": 9}"#;
        check(
            None,
            other,
            "1238149fe67ea1851b24dde145d5067396fdaef3555b362d4636c3abe4740823",
        );
        let refused = r#"{"seed": 9, "learning_rate": -1, "batch_size": 8}"#;
        check(
            Some(7),
            refused,
            "ac2421e125c1d2b2dc5980ee4237d9072b0e2e4eb77b8688e7c7931b4fc2d316",
        );
    }
}
