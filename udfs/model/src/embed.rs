//! `embed`: what a network makes of an image.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::image::{ImageColumn, image};
use atoll_udf_common::model::{ModelFailure, model};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, Usage, map_rows, usage,
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
        let options = Options::at_plan_time(USAGE.name, args, 2, Accepts::Embedding)?;
        if let Some(options) = options {
            let model = args.scalar_arguments.first().copied().flatten();
            argument::literal(USAGE.name, model, &options, Purpose::Embed)?;
        }
        Ok(DataType::new_list(DataType::Float32, true))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        let options = Options::of_call(USAGE.name, args.get(2)).unwrap_or_default();
        argument::named(args, &options.wanted())
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = Options::of_call("embed", call.args.get(2))?;
        let model =
            ModelArgument::prepare("embed", call, options, Purpose::Embed).await?;
        Ok(Arc::new(PreparedEmbed { model }))
    }
}

#[derive(Debug)]
struct PreparedEmbed {
    model: ModelArgument,
}

#[async_trait]
impl PreparedCall for PreparedEmbed {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let models = self.model.models(&args.args[0], rows, context).await?;
        let images = ImageColumn::try_new("embed", &args.args[1].to_array(rows)?)?;
        let progress = context.progress.rows("embed");
        progress.add_total(rows as u64);
        let embeddings = map_rows(rows, context, move |row, _| {
            let embedding = (|| {
                let Some(pipeline) = models.get(row)? else {
                    return Ok(None);
                };
                let Some(image) = images.get(row) else {
                    return Ok(None);
                };
                pipeline.embed(&image).map(Some)
            })();
            progress.advance(1);
            embedding.map_err(|error: ModelFailure| error.in_a_row("embed"))
        })
        .await?;
        let mut lists = ListBuilder::new(Float32Builder::new());
        for embedding in embeddings {
            if let Some(embedding) = &embedding {
                lists.values().append_slice(embedding);
            }
            lists.append(embedding.is_some());
        }
        Ok(Arc::new(lists.finish()))
    }
}
