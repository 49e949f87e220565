//! `test_sleep`: a row that takes its time and no core.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, Grain, PreparedCall, Usage, map_rows,
    usage,
};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use crate::SECTION;

/// How often a sleeping row looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(5);

const USAGE: Usage = Usage {
    name: "test_sleep",
    syntax: "test_sleep(seconds)",
    arguments: &[Argument("seconds", usage::number)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Waits on a thread of the compute pool, then returns its argument.",
        USAGE.syntax,
    )
    .with_argument("seconds", "How long to wait. NULL gives NULL.")
    .with_sql_example("SELECT test_sleep(0.001) AS slept;")
    .build()
});

/// How many times as long a row of this process takes: a machine that is slow.
static SLOWNESS: LazyLock<f64> = LazyLock::new(|| {
    let times = std::env::var("ATOLL_TEST_SLOWNESS").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(1.0)
});

/// The SQL functions `test_sleep(seconds)` and `test_sleep_in_group(seconds)`.
#[derive(Debug)]
pub struct TestSleep {
    usage: Usage,
    grain: Grain,
}

impl TestSleep {
    /// A function whose rows are dealt in this way.
    pub(crate) fn new(name: &'static str, grain: Grain) -> Self {
        let usage = Usage { name, ..USAGE };
        Self { usage, grain }
    }
}

#[async_trait]
impl ExpensiveFunction for TestSleep {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, _args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Sleep))
    }

    fn grain(&self) -> Grain {
        self.grain
    }
}

#[derive(Debug)]
struct Sleep;

#[async_trait]
impl PreparedCall for Sleep {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let seconds = args.args[0].to_array(rows)?;
        let seconds = seconds.as_primitive::<Float64Type>().clone();
        let slept = map_rows(rows, context, move |row, token| {
            if seconds.is_null(row) {
                return Ok(None);
            }
            let slept = seconds.value(row);
            let wanted = slept * *SLOWNESS;
            let since = Instant::now();
            while since.elapsed().as_secs_f64() < wanted {
                if token.is_cancelled() {
                    return exec_err!("test_sleep: the statement was cancelled");
                }
                let left = wanted - since.elapsed().as_secs_f64();
                let left = Duration::try_from_secs_f64(left).unwrap_or_default();
                std::thread::sleep(left.min(GLANCE));
            }
            Ok(Some(slept))
        });
        Ok(Arc::new(Float64Array::from(slept.await?)))
    }
}
