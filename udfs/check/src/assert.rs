//! `assert`: ends the statement unless a condition holds.

use std::sync::LazyLock;

use datafusion::arrow::array::{Array, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::{SECTION, failure, text_type};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Ends the statement with `text` as its error when `condition` is false or NULL \
         for a row, and is true otherwise. A row that does not reach the call, such as \
         one of another branch of CASE, is not checked; a call whose result no part of \
         the statement uses may be left out, so put it into WHERE or into the SELECT \
         list of the statement itself.",
        "assert(condition, text)",
    )
    .with_argument("condition", "What must be true of every row.")
    .with_argument(
        "text",
        "What the error says, computed for the row that failed.",
    )
    .with_sql_example(
        "SELECT count(*) AS images\n\
         FROM read_blob('sql/data/photos/*.jpg')\n\
         HAVING assert(count(*) > 0, 'there are no photos');",
    )
    .with_related_udf("error")
    .build()
});

/// The SQL function `assert(condition, text)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Assert {
    signature: Signature,
}

impl Default for Assert {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Assert {
    fn name(&self) -> &str {
        "assert"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [condition, text] = arg_types else {
            return plan_err!(
                "assert takes 2 arguments, assert(condition, text), got {}",
                arg_types.len()
            );
        };
        if !matches!(condition, DataType::Boolean | DataType::Null) {
            return plan_err!("assert: condition must be a BOOLEAN, got {condition}");
        }
        Ok(vec![DataType::Boolean, text_type(self.name(), text)?])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [condition, text] = take_function_args(self.name(), args.args)?;
        let condition = condition.into_array(rows)?;
        if let Some(row) = first_failure(as_boolean_array(&condition)?) {
            let texts = text.into_array(rows)?;
            return Err(failure(&texts, row, "an assertion failed"));
        }
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The first row whose condition is false or NULL.
fn first_failure(conditions: &BooleanArray) -> Option<usize> {
    if conditions.null_count() == 0 && !conditions.has_false() {
        return None;
    }
    conditions
        .iter()
        .position(|condition| condition != Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(conditions: &[Option<bool>], expected: Option<usize>) {
        let conditions = BooleanArray::from(conditions.to_vec());
        assert_eq!(first_failure(&conditions), expected, "{conditions:?}");
    }

    #[test]
    fn null_fails_as_false_does() {
        check(&[Some(true), None], Some(1));
        check(&[Some(true), Some(false), None], Some(1));
    }

    #[test]
    fn no_row_fails_nothing() {
        check(&[], None);
        check(&[Some(true)], None);
    }
}
