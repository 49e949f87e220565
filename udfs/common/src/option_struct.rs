//! Options of a function: a literal struct such as `{timeout_ms: 5000}`.

use std::ops::RangeInclusive;

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;
use serde_json::{Map, Value};

use crate::structs::{check_keys, row_to_json};

/// The options of one call, with typed access; errors name the function and the key.
///
/// An option that is absent or NULL is `None` everywhere.
#[derive(Debug)]
pub struct OptionStruct {
    function: &'static str,
    values: Map<String, Value>,
}

impl OptionStruct {
    /// Reads the options of a call and checks that each key is one of `valid`.
    ///
    /// They describe the call and not a row, so a column is refused; no argument and NULL
    /// are no options. `example` is what the error shows, such as `{image: '...'}`.
    pub fn of_call(
        function: &'static str,
        argument: Option<&Expr>,
        valid: &[&str],
        example: &str,
    ) -> Result<Self> {
        match argument {
            None => Ok(Self::none(function)),
            Some(Expr::Literal(value, _)) => {
                check_keys(function, "option", &value.data_type(), valid)?;
                Self::of_value(function, value)
            }
            Some(Expr::Alias(alias)) => {
                Self::of_call(function, Some(&alias.expr), valid, example)
            }
            Some(other) => plan_err!(
                "{function}: options must be a literal struct such as {example}, got {other}"
            ),
        }
    }

    /// Reads the options of a literal whose keys were checked.
    pub fn of_value(function: &'static str, value: &ScalarValue) -> Result<Self> {
        match value {
            ScalarValue::Struct(options) if !value.is_null() => Ok(Self {
                function,
                values: row_to_json(options, 0)?,
            }),
            _ => Ok(Self::none(function)),
        }
    }

    fn none(function: &'static str) -> Self {
        let values = Map::new();
        Self { function, values }
    }

    /// All options that are not NULL, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let given = self.values.iter().filter(|(_, value)| !value.is_null());
        given.map(|(key, value)| (key.as_str(), value))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => self.refuse(key, "text", other),
        }
    }

    /// The name of a column, or a list of names.
    pub fn names(&self, key: &str) -> Result<Option<Vec<String>>> {
        let value = match self.get(key) {
            None => return Ok(None),
            Some(Value::String(text)) => return Ok(Some(vec![text.clone()])),
            Some(value) => value,
        };
        let texts = value.as_array().filter(|list| !list.is_empty());
        let texts = texts.and_then(|list| {
            let texts = list
                .iter()
                .map(|text| text.as_str().map(ToString::to_string));
            texts.collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) => Ok(Some(texts)),
            None => self.refuse(key, "the name of a column or a list of names", value),
        }
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => self.refuse(key, "true or false", other),
        }
    }

    /// A whole number from `least` on.
    pub fn whole(&self, key: &str, least: u64) -> Result<Option<u64>> {
        let is_valid = |number: &u64| *number >= least;
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(is_valid) {
                Some(number) => Ok(Some(number)),
                None => self.refuse(key, &format!("an integer from {least}"), value),
            },
        }
    }

    /// A whole number between two others.
    pub fn between(&self, key: &str, valid: RangeInclusive<u64>) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|n| valid.contains(n)) {
                Some(number) => Ok(Some(number)),
                None => {
                    let expected = format!("from {} to {}", valid.start(), valid.end());
                    self.refuse(key, &expected, value)
                }
            },
        }
    }

    /// A number of things, at least one.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let size = self.whole(key, 1)?;
        Ok(size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => self.refuse(key, "a number", value),
            },
        }
    }

    /// A number greater than 0.
    pub fn positive(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| *number > 0.0) {
                Some(number) => Ok(Some(number)),
                None => self.refuse(key, "greater than 0", value),
            },
        }
    }

    /// Refuses the value of an option.
    pub fn refuse<T>(&self, key: &str, expected: &str, actual: &Value) -> Result<T> {
        plan_err!(
            "{}: option {key} must be {expected}, got {actual}",
            self.function
        )
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::scalar::ScalarStructBuilder;
    use datafusion::logical_expr::lit;

    use super::*;

    const VALID: [&str; 4] = ["name", "size", "rate", "wait"];

    fn options(key: &str, value: ScalarValue) -> Result<OptionStruct> {
        let field = Field::new(key, value.data_type(), true);
        let builder = ScalarStructBuilder::new().with_scalar(field, value);
        let argument = lit(builder.build()?);
        OptionStruct::of_call("f", Some(&argument), &VALID, "{size: 2}")
    }

    #[track_caller]
    fn check_refused<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
        let error = result.unwrap_err().strip_backtrace();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_absent_or_null_is_none() {
        let null = lit(ScalarValue::Null);
        for argument in [None, Some(&null)] {
            let options = OptionStruct::of_call("f", argument, &VALID, "{size: 2}");
            assert_eq!(options.unwrap().size("size").unwrap(), None);
        }
        let null = options("size", ScalarValue::Int64(None)).unwrap();
        assert_eq!(null.size("size").unwrap(), None);
        assert_eq!(null.iter().count(), 0);
    }

    #[test]
    fn values_have_types() {
        let name = options("name", "a".into()).unwrap();
        assert_eq!(name.text("name").unwrap().as_deref(), Some("a"));
        assert_eq!(name.names("name").unwrap(), Some(vec!["a".to_string()]));
        check_refused(name.flag("name"), "f: option name must be true or false");
        let size = options("size", 3_i64.into()).unwrap();
        assert_eq!(size.between("size", 1..=3).unwrap(), Some(3));
        check_refused(size.between("size", 4..=9), "must be from 4 to 9, got 3");
        check_refused(size.whole("size", 4), "must be an integer from 4, got 3");
        check_refused(size.text("size"), "f: option size must be text, got 3");
        let rate = options("rate", (-0.5).into()).unwrap();
        check_refused(rate.positive("rate"), "must be greater than 0, got -0.5");
        assert_eq!(rate.number("rate").unwrap(), Some(-0.5));
        check_refused(name.number("name"), "f: option name must be a number");
    }

    #[test]
    fn what_is_no_struct_of_these_keys_is_refused() {
        check_refused(options("sise", 1_i64.into()), "did you mean size?");
        let column = Expr::Column("o".into());
        check_refused(
            OptionStruct::of_call("f", Some(&column), &VALID, "{size: 2}"),
            "f: options must be a literal struct such as {size: 2}, got o",
        );
    }
}
