//! What the values of a hyperparameter look like over all trials.

use std::collections::BTreeSet;

use crate::format::clip;
use crate::study::{Study, Trial, Value};

/// Values further apart than this belong on a logarithmic axis.
const LOG_RATIO: f64 = 8.0;
/// Characters of a category at an axis.
const CATEGORY_LENGTH: usize = 22;
/// Categories that an axis has room for; the rest share a place.
const MOST_CATEGORIES: usize = 24;

/// A hyperparameter that differs among trials.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// Where its values are in a trial.
    pub(crate) index: usize,
    /// Its name.
    pub(crate) name: String,
    /// What kind of values it has.
    pub(crate) domain: Domain,
}

/// The kind of values of a hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Domain {
    /// Numbers, on a logarithmic scale if `log`.
    Numbers {
        low: f64,
        high: f64,
        log: bool,
        /// How many different ones there are.
        distinct: usize,
    },
    /// Texts, NULL and numbers among them, in their order.
    Categories(Vec<String>),
}

impl Parameter {
    /// The hyperparameters that differ, in the order of the table.
    pub(crate) fn varying(study: &Study) -> Vec<Self> {
        Self::among(study, |_| true)
    }

    /// The hyperparameters that differ among trials with a result. What went wrong for
    /// its values, such as a learning rate of 1e30, would stretch every axis.
    pub(crate) fn measured(study: &Study) -> Vec<Self> {
        let objective = study.objective();
        Self::among(study, |trial| objective.of_trial(trial).is_some())
    }

    fn among(study: &Study, counts: impl Fn(&Trial) -> bool) -> Vec<Self> {
        let trials: Vec<&Trial> =
            study.trials.iter().filter(|trial| counts(trial)).collect();
        let names = study.hyperparameters.iter().enumerate();
        names
            .filter_map(|(index, name)| {
                let values = trials.iter().filter_map(|trial| trial.values.get(index));
                Some(Self {
                    index,
                    name: name.clone(),
                    domain: Domain::of(values)?,
                })
            })
            .collect()
    }

    /// What a trial has for it, in words; nothing where it has none.
    pub(crate) fn text(&self, trial: &Trial) -> String {
        let value = trial.values.get(self.index);
        value.map(|value| value.text()).unwrap_or_default()
    }

    /// Where a value lies, on the scale of [`Parameter::position`]'s axis: a number
    /// itself, a category by its place. None for what an axis of numbers cannot show.
    pub(crate) fn place(&self, value: &Value) -> Option<f64> {
        match &self.domain {
            Domain::Numbers { .. } => value.number(),
            Domain::Categories(categories) => {
                let text = value.text();
                let place = categories.iter().position(|category| *category == text);
                Some(place.unwrap_or(categories.len() - 1) as f64)
            }
        }
    }

    /// Where a value lies between the ends of the axis, from 0 to 1.
    pub(crate) fn position(&self, value: &Value) -> Option<f64> {
        let place = self.place(value)?;
        Some(match &self.domain {
            Domain::Numbers {
                low,
                high,
                log: true,
                ..
            } => (place / low).ln() / (high / low).ln(),
            Domain::Numbers { low, high, .. } => (place - low) / (high - low),
            Domain::Categories(categories) => (place + 0.5) / categories.len() as f64,
        })
    }

    /// Whether it only repeats the same trial.
    pub(crate) fn is_seed(&self) -> bool {
        self.name.eq_ignore_ascii_case("seed")
    }

    /// How many different values there are.
    pub(crate) fn distinct(&self) -> usize {
        match &self.domain {
            Domain::Numbers { distinct, .. } => *distinct,
            Domain::Categories(categories) => categories.len(),
        }
    }

    /// The factor between the ends of a domain of positive numbers, otherwise 1.
    pub(crate) fn ratio(&self) -> f64 {
        match self.domain {
            Domain::Numbers { low, high, .. } if low > 0.0 => high / low,
            _ => 1.0,
        }
    }
}

