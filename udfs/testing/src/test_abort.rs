//! `test_abort`: a row that brings its process down, as a crash in a native library does.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, Grain, PreparedCall, Usage, usage,
};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use crate::SECTION;

const USAGE: Usage = Usage {
    name: "test_abort",
    syntax: "test_abort(abort)",
    arguments: &[Argument("abort", usage::flag)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Ends its process if its argument is true, else returns SUCCEEDED. A row that is \
         given up is FAILED.",
        USAGE.syntax,
    )
    .with_argument("abort", "Whether to end the process.")
    .with_sql_example("SELECT test_abort(false) AS status;")
    .build()
});

/// The SQL functions `test_abort(abort)` and `test_abort_in_group(abort)`.
#[derive(Debug)]
pub struct TestAbort {
    usage: Usage,
    grain: Grain,
}

impl TestAbort {
    /// A function whose rows are dealt in this way.
    pub(crate) fn new(name: &'static str, grain: Grain) -> Self {
        let usage = Usage { name, ..USAGE };
        Self { usage, grain }
    }
}

#[async_trait]
impl ExpensiveFunction for TestAbort {
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
        Ok(Arc::new(Abort))
    }

    fn grain(&self) -> Grain {
        self.grain
    }
}

#[derive(Debug)]
struct Abort;

#[async_trait]
impl PreparedCall for Abort {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
    ) -> Result<ArrayRef> {
        let abort = args.args[0].to_array(args.number_rows)?;
        let abort = abort.as_boolean();
        if (0..abort.len()).any(|row| abort.is_valid(row) && abort.value(row)) {
            std::process::abort();
        }
        Ok(statuses(args.number_rows, "SUCCEEDED"))
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        _reason: &str,
    ) -> Result<ArrayRef> {
        Ok(statuses(args.number_rows, "FAILED"))
    }
}

fn statuses(rows: usize, status: &str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
        status, rows,
    )))
}
