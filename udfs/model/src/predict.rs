//! `predict`: all outputs of a model.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_compute::warnings::Warnings;
use atoll_onnx::{Data, ElementType, Inference, LoadedModel, Output, WantedTensors};
use atoll_udf_common::model::{ModelFailure, model};
use atoll_udf_common::outcome::{Outcome, outcome};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, SharedCall, Usage,
    map_rows, usage,
};
use datafusion::arrow::array::{
    ArrayRef, Float32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    StructArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use crate::SECTION;
use crate::argument::{self, ModelArgument};
use crate::input::{self, Inputs};
use crate::options::{Accepts, Options};
use crate::pipeline::Purpose;
use crate::together::{Asked, Reading};

const USAGE: Usage = Usage {
    name: "predict",
    syntax: "predict(model, x [, options])",
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
        "Runs a row through a model and returns a struct of its outputs by name, each a \
         list of FLOAT, DOUBLE, BIGINT (whole numbers and booleans) or VARCHAR, flattened in \
         row-major order. Outputs of other types, such as the sequence of maps that a \
         ZipMap makes, are left out. A model that is not a literal is known only row by row: then \
         the struct has one field `logits`, a list of FLOAT with the model's first \
         output.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one. Weights in \
         other files are read beside it.",
    )
    .with_argument(
        "x",
        "One row: a list of as many numbers as the model's input has, without the \
         mini-batch; or an image (encoded bytes or IMAGE struct), preprocessed as the \
         model's metadata says, NCHW or NHWC, which also say how high and wide it is where \
         the model takes any size; or a struct with a number, a text or a list for every input by name, and for \
         a model that was trained on a table with the columns as they are: dates and times, \
         and NULL, which it knows. An \
         input without a shape gets a list as a mini-batch of one row.",
    )
    .with_argument(
        "options",
        "A literal struct with the preprocessing keys of `classify`, for images.",
    )
    .with_sql_example(
        "SELECT array_length(outputs['logits']) AS classes\n\
         FROM (\n    \
             SELECT predict('sql/data/efficientnet-lite0.onnx', content) AS outputs\n    \
             FROM read_blob('sql/data/photos/coffee.png')\n\
         ) AS predictions;",
    )
    .with_related_udf("classify")
    .with_related_udf("model_info")
    .build()
});

/// The SQL function `predict(model, x [, options])`.
#[derive(Debug)]
pub struct Predict;

#[async_trait]
impl ExpensiveFunction for Predict {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Struct(fields_of(USAGE.name, args)?))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        argument::named(args, &WantedTensors::Outputs)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let DataType::Struct(fields) = call.return_field.data_type() else {
            return internal_err!("predict returns a struct");
        };
        let predictor = Predictor::prepare(USAGE.name, call, fields.clone()).await?;
        Ok(Arc::new(PreparedPredict(predictor)))
    }
}

/// The outputs of a call, from its arguments; what is known before the first row is checked.
pub(crate) fn fields_of(
    function: &'static str,
    args: &ReturnFieldArgs<'_>,
) -> Result<Fields> {
    let options = Options::at_plan_time(function, args, 2, Accepts::Preprocessing)?;
    let scalar = |idx: usize| args.scalar_arguments.get(idx).copied().flatten();
    // Options that are not folded yet do not change the type.
    let unfolded = options.is_none();
    let options = options.unwrap_or_default();
    let pipeline = argument::literal(function, scalar(0), &options, Purpose::Predict)?;
    let fields = match &pipeline {
        Some(pipeline) => output_fields(&pipeline.model),
        None => unknown_fields(),
    };
    if let (Some(pipeline), Some(x), false) =
        (&pipeline, args.arg_fields.get(1), unfolded)
    {
        input::check(pipeline, x.data_type(), scalar(1))
            .map_err(|error| error.at_plan_time(function))?;
    }
    Ok(fields)
}

#[derive(Debug)]
struct PreparedPredict(Predictor);

#[async_trait]
impl PreparedCall for PreparedPredict {
    fn inference(&self) -> Option<Inference> {
        Some(self.0.model.inference())
    }

    async fn shared(&self) -> Result<Option<Arc<dyn SharedCall>>> {
        Ok(self.0.shared(true))
    }

    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let strict = |outcome: Outcome<Vec<Output>>| {
            let outcome = outcome.transpose();
            outcome.map_err(|error| error.in_a_row(USAGE.name))
        };
        let outputs = self.0.rows(args, context, strict).await?;
        Ok(Arc::new(outputs_array(&self.0.fields, outputs)))
    }
}

/// What `predict` and `try_predict` share.
#[derive(Debug)]
pub(crate) struct Predictor {
    function: &'static str,
    pub(crate) model: ModelArgument,
    pub(crate) fields: Fields,
    takes_images: bool,
}

impl Predictor {
    pub(crate) async fn prepare(
        function: &'static str,
        call: &Call<'_>,
        fields: Fields,
    ) -> Result<Self> {
        let options = Options::of_call(function, call.args.get(2))?;
        let model =
            ModelArgument::prepare(function, call, options, Purpose::Predict).await?;
        let x = call.arg_fields.get(1);
        if let (ModelArgument::Literal(pipeline), Some(x)) = (&model, x) {
            let literal = argument::literal_value(call.args.get(1));
            input::check(pipeline, x.data_type(), literal)
                .map_err(|error| error.at_plan_time(function))?;
        }
        Ok(Self {
            function,
            model,
            fields,
            takes_images: x.is_some_and(|x| input::is_image(x.data_type())),
        })
    }

