//! The options struct of this family: `{labels: [...], resize: 'squash', ...}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_imaging::Preprocess;
use atoll_onnx::{OutputKind, WantedTensors};
use atoll_udf_common::model::ModelFailure;
use atoll_udf_common::structs::{check_keys, metadata_text};
use atoll_udf_common::{CallContext, OptionStruct};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, ReturnFieldArgs};
use serde_json::Value;

use crate::pipeline::Purpose;

/// The keys that only a classifier takes.
const CLASSIFIER: [&str; 2] = ["labels", "output_kind"];

/// Whether an embedding gets the length 1.
const NORMALIZE: &str = "normalize";

/// Which options a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Everything.
    Classifier,
    /// Preprocessing, the choice of a tensor and what is done with it.
    Embedding,
    /// Preprocessing only.
    Preprocessing,
}

impl Accepts {
    /// The keys, those most worth showing first.
    fn keys(self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self == Self::Classifier {
            keys.extend(CLASSIFIER);
        }
        if self != Self::Preprocessing {
            keys.push("output");
        }
        if self == Self::Embedding {
            keys.push(NORMALIZE);
        }
        keys.extend(Preprocess::KEYS);
        keys
    }

    /// Checks the keys of an options struct at plan time.
    fn check(self, function: &str, data_type: &DataType) -> Result<()> {
        check_keys(function, "option", data_type, &self.keys())
    }
}

/// What a query says about a model that the model does not say itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Options {
    /// The names of the classes in order.
    pub(crate) labels: Option<Arc<[String]>>,
    /// The file that holds them, one a line, until it is read.
    pub(crate) labels_file: Option<String>,
    /// The output to read, a tensor inside the graph, or `features`; the first output that
    /// can be read otherwise.
    pub(crate) output: Option<String>,
    /// Whether an embedding is divided by its length.
    pub(crate) normalize: bool,
    /// What the output means.
    pub(crate) output_kind: Option<OutputKind>,
    /// Preprocessing, under the keys of a model's metadata.
    pub(crate) preprocessing: BTreeMap<String, String>,
}

