//! CSV, TSV and Markdown: one line of text per row, streamed.

use std::borrow::Cow;
use std::io::Write;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::make_encoder;
use datafusion::arrow::util::display::ArrayFormatter;

use super::cell::Detail;
use super::{RowWriter, cell, json};
use crate::errors::Failure;

/// Which of the formats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Style {
    Csv,
    Tsv,
    Markdown,
}

/// Writes delimited text.
pub(super) struct Delimited {
    style: Style,
    schema: SchemaRef,
    started: bool,
}

impl Delimited {
    pub(super) fn new(style: Style, schema: &SchemaRef) -> Self {
        Self {
            style,
            schema: SchemaRef::clone(schema),
            started: false,
        }
    }

    fn start(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| Some(field.name().as_str()));
        write_line(self.style, names, out)?;
        if self.style == Style::Markdown {
            let fields = self.schema.fields().iter();
            let rules = fields.map(|f| {
                if f.data_type().is_numeric() {
                    "---:"
                } else {
                    "---"
                }
            });
            write_line(self.style, rules.map(Some), out)?;
        }
        Ok(())
    }
}

impl RowWriter for Delimited {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
        self.start(out)?;
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let columns = columns
            .map(|(field, array)| texts(self.style, field, array.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            write_line(
                self.style,
                columns.iter().map(|column| column[row].as_deref()),
                out,
            )?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        self.start(out)
    }
}

/// The texts of one column; none for NULL.
fn texts(
    style: Style,
    field: &FieldRef,
    array: &dyn Array,
) -> Result<Vec<Option<String>>, ArrowError> {
    let rows = 0..array.len();
    // Of a column without a type, and of a dictionary's values, only these tell.
    let nulls = array.logical_nulls();
    let is_valid = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    if style == Style::Markdown {
        let text = |row| cell::text(array, row, Detail::Whole);
        return rows.map(|row| text(row).map(Some)).collect();
    }
    if is_nested(field.data_type()) {
        let mut encoder = make_encoder(field, array, &json::OPTIONS)?;
        return Ok(rows
            .map(|row| {
                let mut json = Vec::new();
                is_valid(row).then(|| encoder.encode(row, &mut json))?;
                Some(String::from_utf8_lossy(&json).into_owned())
            })
            .collect());
    }
    let options = cell::format_options();
    let formatter = ArrayFormatter::try_new(array, &options)?;
    rows.map(|row| {
        let text = || formatter.value(row).try_to_string();
        is_valid(row).then(text).transpose()
    })
    .collect()
}

fn is_nested(data_type: &DataType) -> bool {
    // A dictionary's values are plain text or numbers.
    data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..))
}

fn write_line<'a>(
    style: Style,
    cells: impl Iterator<Item = Option<&'a str>>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (open, between, close) = match style {
        Style::Csv => ("", ",", "\n"),
        Style::Tsv => ("", "\t", "\n"),
        Style::Markdown => ("| ", " | ", " |\n"),
    };
    out.write_all(open.as_bytes())?;
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            out.write_all(between.as_bytes())?;
        }
        if let Some(cell) = cell {
            out.write_all(escape(style, cell).as_bytes())?;
        }
    }
    out.write_all(close.as_bytes())?;
    Ok(())
}

fn escape(style: Style, cell: &str) -> Cow<'_, str> {
    match style {
        // Quoted when empty, to tell an empty text from NULL.
        Style::Csv if cell.is_empty() || cell.contains([',', '"', '\n', '\r']) => {
            Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
        }
        Style::Tsv if cell.contains(['\t', '\n', '\r', '\\']) => Cow::Owned(
            cell.replace('\\', "\\\\")
                .replace('\t', "\\t")
                .replace('\n', "\\n")
                .replace('\r', "\\r"),
        ),
        Style::Markdown if cell.contains(['|', '\n']) => {
            Cow::Owned(cell.replace('|', "\\|").replace('\n', "<br>"))
        }
        _ => Cow::Borrowed(cell),
    }
}
