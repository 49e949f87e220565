//! `evaluate`: how well a model labels images it never saw.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::{Provider, WantedTensors};
use atoll_udf_common::args::{bytes_at, string_at};
use atoll_udf_common::model::{self, model};
use atoll_udf_common::structs::check_keys;
use atoll_udf_common::{
    Argument, AtollOptions, Call, CallContext, ExpensiveFunction, Grain, PreparedCall,
    Usage, storage_root, usage,
};
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, NullBufferBuilder, StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use super::arguments::{
    COLUMN_OPTIONS, DATASET, DatasetArgument, SECTION, arrays, dataset,
};
use super::options::{EVALUATE_KEYS, EvaluateOptions};
use crate::dataset::{DatasetSource, Split, Table, Wanted};
use crate::score::{Score, score};
use crate::single_flight::Memo;

const USAGE: Usage = Usage {
    name: "evaluate",
    syntax: "evaluate(model, dataset [, options])",
    arguments: &[
        Argument("model", model),
        Argument("dataset", dataset),
        Argument("options", usage::any),
    ],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Labels images, or rows of numbers, with a model and compares with their labels. \
         Returns a struct: `rows`, `accuracy`, `accuracy_low` and `accuracy_high` (95 % Wilson interval), \
         `loss` (mean cross-entropy; NULL when it is not finite) and `confusion` (how \
         many rows of each class, a list, were given each class, a list in it). Where \
         labels are numbers to predict, `loss` is the mean squared error in their own \
         units, and the others but `rows` are NULL. Text \
         labels are matched with the names of the model's classes, integers with their \
         indices. If the dataset has a split column with 'test' rows, only those count, \
         unless the options say otherwise.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, such as the `model` of a trial, or BINARY with its \
         bytes. NULL gives NULL.",
    )
    .with_argument("dataset", DATASET)
    .with_argument(
        "options",
        format!(
            "Literal struct with any of {COLUMN_OPTIONS}; `split` ('train', 'validation' \
             or 'test': the rows that count)."
        ),
    )
    .with_sql_example(
        "SELECT e.rows, e.accuracy > 0.5 AS better_than_half\n\
         FROM (\n\
         \x20   SELECT evaluate(trials.t.model, 'sql/data/digits.parquet') AS e\n\
         \x20   FROM (\n\
         \x20       SELECT train(\n\
         \x20           'sql/data/digits.parquet',\n\
         \x20           {architecture: 'mlp', hidden: 32, epochs: 5, learning_rate: 0.1}\n\
         \x20       ) AS t\n\
         \x20   ) AS trials\n\
         ) AS evaluations;",
    )
    .with_related_udf("train")
    .with_related_udf("predict")
    .build()
});

static EVALUATION: LazyLock<Fields> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Fields::from(vec![
        field("rows", DataType::Int64),
        field("accuracy", DataType::Float64),
        field("accuracy_low", DataType::Float64),
        field("accuracy_high", DataType::Float64),
        field("loss", DataType::Float64),
        field("confusion", DataType::List(Arc::new(line_field()))),
    ])
});

/// A line of the confusion matrix.
fn line_field() -> Field {
    let counts = Field::new_list_field(DataType::Int64, true);
    Field::new_list_field(DataType::List(Arc::new(counts)), true)
}

/// The SQL function `evaluate(model, dataset [, options])`.
#[derive(Debug)]
pub struct Evaluate;

#[async_trait]
impl ExpensiveFunction for Evaluate {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        if let Some(options) = args.arg_fields.get(2) {
            check_keys(USAGE.name, "option", options.data_type(), &EVALUATE_KEYS)?;
        }
        Ok(DataType::Struct(EVALUATION.clone()))
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = EvaluateOptions::from_argument(call.args.get(2))?;
        let source = match DatasetArgument::new(&call.args[1]) {
            DatasetArgument::Literal(name) => {
                let columns = &options.columns;
                let source =
                    DatasetSource::open(call.session, "evaluate", &name, columns).await?;
                check_split(&source, options.split)?;
                Some(source)
            }
            DatasetArgument::Null | DatasetArgument::Column => None,
        };
        // A model that is the same for all rows is read now, so that a missing or
        // broken file is a plan-time error.
        if let DatasetArgument::Literal(name) = DatasetArgument::new(&call.args[0]) {
            let config = call.session.config();
            let context = CallContext::of(config);
            let model = model::load(
                &name,
                &WantedTensors::Outputs,
                provider(call.session),
                &context,
            )
            .await;
            model.map_err(|error| error.at_plan_time(USAGE.name))?;
        }
        Ok(Arc::new(EvaluateCall::new(call, options, source)))
    }

    async fn receive(
        &self,
        call: &Call<'_>,
        shipped: &[u8],
    ) -> Result<Arc<dyn PreparedCall>> {
        let DatasetArgument::Literal(name) = DatasetArgument::new(&call.args[1]) else {
            return self.prepare(call).await;
        };
        if shipped.is_empty() {
            return self.prepare(call).await;
        }
        let options = EvaluateOptions::from_argument(call.args.get(2))?;
        let export = storage_root(call.session.config_options())?
            .join(&String::from_utf8_lossy(shipped))?;
        let columns = &options.columns;
        let source =
            DatasetSource::open_export(call.session, "evaluate", &name, &export, columns)
                .await?;
        Ok(Arc::new(EvaluateCall::new(call, options, Some(source))))
    }

    fn grain(&self) -> Grain {
        Grain::Rows
    }
}

impl EvaluateCall {
    fn new(
        call: &Call<'_>,
        options: EvaluateOptions,
        source: Option<DatasetSource>,
    ) -> Self {
        Self {
            source,
            options,
            session: SessionState::clone(call.session),
            datasets: Memo::default(),
        }
    }
}

