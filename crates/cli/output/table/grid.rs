//! The usual layout of a table: columns side by side in a frame.

use std::io::Write;

use datafusion::arrow::datatypes::SchemaRef;

use super::{Fit, TableRow, WIDEST, one_line};
use crate::errors::Failure;
use crate::terminal::{clip, text_width};

/// No column is cut below this, else a wide table shows nothing at all.
const NARROWEST: usize = 8;

/// A table with the widths of its columns.
pub(super) struct TableGrid {
    names: Vec<String>,
    right: Vec<bool>,
    widths: Vec<usize>,
    natural_width: usize,
    fit: Fit,
}

impl TableGrid {
    /// Measures the rows that are there.
    pub(super) fn new<'a>(
        schema: &SchemaRef,
        rows: impl Iterator<Item = &'a TableRow>,
        fit: Fit,
    ) -> Self {
        let fields = schema.fields();
        let names: Vec<String> =
            fields.iter().map(|field| one_line(field.name())).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| text_width(name)).collect();
        // A plan's lines are worth more than a tidy screen.
        let mut fixed = vec![false; widths.len()];
        for row in rows {
            for (column, cell) in row.cells.iter().enumerate() {
                let widest = cell.split('\n').map(text_width).max().unwrap_or(0);
                widths[column] = widths[column].max(widest);
                fixed[column] |= cell.contains('\n');
            }
        }
        let natural_width = total(&widths);
        match fit {
            Fit::Whole => {}
            Fit::Pager(_) => widths.iter_mut().for_each(|w| *w = (*w).min(WIDEST)),
            Fit::Screen(width) => shrink(&mut widths, &fixed, width),
        }
        let right = fields.iter().map(|field| field.data_type().is_numeric());
        Self {
            right: right.collect(),
            names,
            widths,
            natural_width,
            fit,
        }
    }

    /// How wide it is when nothing is cut.
    pub(super) fn natural_width(&self) -> usize {
        self.natural_width
    }

    pub(super) fn start(&self, out: &mut dyn Write) -> Result<(), Failure> {
        self.rule(["┌", "┬", "┐"], out)?;
        self.row(&self.names, out)?;
        self.rule(["├", "┼", "┤"], out)
    }

    pub(super) fn row(&self, row: &[String], out: &mut dyn Write) -> Result<(), Failure> {
        let cells: Vec<Vec<&str>> =
            row.iter().map(|cell| cell.split('\n').collect()).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(1) {
            for (column, cell) in cells.iter().enumerate() {
                let text = cell.get(line).copied().unwrap_or_default();
                let width = self.widths[column];
                let text = match self.fit {
                    Fit::Whole => text.to_string(),
                    Fit::Pager(_) | Fit::Screen(_) => clip(text, width),
                };
                let pad = " ".repeat(width.saturating_sub(text_width(&text)));
                if self.right[column] {
                    write!(out, "│ {pad}{text} ")?
                } else {
                    write!(out, "│ {text}{pad} ")?
                }
            }
            writeln!(out, "│")?;
        }
        Ok(())
    }

    pub(super) fn gap(&self, out: &mut dyn Write) -> Result<(), Failure> {
        self.row(&vec!["·".to_string(); self.widths.len()], out)
    }

    pub(super) fn end(&self, out: &mut dyn Write) -> Result<(), Failure> {
        self.rule(["└", "┴", "┘"], out)
    }

    fn rule(
        &self,
        [left, middle, right]: [&str; 3],
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let bars = self.widths.iter().map(|width| "─".repeat(width + 2));
        let bars: Vec<String> = bars.collect();
        writeln!(out, "{left}{}{right}", bars.join(middle))?;
        Ok(())
    }
}

/// The width of a table with these columns, borders included.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 3 * widths.len() + 1
}

/// Cuts the widest columns until the table fits the screen.
fn shrink(widths: &mut [usize], fixed: &[bool], screen: usize) {
    for column in (0..widths.len()).filter(|&c| !fixed[c]) {
        widths[column] = widths[column].min(screen.max(NARROWEST));
    }
    while total(widths) > screen {
        let columns = (0..widths.len()).filter(|&c| !fixed[c] && widths[c] > NARROWEST);
        let Some(widest) = columns.max_by_key(|&c| widths[c]) else {
            return;
        };
        widths[widest] -= 1;
    }
}
