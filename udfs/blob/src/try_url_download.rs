//! `try_url_download`: the file behind a URL, or a row that says why not.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use atoll_udf_common::structs::check_keys;
use atoll_udf_common::{
    Argument, Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, OptionStruct,
    PreparedCall, Usage, usage,
};
use datafusion::arrow::array::{ArrayRef, StringArray, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};
use futures::StreamExt;

use crate::SECTION;
use crate::download::{content_column, fetch_rows, urls};
use crate::fetch::{Failure, Fetched, Limits};

const USAGE: Usage = Usage {
    name: "try_url_download",
    syntax: "try_url_download(url [, options])",
    arguments: &[
        Argument("url", usage::text),
        Argument("options", usage::any),
    ],
    optional: 1,
};

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
        USAGE.syntax,
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
#[derive(Debug)]
pub struct TryUrlDownload;

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("content", DataType::Binary, true),
        Field::new("error_code", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
        Field::new("content_sha256", DataType::Utf8, true),
    ])
}

#[async_trait]
impl ExpensiveFunction for TryUrlDownload {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        if let Some(options) = args.arg_fields.get(1) {
            check_keys(USAGE.name, "option", options.data_type(), &OPTIONS)?;
        }
        if let Some(Some(options)) = args.scalar_arguments.get(1) {
            limits(&OptionStruct::of_value(USAGE.name, options)?)?;
        }
        Ok(DataType::Struct(fields()))
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = call.args.get(1);
        let options =
            OptionStruct::of_call(USAGE.name, options, &OPTIONS, "{timeout_ms: 5000}")?;
        let limits = limits(&options)?;
        Ok(Arc::new(Prepared { limits }))
    }
}

/// The limits that a call asks for.
fn limits(options: &OptionStruct) -> Result<Limits> {
    let mut limits = Limits::default();
    if let Some(milliseconds) = options.between("timeout_ms", 1..=3_600_000)? {
        limits.timeout = Duration::from_millis(milliseconds);
    }
    if let Some(retries) = options.between("retries", 0..=10)? {
        limits.retries = retries as u32;
    }
    if let Some(bytes) = options.between("max_bytes", 1..=i32::MAX as u64)? {
        limits.max_bytes = bytes;
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
        let fetched = fetch_rows(USAGE.name, urls, self.limits, context)
            .collect()
            .await;
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
        content_column(USAGE.name, &contents)?,
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
    use datafusion::common::ScalarValue;

    use super::*;

    fn options(key: &str, value: i64) -> ScalarValue {
        let field = Arc::new(Field::new(key, DataType::Int64, true));
        let value: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        ScalarValue::Struct(Arc::new(StructArray::from(vec![(field, value)])))
    }

    fn read(key: &str, value: i64) -> Result<Limits> {
        limits(&OptionStruct::of_value(USAGE.name, &options(key, value))?)
    }

    #[test]
    fn options_set_the_limits() {
        assert_eq!(read("timeout_ms", 50).unwrap().timeout.as_millis(), 50);
        assert_eq!(read("retries", 0).unwrap().retries, 0);
        assert_eq!(read("max_bytes", 9).unwrap().max_bytes, 9);
    }

    #[test]
    fn an_option_outside_its_domain_is_named() {
        let error = read("timeout_ms", -1).unwrap_err().strip_backtrace();
        assert!(
            error.contains("option timeout_ms must be from 1 to 3600000, got -1"),
            "{error}"
        );
    }
}
