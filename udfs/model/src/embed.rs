//! `embed`: what a network makes of an image.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::Inference;
use atoll_udf_common::image::{ImageColumn, image};
use atoll_udf_common::model::model;
use atoll_udf_common::outcome::{Outcome, outcome};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, SharedCall, Usage,
    map_rows, usage,
};
use datafusion::arrow::array::{ArrayRef, Float32Builder, ListBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use crate::SECTION;
use crate::argument::{self, ModelArgument};
use crate::options::{Accepts, Options};
use crate::pipeline::Purpose;
use crate::together::{Asked, Reading};

const USAGE: Usage = Usage {
    name: "embed",
    syntax: "embed(model, image [, options])",
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
        "Returns what a model makes of an image: its first output of floating point \
         numbers, or the tensor named by the option `output`, flattened in row-major order. \
         That is another output, any tensor inside the graph (`model_info` lists them), or \
         `features`: what enters the last dense layer, averaged over the places of the image \
         where that layer is a convolution. `normalize: true` divides the numbers by the \
         root of the sum of their squares, so that the dot product of two embeddings is \
         their cosine. Preprocessing comes from the model's metadata, or from the options. \
         `arrow_cast(.., 'FixedSizeList(1280, Float32)')` makes a list of a fixed size of the \
         result, for tools that search among vectors.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one. It takes one \
         image.",
    )
    .with_argument("image", "Encoded bytes of an image, or an IMAGE struct.")
    .with_argument(
        "options",
        "A literal struct: `output`, `normalize`, and the preprocessing keys of `classify`.",
    )
    .with_sql_example(
        "SELECT array_length(embed('sql/data/efficientnet-lite0.onnx', content,\n\
         \x20   {output: 'features', normalize: true})) AS n\n\
         FROM read_blob('sql/data/photos/coffee.png');",
    )
    .with_related_udf("try_embed")
    .with_related_udf("predict")
    .build()
});

/// The SQL function `embed(model, image [, options])`.
#[derive(Debug)]
pub struct Embed;

#[async_trait]
impl ExpensiveFunction for Embed {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check(USAGE.name, args)?;
        Ok(embeddings_type())
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        models(USAGE.name, args)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(PreparedEmbed(
            Embedder::prepare(USAGE.name, call).await?,
        )))
    }
}

#[derive(Debug)]
struct PreparedEmbed(Embedder);

#[async_trait]
impl PreparedCall for PreparedEmbed {
    fn inference(&self) -> Option<Inference> {
        Some(self.0.model.inference())
    }

    async fn shared(&self) -> Result<Option<Arc<dyn SharedCall>>> {
        let reading = Reading::Numbers { is_strict: true };
        Ok(Asked::of(USAGE.name, &self.0.model, reading))
    }

    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let strict = |outcome: Outcome<Vec<f32>>| {
            let outcome = outcome.transpose();
            outcome.map_err(|error| error.in_a_row(USAGE.name))
        };
        Ok(embeddings_array(&self.0.rows(args, context, strict).await?))
    }
}

/// The model that a call names, with the SHA-256 of its file.
pub(crate) fn models(function: &'static str, args: &[Expr]) -> Vec<(String, String)> {
    let options = Options::of_call(function, args.get(2)).unwrap_or_default();
    argument::named(args, &options.wanted())
}

/// What `embed` and `try_embed` share.
#[derive(Debug)]
pub(crate) struct Embedder {
    function: &'static str,
    pub(crate) model: ModelArgument,
}

impl Embedder {
    pub(crate) async fn prepare(function: &'static str, call: &Call<'_>) -> Result<Self> {
        let options = Options::of_call(function, call.args.get(2))?;
        let model =
            ModelArgument::prepare(function, call, options, Purpose::Embed).await?;
        Ok(Self { function, model })
    }

    /// Embeds a record batch; `finish` says what an outcome becomes.
    pub(crate) async fn rows<T: Send + 'static>(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
        finish: impl Fn(Outcome<Vec<f32>>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let rows = args.number_rows;
        let models = self.model.models(&args.args[0], rows, context).await?;
        let images = ImageColumn::try_new(self.function, &args.args[1].to_array(rows)?)?;
        let progress = context.progress.rows(self.function);
        progress.add_total(rows as u64);
        map_rows(rows, context, move |row, _| {
            let outcome = outcome(|| {
                let Some(pipeline) = models.get(row)? else {
                    return Ok(None);
                };
                let Some(image) = images.get(row) else {
                    return Ok(None);
                };
                pipeline.embed(&image).map(Some)
            });
            progress.advance(1);
            finish(outcome)
        })
        .await
    }
}

/// Checks what is known before the first row: keys, and a literal model.
pub(crate) fn check(function: &'static str, args: &ReturnFieldArgs<'_>) -> Result<()> {
    let options = Options::at_plan_time(function, args, 2, Accepts::Embedding)?;
    if let Some(options) = options {
        let model = args.scalar_arguments.first().copied().flatten();
        argument::literal(function, model, &options, Purpose::Embed)?;
    }
    Ok(())
}

/// `LIST<FLOAT>`.
pub(crate) fn embeddings_type() -> DataType {
    DataType::new_list(DataType::Float32, true)
}

/// The numbers of each row; NULL where there are none.
pub(crate) fn embeddings_array(embeddings: &[Option<Vec<f32>>]) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    for embedding in embeddings {
        if let Some(embedding) = embedding {
            lists.values().append_slice(embedding);
        }
        lists.append(embedding.is_some());
    }
    Arc::new(lists.finish())
}
