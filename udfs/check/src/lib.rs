//! SQL functions that end a statement when something is wrong.
//!
//! Both are volatile: the planner may not compute them while it plans, and a call in a
//! branch of CASE runs for the rows of that branch only. A call for no row raises
//! nothing.

mod assert;
mod error;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{
    DataFusionError, Result, ScalarValue, exec_datafusion_err, plan_err,
};
use datafusion::logical_expr::{DocSection, ScalarUDF};

pub use assert::Assert;
pub use error::ErrorFunction;

/// Where the function reference lists this family.
const SECTION: DocSection = DocSection {
    include: true,
    label: "Check Functions",
    description: Some("Functions that end a statement when something is wrong."),
};

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::new_from_impl(Assert::default()),
        ScalarUDF::new_from_impl(ErrorFunction::default()),
    ]
}

/// What a call of one of these functions gives for a row that passes it; nothing for
/// other functions.
pub fn passed(function: &ScalarUDF) -> Option<ScalarValue> {
    let function = function.inner();
    if function.is::<Assert>() {
        return Some(ScalarValue::Boolean(Some(true)));
    }
    function.is::<ErrorFunction>().then_some(ScalarValue::Null)
}

/// The type that a text argument is cast to.
fn text_type(function: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Ok(DataType::Utf8)
        }
        other => plan_err!("{function}: text must be a VARCHAR, got {other}"),
    }
}

/// The text of a row as an error, which says nothing else.
fn failure(texts: &ArrayRef, row: usize, default: &str) -> DataFusionError {
    let texts = texts.as_string::<i32>();
    let text = texts.iter().nth(row).flatten().unwrap_or(default);
    exec_datafusion_err!("{text}")
}
