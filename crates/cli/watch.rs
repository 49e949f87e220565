//! `atoll watch`: studies under way and done, in a browser.
//!
//! It reads what `tune` leaves in the storage as it goes on (`live/`), so it shows studies of
//! any process that uses the storage, on this machine or through a cluster. A browser gets
//! the page of a study once and then server-sent events, of which each is a line of text; it
//! fetches the pictures again when trials have ended.

mod live;

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atoll_cluster::Token;
use atoll_report::{About, live_index, live_page};
use atoll_session::Session;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use clap::Args;
use futures::Stream;
use tokio::runtime::Handle;

use self::live::{Shown, Storage};
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::note;
use crate::session_args::{LOOPBACK, SessionArgs};
use crate::stop::{StopArgs, stop};

/// The port, unless another is named: after that of `atoll serve`.
const PORT: u16 = 50070;
/// How often the storage is asked for news, for each page that is open.
const LOOK: Duration = Duration::from_secs(1);
/// The cookie that a browser shows the token in.
const COOKIE: &str = "atoll_watch";

/// Arguments of `atoll watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Listen on this port of this machine; 0 picks a free one
    #[arg(long, default_value_t = PORT)]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

/// What all requests share.
struct Watch {
    storage: Storage,
    token: String,
}

/// Shows pages until Ctrl-C or SIGTERM.
///
/// Only this machine reaches it: a page can stop a study, and nothing here is encrypted.
pub(crate) async fn watch(
    args: &WatchArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let token = token(session)?;
    let opened = Arc::new(Session::new(session.options().await?).await?);
    let storage = Storage::new(opened, work.clone())?;
    let at = SocketAddr::new(LOOPBACK, args.port);
    let listener = tokio::net::TcpListener::bind(at).await.map_err(|error| {
        Failure::new(format!("cannot listen on {at}: {error}"))
            .hint("name another port, or let one be picked: --port 0")
    })?;
    let address = listener.local_addr()?;
    note(&format!(
        "atoll {} watch: http://{address}/?token={token}, storage {}",
        atoll_session::VERSION,
        storage.name(),
    ));
    let watch = Arc::new(Watch { storage, token });
    let mut stop = stop(&args.stop);
    tokio::select! {
        served = axum::serve(listener, routes(&watch)) => served?,
        // Pages that are open hold connections that never end by themselves.
        _ = stop.changed() => {}
    }
    note("stopped watching; studies go on");
    Ok(Ending::Finished)
}

/// The user's token, or one for this process.
fn token(session: &SessionArgs) -> Result<String, Failure> {
    // The same rules as for servers: a file that cannot be read, or a text that is too
    // short, is an error here too.
    let _: Token = session.token()?;
    let given = match &session.token_file {
        Some(file) => std::fs::read_to_string(file).ok(),
        None => std::env::var("ATOLL_TOKEN").ok(),
    };
    if let Some(given) = given.map(|text| text.trim().to_string()) {
        return Ok(given);
    }
    let mut bytes = [0; 24];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| Failure::new(format!("cannot make a token: {error}")))?;
    Ok(hex::encode(bytes))
}

fn routes(watch: &Arc<Watch>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/watch.js", get(script))
        .route("/study/{id}", get(study))
        .route("/study/{id}/events", get(events))
        .route("/study/{id}/stop", post(stop_study))
        .route("/table/{name}", get(table))
        .with_state(Arc::clone(watch))
        .layer(middleware::from_fn_with_state(Arc::clone(watch), admit))
}

/// Lets in who has the token: in the address that was printed, which becomes a cookie, or as
/// a bearer.
async fn admit(
    State(watch): State<Arc<Watch>>,
    request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let shown = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="));
    if shown.is_some_and(|shown| is_same(shown, &watch.token)) {
        let mut response = Redirect::to(request.uri().path()).into_response();
        let cookie = format!(
            "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict",
            watch.token
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        return response;
    }
    if credentials(request.headers()).any(|shown| is_same(&shown, &watch.token)) {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        return response;
    }
    let text = "this page needs its token: open the address that atoll watch printed\n";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

/// The tokens that a request shows.
fn credentials(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let texts = |name| {
        let values = headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok())
    };
    let cookies = texts(header::COOKIE).flat_map(|cookies| cookies.split(';'));
    let cookies = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    let cookies = cookies.filter(|(name, _)| *name == COOKIE);
    let bearers = texts(header::AUTHORIZATION);
    let bearers = bearers.filter_map(|text| text.strip_prefix("Bearer "));
    let all = cookies.map(|(_, token)| token).chain(bearers);
    all.map(str::to_string).collect::<Vec<_>>().into_iter()
}

/// Compares in a time that says nothing about where two texts differ.
fn is_same(shown: &str, token: &str) -> bool {
    let differ = shown.bytes().zip(token.bytes()).map(|(a, b)| a ^ b);
    shown.len() == token.len() && differ.fold(0, |all, one| all | one) == 0
}

/// What went wrong, for a reader of a page.
struct Wrong(Failure);

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let hint = self.0.hint.map(|hint| format!("\n\nhint: {hint}"));
        let text = format!("{}{}\n", self.0.message, hint.unwrap_or_default());
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    }
}

