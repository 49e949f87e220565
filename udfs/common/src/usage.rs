//! How a function is called: its name, its syntax, and what each argument must be.
//!
//! A [`Usage`] is a constant beside the function's documentation. It checks the number and
//! the types of the arguments while a statement is planned, so that no function has code
//! of its own for that.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};

use crate::args::is_text;

/// Checks the type of an argument and returns the type that its values are cast to.
///
/// It gets the names of the function and of the argument for its error message.
pub type CheckType = fn(&str, &str, &DataType) -> Result<DataType>;

/// One argument: its name, as documentation and errors call it, and what it must be.
#[derive(Debug, Clone, Copy)]
pub struct Argument(pub &'static str, pub CheckType);

/// How a function is called.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The name in SQL.
    pub name: &'static str,
    /// The call as documentation and errors show it, such as `embed(model, image)`.
    pub syntax: &'static str,
    /// All arguments, in their order.
    pub arguments: &'static [Argument],
    /// How many of them may be left out, from the end.
    pub optional: usize,
}

impl Usage {
    /// Checks the number and the types of the arguments of a call; returns the types that
    /// they are cast to.
    pub fn coerce(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let most = self.arguments.len();
        let given = arg_types.len();
        if !(most - self.optional..=most).contains(&given) {
            return plan_err!(
                "{} is called as {}, got {given} {}",
                self.name,
                self.syntax,
                if given == 1 { "argument" } else { "arguments" }
            );
        }
        let arguments = self.arguments.iter().zip(arg_types);
        arguments
            .map(|(Argument(name, check), data_type)| check(self.name, name, data_type))
            .collect()
    }
}

/// Text of any of Arrow's three types.
pub fn text(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        text if is_text(text) => Ok(text.clone()),
        DataType::Null => Ok(DataType::Utf8),
        other => plan_err!("{function}: {argument} must be text, got {other}"),
    }
}

/// A number, which becomes a DOUBLE.
pub fn number(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    if data_type.is_numeric() || data_type.is_null() {
        return Ok(DataType::Float64);
    }
    plan_err!("{function}: {argument} must be a number, got {data_type}")
}

/// True or false.
pub fn flag(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Boolean | DataType::Null => Ok(DataType::Boolean),
        other => plan_err!("{function}: {argument} must be true or false, got {other}"),
    }
}

/// Anything. For structs of options, whose keys the function itself checks.
pub fn any(_function: &str, _argument: &str, data_type: &DataType) -> Result<DataType> {
    Ok(data_type.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage {
        name: "f",
        syntax: "f(name, seconds [, wait])",
        arguments: &[
            Argument("name", text),
            Argument("seconds", number),
            Argument("wait", flag),
        ],
        optional: 1,
    };

    #[track_caller]
    fn check_refused(types: &[DataType], expected: &str) {
        let error = USAGE.coerce(types).unwrap_err().strip_backtrace();
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn types_become_those_that_the_function_reads() {
        let types = USAGE.coerce(&[DataType::Utf8View, DataType::Int32]);
        assert_eq!(types.unwrap(), [DataType::Utf8View, DataType::Float64]);
        let nulls = USAGE.coerce(&[DataType::Null, DataType::Null, DataType::Null]);
        let expected = [DataType::Utf8, DataType::Float64, DataType::Boolean];
        assert_eq!(nulls.unwrap(), expected);
    }

    #[test]
    fn a_wrong_call_is_shown_the_right_one() {
        check_refused(
            &[DataType::Utf8],
            "f is called as f(name, seconds [, wait]), got 1 argument",
        );
        check_refused(
            &[DataType::Int8, DataType::Int8],
            "f: name must be text, got Int8",
        );
        check_refused(
            &[DataType::Utf8, DataType::Utf8],
            "f: seconds must be a number, got Utf8",
        );
        let types = [DataType::Utf8, DataType::Int8, DataType::Int8];
        check_refused(&types, "f: wait must be true or false, got Int8");
    }
}
