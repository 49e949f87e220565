//! The options struct of `train` and of `evaluate`.

use std::time::Duration;

use atoll_udf_common::structs::{TRAIN_KEYS, check_keys, row_to_json};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;
use serde_json::{Map, Value};

use crate::rows::Part;

/// Keys that both functions take: they say how to read a dataset.
const COLUMN_KEYS: [&str; 8] = [
    "image",
    "features",
    "label",
    "split_column",
    "height",
    "width",
    "channels",
    "scale",
];

/// The keys of the options of `evaluate`.
pub(crate) const EVALUATE_KEYS: [&str; 9] = [
    "image",
    "features",
    "label",
    "split_column",
    "height",
    "width",
    "channels",
    "scale",
    "split",
];

/// How to read a dataset.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnOptions {
    /// The image column, when the user named one.
    pub(crate) image: Option<String>,
    /// The columns of numbers, when the user named some.
    pub(crate) features: Option<Vec<String>>,
    /// The label column.
    pub(crate) label: String,
    /// The split column, when the user named one.
    pub(crate) split: Option<String>,
    /// Rows of pixels in an image given as a list of numbers.
    pub(crate) height: Option<usize>,
    /// Columns of pixels in an image given as a list of numbers.
    pub(crate) width: Option<usize>,
    /// Values per pixel in an image given as a list of numbers.
    pub(crate) channels: Option<usize>,
    /// What a number is multiplied by to become a pixel value from 0 to 255.
    pub(crate) scale: Option<f64>,
}

impl Default for ColumnOptions {
    fn default() -> Self {
        Self {
            image: None,
            features: None,
            label: "label".to_string(),
            split: None,
            height: None,
            width: None,
            channels: None,
            scale: None,
        }
    }
}

/// The options of `train`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TrainOptions {
    /// How to read the dataset.
    pub(crate) columns: ColumnOptions,
    /// Seeds the choice of validation rows. It is not the trial's seed, because trials
    /// that differ in their seed must be judged on the same rows.
    pub(crate) split_seed: u64,
    /// How long a trial may train.
    pub(crate) timeout: Option<Duration>,
    /// How many threads work on one trial; one unless given. It changes no result.
    pub(crate) threads: Option<usize>,
    /// Whether trials write checkpoints and go on from them.
    pub(crate) checkpoint: bool,
    /// The checkpoint that all trials go on from which name no other.
    pub(crate) resume_from: Option<String>,
}

/// The options of `evaluate`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EvaluateOptions {
    /// How to read the dataset.
    pub(crate) columns: ColumnOptions,
    /// The part of the dataset to score, when the user named one.
    pub(crate) part: Option<Part>,
}

impl TrainOptions {
    /// Reads the options argument, which must be a literal: it decides what is read at
    /// plan time.
    pub(crate) fn from_argument(argument: Option<&Expr>) -> Result<Self> {
        let reader = Reader::new("train", argument, &TRAIN_KEYS)?;
        Ok(Self {
            columns: reader.columns()?,
            split_seed: reader.whole("split_seed", 0)?.unwrap_or_default(),
            timeout: reader.positive("timeout_seconds")?.map(|seconds| {
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }),
            threads: reader.size("threads_per_trial")?,
            checkpoint: reader.flag("checkpoint")?.unwrap_or_default(),
            resume_from: reader.text("resume_from")?,
        })
    }
}

impl EvaluateOptions {
    /// Reads the options argument, which must be a literal.
    pub(crate) fn from_argument(argument: Option<&Expr>) -> Result<Self> {
        let reader = Reader::new("evaluate", argument, &EVALUATE_KEYS)?;
        let part = reader
            .text("split")?
            .map(|name| Part::parse(&name))
            .transpose()?;
        Ok(Self {
            columns: reader.columns()?,
            part,
        })
    }
}

/// Typed access to the options, with errors that name the function and the key.
struct Reader {
    function: &'static str,
    values: Map<String, Value>,
}

impl Reader {
    fn new(
        function: &'static str,
        argument: Option<&Expr>,
        valid: &[&str],
    ) -> Result<Self> {
        let values = match argument {
            None => Map::new(),
            Some(Expr::Literal(value, _)) if value.is_null() => Map::new(),
            Some(Expr::Literal(ScalarValue::Struct(options), _)) => {
                row_to_json(options, 0)?
            }
            Some(other) => {
                return plan_err!(
                    "the options of {function} must be a literal struct such as \
                     {{{}: '...'}}, got {other}",
                    COLUMN_KEYS[0]
                );
            }
        };
        if let Some(Expr::Literal(value, _)) = argument {
            check_keys(function, "option", &value.data_type(), valid)?;
        }
        Ok(Self { function, values })
    }

