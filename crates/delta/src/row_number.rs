//! Numbers for rows, by which two of a table that are equal are told apart.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{ArrayRef, UInt64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const ROW_NUMBER: &str = "__atoll_row_number";

/// The function of this name, for a process that runs parts of another's statements.
pub fn row_number(name: &str) -> Option<ScalarUDF> {
    (name == ROW_NUMBER).then(|| ScalarUDF::from(RowNumber::default()))
}

/// Another number for each row, in no order.
#[derive(Debug)]
pub(crate) struct RowNumber {
    next: Arc<AtomicU64>,
    signature: Signature,
}

impl Default for RowNumber {
    /// Tasks of a cluster number rows without knowing of each other, so that each begins
    /// somewhere else: two of 1,024 tasks with 2^32 rows each meet in one of a thousand
    /// statements at most, and then a row of MERGE seems to have two matches.
    fn default() -> Self {
        let first = rand::random_range(0..u64::MAX / 2);
        Self {
            next: Arc::new(AtomicU64::new(first)),
            signature: Signature::nullary(Volatility::Volatile),
        }
    }
}

impl PartialEq for RowNumber {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.next, &other.next)
    }
}

impl Eq for RowNumber {}

impl Hash for RowNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.next).hash(state);
    }
}

impl ScalarUDFImpl for RowNumber {
    fn name(&self) -> &str {
        ROW_NUMBER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows as u64;
        let first = self.next.fetch_add(rows, Ordering::Relaxed);
        let numbers = UInt64Array::from_iter_values(first..first + rows);
        Ok(ColumnarValue::Array(Arc::new(numbers) as ArrayRef))
    }
}
