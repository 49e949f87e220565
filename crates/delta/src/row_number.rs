//! Numbers for rows, by which two of a table that are equal are told apart.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{ArrayRef, UInt64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Another number for each row, in no order.
#[derive(Debug)]
pub(crate) struct RowNumber {
    next: Arc<AtomicU64>,
    signature: Signature,
}

impl Default for RowNumber {
    fn default() -> Self {
        Self {
            next: Arc::default(),
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
        "__atoll_row_number"
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
