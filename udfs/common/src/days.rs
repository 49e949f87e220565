//! Dates and times as models of tables take them: days since 1970-01-01.
//!
//! Training and prediction read them here, so that a model is asked about the days that it
//! was trained on.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType,
};

/// The type that times of all kinds are cast to before they are read.
pub const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Microseconds in a day.
const DAY: f64 = 86_400_000_000.0;

/// The days in a row of a DATE column or of one of [`MOMENT`]s; NULL has none, and neither
/// have other columns.
pub fn days_at(column: &dyn Array, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Date32 => {
            Some(f64::from(column.as_primitive::<Date32Type>().value(row)))
        }
        moment if *moment == MOMENT => {
            let moments = column.as_primitive::<TimestampMicrosecondType>();
            Some(moments.value(row) as f64 / DAY)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Date32Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn dates_and_times_are_days() {
        let dates = Date32Array::from(vec![Some(2), None]);
        assert_eq!((days_at(&dates, 0), days_at(&dates, 1)), (Some(2.0), None));
        let noon = TimestampMicrosecondArray::from(vec![-43_200_000_000]);
        assert_eq!(days_at(&noon, 0), Some(-0.5));
        assert_eq!(days_at(&Int64Array::from(vec![2]), 0), None);
    }
}
