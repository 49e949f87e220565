//! The text of a single value in a table.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Fields};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::binary;

pub(super) const NULL: &str = "NULL";
/// A list with more elements than this is shortened where room is short.
const LONG_LIST: usize = 12;
/// How many elements a shortened list begins with.
const LIST_START: usize = 3;

/// How much of a value is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Detail {
    /// All of it, binary aside.
    Whole,
    /// Long lists only begin.
    Short,
}

/// How values are formatted where Arrow's own display serves.
pub(crate) fn format_options() -> FormatOptions<'static> {
    FormatOptions::new().with_null("").with_display_error(false)
}

/// The text of one value: structs and lists spelled out, binary and images described.
pub(crate) fn text(
    array: &dyn Array,
    row: usize,
    detail: Detail,
) -> Result<String, ArrowError> {
    let mut text = String::new();
    push(array, row, detail, &mut text)?;
    Ok(text)
}

/// As [`text`], with the elements of a list of structs or lists on a line each.
pub(crate) fn lines(
    array: &dyn Array,
    row: usize,
    detail: Detail,
) -> Result<String, ArrowError> {
    match list(array, row) {
        Some(values) if is_compound(values.data_type()) && !values.is_empty() => {
            let mut text = String::new();
            push_elements(values.as_ref(), detail, "\n", &mut text)?;
            Ok(text)
        }
        _ => text(array, row, detail),
    }
}

/// Whether a value is taken apart rather than shown as one thing.
pub(crate) fn is_open_struct(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct(fields) if !is_image(fields))
}

fn push(
    array: &dyn Array,
    row: usize,
    detail: Detail,
    text: &mut String,
) -> Result<(), ArrowError> {
    if is_null(array, row) {
        text.push_str(NULL);
        return Ok(());
    }
    if let Some(bytes) = bytes(array, row) {
        binary::describe(bytes, text);
        return Ok(());
    }
    if let Some(values) = list(array, row) {
        text.push('[');
        push_elements(values.as_ref(), detail, ", ", text)?;
        text.push(']');
        return Ok(());
    }
    match array.data_type() {
        DataType::Struct(fields) if is_image(fields) => {
            push_image(array.as_struct(), row, text)?;
        }
        DataType::Struct(fields) => {
            text.push('{');
            let columns = array.as_struct().columns();
            for (n, (field, column)) in fields.iter().zip(columns).enumerate() {
                text.push_str(if n > 0 { ", " } else { "" });
                text.push_str(field.name());
                text.push_str(": ");
                push(column.as_ref(), row, detail, text)?;
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

/// Whether a value is NULL, also in a column of no type or behind a dictionary's key.
fn is_null(array: &dyn Array, row: usize) -> bool {
    match array.data_type() {
        DataType::Null => true,
        DataType::Dictionary(..) => array.slice(row, 1).logical_null_count() > 0,
        _ => array.is_null(row),
    }
}

fn push_elements(
    values: &dyn Array,
    detail: Detail,
    between: &str,
    text: &mut String,
) -> Result<(), ArrowError> {
    let all = values.len();
    let shown = match detail {
        Detail::Short if all > LONG_LIST => LIST_START,
        _ => all,
    };
    for row in 0..shown {
        text.push_str(if row > 0 { between } else { "" });
        push(values, row, detail, text)?;
    }
    if shown < all {
        text.push_str(&format!("{between}… {all} in all"));
    }
    Ok(())
}

fn bytes(array: &dyn Array, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(row)),
        _ => None,
    }
}

/// The elements of a list; none where the value is no list, or NULL.
fn list(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::ListView(_) => Some(array.as_list_view::<i32>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

fn is_compound(data_type: &DataType) -> bool {
    is_open_struct(data_type)
        || matches!(
            data_type,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        )
}

/// Whether this is a decoded IMAGE: struct<width, height, channels, data>.
fn is_image(fields: &Fields) -> bool {
    let names = fields.iter().map(|field| field.name().as_str());
    names.eq(["width", "height", "channels", "data"])
}

fn push_image(
    image: &StructArray,
    row: usize,
    text: &mut String,
) -> Result<(), ArrowError> {
    text.push_str("<image ");
    for (n, side) in image.columns().iter().take(3).enumerate() {
        text.push_str(if n > 0 { "x" } else { "" });
        push(side.as_ref(), row, Detail::Whole, text)?;
    }
    text.push('>');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, BinaryArray, FixedSizeBinaryArray, ListArray, NullArray, UInt8Array,
        UInt32Array,
    };
    use datafusion::arrow::datatypes::{Field, Int32Type};

    use super::*;

    #[track_caller]
    fn check(array: &dyn Array, detail: Detail, expected: &str) {
        assert_eq!(text(array, 0, detail).unwrap(), expected);
    }

    fn numbers(count: i32) -> ListArray {
        let row: Vec<Option<i32>> = (0..count).map(Some).collect();
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(row)])
    }

    #[test]
    fn only_long_lists_are_shortened() {
        check(&numbers(4), Detail::Short, "[0, 1, 2, 3]");
        check(&numbers(784), Detail::Short, "[0, 1, 2, … 784 in all]");
        assert!(!text(&numbers(784), 0, Detail::Whole).unwrap().contains('…'));
    }

    #[test]
    fn every_kind_of_binary_is_described() {
        let bytes: &[u8] = b"abc";
        check(
            &BinaryArray::from(vec![bytes]),
            Detail::Whole,
            "<3 bytes 616263>",
        );
        let fixed = FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).unwrap();
        check(&fixed, Detail::Whole, "<3 bytes 616263>");
    }

    fn image() -> StructArray {
        let columns: [(&str, ArrayRef); 4] = [
            ("width", Arc::new(UInt32Array::from(vec![28]))),
            ("height", Arc::new(UInt32Array::from(vec![20]))),
            ("channels", Arc::new(UInt8Array::from(vec![1]))),
            (
                "data",
                Arc::new(BinaryArray::from(vec![&[0_u8; 560] as &[u8]])),
            ),
        ];
        StructArray::from(
            columns
                .into_iter()
                .map(|(name, array)| {
                    let data_type = array.data_type().clone();
                    (Arc::new(Field::new(name, data_type, true)), array)
                })
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_decoded_image_is_its_size() {
        check(&image(), Detail::Whole, "<image 28x20x1>");
        assert!(!is_open_struct(image().data_type()));
    }

    #[test]
    fn a_null_of_no_type_is_null() {
        check(&NullArray::new(1), Detail::Short, "NULL");
    }

    #[test]
    fn lists_of_structs_take_a_line_each() {
        let inner = numbers(2);
        let structs = StructArray::from(vec![(
            Arc::new(Field::new("n", inner.value(0).data_type().clone(), true)),
            inner.value(0),
        )]);
        let field = Arc::new(Field::new("item", structs.data_type().clone(), true));
        let offsets = datafusion::arrow::buffer::OffsetBuffer::new(vec![0, 2].into());
        let list = ListArray::new(field, offsets, Arc::new(structs), None);
        assert_eq!(lines(&list, 0, Detail::Short).unwrap(), "{n: 0}\n{n: 1}");
        assert_eq!(lines(&numbers(2), 0, Detail::Short).unwrap(), "[0, 1]");
    }
}
