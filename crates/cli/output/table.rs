//! The boxes people read.
//!
//! On a screen only the first and last rows are kept, whatever the result's size.
//! Elsewhere every row is written: the first ones set the widths, the others follow as
//! they arrive, so that memory stays bounded there too.

use std::collections::VecDeque;
use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::{Room, RowWriter, cell};
use crate::errors::Failure;
use crate::terminal::{clip, text_width};

/// Rows that set the widths of a table without an end in sight.
pub(super) const SAMPLE: usize = 10_000;
/// Rows at the start, and at the end, of what a screen shows.
const HALF: usize = 20;
/// No column is cut below this, else a wide table shows nothing at all.
const NARROWEST: usize = 8;

type Row = Vec<String>;

/// Writes a table.
pub(super) struct Table {
    names: Row,
    right: Vec<bool>,
    room: Room,
    /// Rows not written yet; on a screen the first ones.
    first: Vec<Row>,
    /// The latest rows after those, on a screen.
    last: VecDeque<Row>,
    total: usize,
    /// Set once the header is out.
    widths: Option<Vec<usize>>,
}

impl Table {
    pub(super) fn new(schema: &SchemaRef, room: Room) -> Self {
        let fields = schema.fields();
        Self {
            names: fields.iter().map(|field| one_line(field.name())).collect(),
            right: fields
                .iter()
                .map(|field| field.data_type().is_numeric())
                .collect(),
            room,
            first: Vec::new(),
            last: VecDeque::new(),
            total: 0,
            widths: None,
        }
    }

    fn keep(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let rows = batch.num_rows();
        let head = (2 * HALF).saturating_sub(self.first.len()).min(rows);
        for row in 0..head {
            self.first.push(texts(batch, row)?);
        }
        // Formatting the rows in between would be work for nothing.
        for row in head.max(rows.saturating_sub(HALF))..rows {
            self.last.push_back(texts(batch, row)?);
        }
        while self.last.len() > HALF {
            self.last.pop_front();
        }
        Ok(())
    }

    fn write_header(&mut self, out: &mut dyn Write) -> Result<Vec<usize>, Failure> {
        let rows = || self.first.iter().chain(&self.last);
        let mut widths = measure(&self.names, rows());
        if let Room::Screen(width) = self.room {
            // A plan's lines are worth more than a tidy screen.
            let fixed = (0..widths.len())
                .map(|column| rows().any(|row| row[column].contains('\n')))
                .collect::<Vec<_>>();
            shrink(&mut widths, &fixed, width);
        }
        rule(&widths, ["┌", "┬", "┐"], out)?;
        self.write_row(&self.names, &widths, out)?;
        rule(&widths, ["├", "┼", "┤"], out)?;
        Ok(widths)
    }

    fn write_row(
        &self,
        row: &Row,
        widths: &[usize],
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let cells: Vec<Vec<&str>> =
            row.iter().map(|cell| cell.split('\n').collect()).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(1) {
            for (column, cell) in cells.iter().enumerate() {
                let text = cell.get(line).copied().unwrap_or_default();
                let text = match self.room {
                    Room::Screen(_) => clip(text, widths[column]),
                    Room::All => text.to_string(),
                };
                let pad = " ".repeat(widths[column].saturating_sub(text_width(&text)));
                match self.right[column] {
                    true => write!(out, "│ {pad}{text} ")?,
                    false => write!(out, "│ {text}{pad} ")?,
                }
            }
            writeln!(out, "│")?;
        }
        Ok(())
    }

    fn flush_rows(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let widths = match self.widths.take() {
            Some(widths) => widths,
            None => self.write_header(out)?,
        };
        for row in &std::mem::take(&mut self.first) {
            self.write_row(row, &widths, out)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn finish_screen(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let shown = self.total.min(2 * HALF);
        let widths = self.write_header(out)?;
        let first = std::mem::take(&mut self.first);
        let last = std::mem::take(&mut self.last);
        if self.total <= 2 * HALF {
            for row in &first {
                self.write_row(row, &widths, out)?;
            }
        } else {
            for row in &first[..HALF] {
                self.write_row(row, &widths, out)?;
            }
            self.write_row(&vec!["·".to_string(); widths.len()], &widths, out)?;
            let tail: Vec<&Row> = first[HALF..].iter().chain(&last).collect();
            for row in &tail[tail.len() - HALF..] {
                self.write_row(row, &widths, out)?;
            }
        }
        rule(&widths, ["└", "┴", "┘"], out)?;
        let rows = if self.total == 1 { "row" } else { "rows" };
        match shown == self.total {
            true => writeln!(out, "({} {rows})", self.total)?,
            false => writeln!(out, "({} {rows}, {shown} shown)", self.total)?,
        }
        Ok(())
    }
}

impl RowWriter for Table {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
        self.total += batch.num_rows();
        if let Room::Screen(_) = self.room {
            return self.keep(batch);
        }
        for row in 0..batch.num_rows() {
            self.first.push(texts(batch, row)?);
        }
        if self.widths.is_some() || self.first.len() >= SAMPLE {
            self.flush_rows(out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        if let Room::Screen(_) = self.room {
            return self.finish_screen(out);
        }
        self.flush_rows(out)?;
        rule(
            self.widths.as_deref().unwrap_or_default(),
            ["└", "┴", "┘"],
            out,
        )
    }
}

fn texts(batch: &RecordBatch, row: usize) -> Result<Row, Failure> {
    let texts = batch
        .columns()
        .iter()
        .map(|array| cell::text(array.as_ref(), row));
    texts.map(|text| Ok(printable(&text?))).collect()
}

/// Control characters would move the cursor; line breaks stay.
fn printable(text: &str) -> String {
    text.trim_end_matches('\n')
        .replace('\t', "    ")
        .replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

fn measure<'a>(names: &Row, rows: impl Iterator<Item = &'a Row>) -> Vec<usize> {
    let mut widths: Vec<usize> = names.iter().map(|name| text_width(name)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            let widest = cell.split('\n').map(text_width).max().unwrap_or(0);
            *width = widest.max(*width);
        }
    }
    widths
}

/// Cuts the widest columns until the table fits the screen.
fn shrink(widths: &mut [usize], fixed: &[bool], screen: usize) {
    let borders = 3 * widths.len() + 1;
    for column in (0..widths.len()).filter(|&c| !fixed[c]) {
        widths[column] = widths[column].min(screen.max(NARROWEST));
    }
    loop {
        let excess = (widths.iter().sum::<usize>() + borders).saturating_sub(screen);
        let columns = (0..widths.len()).filter(|&c| !fixed[c] && widths[c] > NARROWEST);
        let Some(widest) = columns.max_by_key(|&c| widths[c]) else {
            return;
        };
        if excess == 0 {
            return;
        }
        widths[widest] -= 1;
    }
}

fn rule(
    widths: &[usize],
    [left, middle, right]: [&str; 3],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    writeln!(out, "{left}{}{right}", bars.join(middle))?;
    Ok(())
}
