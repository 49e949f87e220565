//! `test_panic`: a row that panics, as a decoder does on a file that nobody thought of.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, Usage, map_rows, usage,
};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use crate::SECTION;

const USAGE: Usage = Usage {
    name: "test_panic",
    syntax: "test_panic(panic)",
    arguments: &[Argument("panic", usage::flag)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Panics if its argument is true, else returns SUCCEEDED.",
        USAGE.syntax,
    )
    .with_argument("panic", "Whether to panic.")
    .with_sql_example("SELECT test_panic(false) AS status;")
    .build()
});

/// The SQL functions `test_panic(panic)` and `test_panic_in_call(panic)`.
#[derive(Debug)]
pub struct TestPanic {
    usage: Usage,
    in_call: bool,
}

impl TestPanic {
    /// A function that panics in its rows, or in what is around them.
    pub(crate) fn new(name: &'static str, in_call: bool) -> Self {
        let usage = Usage { name, ..USAGE };
        Self { usage, in_call }
    }
}

#[async_trait]
impl ExpensiveFunction for TestPanic {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, _args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Prepared {
            in_call: self.in_call,
        }))
    }
}

#[derive(Debug)]
struct Prepared {
    in_call: bool,
}

#[async_trait]
impl PreparedCall for Prepared {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let panics = args.args[0].to_array(rows)?.as_boolean().clone();
        if self.in_call {
            (0..rows).for_each(|row| panic_if(&panics, row));
        }
        let statuses = map_rows(rows, context, move |row, _| {
            panic_if(&panics, row);
            Ok("SUCCEEDED")
        });
        Ok(Arc::new(StringArray::from(statuses.await?)))
    }
}

fn panic_if(panics: &BooleanArray, row: usize) {
    let panics = panics.is_valid(row) && panics.value(row);
    assert!(!panics, "test_panic was asked to\npanic");
}
