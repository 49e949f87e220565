//! `model_info`: what a model file says about itself.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::{Inference, LoadedModel, Port, WantedTensors};
use atoll_udf_common::model::{ModelFailure, model};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, Usage, map_rows, usage,
};
use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    StringBuilder, StructArray, StructBuilder, UInt64Builder,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use sha2::{Digest, Sha256};

use crate::SECTION;
use crate::argument::{self, ModelArgument};
use crate::options::{Accepts, Options};
use crate::pipeline::{Pipeline, Purpose};

const USAGE: Usage = Usage {
    name: "model_info",
    syntax: "model_info(model [, options])",
    arguments: &[Argument("model", model), Argument("options", usage::any)],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns what a model file says about itself, as a struct: `sha256` and `size` in \
         bytes, of weights in other files too, `producer`, `opset`; `inputs` and `outputs`, each a list of structs \
         `name`, `type` and `shape` (NULL in the shape is a dimension that the caller \
         chooses, most often the mini-batch; NULL instead of a shape is any number of \
         them); `tensors`, what operators inside the graph make, in the same form, any of which \
         `embed` can give; `features`, which of them `embed` means by that; `labels`, a line each in the metadata's `labels` or as Python writes a \
         dictionary or a list in `names`; `preprocess`, one line that says \
         how an image becomes the input; `metadata`, everything else that the exporter \
         wrote; `preprocess_sha256`, of that line; and `engine`, the program, the release \
         of the inference engine (`SET atoll.inference`), the execution provider (`SET \
         atoll.execution_provider`), and of OpenVINO the precision that it computes in \
         (`SET atoll.precision`). An answer is the same while `sha256`, \
         `preprocess_sha256` and the image's own hash are, up to rounding by another \
         `engine`.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one.",
    )
    .with_argument(
        "options",
        "A literal struct with the preprocessing keys of `classify`, which the line and \
         its hash then follow.",
    )
    .with_sql_example(
        "SELECT info['inputs'][1]['shape'] AS shape, array_length(info['labels']) AS labels\n\
         FROM (SELECT model_info('sql/data/efficientnet-lite0.onnx') AS info) AS infos;",
    )
    .with_related_udf("predict")
    .build()
});

/// The SQL function `model_info(model [, options])`.
#[derive(Debug)]
pub struct ModelInfo;

#[async_trait]
impl ExpensiveFunction for ModelInfo {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        let model = args.scalar_arguments.first().copied().flatten();
        let options = Options::at_plan_time(USAGE.name, args, 1, Accepts::Preprocessing)?;
        if let Some(options) = options {
            argument::literal(USAGE.name, model, &options, Purpose::Describe)?;
        }
        Ok(DataType::Struct(fields()?))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        argument::named(args, &WantedTensors::Outputs)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = Options::of_call("model_info", call.args.get(1))?;
        let model =
            ModelArgument::prepare("model_info", call, options, Purpose::Describe);
        Ok(Arc::new(PreparedModelInfo {
            model: model.await?,
        }))
    }
}

#[derive(Debug)]
struct PreparedModelInfo {
    model: ModelArgument,
}

#[async_trait]
impl PreparedCall for PreparedModelInfo {
    fn inference(&self) -> Option<Inference> {
        Some(self.model.inference())
    }

    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let models = self.model.models(&args.args[0], rows, context).await?;
        let models = map_rows(rows, context, move |row, _| {
            let pipeline = models
                .get(row)
                .map_err(|error: ModelFailure| error.in_a_row("model_info"))?;
            Ok(pipeline)
        })
        .await?;
        Ok(Arc::new(infos_array(&models)?))
    }
}

fn port_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("type", DataType::Utf8, true),
        Field::new("shape", DataType::new_list(DataType::Int64, true), true),
    ])
}

/// The columns know their types, those of an empty batch included.
fn fields() -> Result<Fields> {
    let names = [
        "sha256",
        "size",
        "producer",
        "opset",
        "inputs",
        "outputs",
        "labels",
        "preprocess",
        "metadata",
        "preprocess_sha256",
        "engine",
        "tensors",
        "features",
    ];
    let columns = infos_columns(&[])?;
    Ok(names
        .iter()
        .zip(columns)
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect())
}

fn infos_array(models: &[Option<Arc<Pipeline>>]) -> Result<StructArray> {
    let nulls: NullBuffer = models.iter().map(Option::is_some).collect();
    Ok(StructArray::new(
        fields()?,
        infos_columns(models)?,
        Some(nulls),
    ))
}

