//! `atoll run`: a script as a job, with a lock, a time limit, retries and a record of what
//! it did.

mod detach;
mod log;
mod record;
mod resume;
mod transient;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use atoll_jobs::{Error, Interval, Lock, Run, RunError, RunStore, Status, rfc3339};
use atoll_session::{Session, WriteLog, run_store};
use chrono::Utc;
use clap::Args;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use self::log::Log;
pub(crate) use self::log::LogFormat;
use self::record::record;
pub(crate) use self::transient::is_transient;
use crate::args::{self, SessionArgs, StopArgs};
use crate::errors::Failure;
use crate::parameters;
use crate::prepared::{Place, Prepared, called, check_used, read};
use crate::run::{Ending, Runner};
use crate::script::Script;

/// The exit code of a wrong command line or parameter.
const USAGE: u8 = 2;
/// The exit code when another run has the lock.
const ALREADY_RUNNING: u8 = 3;
/// The exit code when `--timeout` ended the run.
const TIMED_OUT: u8 = 4;

/// Pause before the first retry; each one after waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Arguments of `atoll run`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// The script; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "help")]
    pub(crate) file: Option<PathBuf>,

    /// Call the job this in its lock and records [default: the script's name]
    ///
    /// Runs of one job and interval never overlap. Without a name, runs of one script
    /// with other parameters may.
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,

    /// Run for this stretch of time: ${interval_start}, ${interval_end}, ${interval_date}
    #[arg(long, value_name = "START/END")]
    pub(crate) interval: Option<Interval>,

    /// End the run after this time, such as 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// Try a statement again so often after a failure that may pass, such as a storage
    /// or a scheduler that does not answer
    ///
    /// A query that has written some of its rows is not tried again.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) retries: u32,

    /// Plan every statement and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Leave the script with the cluster, print the name of the run and exit
    ///
    /// An executor runs it, and another one goes on where that is lost. See atoll runs.
    /// Files that the script names are read and written on the executors: name shared
    /// folders by whole paths, or URLs.
    #[arg(long, conflicts_with_all = ["dry_run", "manifest"])]
    pub(crate) detach: bool,

    /// Be this run, which may have been begun by another process
    #[arg(long, value_name = "ID", hide = true)]
    pub(crate) run_id: Option<String>,

    /// The name of the script where it was left with the cluster
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) script_name: Option<PathBuf>,

    /// Write the record of the run to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,

    /// Say on standard error what each statement did
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    #[command(flatten)]
    pub(crate) stop: StopArgs,

    /// Print help; with FILE, its parameters
    #[arg(short, long)]
    pub(crate) help: bool,
}

/// Runs `atoll run`.
pub(crate) async fn run(
    args: &RunArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let Some(file) = args.file.as_ref() else {
        return print_help();
    };
    let (name, source) = read(file)?;
    let name = args.script_name.as_deref().map_or(name, called);
    if args.help {
        let declared = parameters::declared(&name, &source)?;
        let help = parameters::help(&name, &source, &declared);
        io::stdout().write_all(help.as_bytes())?;
        return Ok(Ending::Finished);
    }
    crate::schedule::end_with_schedule(&args.stop);
    let set = with_interval(&session.set, args.interval.as_ref());
    let filled = Script::new(&name, &source, &set).and_then(|script| {
        check_used(&session.set, std::iter::once(&script))?;
        Ok(script)
    });
    let prepared = match filled {
        Ok(script) => Prepared::new(Place::File(name.clone()), script)?,
        Err(failure) => {
            failure.print();
            return Ok(Ending::Code(USAGE));
        }
    };
    if args.detach {
        return detach::detach(args, session, (&name, &source)).await;
    }
    if args.dry_run {
        return rehearse(&prepared, session).await;
    }
    let runner = Runner::new(session, work).await?;
    Job::new(args, runner, prepared, (&name, &source))?
        .run()
        .await
}

fn print_help() -> Result<Ending, Failure> {
    let mut command = args::command();
    command.build();
    if let Some(run) = command.find_subcommand_mut("run") {
        let help = run.render_long_help();
        io::stdout().write_all(help.to_string().as_bytes())?;
    }
    Ok(Ending::Finished)
}

