//! `classify`: the best classes of an image.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::{Inference, WantedTensors};
use atoll_udf_common::model::{ModelFailure, model};
use atoll_udf_common::outcome::{Outcome, outcome};
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, SharedCall, Usage,
    map_rows, usage,
};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Builder, Int32Builder, ListArray, StringBuilder,
    StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use crate::SECTION;
use crate::argument::{self, ModelArgument};
use crate::input::{self, Inputs};
use crate::options::{Accepts, Options};
use crate::pipeline::{Purpose, Scored};
use crate::together::{Asked, Reading};

/// How many classes come back when the call does not say.
const DEFAULT_K: usize = 5;

const USAGE: Usage = Usage {
    name: "classify",
    syntax: "classify(model, image [, k [, options]])",
    arguments: &[
        Argument("model", model),
        Argument("image", input::image_or_row),
        Argument("k", k),
        Argument("options", usage::any),
    ],
    optional: 2,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns the `k` best classes of an image as a list of structs `label`, `score` \
         and `index`, best first; ties go to the lower index. The score is a \
         probability, which the last operator of the model's graph decides: what comes \
         from Softmax or Sigmoid stays as it is, what comes from LogSoftmax is \
         exponentiated, and all else goes through softmax, unless its values sum to 1 or \
         the metadata or the options say what they are. A model with one output and two \
         labels is a binary classifier: the output is the probability of the second. \
         Preprocessing and labels come from the model's metadata, or from the options. \
         An image that cannot be decoded is an error that names its file; see \
         `try_classify`.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one. It takes one \
         image.",
    )
    .with_argument(
        "image",
        "Encoded bytes of an image, or an IMAGE struct; for a model of rows a struct of its \
         inputs by name or a list of numbers, as for `predict`.",
    )
    .with_argument("k", "How many classes, at least 1. The default is 5.")
    .with_argument(
        "options",
        "A literal struct. `labels`: list of text, one a class, or the path or URL \
         of a file with one a line. `output`: name of the \
         output to read. `output_kind`: 'logits' or 'probabilities', where the graph does not \
         tell. Preprocessing: \
         `resize` ('shortest_side', 'squash', 'none'), `resize_size`, `interpolation`, \
         `antialias`, `crop` ('center', 'none'), `width`, `height`, `color` ('RGB', \
         'BGR', 'L'), `layout` ('NCHW', 'NHWC'), `scale`, `mean`, `std`; the model gets \
         (pixel * scale - mean) / std. `scaled_decode`: whether a JPEG at least four \
         times as large as it is resized to may be decoded at a half or a quarter of its \
         size, which takes half the time and differs by less than a rounding on average; \
         default true.",
    )
    .with_sql_example(
        "SELECT best['label'] AS label, round(best['score'], 2) AS score\n\
         FROM (\n    \
             SELECT unnest(classify('sql/data/efficientnet-lite0.onnx', content, 3)) AS best\n    \
             FROM read_blob('sql/data/photos/coffee.png')\n\
         ) AS classes;",
    )
    .with_related_udf("try_classify")
    .with_related_udf("predict")
    .build()
});

/// The SQL function `classify(model, image [, k [, options]])`.
#[derive(Debug)]
pub struct Classify;

#[async_trait]
impl ExpensiveFunction for Classify {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check(USAGE.name, args)?;
        Ok(labels_type())
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        argument::named(args, &WantedTensors::Outputs)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let classifier = Classifier::prepare("classify", call).await?;
        Ok(Arc::new(PreparedClassify(classifier)))
    }
}

#[derive(Debug)]
struct PreparedClassify(Classifier);

#[async_trait]
impl PreparedCall for PreparedClassify {
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
        let strict = |outcome: Outcome<Vec<Scored>>| {
            outcome
                .transpose()
                .map_err(|error| error.in_a_row("classify"))
        };
        Ok(labels_array(self.0.rows(args, context, strict).await?))
    }
}

/// What `classify` and `try_classify` share.
#[derive(Debug)]
pub(crate) struct Classifier {
    function: &'static str,
    pub(crate) model: ModelArgument,
    takes_images: bool,
}

impl Classifier {
    pub(crate) async fn prepare(function: &'static str, call: &Call<'_>) -> Result<Self> {
        let options = Options::of_call(function, call.args.get(3))?;
        let context = CallContext::of(call.session.config());
        let options = options.read_labels(function, &context).await?;
        let k = argument::literal_value(call.args.get(2));
        check_k(function, k)?;
        let x = call.arg_fields.get(1);
        let takes_images = x.is_none_or(|x| input::is_image(x.data_type()));
        let purpose = Purpose::of_classify(takes_images);
        let model = ModelArgument::prepare(function, call, options, purpose).await?;
        Ok(Self {
            function,
            model,
            takes_images,
        })
    }

