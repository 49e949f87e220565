//! `url_download`: the file behind a URL, or an error.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::{
    Argument, Call, CallContext, ExpensiveFunction, PreparedCall, RowError, Usage, usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};
use futures::StreamExt;

use crate::SECTION;
use crate::download::{content_column, fetch_rows, urls};
use crate::fetch::Limits;

const USAGE: Usage = Usage {
    name: "url_download",
    syntax: "url_download(url)",
    arguments: &[Argument("url", usage::text)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Fetches the file behind a URL as a BLOB, up to 128 at once and 64 of one host. \
         Failures that may pass are tried again twice. A file that cannot be \
         fetched within 30 seconds, or is larger than 256 MiB, ends the statement with an \
         error; `try_url_download` gives a row that says why instead.",
        USAGE.syntax,
    )
    .with_argument("url", "URL (https://, http://, s3://, gs://, az://, file://) or local path.")
    .with_sql_example(
        "SELECT url, length(encode(url_download(url), 'hex')) / 2 AS bytes\n\
         FROM (VALUES ('sql/data/photos/coffee.png')) AS photos(url);",
    )
    .with_related_udf("try_url_download")
    .with_related_udf("read_blob")
    .build()
});

/// The SQL function `url_download(url)`.
#[derive(Debug)]
pub struct UrlDownload;

#[async_trait]
impl ExpensiveFunction for UrlDownload {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, _args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Prepared))
    }
}

#[derive(Debug)]
struct Prepared;

#[async_trait]
impl PreparedCall for Prepared {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let [url] = take_function_args(USAGE.name, args.args)?;
        let urls = urls(url, args.number_rows)?;
        let mut fetched =
            Box::pin(fetch_rows(USAGE.name, urls, Limits::default(), context));
        let mut contents = Vec::with_capacity(args.number_rows);
        while let Some(content) = fetched.next().await {
            let row = contents.len();
            let content = content.transpose().map_err(|failure| {
                let error = failure.into();
                DataFusionError::External(Box::new(RowError { row, error }))
            })?;
            contents.push(content.map(|fetched| fetched.content));
        }
        content_column(USAGE.name, &contents)
    }
}
