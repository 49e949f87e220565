//! One value as people read it, in tables.

use std::fmt::Write;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

const NULL: &str = "NULL";

/// How values are formatted where Arrow's own display serves.
pub(crate) fn format_options() -> FormatOptions<'static> {
    FormatOptions::new().with_null("").with_display_error(false)
}

/// The text of one value: structs and lists spelled out, binary as its size.
pub(crate) fn text(array: &dyn Array, row: usize) -> Result<String, ArrowError> {
    let mut text = String::new();
    push(array, row, &mut text)?;
    Ok(text)
}

fn push(array: &dyn Array, row: usize, text: &mut String) -> Result<(), ArrowError> {
    if array.is_null(row) {
        text.push_str(NULL);
        return Ok(());
    }
    match array.data_type() {
        DataType::Binary => push_size(array.as_binary::<i32>().value(row).len(), text),
        DataType::LargeBinary => {
            push_size(array.as_binary::<i64>().value(row).len(), text)
        }
        DataType::BinaryView => push_size(array.as_binary_view().value(row).len(), text),
        DataType::FixedSizeBinary(size) => {
            push_size(usize::try_from(*size).unwrap_or(0), text)
        }
        DataType::List(_) => push_list(array.as_list::<i32>().value(row).as_ref(), text)?,
        DataType::LargeList(_) => {
            push_list(array.as_list::<i64>().value(row).as_ref(), text)?
        }
        DataType::FixedSizeList(..) => {
            push_list(array.as_fixed_size_list().value(row).as_ref(), text)?;
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields
                .iter()
                .zip(columns)
                .map(|(field, column)| (field.name(), column));
            text.push('{');
            for (n, (name, column)) in pairs.enumerate() {
                text.push_str(if n > 0 { ", " } else { "" });
                text.push_str(name);
                text.push_str(": ");
                push(column.as_ref(), row, text)?;
            }
            text.push('}');
        }
        _ => {
            let options = format_options();
            let formatter = ArrayFormatter::try_new(array, &options)?;
            formatter.value(row).write(text)?;
        }
    }
    Ok(())
}

fn push_list(values: &dyn Array, text: &mut String) -> Result<(), ArrowError> {
    text.push('[');
    for row in 0..values.len() {
        text.push_str(if row > 0 { ", " } else { "" });
        push(values, row, text)?;
    }
    text.push(']');
    Ok(())
}

fn push_size(bytes: usize, text: &mut String) {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        // Writing to a string cannot fail.
        let _ = write!(text, "<{bytes} B>");
        return;
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let _ = write!(text, "<{size:.1} {}>", UNITS[unit]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: usize, expected: &str) {
        let mut text = String::new();
        push_size(bytes, &mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn sizes_are_short() {
        check(0, "<0 B>");
        check(1023, "<1023 B>");
        check(8400, "<8.2 KiB>");
        check(5 << 30, "<5.0 GiB>");
    }
}
