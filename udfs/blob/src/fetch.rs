//! Fetching of one file, with bounds on its time, its size, its tries and its company.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use atoll_udf_common::{CallContext, Location};
use bytes::Bytes;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use futures::{Stream, StreamExt};
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use url::Url;

use crate::download::plain;
use crate::http;

/// How many files the process fetches at once, over all statements.
pub(crate) const AT_ONCE: usize = 128;

/// How many of them from one host. A host that hangs leaves half of the places to the
/// others, and none is asked for more than a browser with some tabs would.
pub(crate) const AT_ONCE_OF_HOST: usize = 64;

static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

/// The places of each host, for as long as the process lives: a list of a million URLs
/// has some thousand hosts, of a hundred bytes each.
static HOSTS: LazyLock<Mutex<HashMap<String, Arc<Semaphore>>>> =
    LazyLock::new(Mutex::default);

/// The wait before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The bounds of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For all tries of a file together, without the time for which it waits its turn.
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

/// A file.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) content: Bytes,
    /// In hexadecimal.
    pub(crate) sha256: String,
}

/// Why a file was not fetched.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Whether another try may succeed.
    pub(crate) passing: bool,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn lasting(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            passing: false,
            retry_after: None,
        }
    }

    pub(crate) fn passing(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            passing: true,
            ..Self::lasting(code, message)
        }
    }
}

impl From<Failure> for DataFusionError {
    fn from(failure: Failure) -> Self {
        exec_datafusion_err!("{}", failure.message)
    }
}

/// Where a file is.
enum Source {
    Web(Url),
    Store(Location),
}

impl Source {
    fn of(url: &str, context: &CallContext) -> Result<Self, Failure> {
        if url.starts_with("http://") || url.starts_with("https://") {
            let parsed = Url::parse(url).map_err(|error| {
                Failure::lasting("INVALID_URL", format!("not a URL: {url}: {error}"))
            })?;
            return Ok(Self::Web(parsed));
        }
        context
            .locate(url)
            .map(Self::Store)
            .map_err(|error| Failure::lasting("INVALID_URL", plain(&error)))
    }

    /// What counts as one host; `None` for the local disk.
    fn host(&self) -> Option<String> {
        match self {
            Self::Web(url) => Some(url.authority().to_string()),
            Self::Store(location) if location.local_path().is_some() => None,
            Self::Store(location) => Some(location.url.authority().to_string()),
        }
    }

    async fn read(&self, max_bytes: u64) -> Result<Fetched, Failure> {
        match self {
            Self::Web(url) => http::get(url, max_bytes).await,
            Self::Store(location) => read_store(location, max_bytes).await,
        }
    }
}

/// Fetches one file, trying again while that may help and the time lasts.
pub(crate) async fn fetch(
    url: &str,
    limits: Limits,
    context: &CallContext,
) -> Result<Fetched, Failure> {
    let source = Source::of(url, context)?;
    tokio::select! {
        () = context.token.cancelled() => Err(Failure::lasting("CANCELLED", "cancelled")),
        fetched = fetch_with_retries(url, &source, limits) => fetched,
    }
}

async fn fetch_with_retries(
    url: &str,
    source: &Source,
    limits: Limits,
) -> Result<Fetched, Failure> {
    let host = source.host().map(places_of);
    let mut left = limits.timeout;
    let mut wait = FIRST_WAIT;
    for retries_left in (0..=limits.retries).rev() {
        let places = Places::take(host.as_deref()).await;
        let start = Instant::now();
        let result = tokio::time::timeout(left, source.read(limits.max_bytes)).await;
        drop(places);
        let failure = match result {
            Ok(Ok(fetched)) => return Ok(fetched),
            Ok(Err(failure)) => failure,
            Err(_) => return Err(timeout(url, limits)),
        };
        if !failure.passing || retries_left == 0 {
            return Err(failure);
        }
        // Others may have the place while this one waits.
        let pause = failure.retry_after.unwrap_or_else(|| spread(wait, url));
        left = left.saturating_sub(start.elapsed());
        if pause >= left {
            // There is no time for another try, so what went wrong is the answer.
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        left -= pause;
        wait *= 2;
    }
    Err(timeout(url, limits))
}

fn timeout(url: &str, limits: Limits) -> Failure {
    let ms = limits.timeout.as_millis();
    Failure::passing(
        "URL_TIMEOUT",
        format!("no answer within {ms} ms from {url}"),
    )
}

/// Between a half and all of `wait`, different for each URL and the same in each run:
/// a server that failed for many must not get all of them back at once.
fn spread(wait: Duration, url: &str) -> Duration {
    let digest = Sha256::digest(url);
    wait / 2 + wait * u32::from(digest[0]) / 512
}

fn places_of(host: String) -> Arc<Semaphore> {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    let places = hosts.entry(host);
    Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_OF_HOST))))
}

/// A place among all fetches and one among those of the host. Neither semaphore is ever
/// closed, so there is always one sooner or later.
struct Places<'a> {
    _of_host: Option<SemaphorePermit<'a>>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl<'a> Places<'a> {
    /// The host's first, so that who waits for a slow host takes no place from others.
    async fn take(host: Option<&'a Semaphore>) -> Self {
        let of_host = match host {
            Some(host) => host.acquire().await.ok(),
            None => None,
        };
        Self {
            _of_host: of_host,
            _of_all: PLACES.acquire().await.ok(),
        }
    }
}

async fn read_store(location: &Location, max_bytes: u64) -> Result<Fetched, Failure> {
    let failed = |error| store_failure(location, error);
    let found = location.store.get(&location.path).await.map_err(failed)?;
    let size = found.meta.size;
    if size > max_bytes {
        return Err(too_large(location, format_args!("{size} bytes"), max_bytes));
    }
    let chunks = found.into_stream().map(|chunk| chunk.map_err(failed));
    collect(location, chunks, Some(size), max_bytes).await
}

fn store_failure(location: &Location, error: object_store::Error) -> Failure {
    let (code, passing) = match &error {
        object_store::Error::NotFound { .. } => ("NOT_FOUND", false),
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ("PERMISSION_DENIED", false),
        // A local disk does not change its mind.
        _ => ("FETCH_FAILED", location.local_path().is_none()),
    };
    Failure {
        passing,
        ..Failure::lasting(code, plain(&location.error(error)))
    }
}

pub(crate) fn too_large(
    name: impl std::fmt::Display,
    size: impl std::fmt::Display,
    max_bytes: u64,
) -> Failure {
    let message = format!("{name} has {size}, more than the allowed {max_bytes}");
    Failure::lasting("TOO_LARGE", message)
}

/// Room that a file gets before its first byte has come: servers lie.
const FIRST_ROOM: u64 = 4 << 20;

/// Puts the chunks of a file together and hashes them on the way.
pub(crate) async fn collect(
    name: impl std::fmt::Display,
    chunks: impl Stream<Item = Result<Bytes, Failure>>,
    size: Option<u64>,
    max_bytes: u64,
) -> Result<Fetched, Failure> {
    // Fits: it is at most FIRST_ROOM.
    let room = size.unwrap_or_default().min(FIRST_ROOM) as usize;
    let mut content = Vec::with_capacity(room);
    let mut digest = Sha256::new();
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if (content.len() + chunk.len()) as u64 > max_bytes {
            let size =
                format_args!("more than {} bytes", content.len() + chunk.len() - 1);
            return Err(too_large(name, size, max_bytes));
        }
        digest.update(&chunk);
        content.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        content: Bytes::from(content),
        sha256: hex::encode(digest.finalize()),
    })
}

#[cfg(test)]
mod tests;
