//! Which of the shared options mean something to which command.
//!
//! They may stand before and after any command, so that scripts can put them where they
//! like. A command neither lists nor takes those that would change nothing about it.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};

use super::Cli;
use crate::errors::suggest;

/// What sessions are opened with.
const OPENS: [&str; 5] = [
    "memory_limit",
    "threads",
    "storage",
    "cluster",
    "token_file",
];

/// The shared options that a command uses; `None` if it uses all.
fn meant(command: &str) -> Option<Vec<&'static str>> {
    let meant: &[&str] = match command {
        "scheduler" => &["token_file"],
        "executor" | "cluster" => &["memory_limit", "token_file"],
        "runs" => &["format", "cluster", "token_file"],
        "demo" => &["quiet", "memory_limit", "threads", "storage"],
        "serve" | "doctor" | "watch" => &OPENS,
        "report" | "plot" | "schedule" | "backfill" => {
            return Some([&["quiet"], &OPENS[..]].concat());
        }
        "completions" | "functions" | "man" => &[],
        _ => return None,
    };
    Some(meant.to_vec())
}

/// The options that a command hides, of all that are shared.
fn hidden(shared: &[Arg], command: &str) -> Vec<Arg> {
    let Some(meant) = meant(command) else {
        return vec![];
    };
    let others = shared.iter().filter(|arg| !meant.contains(&id(arg)));
    others.cloned().collect()
}

fn id(arg: &Arg) -> &str {
    arg.get_id().as_str()
}

/// The whole command line.
pub(crate) fn command() -> Command {
    let mut all = Cli::command();
    let shared = shared(&all);
    let names: Vec<String> = all
        .get_subcommands()
        .map(|command| command.get_name().to_string())
        .collect();
    for name in names {
        let hidden = hidden(&shared, &name);
        all = all.mut_subcommand(&name, |mut command| {
            for arg in hidden {
                command = command.arg(arg.hide(true));
            }
            command
        });
    }
    all
}

/// The error with the command that an unknown one was probably meant to be, by the rule of
/// the whole program.
pub(super) fn suggesting(mut error: Error) -> Error {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand)
    else {
        return error;
    };
    let all = Cli::command();
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let names: Vec<&str> = shown.map(Command::get_name).collect();
    if let Some(near) = suggest(unknown, &names) {
        let near = ContextValue::Strings(vec![near.to_string()]);
        error.insert(ContextKind::SuggestedSubcommand, near);
    }
    error
}

fn shared(all: &Command) -> Vec<Arg> {
    let shared = all.get_arguments().filter(|arg| arg.is_global_set());
    shared.cloned().collect()
}

/// Refuses an option that means nothing to the command it was given with.
pub(super) fn check(matches: &ArgMatches) -> Result<(), Error> {
    let Some((name, given)) = matches.subcommand() else {
        return Ok(());
    };
    for arg in hidden(&shared(&Cli::command()), name) {
        let lets_through = match (name, id(&arg)) {
            // It says itself where parameters are written.
            ("schedule" | "backfill", "set") => true,
            // Who starts several commands gives all of them one storage, or no word.
            (_, "storage" | "quiet") => true,
            _ => false,
        };
        let source = given.value_source(id(&arg));
        if source == Some(ValueSource::CommandLine) && !lets_through {
            let option = arg.get_long().unwrap_or_default();
            return Err(command().error(
                ErrorKind::ArgumentConflict,
                format!("--{option} means nothing to atoll {name}; leave it out"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ArgMatches, Error> {
        let matches = command().try_get_matches_from(line.split(' '))?;
        check(&matches).map(|()| matches)
    }

    #[track_caller]
    fn check_help(name: &str, listed: &[&str], absent: &[&str]) {
        let mut all = command();
        all.build();
        let help = all.find_subcommand_mut(name).unwrap().render_long_help();
        let help = help.to_string();
        for option in listed {
            assert!(help.contains(&format!("--{option}")), "{name}: {help}");
        }
        for option in absent {
            assert!(!help.contains(&format!("--{option}")), "{name}: {help}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_lists_what_means_something() {
        check_help("run", &["set", "format", "cluster", "storage"], &[]);
        let sql = ["set", "format", "cluster", "storage", "threads"];
        check_help("scheduler", &["bind", "token-file"], &sql);
        check_help("executor", &["token-file", "memory-limit"], &sql);
        check_help("serve", &["storage", "cluster"], &["set", "format"]);
        check_help("report", &["storage", "quiet"], &["set", "format"]);
        check_help("doctor", &["storage"], &["set", "format", "quiet"]);
        check_help("completions", &[], &["storage", "token-file"]);
    }

    #[test]
    fn what_means_nothing_is_refused_wherever_it_stands() {
        for line in [
            "atoll scheduler --set a=1",
            "atoll --format csv scheduler",
            "atoll executor --scheduler h:1 --cluster h:1",
            "atoll serve --format json",
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains("means nothing to atoll"), "{line}: {error}");
        }
        for line in [
            "atoll scheduler --token-file t",
            "atoll --storage s executor --scheduler h:1 --memory-limit 1g",
            "atoll --format csv run a.sql --set a=1",
            "atoll --cluster h:1 serve --storage s",
        ] {
            parse(line).unwrap();
        }
    }

    #[test]
    fn a_misspelt_command_suggests_the_nearest() {
        let check = |line: &str, expected: &str| {
            let error = command().try_get_matches_from(line.split(' ')).unwrap_err();
            let error = suggesting(error).to_string();
            assert!(error.contains(&format!("'{expected}'")), "{error}");
        };
        check("atoll rnu", "run");
        check("atoll repport", "report");
        check("atoll dmeo", "demo");
    }

    #[test]
    fn what_a_command_uses_reaches_it_from_both_sides() {
        for line in [
            "atoll --memory-limit 1g executor --scheduler h:1",
            "atoll executor --scheduler h:1 --memory-limit 1g",
        ] {
            let matches = parse(line).unwrap();
            let limit = matches.get_one::<usize>("memory_limit");
            assert_eq!(limit, Some(&(1 << 30)), "{line}");
        }
    }
}
