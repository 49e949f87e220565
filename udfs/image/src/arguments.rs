//! What the functions take besides an image: numbers of pixels and words. Types, literals
//! at plan time and values at run time are checked with the same words.

use std::str::FromStr;

use atoll_imaging::Error;
use atoll_udf_common::Usage;
use atoll_udf_common::args::scalar_str;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_err};
use datafusion::logical_expr::ReturnFieldArgs;

/// An argument that is a whole number of pixels, for a [`Usage`].
pub(crate) fn pixels(
    function: &str,
    argument: &str,
    data_type: &DataType,
) -> Result<DataType> {
    if data_type.is_integer() || data_type.is_null() {
        return Ok(DataType::Int64);
    }
    plan_err!("{function}: {argument} must be a whole number of pixels, got {data_type}")
}

/// Checks all literal numbers of pixels of a call.
pub(crate) fn check_pixels(usage: &Usage, args: &ReturnFieldArgs) -> Result<()> {
    for (n, literal) in args.scalar_arguments.iter().enumerate() {
        // No other argument is a number.
        if let Some(literal) = literal.filter(|literal| literal.data_type().is_integer())
            && let ScalarValue::Int64(Some(value)) = literal.cast_to(&DataType::Int64)?
        {
            count(usage, n, value)?;
        }
    }
    Ok(())
}

/// Checks the number of pixels in argument `n` of a call.
pub(crate) fn count(usage: &Usage, n: usize, value: i64) -> Result<u32> {
    let (name, function) = (usage.arguments[n].0, usage.name);
    // Places start at 0; what has a size has a pixel.
    let least = i64::from(!["x", "y"].contains(&name));
    let number = u32::try_from(value).ok().filter(|_| value >= least);
    number.ok_or_else(|| {
        exec_datafusion_err!(
            "{function}: {name} must be from {least} to {}, got {value}",
            u32::MAX
        )
    })
}

/// Reads a word such as the name of a filter.
pub(crate) fn word<T: FromStr<Err = Error>>(usage: &Usage, text: &str) -> Result<T> {
    text.parse()
        .map_err(|error: Error| exec_datafusion_err!("{}: {error}", usage.name))
}

/// The text of a literal argument; `None` when it is NULL or not a literal.
pub(crate) fn literal_text<'a>(args: &ReturnFieldArgs<'a>, n: usize) -> Option<&'a str> {
    args.scalar_arguments
        .get(n)
        .copied()
        .flatten()
        .and_then(scalar_str)
}
