//! The binary under test, with a storage that goes away and a time limit.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for a cold start on a busy machine, short enough to notice a hang.
const LIMIT: Duration = Duration::from_secs(240);

/// A home for runs of the binary that share a storage.
pub(crate) struct Atoll {
    folder: TempDir,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

/// A run that has not ended.
pub(crate) struct Running {
    pub(crate) child: Child,
    since: Instant,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Atoll {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A path below this home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below this home.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// How many trials the storage holds.
    pub(crate) fn trials(&self) -> usize {
        files(&self.path("storage/trials"), "json")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let storage = self.path("storage").display().to_string();
        self.command_in(&storage, arguments)
    }

    /// The same with a storage elsewhere.
    pub(crate) fn command_in(&self, storage: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command
            .args(arguments)
            .args(["--storage", storage])
            // Scripts and tests name data from the workspace root.
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("XDG_DATA_HOME", self.path("home"))
            .env("HOME", self.path("home"))
            // ONNX Runtime is installed for the user and not for this home.
            .env("XDG_CACHE_HOME", cache())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments).spawn().unwrap())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.start(arguments).finish()
    }

    /// Runs with a text on standard input.
    pub(crate) fn pipe(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        Running::new(child).finish()
    }
}

impl Running {
    pub(crate) fn new(mut child: Child) -> Self {
        let stdout = read(child.stdout.take());
        let stderr = read(child.stderr.take());
        Self {
            child,
            since: Instant::now(),
            stdout,
            stderr,
        }
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(status.success(), "kill -s {name} failed");
    }

    /// Waits for the end, or fails when it takes longer than a hang would.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.since.elapsed() > LIMIT {
                self.child.kill().unwrap();
                let stderr = self.stderr.join().unwrap();
                panic!("still running after {LIMIT:?}, standard error: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.since.elapsed();
        let stdout = self.stdout.join().unwrap();
        let stderr = self.stderr.join().unwrap();
        Output {
            status,
            stdout,
            stderr,
            took,
        }
    }
}

impl Output {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(
            self.status.code(),
            Some(0),
            "standard error: {}",
            self.stderr
        );
        self
    }

    /// Asserts a failed statement whose standard error has all of these, and nothing
    /// that only a developer would understand.
    #[track_caller]
    pub(crate) fn fails_naming(&self, parts: &[&str]) {
        assert_eq!(
            self.status.code(),
            Some(1),
            "standard error: {}",
            self.stderr
        );
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in: {}",
                self.stderr
            );
        }
        let noise = [
            "backtrace",
            "panicked",
            "External error",
            "Execution error",
            ".rs:",
        ];
        for noise in noise {
            assert!(
                !self.stderr.contains(noise),
                "{noise:?} in: {}",
                self.stderr
            );
        }
    }
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).unwrap();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

pub(crate) fn cache() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    set.or_else(|| Some(std::env::home_dir()?.join(".cache")))
        .unwrap_or_default()
}

/// How many files there are anywhere below a folder whose names begin so.
pub(crate) fn files_below(folder: &Path, name: &str) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.map(|entry| match entry.path().is_dir() {
        true => files_below(&entry.path(), name),
        false => usize::from(entry.file_name().to_string_lossy().starts_with(name)),
    });
    found.sum()
}

/// How many files with this extension a folder holds.
pub(crate) fn files(folder: &Path, extension: &str) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().extension().is_some_and(|e| e == extension))
        .count()
}

/// Waits until something holds, or fails.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(
            since.elapsed() < LIMIT,
            "{what} did not happen in {LIMIT:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
