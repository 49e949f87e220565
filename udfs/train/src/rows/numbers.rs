//! Columns of numbers that are no image.

use std::sync::Arc;

use atoll_nn::ImageShape;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeListArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::{Result, exec_err, plan_err};

use super::{Format, Images, Rows, at, doubles, label_kind, problem, value_type};
use crate::options::ColumnOptions;

/// A feature column of one record batch.
enum Column {
    /// A number a row.
    Plain(Vec<f64>),
    /// A list of numbers a row.
    Lists(LargeListArray),
}

/// Whether a column holds numbers, or lists of them.
pub(crate) fn is_feature(data_type: &DataType) -> bool {
    let is_number =
        |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    match value_type(data_type) {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _) => is_number(item.data_type()),
        other => is_number(other),
    }
}

impl Format {
    /// Checks the types of columns of numbers and of the label column.
    pub(crate) fn of_numbers(
        function: &'static str,
        dataset: &str,
        (features, label): (&[Field], &Field),
        options: &ColumnOptions,
    ) -> Result<Self> {
        if let Some(other) = features.iter().find(|field| !is_feature(field.data_type()))
        {
            return plan_err!(
                "{function}: the feature column {} of {dataset} must hold numbers or lists \
                 of numbers, got {}; cast it, or leave it out with {{features: [...]}}",
                other.name(),
                other.data_type()
            );
        }
        Ok(Self {
            function,
            dataset: dataset.to_string(),
            images: Images::Numbers,
            options: options.clone(),
            inputs: features.iter().map(|field| field.name().clone()).collect(),
            labels: label_kind(function, dataset, label)?,
            class_names: None,
        })
    }

    /// Appends the numbers of all columns, row by row.
    pub(super) fn read_numbers(
        &self,
        columns: &[ArrayRef],
        rows: &mut Rows,
    ) -> Result<()> {
        let types: Vec<&DataType> = columns.iter().map(element).collect();
        let columns = columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        for row in 0..rows.len() {
            let start = rows.numbers.len();
            for ((column, name), data_type) in
                columns.iter().zip(&self.inputs).zip(&types)
            {
                let width = self
                    .append(column, (name, data_type), row, &mut rows.numbers)
                    .and_then(|width| self.check_width(&mut rows.columns, name, width))
                    .map_err(|error| at(row, error));
                width?;
            }
            rows.end_numbers(start);
        }
        Ok(())
    }

    /// Appends what a column has in a row; returns how many numbers that are, if it is a
    /// column of lists.
    fn append(
        &self,
        column: &Column,
        (name, data_type): (&str, &DataType),
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
                        self.dataset
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
                    self.dataset
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

    fn refuse_widths<T>(
        &self,
        first: Option<usize>,
        other: Option<usize>,
        column: &str,
    ) -> Result<T> {
        exec_err!(
            "rows of {} must have the same number of features, got {} and {} in column \
             {column}",
            self.dataset,
            first.unwrap_or(1),
            other.unwrap_or(1)
        )
    }

    /// Checks that rows of numbers have the same length.
    pub(super) fn check_widths(&self, rows: &Rows) -> Result<()> {
        if self.images != Images::Numbers {
            return Ok(());
        }
        if let Some((column, first, other)) = &rows.uneven {
            return self.refuse_widths(*first, *other, column);
        }
        match rows.shapes.first() {
            Some(shape) if shape.channels == 0 => {
                exec_err!("a row of {} has no features", self.dataset)
            }
            _ => Ok(()),
        }
    }
}

impl Rows {
    /// Whether rows are numbers and no images.
    pub(crate) fn are_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// Makes a row of the numbers since `start`.
    fn end_numbers(&mut self, start: usize) {
        self.ends.push(self.numbers.len());
        self.shapes.push(ImageShape {
            height: 1,
            width: 1,
            channels: self.numbers.len() - start,
        });
    }

    #[cfg(test)]
    pub(crate) fn push_numbers(&mut self, row: &[f64]) {
        let start = self.numbers.len();
        self.numbers.extend_from_slice(row);
        self.end_numbers(start);
    }

    /// One row of numbers.
    pub(crate) fn numbers(&self, row: usize) -> &[f64] {
        &self.numbers[self.place(row)]
    }
}

fn column(column: &ArrayRef) -> Result<Column> {
    let data_type = column.data_type();
    if data_type.is_numeric() || *data_type == DataType::Boolean {
        return Ok(Column::Plain(doubles(column)?));
    }
    let item = Arc::new(Field::new_list_field(DataType::Float64, true));
    let lists = cast(column, &DataType::LargeList(item))?;
    Ok(Column::Lists(lists.as_list::<i64>().clone()))
}

/// The type of the numbers of a column.
fn element(column: &ArrayRef) -> &DataType {
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
    use crate::rows::Labels;

    fn read(columns: Vec<(&str, ArrayRef)>) -> Result<Rows> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batch =
            RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns).unwrap();
        let (label, features) = fields.split_last().unwrap();
        let options = ColumnOptions::default();
        let format = Format::of_numbers("train", "houses", (features, label), &options)?;
        let mut rows = format.read(&batch.slice(0, 1))?;
        rows.append(format.read(&batch.slice(1, batch.num_rows() - 1))?);
        format.finish(rows)
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
        assert_eq!(rows.numbers(0), [50.0, 1.0, 0.5, 1.5]);
        assert_eq!(rows.numbers(1), [60.0, 0.0, 2.5, 3.5]);
        assert_eq!(rows.labels, Labels::Numbers(vec![1.25, 2.5]));
        assert!(rows.are_numbers());
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
