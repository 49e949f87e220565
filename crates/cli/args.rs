//! The command line.

mod meant;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use atoll_cluster::{Address, Client, Token};
use atoll_session::SessionOptions;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};

pub(crate) use self::meant::command;
use crate::errors::Failure;
use crate::job::RunArgs;
use crate::output::Format;
use crate::report::{PlotArgs, ReportArgs};
use crate::runs::RunsArgs;
use crate::schedule::{BackfillArgs, ScheduleArgs};

/// Deep learning in SQL
///
/// Without -c, -f or a command, atoll reads SQL from the terminal or from standard
/// input.
#[derive(Debug, Parser)]
#[command(name = "atoll", version = atoll_session::VERSION)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) batch: BatchArgs,

    #[command(flatten)]
    pub(crate) session: SessionArgs,

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

/// What every command that runs SQL takes.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// Fill ${NAME} in scripts; may repeat
    ///
    /// ${NAME} is replaced everywhere but in comments. Inside a string literal quotes
    /// in the value are doubled. $${ stands for ${. A script's header lines
    /// "-- Parameter: name type = default -- help" say what holds without this option.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, global = true)]
    pub(crate) set: Vec<(String, String)>,

    /// Write rows in this format
    #[arg(long, value_enum, default_value = "table", global = true)]
    pub(crate) format: Format,

    /// Show no progress and no greeting
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Let operators hold this much memory, such as 512m or 2g
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, global = true)]
    pub(crate) memory_limit: Option<usize>,

    /// Run this many trials, images and partitions at once [default: one a core]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Keep trials, models and tables in this folder or URL
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) storage: Option<String>,

    /// Run expensive functions and large statements on the cluster of this scheduler
    #[arg(long, value_name = "df://HOST:PORT", global = true)]
    pub(crate) cluster: Option<Address>,

    /// Read the token of the cluster or the server from this file [default: the variable ATOLL_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a SQL script, then exit
    Run(RunArgs),
    /// Show the scripts that a cluster runs on its own, follow or end one
    Runs(RunsArgs),
    /// Write a page about studies or labelled images
    Report(ReportArgs),
    /// Draw one chart of a study or of labelled images
    Plot(PlotArgs),
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

/// When a server stops.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Stop when standard input ends, and not only at a signal
    #[arg(long, hide = true)]
    pub(crate) stop_with_input: bool,
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

/// Arguments of `atoll serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen on this address; other machines need a token and one of theirs
    #[arg(long, value_name = "IP", default_value_t = LOOPBACK)]
    pub(crate) bind: IpAddr,

    /// Listen on this port; 0 picks a free one
    #[arg(long, default_value_t = atoll_serve::DEFAULT_PORT)]
    pub(crate) port: u16,

    /// Encrypt connections with this certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Let this many clients have a session
    #[arg(long, value_name = "N", default_value = "128")]
    pub(crate) max_sessions: NonZeroUsize,

    /// Run this many statements at once
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) max_statements: NonZeroUsize,

    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Arguments of `atoll functions`.
#[derive(Debug, Args)]
pub(crate) struct FunctionsArgs {
    /// Write the reference page
    #[arg(long)]
    pub(crate) markdown: bool,
}

/// Arguments of `atoll completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `atoll man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder [default: print the first]
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// Where statements come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The nth `-c`, from 1.
    Command(usize, String),
    /// A script.
    File(PathBuf),
}

impl Cli {
    /// Parses the command line; a wrong one ends the process with exit code 2.
    pub(crate) fn from_command_line() -> (Self, Vec<Source>) {
        let matches = command().get_matches();
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
    fn sources(&self, matches: &ArgMatches) -> Vec<Source> {
        let indices = |id| matches.indices_of(id).into_iter().flatten();
        let commands = (1..).zip(&self.batch.commands);
        let commands = commands.map(|(n, sql)| Source::Command(n, sql.clone()));
        let files = self.batch.files.iter().cloned().map(Source::File);
        let mut sources: Vec<(usize, Source)> = indices("commands")
            .zip(commands)
            .chain(indices("files").zip(files))
            .collect();
        sources.sort_by_key(|(index, _)| *index);
        sources.into_iter().map(|(_, source)| source).collect()
    }
}

impl SessionArgs {
    /// What a session needs; connects to the cluster, if there is one.
    pub(crate) async fn options(&self) -> Result<SessionOptions, Failure> {
        let mut options = SessionOptions {
            storage: self.storage.clone(),
            memory_limit: self.memory_limit,
            threads: self.threads,
            ..SessionOptions::default()
        };
        if let Some(address) = &self.cluster {
            let client = Client::connect(address.clone(), self.token()?).await?;
            options.cluster = Some(Arc::new(client));
        }
        Ok(options)
    }

    /// The cluster's token.
    pub(crate) fn token(&self) -> Result<Token, Failure> {
        Ok(Token::find(self.token_file.as_deref())?)
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_string(), value.to_string()))
        }
        _ => Err("write NAME=VALUE".to_string()),
    }
}

fn parse_memory(text: &str) -> Result<usize, String> {
    atoll_session::parse_size(text)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "write a size above 0, such as 512m or 2g".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(line: &str) -> (Cli, Vec<Source>) {
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
                Source::Command(1, "A".to_string()),
                Source::File("b.sql".into()),
                Source::Command(2, "C".to_string()),
            ]
        );
    }

    #[test]
    fn options_may_follow_the_command() {
        let (cli, _) = parse("atoll run a.sql --set n=1 --set p=a=b --format csv");
        assert_eq!(cli.session.set[1], ("p".to_string(), "a=b".to_string()));
        assert_eq!(cli.session.format, Format::Csv);
        assert!(matches!(cli.command, Some(Command::Run(run)) if run.retries == 0));
    }
}