/// The parameters that were set, and those that come with an interval.
pub(crate) fn with_interval(
    set: &[(String, String)],
    interval: Option<&Interval>,
) -> Vec<(String, String)> {
    let pairs = interval.map(|interval| {
        [
            ("interval_start", rfc3339(interval.start)),
            ("interval_end", rfc3339(interval.end)),
            ("interval_date", interval.start.date_naive().to_string()),
        ]
    });
    let pairs = pairs.into_iter().flatten();
    let pairs = pairs.map(|(name, value)| (name.to_string(), value));
    pairs.chain(set.iter().cloned()).collect()
}

/// Plans every statement; the session that knows what they would create is dropped.
async fn rehearse(prepared: &Prepared, args: &SessionArgs) -> Result<Ending, Failure> {
    let session = Session::new(args.options().await?).await?;
    for statement in &prepared.statements {
        if let Err(error) = session.rehearse(&statement.sql).await {
            let failure = Failure::from(error);
            let failure = failure.explain(&statement.sql, session.context()).await;
            return Err(prepared.locate(failure, statement));
        }
    }
    let count = prepared.statements.len();
    writeln!(
        io::stderr(),
        "{count} statements can be planned; nothing was run"
    )?;
    Ok(Ending::Finished)
}

/// A script on its way.
struct Job<'a> {
    args: &'a RunArgs,
    runner: Runner,
    prepared: Prepared,
    store: RunStore,
    /// Tells runs apart that may overlap.
    scope: String,
    record: Run,
    log: Log,
    started: Instant,
}

/// How a statement ended.
enum Outcome {
    Ended(Ending),
    Failed(Failure),
    TimedOut,
    /// The lock was lost.
    Lost(Failure),
}

impl<'a> Job<'a> {
    fn new(
        args: &'a RunArgs,
        mut runner: Runner,
        prepared: Prepared,
        (name, source): (&str, &str),
    ) -> Result<Self, Failure> {
        let store = run_store(&runner.session.storage())?;
        runner.writes = Some(WriteLog::default());
        let log = Log::new(args.log_format);
        runner.notes_warnings = !log.is_written();
        let record = record(args, &prepared, (name, source));
        let scope = match &args.job {
            Some(_) => String::new(),
            None => {
                let text = format!("{name}\n{:?}", record.parameters);
                hex::encode(&Sha256::digest(text)[..8])
            }
        };
        Ok(Self {
            args,
            runner,
            prepared,
            store,
            scope,
            record,
            log,
            started: Instant::now(),
        })
    }

    async fn run(mut self) -> Result<Ending, Failure> {
        let is_named = self.args.run_id.is_some();
        let lock = resume::lock(&self.store, &self.record, &self.scope, is_named);
        let mut lock = match lock.await {
            Ok(lock) => lock,
            Err(error @ Error::AlreadyRunning { .. }) => {
                Failure::from(error).print();
                return Ok(Ending::Code(ALREADY_RUNNING));
            }
            Err(error @ Error::Name(_)) => {
                Failure::from(error).print();
                return Ok(Ending::Code(USAGE));
            }
            Err(error) => return Err(error.into()),
        };
        if is_named {
            let session = &self.runner.session;
            resume::take_over(&mut self.record, &self.store, session).await?;
        }
        let parameters = self.record.parameters.clone();
        let named = self.args.job.is_some();
        self.store
            .bury(&self.record, |run| named || run.parameters == parameters)
            .await?;
        self.store.keep(&self.record).await?;
        self.log.started(&self.record);
        let outcome = self.statements(&mut lock).await;
        let (ending, status) = match outcome {
            Outcome::Ended(Ending::Finished) => (Ok(Ending::Finished), Status::Succeeded),
            Outcome::Ended(ending) => (Ok(ending), Status::Cancelled),
            Outcome::TimedOut => (Ok(Ending::Code(TIMED_OUT)), Status::TimedOut),
            Outcome::Failed(failure) | Outcome::Lost(failure) => {
                (Err(failure), Status::Failed)
            }
        };
        self.finish(&ending, status).await?;
        ending
    }