fn infos_columns(pipelines: &[Option<Arc<Pipeline>>]) -> Result<Vec<ArrayRef>> {
    let mut sha256 = StringBuilder::new();
    let mut size = UInt64Builder::new();
    let mut producer = StringBuilder::new();
    let mut opset = Int32Builder::new();
    let mut labels = ListBuilder::new(StringBuilder::new());
    let mut preprocess = StringBuilder::new();
    let mut metadata = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    let (mut digest, mut engine) = (StringBuilder::new(), StringBuilder::new());
    let mut features = StringBuilder::new();
    let models: Vec<Option<&LoadedModel>> = pipelines
        .iter()
        .map(|pipeline| Some(&pipeline.as_ref()?.model))
        .collect();
    for (pipeline, model) in pipelines.iter().zip(&models) {
        let model = *model;
        sha256.append_option(model.map(LoadedModel::sha256));
        size.append_option(model.map(|model| model.size() as u64));
        producer.append_option(model.and_then(LoadedModel::producer));
        let version = model.and_then(LoadedModel::opset);
        opset.append_option(version.and_then(|version| i32::try_from(version).ok()));
        for label in model.map(LoadedModel::labels).unwrap_or_default() {
            labels.values().append_value(label);
        }
        labels.append(model.is_some());
        let text = pipeline
            .as_ref()
            .and_then(|pipeline| preprocess_text(pipeline));
        digest.append_option(text.as_ref().map(|text| hex::encode(Sha256::digest(text))));
        preprocess.append_option(text);
        // Whatever loaded the model is there to say what it is.
        engine.append_option(model.and_then(|model| model.inference().describe().ok()));
        let inner = model.and_then(LoadedModel::features);
        features.append_option(inner.map(|inner| &inner.tensor));
        // Labels have a column of their own, and would drown the rest here.
        let entries = model.map(LoadedModel::metadata).into_iter().flatten();
        let is_labels = |key: &str| model.is_some_and(|model| model.is_labels(key));
        for (key, value) in entries.filter(|(key, _)| !is_labels(key)) {
            metadata.keys().append_value(key);
            metadata.values().append_value(value);
        }
        metadata.append(model.is_some())?;
    }
    let inputs = ports(
        models
            .iter()
            .map(|model| Some(&*model.as_ref()?.signature().inputs)),
    );
    let outputs = ports(
        models
            .iter()
            .map(|model| Some(&*model.as_ref()?.signature().outputs)),
    );
    let tensors = ports(models.iter().map(|model| Some(model.as_ref()?.tensors())));
    Ok(vec![
        Arc::new(sha256.finish()),
        Arc::new(size.finish()),
        Arc::new(producer.finish()),
        Arc::new(opset.finish()),
        inputs,
        outputs,
        Arc::new(labels.finish()),
        Arc::new(preprocess.finish()),
        Arc::new(metadata.finish()),
        Arc::new(digest.finish()),
        Arc::new(engine.finish()),
        tensors,
        Arc::new(features.finish()),
    ])
}

/// How an image becomes the input. Settings that cannot be used are shown as the error
/// that using them would give.
fn preprocess_text(pipeline: &Pipeline) -> Option<String> {
    match pipeline.describe_preprocess() {
        Ok(preprocess) => preprocess.map(|preprocess| preprocess.to_string()),
        Err(error) => Some(error.message),
    }
}

fn ports<'a>(rows: impl Iterator<Item = Option<&'a [Port]>>) -> ArrayRef {
    let shape = ListBuilder::new(Int64Builder::new());
    let columns: Vec<Box<dyn ArrayBuilder>> = vec![
        Box::new(StringBuilder::new()),
        Box::new(StringBuilder::new()),
        Box::new(shape),
    ];
    let mut lists = ListBuilder::new(StructBuilder::new(port_fields(), columns));
    for row in rows {
        for port in row.unwrap_or_default() {
            append_port(lists.values(), port);
        }
        lists.append(row.is_some());
    }
    Arc::new(lists.finish())
}

fn append_port(structs: &mut StructBuilder, port: &Port) {
    if let Some(name) = structs.field_builder::<StringBuilder>(0) {
        name.append_value(&port.name);
    }
    if let Some(element) = structs.field_builder::<StringBuilder>(1) {
        let kind = port.instead.clone();
        element.append_value(kind.unwrap_or_else(|| port.element.to_string()));
    }
    if let Some(shape) = structs.field_builder::<ListBuilder<Int64Builder>>(2) {
        for dim in port.shape.iter().flatten() {
            shape
                .values()
                .append_option(dim.and_then(|dim| i64::try_from(dim).ok()));
        }
        shape.append(port.shape.is_some());
    }
    structs.append(true);
}
