//! Web servers on this machine that behave in every way servers do.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::download::fetch_rows;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server that hands each connection to `serve`, with its number.
async fn server<F, S>(serve: S) -> String
where
    S: Fn(usize, TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.txt", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(number, connection));
            number += 1;
        }
    });
    url
}

/// Reads a request; `None` when the client closed the connection.
async fn request(connection: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(connection.read_u8().await.ok()?);
    }
    Some(String::from_utf8(text).unwrap())
}

/// A server whose connections each give the next of `answers` to one request, the last
/// one again and again.
async fn answering(answers: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let url = server(move |number, mut connection| {
        let answer = answers[number.min(answers.len() - 1)];
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            request(&mut connection).await;
            // The client may have had enough.
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    (url.await, served)
}

async fn get(url: &str, limits: Limits) -> Result<Fetched, Failure> {
    fetch(url, limits, &CallContext::default()).await
}

fn once() -> Limits {
    Limits {
        retries: 0,
        ..Limits::default()
    }
}

#[track_caller]
fn check_failure(result: Result<Fetched, Failure>, code: &str, message: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(failure.message.contains(message), "{failure:?}");
}

async fn check_answer(answer: &'static [&'static str], code: &str, message: &str) {
    check_failure(get(&answering(answer).await.0, once()).await, code, message);
}

#[tokio::test]
async fn a_web_server_gives_its_file() {
    let (url, _) = answering(&[OK]).await;
    let fetched = get(&url, Limits::default()).await.unwrap();
    assert_eq!(fetched.content, "hello");
    // echo -n hello | sha256sum
    assert!(fetched.sha256.starts_with("2cf24dba5fb0a30e"));
}

#[tokio::test]
async fn the_query_of_a_url_is_sent() {
    let url = server(|_, mut connection| async move {
        let request = request(&mut connection).await.unwrap();
        let path = request.split(' ').nth(1).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path.len());
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(path.as_bytes()).await.unwrap();
    });
    let fetched = get(&format!("{}?id=7&b", url.await), once()).await.unwrap();
    assert_eq!(fetched.content, "/a.txt?id=7&b");
}

#[tokio::test]
async fn each_answer_has_its_code() {
    let absent = &["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"];
    check_answer(absent, "HTTP_4XX", "answered 404 Not Found").await;
    let forbidden = &["HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"];
    check_answer(forbidden, "HTTP_4XX", "403").await;
    let slower = &["HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"];
    check_answer(slower, "HTTP_THROTTLED", "429").await;
    let broken = &["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"];
    check_answer(broken, "HTTP_5XX", "500").await;
    check_answer(&[""], "URL_INCOMPLETE", "broke off").await;
    check_answer(&["hello\r\n\r\n"], "URL_INCOMPLETE", "broke off").await;
}

#[tokio::test]
async fn a_server_that_lies_about_length_is_found_out() {
    let more = &["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"];
    check_answer(more, "URL_INCOMPLETE", "broke off").await;
    let chunk = &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"];
    check_answer(chunk, "URL_INCOMPLETE", "broke off").await;
    let huge = &["HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nhello"];
    check_answer(huge, "TOO_LARGE", "has 99999999999999 bytes, more than").await;
}

#[tokio::test]
async fn an_endless_file_is_cut_off() {
    let url = server(|_, mut connection| async move {
        request(&mut connection).await;
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        while connection.write_all(&[7; 4096]).await.is_ok() {}
    });
    let small = Limits {
        max_bytes: 100_000,
        ..once()
    };
    check_failure(get(&url.await, small).await, "TOO_LARGE", "allowed 100000");
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let there = &[
        "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        OK,
    ];
    let (url, _) = answering(there).await;
    assert_eq!(get(&url, once()).await.unwrap().content, "hello");
    let round = &["HTTP/1.1 302 Found\r\nLocation: /a.txt\r\nContent-Length: 0\r\n\r\n"];
    check_answer(round, "HTTP_REDIRECTS", "more than 10 times").await;
}

#[tokio::test]
async fn nobody_there_has_codes_of_its_own() {
    // Nothing listens at the port of a listener that is gone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    check_failure(get(&url, once()).await, "URL_CONNECT", "cannot connect");
    // No name below .invalid ever exists (RFC 2606).
    let nowhere = get("http://nowhere.invalid/a.jpg", once()).await;
    check_failure(
        nowhere,
        "URL_DNS",
        "no address for http://nowhere.invalid/a.jpg",
    );
    check_failure(get("http://", once()).await, "INVALID_URL", "not a URL");
    check_failure(get("ftp://host/file", once()).await, "INVALID_URL", "s3://");
    check_failure(
        get("/no/such/file", once()).await,
        "NOT_FOUND",
        "/no/such/file",
    );
}

