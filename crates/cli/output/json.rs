//! JSON, streamed: an array of objects or one object per line. NULL is `null`,
//! binary is hexadecimal, NaN and infinities are `null` as JSON has no word for them.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use datafusion::arrow::json::writer::{EncoderOptions, make_encoder};

use super::RowWriter;
use crate::errors::Failure;

/// What stands between the objects: an array around them, or a line each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum JsonLayout {
    Array,
    Lines,
}

/// Writes JSON.
pub(super) struct Json {
    shape: JsonLayout,
    row: FieldRef,
    columns: Fields,
    rows: usize,
}

impl Json {
    pub(super) fn new(shape: JsonLayout, schema: &SchemaRef) -> Self {
        let columns: Fields = schema.fields().iter().map(without_keys).collect();
        let row = Field::new_struct("row", columns.clone(), false);
        Self {
            shape,
            row: Arc::new(row),
            columns,
            rows: 0,
        }
    }
}

/// The column of the values themselves, if it is one of keys into a dictionary. Arrow's
/// encoder writes a key that stands for NULL as if it stood for an empty text.
fn without_keys(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Dictionary(_, values) => {
            let field = field.as_ref().clone();
            let values = values.as_ref().clone();
            Arc::new(field.with_data_type(values).with_nullable(true))
        }
        _ => Arc::clone(field),
    }
}

impl RowWriter for Json {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
        let columns: Vec<ArrayRef> = (self.columns.iter().zip(batch.columns()))
            .map(|(field, column)| cast(column, field.data_type()))
            .collect::<Result<_, _>>()?;
        let rows = StructArray::try_new_with_length(
            self.columns.clone(),
            columns,
            None,
            batch.num_rows(),
        )?;
        let options = EncoderOptions::default().with_explicit_nulls(true);
        let mut encoder = make_encoder(&self.row, &rows, &options)?;
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            text.clear();
            if self.shape == JsonLayout::Array {
                text.extend_from_slice(if self.rows == 0 { b"[" } else { b",\n" });
            }
            encoder.encode(row, &mut text);
            if self.shape == JsonLayout::Lines {
                text.push(b'\n');
            }
            out.write_all(&text)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        match (self.shape, self.rows) {
            (JsonLayout::Lines, _) => {}
            (JsonLayout::Array, 0) => out.write_all(b"[]\n")?,
            (JsonLayout::Array, _) => out.write_all(b"]\n")?,
        }
        Ok(())
    }
}