/// One call of `evaluate` in a statement.
struct EvaluateCall {
    /// The dataset, when it is the same for all rows.
    source: Option<DatasetSource>,
    options: EvaluateOptions,
    session: SessionState,
    datasets: Memo<Arc<Table>>,
}

/// Without the session, which prints its whole catalog.
impl Debug for EvaluateCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("EvaluateCall");
        call.field("options", &self.options).finish_non_exhaustive()
    }
}

#[async_trait]
impl PreparedCall for EvaluateCall {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let args = arrays(args)?;
        let provider = provider(&self.session);
        let mut scores = Vec::with_capacity(rows);
        // One model after the other: each one's images fill the compute pool.
        for row in 0..rows {
            let Some(dataset) = string_at(&args[1], row) else {
                scores.push(None);
                continue;
            };
            let model = match (string_at(&args[0], row), bytes_at(&args[0], row)) {
                (Some(name), _) => {
                    model::load(name, &WantedTensors::Outputs, provider, context).await
                }
                (None, Some(bytes)) => model::load_bytes(bytes, provider, context).await,
                (None, None) => {
                    scores.push(None);
                    continue;
                }
            };
            let model = model.map_err(|error| error.in_a_row(USAGE.name))?;
            let table = self.table(dataset, context).await?;
            scores.push(Some(score(model, dataset, table, context).await?));
        }
        evaluation_array(&scores)
    }

    async fn ship(&self, _context: &CallContext) -> Result<Vec<u8>> {
        let Some(source) = &self.source else {
            return Ok(vec![]);
        };
        let storage = storage_root(self.session.config_options())?;
        let export = source.export(&storage).await?;
        Ok(export.unwrap_or_default().into_bytes())
    }
}

impl EvaluateCall {
    /// The rows that count; the first row that needs them reads them.
    async fn table(&self, name: &str, context: &CallContext) -> Result<Arc<Table>> {
        let read = || async {
            let columns = &self.options.columns;
            let source = match &self.source {
                Some(source) => source.clone(),
                None => {
                    DatasetSource::open_file(&self.session, "evaluate", name, columns)
                        .await?
                }
            };
            check_split(&source, self.options.split)?;
            let wanted = match (self.options.split, source.has_split()) {
                (Some(split), _) => Wanted::Only(split),
                (None, true) => Wanted::Only(Split::Test),
                (None, false) => Wanted::All,
            };
            let split = self.options.split;
            let mut table = source.read(wanted, &context.token).await?;
            if table.is_empty() && split.is_none() && source.has_split() {
                table = source.read(Wanted::All, &context.token).await?;
            }
            match (table.is_empty(), split) {
                (false, _) => Ok(Arc::new(table.with_named_classes())),
                (true, None) => exec_err!("evaluate: {name} has no rows"),
                (true, Some(split)) => exec_err!(
                    "evaluate: {name} has no rows with split '{}'",
                    split.name()
                ),
            }
        };
        self.datasets.get_or_make(name, read).await
    }
}

fn check_split(source: &DatasetSource, split: Option<Split>) -> Result<()> {
    match split {
        Some(split) if !source.has_split() => plan_err!(
            "evaluate: {} has no column split, so it has no rows with split '{}'; leave \
             the option out to score all rows, or name a split_column",
            source.name(),
            split.name()
        ),
        _ => Ok(()),
    }
}

/// What the session's models run on.
fn provider(session: &SessionState) -> Provider {
    AtollOptions::get(session.config_options()).execution_provider
}

fn evaluation_array(scores: &[Option<Score>]) -> Result<ArrayRef> {
    let number = |get: fn(&Score) -> Option<f64>| -> ArrayRef {
        let numbers = scores.iter().map(|score| score.as_ref().and_then(get));
        Arc::new(Float64Array::from_iter(numbers))
    };
    let rows = scores
        .iter()
        .map(|score| score.as_ref().map(|score| score.rows as i64));
    let columns = vec![
        Arc::new(Int64Array::from_iter(rows)),
        number(Score::accuracy),
        number(|score| score.interval().map(|(low, _)| low)),
        number(|score| score.interval().map(|(_, high)| high)),
        number(Score::mean_loss),
        confusion_array(scores)?,
    ];
    let nulls = nulls(scores).finish();
    Ok(Arc::new(StructArray::try_new(
        EVALUATION.clone(),
        columns,
        nulls,
    )?))
}

fn confusion_array(scores: &[Option<Score>]) -> Result<ArrayRef> {
    let lines = || scores.iter().flatten().flat_map(|score| &score.confusion);
    let counts = Int64Array::from_iter_values(lines().flatten().copied());
    let DataType::List(count_field) = line_field().data_type().clone() else {
        return exec_err!("a line of the confusion matrix must be a list");
    };
    let offsets = OffsetBuffer::from_lengths(lines().map(Vec::len));
    let lines = ListArray::try_new(count_field, offsets, Arc::new(counts), None)?;
    let matrices = scores
        .iter()
        .map(|score| score.as_ref().map_or(0, |score| score.confusion.len()));
    let offsets = OffsetBuffer::from_lengths(matrices);
    let mut nulls = NullBufferBuilder::new(scores.len());
    scores.iter().for_each(|score| {
        nulls.append(score.as_ref().is_some_and(|score| !score.is_regression));
    });
    let nulls = nulls.finish();
    let lines = Arc::new(lines);
    Ok(Arc::new(ListArray::try_new(
        Arc::new(line_field()),
        offsets,
        lines,
        nulls,
    )?))
}

fn nulls(scores: &[Option<Score>]) -> NullBufferBuilder {
    let mut nulls = NullBufferBuilder::new(scores.len());
    scores
        .iter()
        .for_each(|score| nulls.append(score.is_some()));
    nulls
}