impl Domain {
    /// None if all values are the same.
    fn of<'a>(values: impl Iterator<Item = &'a Value> + Clone) -> Option<Self> {
        let mut texts: BTreeSet<String> = BTreeSet::new();
        let mut numbers: Vec<f64> = Vec::new();
        let mut has_text = false;
        for value in values {
            match value {
                Value::Number(number) if number.is_finite() => numbers.push(*number),
                Value::Number(_) | Value::Text(_) => has_text = true,
                Value::Null => {}
            }
            texts.insert(value.text());
        }
        if texts.len() < 2 {
            return None;
        }
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        if has_text || numbers.len() < 2 {
            return Some(Self::categories(texts.into_iter().collect()));
        }
        let (low, high) = (*numbers.first()?, *numbers.last()?);
        Some(Self::Numbers {
            low,
            high,
            log: is_logarithmic(&numbers),
            distinct: numbers.len(),
        })
    }

    fn categories(mut texts: Vec<String>) -> Self {
        texts.sort_by(|a, b| match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b),
            _ => a.cmp(b),
        });
        if texts.len() > MOST_CATEGORIES {
            texts.truncate(MOST_CATEGORIES - 1);
            texts.push("(others)".to_string());
        }
        Self::Categories(texts)
    }

    /// What stands at the places of categories.
    pub(crate) fn labels(categories: &[String]) -> Vec<(f64, String)> {
        let places = categories.iter().enumerate();
        places
            .map(|(place, text)| (place as f64, clip(text, CATEGORY_LENGTH)))
            .collect()
    }
}

/// Whether numbers, sorted and each once, were chosen on a logarithmic scale: they are
/// far apart, and their middle is nearer to the middle of that scale.
fn is_logarithmic(numbers: &[f64]) -> bool {
    let (Some(&low), Some(&high)) = (numbers.first(), numbers.last()) else {
        return false;
    };
    if low <= 0.0 || high / low <= LOG_RATIO {
        return false;
    }
    let count = numbers.len();
    let middle = f64::midpoint(numbers[(count - 1) / 2], numbers[count / 2]);
    let off = |share: f64| (share - 0.5).abs();
    // Two numbers have no middle of their own.
    count == 2
        || off((middle / low).ln() / (high / low).ln())
            < off((middle - low) / (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(values: &[Value]) -> Option<Domain> {
        Domain::of(values.iter())
    }

    fn numbers(values: &[f64]) -> Vec<Value> {
        values.iter().map(|value| Value::Number(*value)).collect()
    }

    #[test]
    fn what_does_not_differ_is_no_axis() {
        assert_eq!(domain(&numbers(&[3.0, 3.0])), None);
        assert_eq!(domain(&[Value::Null, Value::Null]), None);
        assert_eq!(domain(&[]), None);
    }

    #[test]
    fn a_wide_range_is_logarithmic() {
        let wide = domain(&numbers(&[0.01, 0.1, 0.01])).unwrap();
        assert!(matches!(
            wide,
            Domain::Numbers {
                log: true,
                distinct: 2,
                ..
            }
        ));
        let narrow = domain(&numbers(&[1.0, 2.0])).unwrap();
        assert!(matches!(narrow, Domain::Numbers { log: false, .. }));
        let zero = domain(&numbers(&[0.0, 100.0])).unwrap();
        assert!(matches!(zero, Domain::Numbers { log: false, .. }));
    }

    #[test]
    fn numbers_that_are_spread_evenly_are_not_logarithmic() {
        let even: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!(!is_logarithmic(&even));
        let doubling = [64.0, 128.0, 256.0, 512.0, 1024.0];
        assert!(is_logarithmic(&doubling));
    }

    #[test]
    fn trials_without_a_result_stretch_no_axis() {
        let trial = |rate: f64, loss| Trial {
            values: vec![Value::Number(rate)],
            status: crate::Status::Succeeded,
            loss,
            ..Trial::default()
        };
        let study = Study {
            hyperparameters: vec!["rate".to_string()],
            trials: vec![
                trial(0.1, Some(1.0)),
                trial(0.2, Some(1.0)),
                trial(1e30, None),
            ],
            ..Study::default()
        };
        let ratio = |parameters: Vec<Parameter>| parameters[0].ratio();
        assert!(ratio(Parameter::varying(&study)) > 1e30);
        assert!((ratio(Parameter::measured(&study)) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn null_beside_one_number_is_a_category() {
        let domain = domain(&[Value::Null, Value::Number(5.0)]).unwrap();
        assert_eq!(
            domain,
            Domain::Categories(vec!["5".to_string(), "NULL".to_string()])
        );
    }

    #[test]
    fn positions_run_from_zero_to_one() {
        let study = Study {
            hyperparameters: vec!["rate".to_string()],
            trials: [0.01, 0.1, 1.0]
                .map(|rate| Trial {
                    values: vec![Value::Number(rate)],
                    ..Trial::default()
                })
                .to_vec(),
            ..Study::default()
        };
        let rate = &Parameter::varying(&study)[0];
        let positions: Vec<f64> = study
            .column(0)
            .filter_map(|value| rate.position(value))
            .collect();
        assert!((positions[0], positions[2]) == (0.0, 1.0), "{positions:?}");
        assert!((positions[1] - 0.5).abs() < 1e-12, "{positions:?}");
        assert_eq!(rate.position(&Value::Null), None);
    }
}
