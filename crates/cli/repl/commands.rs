//! The commands of the prompt: `\d`, `\x` and their kin. They begin with a backslash, take
//! one line, and no SQL parser sees them.

use std::path::{Path, PathBuf};

use atoll_session::function_docs;
use clap::ValueEnum;

use super::Prompt;
use super::edit;
use super::settings::Pager;
use super::watch;
use crate::errors::{Failure, suggest};
use crate::exit::Ending;
use crate::functions::{self, Detail};
use crate::notes::note;
use crate::output::{Expanded, RowFormat, usual_pager};
use crate::prepared::Place;
use crate::report;
use crate::terminal;

/// The width of a drawing, in characters, where standard output is no terminal.
const USUAL_WIDTH: usize = 80;

/// Every command with what it does, for help and completion.
pub(super) const COMMANDS: [(&str, &str, &str); 18] = [
    ("\\?", "", "show this help"),
    ("\\d", "[TABLE]", "list tables, or the columns of one"),
    ("\\d+", "TABLE", "the same, and how a view is defined"),
    (
        "\\df",
        "[FUNCTION]",
        "list functions, or document one with an example",
    ),
    (
        "\\df+",
        "FUNCTION",
        "the same, with all that is known of it",
    ),
    (
        "\\e",
        "",
        "edit the last statement in $VISUAL or $EDITOR, and run it",
    ),
    (
        "\\watch",
        "[SECONDS] [N]",
        "repeat the last statement, every 2 seconds",
    ),
    ("\\i", "FILE", "run a script"),
    (
        "\\set",
        "[NAME VALUE]",
        "fill ${NAME} in scripts and statements, or list what is filled",
    ),
    ("\\unset", "NAME", "forget one"),
    (
        "\\format",
        "[FORMAT]",
        "write rows as table, csv, tsv, json, ndjson or markdown",
    ),
    (
        "\\x",
        "[on|off|auto]",
        "write tables with a line for each column; auto: if they are too wide",
    ),
    (
        "\\pager",
        "[on|off|COMMAND]",
        "show what is longer than the screen in $PAGER, or less",
    ),
    (
        "\\o",
        "[FILE]",
        "write rows to a file, or to the terminal again",
    ),
    (
        "\\plot",
        "[KIND] [TABLE]",
        "draw the trials of a study, or labelled images",
    ),
    ("\\timing", "[on|off]", "say how long statements take"),
    ("\\!", "[COMMAND]", "run a command of the shell, or a shell"),
    ("\\q", "", "quit, as Ctrl-D does"),
];

/// Commands of DuckDB's and SQLite's shells for which there is no other here.
const SCHEMA: &str = ".schema";
const MODE: &str = ".mode";

/// The commands of other prompts (psql's, DuckDB's) and the ones that they stand for here.
const ALIASES: [(&str, &str); 19] = [
    ("\\dt", "\\d"),
    ("\\h", "\\?"),
    ("\\help", "\\?"),
    ("\\quit", "\\q"),
    ("\\exit", "\\q"),
    ("\\include", "\\i"),
    ("\\edit", "\\e"),
    (".tables", "\\d"),
    (".describe", "\\d"),
    (".help", "\\?"),
    (".read", "\\i"),
    (".timer", "\\timing"),
    (".output", "\\o"),
    (".edit", "\\e"),
    (".pager", "\\pager"),
    (".shell", "\\!"),
    (".system", "\\!"),
    (".quit", "\\q"),
    (".exit", "\\q"),
];

/// The modes of DuckDB's shell and the formats that they stand for here.
const MODES: [(&str, RowFormat); 11] = [
    ("duckbox", RowFormat::Table),
    ("box", RowFormat::Table),
    ("column", RowFormat::Table),
    ("table", RowFormat::Table),
    ("line", RowFormat::Table),
    ("csv", RowFormat::Csv),
    ("tabs", RowFormat::Tsv),
    ("json", RowFormat::Json),
    ("jsonlines", RowFormat::Ndjson),
    ("ndjson", RowFormat::Ndjson),
    ("markdown", RowFormat::Markdown),
];

