//! Columns of numbers that are no image.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeListArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::{Result, exec_err};

use super::{Numbers, Reader, at, doubles, problem, value_type};

/// A feature column of one record batch.
pub(super) enum Column {
    /// A number a row.
    Plain(Vec<f64>),
    /// A list of numbers a row.
    Lists(LargeListArray),
}

/// Whether a column holds numbers, or lists of them.
pub(in crate::dataset) fn is_feature(data_type: &DataType) -> bool {
    let is_number =
        |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    match value_type(data_type) {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _) => is_number(item.data_type()),
        other => is_number(other),
    }
}

impl Reader {
    /// Appends the numbers of all columns, row by row.
    pub(super) fn read_numbers(
        &self,
        names: &[String],
        columns: &[ArrayRef],
        numbers: &mut Numbers,
    ) -> Result<()> {
        let rows = columns.first().map_or(0, Array::len);
        let types: Vec<&DataType> = columns.iter().map(element).collect();
        let columns = columns
            .iter()
            .map(Column::new)
            .collect::<Result<Vec<_>>>()?;
        for row in 0..rows {
            for ((column, name), data_type) in columns.iter().zip(names).zip(&types) {
                let width = self
                    .append(column, name, data_type, row, &mut numbers.values)
                    .and_then(|width| self.check_width(&mut numbers.columns, name, width))
                    .map_err(|error| at(row, error));
                width?;
            }
            numbers.end();
        }
        Ok(())
    }

    /// Appends what a column has in a row; returns how many numbers that are, if it is a
    /// column of lists.
    pub(super) fn append(
        &self,
        column: &Column,
        name: &str,
        data_type: &DataType,
        row: usize,
        numbers: &mut Vec<f64>,
    ) -> Result<Option<usize>> {
        let before = numbers.len();
        let is_list = match column {
            Column::Plain(values) => {
                numbers.push(values[row]);
                false
            }
            Column::Lists(lists) => {
                let list = lists.value(row);
                if list.null_count() > 0 {
                    return exec_err!(
                        "a list of features of {} has NULL values in column {name}; \
                         replace them or leave the row out",
                        self.dataset()
                    );
                }
                numbers.extend_from_slice(list.as_primitive::<Float64Type>().values());
                true
            }
        };
        for (n, number) in numbers[before..].iter().enumerate() {
            if let Some(problem) = problem(*number, data_type) {
                let place = match is_list {
                    true => format!("[{}]", n + 1),
                    false => String::new(),
                };
                return exec_err!(
                    "the feature {name}{place} of {} is {problem}",
                    self.dataset()
                );
            }
        }
        Ok(is_list.then(|| numbers.len() - before))
    }

    /// Checks that a column gives as many numbers as in the first row, which it notes.
    fn check_width(
        &self,
        columns: &mut Vec<(String, Option<usize>)>,
        name: &str,
        width: Option<usize>,
    ) -> Result<()> {
        match columns.iter().find(|(column, _)| column == name) {
            None => columns.push((name.to_string(), width)),
            Some((_, first)) if *first != width => {
                return self.refuse_widths(*first, width, name);
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub(super) fn refuse_widths<T>(
        &self,
        first: Option<usize>,
        other: Option<usize>,
        column: &str,
    ) -> Result<T> {
        exec_err!(
            "rows of {} must have the same number of features, got {} and {} in column \
             {column}",
            self.dataset(),
            first.unwrap_or(1),
            other.unwrap_or(1)
        )
    }

    /// Checks that rows of numbers have the same length.
    pub(super) fn check_widths(
        &self,
        numbers: &Numbers,
        uneven: Option<(String, Option<usize>, Option<usize>)>,
    ) -> Result<()> {
        if let Some((column, first, other)) = uneven {
            return self.refuse_widths(first, other, &column);
        }
        match numbers.width() {
            Some(0) => exec_err!("a row of {} has no features", self.dataset()),
            _ => Ok(()),
        }
    }
}

impl Column {
    /// A column of numbers, or of lists of them.
    pub(super) fn new(column: &ArrayRef) -> Result<Self> {
        let data_type = column.data_type();
        if data_type.is_numeric() || *data_type == DataType::Boolean {
            return Ok(Self::Plain(doubles(column)?));
        }
        let item = Arc::new(Field::new_list_field(DataType::Float64, true));
        let lists = cast(column, &DataType::LargeList(item))?;
        Ok(Self::Lists(lists.as_list::<i64>().clone()))
    }
}

/// The type of the numbers of a column.
pub(super) fn element(column: &ArrayRef) -> &DataType {
    match column.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _) => item.data_type(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    };
    use datafusion::arrow::datatypes::{Float64Type, Schema};

    use super::*;
    use crate::dataset::{ColumnOptions, Features, Labels, Subject, Table};

    fn read(columns: Vec<(&str, ArrayRef)>) -> Result<Table> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batch =
            RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns).unwrap();
        let (label, features) = fields.split_last().unwrap();
        let options = ColumnOptions::default();
        let subject = Subject {
            function: "train",
            dataset: "houses".to_string(),
        };
        let reader = Reader::of_numbers(subject, features, label, &options)?;
        let mut piece = reader.read(&batch.slice(0, 1))?;
        piece.append(reader.read(&batch.slice(1, batch.num_rows() - 1))?);
        reader.finish(piece)
    }

