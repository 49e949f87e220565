//! Expensive functions: those whose rows cost milliseconds to hours.
//!
//! DataFusion may evaluate an ordinary expression several times, on the threads that
//! also drive I/O, and cannot stop it. A function that trains, decodes or infers
//! therefore implements [`ExpensiveFunction`]: the session takes its calls out of the
//! statement's expressions and runs each exactly once a row, in an operator of its
//! own, on the process-wide compute pool.

use std::any::Any;
use std::fmt::{self, Debug, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_compute::panics::Panic;
use atoll_compute::pool::{self, PoolError};
use atoll_compute::progress::Progress;
use atoll_compute::warnings::Warnings;
use atoll_onnx::Inference;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::execution::SessionState;
use datafusion::execution::config::SessionConfig;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use serde_json::{Map, Value};

use crate::{AtollOptions, Erased, Location, Usage};

/// A SQL function whose rows each cost milliseconds to hours.
///
/// [`expensive`] turns one into a function that a session can register. A call is checked
/// in this order: [`Usage::coerce`] checks its types, [`return_type`](Self::return_type)
/// what its literals say, [`check`](Self::check) what its structs say for every row, and
/// [`prepare`](Self::prepare) opens what it names. Then [`PreparedCall::invoke`] evaluates
/// rows.
#[async_trait]
pub trait ExpensiveFunction: Debug + Send + Sync + 'static {
    /// Its name, and what a call looks like. No two functions have the same name.
    fn usage(&self) -> &Usage;

    /// What the function reference says of it.
    fn documentation(&self) -> Option<&Documentation> {
        None
    }

    /// The type of the result, from the types of the arguments and from those that are
    /// literals. Literals that are wrong in every row are refused here.
    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType>;

    /// Checks one call at plan time and returns what runs it.
    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>>;

    /// Prepares a call in another process, from its literals and from what
    /// [`PreparedCall::ship`] gave in the process that planned the statement.
    async fn receive(
        &self,
        call: &Call<'_>,
        _shipped: &[u8],
    ) -> Result<Arc<dyn PreparedCall>> {
        self.prepare(call).await
    }

    /// Checks at plan time what a call says for every row, before its arguments become
    /// columns: they are as the statement has them, with constants as literals.
    fn check(&self, _args: &[Expr]) -> Result<()> {
        Ok(())
    }

    /// Moves what the arguments say for every row to where [`prepare`](Self::prepare) finds
    /// it: there, all that is no literal is a column. The arguments are as
    /// [`check`](Self::check) saw them.
    fn settle(&self, args: Vec<Expr>) -> Result<Vec<Expr>> {
        Ok(args)
    }

    /// The models that a call names by literals, and the SHA-256 of their files.
    fn models(&self, _args: &[Expr]) -> Vec<(String, String)> {
        vec![]
    }

    /// How the rows of a call are dealt to the executors of a cluster.
    fn grain(&self) -> Grain {
        Grain::Groups
    }
}

/// The `error_code` of a row that was given up.
pub const EXECUTOR_DIED: &str = "EXECUTOR_DIED";

/// How many rows of a call one task of a cluster gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// Several: a row takes less than a task costs, which is some milliseconds.
    Groups,
    /// One, so that no row waits for another and none is run again with another.
    Rows,
}

/// One call in a statement, at plan time.
pub struct Call<'a> {
    /// Literals as [`Expr::Literal`], everything else as [`Expr::Column`].
    pub args: &'a Erased<Vec<Expr>>,
    /// The type of each argument.
    pub arg_fields: &'a [FieldRef],
    /// What the call returns.
    pub return_field: &'a FieldRef,
    /// The session whose tables the call may name.
    pub session: &'a Erased<SessionState>,
}

impl Call<'_> {
    /// The file or folder that an argument names.
    pub fn locate(&self, name: &str) -> Result<Location> {
        CallContext::of(self.session.config()).locate(name)
    }
}

