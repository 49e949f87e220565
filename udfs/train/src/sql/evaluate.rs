//! `evaluate`: how well a model labels images it never saw.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_nn::Metric;
use atoll_onnx::Inference;
use atoll_udf_common::model::model;
use atoll_udf_common::structs::check_keys;
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, Grain, PreparedCall, Usage, usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use super::arguments::{COLUMN_OPTIONS, DATASET, SECTION, arrays, dataset};
use super::evaluation::{Evaluation, evaluation_array, evaluation_type};
use super::judged::Judged;
use super::options::{EVALUATE_KEYS, EvaluateOptions};
use crate::score::score;

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
        let judged = Judged::prepare(USAGE.name, call, options).await?;
        Ok(Arc::new(EvaluateCall(judged)))
    }

    async fn receive(
        &self,
        call: &Call<'_>,
        shipped: &[u8],
    ) -> Result<Arc<dyn PreparedCall>> {
        let options = EvaluateOptions::from_argument(call.args.get(2))?;
        let judged = Judged::receive(USAGE.name, call, options, shipped).await?;
        Ok(Arc::new(EvaluateCall(judged)))
    }

    fn grain(&self) -> Grain {
        Grain::Rows
    }
}

/// One call of `evaluate` in a statement.
#[derive(Debug)]
struct EvaluateCall(Judged);

#[async_trait]
impl PreparedCall for EvaluateCall {
    fn inference(&self) -> Option<Inference> {
        self.0.inference()
    }

    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let args = arrays(args)?;
        let mut scores = Vec::with_capacity(rows);
        // One model after the other: each one's images fill the compute pool.
        for row in 0..rows {
            let Some((model, dataset, table)) = self.0.row(&args, row, context).await?
            else {
                scores.push(None);
                continue;
            };
            let model_name = model.name().to_string();
            let score = score(USAGE.name, model, dataset, table, context).await?;
            let metric = self.0.options().metric.map(|metric| {
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
        self.0.ship().await
    }
}
