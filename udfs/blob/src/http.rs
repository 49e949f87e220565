//! One GET request of a web server, and what its failures mean.

use std::error::Error as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use futures::stream;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::fetch::{AT_ONCE_OF_HOST, Failure, Fetched, collect, too_large};

/// How often a server may point elsewhere, as in curl.
const MAX_REDIRECTS: usize = 10;

/// A server that takes longer to say hello is not going to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One for the process, so that connections are used again.
fn client() -> Result<&'static Client, Failure> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let client = Client::builder()
        .user_agent(concat!("atoll/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::limited(MAX_REDIRECTS))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(AT_ONCE_OF_HOST)
        .build()
        .map_err(|error| {
            Failure::lasting("FETCH_FAILED", format!("no HTTP client: {error}"))
        })?;
    Ok(CLIENT.get_or_init(|| client))
}

/// Fetches a URL; one that is gone, forbidden or too large is a failure.
pub(crate) async fn get(url: &Url, max_bytes: u64) -> Result<Fetched, Failure> {
    let failed = |error| failure(url, &error);
    let response = client()?.get(url.clone()).send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(url, status, response.headers()));
    }
    let size = response.content_length();
    if let Some(size) = size.filter(|size| *size > max_bytes) {
        return Err(too_large(url, format_args!("{size} bytes"), max_bytes));
    }
    let chunks = stream::try_unfold(response, |mut response: Response| async move {
        let chunk = response.chunk().await.map_err(failed)?;
        Ok(chunk.map(|chunk| (chunk, response)))
    });
    collect(url, chunks, size, max_bytes).await
}

/// An answer that is no file.
fn refusal(url: &Url, status: StatusCode, headers: &HeaderMap) -> Failure {
    // A later request may be answered better after a throttled one or trouble of the
    // server; 501 and 505 are its nature.
    let (code, passing) = match status.as_u16() {
        408 | 425 | 429 => ("HTTP_THROTTLED", true),
        500 | 502..=504 => ("HTTP_5XX", true),
        501 | 505.. => ("HTTP_5XX", false),
        _ => ("HTTP_4XX", false),
    };
    Failure {
        passing,
        retry_after: passing.then(|| retry_after(headers)).flatten(),
        ..Failure::lasting(code, format!("{url} answered {status}"))
    }
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// No answer, or one that ended early.
fn failure(url: &Url, error: &reqwest::Error) -> Failure {
    let (mut cause, mut chain) = (error.source(), String::new());
    let mut last = error.to_string();
    while let Some(error) = cause {
        last = error.to_string();
        chain = format!("{chain}{last}; ");
        cause = error.source();
    }
    if error.is_redirect() {
        let message = format!("{url} redirects more than {MAX_REDIRECTS} times");
        return Failure::lasting("HTTP_REDIRECTS", message);
    }
    if error.is_builder() {
        return Failure::lasting("INVALID_URL", format!("not a URL: {url}: {last}"));
    }
    // The resolver's error has no type of its own.
    if chain.contains("dns error") {
        return Failure::passing("URL_DNS", format!("no address for {url}: {last}"));
    }
    if error.is_connect() {
        let code = if error.is_timeout() {
            "URL_TIMEOUT"
        } else {
            "URL_CONNECT"
        };
        return Failure::passing(code, format!("cannot connect to {url}: {last}"));
    }
    let message = format!("{url} broke off its answer: {last}");
    Failure::passing("URL_INCOMPLETE", message)
}
