//! The binary `atoll`.
//!
//! The only crate that prints: rows to standard output, everything else to standard error.
//! What the exit codes mean is listed in [`exit::Ending`].

mod args;
mod cluster;
mod completions;
mod demo;
mod doctor;
mod errors;
mod exit;
mod functions;
mod job;
mod keywords;
mod names;
mod notes;
mod output;
mod parameters;
mod prepared;
mod progress;
mod repl;
mod report;
mod runs;
mod schedule;
mod script;
mod serve;
mod session_args;
mod statement;
mod stop;
mod terminal;
mod version;
mod watch;

use std::io;
use std::process::ExitCode;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::args::{Cli, Command};
use crate::errors::Failure;
use crate::exit::Ending;
use crate::prepared::SqlSource;

/// Plans nest deeply and an unoptimised build has large frames.
const STACK_SIZE: usize = 8 << 20;

fn main() -> ExitCode {
    opt_out_of_telemetry();
    choose_cryptography();
    errors::install_panic_hook();
    let (cli, sources) = Cli::from_command_line();
    let (front, work) = match runtimes() {
        Ok(runtimes) => runtimes,
        Err(error) => {
            return exit_code(Err(Failure::new(format!(
                "cannot start threads: {error}"
            ))));
        }
    };
    let outcome = front.block_on(dispatch(&cli, &sources, work.handle()));
    // Cancelled work may need a moment to notice; the process ends without it.
    work.shutdown_background();
    front.shutdown_background();
    exit_code(outcome)
}

/// Two implementations are linked, because one library cannot be built without the second
/// one, and TLS asks for one by name. Ring is what it was.
fn choose_cryptography() {
    // Only a choice that was made before would be in the way.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// ONNX Runtime keeps a database and an identifier of the machine in the user's cache
/// folder and reports to its maker how it is used, and has begun when its library can be
/// asked not to. Only this variable comes early enough.
fn opt_out_of_telemetry() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(VARIABLE).is_none() {
        #[expect(unsafe_code, reason = "other threads may read the environment")]
        // SAFETY: there are no other threads yet.
        unsafe {
            std::env::set_var(VARIABLE, "1");
        }
    }
}

/// One runtime for the user and one for the work.
///
/// A query may keep every thread of the second busy for seconds without a pause. Were
/// they the same, no thread would be left to hear Ctrl-C or to draw progress.
fn runtimes() -> io::Result<(Runtime, Runtime)> {
    let front = Builder::new_current_thread().enable_all().build()?;
    let work = Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_SIZE)
        .build()?;
    Ok((front, work))
}

async fn dispatch(
    cli: &Cli,
    sources: &[SqlSource],
    work: &Handle,
) -> Result<Ending, Failure> {
    if cli.version.version {
        return version::print(&cli.version);
    }
    match &cli.command {
        // It runs commands in turn, and so this function.
        Some(Command::Demo(args)) => Box::pin(demo::demo(args, &cli.session, work)).await,
        Some(Command::Doctor) => doctor::run(&cli.session).await,
        Some(Command::Functions(args)) => functions::run(args),
        Some(Command::Completions(args)) => {
            completions::completions(args, args::command())
        }
        Some(Command::Man(args)) => completions::man(args, args::command()),
        Some(Command::Scheduler(args)) => {
            cluster::scheduler(args, cli.session.token()?, work).await
        }
        Some(Command::Executor(args)) => {
            cluster::executor(args, &cli.session, work).await
        }
        Some(Command::Cluster(args)) => cluster::all(args, &cli.session, work).await,
        Some(Command::Report(args)) => report::report(args, &cli.session, work).await,
        Some(Command::Plot(args)) => report::plot(args, &cli.session, work).await,
        Some(Command::Schedule(args)) => schedule::schedule(args, &cli.session).await,
        Some(Command::Backfill(args)) => schedule::backfill(args, &cli.session).await,
        Some(Command::Serve(args)) => serve::serve(args, &cli.session, work).await,
        Some(Command::Watch(args)) => watch::watch(args, &cli.session, work).await,
        Some(Command::Run(args)) => match &args.file {
            Some(file) => job::run(file, args, &cli.session, work).await,
            None => args::print_help_of_run(),
        },
        Some(Command::Runs(args)) => runs::runs(args, &cli.session).await,
        None if !sources.is_empty() => {
            repl::run_sources(sources, &cli.session, work).await
        }
        None => repl::run(&cli.session, work).await,
    }
}

fn exit_code(outcome: Result<Ending, Failure>) -> ExitCode {
    match outcome {
        Ok(ending) => ExitCode::from(ending.code()),
        // The reader of our output closed it, as `| head` does. That is no error.
        Err(failure) if failure.broken_pipe => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(Ending::FAILED)
        }
    }
}
