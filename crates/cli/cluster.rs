//! The commands that start the processes of a cluster.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use atoll_cluster::executor::{
    self, Event, ExecutorOptions, Held, READY, RunCommand, WorkerId,
};
use atoll_cluster::scheduler::{Scheduler, SchedulerOptions};
use atoll_cluster::{Address, RunOrder, Token};
use atoll_compute::pool;
use clap::Args;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::note;
use crate::session_args::{LOOPBACK, SessionArgs};
use crate::stop::{StopArgs, stop};

/// Arguments of `atoll scheduler`.
#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    /// Listen on this address; other machines need a token and one of theirs
    #[arg(long, value_name = "IP", default_value_t = LOOPBACK)]
    pub(crate) bind: IpAddr,

    /// Listen on this port; 0 picks a free one
    #[arg(long, default_value_t = atoll_cluster::DEFAULT_PORT)]
    pub(crate) port: u16,

    /// Tell executors to reach this machine by this name [default: the address]
    #[arg(long, value_name = "HOST")]
    pub(crate) advertise: Option<String>,

    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

/// Arguments of `atoll executor`.
#[derive(Debug, Args)]
pub(crate) struct ExecutorArgs {
    /// Work for this scheduler
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) scheduler: Address,

    /// Run this many tasks at once [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<NonZeroUsize>,

    /// Listen on this address; other machines need a token and one of theirs
    #[arg(long, value_name = "IP", default_value_t = LOOPBACK)]
    pub(crate) bind: IpAddr,

    /// Listen on this port and the next one; 0 picks free ones
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,

    /// Tell others to reach this machine by this name [default: the address]
    #[arg(long, value_name = "HOST")]
    pub(crate) advertise: Option<String>,

    /// Keep results here until they are fetched [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) work_dir: Option<PathBuf>,

    /// Be the process that runs the tasks: its name and ports
    #[arg(long, value_names = ["ID", "PORT", "PORT"], num_args = 3, hide = true)]
    pub(crate) worker: Vec<String>,

    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

/// Arguments of `atoll cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Start this many executors
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) executors: NonZeroUsize,

    /// Give each executor this many slots
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) slots: NonZeroUsize,

    /// The scheduler's port; 0 picks a free one
    #[arg(long, default_value_t = atoll_cluster::DEFAULT_PORT)]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

/// `atoll scheduler`: serves until SIGTERM or Ctrl-C.
pub(crate) async fn scheduler(
    args: &SchedulerArgs,
    token: Token,
    work: &Handle,
) -> Result<Ending, Failure> {
    let options = SchedulerOptions {
        bind: args.bind,
        port: args.port,
        advertise: args.advertise.clone(),
        token,
    };
    let mut stop = stop(&args.stop);
    let stopped = async move {
        let _ = stop.changed().await;
    };
    serve(options, stopped, work).await?;
    note("scheduler stopped");
    Ok(Ending::Finished)
}

/// Starts a scheduler, announces its address, and serves until `stop` resolves.
async fn serve(
    options: SchedulerOptions,
    stop: impl Future<Output = ()> + Send + 'static,
    work: &Handle,
) -> Result<(), Failure> {
    let secured = options.token.is_set();
    let scheduler = work.spawn(Scheduler::bind(options)).await;
    let scheduler = scheduler.map_err(|_| gave_up())??;
    let address = scheduler.address();
    note(&format!(
        "atoll {} scheduler: df://{address}, status page http://{address}/status, {}",
        atoll_session::VERSION,
        if secured {
            "token required"
        } else {
            "no token: anyone on this machine may use it"
        }
    ));
    let served = work.spawn(scheduler.serve(stop)).await;
    Ok(served.map_err(|_| gave_up())??)
}

/// `atoll executor`: the supervisor, or the worker that it starts.
pub(crate) async fn executor(
    args: &ExecutorArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let options = options(args, session)?;
    match args.worker.as_slice() {
        [id, port, grpc_port] => {
            let wrong = |_| Failure::new("--worker takes a name and two ports");
            let worker = WorkerId {
                id: id.clone(),
                port: port.parse().map_err(wrong)?,
                grpc_port: grpc_port.parse().map_err(wrong)?,
            };
            let working =
                async move { executor::work(&options, &worker, || say(READY)).await };
            let code = work.spawn(working).await.map_err(|_| gave_up())??;
            if code == ExitCode::SUCCESS {
                Ok(Ending::Finished)
            } else {
                Ok(Ending::Wrong)
            }
        }
        _ => {
            let stop = stop(&args.stop);
            // Nothing in it outlives the executor, unless the user chose it.
            let held = match args.work_dir {
                None => Some(Held::create(
                    &std::env::temp_dir(),
                    "atoll-executor-",
                    &std::process::id().to_string(),
                )?),
                Some(_) => None,
            };
            let mut options = options;
            if let Some(held) = &held {
                options.work_dir = held.path().to_path_buf();
            }
            supervise(args, session, options, stop, work).await
        }
    }
}

fn options(
    args: &ExecutorArgs,
    session: &SessionArgs,
) -> Result<ExecutorOptions, Failure> {
    let token = session.token()?;
    if !args.bind.is_loopback() && !token.is_set() {
        return Err(Failure::new(format!(
            "listening on {} lets others see results",
            args.bind
        ))
        .hint("set ATOLL_TOKEN or --token-file to the secret of the cluster first"));
    }
    let slots = match args.slots {
        Some(slots) => slots,
        None => pool::threads().try_into().unwrap_or(NonZeroUsize::MIN),
    };
    Ok(ExecutorOptions {
        scheduler: args.scheduler.clone(),
        bind: args.bind,
        advertise: args.advertise.clone(),
        port: args.port,
        slots,
        work_dir: args.work_dir.clone().unwrap_or_default(),
        token,
        memory_limit: session.memory_limit,
    })
}

