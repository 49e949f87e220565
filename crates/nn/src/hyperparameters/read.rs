//! Types of hyperparameters in JSON. Domains are checked elsewhere.

use serde_json::Value;

use super::{LossKind, MAX_EPOCHS, OptimizerKind, ScheduleKind, refuse};
use crate::Error;

pub(super) const OPTIMIZERS: &[(&str, OptimizerKind)] = &[
    ("sgd", OptimizerKind::Sgd),
    ("adam", OptimizerKind::Adam),
    ("adamw", OptimizerKind::AdamW),
    ("rmsprop", OptimizerKind::RmsProp),
];

pub(super) const LOSSES: &[(&str, LossKind)] = &[
    ("cross_entropy", LossKind::CrossEntropy),
    ("mse", LossKind::Mse),
];

pub(super) const SCHEDULES: &[(&str, ScheduleKind)] = &[
    ("constant", ScheduleKind::Constant),
    ("exponential", ScheduleKind::Exponential),
    ("step", ScheduleKind::Step),
    ("cosine", ScheduleKind::Cosine),
];

pub(super) fn number(name: &str, value: &Value) -> Result<f64, Error> {
    value
        .as_f64()
        .map_or_else(|| refuse(name, "a number", value), Ok)
}

pub(super) fn text(name: &str, value: &Value) -> Result<String, Error> {
    value
        .as_str()
        .map_or_else(|| refuse(name, "text", value), |text| Ok(text.to_owned()))
}

pub(super) fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    value
        .as_bool()
        .map_or_else(|| refuse(name, "true or false", value), Ok)
}

pub(super) fn count(name: &str, value: &Value) -> Result<u32, Error> {
    let count = integer(value).and_then(|count| u32::try_from(count).ok());
    let domain = || match name {
        "epochs" => format!("an integer from 1 to {MAX_EPOCHS}"),
        "hidden" | "batch_size" | "stop_after" | "decay_epochs" => {
            "an integer of at least 1".to_owned()
        }
        _ => "an integer of at least 0".to_owned(),
    };
    count.map_or_else(|| refuse(name, &domain(), value), Ok)
}

pub(super) fn seed(name: &str, value: &Value) -> Result<u64, Error> {
    integer(value).map_or_else(|| refuse(name, "an integer of at least 0", value), Ok)
}

pub(super) fn counts(name: &str, value: &Value) -> Result<Vec<u32>, Error> {
    let counts = value.as_array().and_then(|items| {
        let counts = items.iter().map(|item| u32::try_from(integer(item)?).ok());
        counts.collect()
    });
    counts.map_or_else(
        || refuse(name, "a list of integers of at least 1", value),
        Ok,
    )
}

pub(super) fn choice<T: Copy>(
    name: &str,
    value: &Value,
    choices: &[(&str, T)],
) -> Result<T, Error> {
    let chosen = choices
        .iter()
        .find(|(word, _)| value.as_str() == Some(word));
    chosen.map_or_else(
        || {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            refuse(name, &format!("one of {}", words.join(", ")), value)
        },
        |(_, choice)| Ok(*choice),
    )
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

    use super::*;

    #[test]
    fn a_whole_number_is_an_integer() {
        assert_eq!(count("epochs", &json!(3)).unwrap(), 3);
        assert_eq!(count("epochs", &json!(3.0)).unwrap(), 3);
        assert!(count("epochs", &json!(3.5)).is_err());
        assert!(count("epochs", &json!(-3)).is_err());
        assert!(count("epochs", &json!(5_000_000_000_u64)).is_err());
    }

    #[test]
    fn a_wrong_type_is_named_with_its_value() {
        let error = number("momentum", &json!("high")).unwrap_err();
        assert_eq!(error.to_string(), "momentum must be a number, got \"high\"");
        let error = choice("optimizer", &json!("sdg"), OPTIMIZERS).unwrap_err();
        assert_eq!(
            error.to_string(),
            "optimizer must be one of sgd, adam, adamw, rmsprop, got \"sdg\""
        );
        let error = counts("filters", &json!(32)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "filters must be a list of integers of at least 1, got 32"
        );
        assert!(flag("nesterov", &json!(1)).is_err());
        assert!(text("architecture", &json!(1)).is_err());
    }
}
