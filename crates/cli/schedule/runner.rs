//! Runs intervals as processes: `atoll run` of the same binary.
//!
//! A run's output goes to a file of its own, which is locked as long as the run's
//! process lives, even if the schedule dies before it: so the next schedule knows that
//! it has to wait. Such an orphan ends by itself, since the schedule's end of its
//! standard input closes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use atoll_cluster::executor::interrupt;
use atoll_jobs::Interval;
use atoll_jobs::schedule::{
    CancellationToken, IntervalRunner, JobFile, RunOutcome, ScheduledJob,
};
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::records::Records;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::session_args::SessionArgs;

/// How long a cancelled run may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a run that lost its schedule may take to notice.
const ORPHAN: Duration = Duration::from_secs(30);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// How many files of output are kept of each job.
const LOGS: usize = 100;
/// The signal of Ctrl-C, which ends a process that has only just started.
const INTERRUPT: i32 = Signal::SIGINT as i32;
/// How much of the end of a run's output is searched for its error.
const TAIL: u64 = 8192;

/// Starts processes.
pub(super) struct ProcessRunner {
    program: PathBuf,
    /// Where relative paths of scripts count from.
    folder: PathBuf,
    logs: PathBuf,
    /// What every run gets, such as the storage.
    options: Vec<OsString>,
    records: Records,
}

impl ProcessRunner {
    pub(super) async fn new(
        jobs: &JobFile,
        session: &SessionArgs,
        state: &Path,
    ) -> Result<Self, Failure> {
        let storage = match (&session.storage, &jobs.storage) {
            (Some(storage), _) => Some(absolute(storage, &std::env::current_dir()?)),
            (None, Some(storage)) => Some(absolute(storage, &jobs.folder)),
            (None, None) => None,
        };
        let mut options: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                options.extend([OsString::from(name), value]);
            }
        };
        option("--storage", storage.clone().map(OsString::from));
        option(
            "--cluster",
            session.cluster.as_ref().map(|to| to.to_string().into()),
        );
        let token_file = session.token_file.as_ref();
        let token_file = token_file.map(std::path::absolute).transpose()?;
        option("--token-file", token_file.map(PathBuf::into_os_string));
        option("--threads", session.threads.map(|n| n.to_string().into()));
        let limit = session.memory_limit;
        option(
            "--memory-limit",
            limit.map(|bytes| bytes.to_string().into()),
        );
        Ok(Self {
            program: std::env::current_exe()?,
            folder: jobs.folder.clone(),
            logs: state.join("logs"),
            options,
            records: Records::open(storage).await?,
        })
    }

    /// The file for the output of a run.
    fn log(&self, job: &ScheduledJob, interval: Interval) -> PathBuf {
        let file = format!("{}.log", interval.file_name());
        self.logs.join(&job.name).join(file)
    }

    fn command(&self, job: &ScheduledJob, interval: Interval) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .arg(&job.script)
            .args(["--job", &job.name, "--interval", &interval.to_string()])
            .arg("--stop-with-input")
            .args(&self.options);
        for (name, value) in &job.set {
            command.args(["--set", &format!("{name}={value}")]);
        }
        if let Some(timeout) = job.timeout {
            let timeout = humantime::format_duration(timeout).to_string();
            command.args(["--timeout", &timeout.replace(' ', "")]);
        }
        if let Some(retries) = job.retries {
            command.args(["--retries", &retries.to_string()]);
        }
        command
            .current_dir(&self.folder)
            // Ctrl-C in a terminal is for the schedule, which lets runs finish.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