const TABLES: &str = "SELECT table_schema AS schema, table_name AS name, table_type AS type \
                      FROM information_schema.tables \
                      WHERE table_schema <> 'information_schema' ORDER BY 1, 2";

const COLUMNS: &str = "SELECT table_name AS table, column_name AS column, data_type AS type \
                       FROM information_schema.columns \
                       WHERE table_schema <> 'information_schema' \
                       ORDER BY table_name, ordinal_position";

/// Whether a line is a command and no SQL. A statement begins with no dot.
pub(super) fn is_command(line: &str) -> bool {
    let line = line.trim_start();
    let dotted = line.strip_prefix('.');
    let is_word = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
    line.starts_with('\\') || dotted.is_some_and(is_word)
}

/// Every word that a command line may begin with.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let dotted = ALIASES.iter().map(|(alias, _)| *alias);
    let dotted = dotted.filter(|alias| alias.starts_with('.'));
    let commands = COMMANDS.iter().map(|(name, ..)| *name);
    commands.chain(dotted).chain([SCHEMA, MODE])
}

/// Whether the prompt goes on after a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Continue(Ending),
    Quit,
}

/// Runs one command.
pub(crate) async fn run(prompt: &mut Prompt, line: &str) -> Result<Next, Failure> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (command, argument) = split(line);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == command);
    let command = alias.map_or(command, |(_, meant)| meant);
    let mut ending = Ending::Finished;
    match (command, argument) {
        ("\\q", _) => return Ok(Next::Quit),
        ("\\?", _) => prompt.runner.write(&help()).await?,
        ("\\d", None) => ending = run_quietly(prompt, TABLES).await?,
        ("\\d", Some(table)) => ending = describe(prompt, table).await?,
        ("\\d+", Some(table)) => {
            describe(prompt, table).await?;
            ending = run_quietly(prompt, &definition(table)).await?;
        }
        ("\\df", None) => {
            prompt
                .runner
                .write(&functions::list(&function_docs()))
                .await?
        }
        ("\\df", Some(name)) => document(prompt, name, Detail::Brief).await?,
        ("\\df+", Some(name)) => document(prompt, name, Detail::All).await?,
        (SCHEMA, None) => ending = run_quietly(prompt, COLUMNS).await?,
        (SCHEMA, Some(table)) => ending = describe(prompt, table).await?,
        (MODE, Some(mode)) => set_mode(prompt, mode)?,
        ("\\e", _) => ending = edit::last_statement(prompt).await?,
        ("\\plot", argument) => {
            let width = terminal::stdout_width().unwrap_or(USUAL_WIDTH);
            let text =
                report::plot_terminal(&prompt.runner.session, argument, width).await?;
            prompt.runner.write(&text).await?;
        }
        ("\\watch", options) => ending = watch::run(prompt, options).await?,
        ("\\i", Some(file)) => {
            let set = prompt.settings.set.clone();
            ending = prompt.runner.run_script(&path(file), &set).await?;
        }
        ("\\!", command) => edit::shell(command).await?,
        (command, argument) => change(prompt, command, argument)?,
    }
    Ok(Next::Continue(ending))
}

