//! `hamming_distance`: how many bits of two values differ.

use std::sync::{Arc, LazyLock};

use atoll_imaging::hamming;
use atoll_udf_common::args::bytes_at;
use atoll_udf_common::{Argument, Usage};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::SECTION;

const USAGE: Usage = Usage {
    name: "hamming_distance",
    syntax: "hamming_distance(a, b)",
    arguments: &[Argument("a", bits), Argument("b", bits)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns how many bits of two hashes differ, as BIGINT: of two whole numbers of 64 \
         bits, such as those of `image_hash`, or of two BINARY values of the same length. \
         NULL gives NULL.",
        USAGE.syntax,
    )
    .with_argument("a", "A whole number, or BINARY.")
    .with_argument("b", "The same.")
    .with_sql_example(
        "SELECT hamming_distance(image_hash(content), image_hash(image_resize(content, 64, \
         64))) AS distance\nFROM read_blob('sql/data/photos/coffee.png');",
    )
    .with_related_udf("image_hash")
    .build()
});

/// An argument whose bits are counted, for a [`Usage`].
fn bits(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::UInt64 => Ok(DataType::UInt64),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Ok(data_type.clone()),
        data_type if data_type.is_integer() || data_type.is_null() => Ok(DataType::Int64),
        _ => plan_err!(
            "{function}: {argument} must be a whole number, such as image_hash gives, or \
             BINARY, got {data_type}"
        ),
    }
}

/// The SQL function `hamming_distance(a, b)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HammingDistance {
    signature: Signature,
}

impl Default for HammingDistance {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for HammingDistance {
    fn name(&self) -> &str {
        USAGE.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let types = USAGE.coerce(arg_types)?;
        if let [a, b] = &types[..]
            && a.is_integer() != b.is_integer()
            && !arg_types.iter().any(DataType::is_null)
        {
            return plan_err!(
                "{}: a and b must both be whole numbers or both be BINARY, got {a} and {b}",
                USAGE.name
            );
        }
        Ok(types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [a, b] = take_function_args(self.name(), args.args)?;
        let (a, b) = (a.into_array(rows)?, b.into_array(rows)?);
        Ok(ColumnarValue::Array(Arc::new(distances(&a, &b)?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// A row out for every row in.
fn distances(a: &ArrayRef, b: &ArrayRef) -> Result<Int64Array> {
    (0..a.len())
        .map(|row| {
            if a.is_null(row) || b.is_null(row) {
                return Ok(None);
            }
            if let (Some(a), Some(b)) = (word(a, row), word(b, row)) {
                return Ok(Some(i64::from(hamming(a, b))));
            }
            match (bytes_at(a, row), bytes_at(b, row)) {
                (Some(a), Some(b)) if a.len() == b.len() => {
                    let bits = a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones());
                    Ok(Some(bits.map(i64::from).sum()))
                }
                (Some(a), Some(b)) => exec_err!(
                    "{}: a and b must have the same number of bytes, got {} and {}",
                    USAGE.name,
                    a.len(),
                    b.len()
                ),
                _ => Ok(None),
            }
        })
        .collect()
}

/// The 64 bits of a number, with a sign or without.
fn word(array: &ArrayRef, row: usize) -> Option<u64> {
    match array.as_primitive_opt::<UInt64Type>() {
        Some(numbers) => Some(numbers.value(row)),
        None => {
            let numbers = array.as_primitive_opt::<Int64Type>()?;
            Some(numbers.value(row).cast_unsigned())
        }
    }
}
