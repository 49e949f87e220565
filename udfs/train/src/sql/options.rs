//! The options struct of `train` and of `evaluate`.

use std::sync::LazyLock;
use std::time::Duration;

use atoll_nn::Metric;
use atoll_nn::scores::Task;
use atoll_udf_common::OptionStruct;
use atoll_udf_common::structs::{TRAIN_KEYS, suggest};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Expr;

use crate::backbone::{BACKBONES, BackboneOptions};
use crate::dataset::{ColumnOptions, DatasetSource, Split};

/// The keys that say how to read a dataset; among those of `train` they come first.
const COLUMN_KEYS: &[&str] = TRAIN_KEYS.split_at(10).0;

/// The keys of the options of `evaluate`.
pub(crate) static EVALUATE_KEYS: LazyLock<Vec<&str>> =
    LazyLock::new(|| [COLUMN_KEYS, &["split", "metric"]].concat());

/// The keys of the options of `explain`.
pub(crate) static EXPLAIN_KEYS: LazyLock<Vec<&str>> =
    LazyLock::new(|| [&EVALUATE_KEYS, &["method", "repeats", "seed"][..]].concat());

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
    /// Whether every part gets its share of each class; by default where there are classes.
    pub(crate) stratify: Option<bool>,
    /// In how many parts the rows are cut, each of which validates once.
    pub(crate) folds: Option<usize>,
    /// What chooses the best epoch and the best trial.
    pub(crate) metric: Option<Metric>,
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
    /// The metric whose value is asked for.
    pub(crate) metric: Option<Metric>,
}

/// The options of `explain`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExplainOptions {
    /// Which rows count, and by which metric.
    pub(crate) rows: EvaluateOptions,
    /// How often each column changes places.
    pub(crate) repeats: usize,
    /// What the changes of places are made of.
    pub(crate) seed: u64,
}

impl ExplainOptions {
    /// Reads the options argument, which must be a literal.
    pub(crate) fn from_argument(argument: Option<&Expr>) -> Result<Self> {
        let options = OptionStruct::of_call("explain", argument, &EXPLAIN_KEYS, EXAMPLE)?;
        let method = options.text("method")?;
        if let Some(method) = method.filter(|method| method != "permutation") {
            return plan_err!(
                "explain: option method must be 'permutation', got '{method}'"
            );
        }
        let repeats = options.whole("repeats", 1)?.unwrap_or(10);
        Ok(Self {
            rows: EvaluateOptions::of("explain", &options)?,
            repeats: usize::try_from(repeats).unwrap_or(usize::MAX),
            seed: options.whole("seed", 0)?.unwrap_or_default(),
        })
    }
}

