//! `try_embed`: as `embed`, with errors as values.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::Inference;
use atoll_udf_common::image::image;
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
use crate::embed::{Embedder, check, embeddings_array, embeddings_type, models};
use crate::together::{Asked, Reading};

/// The field of the answer in what it returns.
const ANSWER: &str = "embedding";

const USAGE: Usage = Usage {
    name: "try_embed",
    syntax: "try_embed(model, image [, options])",
    arguments: &[
        Argument("model", model),
        Argument("image", image),
        Argument("options", usage::any),
    ],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns a struct with the `embedding` that `embed` returns, or NULL there and the \
         reason in `error_code` and `error`, with the words of `try_classify`, when the row \
         has no answer.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one. It takes one \
         image.",
    )
    .with_argument("image", "Encoded bytes of an image, or an IMAGE struct.")
    .with_argument("options", "A literal struct with the keys of `embed`.")
    .with_sql_example(
        "SELECT array_length(result['embedding']) AS n, result['error_code'] AS error_code\n\
         FROM (\n    \
             SELECT try_embed('sql/data/efficientnet-lite0.onnx', content) AS result\n    \
             FROM read_blob('sql/data/photos/coffee.png')\n\
         ) AS embeddings;",
    )
    .with_related_udf("embed")
    .build()
});

/// The SQL function `try_embed(model, image [, options])`.
#[derive(Debug)]
pub struct TryEmbed;

#[async_trait]
impl ExpensiveFunction for TryEmbed {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check(USAGE.name, args)?;
        Ok(DataType::Struct(fields(ANSWER, embeddings_type())))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        models(USAGE.name, args)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let embedder = Embedder::prepare(USAGE.name, call).await?;
        Ok(Arc::new(PreparedTryEmbed(embedder)))
    }
}

#[derive(Debug)]
struct PreparedTryEmbed(Embedder);

#[async_trait]
impl PreparedCall for PreparedTryEmbed {
    fn inference(&self) -> Option<Inference> {
        Some(self.0.model.inference())
    }

    async fn shared(&self) -> Result<Option<Arc<dyn SharedCall>>> {
        let reading = Reading::Numbers { is_strict: false };
        Ok(Asked::of(USAGE.name, &self.0.model, reading))
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

pub(crate) fn result(rows: Vec<Outcome<Vec<f32>>>) -> Result<ArrayRef> {
    result_array(rows, fields(ANSWER, embeddings_type()), |rows| {
        Ok(embeddings_array(&rows))
    })
}