    fn lists(lists: Vec<Vec<Option<f64>>>) -> ArrayRef {
        let lists = lists.into_iter().map(Some);
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
    }

    #[track_caller]
    fn check_refused(columns: Vec<(&str, ArrayRef)>, expected: &str) {
        let error = read(columns).unwrap_err().strip_backtrace();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn numbers_that_cannot_be_used_are_named() {
        let label = || -> ArrayRef { Arc::new(Float64Array::from(vec![0.0, 1.0])) };
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![0.0, f64::NAN]));
        check_refused(
            vec![("area", Arc::clone(&nan)), ("label", label())],
            "the feature area of houses is NaN; replace or leave out",
        );
        check_refused(
            vec![("area", label()), ("label", nan)],
            "the label in column label of houses is NaN",
        );
        check_refused(
            vec![
                ("x", lists(vec![vec![Some(1.0)], vec![Some(f64::INFINITY)]])),
                ("label", label()),
            ],
            "the feature x[1] of houses is inf",
        );
        let large = Arc::new(Int64Array::from(vec![0, (1 << 53) + 2]));
        check_refused(
            vec![("id", large), ("label", label())],
            "the feature id of houses is 9007199254740994, and beyond 2^53",
        );
        let huge = Arc::new(Float64Array::from(vec![0.0, 1e300]));
        check_refused(
            vec![("x", huge), ("label", label())],
            "the feature x of houses is 1e300, which is too large",
        );
    }

    #[test]
    fn columns_and_lists_become_one_row() {
        let rows = read(vec![
            ("area", Arc::new(Int64Array::from(vec![50, 60]))),
            ("garden", Arc::new(BooleanArray::from(vec![true, false]))),
            (
                "x",
                lists(vec![vec![Some(0.5), Some(1.5)], vec![Some(2.5), Some(3.5)]]),
            ),
            ("price", Arc::new(Float64Array::from(vec![1.25, 2.5]))),
        ]);
        let rows = rows.unwrap();
        let Features::Numbers(numbers) = &rows.features else {
            panic!("numbers are numbers");
        };
        assert_eq!(numbers.row(0), [50.0, 1.0, 0.5, 1.5]);
        assert_eq!(numbers.row(1), [60.0, 0.0, 2.5, 3.5]);
        assert_eq!(rows.labels, Labels::Numbers(vec![1.25, 2.5]));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let label = || -> ArrayRef { Arc::new(Int64Array::from(vec![0, 1])) };
        let text = Arc::new(StringArray::from(vec!["a", "b"]));
        check_refused(
            vec![("city", text), ("label", label())],
            "the feature column city of houses must hold numbers",
        );
        let missing = Arc::new(Int64Array::from(vec![Some(1), None]));
        check_refused(
            vec![("area", missing), ("label", label())],
            "houses has 1 NULL features in column area",
        );
        check_refused(
            vec![
                (
                    "x",
                    lists(vec![vec![Some(1.0)], vec![Some(1.0), Some(2.0)]]),
                ),
                ("label", label()),
            ],
            "rows of houses must have the same number of features, got 1 and 2",
        );
        check_refused(
            vec![
                ("x", lists(vec![vec![Some(1.0)], vec![None]])),
                ("label", label()),
            ],
            "a list of features of houses has NULL values",
        );
    }
}