/// What a row costs beside others, from the struct in its second argument.
///
/// It is known before the row runs and the same on every machine, so that a search can
/// plan with it.
pub type Price = Arc<dyn Fn(&Map<String, Value>) -> f64 + Send + Sync>;

/// A call that can be evaluated, shared by all partitions of a statement.
#[async_trait]
pub trait PreparedCall: Debug + Send + Sync {
    /// Evaluates one record batch: one array, a row out for every row in.
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef>;

    /// What a process without this session's tables needs to evaluate the call, beyond
    /// its literals. Data goes to the storage and only its name here.
    async fn ship(&self, _context: &CallContext) -> Result<Vec<u8>> {
        Ok(vec![])
    }

    /// The work of this call, if other calls of the same rows may be made of it too.
    async fn shared(&self) -> Result<Option<Arc<dyn SharedCall>>> {
        Ok(None)
    }

    /// What computes the answers of the model that this call applies, if it applies one.
    fn inference(&self) -> Option<Inference> {
        None
    }

    /// What rows of this call cost, if that can be told beforehand.
    async fn price(
        &self,
        _dataset: &str,
        _context: &CallContext,
    ) -> Result<Option<Price>> {
        Ok(None)
    }

    /// The values of rows that are not evaluated, because the process that did died
    /// each time. Functions that report failures as values do so here too.
    async fn give_up(
        &self,
        _args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        let error = exec_datafusion_err!("{reason}");
        Err(DataFusionError::External(Box::new(RowError {
            row: 0,
            error,
        })))
    }
}

/// A call that other calls may be joined with, so that what they have in common is done
/// once a row: several answers come out of one inference.
///
/// Those can be joined whose keys are equal and whose first [`arguments`](Self::arguments)
/// are the same.
#[async_trait]
pub trait SharedCall: Any + Debug + Send + Sync {
    /// What tells calls apart that have nothing in common.
    fn key(&self) -> &str;

    /// How many of the first arguments the work depends on.
    fn arguments(&self) -> usize;

    /// Joins calls, this one among them.
    async fn join(
        &self,
        calls: Vec<Arc<dyn SharedCall>>,
        context: &CallContext,
    ) -> Result<Arc<dyn JoinedCalls>>;
}

/// Several calls that are evaluated together.
#[async_trait]
pub trait JoinedCalls: Debug + Send + Sync {
    /// Evaluates one record batch: an array for each of the calls, in their order.
    async fn invoke(
        &self,
        args: Vec<ScalarFunctionArgs>,
        context: &CallContext,
    ) -> Result<Vec<ArrayRef>>;
}

/// What a running call needs to know about its statement.
///
/// As an extension of a session's configuration it holds for everything that the
/// session runs, which is how a task of a cluster gets its own.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Cancelled when the statement is dropped. Long rows poll it.
    pub token: CancellationToken,
    /// Where rows say how far they are.
    pub progress: Progress,
    /// Where rows say what their user should know though nothing failed.
    pub warnings: Warnings,
    /// Where relative paths start, if not at the process's own folder.
    pub directory: Option<Arc<Path>>,
    /// The session's storage, where models have names.
    pub storage: Option<Arc<str>>,
    /// Why no row is to be evaluated, if so.
    pub given_up: Option<Arc<str>>,
    /// Who finds the row that brought this task's process down, if that happened.
    pub rescue: Option<Arc<dyn Rescue>>,
}

/// Finds the row that brings its process down, when a task runs again for that reason:
/// rows are evaluated in groups, and one by one in a group that was started before and
/// did not come to an end.
#[async_trait]
pub trait Rescue: Debug + Send + Sync {
    /// A number for an operator of the task. Operators start in the same order each time.
    fn operator(&self) -> u32;

    /// Says that an operator starts rows; how often it did before, without an end.
    async fn start(&self, operator: u32, rows: Range<u64>) -> Result<u32>;

    /// Why a row is given up of which so many processes died, if it is.
    fn gives_up(&self, deaths: u32) -> Option<Arc<str>>;
}