async fn supervise(
    args: &ExecutorArgs,
    session: &SessionArgs,
    options: ExecutorOptions,
    stop: watch::Receiver<u32>,
    work: &Handle,
) -> Result<Ending, Failure> {
    std::fs::create_dir_all(&options.work_dir).map_err(|error| {
        Failure::new(format!(
            "cannot create the work folder {}: {error}",
            options.work_dir.display()
        ))
    })?;
    let program = std::env::current_exe()?;
    let folder = options.work_dir.clone();
    let token_file = session.token_file.clone();
    let (scheduler, slots, bind) = (options.scheduler.clone(), options.slots, args.bind);
    let (advertise, memory) = (args.advertise.clone(), session.memory_limit);
    let command = move |worker: &WorkerId| {
        let mut command = Command::new(&program);
        command
            .args(["executor", "--scheduler", &scheduler.to_string()])
            .args(["--slots", &slots.to_string(), "--bind", &bind.to_string()])
            .arg("--work-dir")
            .arg(&folder)
            .args(["--worker", &worker.id])
            .args([worker.port.to_string(), worker.grpc_port.to_string()]);
        if let Some(name) = &advertise {
            command.args(["--advertise", name]);
        }
        if let Some(bytes) = memory {
            command.args(["--memory-limit", &bytes.to_string()]);
        }
        if let Some(file) = &token_file {
            command.arg("--token-file").arg(file);
        }
        command
    };
    let run_command = run_command(&options, session)?;
    let shown = options.clone();
    let tell = move |event| tell(&shown, event);
    let ended = work
        .spawn(async move {
            executor::supervise(&options, stop, command, run_command, tell).await
        })
        .await;
    ended.map_err(|_| gave_up())??;
    note("executor stopped");
    Ok(Ending::Finished)
}

/// The command line of a script that was left with the scheduler.
fn run_command(
    options: &ExecutorOptions,
    session: &SessionArgs,
) -> Result<Box<RunCommand>, Failure> {
    let program = std::env::current_exe()?;
    let scheduler = options.scheduler.to_string();
    let token_file = session.token_file.clone();
    Ok(Box::new(move |order: &RunOrder, script: &Path| {
        let mut command = Command::new(&program);
        command
            .arg("run")
            .arg(script)
            .args(["--stop-with-input", "--run-id", &order.id])
            .args(["--cluster", &scheduler])
            .args(&order.arguments);
        if let Some(file) = &token_file {
            command.arg("--token-file").arg(file);
        }
        command
    }))
}

fn tell(options: &ExecutorOptions, event: Event) {
    match event {
        Event::Ready { address } => note(&format!(
            "atoll {} executor: {address}, {} slots, scheduler {}, work folder {}, \
             storage as each statement says",
            atoll_session::VERSION,
            options.slots,
            options.scheduler,
            options.work_dir.display()
        )),
        Event::Draining => note("finishing running tasks; once more to stop at once"),
        Event::Died(status) => note(&format!(
            "the worker process ended ({status}); its tasks start elsewhere, a new one \
             starts now"
        )),
        Event::Waiting(error) => note(&format!("{error}; trying again")),
    }
}

/// `atoll cluster`: everything on this machine.
pub(crate) async fn all(
    args: &ClusterArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let token = session.token()?;
    let options = SchedulerOptions {
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        port: args.port,
        advertise: None,
        token,
    };
    let scheduler = work.spawn(Scheduler::bind(options)).await;
    let scheduler = scheduler.map_err(|_| gave_up())??;
    let address = Address::new("127.0.0.1", scheduler.address().port());
    let mut stop = stop(&args.stop);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = work.spawn(scheduler.serve(async move {
        let _ = ended.await;
    }));
    let mut executors = (0..args.executors.get())
        .map(|_| start_executor(&address, args, session))
        .collect::<Result<Vec<_>, Failure>>()?;
    note(&format!(
        "atoll {} cluster: {} executors with {} slots each, status page \
         http://127.0.0.1:{}/status\nuse it with: atoll --cluster {address}\nCtrl-C \
         stops it",
        atoll_session::VERSION,
        args.executors,
        args.slots,
        address.port()
    ));
    let _ = stop.changed().await;
    note("stopping");
    for executor in &mut executors {
        // The end of its input stops it.
        drop(executor.stdin.take());
    }
    for mut executor in executors {
        tokio::select! {
            _ = executor.wait() => {}
            _ = stop.changed() => {
                let _ = executor.kill().await;
            }
        }
    }
    let _ = end.send(());
    serving.await.map_err(|_| gave_up())??;
    Ok(Ending::Finished)
}

fn start_executor(
    scheduler: &Address,
    args: &ClusterArgs,
    session: &SessionArgs,
) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["executor", "--stop-with-input"])
        .args(["--scheduler", &scheduler.to_string()])
        .args(["--slots", &args.slots.to_string()])
        .stdin(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(bytes) = session.memory_limit {
        command.args(["--memory-limit", &bytes.to_string()]);
    }
    if let Some(file) = &session.token_file {
        command.arg("--token-file").arg(file);
    }
    Ok(command.spawn()?)
}

fn gave_up() -> Failure {
    // The panic hook has said what happened.
    Failure::new("the command was given up")
}

/// Says something to the process that started this one.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
