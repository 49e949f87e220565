//! Reading of arguments, at plan time and at run time.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

/// The text of a literal argument; `None` when it is NULL or not a literal.
pub fn literal_str(arg: &Expr) -> Option<&str> {
    match arg {
        Expr::Literal(value, _) => scalar_str(value),
        Expr::Alias(alias) => literal_str(&alias.expr),
        _ => None,
    }
}

/// The text of a scalar; `None` when it is NULL or not text.
pub fn scalar_str(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// Whether a type is one of Arrow's three text types.
pub fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The text in one row; `None` when it is NULL or the array does not hold text.
pub fn string_at(array: &ArrayRef, row: usize) -> Option<&str> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(array.as_string_view().value(row)),
        _ => None,
    }
}

/// The bytes in one row; `None` when they are NULL or the array does not hold bytes.
pub fn bytes_at(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(row)),
        _ => None,
    }
}
