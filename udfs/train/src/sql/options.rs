//! The options struct of `train` and of `evaluate`.

use std::sync::LazyLock;
use std::time::Duration;

use atoll_udf_common::OptionStruct;
use atoll_udf_common::structs::TRAIN_KEYS;
use datafusion::common::Result;
use datafusion::logical_expr::Expr;

use crate::backbone::{BACKBONES, BackboneOptions};
use crate::dataset::{ColumnOptions, Split};

/// The keys that say how to read a dataset; among those of `train` they come first.
const COLUMN_KEYS: &[&str] = TRAIN_KEYS.split_at(8).0;

/// The keys of the options of `evaluate`.
pub(crate) static EVALUATE_KEYS: LazyLock<Vec<&str>> =
    LazyLock::new(|| [COLUMN_KEYS, &["split"]].concat());

/// What errors show of the options.
const EXAMPLE: &str = "{image: '...'}";

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
    /// The backbones that rows name, where they do not name one by a literal.
    pub(crate) backbones: Vec<String>,
    /// What is taken of the backbones.
    pub(crate) backbone: BackboneOptions,
}

/// The options of `evaluate`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EvaluateOptions {
    /// How to read the dataset.
    pub(crate) columns: ColumnOptions,
    /// The split of the dataset to score, when the user named one.
    pub(crate) split: Option<Split>,
}

impl TrainOptions {
    /// Reads the options argument, which must be a literal: it decides what is read at
    /// plan time.
    pub(crate) fn from_argument(argument: Option<&Expr>) -> Result<Self> {
        let options = OptionStruct::of_call("train", argument, &TRAIN_KEYS, EXAMPLE)?;
        Ok(Self {
            columns: columns(&options)?,
            split_seed: options.whole("split_seed", 0)?.unwrap_or_default(),
            timeout: options.positive("timeout_seconds")?.map(|seconds| {
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }),
            threads: options.size("threads_per_trial")?,
            checkpoint: options.flag("checkpoint")?.unwrap_or_default(),
            resume_from: options.text("resume_from")?,
            backbones: options.names(BACKBONES)?.unwrap_or_default(),
            backbone: BackboneOptions::of(&options)?,
        })
    }
}

impl EvaluateOptions {
    /// Reads the options argument, which must be a literal.
    pub(crate) fn from_argument(argument: Option<&Expr>) -> Result<Self> {
        let options =
            OptionStruct::of_call("evaluate", argument, &EVALUATE_KEYS, EXAMPLE)?;
        let split = options
            .text("split")?
            .map(|name| Split::parse(&name))
            .transpose()?;
        Ok(Self {
            columns: columns(&options)?,
            split,
        })
    }
}

/// What the options say of the dataset.
fn columns(options: &OptionStruct) -> Result<ColumnOptions> {
    let defaults = ColumnOptions::default();
    Ok(ColumnOptions {
        image: options.text("image")?,
        features: options.names("features")?,
        label: options.text("label")?.unwrap_or(defaults.label),
        split: options.text("split_column")?,
        height: options.size("height")?,
        width: options.size("width")?,
        channels: options.size("channels")?,
        scale: options.positive("scale")?,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::ScalarValue;
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
        let keys = "image features label split_column height width channels scale";
        assert_eq!(COLUMN_KEYS.join(" "), keys);
        let argument = options(&[("split", "test".into()), ("height", 8_i64.into())]);
        let read = EvaluateOptions::from_argument(Some(&argument)).unwrap();
        assert_eq!(
            (read.split, read.columns.height),
            (Some(Split::Test), Some(8))
        );
    }
}
