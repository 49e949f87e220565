//! Calls `train` and `evaluate` as the session does: prepared once, then invoked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use atoll_udf_common::{
    AtollOptions, Call, CallContext, Erased, ExpensiveFunction, PreparedCall,
};
use atoll_udf_train::{Train, TrainShared};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, StringArray, StructArray,
};
use datafusion::arrow::datatypes::Field;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, lit,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio::sync::Mutex;

/// All sessions here share it, as those of a server do.
static SHARED: LazyLock<Arc<TrainShared>> = LazyLock::new(Arc::default);

/// Trainings of all tests are counted together, so tests that count them take turns.
pub(crate) static COUNTING: Mutex<()> = Mutex::const_new(());

pub(crate) fn trainings_started() -> u64 {
    SHARED.trainings_started()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn digits() -> String {
    root()
        .join("sql/data/digits.parquet")
        .canonicalize()
        .unwrap()
        .display()
        .to_string()
}

pub(crate) fn session(storage: &Path) -> SessionContext {
    let options = AtollOptions {
        storage: storage.display().to_string(),
        ..AtollOptions::default()
    };
    let config = SessionConfig::new()
        .with_option_extension(options)
        .with_extension(Arc::clone(&SHARED));
    SessionContext::new_with_config(config)
}

/// One argument: the same for all rows, or a column.
pub(crate) enum Argument {
    Literal(ScalarValue),
    Column(ArrayRef),
}

pub(crate) fn text(text: &str) -> Argument {
    Argument::Literal(text.into())
}

/// Structs with integer and text fields, one per row.
pub(crate) fn structs(columns: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let columns = columns.into_iter().map(|(name, column)| {
        let field = Field::new(name, column.data_type().clone(), true);
        (Arc::new(field), column)
    });
    Arc::new(StructArray::from(columns.collect::<Vec<_>>()))
}

/// Small networks with these seeds.
pub(crate) fn seeds(seeds: &[i64]) -> Argument {
    let same = |value: i64| Arc::new(Int64Array::from_value(value, seeds.len())) as _;
    Argument::Column(structs(vec![
        (
            "architecture",
            Arc::new(StringArray::from(vec!["mlp"; seeds.len()])),
        ),
        ("hidden", same(16)),
        ("epochs", same(1)),
        ("seed", Arc::new(Int64Array::from(seeds.to_vec()))),
    ]))
}

pub(crate) struct Prepared {
    pub(crate) call: Arc<dyn PreparedCall>,
    pub(crate) args: ScalarFunctionArgs,
}

pub(crate) async fn prepare(
    ctx: &SessionContext,
    function: &dyn ExpensiveFunction,
    arguments: &[Argument],
    rows: usize,
) -> Result<Prepared> {
    let arg_fields: Vec<_> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Literal(value) => value.data_type(),
            Argument::Column(column) => column.data_type().clone(),
        })
        .map(|data_type| Arc::new(Field::new("argument", data_type, true)))
        .collect();
    let types: Vec<_> = arg_fields
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    function.usage().coerce(&types)?;
    let scalar_arguments: Vec<_> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Literal(value) => Some(value),
            Argument::Column(_) => None,
        })
        .collect();
    let return_type = function.return_type(&ReturnFieldArgs {
        arg_fields: &arg_fields,
        scalar_arguments: &scalar_arguments,
    })?;
    let return_field = Arc::new(Field::new("returned", return_type, true));
    let exprs: Vec<Expr> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Literal(value) => lit(value.clone()),
            Argument::Column(_) => Expr::Column("argument".into()),
        })
        .collect();
    let state = ctx.state();
    let call = function
        .prepare(&Call {
            args: &Erased::new(exprs),
            arg_fields: &arg_fields,
            return_field: &return_field,
            session: &Erased::new(state.clone()),
        })
        .await?;
    let args = arguments.iter().map(|argument| match argument {
        Argument::Literal(value) => ColumnarValue::Scalar(value.clone()),
        Argument::Column(column) => ColumnarValue::Array(Arc::clone(column)),
    });
    let args = ScalarFunctionArgs {
        args: args.collect(),
        arg_fields,
        number_rows: rows,
        return_field,
        config_options: Arc::clone(state.config_options()),
    };
    Ok(Prepared { call, args })
}

pub(crate) async fn call(
    ctx: &SessionContext,
    function: &dyn ExpensiveFunction,
    arguments: &[Argument],
    rows: usize,
) -> Result<StructArray> {
    let prepared = prepare(ctx, function, arguments, rows).await?;
    let array = prepared
        .call
        .invoke(prepared.args, &CallContext::default())
        .await?;
    assert_eq!(array.len(), rows);
    Ok(array.as_struct().clone())
}

pub(crate) async fn train(
    ctx: &SessionContext,
    dataset: &str,
    hyperparameters: Argument,
    rows: usize,
) -> StructArray {
    let arguments = [text(dataset), hyperparameters];
    call(ctx, &Train, &arguments, rows).await.unwrap()
}

pub(crate) fn strings<'a>(structs: &'a StructArray, name: &str) -> Vec<Option<&'a str>> {
    structs
        .column_by_name(name)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .collect()
}
