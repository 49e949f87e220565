//! The commands that are not SQL; they start with a backslash and take one line.

use std::path::Path;

use atoll_session::function_docs;
use clap::ValueEnum;

use crate::errors::{Failure, suggest};
use crate::functions;
use crate::output::Format;
use crate::run::{Ending, Place, Runner};

/// Every command with what it does, for help and completion.
pub(super) const COMMANDS: [(&str, &str, &str); 7] = [
    ("\\?", "", "show this help"),
    ("\\d", "[TABLE]", "list tables, or the columns of one"),
    (
        "\\df",
        "[FUNCTION]",
        "list functions, or document one with an example",
    ),
    (
        "\\format",
        "[FORMAT]",
        "write rows as table, csv, tsv, json, ndjson or markdown",
    ),
    (
        "\\o",
        "[FILE]",
        "write rows to a file, or to the terminal again",
    ),
    ("\\timing", "", "switch on or off how long statements take"),
    ("\\q", "", "quit, as Ctrl-D does"),
];

const TABLES: &str = "SELECT table_schema AS schema, table_name AS name, table_type AS type \
                      FROM information_schema.tables \
                      WHERE table_schema <> 'information_schema' ORDER BY 1, 2";

/// What to do after a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Continue(Ending),
    Quit,
}

/// Runs one command.
pub(crate) async fn run(runner: &mut Runner, line: &str) -> Result<Next, Failure> {
    let line = line.trim().trim_end_matches(';');
    let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
    let mut ending = Ending::Finished;
    match (command, argument) {
        ("\\q", _) => return Ok(Next::Quit),
        ("\\?", _) => runner.write(&help())?,
        ("\\d", None) => ending = runner.run_text(TABLES, Place::Prompt).await?,
        ("\\d", Some(table)) => {
            let sql = format!("DESCRIBE {table}");
            ending = runner.run_text(&sql, Place::Prompt).await?;
        }
        ("\\df", None) => runner.write(&functions::list(&function_docs()))?,
        ("\\df", Some(name)) => {
            let text = functions::describe(runner.session.context(), name)?;
            runner.write(&text)?;
        }
        ("\\format", None) => {
            runner.note(&format!("rows are written as {:?}", runner.format))
        }
        ("\\format", Some(name)) => runner.format = format_named(name)?,
        ("\\o", file) => runner.redirect(file.map(Path::new))?,
        ("\\timing", _) => {
            runner.timing = !runner.timing;
            runner.note(if runner.timing {
                "timing is on"
            } else {
                "timing is off"
            });
        }
        (unknown, _) => return Err(unknown_command(unknown)),
    }
    Ok(Next::Continue(ending))
}

fn help() -> String {
    let lines = COMMANDS.iter().map(|(name, argument, what)| {
        let usage = format!("{name} {argument}");
        format!("  {usage:18}{what}\n")
    });
    let lines: String = lines.collect();
    format!("SQL ends in ;  Ctrl-C cancels a statement.\n\n{lines}")
}

fn format_named(name: &str) -> Result<Format, Failure> {
    Format::from_str(name, true).map_err(|_| {
        Failure::new(format!("unknown format {name}"))
            .hint("formats are table, csv, tsv, json, ndjson, markdown")
    })
}

fn unknown_command(command: &str) -> Failure {
    let names: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    let failure = Failure::new(format!("unknown command {command}"));
    match suggest(command, &names) {
        Some(near) => failure.hint(format!("did you mean {near}? \\? lists all")),
        None => failure.hint("\\? lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command() {
        let help = help();
        for (name, ..) in COMMANDS {
            assert!(help.contains(name), "{name}");
        }
    }

    #[test]
    fn an_unknown_command_suggests() {
        let failure = unknown_command("\\timng");
        assert_eq!(failure.message, "unknown command \\timng");
        assert!(failure.hint.unwrap().starts_with("did you mean \\timing?"));
    }
}