impl TrainOptions {
    /// Reads the options argument, which must be a literal: it decides what is read at
    /// plan time.
    pub(crate) fn from_argument(argument: Option<&Expr>) -> Result<Self> {
        let options = OptionStruct::of_call("train", argument, &TRAIN_KEYS, EXAMPLE)?;
        let folds = options.whole("folds", 2)?;
        let folds = folds.map(|folds| usize::try_from(folds).unwrap_or(usize::MAX));
        let checkpoint = options.flag("checkpoint")?;
        let resume_from = options.text("resume_from")?;
        for (key, is_given) in [
            ("checkpoint", checkpoint == Some(true)),
            ("resume_from", resume_from.is_some()),
        ] {
            if is_given && folds.is_some() {
                return plan_err!(
                    "train: option {key} does not go with folds, each of which is a network \
                     of its own; leave one of the two out"
                );
            }
        }
        Ok(Self {
            columns: columns("train", &options)?,
            split_seed: options.whole("split_seed", 0)?.unwrap_or_default(),
            stratify: options.flag("stratify")?,
            folds,
            metric: metric("train", &options)?,
            timeout: options.positive("timeout_seconds")?.map(|seconds| {
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }),
            threads: options.size("threads_per_trial")?,
            checkpoint: checkpoint.unwrap_or_default(),
            resume_from,
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
        Self::of("evaluate", &options)
    }

    fn of(function: &str, options: &OptionStruct) -> Result<Self> {
        let split = options
            .text("split")?
            .map(|name| Split::parse(&name))
            .transpose()?;
        Ok(Self {
            columns: columns(function, options)?,
            split,
            metric: metric(function, options)?,
        })
    }
}

/// The metric that the options name.
fn metric(function: &str, options: &OptionStruct) -> Result<Option<Metric>> {
    let Some(name) = options.text("metric")? else {
        return Ok(None);
    };
    if let Some(metric) = Metric::named(&name) {
        return Ok(Some(metric));
    }
    let hint = suggest(&name, Metric::words())
        .map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
    plan_err!(
        "{function}: option metric must be one of {}, got '{name}'{hint}",
        Metric::names().collect::<Vec<_>>().join(", ")
    )
}

/// Refuses a metric for classes where labels are numbers. Class indices may be predicted as
/// numbers too, so that a metric for numbers is judged by the trial or the model.
pub(super) fn check_metric(
    function: &str,
    source: &DatasetSource,
    metric: Option<Metric>,
) -> Result<()> {
    let metric = metric.filter(|metric| metric.task() != Task::Numbers);
    match metric {
        Some(metric) if source.has_numbers() => plan_err!(
            "{function}: the labels of {} are numbers to predict, and metric '{}' is for \
             classes; take one for numbers, such as 'r2' or 'neg_root_mean_squared_error'",
            source.name(),
            metric.name()
        ),
        _ => Ok(()),
    }
}

/// What the options say of the dataset.
fn columns(function: &str, options: &OptionStruct) -> Result<ColumnOptions> {
    let defaults = ColumnOptions::default();
    let columns = ColumnOptions {
        group: options.text("group")?,
        weight: options.text("weight")?,
        image: options.text("image")?,
        features: options.names("features")?,
        label: options.text("label")?.unwrap_or(defaults.label),
        split: options.text("split_column")?,
        height: options.size("height")?,
        width: options.size("width")?,
        channels: options.size("channels")?,
        scale: options.positive("scale")?,
    };
    let taken = [
        ("label", Some(&columns.label)),
        ("split_column", columns.split.as_ref()),
        ("image", columns.image.as_ref()),
        ("group", columns.group.as_ref()),
    ];
    for (key, column) in [("group", &columns.group), ("weight", &columns.weight)] {
        let Some(column) = column else { continue };
        let is_taken = |(other, name): &&(&str, Option<&String>)| {
            *other != key && *name == Some(column)
        };
        let features = columns.features.iter().flatten();
        let taken = taken.iter().find(is_taken).map(|(other, _)| *other);
        let feature = features.into_iter().find(|name| *name == column);
        if let Some(other) = taken.or(feature.map(|_| "features")) {
            return plan_err!(
                "{function}: option {key} names the column {column}, which option {other} \
                 names too; a column has one purpose, so name another"
            );
        }
    }
    Ok(columns)
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
            ("group", "patient".into()),
            ("weight", "importance".into()),
            ("stratify", false.into()),
            ("metric", "macro_f1".into()),
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
        let columns = &read.columns;
        assert_eq!(columns.group.as_deref(), Some("patient"));
        assert_eq!(columns.weight.as_deref(), Some("importance"));
        assert_eq!(read.stratify, Some(false));
        assert_eq!(read.metric, Metric::named("f1_macro"));
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
        check_refused(
            &[("folds", 1_i64.into())],
            "option folds must be an integer from 2, got 1",
        );
        check_refused(
            &[("folds", 5_i64.into()), ("checkpoint", true.into())],
            "option checkpoint does not go with folds",
        );
        check_refused(
            &[("metric", "f1_macr".into())],
            "got 'f1_macr'; did you mean 'f1_macro'?",
        );
        check_refused(
            &[("group", "label".into())],
            "option group names the column label, which option label names too",
        );
        check_refused(
            &[("weight", "w".into()), ("group", "w".into())],
            "option weight names the column w, which option group names too",
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
        let keys =
            "image features label split_column height width channels scale group weight";
        assert_eq!(COLUMN_KEYS.join(" "), keys);
        let argument = options(&[("split", "test".into()), ("height", 8_i64.into())]);
        let read = EvaluateOptions::from_argument(Some(&argument)).unwrap();
        assert_eq!(
            (read.split, read.columns.height),
            (Some(Split::Test), Some(8))
        );
    }
}