impl Options {
    /// Checks and reads the options when the types of a call are worked out; `None`
    /// when the struct is there and not folded to a literal yet. It will be, and then
    /// the call is checked again.
    pub(crate) fn at_plan_time(
        function: &'static str,
        args: &ReturnFieldArgs,
        idx: usize,
        accepts: Accepts,
    ) -> Result<Option<Self>> {
        let Some(field) = args.arg_fields.get(idx) else {
            return Ok(Some(Self::default()));
        };
        accepts.check(function, field.data_type())?;
        match args.scalar_arguments.get(idx).copied().flatten() {
            Some(value) => Self::of_value(function, value).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the options of a call. They describe the call and not a row, so a column
    /// is refused.
    pub(crate) fn of_call(function: &'static str, arg: Option<&Expr>) -> Result<Self> {
        // Which keys are valid was checked with the types.
        let mut keys = Accepts::Classifier.keys();
        keys.push(NORMALIZE);
        let options = OptionStruct::of_call(function, arg, &keys, "{resize: 'squash'}")?;
        Self::of_struct(function, &options)
    }

    /// Reads the options from a literal.
    pub(crate) fn of_value(function: &'static str, value: &ScalarValue) -> Result<Self> {
        Self::of_struct(function, &OptionStruct::of_value(function, value)?)
    }

    fn of_struct(function: &str, given: &OptionStruct) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in given.iter() {
            options
                .set(key, value)
                .map_err(|error| error.at_plan_time(function))?;
        }
        Ok(options)
    }

    /// The tensors that a model is loaded with.
    pub(crate) fn wanted(&self) -> WantedTensors {
        match &self.output {
            Some(output) => WantedTensors::Output(output.clone()),
            None => WantedTensors::Outputs,
        }
    }

    /// The same for whoever runs the call: a description is of all tensors.
    pub(crate) fn wanted_for(&self, purpose: Purpose) -> WantedTensors {
        match purpose {
            Purpose::Describe => WantedTensors::Tensors,
            _ => self.wanted(),
        }
    }

    /// Reads the labels from their file, if they are in one.
    pub(crate) async fn read_labels(
        mut self,
        function: &str,
        context: &CallContext,
    ) -> Result<Self> {
        if let Some(file) = self.labels_file.take() {
            let read = async { context.locate(&file)?.read().await };
            let bytes = read.await.map_err(|error| {
                let message =
                    format!("labels {file} cannot be read: {}", error.message());
                ModelFailure::argument(message).at_plan_time(function)
            })?;
            let text = String::from_utf8_lossy(&bytes);
            // A spreadsheet's file starts with a byte order mark.
            let lines = text.trim_start_matches('\u{feff}').lines();
            self.labels = Some(lines.map(|line| line.trim_end().to_string()).collect());
        }
        Ok(self)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), ModelFailure> {
        match (key, value) {
            ("labels", Value::Array(labels)) => {
                self.labels = Some(labels.iter().map(metadata_text).collect());
            }
            ("labels", Value::String(file)) => self.labels_file = Some(file.clone()),
            ("labels", other) => {
                return Err(ModelFailure::argument(format!(
                    "option labels must be a list of text, or the path or URL of a file \
                     with a label a line, got {other}"
                )));
            }
            ("output", name) => self.output = Some(metadata_text(name)),
            (NORMALIZE, Value::Bool(normalize)) => self.normalize = *normalize,
            (NORMALIZE, other) => {
                return Err(ModelFailure::argument(format!(
                    "option normalize must be true or false, got {other}"
                )));
            }
            ("output_kind", kind) => {
                let kind = metadata_text(kind);
                self.output_kind = Some(OutputKind::parse(&kind).ok_or_else(|| {
                    ModelFailure::argument(format!(
                        "option output_kind must be 'logits' or 'probabilities', got \
                         '{kind}'"
                    ))
                })?);
            }
            (key, value) => {
                self.preprocessing
                    .insert(format!("image.{key}"), metadata_text(value));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use datafusion::arrow::datatypes::Field;
    use datafusion::common::scalar::ScalarStructBuilder;

    fn options(key: &str, value: ScalarValue) -> Result<Options> {
        let field = Field::new(key, value.data_type(), true);
        let structs = ScalarStructBuilder::new()
            .with_scalar(field, value)
            .build()?;
        Options::of_value("classify", &structs)
    }

    fn list(values: &[ScalarValue]) -> ScalarValue {
        let data_type = values[0].data_type();
        ScalarValue::List(ScalarValue::new_list(values, &data_type, true))
    }

    #[test]
    fn preprocessing_is_written_as_metadata_writes_it() {
        let means = list(&[ScalarValue::from(0.5), ScalarValue::from(0.25)]);
        let options = options("mean", means).unwrap();
        assert_eq!(options.preprocessing["image.mean"], "0.5,0.25");
    }

    #[test]
    fn labels_are_a_list() {
        let labels = list(&[ScalarValue::from("a, b"), ScalarValue::from("c")]);
        let labels = options("labels", labels).unwrap().labels.unwrap();
        assert_eq!(labels.as_ref(), ["a, b", "c"]);
        let error = options("labels", ScalarValue::from(7)).unwrap_err();
        assert!(
            error.to_string().contains("labels must be a list"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn labels_may_be_in_a_file() {
        let file = std::env::temp_dir().join(format!("labels-{}", std::process::id()));
        std::fs::write(&file, "\u{feff}tench, a fish\r\nlorikeet\n").unwrap();
        let read = |file: &std::path::Path| {
            let name = ScalarValue::from(file.display().to_string());
            let options = options("labels", name).unwrap();
            async {
                options
                    .read_labels("classify", &CallContext::default())
                    .await
            }
        };
        let labels = read(&file).await.unwrap().labels.unwrap();
        assert_eq!(labels.as_ref(), ["tench, a fish", "lorikeet"]);
        std::fs::remove_file(&file).unwrap();
        let error = read(&file).await.unwrap_err().to_string();
        assert!(error.contains("check the path"), "{error}");
    }

    #[test]
    fn an_unknown_output_kind_is_refused() {
        let error = options("output_kind", ScalarValue::from("logit")).unwrap_err();
        assert!(error.to_string().contains("'logit'"), "{error}");
    }

    #[test]
    fn a_misspelt_key_is_refused_with_a_suggestion() {
        let fields = vec![Field::new("resise", DataType::Utf8, true)];
        let data_type = DataType::Struct(fields.into());
        let error = Accepts::Classifier
            .check("classify", &data_type)
            .unwrap_err();
        assert!(
            error.to_string().contains("did you mean resize?"),
            "{error}"
        );
        let error = Accepts::Preprocessing
            .check("predict", &DataType::Struct(vec![labels_field()].into()))
            .unwrap_err();
        assert!(
            error.to_string().contains("unknown option labels"),
            "{error}"
        );
    }

    fn labels_field() -> Field {
        Field::new("labels", DataType::new_list(DataType::Utf8, true), true)
    }
}
