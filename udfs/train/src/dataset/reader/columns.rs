//! Columns of a table as they are: numbers, truth values, dates, texts and gaps.

use std::sync::Arc;

use atoll_udf_common::args::is_text;
use atoll_udf_common::days::{MOMENT, days_at};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Schema};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::{Reader, at, is_feature, numbers, problem, value_type};
use crate::dataset::columns::{Holds, TableColumn};

/// The days from 1970-01-01 to 0001-01-01 and to 9999-12-31: dates beyond are slips.
const DAYS: std::ops::RangeInclusive<f64> = -719_162.0..=2_932_897.0;

/// What a feature column of this type holds, if it can be one.
pub(in crate::dataset) fn holds(data_type: &DataType) -> Option<Holds> {
    match value_type(data_type) {
        DataType::Date32 => Some(Holds::Dates),
        // Its milliseconds need not be whole days.
        DataType::Date64 | DataType::Timestamp(..) => Some(Holds::Timestamps),
        // Of a column without any value nothing is known, and nothing is learned.
        DataType::Null => Some(Holds::Numbers),
        text if is_text(text) => Some(Holds::Texts),
        integer if integer.is_integer() => Some(Holds::Integers),
        other if other.is_numeric() || *other == DataType::Boolean => {
            Some(Holds::Numbers)
        }
        lists if is_feature(lists) => Some(Holds::Lists),
        _ => None,
    }
}

impl Reader {
    /// A record batch with the fields of a snapshot's struct in the place of it; other record
    /// batches as they are.
    pub(in crate::dataset) fn unfolded(
        &self,
        batch: &RecordBatch,
    ) -> Result<RecordBatch> {
        let columns = match (&self.snapshot, batch.columns().first()) {
            (Some(_), Some(first)) => first.as_struct_opt(),
            _ => None,
        };
        let Some(columns) = columns else {
            return Ok(batch.clone());
        };
        let schema = batch.schema();
        let rest = schema.fields().iter().skip(1);
        let fields: Vec<_> = columns
            .fields()
            .iter()
            .chain(rest)
            .map(Arc::clone)
            .collect();
        let arrays = columns.columns().iter().chain(&batch.columns()[1..]);
        let arrays = arrays.map(Arc::clone).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    /// Appends the values of all columns.
    pub(super) fn read_columns(
        &self,
        columns: &[ArrayRef],
        all: &mut [TableColumn],
    ) -> Result<()> {
        for (column, all) in columns.iter().zip(all) {
            match all.holds {
                Holds::Texts => self.read_texts(column, all)?,
                Holds::Dates | Holds::Timestamps => self.read_days(column, all)?,
                Holds::Lists => self.read_lists_of_numbers(column, all)?,
                Holds::Numbers | Holds::Integers => self.read_plain(column, all)?,
            }
        }
        Ok(())
    }

    fn read_texts(&self, column: &ArrayRef, all: &mut TableColumn) -> Result<()> {
        let texts = cast(column, &DataType::Utf8)?;
        for (row, text) in texts.as_string::<i32>().iter().enumerate() {
            if text.is_some_and(|text| text.contains('\0')) {
                let problem = exec_datafusion_err!(
                    "the text in column {} of {} has a NUL character, which a model cannot \
                     know; take it out with replace()",
                    all.name,
                    self.dataset()
                );
                return Err(at(row, problem));
            }
            all.texts.push(text);
        }
        Ok(())
    }

    fn read_days(&self, column: &ArrayRef, all: &mut TableColumn) -> Result<()> {
        let column = match column.data_type() {
            DataType::Date32 => Arc::clone(column),
            _ => cast(column, &MOMENT)?,
        };
        let days: Vec<_> = (0..column.len()).map(|row| days_at(&column, row)).collect();
        if let Some(row) = days
            .iter()
            .position(|day| day.is_some_and(|d| !DAYS.contains(&d)))
        {
            let problem = exec_datafusion_err!(
                "the date in column {} of {} is {} days from 1970-01-01, outside of the \
                 years 1 to 9999; replace it with NULL",
                all.name,
                self.dataset(),
                days[row].unwrap_or_default()
            );
            return Err(at(row, problem));
        }
        all.numbers
            .extend(days.iter().map(|days| days.unwrap_or(f64::NAN)));
        Ok(())
    }

    fn read_plain(&self, column: &ArrayRef, all: &mut TableColumn) -> Result<()> {
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        for (row, number) in numbers.iter().enumerate() {
            let found = number.and_then(|number| problem(number, column.data_type()));
            if let Some(problem) = found {
                let problem = exec_datafusion_err!(
                    "the feature {} of {} is {problem}",
                    all.name,
                    self.dataset()
                );
                return Err(at(row, problem));
            }
            all.numbers.push(number.unwrap_or(f64::NAN));
        }
        Ok(())
    }

    fn read_lists_of_numbers(
        &self,
        column: &ArrayRef,
        all: &mut TableColumn,
    ) -> Result<()> {
        let lists = numbers::Column::new(column)?;
        let data_type = numbers::element(column);
        for row in 0..column.len() {
            let length = self
                .append(&lists, &all.name, data_type, row, &mut all.numbers)
                .and_then(|length| match (all.width, length) {
                    (None, Some(0)) => exec_err!(
                        "column {} of {} has an empty list",
                        all.name,
                        self.dataset()
                    ),
                    (Some(_), length) if length != all.width => {
                        self.refuse_widths(all.width, length, &all.name)
                    }
                    _ => Ok(length),
                });
            all.width = length.map_err(|error| at(row, error))?;
        }
        Ok(())
    }

    /// Leaves out the columns from which no network learns, unless the statement names
    /// them, and says so.
    pub(super) fn drop_useless(
        &self,
        columns: &mut Vec<TableColumn>,
    ) -> Result<Option<String>> {
        if self.subject.function != "train" {
            return Ok(None);
        }
        let mut reasons = Vec::new();
        // Those of a snapshot were chosen before.
        let is_chosen = self.options.features.is_some() || self.snapshot.is_some();
        let useless = |column: &TableColumn| column.is_useless().filter(|_| !is_chosen);
        columns.retain(|column| match useless(column) {
            Some(reason) => {
                reasons.push(format!("{} ({reason})", column.name));
                false
            }
            None => true,
        });
        if let Some((column, count)) = columns
            .iter()
            .find_map(|column| Some((column, column.too_many_texts()?)))
        {
            return exec_err!(
                "column {} of {} has {count} different texts, which are too many to learn \
                 from; leave it out of {{features: [...]}}, or shorten its texts to what \
                 they have in common",
                column.name,
                self.dataset()
            );
        }
        if columns.is_empty() {
            return exec_err!(
                "{} has nothing to learn from: {}; name columns in the options to use them \
                 all the same, {{features: ['...']}}, or the one of images, {{image: '...'}}",
                self.dataset(),
                reasons.join(", ")
            );
        }
        Ok((!reasons.is_empty()).then(|| {
            let (are, them) = match reasons.len() {
                1 => ("column is", "it"),
                _ => ("columns are", "them"),
            };
            format!(
                "{} {are} left out: {}; name {them} in {{features: [...]}} to keep {them}",
                reasons.len(),
                reasons.join(", ")
            )
        }))
    }
}