    pub(crate) fn shared(&self, is_strict: bool) -> Option<Arc<dyn SharedCall>> {
        let fields = self.fields.clone();
        let reading = Reading::Outputs { is_strict, fields };
        let asked = || Asked::of(self.function, &self.model, reading);
        self.takes_images.then(asked).flatten()
    }

    /// Runs a record batch; `finish` says what an outcome becomes.
    pub(crate) async fn rows<T: Send + 'static>(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
        finish: impl Fn(Outcome<Vec<Output>>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let rows = args.number_rows;
        let models = self.model.models(&args.args[0], rows, context).await?;
        let inputs = Inputs::try_new(self.function, &args.args[1], rows)?;
        let first_only = matches!(self.model, ModelArgument::Column { .. });
        let progress = context.progress.rows(self.function);
        progress.add_total(rows as u64);
        let warnings = context.warnings.clone();
        map_rows(rows, context, move |row, _| {
            let outputs = outcome(|| {
                let Some(pipeline) = models.get(row)? else {
                    return Ok(None);
                };
                let Some(input) = inputs.get(&pipeline.model, row)? else {
                    return Ok(None);
                };
                let outputs = pipeline.run(input)?;
                if first_only {
                    first(&pipeline.model, outputs, &warnings)
                } else {
                    Ok(Some(outputs))
                }
            });
            progress.advance(1);
            finish(outputs)
        })
        .await
    }
}

/// The first output as FLOAT, whatever numbers the model gives.
fn first(
    model: &LoadedModel,
    outputs: Vec<Output>,
    warnings: &Warnings,
) -> Result<Option<Vec<Output>>, ModelFailure> {
    let first = outputs.into_iter().next();
    if let Some(Data::Doubles(_)) = first.as_ref().map(|output| &output.data) {
        warnings.add(format!(
            "predict: model {} gives DOUBLE, which is rounded to FLOAT; name the model by \
             a literal to get its outputs as they are",
            model.name()
        ));
    }
    let floats = first.and_then(|output| {
        Some(Output {
            shape: output.shape,
            data: Data::Floats(output.data.into_floats()?),
        })
    });
    match floats {
        Some(output) => Ok(Some(vec![output])),
        None => Err(ModelFailure::argument(format!(
            "the first output of model {} is text; name the model by a literal to get \
             all its outputs",
            model.name()
        ))),
    }
}

fn unknown_fields() -> Fields {
    let logits = DataType::new_list(DataType::Float32, true);
    Fields::from(vec![Field::new("logits", logits, true)])
}

fn output_fields(model: &LoadedModel) -> Fields {
    model
        .outputs()
        .map(|port| {
            let element = match port.element {
                ElementType::Float64 => DataType::Float64,
                element if element.is_float() => DataType::Float32,
                ElementType::String => DataType::Utf8,
                _ => DataType::Int64,
            };
            Field::new(&port.name, DataType::new_list(element, true), true)
        })
        .collect()
}

/// One struct a row, one list an output; NULL where there are no outputs.
pub(crate) fn outputs_array(
    fields: &Fields,
    rows: Vec<Option<Vec<Output>>>,
) -> StructArray {
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let mut columns: Vec<Vec<Option<Data>>> = fields
        .iter()
        .map(|_| Vec::with_capacity(rows.len()))
        .collect();
    for row in rows {
        let mut outputs = row.into_iter().flatten();
        for column in &mut columns {
            column.push(outputs.next().map(|output| output.data));
        }
    }
    let columns = fields
        .iter()
        .zip(columns)
        .map(|(field, column)| lists(field, column));
    StructArray::new(fields.clone(), columns.collect(), Some(nulls))
}

fn lists(field: &Field, rows: Vec<Option<Data>>) -> ArrayRef {
    let element = match field.data_type() {
        DataType::List(element) => element.data_type().clone(),
        _ => DataType::Float32,
    };
    match element {
        DataType::Int64 => {
            let mut lists = ListBuilder::new(Int64Builder::new());
            for row in rows {
                if let Some(Data::Integers(values)) = &row {
                    lists.values().append_slice(values);
                }
                lists.append(row.is_some());
            }
            Arc::new(lists.finish())
        }
        DataType::Float64 => {
            let mut lists = ListBuilder::new(Float64Builder::new());
            for row in rows {
                if let Some(Data::Doubles(values)) = &row {
                    lists.values().append_slice(values);
                }
                lists.append(row.is_some());
            }
            Arc::new(lists.finish())
        }
        DataType::Utf8 => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in rows {
                if let Some(Data::Strings(values)) = &row {
                    values
                        .iter()
                        .for_each(|value| lists.values().append_value(value));
                }
                lists.append(row.is_some());
            }
            Arc::new(lists.finish())
        }
        _ => {
            let mut lists = ListBuilder::new(Float32Builder::new());
            for row in rows {
                let values = row.and_then(Data::into_floats);
                if let Some(values) = &values {
                    lists.values().append_slice(values);
                }
                lists.append(values.is_some());
            }
            Arc::new(lists.finish())
        }
    }
}
