//! `atoll run`: a script as a job, with a lock, a time limit, retries and a record of what
//! it did.

mod detach;
mod log;
mod record;
mod resume;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atoll_jobs::{Error, Interval, Lock, Run, RunError, RunStatus, RunStore};
use atoll_session::{Session, WriteLog, run_store};
use chrono::Utc;
use clap::Args;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use self::log::Log;
use self::record::record;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::{LogFormat, note};
use crate::parameters::{self, with_interval};
use crate::prepared::{Place, PreparedScript, called, check_used, read};
use crate::script::Script;
use crate::session_args::SessionArgs;
use crate::statement::StatementRunner;
use crate::stop::{StopArgs, end_with_input};

/// Pause before the first retry; each one after waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pause does not grow beyond this.
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

/// Runs the script `file` as `atoll run` does.
pub(crate) async fn run(
    file: &Path,
    args: &RunArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let (name, source) = read(file)?;
    let name = args.script_name.as_deref().map_or(name, called);
    if args.help {
        let declared = parameters::declared(&name, &source)?;
        let help = parameters::help(&name, &source, &declared);
        io::stdout().write_all(help.as_bytes())?;
        return Ok(Ending::Finished);
    }
    let is_orphaned = end_with_input(&args.stop);
    let set = with_interval(&session.set, args.interval.as_ref());
    let filled = Script::new(&name, &source, &set).and_then(|script| {
        check_used(&session.set, std::iter::once(&script))?;
        Ok(script)
    });
    let prepared = match filled {
        Ok(script) => PreparedScript::new(Place::File(name.clone()), script)?,
        Err(failure) => {
            failure.print();
            return Ok(Ending::Usage);
        }
    };
    let script = ScriptText {
        name: &name,
        source: &source,
    };
    if args.detach {
        return detach::detach(args, session, script).await;
    }
    if args.dry_run {
        return rehearse(&prepared, session).await;
    }
    let runner = StatementRunner::new(session, work).await?;
    JobRun::new(args, runner, prepared, script, is_orphaned)?
        .run()
        .await
}

/// Plans every statement and runs none, for `--dry-run`.
///
/// Statements may use what those before them would create. The session knows of that, and is
/// dropped at the end.
async fn rehearse(
    prepared: &PreparedScript,
    args: &SessionArgs,
) -> Result<Ending, Failure> {
    let session = Session::new(args.options().await?).await?;
    for statement in &prepared.statements {
        if let Err(error) = session.rehearse(&statement.sql).await {
            let failure = Failure::from(error);
            let failure = failure.explain(&statement.sql, session.context()).await;
            return Err(prepared.locate(failure, statement));
        }
    }
    let count = prepared.statements.len();
    note(&format!(
        "{count} statements can be planned; nothing was run"
    ));
    Ok(Ending::Finished)
}

/// A script as it was read, before parameters are filled in.
#[derive(Debug, Clone, Copy)]
struct ScriptText<'a> {
    /// Its path as it was given; `<stdin>` for standard input.
    name: &'a str,
    source: &'a str,
}

/// A run of a script that has begun.
struct JobRun<'a> {
    args: &'a RunArgs,
    runner: StatementRunner,
    prepared: PreparedScript,
    store: RunStore,
    /// A part of the lock's name. Runs of one job with different scopes may overlap.
    scope: String,
    record: Run,
    log: Log,
    started: Instant,
    /// Whether the process that started this one is gone.
    is_orphaned: Arc<AtomicBool>,
}

/// How a statement of a job ended.
enum StatementOutcome {
    Ended(Ending),
    Failed(Failure),
    TimedOut,
    /// The lock was lost, so another run may have taken over. Nothing more may be written.
    Lost(Failure),
}

impl<'a> JobRun<'a> {
    fn new(
        args: &'a RunArgs,
        mut runner: StatementRunner,
        prepared: PreparedScript,
        script: ScriptText<'_>,
        is_orphaned: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let store = run_store(&runner.session.storage())?;
        runner.writes = Some(WriteLog::default());
        let log = Log::new(args.log_format);
        runner.shown.warnings = !log.is_written();
        let record = record(args, &prepared, script);
        let scope = match &args.job {
            Some(_) => String::new(),
            None => {
                let text = format!("{}\n{:?}", script.name, record.parameters);
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
            is_orphaned,
        })
    }

