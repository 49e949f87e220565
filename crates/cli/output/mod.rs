//! Writes the rows of a statement as text: tables, CSV, JSON, Markdown.
//!
//! Rows are written as they arrive wherever the format allows it, so a result may be
//! larger than memory. A statement without columns, such as DDL, writes nothing.

mod binary;
mod cell;
mod delimited;
mod json;
mod out;
mod table;

use std::io::Write;

use clap::ValueEnum;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use crate::errors::Failure;

pub(crate) use out::{Out, ReaderState, is_installed, usual_pager};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum RowFormat {
    /// Boxes for people
    Table,
    /// Comma-separated, nested values as JSON
    Csv,
    /// Tab-separated, with \t, \n and \\ for what would break a line
    Tsv,
    /// One JSON array per statement
    Json,
    /// One JSON object per line
    Ndjson,
    /// A Markdown table
    Markdown,
}

impl RowFormat {
    /// The name as it is typed.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_string())
    }
}

/// How much room a table has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TableFit {
    /// Every row and every character: a file, a pipe or a script.
    All,
    /// Cells cut to fit, long lists shortened, and a footer.
    Screen(Screen),
}

/// The screen that a table is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Screen {
    /// Columns of characters.
    pub(crate) width: usize,
    /// What takes more lines than this is written whole, for a pager. Without a pager
    /// only the first and the last rows are written.
    pub(crate) page: Option<usize>,
}

/// Whether a table has a line for each column instead of a line for each row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expanded {
    On,
    Off,
    /// If the rows are wider than the screen.
    Auto,
}

/// Writes the rows of one statement.
pub(crate) trait RowWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure>;

    /// Writes what the format needs after the last row, and before the first if there
    /// was none.
    fn finish(&mut self, out: &mut dyn Write) -> Result<(), Failure>;
}

/// A writer for rows of `schema`.
pub(crate) fn row_writer(
    format: RowFormat,
    expanded: Expanded,
    fit: TableFit,
    schema: &SchemaRef,
) -> Box<dyn RowWriter + Send> {
    if schema.fields().is_empty() {
        return Box::new(Nothing);
    }
    match format {
        RowFormat::Table => Box::new(table::TableWriter::new(schema, expanded, fit)),
        RowFormat::Csv => {
            Box::new(delimited::Delimited::new(delimited::Style::Csv, schema))
        }
        RowFormat::Tsv => {
            Box::new(delimited::Delimited::new(delimited::Style::Tsv, schema))
        }
        RowFormat::Markdown => Box::new(delimited::Delimited::new(
            delimited::Style::Markdown,
            schema,
        )),
        RowFormat::Json => Box::new(json::Json::new(json::JsonLayout::Array, schema)),
        RowFormat::Ndjson => Box::new(json::Json::new(json::JsonLayout::Lines, schema)),
    }
}

/// For statements that return no rows.
struct Nothing;

impl RowWriter for Nothing {
    fn write(&mut self, _: &RecordBatch, _: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array,
        ListArray, NullArray, StringArray, StructArray,
    };
    use datafusion::arrow::datatypes::{DataType, Field, Int32Type};

    use super::*;

