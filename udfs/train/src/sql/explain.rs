//! `explain`: which columns a model's answers depend on.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_nn::Metric;
use atoll_onnx::{Inference, LoadedModel};
use atoll_udf_common::model::model;
use atoll_udf_common::structs::check_keys;
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, Grain, PreparedCall, Usage, usage,
};
use datafusion::arrow::array::{
    ArrayRef, Float64Builder, ListArray, StringBuilder, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use super::arguments::{COLUMN_OPTIONS, DATASET, SECTION, arrays, dataset};
use super::judged::Judged;
use super::options::{EXPLAIN_KEYS, ExplainOptions};
use crate::dataset::Table;
use crate::score::{Score, score};

const USAGE: Usage = Usage {
    name: "explain",
    syntax: "explain(model, dataset [, options])",
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
        "Says how much the score of a model depends on each column of a dataset: by how much \
         it falls when the values of the column change places between the rows (permutation \
         importance; L. Breiman, Random forests, 2001, and scikit-learn's \
         `permutation_importance`). Returns a list of structs, the most important column \
         first: `column`, `importance` (the mean over the repeats, in units of the metric), \
         `low` and `high` (between which 95 % of the repeats lie) and `score` (of the data as \
         it is). A column that only repeats what others say has a low importance. The rows \
         that count are those of `evaluate`. Equal seeds give equal numbers.",
        USAGE.syntax,
    )
    .with_argument("model", "Path or URL of an ONNX file, or BINARY with its bytes.")
    .with_argument("dataset", DATASET)
    .with_argument(
        "options",
        format!(
            "Literal struct with any of {COLUMN_OPTIONS}; `split` ('train', 'validation' or \
             'test': the rows that count), `metric` (default `accuracy`, for numbers `r2`: \
             one of {}), `method` ('permutation'), `repeats` (default 10) and `seed` (default \
             0).",
            Metric::names().collect::<Vec<_>>().join(", ")
        ),
    )
    .with_sql_example(
        "SELECT reason['column'] AS column_name, reason['importance'] > 0 AS matters\n\
         FROM (\n\
         \x20   SELECT unnest(explain(trials.t.model, 'sql/data/passengers.csv', {\n\
         \x20       label: 'rescued', repeats: 3\n\
         \x20   })) AS reason\n\
         \x20   FROM (\n\
         \x20       SELECT train(\n\
         \x20           'sql/data/passengers.csv', {hidden: 16, epochs: 10}, {label: 'rescued'}\n\
         \x20       ) AS t\n\
         \x20   ) AS trials\n\
         ) AS reasons\n\
         LIMIT 1;",
    )
    .with_related_udf("evaluate")
    .build()
});

/// The SQL function `explain(model, dataset [, options])`.
#[derive(Debug)]
pub struct Explain;

#[async_trait]
impl ExpensiveFunction for Explain {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        if let Some(options) = args.arg_fields.get(2) {
            check_keys(USAGE.name, "option", options.data_type(), &EXPLAIN_KEYS)?;
        }
        Ok(DataType::new_list(DataType::Struct(REASON.clone()), true))
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = ExplainOptions::from_argument(call.args.get(2))?;
        let judged = Judged::prepare(USAGE.name, call, options.rows.clone()).await?;
        Ok(Arc::new(ExplainCall { judged, options }))
    }

    async fn receive(
        &self,
        call: &Call<'_>,
        shipped: &[u8],
    ) -> Result<Arc<dyn PreparedCall>> {
        let options = ExplainOptions::from_argument(call.args.get(2))?;
        let rows = options.rows.clone();
        let judged = Judged::receive(USAGE.name, call, rows, shipped).await?;
        Ok(Arc::new(ExplainCall { judged, options }))
    }

    fn grain(&self) -> Grain {
        Grain::Rows
    }
}

/// One call of `explain` in a statement.
#[derive(Debug)]
struct ExplainCall {
    judged: Judged,
    options: ExplainOptions,
}

/// How much one column matters.
#[derive(Debug)]
struct Reason {
    column: String,
    importance: f64,
    low: f64,
    high: f64,
    /// Of the data as it is.
    score: f64,
}

static REASON: LazyLock<Fields> = LazyLock::new(|| {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        Field::new("column", DataType::Utf8, true),
        number("importance"),
        number("low"),
        number("high"),
        number("score"),
    ])
});

