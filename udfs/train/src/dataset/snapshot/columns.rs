//! The mixed columns of a snapshot as a struct with a field for each.
//!
//! Text is VARCHAR, a date DATE, and everything else DOUBLE or a list of it: a moment is days
//! since 1970-01-01, with as many bits as a network sees. What a column held is in the
//! schema's metadata ([`Described`](crate::dataset::metadata::Described)).

use std::sync::Arc;

use atoll_nn::{Column, ColumnKind, Dataset, Features};
use datafusion::arrow::array::{
    ArrayRef, Date32Array, Float64Array, ListArray, StringArray, StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err};

/// The type of the struct.
pub(super) fn fields(dataset: &Dataset) -> Fields {
    let field = |column: &Column| {
        let data_type = match column.kind {
            ColumnKind::Text(_) => DataType::Utf8,
            ColumnKind::Date => DataType::Date32,
            ColumnKind::List(_) => DataType::new_list(DataType::Float64, false),
            ColumnKind::Number | ColumnKind::Timestamp => DataType::Float64,
        };
        Field::new(&column.name, data_type, true)
    };
    dataset.columns.iter().map(field).collect()
}

/// The values of some rows.
pub(super) fn array(dataset: &Dataset, start: usize, end: usize) -> Result<ArrayRef> {
    let Features::Numbers(numbers) = &dataset.features else {
        return exec_err!("images have no columns");
    };
    let width = dataset.shape.values();
    let rows = &numbers[start * width..end * width];
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(dataset.columns.len());
    let mut offset = 0;
    for column in &dataset.columns {
        let values = rows.iter().skip(offset).step_by(width).copied();
        let known = values.map(|value| (!value.is_nan()).then_some(value));
        arrays.push(match &column.kind {
            ColumnKind::Text(texts) => {
                let text = |place: f64| texts.get(place as usize).map(String::as_str);
                let texts = known.map(|place| place.and_then(text));
                Arc::new(StringArray::from_iter(texts))
            }
            ColumnKind::Date => {
                let days = known.map(|days| days.map(|days| days as i32));
                Arc::new(Date32Array::from_iter(days))
            }
            ColumnKind::List(length) => {
                let lists = rows.chunks_exact(width);
                let lists = lists.flat_map(|row| &row[offset..offset + length]);
                Arc::new(ListArray::try_new(
                    Arc::new(Field::new_list_field(DataType::Float64, false)),
                    OffsetBuffer::from_repeated_length(*length, end - start),
                    Arc::new(Float64Array::from_iter_values(lists.copied())),
                    None,
                )?)
            }
            ColumnKind::Number | ColumnKind::Timestamp => {
                Arc::new(Float64Array::from_iter(known))
            }
        });
        offset += column.width();
    }
    let fields = fields(dataset);
    Ok(Arc::new(StructArray::try_new(fields, arrays, None)?))
}