    /// Runs the statements in order, up to the first that does not succeed.
    async fn statements(&mut self, lock: &mut Lock) -> Outcome {
        for index in 0..self.prepared.statements.len() {
            if self.record.statements[index].status == Status::Succeeded {
                // By the process that ran this before.
                continue;
            }
            self.record.statements[index].status = Status::Running;
            let id = format!("{}/{index}", self.record.run_id);
            let writes = self.runner.writes.take();
            self.runner.writes = writes.map(|writes| writes.for_statement(id));
            let started = Instant::now();
            let outcome = tokio::select! {
                outcome = self.statement(index) => outcome,
                () = lock.lost() => {
                    let lost = Error::LockLost(self.record.title());
                    Outcome::Lost(lost.into())
                }
            };
            let files = self.runner.writes.as_ref().map(WriteLog::take);
            let record = &mut self.record.statements[index];
            record.seconds = started.elapsed().as_secs_f64();
            record.files = files.into_iter().flatten().collect();
            record.status = match &outcome {
                Outcome::Ended(Ending::Finished) => Status::Succeeded,
                Outcome::Ended(_) => Status::Cancelled,
                Outcome::TimedOut => Status::TimedOut,
                Outcome::Failed(_) | Outcome::Lost(_) => Status::Failed,
            };
            if record.status == Status::Succeeded {
                record.rows = Some(self.runner.seen.rows());
            }
            for warning in &self.runner.seen.warnings {
                self.log.warning(&self.record, index, warning);
            }
            self.log.statement(&self.record, index);
            if self.record.statements[index].status != Status::Succeeded {
                return outcome;
            }
            if self.args.run_id.is_some() {
                // Where it is not kept, whoever goes on runs the statement again.
                let _ = self.store.keep(&self.record).await;
            }
        }
        Outcome::Ended(Ending::Finished)
    }

    /// Runs one statement, again after failures that may pass.
    async fn statement(&mut self, index: usize) -> Outcome {
        let mut pause = FIRST_PAUSE;
        loop {
            self.record.statements[index].attempts += 1;
            let deadline = self.args.timeout.map(|timeout| self.started + timeout);
            let one = self.runner.run_one(&self.prepared, index);
            let ended = match deadline {
                None => one.await,
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline.into(), one).await {
                        Ok(ended) => ended,
                        Err(_) => {
                            self.runner.give_up().await;
                            return Outcome::TimedOut;
                        }
                    }
                }
            };
            let failure = match ended {
                Ok(ending) => return Outcome::Ended(ending),
                Err(failure) => failure,
            };
            let attempts = self.record.statements[index].attempts;
            if !self.runner.seen.transient || attempts > self.args.retries {
                return Outcome::Failed(failure);
            }
            self.log.retry(&self.record, index, &failure, pause);
            if self.runner.pause(pause).await {
                return Outcome::Ended(Ending::Cancelled);
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Completes and keeps the record.
    async fn finish(
        &mut self,
        ending: &Result<Ending, Failure>,
        status: Status,
    ) -> Result<(), Failure> {
        let record = &mut self.record;
        record.status = status;
        record.exit_code = Some(match ending {
            Ok(ending) => ending.code(),
            Err(_) => 1,
        });
        record.finished_at = Some(Utc::now());
        record.seconds = Some(self.started.elapsed().as_secs_f64());
        record.error = match ending {
            Err(failure) => Some(RunError {
                message: failure.message.clone(),
                hint: failure.hint.clone(),
            }),
            Ok(Ending::Code(TIMED_OUT)) => Some(RunError {
                message: timed_out(self.args.timeout),
                hint: None,
            }),
            Ok(_) => None,
        };
        if status == Status::TimedOut {
            Failure::new(timed_out(self.args.timeout))
                .hint("what finished is kept; raise --timeout and run it again")
                .print();
        }
        self.log.finished(&self.record);
        let kept = self.store.keep(&self.record).await;
        if let Some(path) = &self.args.manifest {
            std::fs::write(path, self.record.to_json()).map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        // The failure of the run is the one to show.
        match ending {
            Ok(_) => Ok(kept?),
            Err(_) => Ok(()),
        }
    }
}

fn timed_out(timeout: Option<Duration>) -> String {
    let timeout = humantime::format_duration(timeout.unwrap_or_default());
    format!("the run took longer than --timeout {timeout} and was ended")
}