/// The commands that only change how later ones behave.
fn change(
    prompt: &mut Prompt,
    command: &str,
    argument: Option<&str>,
) -> Result<(), Failure> {
    match (command, argument) {
        ("\\set", None) if prompt.settings.set.is_empty() => {
            note("no parameter is set");
        }
        ("\\set", None) => {
            for (name, value) in &prompt.settings.set {
                note(&format!("{name} = {value}"));
            }
        }
        ("\\set", Some(pair)) => {
            let (name, value) = split(pair);
            prompt
                .settings
                .set(name, unquoted(value.unwrap_or_default()));
        }
        ("\\unset", Some(name)) => prompt.settings.set.retain(|(set, _)| set != name),
        ("\\format", None) => {
            note(&format!(
                "rows are written as {}",
                prompt.runner.shown.format.name()
            ));
        }
        ("\\format", Some(name)) => prompt.runner.shown.format = format_named(name)?,
        ("\\o", file) => prompt.runner.redirect(file.map(path).as_deref())?,
        ("\\timing", argument) => {
            prompt.runner.shown.timing =
                switch(command, argument, prompt.runner.shown.timing)?;
            note(if prompt.runner.shown.timing {
                "timing is on"
            } else {
                "timing is off"
            });
        }
        ("\\x", Some("auto")) => expand(prompt, Expanded::Auto),
        ("\\x", argument) => {
            let is_on = prompt.runner.shown.expanded != Expanded::Off;
            let on = switch(command, argument, is_on)?;
            expand(prompt, if on { Expanded::On } else { Expanded::Off });
        }
        ("\\pager", argument) => set_pager(prompt, argument)?,
        (command, None) if is_known(command) || command == MODE => {
            let usage = COMMANDS.iter().find(|(name, ..)| *name == command);
            let argument = usage.map_or("", |(_, argument, _)| argument);
            let text = format!("{command} wants an argument: {command} {argument}");
            return Err(Failure::new(text));
        }
        (unknown, _) => return Err(unknown_command(unknown)),
    }
    Ok(())
}

/// The first word of a line, and what follows it.
fn split(line: &str) -> (&str, Option<&str>) {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, Some(rest.trim()).filter(|rest| !rest.is_empty()))
}

/// Runs a statement that its user did not write, so an error shows no line of it.
async fn run_quietly(prompt: &mut Prompt, sql: &str) -> Result<Ending, Failure> {
    let outcome = prompt.runner.run_text(sql, Place::Prompt).await;
    outcome.map_err(|failure| Failure {
        excerpt: None,
        ..failure
    })
}

async fn describe(prompt: &mut Prompt, table: &str) -> Result<Ending, Failure> {
    run_quietly(prompt, &format!("DESCRIBE {table}")).await
}

/// Writes what is known of a function.
async fn document(
    prompt: &mut Prompt,
    name: &str,
    detail: Detail,
) -> Result<(), Failure> {
    let width = terminal::stdout_width().unwrap_or(USUAL_WIDTH);
    let context = prompt.runner.session.context();
    let text = functions::describe(context, name, detail, width)?;
    prompt.runner.write(&text).await
}

/// The query for how a table or view was made.
fn definition(table: &str) -> String {
    let name = table.rsplit('.').next().unwrap_or(table).trim_matches('"');
    let name = name.replace('\'', "''");
    format!(
        "SELECT tables.table_type AS type, views.definition \
         FROM information_schema.tables AS tables \
         LEFT JOIN information_schema.views AS views \
         USING (table_catalog, table_schema, table_name) \
         WHERE tables.table_name = '{name}'"
    )
}

/// The new value of a switch: as its argument says, or the other one without an argument.
fn switch(command: &str, argument: Option<&str>, is_on: bool) -> Result<bool, Failure> {
    match argument {
        None => Ok(!is_on),
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(Failure::new(format!("{command} is on or off, got {other}"))),
    }
}

fn expand(prompt: &mut Prompt, expanded: Expanded) {
    prompt.runner.shown.expanded = expanded;
    note(match expanded {
        Expanded::On => "tables have a line for each column",
        Expanded::Off => "tables have a line for each row",
        Expanded::Auto => "tables that are too wide have a line for each column",
    });
}

/// Does what DuckDB's `.mode` does.
fn set_mode(prompt: &mut Prompt, mode: &str) -> Result<(), Failure> {
    let Some((_, format)) = MODES.iter().find(|(name, _)| *name == mode) else {
        let names = MODES.map(|(name, _)| name);
        return Err(Failure::new(format!("unknown mode {mode}"))
            .hint(format!("modes are {}", names.join(", "))));
    };
    prompt.runner.shown.format = *format;
    prompt.runner.shown.expanded = match mode {
        "line" => Expanded::On,
        _ => Expanded::Off,
    };
    Ok(())
}

