//! JSON, streamed: an array of objects or one object per line. NULL is `null`,
//! binary is hexadecimal. JSON has no word for NaN and infinities, which are the texts
//! `"NaN"`, `"Infinity"` and `"-Infinity"`, as BigQuery and Spark write them.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float64Type, SchemaRef,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder,
};

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

/// How values are written as JSON, inside the cells of other formats too.
pub(super) static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Floats))
});

/// Arrow's own encoders.
static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

/// Makes encoders for floats that are no numbers to JSON.
#[derive(Debug)]
struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !array.data_type().is_floating() {
            return Ok(None);
        }
        let numbers = cast(array, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>().values();
        if numbers.iter().all(|number| number.is_finite()) {
            return Ok(None);
        }
        let encoder = WithWords {
            words: numbers.iter().copied().map(word).collect(),
            inner: make_encoder(field, array, &PLAIN)?,
        };
        Ok(Some(NullableEncoder::new(
            Box::new(encoder),
            array.nulls().cloned(),
        )))
    }
}

fn word(number: f64) -> Option<&'static [u8]> {
    match number {
        number if number.is_nan() => Some(b"\"NaN\""),
        f64::INFINITY => Some(b"\"Infinity\""),
        f64::NEG_INFINITY => Some(b"\"-Infinity\""),
        _ => None,
    }
}

/// Writes the floats of an array for which JSON has no number as words.
struct WithWords<'a> {
    words: Vec<Option<&'static [u8]>>,
    inner: NullableEncoder<'a>,
}

impl Encoder for WithWords<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match self.words[row] {
            Some(word) => out.extend_from_slice(word),
            None => self.inner.encode(row, out),
        }
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
        let mut encoder = make_encoder(&self.row, &rows, &OPTIONS)?;
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
