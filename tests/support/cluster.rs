//! A cluster of real processes on the loopback, which ends with whoever started it.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    reason = "shared by tests and benches, which fail by panicking"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long processes may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server process of the binary under test.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Its end stops the server.
    _stdin: Option<ChildStdin>,
    /// What it said on standard error.
    said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server; `configure` may change the command.
    pub(crate) fn start(
        arguments: &[&str],
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command
            .args(arguments)
            .arg("--stop-with-input")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        configure(&mut command);
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (child.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let mut heard = heard.lock().unwrap();
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Self {
            _stdin: child.stdin.take(),
            child,
            said,
        }
    }

    /// A scheduler and executors with a slot each; returns once all are ready.
    pub(crate) fn cluster(
        executors: usize,
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let executors = executors.to_string();
        let arguments = ["cluster", "--port", "0", "--executors", &executors];
        let server = Self::start(&arguments, configure);
        let executors: usize = executors.parse().unwrap();
        server.wait(|said| said.matches(" executor: ").count() == executors);
        server
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub(crate) fn wait(&self, enough: impl Fn(&str) -> bool) {
        let since = Instant::now();
        while !enough(&self.said()) {
            assert!(since.elapsed() < START, "it only said: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address of the scheduler, `df://host:port`.
    pub(crate) fn address(&self) -> String {
        self.wait(|said| said.contains("df://"));
        let said = self.said();
        let from = said.find("df://").unwrap();
        let end = |c: char| c.is_whitespace() || c == ',';
        said[from..].split(end).next().unwrap().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self._stdin.take());
        let since = Instant::now();
        while since.elapsed() < START / 6 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