fn set_pager(prompt: &mut Prompt, argument: Option<&str>) -> Result<(), Failure> {
    match argument {
        None => {}
        Some("off") => prompt.settings.pager = Pager::Off,
        Some("on") if usual_pager().is_none() => {
            return Err(Failure::new("PAGER is not set and less is not installed")
                .hint("name a program: \\pager COMMAND"));
        }
        Some("on") => prompt.settings.pager = Pager::Usual,
        Some(command) => prompt.settings.pager = Pager::Command(command.to_string()),
    }
    note(&match prompt.settings.pager() {
        Some(command) => format!("long results are shown in {command}"),
        None => "there is no pager; long results are cut".to_string(),
    });
    Ok(())
}

/// A file name as it is typed: in quotes or not, with `~` for the home folder.
fn path(text: &str) -> PathBuf {
    let text = unquoted(text);
    match (text.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(text).to_path_buf(),
    }
}

fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

/// The arguments that the command before the cursor may have, if there is a list of them.
pub(super) fn values(before: &str) -> Option<Vec<&'static str>> {
    let (command, argument) = before.split_once(' ')?;
    let values: &[&str] = match command {
        _ if argument.contains(' ') => return None,
        "\\x" => &["on", "off", "auto"],
        "\\timing" | "\\pager" => &["on", "off"],
        "\\format" => &["table", "csv", "tsv", "json", "ndjson", "markdown"],
        MODE => return Some(MODES.map(|(name, _)| name).to_vec()),
        _ => return None,
    };
    Some(values.to_vec())
}

fn help() -> String {
    let lines = COMMANDS.iter().map(|(name, argument, what)| {
        let usage = format!("{name} {argument}");
        format!("  {usage:25}{what}\n")
    });
    let lines: String = lines.collect();
    format!("SQL ends in ;  Ctrl-C cancels a statement.\n\n{lines}")
}

fn format_named(name: &str) -> Result<RowFormat, Failure> {
    RowFormat::from_str(name, true).map_err(|_| {
        Failure::new(format!("unknown format {name}"))
            .hint("formats are table, csv, tsv, json, ndjson, markdown")
    })
}

fn is_known(command: &str) -> bool {
    COMMANDS.iter().any(|(name, ..)| *name == command)
}

fn unknown_command(command: &str) -> Failure {
    let failure = Failure::new(format!("unknown command {command}"));
    let names: Vec<&str> = all().collect();
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
        let widest = help.lines().map(str::len).max();
        assert!(widest <= Some(100), "{widest:?}");
    }

    #[test]
    fn aliases_stand_for_commands() {
        for (alias, command) in ALIASES {
            assert!(is_known(command) && !is_known(alias), "{alias}");
        }
    }

    #[test]
    fn an_unknown_command_suggests() {
        let failure = unknown_command("\\timng");
        assert_eq!(failure.message, "unknown command \\timng");
        assert!(failure.hint.unwrap().starts_with("did you mean \\timing?"));
        let failure = unknown_command(".table");
        assert!(failure.hint.unwrap().starts_with("did you mean .tables?"));
    }

    #[test]
    fn a_number_is_no_command() {
        assert!(is_command("\\d") && is_command(" .tables"));
        assert!(!is_command(".5") && !is_command("SELECT .5") && !is_command("."));
    }

    #[test]
    fn file_names_may_be_quoted() {
        assert_eq!(path("'a b.sql'"), Path::new("a b.sql"));
        assert_eq!(path("a.sql"), Path::new("a.sql"));
        assert!(!path("~/a.sql").starts_with("~"));
    }

    #[test]
    fn a_switch_turns_over() {
        assert!(!switch("\\x", None, true).unwrap());
        assert!(switch("\\x", Some("on"), true).unwrap());
        assert!(switch("\\x", Some("maybe"), true).is_err());
    }
}
