//! `try_url_download`: the file behind a URL, or a row that says why not.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use atoll_udf_common::structs::{check_keys, row_to_json};
use atoll_udf_common::{
    Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, PreparedCall, not_here,
};
use datafusion::arrow::array::{ArrayRef, StringArray, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDFImpl, Signature, Volatility,
};
use futures::StreamExt;

use crate::SECTION;
use crate::download::{coerce_url, content_column, fetch_rows, urls};
use crate::fetch::{Failure, Fetched, Limits};

const NAME: &str = "try_url_download";

const OPTIONS: [&str; 3] = ["timeout_ms", "retries", "max_bytes"];

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Fetches the file behind a URL, up to 128 at once and 64 of one host, as STRUCT<content \
         BLOB, error_code VARCHAR, error VARCHAR, content_sha256 VARCHAR>. A file that cannot \
         be fetched is a row without content whose error_code is INVALID_URL, TOO_LARGE; of \
         web servers URL_TIMEOUT, URL_DNS, URL_CONNECT, URL_INCOMPLETE (the answer broke off), \
         HTTP_REDIRECTS (more than 10), HTTP_THROTTLED, HTTP_4XX or HTTP_5XX; of disks and object stores \
         NOT_FOUND, PERMISSION_DENIED or FETCH_FAILED. Failures that may pass are tried again \
         after 0.2 seconds, doubled each time, or when the server's Retry-After says; \
         the page Error codes of the book says which they are. Connections are used again.",
        "try_url_download(url [, options])",
    )
    .with_argument("url", "URL (https://, http://, s3://, gs://, az://, file://) or local path.")
    .with_argument(
        "options",
        "Literal struct with any of `timeout_ms` (30000, for all tries of a file together), \
         `retries` (2, after failures that may pass) and `max_bytes` (268435456).",
    )
    .with_sql_example(
        "SELECT url, file['error_code'] AS error_code, file['content_sha256'] AS sha256\n\
         FROM (\n\
         \x20   SELECT url, try_url_download(url, {timeout_ms: 5000}) AS file\n\
         \x20   FROM (VALUES ('sql/data/photos/coffee.png'), ('missing.png')) AS photos(url)\n\
         );",
    )
    .with_related_udf("url_download")
    .with_related_udf("read_blob")
    .build()
});

/// The SQL function `try_url_download(url [, options])`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TryUrlDownload {
    signature: Signature,
}

impl Default for TryUrlDownload {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("content", DataType::Binary, true),
        Field::new("error_code", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
        Field::new("content_sha256", DataType::Utf8, true),
    ])
}

