//! `try_image_decode`: as `image_decode`, with errors as values.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Error, Image};
use atoll_udf_common::image::{image, image_array, image_type};
use atoll_udf_common::{
    Argument, Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, PreparedCall, Usage,
};
use datafusion::arrow::array::{ArrayRef, StringArray, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use crate::rows::EachRow;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "try_image_decode",
    syntax: "try_image_decode(image)",
    arguments: &[Argument("image", image)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Decodes an image as `image_decode` does and returns struct<image, error_code, \
         error>. Where the image cannot be decoded, `image` is NULL, `error` says why, \
         and `error_code` is NOT_AN_IMAGE, UNSUPPORTED_FORMAT, CORRUPT_IMAGE, \
         DECODER_FAILED (the decoder panicked), TOO_LARGE \
         (more than 178,956,970 pixels) or INVALID_ARGUMENT (an IMAGE whose data does \
         not fit its size). The query goes on.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_sql_example(
        "SELECT filename, result['error_code'] AS error_code\nFROM (SELECT filename, \
         try_image_decode(content) AS result FROM read_blob('sql/data/photos/*.png')) \
         AS photos;",
    )
    .with_related_udf("image_decode")
    .build()
});

/// The SQL function `try_image_decode(image)`.
#[derive(Debug)]
pub struct TryImageDecode;

#[async_trait]
impl ExpensiveFunction for TryImageDecode {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, _args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(PreparedTryImageDecode(EachRow {
            usage: &USAGE,
            value: |row| Ok(Some(row.image.decode())),
            collect: |results| {
                let described = |error: Error| (error.code(), error.to_string());
                let results = results.into_iter();
                let results = results.map(|row| row.map(|row| row.map_err(described)));
                result_array(results.collect())
            },
        })))
    }
}

#[derive(Debug)]
struct PreparedTryImageDecode(EachRow<Result<Image, Error>>);

#[async_trait]
impl PreparedCall for PreparedTryImageDecode {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        self.0.invoke(args, context).await
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        let failed = || Some(Err((EXECUTOR_DIED, reason.to_string())));
        result_array((0..args.number_rows).map(|_| failed()).collect())
    }
}

/// An image, or the code and the message of its error.
type Decoded = Result<Image, (&'static str, String)>;

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("image", image_type(), true),
        Field::new("error_code", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ])
}

/// A NULL struct for a NULL image.
fn result_array(results: Vec<Option<Decoded>>) -> Result<ArrayRef> {
    let nulls = NullBuffer::from_iter(results.iter().map(Option::is_some));
    let errors = || {
        let errors = results.iter().map(|result| result.as_ref()?.as_ref().err());
        errors.collect::<Vec<_>>().into_iter()
    };
    let codes: StringArray = errors().map(|error| error.map(|(code, _)| *code)).collect();
    let messages: StringArray = errors()
        .map(|error| error.map(|(_, message)| message.as_str()))
        .collect();
    let images = results
        .into_iter()
        .map(|result| result.and_then(Result::ok))
        .collect();
    let columns: Vec<ArrayRef> =
        vec![image_array(images)?, Arc::new(codes), Arc::new(messages)];
    Ok(Arc::new(StructArray::try_new(
        fields(),
        columns,
        Some(nulls),
    )?))
}
