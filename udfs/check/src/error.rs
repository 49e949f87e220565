//! `error`: ends the statement.

use std::sync::LazyLock;

use datafusion::arrow::datatypes::DataType;
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
        "Ends the statement with `text` as its error, for the first row that reaches the \
         call. Its type is NULL's, so that it may stand in any branch of CASE or in \
         COALESCE.",
        "error(text)",
    )
    .with_argument("text", "What the error says, computed for the row.")
    .with_sql_example(
        "SELECT CASE\n    \
             WHEN filename LIKE '%.jpg' THEN 'photo'\n    \
             ELSE error('not a photo: ' || filename)\n\
         END AS kind\n\
         FROM read_blob('sql/data/photos/*.jpg');",
    )
    .with_related_udf("assert")
    .build()
});

/// The SQL function `error(text)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ErrorFunction {
    signature: Signature,
}

impl Default for ErrorFunction {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for ErrorFunction {
    fn name(&self) -> &str {
        "error"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [text] = arg_types else {
            return plan_err!(
                "error takes 1 argument, error(text), got {}",
                arg_types.len()
            );
        };
        Ok(vec![text_type(self.name(), text)?])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Null)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [text] = take_function_args(self.name(), args.args)?;
        if rows == 0 {
            return Ok(ColumnarValue::Scalar(ScalarValue::Null));
        }
        Err(failure(
            &text.into_array(rows)?,
            0,
            "error(NULL) was called",
        ))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}