    fn columns(&self) -> Result<ColumnOptions> {
        let defaults = ColumnOptions::default();
        Ok(ColumnOptions {
            image: self.text("image")?,
            features: self.texts("features")?,
            label: self.text("label")?.unwrap_or(defaults.label),
            split: self.text("split_column")?,
            height: self.size("height")?,
            width: self.size("width")?,
            channels: self.size("channels")?,
            scale: self.positive("scale")?,
        })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => self.refuse(key, "text", other),
        }
    }

    /// One text, or a list of them.
    fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        let value = match self.get(key) {
            None => return Ok(None),
            Some(Value::String(text)) => return Ok(Some(vec![text.clone()])),
            Some(value) => value,
        };
        let texts = value.as_array().filter(|list| !list.is_empty());
        let texts = texts.and_then(|list| {
            let texts = list
                .iter()
                .map(|text| text.as_str().map(ToString::to_string));
            texts.collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) => Ok(Some(texts)),
            None => self.refuse(key, "the name of a column or a list of names", value),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => self.refuse(key, "true or false", other),
        }
    }

    fn whole(&self, key: &str, least: u64) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|number| *number >= least) {
                Some(number) => Ok(Some(number)),
                None => self.refuse(key, &format!("an integer from {least}"), value),
            },
        }
    }

    fn size(&self, key: &str) -> Result<Option<usize>> {
        Ok(self
            .whole(key, 1)?
            .map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
    }

    fn positive(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| *number > 0.0) {
                Some(number) => Ok(Some(number)),
                None => self.refuse(key, "greater than 0", value),
            },
        }
    }

    fn refuse<T>(&self, key: &str, expected: &str, actual: &Value) -> Result<T> {
        plan_err!(
            "{}: option {key} must be {expected}, got {actual}",
            self.function
        )
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::scalar::ScalarStructBuilder;
    use datafusion::logical_expr::lit;

    use super::*;

    fn options(entries: &[(&str, ScalarValue)]) -> Expr {
        let builder =
            entries
                .iter()
                .fold(ScalarStructBuilder::new(), |builder, (name, value)| {
                    let field = Field::new(*name, value.data_type(), true);
                    builder.with_scalar(field, value.clone())
                });
        lit(builder.build().unwrap())
    }

    #[track_caller]
    fn check_refused(entries: &[(&str, ScalarValue)], expected: &str) {
        let error = TrainOptions::from_argument(Some(&options(entries))).unwrap_err();
        assert!(error.strip_backtrace().contains(expected), "{error}");
    }

    #[test]
    fn absent_and_null_options_are_the_defaults() {
        let null = lit(ScalarValue::try_from(&DataType::Null).unwrap());
        for argument in [None, Some(&null)] {
            let options = TrainOptions::from_argument(argument).unwrap();
            assert_eq!(options, TrainOptions::default());
        }
    }

    #[test]
    fn every_key_is_read() {
        let argument = options(&[
            ("image", "pixels".into()),
            ("split_column", "fold".into()),
            ("channels", 3_i64.into()),
            ("scale", 255.0.into()),
            ("split_seed", 9_i64.into()),
            ("timeout_seconds", 1.5.into()),
            ("threads_per_trial", 2_i64.into()),
            ("checkpoint", true.into()),
            ("resume_from", "a.ckpt".into()),
        ]);
        let read = TrainOptions::from_argument(Some(&argument)).unwrap();
        assert_eq!(read.columns.image.as_deref(), Some("pixels"));
        assert_eq!(read.columns.split.as_deref(), Some("fold"));
        assert_eq!(
            (read.columns.channels, read.columns.scale),
            (Some(3), Some(255.0))
        );
        assert_eq!(read.split_seed, 9);
        assert_eq!(read.timeout, Some(Duration::from_millis(1_500)));
        assert_eq!(read.threads, Some(2));
        assert!(read.checkpoint);
        assert_eq!(read.resume_from.as_deref(), Some("a.ckpt"));
    }

    #[test]
    fn wrong_options_are_named() {
        check_refused(&[("timeout", 1.0.into())], "did you mean timeout_seconds?");
        check_refused(
            &[("timeout_seconds", (-1.0).into())],
            "option timeout_seconds must be greater than 0, got -1.0",
        );
        check_refused(
            &[("image", 1_i64.into())],
            "option image must be text, got 1",
        );
        check_refused(
            &[("checkpoint", "yes".into())],
            "option checkpoint must be true or false, got \"yes\"",
        );
        check_refused(
            &[("width", 0_i64.into())],
            "option width must be an integer from 1",
        );
        let column = Expr::Column("o".into());
        let error = TrainOptions::from_argument(Some(&column)).unwrap_err();
        assert!(
            error.to_string().contains("must be a literal struct"),
            "{error}"
        );
    }

    #[test]
    fn the_functions_share_the_keys_that_read_a_dataset() {
        for key in COLUMN_KEYS {
            assert!(
                TRAIN_KEYS.contains(&key) && EVALUATE_KEYS.contains(&key),
                "{key}"
            );
        }
        let argument = options(&[("split", "test".into())]);
        let read = EvaluateOptions::from_argument(Some(&argument)).unwrap();
        assert_eq!(read.part, Some(Part::Test));
    }
}
