//! `try_classify`: as `classify`, with errors as values.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::{Inference, WantedTensors};
use atoll_udf_common::model::model;
use atoll_udf_common::outcome::{Outcome, died, fields, result_array};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, SharedCall, Usage,
    usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use crate::SECTION;
use crate::argument;
use crate::classify::{Classifier, check, k, labels_array, labels_type};
use crate::pipeline::Scored;

/// The field of the answer in what it returns.
const ANSWER: &str = "labels";

const USAGE: Usage = Usage {
    name: "try_classify",
    syntax: "try_classify(model, image [, k [, options]])",
    arguments: &[
        Argument("model", model),
        Argument("image", crate::input::image_or_row),
        Argument("k", k),
        Argument("options", usage::any),
    ],
    optional: 2,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns a struct with the `labels` that `classify` returns, or NULL there and \
         the reason in `error_code` and `error` when the row has no answer: \
         NOT_AN_IMAGE, UNSUPPORTED_FORMAT, CORRUPT_IMAGE, DECODER_FAILED, TOO_LARGE, MODEL_NOT_FOUND, \
         MODEL_INVALID, MODEL_INPUT_MISMATCH, MODEL_RUNTIME or INVALID_ARGUMENT. A model \
         that is named by a literal and cannot be loaded is still an error, because no \
         row could have an answer.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one. It takes one \
         image.",
    )
    .with_argument("image", "Encoded bytes of an image, or an IMAGE struct.")
    .with_argument("k", "How many classes, at least 1. The default is 5.")
    .with_argument("options", "A literal struct with the keys of `classify`.")
    .with_sql_example(
        "SELECT result['labels'][1]['label'] AS label, result['error_code'] AS error_code\n\
         FROM (\n    \
             SELECT try_classify('sql/data/efficientnet-lite0.onnx', content) AS result\n    \
             FROM read_blob('sql/data/photos/coffee.png')\n\
         ) AS classes;",
    )
    .with_related_udf("classify")
    .build()
});

/// The SQL function `try_classify(model, image [, k [, options]])`.
#[derive(Debug)]
pub struct TryClassify;

#[async_trait]
impl ExpensiveFunction for TryClassify {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check(USAGE.name, args)?;
        Ok(DataType::Struct(fields(ANSWER, labels_type())))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        argument::named(args, &WantedTensors::Outputs)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let classifier = Classifier::prepare("try_classify", call).await?;
        Ok(Arc::new(PreparedTryClassify(classifier)))
    }
}

#[derive(Debug)]
struct PreparedTryClassify(Classifier);

#[async_trait]
impl PreparedCall for PreparedTryClassify {
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
        result(self.0.rows(args, context, Ok).await?)
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        result(died(args.number_rows, reason))
    }
}

pub(crate) fn result(rows: Vec<Outcome<Vec<Scored>>>) -> Result<ArrayRef> {
    result_array(rows, fields(ANSWER, labels_type()), |rows| {
        Ok(labels_array(rows))
    })
}