type Page = Result<Response, Wrong>;

async fn index(State(watch): State<Arc<Watch>>) -> Page {
    let studies = watch.storage.studies().await?;
    let tables = watch.storage.tables().await?;
    let about = About {
        made_at: watch.storage.name(),
        made_by: made_by(),
    };
    Ok(Html(live_index(&studies, &tables, &about)).into_response())
}

async fn script() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (kind, include_str!("watch/watch.js"))
}

async fn study(State(watch): State<Arc<Watch>>, Path(id): Path<String>) -> Page {
    let Some(shown) = watch.storage.study(&id).await? else {
        return Ok(unknown(&id));
    };
    let subject = watch.storage.trials(&shown).await?;
    let about = About {
        made_at: shown.updated_at.clone(),
        made_by: made_by(),
    };
    let page = live_page(&shown.live, subject.as_ref(), &about);
    Ok(Html(page.map_err(Failure::from)?).into_response())
}

async fn table(State(watch): State<Arc<Watch>>, Path(name): Path<String>) -> Page {
    Ok(Html(watch.storage.table(&name, &made_by()).await?).into_response())
}

async fn stop_study(State(watch): State<Arc<Watch>>, Path(id): Path<String>) -> Page {
    if watch.storage.study(&id).await?.is_none() {
        return Ok(unknown(&id));
    }
    watch.storage.stop(&id).await?;
    Ok(Redirect::to(&format!("/study/{id}")).into_response())
}

/// A line whenever there is news of a study, up to its end.
async fn events(State(watch): State<Arc<Watch>>, Path(id): Path<String>) -> Response {
    Sse::new(news(watch, id))
        .keep_alive(KeepAlive::default())
        .into_response()
}

fn news(watch: Arc<Watch>, id: String) -> impl Stream<Item = Result<Event, Infallible>> {
    /// What was said last; none at the beginning, and the end of it all.
    enum Said {
        Nothing,
        This(String),
        All,
    }
    futures::stream::unfold(Said::Nothing, move |said| {
        let (watch, id) = (Arc::clone(&watch), id.clone());
        async move {
            loop {
                let before = match &said {
                    Said::All => return None,
                    Said::Nothing => None,
                    Said::This(text) => {
                        tokio::time::sleep(LOOK).await;
                        Some(text)
                    }
                };
                // A storage that does not answer now may answer the next time.
                let shown = watch.storage.study(&id).await.ok().flatten();
                let Some(Shown { live, is_over, .. }) = shown else {
                    tokio::time::sleep(LOOK).await;
                    continue;
                };
                let text = serde_json::json!({
                    "line": live.line,
                    "ended": live.ended,
                    "rows": format!("{} {}", live.ended, live.state),
                    "over": is_over,
                })
                .to_string();
                if before == Some(&text) {
                    continue;
                }
                let event = Event::default().event("study").data(&text);
                let said = if is_over { Said::All } else { Said::This(text) };
                return Some((Ok(event), said));
            }
        }
    })
}

fn unknown(id: &str) -> Response {
    let text = format!("no study {id} in this storage\n");
    (StatusCode::NOT_FOUND, Body::from(text)).into_response()
}

fn made_by() -> String {
    format!("Atoll {}", atoll_session::VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_a_cookie_or_a_bearer() {
        let check = |name: header::HeaderName, value: &str, expected: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.append(name, value.parse().unwrap());
            assert_eq!(credentials(&headers).collect::<Vec<_>>(), expected);
        };
        check(header::COOKIE, "a=b; atoll_watch=x", &["x"]);
        check(header::COOKIE, "atoll_watch_2=x", &[]);
        check(header::AUTHORIZATION, "Bearer y", &["y"]);
        check(header::AUTHORIZATION, "Basic y", &[]);
    }

    #[test]
    fn only_the_whole_token_is_the_same() {
        assert!(is_same("abc", "abc"));
        assert!(!is_same("ab", "abc") && !is_same("abd", "abc") && !is_same("", "abc"));
    }
}
