//! Keeps a worker process running.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use atoll_compute::pool;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::driver::{RunCommand, drive};
use super::{DRAIN, ExecutorOptions, Held, READY, WorkerId};
use crate::Error;
use crate::http::Http;
use crate::protocol::GONE;

/// How long to wait before a worker that died is replaced, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A worker that ran for so long died of something new.
const LONG_RUN: Duration = Duration::from_secs(60);

/// What happens to an executor.
#[derive(Debug)]
pub enum Event {
    /// The scheduler knows it.
    Ready {
        /// Where others reach it.
        address: SocketAddr,
    },
    /// It takes no more tasks and finishes those it has.
    Draining,
    /// Its worker ended and will be replaced.
    Died(ExitStatus),
    /// The scheduler does not answer; it is asked again.
    Waiting(Error),
}

/// Runs workers, one after the other, until `stop` changes: then the worker finishes its
/// tasks, and at the second change it ends at once. Beside them it runs scripts that were
/// left with the scheduler, until the first change.
///
/// `command` makes the command line of a worker process, which runs [`super::work`], and
/// `run_command` that of a script.
pub async fn supervise(
    options: &ExecutorOptions,
    mut stop: watch::Receiver<u32>,
    command: impl Fn(&WorkerId) -> Command,
    run_command: Box<RunCommand>,
    tell: impl Fn(Event),
) -> Result<(), Error> {
    let http = Http::new(options.scheduler.clone(), &options.token)?;
    http.check_version().await?;
    let (mut stopped, gave_up) = (stop.clone(), CancellationToken::new());
    let stop_driving = async {
        tokio::select! {
            _ = stopped.wait_for(|times| *times > 0) => {}
            () = gave_up.cancelled() => {}
        }
    };
    let driving = drive(options, unique_id(), run_command, stop_driving);
    let working = async {
        let worked = keep_working(options, &http, &mut stop, command, tell).await;
        gave_up.cancel();
        worked
    };
    let (drove, worked) = tokio::join!(driving, working);
    worked.and(drove)
}

async fn keep_working(
    options: &ExecutorOptions,
    http: &Http,
    stop: &mut watch::Receiver<u32>,
    command: impl Fn(&WorkerId) -> Command,
    tell: impl Fn(Event),
) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        if *stop.borrow() > 0 {
            return Ok(());
        }
        if let Err(error) = http.check_version().await {
            if !matches!(error, Error::Unreachable { .. }) {
                return Err(error);
            }
            tell(Event::Waiting(error));
            wait(stop, LONGEST_PAUSE).await;
            continue;
        }
        let worker = identify(options)?;
        let started = Instant::now();
        let ended = run(options, &worker, stop, &command, &tell).await?;
        // So that its tasks start elsewhere now, not when its heartbeats are missed.
        let gone = http.post::<serde_json::Value>(GONE, &worker.id);
        // The scheduler notices the missing heartbeats otherwise.
        let _ = gone.await;
        match ended {
            Some(status) => tell(Event::Died(status)),
            None => return Ok(()),
        }
        pause = match started.elapsed() > LONG_RUN {
            true => FIRST_PAUSE,
            false => (pause * 2).min(LONGEST_PAUSE),
        };
        wait(stop, pause).await;
    }
}

/// Waits, unless there is nothing left to wait for.
async fn wait(stop: &mut watch::Receiver<u32>, pause: Duration) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        _ = stop.changed() => {}
    }
}

/// A worker's life; how it died, or nothing when it was told to end.
async fn run(
    options: &ExecutorOptions,
    worker: &WorkerId,
    stop: &mut watch::Receiver<u32>,
    command: &impl Fn(&WorkerId) -> Command,
    tell: &impl Fn(Event),
) -> Result<Option<ExitStatus>, Error> {
    let failed = |error: std::io::Error| Error::Start(format!("cannot start: {error}"));
    let mut command = command(worker);
    // Ctrl-C goes to a whole group; the worker must hear it from here only.
    command.process_group(0);
    // A worker that is killed leaves what it sorted and shuffled; it goes with the folder.
    let scratch = Held::create(&options.work_dir, "tmp-", &worker.id).map_err(failed)?;
    command.env("TMPDIR", scratch.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child: Child = command.kill_on_drop(true).spawn().map_err(failed)?;
    let mut stdin: Option<ChildStdin> = child.stdin.take();
    let mut lines = child.stdout.take().map(|out| BufReader::new(out).lines());
    let mut told = false;
    loop {
        let line = async {
            match &mut lines {
                Some(lines) => lines.next_line().await.ok().flatten(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(failed)?;
                return Ok((!told).then_some(status));
            }
            line = line => match line.as_deref() {
                Some(READY) => tell(Event::Ready {
                    address: SocketAddr::new(options.bind, worker.port),
                }),
                Some(_) => {}
                None => lines = None,
            },
            _ = stop.changed() => {
                if *stop.borrow() > 1 {
                    let _ = child.kill().await;
                    return Ok(None);
                }
                tell(Event::Draining);
                told = true;
                if let Some(stdin) = &mut stdin {
                    // A worker that cannot hear has ended, which is noticed above.
                    let _ = stdin.write_all(format!("{DRAIN}\n").as_bytes()).await;
                }
            }
        }
    }
}

/// Names a worker and finds ports for it.
fn identify(options: &ExecutorOptions) -> Result<WorkerId, Error> {
    let (port, grpc_port) = match options.port {
        0 => (free_port(options.bind)?, free_port(options.bind)?),
        port => (
            port,
            port.checked_add(1).ok_or_else(|| {
                Error::Start(format!("port {port} has no next one for the scheduler"))
            })?,
        ),
    };
    Ok(WorkerId {
        id: unique_id(),
        port,
        grpc_port,
    })
}

/// Ballista takes no listener, only the number of a port.
fn free_port(bind: IpAddr) -> Result<u16, Error> {
    let listener = TcpListener::bind((bind, 0))
        .map_err(|error| Error::Start(format!("cannot listen on {bind}: {error}")))?;
    let address = listener.local_addr();
    address
        .map(|address| address.port())
        .map_err(|error| Error::Start(format!("cannot listen on {bind}: {error}")))
}

fn unique_id() -> String {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let time = time.map_or(0, |time| time.as_micros());
    format!("{}-{}-{time:x}", pool::hostname(), std::process::id())
}
