//! The layout of `\x`: a line for each column, and for each field of a struct.

use std::io::Write;

use datafusion::arrow::datatypes::{DataType, Fields, SchemaRef};

use super::{Fit, one_line};
use crate::errors::Failure;
use crate::output::cell;
use crate::terminal::{text_width, wrap};

/// Values get this much room beside the longest name, however narrow the screen.
const NARROWEST: usize = 20;
/// How far the line above a record reaches where no screen says it.
const RULE: usize = 60;

/// The lines of a record.
pub(super) struct Records {
    names: Vec<String>,
    name_width: usize,
    /// Values are broken here.
    value_width: Option<usize>,
}

impl Records {
    pub(super) fn new(schema: &SchemaRef, fit: Fit) -> Self {
        let mut all = Vec::new();
        names("", schema.fields(), &mut all);
        let name_width = all.iter().map(|name| text_width(name)).max().unwrap_or(0);
        let value_width = match fit {
            Fit::Whole => None,
            Fit::Pager(width) | Fit::Screen(width) => {
                Some(width.saturating_sub(name_width + 3).max(NARROWEST))
            }
        };
        Self {
            names: all,
            name_width,
            value_width,
        }
    }

    pub(super) fn row(
        &self,
        number: usize,
        values: &[String],
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let width = self.name_width + 3 + self.value_width.unwrap_or(RULE);
        let head = format!("─[ {number} ]");
        let fill = "─".repeat(width.saturating_sub(text_width(&head)));
        writeln!(out, "{head}{fill}")?;
        for (name, value) in self.names.iter().zip(values) {
            let mut name = name.as_str();
            for line in value.split('\n') {
                let parts = match self.value_width {
                    Some(width) => wrap(line, width),
                    None => vec![line],
                };
                for part in parts {
                    let pad = " ".repeat(self.name_width - text_width(name));
                    writeln!(out, "{name}{pad} │ {part}")?;
                    name = "";
                }
            }
        }
        Ok(())
    }

    pub(super) fn gap(&self, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "·\n·")?;
        Ok(())
    }
}

/// The names of a record's lines, such as `report.status`.
pub(super) fn names(prefix: &str, fields: &Fields, all: &mut Vec<String>) {
    for field in fields {
        let name = format!("{prefix}{}", one_line(field.name()));
        match field.data_type() {
            DataType::Struct(inner) if cell::is_open_struct(field.data_type()) => {
                names(&format!("{name}."), inner, all);
            }
            _ => all.push(name),
        }
    }
}
