//! What a row gives: an answer, nothing, or the reason why there is no answer.

use std::sync::Arc;

use atoll_compute::panics::catch;
use datafusion::arrow::array::{ArrayRef, StringBuilder, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use crate::model::ModelFailure;
use crate::{EXECUTOR_DIED, REPORT};

/// The answer of one row; `None` when an argument is NULL.
pub type Outcome<T> = Option<std::result::Result<T, ModelFailure>>;

/// Codes of failures that may be over when the row is tried again at another time: those
/// of networks and busy servers, and of rows that were given up. The page Error codes of the
/// book says what each means.
pub const MAY_PASS: [&str; 11] = [
    "URL_DNS",
    "URL_CONNECT",
    "URL_TIMEOUT",
    "URL_INCOMPLETE",
    "HTTP_THROTTLED",
    "HTTP_5XX",
    "NOT_FOUND",
    "FETCH_FAILED",
    "MODEL_NOT_FOUND",
    "MODEL_RUNTIME",
    EXECUTOR_DIED,
];

/// What a row gives. A panic outside the decoder and the model is an outcome, too.
pub fn outcome<T>(
    work: impl FnOnce() -> std::result::Result<Option<T>, ModelFailure>,
) -> Outcome<T> {
    catch(work)
        .unwrap_or_else(|panic| {
            let message = format!("internal error: {panic}; {REPORT}");
            Err(ModelFailure::new("MODEL_RUNTIME", message))
        })
        .transpose()
}

/// What rows give whose executor died of them.
pub fn died<T>(rows: usize, reason: &str) -> Vec<Outcome<T>> {
    let failed = || Some(Err(ModelFailure::new(EXECUTOR_DIED, reason)));
    (0..rows).map(|_| failed()).collect()
}

/// What a `try_` function returns: the answer under its name, or the reason.
pub fn fields(answer: &str, data_type: DataType) -> Fields {
    Fields::from(vec![
        Field::new(answer, data_type, true),
        Field::new("error_code", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ])
}

/// Answers or the reason why there are none; NULL where an argument is NULL. `to_array`
/// makes the column of the answers.
pub fn result_array<T>(
    rows: Vec<Outcome<T>>,
    fields: Fields,
    to_array: impl FnOnce(Vec<Option<T>>) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let (mut codes, mut errors) = (StringBuilder::new(), StringBuilder::new());
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let (answer, failure) = match row {
            None => (None, None),
            Some(Ok(answer)) => (Some(answer), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        answers.push(answer);
        codes.append_option(failure.as_ref().map(|failure| failure.code));
        errors.append_option(failure.map(|failure| failure.message));
    }
    let columns: Vec<ArrayRef> = vec![
        to_array(answers)?,
        Arc::new(codes.finish()),
        Arc::new(errors.finish()),
    ];
    let array = StructArray::try_new(fields, columns, Some(nulls))?;
    Ok(Arc::new(array))
}

#[cfg(test)]
mod tests {
    use super::*;

    use datafusion::arrow::array::{AsArray, Int64Array};

    #[test]
    fn a_row_that_panics_is_a_value() {
        let rows = vec![
            outcome(|| panic!("an odd row")),
            outcome(|| Ok(Some(7))),
            outcome(|| Ok(None)),
        ];
        let fields = fields("answer", DataType::Int64);
        let array =
            result_array(rows, fields, |rows| Ok(Arc::new(Int64Array::from(rows))));
        let array = array.unwrap();
        let text = |column: usize, row: usize| {
            let column = array.as_struct().column(column).as_string::<i32>();
            column.iter().nth(row).flatten().map(str::to_string)
        };
        assert_eq!(text(1, 0).as_deref(), Some("MODEL_RUNTIME"));
        let error = text(2, 0).unwrap();
        assert!(error.contains("an odd row"), "{error}");
        assert_eq!(text(1, 1), None);
        let is_null = |row: usize| array.is_null(row);
        assert_eq!([0, 1, 2].map(is_null), [false, false, true]);
    }

    #[test]
    fn the_book_says_which_failures_may_pass() {
        let page = include_str!("../../../docs/book/src/reference/error_codes.md");
        let rows = page.lines().filter(|line| line.contains("| yes |"));
        let codes = rows.filter_map(|row| row.split('`').nth(1));
        assert_eq!(codes.collect::<Vec<_>>(), MAY_PASS);
    }
}
