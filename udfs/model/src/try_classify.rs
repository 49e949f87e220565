//! `try_classify`: as `classify`, with errors as values.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_onnx::WantedTensors;
use atoll_udf_common::image::image;
use atoll_udf_common::model::{ModelFailure, model};
use atoll_udf_common::{
    Argument, Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, PreparedCall, Usage,
    usage,
};
use datafusion::arrow::array::{ArrayRef, StringBuilder, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

use crate::SECTION;
use crate::argument;
use crate::classify::{Classifier, Outcome, check, k, labels_array, labels_type};

const USAGE: Usage = Usage {
    name: "try_classify",
    syntax: "try_classify(model, image [, k [, options]])",
    arguments: &[
        Argument("model", model),
        Argument("image", image),
        Argument("k", k),
        Argument("options", usage::any),
    ],
    optional: 2,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns a struct with the `labels` that `classify` returns, or NULL there and \
         the reason in `error_code` and `error` when the row has no answer: \
         NOT_AN_IMAGE, UNSUPPORTED_FORMAT, CORRUPT_IMAGE, DECODER_FAILED, TOO_LARGE, MODEL_NOT_FOUND, \
         MODEL_INVALID, MODEL_INPUT_MISMATCH, MODEL_RUNTIME or INVALID_ARGUMENT. A model \
         that is named by a literal and cannot be loaded is still an error, because no \
         row could have an answer.",
        USAGE.syntax,
    )
    .with_argument(
        "model",
        "Path or URL of an ONNX file, or a BINARY column that holds one. It takes one \
         image.",
    )
    .with_argument("image", "Encoded bytes of an image, or an IMAGE struct.")
    .with_argument("k", "How many classes, at least 1. The default is 5.")
    .with_argument("options", "A literal struct with the keys of `classify`.")
    .with_sql_example(
        "SELECT result['labels'][1]['label'] AS label, result['error_code'] AS error_code\n\
         FROM (\n    \
             SELECT try_classify('sql/data/efficientnet-lite0.onnx', content) AS result\n    \
             FROM read_blob('sql/data/photos/coffee.png')\n\
         ) AS classes;",
    )
    .with_related_udf("classify")
    .build()
});

/// The SQL function `try_classify(model, image [, k [, options]])`.
#[derive(Debug)]
pub struct TryClassify;

#[async_trait]
impl ExpensiveFunction for TryClassify {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check(USAGE.name, args)?;
        Ok(DataType::Struct(fields()))
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        argument::named(args, &WantedTensors::Outputs)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let classifier = Classifier::prepare("try_classify", call).await?;
        Ok(Arc::new(PreparedTryClassify(classifier)))
    }
}

#[derive(Debug)]
struct PreparedTryClassify(Classifier);

#[async_trait]
impl PreparedCall for PreparedTryClassify {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        Ok(result_array(self.0.rows(args, context, Ok).await?))
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        let failed = || Some(Err(ModelFailure::new(EXECUTOR_DIED, reason)));
        Ok(result_array(
            (0..args.number_rows).map(|_| failed()).collect(),
        ))
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("labels", labels_type(), true),
        Field::new("error_code", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ])
}

/// Labels or the reason why there are none; NULL where an argument is NULL.
fn result_array(rows: Vec<Outcome>) -> ArrayRef {
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let (mut codes, mut errors) = (StringBuilder::new(), StringBuilder::new());
    let mut labels = Vec::with_capacity(rows.len());
    for row in rows {
        let (classes, failure) = match row {
            None => (None, None),
            Some(Ok(classes)) => (Some(classes), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        labels.push(classes);
        codes.append_option(failure.as_ref().map(|failure| failure.code));
        errors.append_option(failure.map(|failure| failure.message));
    }
    let columns: Vec<ArrayRef> = vec![
        labels_array(labels),
        Arc::new(codes.finish()),
        Arc::new(errors.finish()),
    ];
    Arc::new(StructArray::new(fields(), columns, Some(nulls)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use datafusion::arrow::array::AsArray;

    use crate::classify::outcome;

    #[test]
    fn a_row_that_panics_is_a_value() {
        let rows = vec![
            outcome(|| panic!("an odd row")),
            outcome(|| Ok(Some(vec![]))),
        ];
        let array = result_array(rows);
        let text = |column: usize, row: usize| {
            let column = array.as_struct().column(column).as_string::<i32>();
            column.iter().nth(row).flatten().map(str::to_string)
        };
        assert_eq!(text(1, 0).as_deref(), Some("MODEL_RUNTIME"));
        let error = text(2, 0).unwrap();
        assert!(error.contains("an odd row"), "{error}");
        assert_eq!(text(1, 1), None);
    }
}
