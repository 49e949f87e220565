//! Tables with borders for people to read, or with a line for each column where they ask for
//! that.
//!
//! On a screen without a pager only the first and last rows are kept, whatever the
//! result's size. Elsewhere every row is written: the first ones set the widths, the
//! others follow as they arrive, so that memory stays bounded there too.

mod grid;
mod records;

use std::collections::VecDeque;
use std::io::Write;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;

use self::grid::TableGrid;
use self::records::Records;
use super::cell::{self, Detail};
use super::{Expanded, RowWriter, Screen, TableFit};
use crate::errors::Failure;

/// Rows that set the widths of a table without an end in sight.
pub(super) const SAMPLE: usize = 10_000;
/// Fewer rows do it when they hold this much text.
const SAMPLE_BYTES: usize = 16 << 20;
/// Rows at the start, and at the end, of what a screen shows.
const HALF: usize = 20;
/// The widest cell in a pager, in characters. Every row is padded to the widest, so a single
/// long text would make all of them long.
const WIDEST: usize = 1_000;

/// The texts of a row as both layouts want them; the one not wanted is empty.
struct TableRow {
    /// From 1, in the result.
    number: usize,
    cells: Vec<String>,
    lines: Vec<String>,
}

/// How wide a layout may become.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fit {
    /// Whatever it takes.
    Whole,
    /// As wide as it takes, up to a point, for a pager that scrolls sideways. Records
    /// are broken to fit the screen even so.
    Pager(usize),
    /// No wider than the screen.
    Screen(usize),
}

/// The layout of a table, once it is decided.
enum Layout {
    Grid(TableGrid),
    Records(Records),
}

/// Writes a table.
pub(super) struct TableWriter {
    schema: SchemaRef,
    expanded: Expanded,
    fit: TableFit,
    /// Rows not written yet; on a screen the first ones.
    first: Vec<TableRow>,
    /// The latest rows after those, on a screen.
    last: VecDeque<TableRow>,
    total: usize,
    /// Bytes of text in `first`.
    held: usize,
    /// Set once the header is out.
    layout: Option<Layout>,
}

impl TableWriter {
    pub(super) fn new(schema: &SchemaRef, expanded: Expanded, fit: TableFit) -> Self {
        Self {
            schema: SchemaRef::clone(schema),
            // Without a screen nothing is too wide for it.
            expanded: match (expanded, fit) {
                (Expanded::Auto, TableFit::All) => Expanded::Off,
                (expanded, _) => expanded,
            },
            fit,
            first: Vec::new(),
            last: VecDeque::new(),
            total: 0,
            held: 0,
            layout: None,
        }
    }

    /// Keeps the rows that a screen shows.
    fn keep(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let rows = batch.num_rows();
        let head = (2 * HALF).saturating_sub(self.first.len()).min(rows);
        for row in 0..head {
            self.first.push(self.row(batch, row)?);
        }
        // Formatting the rows in between would be work for nothing.
        for row in head.max(rows.saturating_sub(HALF))..rows {
            self.last.push_back(self.row(batch, row)?);
        }
        while self.last.len() > HALF {
            self.last.pop_front();
        }
        Ok(())
    }

    fn row(&self, batch: &RecordBatch, row: usize) -> Result<TableRow, Failure> {
        let detail = match self.fit {
            TableFit::All => Detail::Whole,
            TableFit::Screen(_) => Detail::Short,
        };
        let (mut cells, mut lines) = (Vec::new(), Vec::new());
        for array in batch.columns() {
            if self.expanded != Expanded::On {
                cells.push(printable(&cell::text(array.as_ref(), row, detail)?));
            }
            if self.expanded != Expanded::Off {
                record_lines(array.as_ref(), row, detail, &mut lines)?;
            }
        }
        let number = self.total + row + 1;
        Ok(TableRow {
            number,
            cells,
            lines,
        })
    }

    /// Decides on the layout from the rows that are there, and begins it.
    fn start(&self, fit: Fit, out: &mut dyn Write) -> Result<Layout, Failure> {
        let rows = || self.first.iter().chain(&self.last);
        let grid = || TableGrid::new(&self.schema, rows(), fit);
        let wide = |grid: &TableGrid| match self.fit {
            TableFit::Screen(screen) => grid.natural_width() > screen.width,
            TableFit::All => false,
        };
        let grid = (self.expanded != Expanded::On).then(grid);
        match grid {
            Some(grid) if self.expanded == Expanded::Off || !wide(&grid) => {
                grid.start(out)?;
                Ok(Layout::Grid(grid))
            }
            _ => Ok(Layout::Records(Records::new(&self.schema, fit))),
        }
    }

