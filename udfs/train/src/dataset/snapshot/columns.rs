//! The mixed columns of a snapshot as a struct with a field for each.
//!
//! Text is VARCHAR, a date DATE, and everything else DOUBLE or a list of it: a moment is days
//! since 1970-01-01, with as many bits as a network sees. What a column held is in the
//! schema's metadata.

use std::sync::Arc;

use atoll_nn::{Column, ColumnKind, Dataset, Features};
use datafusion::arrow::array::{
    ArrayRef, AsArray, Date32Array, Float64Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use serde_json::json;

use crate::dataset::{Holds, TableColumn};

/// The key in the schema's metadata of the name of the label column and of those columns that
/// are moments, in JSON.
const COLUMNS: &str = "atoll.columns";

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

/// Says in a schema what a column type does not say.
pub(super) fn describe(dataset: &Dataset, schema: &mut Schema) {
    let is_moment = |column: &&Column| column.kind == ColumnKind::Timestamp;
    let moments = dataset.columns.iter().filter(is_moment);
    let moments: Vec<&str> = moments.map(|column| column.name.as_str()).collect();
    let described = json!({"target": dataset.target, "moments": moments});
    schema
        .metadata
        .insert(COLUMNS.to_string(), described.to_string());
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

/// What a schema says of the columns: the name of the label column, and which are moments.
pub(super) struct Described {
    pub(super) target: String,
    moments: Vec<String>,
}

impl Described {
    pub(super) fn of(schema: &Schema) -> Result<Self> {
        let text = schema.metadata().get(COLUMNS).map_or("", String::as_str);
        let described: serde_json::Value =
            serde_json::from_str(text).map_err(|error| {
                exec_datafusion_err!("it does not describe columns: {error}")
            })?;
        let target = described["target"].as_str().unwrap_or_default().to_string();
        let moments = described["moments"].as_array().into_iter().flatten();
        let moments = moments.filter_map(|name| Some(name.as_str()?.to_string()));
        Ok(Self {
            target,
            moments: moments.collect(),
        })
    }

    /// Says of columns that were read what they hold.
    pub(super) fn restore(&self, columns: &mut [TableColumn]) {
        for column in columns {
            if self.moments.contains(&column.name) {
                column.holds = Holds::Timestamps;
            }
        }
    }
}

/// The fields of the first column of a record batch in its place.
pub(super) fn unfolded(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let Some(columns) = batch.column(0).as_struct_opt() else {
        return exec_err!("its features are no struct");
    };
    let rest = schema.fields().iter().skip(1).map(Arc::clone);
    let fields: Vec<_> = columns
        .fields()
        .iter()
        .map(Arc::clone)
        .chain(rest)
        .collect();
    let arrays = columns.columns().iter().chain(&batch.columns()[1..]);
    let arrays = arrays.map(Arc::clone).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}