    /// One column of each awkward kind; the second row is NULL throughout.
    fn batch() -> RecordBatch {
        let binary: Vec<Option<&[u8]>> = vec![Some(&[0xab; 8400]), None];
        let point = StructArray::new(
            vec![Field::new("x", DataType::Int64, true)].into(),
            vec![Arc::new(Int64Array::from(vec![Some(3), None])) as ArrayRef],
            Some(vec![true, false].into()),
        );
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
        ]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(7), None]))),
            (
                "text",
                Arc::new(StringArray::from(vec![Some("a,\"b\"\tc|\nd"), None])),
            ),
            ("f", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
            ("bytes", Arc::new(BinaryArray::from(binary))),
            ("point", Arc::new(point)),
            ("list", Arc::new(list)),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap()
    }

    fn render(format: RowFormat, fit: TableFit, batches: &[RecordBatch]) -> String {
        render_as(format, Expanded::Off, fit, batches)
    }

    fn render_as(
        format: RowFormat,
        expanded: Expanded,
        fit: TableFit,
        batches: &[RecordBatch],
    ) -> String {
        let mut out = Vec::new();
        let mut writer = row_writer(format, expanded, fit, batches[0].schema_ref());
        for batch in batches {
            writer.write(batch, &mut out).unwrap();
        }
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn without_bytes() -> RecordBatch {
        batch().project(&[0, 1, 2, 4, 5]).unwrap()
    }

    #[test]
    fn csv_quotes_and_keeps_nested_values_as_json() {
        assert_eq!(
            render(RowFormat::Csv, TableFit::All, &[without_bytes()]),
            "n,text,f,point,list\n\
             7,\"a,\"\"b\"\"\tc|\nd\",0.5,\"{\"\"x\"\":3}\",\"[1,null]\"\n,,,,\n"
        );
    }

    #[test]
    fn csv_tells_an_empty_text_from_null_and_writes_binary_as_hexadecimal() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None]));
        let bytes: ArrayRef =
            Arc::new(BinaryArray::from(vec![Some(&b"\x01\xff"[..]), None]));
        let batch = RecordBatch::try_from_iter([("t", text), ("b", bytes)]).unwrap();
        assert_eq!(
            render(RowFormat::Csv, TableFit::All, &[batch]),
            "t,b\n\"\",01ff\n,\n"
        );
    }

    #[test]
    fn a_null_of_no_type_or_behind_a_key_is_a_null() {
        let untyped: ArrayRef = Arc::new(NullArray::new(2));
        let values = StringArray::from(vec![Some("a"), None]);
        let keys = Int32Array::from(vec![0, 1]);
        let keyed = DictionaryArray::new(keys, Arc::new(values));
        let columns = [("n", untyped), ("d", Arc::new(keyed) as ArrayRef)];
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        for (format, expected) in [
            (RowFormat::Csv, "n,d\n,a\n,\n"),
            (RowFormat::Tsv, "n\td\n\ta\n\t\n"),
            (
                RowFormat::Ndjson,
                "{\"n\":null,\"d\":\"a\"}\n{\"n\":null,\"d\":null}\n",
            ),
            (
                RowFormat::Markdown,
                "| n | d |\n| --- | --- |\n| NULL | a |\n| NULL | NULL |\n",
            ),
        ] {
            let text = render(format, TableFit::All, std::slice::from_ref(&batch));
            assert_eq!(text, expected, "{format:?}");
        }
    }

    #[test]
    fn tsv_escapes_what_would_break_a_line() {
        assert_eq!(
            render(RowFormat::Tsv, TableFit::All, &[without_bytes()]),
            "n\ttext\tf\tpoint\tlist\n\
             7\ta,\"b\"\\tc|\\nd\t0.5\t{\"x\":3}\t[1,null]\n\t\t\t\t\n"
        );
    }

    #[test]
    fn json_is_valid_over_several_record_batches() {
        let text = render(
            RowFormat::Json,
            TableFit::All,
            &[without_bytes(), without_bytes()],
        );
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 4);
        assert_eq!(rows[0]["list"], serde_json::json!([1, null]));
        assert!(rows[1]["point"].is_null());
    }

    #[test]
    fn json_without_rows_is_an_empty_array() {
        let none = without_bytes().slice(0, 0);
        assert_eq!(
            render(RowFormat::Json, TableFit::All, std::slice::from_ref(&none)),
            "[]\n"
        );
        assert_eq!(render(RowFormat::Ndjson, TableFit::All, &[none]), "");
    }

    #[test]
    fn ndjson_has_a_row_a_line() {
        assert_eq!(
            render(
                RowFormat::Ndjson,
                TableFit::All,
                &[without_bytes().project(&[0, 3]).unwrap()]
            ),
            "{\"n\":7,\"point\":{\"x\":3}}\n{\"n\":null,\"point\":null}\n"
        );
    }

    #[test]
    fn markdown_escapes_bars_and_sizes_binary() {
        assert_eq!(
            render(RowFormat::Markdown, TableFit::All, &[batch()]),
            "| n | text | f | bytes | point | list |\n\
             | ---: | --- | ---: | --- | --- | --- |\n\
             | 7 | a,\"b\"\tc\\|<br>d | 0.5 | <8.2 KiB abababab…> | {x: 3} | [1, NULL] |\n\
             | NULL | NULL | NULL | NULL | NULL | NULL |\n"
        );
    }

    #[test]
    fn a_table_aligns_numbers_right_and_breaks_lines() {
        assert_eq!(
            render(
                RowFormat::Table,
                TableFit::All,
                &[batch().project(&[0, 1, 3]).unwrap()]
            ),
            "┌──────┬─────────────┬─────────────────────┐\n\
             │    n │ text        │ bytes               │\n\
             ├──────┼─────────────┼─────────────────────┤\n\
             │    7 │ a,\"b\"    c| │ <8.2 KiB abababab…> │\n\
             │      │ d           │                     │\n\
             │ NULL │ NULL        │ NULL                │\n\
             └──────┴─────────────┴─────────────────────┘\n"
        );
    }

    fn numbers(rows: std::ops::Range<i64>) -> RecordBatch {
        let array: ArrayRef = Arc::new(Int64Array::from_iter_values(rows));
        RecordBatch::try_from_iter([("n", array)]).unwrap()
    }

    #[test]
    fn a_screen_shows_the_first_and_the_last_rows() {
        let text = render(
            RowFormat::Table,
            screen(80, None),
            &[
                numbers(0..30),
                numbers(30..35),
                numbers(35..1000),
                numbers(1000..1003),
            ],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], "│    0 │");
        assert_eq!(lines[22], "│   19 │");
        assert_eq!(lines[23], "│    · │");
        assert_eq!(lines[24], "│  983 │");
        assert_eq!(lines[43], "│ 1002 │");
        assert_eq!(lines[45], "(1003 rows, 40 shown)");
    }

    #[test]
    fn a_screen_shows_forty_rows_whole() {
        let text = render(
            RowFormat::Table,
            screen(80, None),
            &[numbers(0..25), numbers(25..40)],
        );
        assert_eq!(text.lines().count(), 45);
        assert!(text.ends_with("(40 rows)\n"), "{text}");
    }

    #[test]
    fn wide_cells_are_cut_to_the_screen() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(300)]));
        let batch =
            RecordBatch::try_from_iter([("a", Arc::clone(&long)), ("b", long)]).unwrap();
        let text = render(
            RowFormat::Table,
            screen(60, None),
            std::slice::from_ref(&batch),
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
        assert!(text.contains('…'));
        assert!(!render(RowFormat::Table, TableFit::All, &[batch]).contains('…'));
    }

    #[test]
    fn a_table_larger_than_its_sample_goes_on_unbuffered() {
        let mut out = Vec::new();
        let first = numbers(0..table::SAMPLE as i64 + 1);
        let mut writer = row_writer(
            RowFormat::Table,
            Expanded::Off,
            TableFit::All,
            first.schema_ref(),
        );
        writer.write(&first, &mut out).unwrap();
        let sampled = out.len();
        assert!(sampled > 0, "nothing was written before the end");
        writer.write(&numbers(0..5), &mut out).unwrap();
        assert!(out.len() > sampled);
        writer.finish(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), table::SAMPLE + 6 + 4);
    }
    fn screen(width: usize, page: Option<usize>) -> TableFit {
        TableFit::Screen(Screen { width, page })
    }

    #[test]
    fn a_pager_gets_every_row_and_a_page_fits_the_screen() {
        let text = render(RowFormat::Table, screen(80, Some(22)), &[numbers(0..100)]);
        assert_eq!(text.lines().count(), 105, "{text}");
        assert!(text.ends_with("(100 rows)\n"), "{text}");
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(300); 17]));
        let batch = RecordBatch::try_from_iter([("a", long)]).unwrap();
        let cut = render(
            RowFormat::Table,
            screen(80, Some(22)),
            std::slice::from_ref(&batch),
        );
        assert!(cut.contains('…'), "it fits when cut: {cut}");
        let whole = render(RowFormat::Table, screen(80, Some(21)), &[batch]);
        assert!(
            whole.contains(&"x".repeat(300)),
            "a pager shows all: {whole}"
        );
    }

    #[test]
    fn a_pager_starts_before_the_last_row_and_before_much_text() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 17]));
        let batch = RecordBatch::try_from_iter([("a", text)]).unwrap();
        let mut out = Vec::new();
        let mut writer = row_writer(
            RowFormat::Table,
            Expanded::Off,
            screen(80, Some(22)),
            batch.schema_ref(),
        );
        writer.write(&batch, &mut out).unwrap();
        assert!(!out.is_empty(), "17 MiB were kept");
        assert!(out.len() < 100_000, "cells are cut for a pager");
    }

    #[test]
    fn expanded_rows_have_a_line_a_field() {
        let text = render_as(
            RowFormat::Table,
            Expanded::On,
            TableFit::All,
            &[batch().project(&[0, 4, 5]).unwrap()],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("─[ 1 ]──"), "{text}");
        assert_eq!(
            lines[1..4],
            ["n       │ 7", "point.x │ 3", "list    │ [1, NULL]"]
        );
        assert!(lines[4].starts_with("─[ 2 ]──"), "{text}");
        assert_eq!(lines[6], "point.x │ NULL");
    }

    #[test]
    fn automatic_expansion_depends_on_the_screen() {
        let narrow = |width| {
            let fit = screen(width, None);
            render_as(RowFormat::Table, Expanded::Auto, fit, &[batch()])
        };
        assert!(narrow(120).starts_with('┌'), "{}", narrow(120));
        assert!(narrow(40).starts_with("─[ 1 ]"), "{}", narrow(40));
        assert!(narrow(40).ends_with("(2 rows)\n"), "{}", narrow(40));
    }
}