    /// Writes what is held of a result that is written whole.
    fn flush_rows(&mut self, fit: Fit, out: &mut dyn Write) -> Result<(), Failure> {
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.start(fit, out)?,
        };
        self.held = 0;
        for row in &std::mem::take(&mut self.first) {
            layout.row(row, out)?;
        }
        self.layout = Some(layout);
        Ok(())
    }

    /// Writes a result that was kept for a screen.
    fn finish_screen(&self, width: usize, out: &mut dyn Write) -> Result<(), Failure> {
        let layout = self.start(Fit::Screen(width), out)?;
        let rows: Vec<&TableRow> = self.first.iter().chain(&self.last).collect();
        if self.is_cut() {
            for row in &rows[..HALF] {
                layout.row(row, out)?;
            }
            layout.gap(out)?;
            for row in &rows[rows.len() - HALF..] {
                layout.row(row, out)?;
            }
        } else {
            for row in &rows {
                layout.row(row, out)?;
            }
        }
        layout.end(out)?;
        self.footer(out)
    }

    /// Whether a screen shows the first and the last rows only.
    fn is_cut(&self) -> bool {
        let paged = matches!(self.fit, TableFit::Screen(Screen { page: Some(_), .. }));
        !paged && self.total > 2 * HALF
    }

    fn footer(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let rows = if self.total == 1 { "row" } else { "rows" };
        if self.is_cut() {
            writeln!(out, "({} {rows}, {} shown)", self.total, 2 * HALF)?
        } else {
            writeln!(out, "({} {rows})", self.total)?
        }
        Ok(())
    }

    /// Writes the end of a result for a pager: as a screen shows it if it fits there.
    fn finish_pages(
        &mut self,
        screen: Screen,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let page = screen.page.unwrap_or(usize::MAX);
        if self.layout.is_none() && self.total <= page {
            let mut text = Vec::new();
            self.finish_screen(screen.width, &mut text)?;
            if text.iter().filter(|byte| **byte == b'\n').count() <= page {
                return Ok(out.write_all(&text)?);
            }
        }
        self.flush_rows(Fit::Pager(screen.width), out)?;
        self.end(out)?;
        self.footer(out)
    }

    fn end(&self, out: &mut dyn Write) -> Result<(), Failure> {
        self.layout
            .as_ref()
            .map_or(Ok(()), |layout| layout.end(out))
    }
}

impl RowWriter for TableWriter {
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
        let fit = match self.fit {
            TableFit::Screen(Screen { page: None, .. }) => {
                self.keep(batch)?;
                self.total += batch.num_rows();
                return Ok(());
            }
            TableFit::Screen(screen) => Fit::Pager(screen.width),
            TableFit::All => Fit::Whole,
        };
        for row in 0..batch.num_rows() {
            let row = self.row(batch, row)?;
            let texts = row.cells.iter().chain(&row.lines);
            self.held += texts.map(String::len).sum::<usize>();
            self.first.push(row);
            let full = self.first.len() >= SAMPLE || self.held >= SAMPLE_BYTES;
            if self.layout.is_some() || full {
                self.flush_rows(fit, out)?;
            }
        }
        self.total += batch.num_rows();
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.fit {
            TableFit::Screen(Screen { page: None, width }) => {
                self.finish_screen(width, out)
            }
            TableFit::Screen(screen) => self.finish_pages(screen, out),
            TableFit::All => {
                self.flush_rows(Fit::Whole, out)?;
                self.end(out)
            }
        }
    }
}

impl Layout {
    fn row(&self, row: &TableRow, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Grid(grid) => grid.row(&row.cells, out),
            Self::Records(records) => records.row(row.number, &row.lines, out),
        }
    }

    /// Says that rows are left out here.
    fn gap(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Grid(grid) => grid.gap(out),
            Self::Records(records) => records.gap(out),
        }
    }

    fn end(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Grid(grid) => grid.end(out),
            Self::Records(_) => Ok(()),
        }
    }
}

/// The values of one column in a record: those of a struct's fields, each for itself,
/// in the order of [`records::names`].
fn record_lines(
    array: &dyn Array,
    row: usize,
    detail: Detail,
    lines: &mut Vec<String>,
) -> Result<(), Failure> {
    if !cell::is_open_struct(array.data_type()) {
        lines.push(printable(&cell::lines(array, row, detail)?));
        return Ok(());
    }
    let before = lines.len();
    for column in array.as_struct().columns() {
        record_lines(column.as_ref(), row, detail, lines)?;
    }
    if array.is_null(row) {
        // Whatever lies below a NULL is not a value.
        lines[before..].fill(cell::NULL.to_string());
    }
    Ok(())
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
