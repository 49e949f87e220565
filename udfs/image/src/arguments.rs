//! What the functions take: types at plan time, literals at plan time, values at run
//! time, each checked by the same code and with the same words.

use std::str::FromStr;
use std::sync::Arc;

use atoll_imaging::Error;
use atoll_udf_common::args::{is_text, scalar_str};
use atoll_udf_common::image::coerce_image_type;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_err};
use datafusion::logical_expr::ReturnFieldArgs;

/// What an argument after the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number of pixels, at least this.
    Pixels(i64),
    /// A word.
    Text,
    /// A struct of options.
    Options,
}

/// How a function is called. The image comes first and is not listed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) function: &'static str,
    /// For people, as in the documentation.
    pub(crate) syntax: &'static str,
    /// Names and kinds.
    pub(crate) arguments: &'static [(&'static str, Kind)],
    /// How many of them may be left out, from the end.
    pub(crate) optional: usize,
}

impl Usage {
    /// For `coerce_types`.
    pub(crate) fn coerce(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let function = self.function;
        let most = self.arguments.len() + 1;
        if !(most - self.optional..=most).contains(&arg_types.len()) {
            return plan_err!(
                "{function} is called as {}, got {} arguments",
                self.syntax,
                arg_types.len()
            );
        }
        let mut types = vec![coerce_image_type(function, &arg_types[0])?];
        for ((name, kind), data_type) in self.arguments.iter().zip(&arg_types[1..]) {
            types.push(match kind {
                Kind::Pixels(_) if data_type.is_integer() || data_type.is_null() => {
                    DataType::Int64
                }
                Kind::Pixels(_) => {
                    return plan_err!(
                        "{function}: {name} must be a whole number of pixels, got \
                         {data_type}"
                    );
                }
                Kind::Text if is_text(data_type) => data_type.clone(),
                Kind::Text if data_type.is_null() => DataType::Utf8,
                Kind::Text => {
                    return plan_err!("{function}: {name} must be text, got {data_type}");
                }
                // The function checks the keys.
                Kind::Options => data_type.clone(),
            });
        }
        Ok(types)
    }

    /// Checks literal numbers of pixels.
    pub(crate) fn check_literals(&self, args: &ReturnFieldArgs) -> Result<()> {
        for (n, (_, kind)) in self.arguments.iter().enumerate() {
            let Some(Some(literal)) = args.scalar_arguments.get(n + 1) else {
                continue;
            };
            if literal.is_null() || !matches!(kind, Kind::Pixels(_)) {
                continue;
            }
            if let ScalarValue::Int64(Some(value)) = literal.cast_to(&DataType::Int64)? {
                self.pixels(n, value)?;
            }
        }
        Ok(())
    }

    /// Checks the number of pixels in the argument `n` after the image.
    pub(crate) fn pixels(&self, n: usize, value: i64) -> Result<u32> {
        let (name, least) = match self.arguments[n] {
            (name, Kind::Pixels(least)) => (name, least),
            (name, _) => (name, 0),
        };
        let number = u32::try_from(value).ok().filter(|_| value >= least);
        number.ok_or_else(|| {
            let function = self.function;
            exec_datafusion_err!(
                "{function}: {name} must be from {least} to {}, got {value}",
                u32::MAX
            )
        })
    }

    /// Reads a word such as the name of a filter.
    pub(crate) fn word<T: FromStr<Err = Error>>(&self, text: &str) -> Result<T> {
        text.parse()
            .map_err(|error: Error| exec_datafusion_err!("{}: {error}", self.function))
    }

    /// What the function returns; NULL for a NULL argument.
    pub(crate) fn field(&self, data_type: DataType) -> FieldRef {
        Arc::new(Field::new(self.function, data_type, true))
    }
}

/// The text of a literal argument; `None` when it is NULL or not a literal.
pub(crate) fn literal_text<'a>(args: &ReturnFieldArgs<'a>, n: usize) -> Option<&'a str> {
    args.scalar_arguments
        .get(n)
        .copied()
        .flatten()
        .and_then(scalar_str)
}