    /// What may be asked together with others of the same image.
    pub(crate) fn shared(&self, is_strict: bool) -> Option<Arc<dyn SharedCall>> {
        let reading = Reading::Classes { is_strict };
        let asked = || Asked::of(self.function, &self.model, reading);
        self.takes_images.then(asked).flatten()
    }

    /// Classifies a record batch; `finish` says what an outcome becomes.
    pub(crate) async fn rows<T: Send + 'static>(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
        finish: impl Fn(Outcome<Vec<Scored>>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let rows = args.number_rows;
        let models = self.model.models(&args.args[0], rows, context).await?;
        let inputs = Inputs::try_new(self.function, &args.args[1], rows)?;
        let ks = args.args.get(2).map(|k| k.to_array(rows)).transpose()?;
        let progress = context.progress.rows(self.function);
        progress.add_total(rows as u64);
        map_rows(rows, context, move |row, _| {
            let outcome = outcome(|| {
                let Some(pipeline) = models.get(row)? else {
                    return Ok(None);
                };
                let Some(input) = inputs.get(&pipeline.model, row)? else {
                    return Ok(None);
                };
                let Some(k) = k_at(ks.as_ref(), row)? else {
                    return Ok(None);
                };
                pipeline.classify(input, k).map(Some)
            });
            progress.advance(1);
            finish(outcome)
        })
        .await
    }
}

/// Checks what is known before the first row: keys, `k`, and a literal model.
pub(crate) fn check(function: &'static str, args: &ReturnFieldArgs) -> Result<()> {
    let literal = |idx: usize| args.scalar_arguments.get(idx).copied().flatten();
    check_k(function, literal(2))?;
    let options = Options::at_plan_time(function, args, 3, Accepts::Classifier)?;
    if let Some(options) = options {
        let x = args.arg_fields.get(1).map(|x| x.data_type());
        let purpose = Purpose::of_classify(x.is_none_or(input::is_image));
        let pipeline = argument::literal(function, literal(0), &options, purpose)?;
        if let (Some(pipeline), Some(x), Purpose::ClassifyRows) = (&pipeline, x, purpose)
        {
            input::check(pipeline, x, literal(1))
                .map_err(|error| error.at_plan_time(function))?;
        }
    }
    Ok(())
}

/// The argument `k`, a whole number.
pub(crate) fn k(
    function: &str,
    _argument: &str,
    data_type: &DataType,
) -> Result<DataType> {
    if data_type.is_integer() || data_type.is_null() {
        return Ok(DataType::Int64);
    }
    plan_err!(
        "{function}: k must be a whole number, got {data_type}; options are the fourth \
         argument"
    )
}

fn check_k(function: &str, k: Option<&ScalarValue>) -> Result<()> {
    match k {
        Some(ScalarValue::Int64(Some(k))) if *k < 1 => {
            Err(bad_k(*k).at_plan_time(function))
        }
        _ => Ok(()),
    }
}

pub(crate) fn k_at(
    ks: Option<&ArrayRef>,
    row: usize,
) -> Result<Option<usize>, ModelFailure> {
    let Some(ks) = ks else {
        return Ok(Some(DEFAULT_K));
    };
    let Some(ks) = ks.as_primitive_opt::<Int64Type>() else {
        return Ok(None);
    };
    if ks.is_null(row) {
        return Ok(None);
    }
    let k = ks.value(row);
    match usize::try_from(k) {
        Ok(k) if k > 0 => Ok(Some(k)),
        _ => Err(bad_k(k)),
    }
}

fn bad_k(k: i64) -> ModelFailure {
    ModelFailure::argument(format!("k must be at least 1, got {k}"))
}

fn class_fields() -> Fields {
    Fields::from(vec![
        Field::new("label", DataType::Utf8, true),
        Field::new("score", DataType::Float32, true),
        Field::new("index", DataType::Int32, true),
    ])
}

/// `LIST<STRUCT<label, score, index>>`.
pub(crate) fn labels_type() -> DataType {
    DataType::new_list(DataType::Struct(class_fields()), true)
}

/// The classes of each row; NULL where there are none.
pub(crate) fn labels_array(rows: Vec<Option<Vec<Scored>>>) -> ArrayRef {
    let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let (mut labels, mut scores, mut indices) = (
        StringBuilder::new(),
        Float32Builder::new(),
        Int32Builder::new(),
    );
    for class in rows.into_iter().flatten().flatten() {
        labels.append_option(class.label);
        scores.append_value(class.score);
        indices.append_value(class.index);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(labels.finish()),
        Arc::new(scores.finish()),
        Arc::new(indices.finish()),
    ];
    let classes = StructArray::new(class_fields(), columns, None);
    let field = Arc::new(Field::new_list_field(classes.data_type().clone(), true));
    Arc::new(ListArray::new(
        field,
        offsets,
        Arc::new(classes),
        Some(nulls),
    ))
}
