//! What the samplers share: their first three arguments and the checks of the rest.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::{as_int64_array, as_string_array};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs};

use atoll_search::Draw;

/// What an argument may be, and what it is turned into.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any integer type, as BIGINT.
    Integer,
    /// Any numeric type, as DOUBLE.
    Number,
    /// Any text type, as VARCHAR.
    Text,
    /// A list, as it is.
    List,
    /// A list, or a struct whose fields are the elements.
    Choices,
}

/// One argument: its name for error messages, and what it may be.
pub(crate) type Argument = (&'static str, Kind);

/// The arguments that name a draw, in front of every sampler's own.
pub(crate) const SEED: Argument = ("seed", Kind::Integer);
pub(crate) const TRIAL: Argument = ("trial", Kind::Integer);
pub(crate) const NAME: Argument = ("name", Kind::Text);

/// Checks number and types of the arguments; returns the types to cast them to.
pub(crate) fn coerce(
    function: &str,
    expected: &[Argument],
    actual: &[DataType],
) -> Result<Vec<DataType>> {
    if actual.len() != expected.len() {
        let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
        return plan_err!(
            "{function} takes {} arguments, {function}({}), got {}",
            expected.len(),
            names.join(", "),
            actual.len()
        );
    }
    expected
        .iter()
        .zip(actual)
        .map(|(expected, actual)| cast(function, *expected, actual))
        .collect()
}

fn cast(function: &str, (name, kind): Argument, actual: &DataType) -> Result<DataType> {
    let null = actual.is_null();
    let (fits, target, wanted) = match kind {
        Kind::Integer => (actual.is_integer(), DataType::Int64, "an integer"),
        Kind::Number => (actual.is_numeric(), DataType::Float64, "a number"),
        Kind::Text => (actual.is_string(), DataType::Utf8, "text"),
        Kind::Choices if matches!(actual, DataType::Struct(_)) => {
            (true, actual.clone(), "a list")
        }
        Kind::List | Kind::Choices => match actual {
            DataType::List(_) | DataType::Null => (true, actual.clone(), "a list"),
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                (true, DataType::List(Arc::clone(item)), "a list")
            }
            _ => (false, DataType::Null, "a list such as [16, 32]"),
        },
    };
    if fits || null {
        Ok(target)
    } else {
        plan_err!("{function}: {name} must be {wanted}, got {actual}")
    }
}

/// A literal argument as a number; `None` if it is NULL, not a literal, or out of range,
/// which the rows report with their value.
pub(crate) fn literal_number(args: &ReturnFieldArgs, position: usize) -> Option<f64> {
    match literal(args, position)?.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(number)) => number,
        _ => None,
    }
}

/// A literal argument as a whole number; `None` as for [`literal_number`].
pub(crate) fn literal_integer(args: &ReturnFieldArgs, position: usize) -> Option<i64> {
    match literal(args, position)?.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) => number,
        _ => None,
    }
}

/// A literal argument.
pub(crate) fn literal<'a>(
    args: &ReturnFieldArgs<'a>,
    position: usize,
) -> Option<&'a ScalarValue> {
    args.scalar_arguments.get(position).copied().flatten()
}

/// Turns the reason why literals are wrong into an error of the statement's plan.
pub(crate) fn at_plan_time(checked: Result<(), String>) -> Result<()> {
    checked.map_err(|reason| plan_datafusion_err!("{reason}"))
}

/// All arguments as arrays, a value for every row.
pub(crate) fn into_arrays(args: ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    args.args
        .into_iter()
        .map(|arg| arg.into_array(args.number_rows))
        .collect()
}

/// The draws of a record batch.
pub(crate) struct Draws<'a> {
    seeds: &'a Int64Array,
    trials: &'a Int64Array,
    names: &'a StringArray,
}

impl<'a> Draws<'a> {
    /// Reads the three arguments in front, as [`coerce`] left them.
    pub(crate) fn try_new(
        seed: &'a ArrayRef,
        trial: &'a ArrayRef,
        name: &'a ArrayRef,
    ) -> Result<Self> {
        Ok(Self {
            seeds: as_int64_array(seed)?,
            trials: as_int64_array(trial)?,
            names: as_string_array(name)?,
        })
    }

    /// A draw for every row; `None` where seed, trial or name is NULL.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<Draw<'a>>> + use<'a> {
        self.seeds
            .iter()
            .zip(self.trials)
            .zip(self.names)
            .map(|((seed, trial), name)| {
                Some(Draw {
                    seed: seed?,
                    trial: trial?,
                    name: name?,
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, actual: DataType, expected: Option<DataType>) {
        assert_eq!(
            coerce("f", &[("x", kind)], &[actual]).ok(),
            expected.map(|to| vec![to])
        );
    }

    #[test]
    fn numbers_become_double_and_text_is_refused() {
        check(Kind::Number, DataType::Int8, Some(DataType::Float64));
        check(
            Kind::Number,
            DataType::Decimal128(3, 1),
            Some(DataType::Float64),
        );
        check(Kind::Number, DataType::Null, Some(DataType::Float64));
        check(Kind::Number, DataType::Utf8, None);
    }

    #[test]
    fn an_integer_is_not_rounded_from_a_float() {
        check(Kind::Integer, DataType::UInt32, Some(DataType::Int64));
        check(Kind::Integer, DataType::Float64, None);
    }

    #[test]
    fn a_missing_argument_shows_the_call() {
        let error = coerce("f", &[SEED, TRIAL, NAME], &[DataType::Int64]).unwrap_err();
        let error = error.strip_backtrace();
        assert!(
            error.contains("f takes 3 arguments, f(seed, trial, name), got 1"),
            "{error}"
        );
    }
}
