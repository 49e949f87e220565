//! The types that hyperparameters have: how JSON becomes a value and a value words.

use serde_json::Value;

use super::table::Domain;
use super::{Augmentation, LossKind, OptimizerKind, ScheduleKind, refuse};
use crate::Error;

/// A type of hyperparameters.
pub(super) trait Kept: Sized {
    /// What values are, for people.
    fn describe() -> String;

    /// Reads a value that is not null. The domain is checked elsewhere, and only says here
    /// what should have been given.
    fn read(key: &str, domain: Domain, value: &Value) -> Result<Self, Error>;

    /// The number that the domain is about.
    fn number(&self) -> Option<f64> {
        None
    }

    /// The value as SQL writes it; nothing for none.
    fn text(&self) -> Option<String>;
}

impl<T: Kept> Kept for Option<T> {
    fn describe() -> String {
        T::describe()
    }

    fn read(key: &str, domain: Domain, value: &Value) -> Result<Self, Error> {
        T::read(key, domain, value).map(Some)
    }

    fn number(&self) -> Option<f64> {
        self.as_ref()?.number()
    }

    fn text(&self) -> Option<String> {
        self.as_ref()?.text()
    }
}

impl Kept for f64 {
    fn describe() -> String {
        "a number".to_owned()
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        value
            .as_f64()
            .map_or_else(|| refuse(key, "a number", value), Ok)
    }

    fn number(&self) -> Option<f64> {
        Some(*self)
    }

    fn text(&self) -> Option<String> {
        let is_tiny = *self != 0.0 && self.abs() < 1e-4;
        Some(if is_tiny {
            format!("{self:e}")
        } else {
            self.to_string()
        })
    }
}

impl Kept for u32 {
    fn describe() -> String {
        "an integer of at least 0".to_owned()
    }

    fn read(key: &str, domain: Domain, value: &Value) -> Result<Self, Error> {
        let count = integer(value).and_then(|count| u32::try_from(count).ok());
        count.map_or_else(|| refuse(key, &domain.whole(), value), Ok)
    }

    fn number(&self) -> Option<f64> {
        Some(f64::from(*self))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Kept for u64 {
    fn describe() -> String {
        "an integer of at least 0".to_owned()
    }

    fn read(key: &str, domain: Domain, value: &Value) -> Result<Self, Error> {
        integer(value).map_or_else(|| refuse(key, &domain.whole(), value), Ok)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Kept for bool {
    fn describe() -> String {
        "true or false".to_owned()
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        value
            .as_bool()
            .map_or_else(|| refuse(key, "true or false", value), Ok)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Kept for String {
    fn describe() -> String {
        "text".to_owned()
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        value
            .as_str()
            .map_or_else(|| refuse(key, "text", value), |text| Ok(text.to_owned()))
    }

    fn text(&self) -> Option<String> {
        Some(format!("'{self}'"))
    }
}

impl Kept for Vec<u32> {
    fn describe() -> String {
        "a list of integers of at least 1".to_owned()
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        let counts = value.as_array().and_then(|items| {
            let counts = items.iter().map(|item| u32::try_from(integer(item)?).ok());
            counts.collect()
        });
        counts.map_or_else(|| refuse(key, &Self::describe(), value), Ok)
    }

    fn text(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// An augmentation that changes nothing is none, so that equal trials have one name.
impl Kept for Option<Augmentation> {
    fn describe() -> String {
        "a struct such as {shift: 2}".to_owned()
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        match value.as_object() {
            Some(map) => Augmentation::from_json(map),
            None => refuse(key, &Self::describe(), value),
        }
    }

    fn text(&self) -> Option<String> {
        None
    }
}

/// A type whose values are words.
trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl Word for OptimizerKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("sgd", Self::Sgd),
        ("adam", Self::Adam),
        ("adamw", Self::AdamW),
        ("rmsprop", Self::RmsProp),
    ];
}

impl Word for LossKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cross_entropy", Self::CrossEntropy),
        ("binary_cross_entropy", Self::BinaryCrossEntropy),
        ("focal", Self::Focal),
        ("mse", Self::Mse),
        ("mae", Self::Mae),
        ("huber", Self::Huber),
        ("quantile", Self::Quantile),
        ("poisson", Self::Poisson),
    ];
}

impl Word for ScheduleKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("constant", Self::Constant),
        ("exponential", Self::Exponential),
        ("step", Self::Step),
        ("cosine", Self::Cosine),
    ];
}

impl<T: Word> Kept for T {
    fn describe() -> String {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }

    fn read(key: &str, _: Domain, value: &Value) -> Result<Self, Error> {
        let found = T::WORDS
            .iter()
            .find(|(word, _)| value.as_str() == Some(word));
        match found {
            Some((_, choice)) => Ok(*choice),
            None => refuse(key, &<T as Kept>::describe(), value),
        }
    }

    fn text(&self) -> Option<String> {
        let found = T::WORDS.iter().find(|(_, choice)| choice == self);
        found.map(|(word, _)| format!("'{word}'"))
    }
}

/// An integer, or a number without a fraction: SQL's arithmetic turns one into the other.
fn integer(value: &Value) -> Option<u64> {
    let whole = |number: f64| {
        let exact =
            number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
        exact.then_some(number as u64)
    };
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::FROM_ONE;
    use super::*;

    #[track_caller]
    fn check<T: Kept + PartialEq + std::fmt::Debug>(value: &Value, expected: Option<&T>) {
        assert_eq!(
            T::read("key", FROM_ONE, value).ok().as_ref(),
            expected,
            "{value}"
        );
    }

    #[test]
    fn a_whole_number_is_an_integer() {
        check::<u32>(&json!(3), Some(&3));
        check::<u32>(&json!(3.0), Some(&3));
        check::<u32>(&json!(3.5), None);
        check::<u32>(&json!(-3), None);
        check::<u32>(&json!(5_000_000_000_u64), None);
        check::<bool>(&json!(1), None);
        check::<String>(&json!(1), None);
    }

    #[test]
    fn a_wrong_type_is_named_with_its_value() {
        let refused = |result: Result<(), Error>| result.unwrap_err().to_string();
        let error = f64::read("momentum", Domain::Any, &json!("high")).map(|_| ());
        assert_eq!(refused(error), "momentum must be a number, got \"high\"");
        let error = OptimizerKind::read("optimizer", Domain::Any, &json!("sdg"));
        assert_eq!(
            refused(error.map(|_| ())),
            "optimizer must be one of sgd, adam, adamw, rmsprop, got \"sdg\""
        );
        let error = Vec::<u32>::read("filters", Domain::Any, &json!(32)).map(|_| ());
        assert_eq!(
            refused(error),
            "filters must be a list of integers of at least 1, got 32"
        );
        let error = u32::read("hidden", FROM_ONE, &json!("many")).map(|_| ());
        assert_eq!(
            refused(error),
            "hidden must be an integer of at least 1, got \"many\""
        );
    }
}