impl IntervalRunner for ProcessRunner {
    async fn run(
        &self,
        job: &ScheduledJob,
        interval: Interval,
        cancel: CancellationToken,
    ) -> RunOutcome {
        let path = self.log(job, interval);
        let log = match lock(&path).await {
            Ok(Some(log)) => log,
            Ok(None) => return RunOutcome::AlreadyRunning,
            Err(error) => {
                return RunOutcome::Failed(format!(
                    "cannot write {}: {error}",
                    path.display()
                ));
            }
        };
        thin_out(path.parent().unwrap_or(&self.logs));
        let from = log.metadata().map_or(0, |data| data.len());
        let spawned = log.try_clone().and_then(|for_errors| {
            self.command(job, interval)
                .stdin(Stdio::piped())
                .stdout(log)
                .stderr(for_errors)
                .spawn()
        });
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                let program = self.program.display();
                return RunOutcome::Failed(format!("cannot start {program}: {error}"));
            }
        };
        // Waiting would close it, and the run would take that for the schedule's death.
        let _input = child.stdin.take();
        let status = tokio::select! {
            status = child.wait() => status,
            () = cancel.cancelled() => interrupt(&mut child, PATIENCE).await,
        };
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                return RunOutcome::Failed(format!("lost its process: {error}"));
            }
        };
        let outcome = outcome(status, cancel.is_cancelled(), || last_words(&path, from));
        if outcome == RunOutcome::AlreadyRunning {
            self.records.forget(&job.name);
        }
        outcome
    }

    async fn succeeded(
        &self,
        job: &ScheduledJob,
        interval: Interval,
    ) -> Result<bool, String> {
        let path = self.log(job, interval);
        if path.exists() {
            // It was started before, and its success may have been recorded since.
            let _ = lock(&path).await;
            self.records.forget(&job.name);
        }
        self.records.has(&job.name, interval).await
    }
}

/// Opens a run's output and locks it, for as long as the file is open in any process;
/// `None` if the run goes on.
async fn lock(path: &Path) -> std::io::Result<Option<File>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let since = tokio::time::Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) if since.elapsed() > ORPHAN => {
                return Ok(None);
            }
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// What the end of a process says about its run.
fn outcome(
    status: ExitStatus,
    cancelled: bool,
    last_words: impl FnOnce() -> String,
) -> RunOutcome {
    let ending = status.code().map(Ending::from_code);
    match (ending, status.signal()) {
        (Some(Ending::Finished), _) => RunOutcome::Succeeded,
        (Some(Ending::AlreadyRunning), _) => RunOutcome::AlreadyRunning,
        (Some(Ending::TimedOut), _) => RunOutcome::TimedOut,
        (Some(Ending::Cancelled), _) | (None, Some(INTERRUPT)) => RunOutcome::Cancelled,
        _ if cancelled => RunOutcome::Cancelled,
        (Some(Ending::Wrong | Ending::Usage), _) => RunOutcome::Failed(last_words()),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            RunOutcome::Failed(format!("its process was killed by signal {signal}"))
        }
    }
}

/// The last error in a run's output, or its last line, and where to read more.
fn last_words(path: &Path, from: u64) -> String {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        let start = from.max(length.saturating_sub(TAIL)).min(length);
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut text)
    });
    let text = String::from_utf8_lossy(&text);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rev().find_map(|line| line.strip_prefix("error: "));
    let line = error.or_else(|| lines().next_back());
    match (read, line) {
        (Ok(_), Some(line)) => format!("{line} (see {})", path.display()),
        _ => format!("it said nothing (see {})", path.display()),
    }
}

/// Removes the oldest outputs of a job. What cannot be removed is kept.
fn thin_out(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut logs: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let changed = entry.metadata().and_then(|data| data.modified());
            Some((changed.ok()?, entry.path()))
        })
        .collect();
    logs.sort();
    let spare = logs.len().saturating_sub(LOGS);
    for (_, path) in logs.into_iter().take(spare) {
        let _ = fs::remove_file(path);
    }
}

/// A storage as seen from any folder; URLs are so already.
fn absolute(storage: &str, folder: &Path) -> String {
    if storage.contains("://") {
        storage.to_string()
    } else {
        folder.join(storage).to_string_lossy().into_owned()
    }
}
