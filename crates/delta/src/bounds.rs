//! The bounds of columns in the log, as far as they leave out files.

use std::collections::HashSet;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningStatistics;

/// The bounds that the log has of the columns whose bounds can be trusted.
///
/// NaN is in no bound, decimals went through a 64-bit float, times were cut to
/// milliseconds, so only whole numbers, texts, dates and booleans leave out a file.
pub(crate) struct Bounds<'a, L> {
    pub(crate) log: L,
    pub(crate) schema: &'a Schema,
}

impl<L: PruningStatistics> Bounds<'_, L> {
    fn is_trusted(&self, column: &Column) -> bool {
        let field = self.schema.field_with_name(&column.name);
        field.is_ok_and(|field| has_exact_bounds(field.data_type()))
    }
}

/// Whether the log keeps a minimum and a maximum of a column that say what they seem to.
pub(crate) fn has_exact_bounds(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Date32
            | DataType::Boolean
    )
}

impl<L: PruningStatistics> PruningStatistics for Bounds<'_, L> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.is_trusted(column)
            .then(|| self.log.min_values(column))?
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.is_trusted(column)
            .then(|| self.log.max_values(column))?
    }

    fn num_containers(&self) -> usize {
        self.log.num_containers()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
