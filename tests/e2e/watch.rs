//! `atoll watch`: the page of a study while it runs and afterwards, and the end of one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::Atoll;

/// As long as a study on a busy machine may take to get somewhere.
const LIMIT: Duration = Duration::from_secs(240);

/// A page server that ends with the test.
struct Watch {
    child: Child,
    address: String,
    token: String,
}

impl Watch {
    fn start(atoll: &Atoll) -> Self {
        let mut command = atoll.command(&["watch", "--port", "0", "--stop-with-input"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        let (_, address) = said.split_once("http://").unwrap();
        let (address, rest) = address.split_once("/?token=").unwrap();
        let (token, _) = rest.split_once(',').unwrap();
        Self {
            child,
            address: address.to_string(),
            token: token.to_string(),
        }
    }

    /// The whole answer to a request, headers included.
    fn ask(&self, method: &str, path: &str, token: Option<&str>) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: here\r\n{token}Content-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask("GET", path, Some(&self.token))
    }

    /// The path of the only study, once there is one.
    fn study(&self) -> String {
        let mut path = None;
        until(|| {
            let index = self.get("/");
            let found = index.split_once("href=\"/study/");
            path = found.map(|(_, rest)| format!("/study/{}", &rest[..64]));
            path.is_some()
        });
        path.unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < LIMIT, "it took too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn search(trials: u32, epochs: u32, pruner: &str) -> String {
    format!(
        "CREATE TABLE study AS SELECT * FROM tune('sql/data/digits.parquet', {{
             architecture: 'mlp', epochs: {epochs}, learning_rate: hp_loguniform(0.01, 0.1),
             hidden: hp_logint(16, 64)
         }}, {{trials: {trials}, pruner: '{pruner}', seed: 1}})"
    )
}

#[test]
fn a_study_is_shown_with_its_pictures() {
    let atoll = Atoll::new();
    let watch = Watch::start(&atoll);
    assert!(watch.get("/").contains("None yet"));
    let run = atoll.run(&["-q", "-c", &search(6, 3, "halving")]);
    assert!(run.status.success(), "{}", run.stderr);
    let path = watch.study();
    let page = watch.get(&path);
    assert!(page.contains("finished: 6 of 6 trials ended"), "{page}");
    assert!(
        page.contains("<svg") && page.contains("Learning curves"),
        "{page}"
    );
    assert!(!page.contains("Stop this study"), "it is over");
    // One line for a study that is over, and then the end of the events.
    let events = watch.get(&format!("{path}/events"));
    assert_eq!(events.matches("event: study").count(), 1, "{events}");
    assert!(events.contains("\"over\":true"), "{events}");
    let index = watch.get("/");
    assert!(index.contains("href=\"/table/study\""), "{index}");
    assert!(watch.get("/table/study").contains("<svg"));
}

#[test]
fn only_the_token_opens_a_page() {
    let atoll = Atoll::new();
    let watch = Watch::start(&atoll);
    for token in [None, Some("0123456789abcdef")] {
        for path in ["/", "/watch.js", "/study/ab", "/?token=wrong"] {
            let answer = watch.ask("GET", path, token);
            assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        }
        let answer = watch.ask("POST", "/study/ab/stop", token);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let opened = watch.ask("GET", &format!("/?token={}", watch.token), None);
    assert!(opened.starts_with("HTTP/1.1 303"), "{opened}");
    assert!(opened.contains("HttpOnly; SameSite=Strict"), "{opened}");
    for path in [
        "/study/ab",
        "/study/..%2F..%2Fversion",
        "/table/%2Fetc%2Fpasswd",
    ] {
        let answer = watch.get(path);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

#[test]
fn a_study_is_stopped_and_goes_on_later() {
    const TRIALS: u32 = 2_000;
    let atoll = Atoll::new();
    let watch = Watch::start(&atoll);
    let running = atoll.start(&["-q", "-c", &search(TRIALS, 20, "none")]);
    let path = watch.study();
    until(|| {
        let page = watch.get(&path);
        page.contains("Stop this study") && page.contains("<svg")
    });
    let stopped = watch.ask("POST", &format!("{path}/stop"), Some(&watch.token));
    assert!(stopped.starts_with("HTTP/1.1 303"), "{stopped}");
    let run = running.finish();
    assert!(run.status.success(), "{}", run.stderr);
    assert!(
        run.stderr.contains("the study was stopped after"),
        "{}",
        run.stderr
    );
    let page = watch.get(&path);
    assert!(page.contains("stopped: "), "{page}");
    let count = atoll.run(&["-q", "--format", "csv", "-c", "SELECT count(*) FROM study"]);
    let rows: u32 = count.stdout.lines().last().unwrap().parse().unwrap();
    assert!(rows > 0 && rows < TRIALS, "{rows}");
    // The request is forgotten with the study that it was for.
    let again =
        search(TRIALS, 20, "none").replace("CREATE TABLE", "CREATE OR REPLACE TABLE");
    let again = atoll.start(&["-q", "-c", &again]);
    until(|| watch.get(&path).contains("running: "));
    again.signal("INT");
    again.finish();
}
