//! `try_predict`: as `predict`, with errors as values.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::{Inference, Output, WantedTensors};
use atoll_udf_common::model::model;
use atoll_udf_common::outcome::{Outcome, died, fields, result_array};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, SharedCall, Usage,
    usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Fields};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use crate::SECTION;
use crate::predict::{Predictor, fields_of, outputs_array};
use crate::{argument, input};

/// The field of the answer in what it returns.
const ANSWER: &str = "outputs";

const USAGE: Usage = Usage {
    name: "try_predict",
    syntax: "try_predict(model, x [, options])",
    arguments: &[
        Argument("model", model),
        Argument("x", input::x),
        Argument("options", usage::any),
    ],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns a struct with the `outputs` that `predict` returns, or NULL there and the \
         reason in `error_code` and `error`, with the words of `try_classify`, when the row \
         has no answer.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one.",
    )
    .with_argument("x", "One row, as `predict` takes it.")
    .with_argument("options", "A literal struct with the keys of `predict`.")
    .with_sql_example(
        "SELECT array_length(result['outputs']['logits']) AS n, result['error_code'] AS error_code\n\
         FROM (\n    \
             SELECT try_predict('sql/data/efficientnet-lite0.onnx', content) AS result\n    \
             FROM read_blob('sql/data/photos/coffee.png')\n\
         ) AS predictions;",
    )
    .with_related_udf("predict")
    .build()
});

/// The SQL function `try_predict(model, x [, options])`.
#[derive(Debug)]
pub struct TryPredict;

#[async_trait]
impl ExpensiveFunction for TryPredict {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        let outputs = DataType::Struct(fields_of(USAGE.name, args)?);
        Ok(DataType::Struct(fields(ANSWER, outputs)))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        argument::named(args, &WantedTensors::Outputs)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let outputs = match call.return_field.data_type() {
            DataType::Struct(fields) => fields.find(ANSWER),
            _ => None,
        };
        let Some((_, outputs)) = outputs else {
            return internal_err!("try_predict returns a struct");
        };
        let DataType::Struct(outputs) = outputs.data_type() else {
            return internal_err!("the outputs of try_predict are a struct");
        };
        let predictor = Predictor::prepare(USAGE.name, call, outputs.clone()).await?;
        Ok(Arc::new(PreparedTryPredict(predictor)))
    }
}

#[derive(Debug)]
struct PreparedTryPredict(Predictor);

#[async_trait]
impl PreparedCall for PreparedTryPredict {
    fn inference(&self) -> Option<Inference> {
        Some(self.0.model.inference())
    }

    async fn shared(&self) -> Result<Option<Arc<dyn SharedCall>>> {
        Ok(self.0.shared(false))
    }

    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = self.0.rows(args, context, Ok).await?;
        result(rows, &self.0.fields)
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        result(died(args.number_rows, reason), &self.0.fields)
    }
}

pub(crate) fn result(
    rows: Vec<Outcome<Vec<Output>>>,
    outputs: &Fields,
) -> Result<ArrayRef> {
    let fields = fields(ANSWER, DataType::Struct(outputs.clone()));
    result_array(rows, fields, |rows| {
        Ok(Arc::new(outputs_array(outputs, rows)))
    })
}