#[tokio::test]
async fn a_stalling_server_runs_into_the_timeout() {
    let limits = Limits {
        timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let silent = server(|_, mut connection| async move {
        request(&mut connection).await;
        std::future::pending().await
    });
    let expected = "within 50 ms from http://127";
    check_failure(get(&silent.await, limits).await, "URL_TIMEOUT", expected);
    let halfway = server(|_, mut connection| async move {
        request(&mut connection).await;
        let some = &OK.as_bytes()[..OK.len() - 2];
        connection.write_all(some).await.unwrap();
        std::future::pending().await
    });
    check_failure(get(&halfway.await, limits).await, "URL_TIMEOUT", expected);
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    let answers: &[&str] = Box::leak(Box::new([busy, "", OK]));
    let (url, served) = answering(answers).await;
    assert_eq!(get(&url, Limits::default()).await.unwrap().content, "hello");
    assert_eq!(served.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_lasts_is_not_tried_again() {
    let absent = &["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"];
    let (url, served) = answering(absent).await;
    check_failure(get(&url, Limits::default()).await, "HTTP_4XX", "404");
    assert_eq!(served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_more_time_than_is_left_gets_no_second_request() {
    for later in ["3600", "Wed, 21 Oct 2099 07:28:00 GMT"] {
        let busy = format!(
            "HTTP/1.1 503 Busy\r\nRetry-After: {later}\r\nContent-Length: 0\r\n\r\n"
        );
        let (url, served) = answering(Box::leak(Box::new([&*busy.leak()]))).await;
        check_failure(get(&url, Limits::default()).await, "HTTP_5XX", "503");
        assert_eq!(served.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn cancelling_ends_a_fetch() {
    let url = server(|_, _connection| std::future::pending()).await;
    let context = CallContext::default();
    context.token.cancel();
    let failure = fetch(&url, Limits::default(), &context).await.unwrap_err();
    assert_eq!(failure.code, "CANCELLED");
}

/// What one server saw of its clients.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A server that takes 50 ms for each request and keeps its connections.
async fn slow_server() -> (String, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let url = server(move |_, mut connection| {
        let seen = Arc::clone(&shared);
        seen.connections.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(request) = request(&mut connection).await {
                let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                seen.most_at_once.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                seen.at_once.fetch_sub(1, Ordering::SeqCst);
                let path = request.split(' ').nth(1).unwrap();
                let length = path.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (url.await, seen)
}

#[tokio::test]
async fn many_files_of_a_slow_server_come_over_few_connections() {
    let (url, seen) = slow_server().await;
    let urls = (0..1_000).map(|row| Some(format!("{url}?{row}"))).collect();
    let start = Instant::now();
    let context = CallContext::default();
    let rows = fetch_rows("f", urls, Limits::default(), &context);
    let rows: Vec<_> = rows.collect().await;
    eprintln!("1,000 files in {:?}", start.elapsed());
    for (row, file) in rows.into_iter().enumerate() {
        let file = file.unwrap().unwrap();
        assert_eq!(file.content, format!("/a.txt?{row}"));
    }
    assert_eq!(seen.most_at_once.load(Ordering::SeqCst), AT_ONCE_OF_HOST);
    let connections = seen.connections.load(Ordering::SeqCst);
    assert!(connections <= AT_ONCE, "{connections} connections");
}

#[tokio::test]
async fn a_host_that_hangs_costs_the_others_nothing() {
    let silent = server(|_, _connection| std::future::pending()).await;
    let (good, _) = slow_server().await;
    let limits = Limits {
        timeout: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let context = CallContext::default();
    let hanging = (0..200)
        .map(|row| Some(format!("{silent}?{row}")))
        .collect();
    let hanging =
        tokio::spawn(fetch_rows("f", hanging, limits, &context).collect::<Vec<_>>());
    let urls = (0..200).map(|row| Some(format!("{good}?{row}"))).collect();
    let rows: Vec<_> = fetch_rows("f", urls, limits, &context).collect().await;
    assert!(rows.into_iter().all(|row| row.unwrap().is_ok()));
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn fetches_go_on_while_nobody_asks() {
    let (url, seen) = slow_server().await;
    let urls = (0..64).map(|row| Some(format!("{url}?{row}"))).collect();
    let context = CallContext::default();
    let rows = fetch_rows("f", urls, Limits::default(), &context);
    let mut rows = std::pin::pin!(rows);
    // One look starts them all.
    assert!(futures::poll!(rows.next()).is_pending());
    while seen.connections.load(Ordering::SeqCst) < 64
        || seen.at_once.load(Ordering::SeqCst) > 0
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(rows.all(|row| async { row.unwrap().is_ok() }).await);
}
