//! Fetching of one URL, with a bound on its time, its size and its company.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use atoll_udf_common::args::{is_text, string_at};
use atoll_udf_common::{CallContext, Location};
use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, plan_err,
};
use datafusion::logical_expr::ColumnarValue;
use futures::{Stream, StreamExt, stream};
use object_store::ObjectStoreExt;
use tokio::sync::Semaphore;

/// How many files the process fetches at once, over all statements.
const AT_ONCE: usize = 64;

static PERMITS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

/// The wait before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The bounds of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For all tries of a file together.
    pub(crate) timeout: Duration,
    /// Tries after the first.
    pub(crate) retries: u32,
    /// Size of a file.
    pub(crate) max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            retries: 2,
            max_bytes: 256 << 20,
        }
    }
}

/// Why a file was not fetched.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Whether another try may succeed.
    passing: bool,
}

impl Failure {
    pub(crate) fn lasting(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            passing: false,
        }
    }
}

impl From<Failure> for DataFusionError {
    fn from(failure: Failure) -> Self {
        exec_datafusion_err!("{}", failure.message)
    }
}

/// Checks the type of the argument that both functions begin with.
pub(crate) fn coerce_url(function: &str, url: &DataType) -> Result<DataType> {
    match url {
        text if is_text(text) => Ok(text.clone()),
        DataType::Null => Ok(DataType::Utf8),
        other => plan_err!("{function}: url must be text, got {other}"),
    }
}

/// Fetches one file, trying again while that may help and the time lasts.
async fn fetch(
    url: &str,
    limits: Limits,
    context: &CallContext,
) -> Result<Bytes, Failure> {
    let location = context
        .locate(url)
        .map_err(|error| Failure::lasting("INVALID_URL", plain(&error)))?;
    tokio::select! {
        () = context.token.cancelled() => Err(Failure::lasting("CANCELLED", "cancelled")),
        fetched = fetch_in_time(&location, limits) => fetched,
    }
}

async fn fetch_in_time(location: &Location, limits: Limits) -> Result<Bytes, Failure> {
    // The time starts when the fetch does: waiting for its turn is not the file's fault.
    let _permit = PERMITS.acquire().await;
    tokio::time::timeout(limits.timeout, fetch_with_retries(location, limits))
        .await
        .unwrap_or_else(|_| {
            let ms = limits.timeout.as_millis();
            Err(Failure::lasting(
                "TIMEOUT",
                format!("no answer within {ms} ms from {location}"),
            ))
        })
}

async fn fetch_with_retries(
    location: &Location,
    limits: Limits,
) -> Result<Bytes, Failure> {
    let mut wait = FIRST_WAIT;
    for _ in 0..limits.retries {
        match fetch_once(location, limits.max_bytes).await {
            Err(failure) if failure.passing => tokio::time::sleep(wait).await,
            result => return result,
        }
        wait *= 2;
    }
    fetch_once(location, limits.max_bytes).await
}

async fn fetch_once(location: &Location, max_bytes: u64) -> Result<Bytes, Failure> {
    let failed = |error| failure(location, error);
    let found = location.store.get(&location.path).await.map_err(failed)?;
    let size = found.meta.size;
    if size > max_bytes {
        return Err(Failure::lasting(
            "TOO_LARGE",
            format!("{location} has {size} bytes, more than the allowed {max_bytes}"),
        ));
    }
    found.bytes().await.map_err(failed)
}

fn failure(location: &Location, error: object_store::Error) -> Failure {
    let (code, passing) = match &error {
        object_store::Error::NotFound { .. } => ("NOT_FOUND", false),
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ("PERMISSION_DENIED", false),
        // A local disk does not change its mind.
        _ => ("FETCH_FAILED", location.local_path().is_none()),
    };
    Failure {
        code,
        message: plain(&location.error(error)),
        passing,
    }
}

/// The message without the kind of error in front, which means nothing in a row.
fn plain(error: &DataFusionError) -> String {
    error.message().to_string()
}

/// Fetches the URL of every row, in the order of rows, [`AT_ONCE`] at a time; `None` for
/// a NULL. Dropping the stream ends what is still under way.
pub(crate) fn fetch_rows(
    function: &str,
    urls: Vec<Option<String>>,
    limits: Limits,
    context: &CallContext,
) -> impl Stream<Item = Option<Result<Bytes, Failure>>> + Send + use<> {
    let (progress, context) = (context.progress.rows(function), context.clone());
    progress.add_total(urls.len() as u64);
    let fetches = stream::iter(urls).map(move |url| {
        let (progress, context) = (progress.clone(), context.clone());
        async move {
            let fetched = match url {
                Some(url) => Some(fetch(&url, limits, &context).await),
                None => None,
            };
            progress.advance(1);
            fetched
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    async fn fails(url: &str, limits: Limits) -> Failure {
        fetch(url, limits, &CallContext::default())
            .await
            .unwrap_err()
    }

    /// A server on this machine that gives each connection the next of `answers`, and
    /// leaves the connections after the last one without an answer.
    fn server(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a.txt", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for (i, connection) in listener.incoming().enumerate() {
                let mut connection = connection.unwrap();
                let _ = connection.read(&mut [0; 4096]);
                match answers.get(i) {
                    Some(answer) => connection.write_all(answer.as_bytes()).unwrap(),
                    None => open.push(connection),
                }
            }
        });
        url
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\
                      Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\
                      Connection: close\r\n\r\nhello";
    const ABSENT: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\
                          Connection: close\r\n\r\n";

    #[tokio::test]
    async fn a_web_server_gives_its_file() {
        let url = server(&[OK]);
        let context = CallContext::default();
        assert_eq!(
            fetch(&url, Limits::default(), &context).await.unwrap(),
            "hello"
        );
    }

    #[tokio::test]
    async fn each_failure_has_its_code() {
        let limits = Limits::default();
        assert_eq!(fails(&server(&[ABSENT]), limits).await.code, "NOT_FOUND");
        assert_eq!(fails("/no/such/file", limits).await.code, "NOT_FOUND");
        assert_eq!(fails("ftp://host/file", limits).await.code, "INVALID_URL");
        let small = Limits {
            max_bytes: 4,
            ..limits
        };
        assert_eq!(fails(&server(&[OK]), small).await.code, "TOO_LARGE");
    }

    #[tokio::test]
    async fn a_silent_server_runs_into_the_timeout() {
        let limits = Limits {
            timeout: Duration::from_millis(50),
            ..Limits::default()
        };
        let failure = fails(&server(&[]), limits).await;
        assert_eq!(failure.code, "TIMEOUT");
        assert!(
            failure.message.contains("within 50 ms from http://127"),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn cancelling_ends_a_fetch() {
        let (url, context) = (server(&[]), CallContext::default());
        context.token.cancel();
        let failure = fetch(&url, Limits::default(), &context).await.unwrap_err();
        assert_eq!(failure.code, "CANCELLED");
    }

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
            assert_eq!(row.unwrap().unwrap(), i.to_string());
        }
    }
}