#[async_trait]
impl PreparedCall for ExplainCall {
    fn inference(&self) -> Option<Inference> {
        self.judged.inference()
    }

    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let args = arrays(args)?;
        let mut all = Vec::with_capacity(rows);
        for row in 0..rows {
            let found = self.judged.row(&args, row, context).await?;
            all.push(match found {
                Some((model, dataset, table)) => {
                    Some(self.reasons(&model, dataset, &table, context).await?)
                }
                None => None,
            });
        }
        reasons_array(all)
    }

    async fn ship(&self, _context: &CallContext) -> Result<Vec<u8>> {
        self.judged.ship().await
    }
}

impl ExplainCall {
    async fn reasons(
        &self,
        model: &LoadedModel,
        dataset: &str,
        table: &Arc<Table>,
        context: &CallContext,
    ) -> Result<Vec<Reason>> {
        let columns = table.feature_names();
        if columns.is_empty() {
            return exec_err!(
                "explain: {dataset} has images, and only columns change places between rows"
            );
        }
        let base = self
            .score(model, dataset, Arc::clone(table), context)
            .await?;
        let mut reasons = Vec::with_capacity(columns.len());
        let in_order: Vec<u32> = (0..).take(table.len()).collect();
        // One copy, of which a column at a time is changed and put right again: whoever scored
        // it has let go of it by then.
        let mut permuted = Arc::new(Table::clone(table));
        for (place, column) in columns.into_iter().enumerate() {
            let mut falls = Vec::with_capacity(self.options.repeats);
            for repeat in 0..self.options.repeats {
                let purpose = format!("explain {column} {repeat}");
                let order =
                    atoll_nn::permutation(table.len(), self.options.seed, &purpose)
                        .ok_or_else(|| exec_datafusion_err!("explain: too many rows"))?;
                Arc::make_mut(&mut permuted).take_feature(place, table, &order);
                let rows = Arc::clone(&permuted);
                falls.push(base - self.score(model, dataset, rows, context).await?);
            }
            Arc::make_mut(&mut permuted).take_feature(place, table, &in_order);
            falls.sort_unstable_by(f64::total_cmp);
            reasons.push(Reason {
                column,
                importance: falls.iter().sum::<f64>() / falls.len() as f64,
                low: quantile(&falls, 0.025),
                high: quantile(&falls, 0.975),
                score: base,
            });
        }
        reasons.sort_by(|a, b| b.importance.total_cmp(&a.importance));
        Ok(reasons)
    }

    async fn score(
        &self,
        model: &LoadedModel,
        dataset: &str,
        table: Arc<Table>,
        context: &CallContext,
    ) -> Result<f64> {
        let found = score(USAGE.name, model.clone(), dataset, table, context).await?;
        let metric = self.options.rows.metric.or_else(|| usual_metric(&found));
        let value = metric.map(|metric| found.metric(metric));
        match value {
            Some(Ok(value)) => Ok(value),
            Some(Err(labels)) => exec_err!(
                "explain: the metric is not for the labels of {dataset}, which are {labels}"
            ),
            None => exec_err!("explain: name a metric for the labels of {dataset}"),
        }
    }
}

/// What scikit-learn's estimators score by.
fn usual_metric(score: &Score) -> Option<Metric> {
    Metric::named(if score.is_regression {
        "r2"
    } else {
        "accuracy"
    })
}

/// A quantile of sorted numbers, as `numpy.quantile` interpolates it.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

fn reasons_array(rows: Vec<Option<Vec<Reason>>>) -> Result<ArrayRef> {
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let mut columns = StringBuilder::new();
    let mut numbers = [(); 4].map(|()| Float64Builder::new());
    for reason in rows.into_iter().flatten().flatten() {
        columns.append_value(reason.column);
        let values = [reason.importance, reason.low, reason.high, reason.score];
        for (builder, value) in numbers.iter_mut().zip(values) {
            builder.append_option((!value.is_nan()).then_some(value));
        }
    }
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(columns.finish())];
    for mut builder in numbers {
        arrays.push(Arc::new(builder.finish()));
    }
    let reasons = StructArray::try_new(REASON.clone(), arrays, None)?;
    let item = Arc::new(Field::new_list_field(
        DataType::Struct(REASON.clone()),
        true,
    ));
    Ok(Arc::new(ListArray::try_new(
        item,
        offsets,
        Arc::new(reasons),
        Some(nulls),
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // >>> numpy.quantile([1.0, 2.0, 4.0], [0.025, 0.5, 0.975])
    #[test]
    fn quantiles_are_those_of_numpy() {
        let of = |share| quantile(&[1.0, 2.0, 4.0], share);
        assert!((of(0.025) - 1.05).abs() < 1e-12);
        assert_eq!(of(0.5), 2.0);
        assert!((of(0.975) - 3.9).abs() < 1e-12);
        assert_eq!(quantile(&[3.0], 0.975), 3.0);
    }
}
