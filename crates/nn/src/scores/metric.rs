//! Metrics by name: what may choose an epoch, a trial and what a search improves.

use serde::{Deserialize, Serialize};

use super::{ClassAnswers, NumberAnswers, SetAnswers};

/// What kind of labels a metric is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Classes.
    Classes,
    /// Two classes.
    TwoClasses,
    /// Numbers to predict.
    Numbers,
}

/// A number by which models are compared; the larger the better.
///
/// The names are those of scikit-learn's scorers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metric(usize);

type OfClasses = fn(&ClassAnswers) -> f64;
type OfNumbers = fn(&NumberAnswers) -> f64;

enum Score {
    Classes(OfClasses),
    /// Of two classes, about the second.
    TwoClasses(OfClasses),
    Numbers(OfNumbers),
}

/// Every metric.
const METRICS: &[(&str, Score)] = &[
    ("accuracy", Score::Classes(|a| a.confusion().accuracy())),
    (
        "balanced_accuracy",
        Score::Classes(|a| a.confusion().balanced_accuracy()),
    ),
    ("f1", Score::TwoClasses(|a| a.confusion().classes()[1].f1)),
    (
        "f1_macro",
        Score::Classes(|a| a.confusion().macro_means().f1),
    ),
    (
        "f1_micro",
        Score::Classes(|a| a.confusion().micro_means().f1),
    ),
    (
        "f1_weighted",
        Score::Classes(|a| a.confusion().weighted_means().f1),
    ),
    (
        "precision",
        Score::TwoClasses(|a| a.confusion().classes()[1].precision),
    ),
    (
        "precision_macro",
        Score::Classes(|a| a.confusion().macro_means().precision),
    ),
    (
        "precision_weighted",
        Score::Classes(|a| a.confusion().weighted_means().precision),
    ),
    (
        "recall",
        Score::TwoClasses(|a| a.confusion().classes()[1].recall),
    ),
    (
        "recall_macro",
        Score::Classes(|a| a.confusion().macro_means().recall),
    ),
    (
        "recall_weighted",
        Score::Classes(|a| a.confusion().weighted_means().recall),
    ),
    (
        "matthews_corrcoef",
        Score::Classes(|a| a.confusion().matthews()),
    ),
    (
        "top_k_accuracy",
        Score::Classes(|a| a.top_k(2) as f64 / a.labels.len() as f64),
    ),
    (
        "roc_auc",
        Score::TwoClasses(|a| a.roc_auc().unwrap_or(f64::NAN)),
    ),
    (
        "roc_auc_ovr",
        Score::Classes(|a| a.roc_auc_ovr().unwrap_or(f64::NAN)),
    ),
    (
        "roc_auc_ovr_weighted",
        Score::Classes(|a| a.roc_auc_ovr_weighted().unwrap_or(f64::NAN)),
    ),
    ("neg_log_loss", Score::Classes(|a| -a.log_loss())),
    ("neg_brier_score", Score::Classes(|a| -a.brier_score())),
    ("r2", Score::Numbers(NumberAnswers::r2)),
    ("neg_mean_squared_error", Score::Numbers(|a| -a.mse())),
    ("neg_root_mean_squared_error", Score::Numbers(|a| -a.rmse())),
    ("neg_mean_absolute_error", Score::Numbers(|a| -a.mae())),
];

type OfSets = fn(&SetAnswers) -> f64;

/// Those that speak of rows with several labels each.
const OF_SETS: &[(&str, OfSets)] = &[
    ("accuracy", |a| a.right() as f64 / a.labels.len() as f64),
    ("f1_macro", |a| a.macro_means().f1),
    ("f1_micro", |a| a.micro_means().f1),
    ("f1_weighted", |a| a.weighted_means().f1),
    ("precision_macro", |a| a.macro_means().precision),
    ("precision_weighted", |a| a.weighted_means().precision),
    ("recall_macro", |a| a.macro_means().recall),
    ("recall_weighted", |a| a.weighted_means().recall),
    ("roc_auc_ovr", |a| a.roc_auc().unwrap_or(f64::NAN)),
];

/// Other words for some.
const ALIASES: &[(&str, &str)] = &[
    ("macro_f1", "f1_macro"),
    ("micro_f1", "f1_micro"),
    ("weighted_f1", "f1_weighted"),
    ("macro_precision", "precision_macro"),
    ("weighted_precision", "precision_weighted"),
    ("macro_recall", "recall_macro"),
    ("weighted_recall", "recall_weighted"),
];

impl Metric {
    /// The metric with this name, or with an alias such as `macro_f1`.
    pub fn named(name: &str) -> Option<Self> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, name)| name);
        let place = METRICS.iter().position(|(other, _)| *other == name);
        place.map(Self)
    }

    /// All names, without aliases.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        METRICS.iter().map(|(name, _)| *name)
    }

    /// All words that [`Metric::named`] knows.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::names().chain(ALIASES.iter().map(|(alias, _)| *alias))
    }

    /// The name.
    pub fn name(self) -> &'static str {
        METRICS[self.0].0
    }

    /// What labels it is for.
    pub fn task(self) -> Task {
        match METRICS[self.0].1 {
            Score::Classes(_) => Task::Classes,
            Score::TwoClasses(_) => Task::TwoClasses,
            Score::Numbers(_) => Task::Numbers,
        }
    }

    /// Its value for classes; none where it is for numbers, or for two classes and there
    /// are more. NaN where it is not defined.
    pub fn of_classes(self, answers: &ClassAnswers) -> Option<f64> {
        match METRICS[self.0].1 {
            Score::Classes(score) => Some(score(answers)),
            Score::TwoClasses(score) => (answers.classes == 2).then(|| score(answers)),
            Score::Numbers(_) => None,
        }
    }

    /// Its value for rows with several labels each; none where it is not for them. NaN where
    /// it is not defined.
    pub fn of_sets(self, answers: &SetAnswers) -> Option<f64> {
        let metric = OF_SETS.iter().find(|(name, _)| *name == self.name());
        metric.map(|(_, score)| score(answers))
    }

    /// Whether it is for rows with several labels each.
    pub fn is_for_sets(self) -> bool {
        OF_SETS.iter().any(|(name, _)| *name == self.name())
    }

    /// Its value for numbers; none where it is for classes.
    pub fn of_numbers(self, answers: &NumberAnswers) -> Option<f64> {
        match METRICS[self.0].1 {
            Score::Numbers(score) => Some(score(answers)),
            Score::Classes(_) | Score::TwoClasses(_) => None,
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let name = String::deserialize(reader)?;
        let unknown = || serde::de::Error::custom(format!("no metric is called {name}"));
        Self::named(&name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_lead_to_metrics() {
        for name in Metric::names() {
            assert_eq!(Metric::named(name).unwrap().name(), name);
        }
        assert_eq!(Metric::named("macro_f1").unwrap().name(), "f1_macro");
        for (_, name) in ALIASES {
            assert_eq!(Metric::named(name).unwrap().name(), *name);
        }
        assert_eq!(Metric::named("log_loss"), None);
    }
}
