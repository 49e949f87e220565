//! The command line as a whole. The arguments of a command stand beside the command.

mod meant;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};

pub(crate) use self::meant::command;
use crate::cluster::{ClusterArgs, ExecutorArgs, SchedulerArgs};
use crate::completions::{CompletionsArgs, ManArgs};
use crate::demo::DemoArgs;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::functions::FunctionsArgs;
use crate::job::RunArgs;
use crate::prepared::SqlSource;
use crate::report::{PlotArgs, ReportArgs};
use crate::runs::RunsArgs;
use crate::schedule::{BackfillArgs, ScheduleArgs};
use crate::serve::ServeArgs;
use crate::session_args::SessionArgs;
use crate::version::VersionArgs;
use crate::watch::WatchArgs;

/// Deep learning in SQL
///
/// Without -c, -f or a command, atoll reads SQL from the terminal or from standard
/// input.
#[derive(Debug, Parser)]
#[command(name = "atoll", version = atoll_session::VERSION, disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) batch: BatchArgs,

    #[command(flatten)]
    pub(crate) session: SessionArgs,

    #[command(flatten)]
    pub(crate) version: VersionArgs,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// SQL to run instead of reading it.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Run these statements, then exit; may repeat, also with -f, in the order given
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub(crate) commands: Vec<String>,

    /// Run a script, then exit; - is standard input
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tune networks on digits, label photos and draw both, with data that comes along
    Demo(DemoArgs),
    /// Run a SQL script, then exit
    Run(RunArgs),
    /// Show the scripts that a cluster runs on its own, follow or end one
    Runs(RunsArgs),
    /// Write a page about studies or labelled images
    Report(ReportArgs),
    /// Draw one chart of a study or of labelled images
    Plot(PlotArgs),
    /// Show studies under way and done in a browser
    Watch(WatchArgs),
    /// Check that this machine has what atoll needs
    Doctor,
    /// Start the scheduler of a cluster
    Scheduler(SchedulerArgs),
    /// Start an executor, which runs tasks for a scheduler
    Executor(ExecutorArgs),
    /// Start a scheduler and executors on this machine, to try a cluster out
    Cluster(ClusterArgs),
    /// Run the jobs of a file by the clock
    Schedule(ScheduleArgs),
    /// Run intervals of one scheduled job again, or for the first time
    Backfill(BackfillArgs),
    /// Serve SQL to notebooks, ADBC, JDBC and BI tools (Arrow Flight SQL)
    Serve(ServeArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the function reference
    #[command(hide = true)]
    Functions(FunctionsArgs),
    /// Write the manual pages
    #[command(hide = true)]
    Man(ManArgs),
}

impl Cli {
    /// Parses the command line; a wrong one ends the process with exit code 2.
    pub(crate) fn from_command_line() -> (Self, Vec<SqlSource>) {
        let matches = command()
            .try_get_matches()
            .unwrap_or_else(|error| meant::suggesting(error).exit());
        meant::check(&matches).unwrap_or_else(|error| error.exit());
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if cli.command.is_some()
            && !(cli.batch.commands.is_empty() && cli.batch.files.is_empty())
        {
            let text = "-c and -f do not go with a command; leave one of them out";
            command().error(ErrorKind::ArgumentConflict, text).exit();
        }
        let sources = cli.sources(&matches);
        (cli, sources)
    }

    /// `-c` and `-f` in the order they were given.
    fn sources(&self, matches: &ArgMatches) -> Vec<SqlSource> {
        let indices = |id| matches.indices_of(id).into_iter().flatten();
        let commands = (1..).zip(&self.batch.commands);
        let commands = commands.map(|(n, sql)| SqlSource::Command(n, sql.clone()));
        let files = self.batch.files.iter().cloned().map(SqlSource::File);
        let mut sources: Vec<(usize, SqlSource)> = indices("commands")
            .zip(commands)
            .chain(indices("files").zip(files))
            .collect();
        sources.sort_by_key(|(index, _)| *index);
        sources.into_iter().map(|(_, source)| source).collect()
    }
}

/// Prints the help of `atoll run` as clap would.
///
/// The command takes `--help` itself, because with a script it shows the script's
/// parameters instead.
pub(crate) fn print_help_of_run() -> Result<Ending, Failure> {
    let mut command = command();
    command.build();
    if let Some(run) = command.find_subcommand_mut("run") {
        let help = run.render_long_help();
        io::stdout().write_all(help.to_string().as_bytes())?;
    }
    Ok(Ending::Finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::RowFormat;

    #[track_caller]
    fn parse(line: &str) -> (Cli, Vec<SqlSource>) {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let matches = command().try_get_matches_from(words).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let sources = cli.sources(&matches);
        (cli, sources)
    }

    #[test]
    fn sources_keep_their_order() {
        let (_, sources) = parse("atoll -c A -f b.sql -c C");
        assert_eq!(
            sources,
            [
                SqlSource::Command(1, "A".to_string()),
                SqlSource::File("b.sql".into()),
                SqlSource::Command(2, "C".to_string()),
            ]
        );
    }

    #[test]
    fn options_may_follow_the_command() {
        let (cli, _) = parse("atoll run a.sql --set n=1 --set p=a=b --format csv");
        assert_eq!(cli.session.set[1], ("p".to_string(), "a=b".to_string()));
        assert_eq!(cli.session.format, RowFormat::Csv);
        assert!(matches!(cli.command, Some(Command::Run(run)) if run.retries == 0));
    }
}