    async fn run(mut self) -> Result<Ending, Failure> {
        let is_named = self.args.run_id.is_some();
        let lock = resume::lock(&self.store, &self.record, &self.scope, is_named);
        let mut lock = match lock.await {
            Ok(lock) => lock,
            Err(error @ Error::AlreadyRunning { .. }) => {
                Failure::from(error).print();
                return Ok(Ending::AlreadyRunning);
            }
            Err(error @ Error::Name(_)) => {
                Failure::from(error).print();
                return Ok(Ending::Usage);
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
            StatementOutcome::Ended(Ending::Finished) => {
                (Ok(Ending::Finished), RunStatus::Succeeded)
            }
            StatementOutcome::Ended(ending) => (Ok(ending), RunStatus::Cancelled),
            StatementOutcome::TimedOut => (Ok(Ending::TimedOut), RunStatus::TimedOut),
            StatementOutcome::Failed(failure) | StatementOutcome::Lost(failure) => {
                (Err(failure), RunStatus::Failed)
            }
        };
        self.finish(&ending, status).await?;
        ending
    }

    /// Runs the statements in order, up to the first that does not succeed.
    async fn statements(&mut self, lock: &mut Lock) -> StatementOutcome {
        for index in 0..self.prepared.statements.len() {
            if self.record.statements[index].status == RunStatus::Succeeded {
                // By the process that ran this before.
                continue;
            }
            self.record.statements[index].status = RunStatus::Running;
            let id = format!("{}/{index}", self.record.run_id);
            let writes = self.runner.writes.take();
            self.runner.writes = writes.map(|writes| writes.for_statement(id));
            let started = Instant::now();
            let outcome = tokio::select! {
                outcome = self.statement(index) => outcome,
                () = lock.lost() => {
                    let lost = Error::LockLost(self.record.title());
                    StatementOutcome::Lost(lost.into())
                }
            };
            let files = self.runner.writes.as_ref().map(WriteLog::take);
            let record = &mut self.record.statements[index];
            record.seconds = started.elapsed().as_secs_f64();
            record.files = files.into_iter().flatten().collect();
            record.status = match &outcome {
                StatementOutcome::Ended(Ending::Finished) => RunStatus::Succeeded,
                StatementOutcome::Ended(_) => RunStatus::Cancelled,
                StatementOutcome::TimedOut => RunStatus::TimedOut,
                StatementOutcome::Failed(_) | StatementOutcome::Lost(_) => {
                    RunStatus::Failed
                }
            };
            if record.status == RunStatus::Succeeded {
                record.rows = Some(self.runner.seen.rows());
            }
            for warning in &self.runner.seen.warnings {
                self.log.warning(&self.record, index, warning);
            }
            self.log.statement(&self.record, index);
            if self.record.statements[index].status != RunStatus::Succeeded {
                return outcome;
            }
            if self.args.run_id.is_some() {
                // Where it is not kept, whoever goes on runs the statement again.
                let _ = self.store.keep(&self.record).await;
            }
        }
        StatementOutcome::Ended(Ending::Finished)
    }

    /// Runs one statement, again after failures that may pass.
    async fn statement(&mut self, index: usize) -> StatementOutcome {
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
                            return StatementOutcome::TimedOut;
                        }
                    }
                }
            };
            let failure = match ended {
                Ok(ending) => return StatementOutcome::Ended(ending),
                Err(failure) => failure,
            };
            let attempts = self.record.statements[index].attempts;
            if !self.runner.seen.transient || attempts > self.args.retries {
                return StatementOutcome::Failed(failure);
            }
            self.log.retry(&self.record, index, &failure, pause);
            if self.runner.pause(pause).await {
                return StatementOutcome::Ended(Ending::Cancelled);
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Completes and keeps the record.
    async fn finish(
        &mut self,
        ending: &Result<Ending, Failure>,
        status: RunStatus,
    ) -> Result<(), Failure> {
        let record = &mut self.record;
        record.status = status;
        record.exit_code = Some(match ending {
            Ok(ending) => ending.code(),
            Err(_) => Ending::FAILED,
        });
        record.finished_at = Some(Utc::now());
        record.seconds = Some(self.started.elapsed().as_secs_f64());
        record.error = match ending {
            Err(failure) => Some(RunError {
                message: failure.message.clone(),
                hint: failure.hint.clone(),
            }),
            Ok(Ending::TimedOut) => Some(RunError {
                message: timed_out(self.args.timeout),
                hint: None,
            }),
            Ok(_) => None,
        };
        if status == RunStatus::TimedOut {
            Failure::new(timed_out(self.args.timeout))
                .hint("what finished is kept; raise --timeout and run it again")
                .print();
        }
        self.log.finished(&self.record);
        if self.args.run_id.is_some() && self.is_orphaned.load(Ordering::Acquire) {
            // Whoever goes on with the run keeps its record, and may have ended it already.
            return Ok(());
        }
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
