//! `model_info`: what a model file says about itself.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::{LoadedModel, Port};
use atoll_udf_common::{
    Call, CallContext, ExpensiveFunction, PreparedCall, map_rows, not_here,
};
use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    StringBuilder, StructArray, StructBuilder, UInt64Builder,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SECTION;
use crate::argument::{self, ModelArgument};
use crate::failure::Failure;
use crate::options::Options;
use crate::pipeline::Purpose;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns what a model file says about itself, as a struct: `sha256`, `size` in \
         bytes, `producer`, `opset`; `inputs` and `outputs`, each a list of structs \
         `name`, `type` and `shape` (NULL in the shape is a dimension that the caller \
         chooses, most often the mini-batch); `labels`; `preprocess`, one line that says \
         how an image becomes the input; and `metadata`, everything else that the \
         exporter wrote.",
        "model_info(model)",
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one.",
    )
    .with_sql_example(
        "SELECT info['inputs'][1]['shape'] AS shape, array_length(info['labels']) AS labels\n\
         FROM (SELECT model_info('sql/data/efficientnet-lite0.onnx') AS info) AS infos;",
    )
    .with_related_udf("predict")
    .build()
});

/// The SQL function `model_info(model)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ModelInfo {
    signature: Signature,
}

impl Default for ModelInfo {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for ModelInfo {
    fn name(&self) -> &str {
        "model_info"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [model] = arg_types else {
            return plan_err!("model_info takes (model)");
        };
        argument::check_type(self.name(), model)?;
        Ok(vec![model.clone()])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()?))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let model = args.scalar_arguments.first().copied().flatten();
        argument::literal(self.name(), model, &Options::default(), Purpose::Describe)?;
        Ok(Arc::new(Field::new(
            self.name(),
            DataType::Struct(fields()?),
            true,
        )))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_here(self.name())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

#[async_trait]
impl ExpensiveFunction for ModelInfo {
    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let model = ModelArgument::prepare(
            "model_info",
            call,
            Options::default(),
            Purpose::Describe,
        );
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
                .map_err(|error: Failure| error.in_a_row("model_info"))?;
            Ok(pipeline.map(|pipeline| pipeline.model.clone()))
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
    ];
    let columns = infos_columns(&[])?;
    Ok(names
        .iter()
        .zip(columns)
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect())
}

fn infos_array(models: &[Option<LoadedModel>]) -> Result<StructArray> {
    let nulls: NullBuffer = models.iter().map(Option::is_some).collect();
    Ok(StructArray::new(
        fields()?,
        infos_columns(models)?,
        Some(nulls),
    ))
}

fn infos_columns(models: &[Option<LoadedModel>]) -> Result<Vec<ArrayRef>> {
    let mut sha256 = StringBuilder::new();
    let mut size = UInt64Builder::new();
    let mut producer = StringBuilder::new();
    let mut opset = Int32Builder::new();
    let mut labels = ListBuilder::new(StringBuilder::new());
    let mut preprocess = StringBuilder::new();
    let mut metadata = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for model in models {
        let model = model.as_ref();
        sha256.append_option(model.map(LoadedModel::sha256));
        size.append_option(model.map(|model| model.size() as u64));
        producer.append_option(model.and_then(LoadedModel::producer));
        let version = model.and_then(LoadedModel::opset);
        opset.append_option(version.and_then(|version| i32::try_from(version).ok()));
        for label in model.map(LoadedModel::labels).unwrap_or_default() {
            labels.values().append_value(label);
        }
        labels.append(model.is_some());
        preprocess.append_option(model.and_then(preprocess_text));
        // Labels have a column of their own, and would drown the rest here.
        let entries = model.map(LoadedModel::metadata).into_iter().flatten();
        for (key, value) in entries.filter(|(key, _)| *key != "labels") {
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
    ])
}

/// How an image becomes the input. Settings that cannot be used are shown as the error
/// that using them would give.
fn preprocess_text(model: &LoadedModel) -> Option<String> {
    match model.preprocess() {
        Ok(preprocess) => preprocess.map(|preprocess| preprocess.to_string()),
        Err(error) => Some(error.to_string()),
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
        element.append_value(port.element.to_string());
    }
    if let Some(shape) = structs.field_builder::<ListBuilder<Int64Builder>>(2) {
        for dim in &port.shape {
            shape
                .values()
                .append_option(dim.and_then(|dim| i64::try_from(dim).ok()));
        }
        shape.append(true);
    }
    structs.append(true);
}
