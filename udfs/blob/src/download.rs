//! The URLs of a record batch and what was behind them, as columns.

use std::sync::Arc;

use atoll_udf_common::CallContext;
use atoll_udf_common::args::string_at;
use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::ColumnarValue;
use futures::{Stream, StreamExt, stream};
use tokio_util::task::AbortOnDropHandle;

use crate::fetch::{AT_ONCE, Failure, Fetched, Limits, fetch};

/// Fetches the URL of every row, in the order of rows; `None` for a NULL.
///
/// Each fetch is a task of the runtime, so that it goes on while nobody asks for the
/// next row: whoever infers from the rows before may be busy for longer than a server
/// waits. Dropping the stream ends what is still under way.
pub(crate) fn fetch_rows(
    function: &str,
    urls: Vec<Option<String>>,
    limits: Limits,
    context: &CallContext,
) -> impl Stream<Item = Option<Result<Fetched, Failure>>> + Send + use<> {
    let (progress, context) = (context.progress.rows(function), context.clone());
    progress.add_total(urls.len() as u64);
    let fetches = stream::iter(urls).map(move |url| {
        let (progress, context) = (progress.clone(), context.clone());
        let fetching = AbortOnDropHandle::new(tokio::spawn(async move {
            let fetched = match url {
                Some(url) => Some(fetch(&url, limits, &context).await),
                None => None,
            };
            progress.advance(1);
            fetched
        }));
        async move {
            // Only a panic ends the task without a result.
            let bug = |error| Failure::lasting("FETCH_FAILED", format!("bug: {error}"));
            fetching.await.unwrap_or_else(|error| Some(Err(bug(error))))
        }
    });
    fetches.buffered(AT_ONCE)
}

/// The URLs of a record batch; a scalar stands for every row.
pub(crate) fn urls(url: ColumnarValue, rows: usize) -> Result<Vec<Option<String>>> {
    let urls = url.into_array(rows)?;
    Ok((0..rows)
        .map(|row| string_at(&urls, row).map(ToString::to_string))
        .collect())
}

/// Contents as a column; together they must fit into one value array.
pub(crate) fn content_column(
    function: &str,
    contents: &[Option<Bytes>],
) -> Result<ArrayRef> {
    let bytes: usize = contents.iter().flatten().map(Bytes::len).sum();
    if i32::try_from(bytes).is_err() {
        return exec_err!(
            "{function}: the files of one record batch have {bytes} bytes together, more than \
             2 GiB; SET datafusion.execution.batch_size = 64"
        );
    }
    Ok(Arc::new(BinaryArray::from_iter(
        contents.iter().map(Option::as_ref),
    )))
}

/// The message without the kind of error in front, which means nothing in a row.
pub(crate) fn plain(error: &DataFusionError) -> String {
    error.message().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_come_in_order_and_null_stays_null() {
        let folder = tempfile::tempdir().unwrap();
        let mut urls = vec![None];
        for i in 0..100 {
            let path = folder.path().join(i.to_string());
            std::fs::write(&path, i.to_string()).unwrap();
            urls.push(Some(path.to_str().unwrap().to_string()));
        }
        let context = CallContext::default();
        let rows = fetch_rows("f", urls, Limits::default(), &context)
            .collect::<Vec<_>>()
            .await;
        assert!(rows[0].is_none());
        for (i, row) in rows.into_iter().skip(1).enumerate() {
            assert_eq!(row.unwrap().unwrap().content, i.to_string());
        }
    }
}
