//! Expensive functions: those whose rows cost milliseconds to hours.
//!
//! DataFusion may evaluate an ordinary expression several times, on the threads that
//! also drive I/O, and cannot stop it. A function that trains, decodes or infers
//! therefore implements [`ExpensiveFunction`]: the session takes its calls out of the
//! statement's expressions and runs each exactly once a row, in an operator of its
//! own, on the process-wide compute pool.

use std::fmt::{self, Debug, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_compute::pool::{self, PoolError};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// A SQL function whose rows each cost milliseconds to hours.
///
/// Its `invoke_with_args` returns [`not_here`], because calls are evaluated through
/// [`prepare`](Self::prepare) only.
#[async_trait]
pub trait ExpensiveFunction: ScalarUDFImpl {
    /// Checks one call at plan time and returns what runs it.
    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>>;
}

/// One call in a statement, at plan time.
pub struct Call<'a> {
    /// Literals as [`Expr::Literal`], everything else as [`Expr::Column`].
    pub args: &'a [Expr],
    /// The type of each argument.
    pub arg_fields: &'a [FieldRef],
    /// What the call returns.
    pub return_field: &'a FieldRef,
    /// The session whose tables the call may name.
    pub session: &'a SessionState,
}

/// A call that can be evaluated, shared by all partitions of a statement.
#[async_trait]
pub trait PreparedCall: Debug + Send + Sync {
    /// Evaluates one record batch: one array, a row out for every row in.
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef>;
}

/// What a running call needs to know about its statement.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// Cancelled when the statement is dropped. Long rows poll it.
    pub token: CancellationToken,
}

/// Turns an expensive function into one that a session can register.
pub fn expensive(function: impl ExpensiveFunction + 'static) -> ScalarUDF {
    ScalarUDF::new_from_impl(Expensive {
        function: Arc::new(function),
    })
}

/// The expensive function behind `udf`, if it is one.
pub fn as_expensive(udf: &ScalarUDF) -> Option<&Arc<dyn ExpensiveFunction>> {
    udf.inner()
        .downcast_ref::<Expensive>()
        .map(|udf| &udf.function)
}

/// The error of an expensive function that was called like an ordinary one.
pub fn not_here(function: &str) -> Result<ColumnarValue> {
    exec_err!(
        "{function}() cannot be evaluated here; call it in the SELECT list of a \
         subquery and use its result"
    )
}

/// Marks a function as expensive; everything else is the function's own.
#[derive(Debug)]
struct Expensive {
    function: Arc<dyn ExpensiveFunction>,
}

impl PartialEq for Expensive {
    fn eq(&self, other: &Self) -> bool {
        self.function.as_ref().dyn_eq(other.function.as_ref())
    }
}

impl Eq for Expensive {}

impl Hash for Expensive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.as_ref().dyn_hash(state);
    }
}

impl ScalarUDFImpl for Expensive {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.function.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_here(self.name())
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

/// An error of one row. The executor adds the row's file name where it knows one.
#[derive(Debug)]
pub struct RowError {
    /// The row's position in its record batch.
    pub row: usize,
    /// What went wrong.
    pub error: DataFusionError,
}

impl Display for RowError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl std::error::Error for RowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Runs `work` for each row on the compute pool; results come in the order of rows.
///
/// All rows are queued at once, so they fill the pool however many there are. The
/// first error in row order is returned as a [`RowError`] and stops the rows that
/// have not started; dropping the future stops them too.
pub async fn map_rows<T: Send + 'static>(
    rows: usize,
    context: &CallContext,
    work: impl Fn(usize, &CancellationToken) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<T>> {
    let token = context.token.child_token();
    let _stop = token.clone().drop_guard();
    let work = Arc::new(work);
    let queued: Vec<_> = (0..rows)
        .map(|row| {
            let (work, row_token) = (Arc::clone(&work), token.clone());
            pool::run(&token, move || work(row, &row_token))
        })
        .collect();
    let mut results = Vec::with_capacity(rows);
    for (row, result) in queued.into_iter().enumerate() {
        let result = result.await.map_err(pool_error)?;
        results.push(result.map_err(|error| {
            DataFusionError::External(Box::new(RowError { row, error }))
        })?);
    }
    Ok(results)
}

/// Translates an error of the compute pool.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err takes"
)]
pub fn pool_error(error: PoolError) -> DataFusionError {
    exec_datafusion_err!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_in_row_order() {
        let context = CallContext::default();
        let squares = map_rows(100, &context, |row, _| Ok(row * row))
            .await
            .unwrap();
        assert_eq!(squares, (0..100).map(|row| row * row).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_first_bad_row_is_named() {
        let context = CallContext::default();
        let error = map_rows(10, &context, |row, _| match row {
            3 | 7 => exec_err!("bad {row}"),
            _ => Ok(()),
        });
        let DataFusionError::External(error) = error.await.unwrap_err() else {
            panic!("not a row error")
        };
        assert_eq!(error.downcast_ref::<RowError>().unwrap().row, 3);
    }
}
