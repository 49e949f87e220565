//! Runs scripts that were left with the scheduler, each in a process of its own beside the
//! worker. See [`crate::runs`].

use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ExecutorOptions, Held};
use crate::http::Http;
use crate::protocol::{REPORT_RUN, RUNS, TAKE_RUN};
use crate::runs::{NewRun, RunEnd, RunOrder, RunReport, TakenRun};
use crate::{Error, Token};

/// How often an executor asks for runs and says what they do.
const BEAT: Duration = Duration::from_secs(1);

/// Runs that one executor drives at once; others take the rest, or they wait.
const MOST_RUNS: usize = 8;

/// How long a run that is to end may take before its process is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the scheduler is told of an end that it does not hear of.
const TELLS: u32 = 20;

/// Makes the command line of a run, given its order and a file with its script.
pub type RunCommand = dyn Fn(&RunOrder, &Path) -> Command + Send + Sync;

/// What runs share.
struct Driver {
    http: Http,
    token: Token,
    /// The name of this supervisor among others.
    executor: String,
    command: Box<RunCommand>,
}

/// Takes runs from the scheduler until `stopped` resolves, and then hands those that
/// have not ended over to other executors.
pub(super) async fn drive(
    options: &ExecutorOptions,
    executor: String,
    command: Box<RunCommand>,
    stopped: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let driver = Arc::new(Driver {
        http: Http::new(options.scheduler.clone(), &options.token)?,
        token: options.token.clone(),
        executor,
        command,
    });
    let runs = TaskTracker::new();
    let mut stopped = pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            () = tokio::time::sleep(BEAT) => {}
        }
        if runs.len() >= MOST_RUNS {
            continue;
        }
        // A scheduler that is away is asked again.
        let taken = driver.http.post(TAKE_RUN, &driver.executor).await;
        if let Ok(Some(taken)) = taken {
            let (driver, stop) = (Arc::clone(&driver), stop.clone());
            let folder = options.work_dir.clone();
            runs.spawn(async move { driver.run(&taken, &folder, stop).await });
        }
    }
    stop.cancel();
    runs.close();
    runs.wait().await;
    Ok(())
}

impl Driver {
    /// Runs a script to its end and tells the scheduler.
    async fn run(&self, taken: &TakenRun, folder: &Path, stop: CancellationToken) {
        let Some(order) = taken.order.verified(&self.token) else {
            let end = RunEnd::Exited(1);
            let id = taken.order.id().to_string();
            let output = "the run was not signed with the cluster's token; set ATOLL_TOKEN \
                to the same text for clients, executors and the scheduler\n";
            let report = self.report(id, output.to_string(), Some(end));
            let _ = self.tell(taken, &report).await;
            return;
        };
        let output = Output::default();
        let end = match self.start(order, folder) {
            // Its folder is held until it has ended.
            Ok((_held, child)) => self.follow(taken, order, child, &output, stop).await,
            Err(error) => RunEnd::Died(format!("its process cannot be started: {error}")),
        };
        for _ in 0..TELLS {
            let text = output.take();
            let report = self.report(order.id.clone(), text, Some(end.clone()));
            if self.tell(taken, &report).await.is_ok() {
                return;
            }
            output.put_back(&report.output);
            tokio::time::sleep(BEAT).await;
        }
    }

    fn start(&self, order: &RunOrder, folder: &Path) -> std::io::Result<(Held, Child)> {
        let held = Held::create(folder, "run-", &order.id)?;
        let script = held.path().join("script.sql");
        std::fs::write(&script, &order.text)?;
        let mut command = (self.command)(order, &script);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to a whole group; the run must hear it from here only.
            .process_group(0)
            .env("TMPDIR", held.path())
            .kill_on_drop(true);
        Ok((held, command.spawn()?))
    }

    /// Reports what a process prints until it has ended.
    async fn follow(
        &self,
        taken: &TakenRun,
        order: &RunOrder,
        mut child: Child,
        output: &Output,
        stop: CancellationToken,
    ) -> RunEnd {
        // Held, because the run takes its end for that of this process.
        let _input = child.stdin.take();
        let readers = TaskTracker::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(output.clone().read(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(output.clone().read(stderr));
        }
        readers.close();
        let mut beat = tokio::time::interval(BEAT);
        let end = loop {
            tokio::select! {
                status = child.wait() => break end_of(status),
                () = stop.cancelled() => {
                    // The statement that runs is begun anew elsewhere, and takes over
                    // what its tasks did.
                    let _ = child.kill().await;
                    break RunEnd::HandedOver;
                }
                _ = beat.tick() => {}
            }
            let report = self.report(order.id.clone(), output.take(), None);
            match self.tell(taken, &report).await {
                Ok(true) => {}
                Ok(false) => break end_of(interrupt(&mut child, PATIENCE).await),
                Err(_) => output.put_back(&report.output),
            }
        };
        // Something that the run started may hold the other ends.
        let _ = tokio::time::timeout(BEAT, readers.wait()).await;
        end
    }

    fn report(&self, id: String, output: String, end: Option<RunEnd>) -> RunReport {
        let executor = self.executor.clone();
        RunReport {
            id,
            executor,
            output,
            end,
        }
    }

    /// Tells the scheduler, also one that was started anew and has forgotten the run.
    async fn tell(&self, taken: &TakenRun, report: &RunReport) -> Result<bool, Error> {
        match self.http.post(REPORT_RUN, report).await {
            Err(Error::Unknown(_)) => {
                let new = NewRun {
                    order: taken.order.clone(),
                    running: Some((self.executor.clone(), taken.start)),
                };
                self.http.post::<()>(RUNS, &new).await?;
                self.http.post(REPORT_RUN, report).await
            }
            told => told,
        }
    }
}

/// Asks a process to end as Ctrl-C does, and kills it if it has not after `patience`.
pub async fn interrupt(
    child: &mut Child,
    patience: Duration,
) -> std::io::Result<ExitStatus> {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may have ended this moment.
        let _ = kill(Pid::from_raw(id), Signal::SIGINT);
    }
    match tokio::time::timeout(patience, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

fn end_of(status: std::io::Result<ExitStatus>) -> RunEnd {
    match status {
        Ok(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => RunEnd::Exited(code),
            None => RunEnd::Died(format!("its process ended ({status})")),
        },
        Err(error) => RunEnd::Died(format!("its process was lost: {error}")),
    }
}

/// What a run printed and the scheduler was not told.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    async fn read(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.lock().extend_from_slice(&buffer[..read]);
        }
    }

    /// What there is, up to the last whole character.
    fn take(&self) -> String {
        let mut bytes = self.lock();
        let whole = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        let taken: Vec<u8> = bytes.drain(..whole).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }

    fn put_back(&self, text: &str) {
        self.lock().splice(..0, text.bytes());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        // Bytes are whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_passed_on_in_whole_characters() {
        let output = Output::default();
        output.lock().extend_from_slice(&"aä".as_bytes()[..2]);
        assert_eq!(output.take(), "a");
        output.lock().push("ä".as_bytes()[1]);
        let taken = output.take();
        assert_eq!(taken, "ä");
        output.lock().extend_from_slice(b"\xff!");
        output.put_back(&taken);
        assert_eq!(output.take(), "ä\u{fffd}!");
    }
}
