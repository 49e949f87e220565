//! The hyperparameter `class_weights`: how much the rows of each class count.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::read::Kept;
use super::refuse;
use super::table::Domain;
use crate::Error;
use crate::error::nearest_of;

/// The word for [`ClassWeights::Balanced`].
const BALANCED: &str = "balanced";

/// How much the rows of each class count in the loss while training.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// All classes count alike, however many rows they have.
    Balanced,
    /// By the names of classes; those left out have 1.
    Given(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// Whether they are the same as none.
    pub(super) fn is_even(&self) -> bool {
        matches!(self, Self::Given(weights) if weights.values().all(|weight| *weight == 1.0))
    }

    /// The weight of each class, for a training split with so many rows of each.
    pub(crate) fn of(&self, names: &[String], rows: &[usize]) -> Result<Vec<f64>, Error> {
        let given = match self {
            Self::Balanced => {
                let weight = |rows: &usize| 1.0 / (*rows).max(1) as f64;
                return Ok(rows.iter().map(weight).collect());
            }
            Self::Given(given) => given,
        };
        if let Some(unknown) = given.keys().find(|name| !names.contains(name)) {
            const SHOWN: usize = 20;
            let hint = nearest_of(unknown, names)
                .map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
            let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
            let expected = format!("for the classes of the data, {}", shown.join(", "));
            return refuse("class_weights", &expected, &format!("'{unknown}'{hint}"));
        }
        let weight = |name: &String| given.get(name).copied().unwrap_or(1.0);
        Ok(names.iter().map(weight).collect())
    }

    fn read(value: &Value) -> Option<Self> {
        let fields = match value {
            Value::String(word) => return (word == BALANCED).then_some(Self::Balanced),
            value => value.as_object()?,
        };
        let given = fields.iter().filter(|(_, value)| !value.is_null());
        let given: Option<BTreeMap<String, f64>> = given
            .map(|(name, value)| {
                let weight = value.as_f64().filter(|weight| *weight >= 0.0)?;
                weight.is_finite().then(|| (name.clone(), weight))
            })
            .collect();
        given
            .filter(|given| {
                given.is_empty() || given.values().any(|weight| *weight > 0.0)
            })
            .map(Self::Given)
    }
}

/// As SQL writes them.
impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balanced => write!(f, "'{BALANCED}'"),
            Self::Given(weights) => {
                let weights: Vec<String> = weights
                    .iter()
                    .map(|(name, weight)| {
                        format!("'{}': {weight}", name.replace('\'', "''"))
                    })
                    .collect();
                write!(f, "{{{}}}", weights.join(", "))
            }
        }
    }
}

impl Kept for ClassWeights {
    fn describe() -> String {
        "'balanced' or a struct of numbers of at least 0, one of them greater, such as \
         {cat: 1, dog: 2.5}"
            .to_owned()
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        Self::read(value)
            .map_or_else(|| refuse(key, &<Self as Kept>::describe(), value), Ok)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => BALANCED.serialize(serializer),
            Self::Given(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(reader)?;
        Self::read(&value).ok_or_else(|| serde::de::Error::custom("no class weights"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_not_there_is_named_with_those_that_are() {
        let names = ["cat", "hamster"].map(String::from);
        let given = |name: &str, weight| {
            ClassWeights::Given(BTreeMap::from([(name.to_owned(), weight)]))
        };
        assert_eq!(
            given("hamster", 3.0).of(&names, &[1, 2]).unwrap(),
            [1.0, 3.0]
        );
        let error = given("hamstre", 3.0).of(&names, &[1, 2]).unwrap_err();
        let expected = "class_weights must be for the classes of the data, cat, hamster, \
                        got 'hamstre'; did you mean 'hamster'?";
        assert_eq!(error.to_string(), expected);
        let balanced = ClassWeights::Balanced.of(&names, &[1, 4]).unwrap();
        assert_eq!(balanced, [1.0, 0.25]);
    }

    #[test]
    fn weights_of_one_are_none() {
        let read = |json: &str| ClassWeights::read(&serde_json::from_str(json).unwrap());
        assert!(read(r#"{"cat": 1, "dog": 1.0}"#).unwrap().is_even());
        assert!(!read(r#"{"cat": 2}"#).unwrap().is_even());
        assert_eq!(read(r#"{"cat": 0}"#), None);
    }
}