impl Default for CallContext {
    fn default() -> Self {
        Self {
            token: CancellationToken::new(),
            progress: Progress::process(),
            warnings: Warnings::default(),
            directory: None,
            storage: None,
            given_up: None,
            rescue: None,
        }
    }
}

impl CallContext {
    /// The context that a session gives its calls; they end with the session's token.
    pub fn of(config: &SessionConfig) -> Self {
        let storage = AtollOptions::get(config.options()).storage;
        let context = match config.get_extension::<Self>() {
            Some(context) => Self {
                token: context.token.child_token(),
                ..context.as_ref().clone()
            },
            None => Self::default(),
        };
        Self {
            storage: Some(Arc::from(storage)),
            ..context
        }
    }

    /// The file or folder that a value names.
    pub fn locate(&self, name: &str) -> Result<Location> {
        Location::parse_from(self.directory.as_deref(), name)
    }
}

/// Turns an expensive function into one that a session can register.
pub fn expensive(function: impl ExpensiveFunction) -> ScalarUDF {
    ScalarUDF::new_from_impl(ExpensiveUdf {
        function: Arc::new(function),
        // Not because of chance: the optimizer folds and duplicates calls of anything else.
        signature: Signature::user_defined(Volatility::Volatile),
    })
}

/// The expensive function behind `udf`, if it is one.
pub fn as_expensive(udf: &ScalarUDF) -> Option<&Arc<dyn ExpensiveFunction>> {
    udf.inner()
        .downcast_ref::<ExpensiveUdf>()
        .map(|udf| &udf.function)
}

/// An expensive function as DataFusion sees it while it plans.
#[derive(Debug)]
struct ExpensiveUdf {
    function: Arc<dyn ExpensiveFunction>,
    signature: Signature,
}

impl PartialEq for ExpensiveUdf {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ExpensiveUdf {}

impl Hash for ExpensiveUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for ExpensiveUdf {
    fn name(&self) -> &str {
        self.function.usage().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.usage().coerce(arg_types)
    }

    /// For arguments of these types none of which is a literal.
    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> = arg_types
            .iter()
            .map(|data_type| Arc::new(Field::new("argument", data_type.clone(), true)))
            .collect();
        self.function.return_type(&ReturnFieldArgs {
            arg_fields: &fields,
            scalar_arguments: &vec![None; fields.len()],
        })
    }

    /// Every result can be NULL, because NULL in is NULL out.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = self.function.return_type(&args)?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    /// The session takes expensive calls out of all expressions, so that this is reached
    /// only where it cannot.
    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!(
            "{}() cannot be evaluated here; call it in the SELECT list of a subquery and \
             use its result",
            self.name()
        )
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
/// have not started; dropping the future stops them too. A row that panics has an error
/// like any other; functions that report failures as values catch the panic themselves.
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
        let result = match result.await {
            Ok(result) => result,
            Err(PoolError::Panicked(panic)) => Err(panicked(&panic)),
            Err(error) => return Err(pool_error(error)),
        };
        results.push(result.map_err(|error| {
            DataFusionError::External(Box::new(RowError { row, error }))
        })?);
    }
    Ok(results)
}

/// The error of a row, or of a call, that panicked.
pub fn panicked(panic: &Panic) -> DataFusionError {
    exec_datafusion_err!("internal error: {panic}; {REPORT}")
}

/// What to do about a panic.
pub const REPORT: &str = "this is a bug, please report it with what caused it";

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

    #[tokio::test]
    async fn a_row_that_panics_is_named_and_the_next_rows_run() {
        let context = CallContext::default();
        let error = map_rows(4, &context, |row, _| {
            assert_ne!(row, 2, "an odd row");
            Ok(row)
        });
        let DataFusionError::External(error) = error.await.unwrap_err() else {
            panic!("not a row error")
        };
        let error = error.downcast_ref::<RowError>().unwrap();
        assert_eq!(error.row, 2);
        assert!(error.to_string().contains("an odd row"), "{error}");
        let rows = map_rows(2, &context, |row, _| Ok(row)).await;
        assert_eq!(rows.unwrap(), [0, 1]);
    }
}