impl ScalarUDFImpl for TryUrlDownload {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [url] => Ok(vec![coerce_url(NAME, url)?]),
            [url, options] => {
                check_keys(NAME, "option", options, &OPTIONS)?;
                Ok(vec![coerce_url(NAME, url)?, options.clone()])
            }
            _ => plan_err!(
                "try_url_download takes one or two arguments, \
                 try_url_download(url [, options]), got {}",
                arg_types.len()
            ),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(Some(options)) = args.scalar_arguments.get(1) {
            limits(options)?;
        }
        Ok(Arc::new(Field::new(NAME, DataType::Struct(fields()), true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_here(NAME)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

#[async_trait]
impl ExpensiveFunction for TryUrlDownload {
    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let limits = match call.args.get(1) {
            None => Limits::default(),
            Some(Expr::Literal(options, _)) => limits(options)?,
            Some(other) => {
                return plan_err!(
                    "try_url_download: options must be a literal, got {other}"
                );
            }
        };
        Ok(Arc::new(Prepared { limits }))
    }
}

/// The limits that an options struct asks for.
fn limits(options: &ScalarValue) -> Result<Limits> {
    let mut limits = Limits::default();
    let ScalarValue::Struct(options) = options else {
        return Ok(limits);
    };
    for (key, value) in row_to_json(options, 0)? {
        if value.is_null() {
            continue;
        }
        let most = match key.as_str() {
            "timeout_ms" => 3_600_000,
            "retries" => 10,
            _ => i32::MAX as u64,
        };
        let least = u64::from(key != "retries");
        let number = value
            .as_u64()
            .filter(|number| (least..=most).contains(number));
        let Some(number) = number else {
            return plan_err!(
                "{NAME}: {key} must be from {least} to {most}, got {value}"
            );
        };
        match key.as_str() {
            "timeout_ms" => limits.timeout = Duration::from_millis(number),
            "retries" => limits.retries = u32::try_from(number).unwrap_or(u32::MAX),
            _ => limits.max_bytes = number,
        }
    }
    Ok(limits)
}

#[derive(Debug)]
struct Prepared {
    limits: Limits,
}

#[async_trait]
impl PreparedCall for Prepared {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let Some(url) = args.args.into_iter().next() else {
            return internal_err!("try_url_download without url");
        };
        let urls = urls(url, args.number_rows)?;
        let fetched = fetch_rows(NAME, urls, self.limits, context).collect().await;
        if context.token.is_cancelled() {
            return exec_err!("cancelled");
        }
        struct_column(fetched)
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        let failed = || Some(Err(Failure::lasting(EXECUTOR_DIED, reason)));
        struct_column((0..args.number_rows).map(|_| failed()).collect())
    }
}

/// One struct a row, NULL where the URL was.
fn struct_column(fetched: Vec<Option<Result<Fetched, Failure>>>) -> Result<ArrayRef> {
    let rows = NullBuffer::from_iter(fetched.iter().map(Option::is_some));
    let (mut contents, mut digests) = (Vec::new(), Vec::new());
    let (mut codes, mut errors) = (Vec::new(), Vec::new());
    for file in fetched {
        let (file, failure) = match file {
            Some(Ok(file)) => (Some(file), None),
            Some(Err(failure)) => (None, Some(failure)),
            None => (None, None),
        };
        let (content, sha256) = file.map(|file| (file.content, file.sha256)).unzip();
        contents.push(content);
        digests.push(sha256);
        codes.push(failure.as_ref().map(|failure| failure.code));
        errors.push(failure.map(|failure| failure.message));
    }
    let columns: Vec<ArrayRef> = vec![
        content_column(NAME, &contents)?,
        Arc::new(StringArray::from(codes)),
        Arc::new(StringArray::from(errors)),
        Arc::new(StringArray::from(digests)),
    ];
    Ok(Arc::new(StructArray::try_new(
        fields(),
        columns,
        Some(rows),
    )?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;

    use super::*;

    fn options(key: &str, value: i64) -> ScalarValue {
        let field = Arc::new(Field::new(key, DataType::Int64, true));
        let value: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        ScalarValue::Struct(Arc::new(StructArray::from(vec![(field, value)])))
    }

    #[test]
    fn options_set_the_limits() {
        assert_eq!(
            limits(&options("timeout_ms", 50))
                .unwrap()
                .timeout
                .as_millis(),
            50
        );
        assert_eq!(limits(&options("retries", 0)).unwrap().retries, 0);
        assert_eq!(limits(&options("max_bytes", 9)).unwrap().max_bytes, 9);
    }

    #[test]
    fn an_option_outside_its_domain_is_named() {
        let error = limits(&options("timeout_ms", -1))
            .unwrap_err()
            .strip_backtrace();
        assert!(
            error.contains("timeout_ms must be from 1 to 3600000, got -1"),
            "{error}"
        );
    }

    #[test]
    fn a_misspelt_option_is_named() {
        let types = [DataType::Utf8, options("timeout", 1).data_type()];
        let error = TryUrlDownload::default().coerce_types(&types).unwrap_err();
        assert!(
            error.strip_backtrace().contains("did you mean timeout_ms?"),
            "{error}"
        );
    }
}
