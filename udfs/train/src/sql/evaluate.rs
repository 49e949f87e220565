//! `evaluate`: how well a model labels images it never saw.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_nn::Metric;
use atoll_onnx::{Provider, WantedTensors};
use atoll_udf_common::args::{bytes_at, string_at};
use atoll_udf_common::model::{self, model};
use atoll_udf_common::structs::check_keys;
use atoll_udf_common::{
    Argument, AtollOptions, Call, CallContext, ExpensiveFunction, Grain, PreparedCall,
    Usage, storage_root, usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use super::arguments::{
    COLUMN_OPTIONS, DATASET, DatasetArgument, SECTION, arrays, dataset,
};
use super::evaluation::{Evaluation, evaluation_array, evaluation_type};
use super::options::{EVALUATE_KEYS, EvaluateOptions, check_metric};
use crate::dataset::{DatasetSource, Split, Table, Wanted};
use crate::score::score;
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
         Returns a struct: `rows`, `accuracy`, `accuracy_low` and `accuracy_high` (95 % Wilson \
         interval), `loss` (mean cross-entropy; NULL when it is not finite), `confusion` (how \
         many rows of each class, a list, were given each class, a list in it), `score` (the \
         value of the option `metric`), `balanced_accuracy`, `macro` and `weighted` (structs \
         of `precision`, `recall` and `f1`, means over classes, each alike or each by its \
         rows), `classes` (a list with `class`, `precision`, `recall` and their 95 % Wilson \
         intervals, `f1`, `support`, which is its rows, and `roc_auc` against the rest), \
         `roc_auc` (of the second of two classes, or the mean over one class against the \
         rest), `top_k_accuracy` (a list: place k is the share of rows whose label is among \
         the k most probable classes, k up to 5; `top_k_low` and `top_k_high` are their 95 % \
         Wilson intervals), `log_loss`, `brier_score`, `calibration_error` (expected \
         calibration error over 10 bins) and `calibration` (those bins: `rows`, `confidence` \
         and `accuracy`). Where labels are numbers to predict, `loss` is the mean squared \
         error in their own units, `rmse`, `mae` and `r2` have a value, and the others but \
         `rows` and `score` are NULL. Where they are lists, a label is given where its probability is above 0.5, \
         `accuracy` is the share of rows of which every label is right, and what only classes \
         have that exclude each other is NULL. The scores are those of scikit-learn. Text labels are \
         matched with the names of the model's classes, integers with their indices. If the \
         dataset has a split column with 'test' rows, only those count, unless the options \
         say otherwise. Every row counts once: columns of groups and of weights are only \
         kept out of the features.",
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
             or 'test': the rows that count), `metric` (what `score` is: one of {}).",
            Metric::names().collect::<Vec<_>>().join(", ")
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
        Ok(evaluation_type())
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = EvaluateOptions::from_argument(call.args.get(2))?;
        let source = match DatasetArgument::new(&call.args[1]) {
            DatasetArgument::Literal(name) => {
                let columns = &options.columns;
                let source =
                    DatasetSource::open(call.session, "evaluate", &name, columns).await?;
                check_split(&source, options.split)?;
                check_metric(USAGE.name, &source, options.metric)?;
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
            let model_name = model.name().to_string();
            let score = score(model, dataset, table, context).await?;
            let metric = self.options.metric.map(|metric| {
                score.metric(metric).map_err(|labels| {
                    exec_datafusion_err!(
                        "evaluate: metric '{}' is not for the labels of {dataset} and model \
                         {model_name}, which are {labels}",
                        metric.name()
                    )
                })
            });
            scores.push(Some(Evaluation::new(score, metric.transpose()?)));
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
