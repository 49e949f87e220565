//! The prompt: SQL and commands as they are typed, as they arrive on standard input, or from
//! `-c` and `-f`.
//!
//! At a terminal an error ends the statement and nothing else. On a pipe it ends the
//! run, since what follows was written for its success.

mod batch;
mod commands;
mod complete;
mod edit;
mod helper;
mod settings;
mod structs;
mod watch;

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use rustyline::config::{BellStyle, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::runtime::Handle;

pub(crate) use self::batch::run_sources;
use self::commands::Next;
use self::helper::SqlHelper;
use self::settings::Settings;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::names::Names;
use crate::notes::note;
use crate::prepared::{Place, SqlSource, without_mark};
use crate::script::is_complete;
use crate::session_args::SessionArgs;
use crate::statement::StatementRunner;
use crate::terminal;

const HISTORY_LENGTH: usize = 10_000;

/// Runs statements and backslash commands, wherever they come from, and remembers what the
/// commands set.
pub(crate) struct Prompt {
    runner: StatementRunner,
    /// What commands changed, and later statements use.
    settings: Settings,
}

impl Prompt {
    async fn new(args: &SessionArgs, work: &Handle) -> Result<Self, Failure> {
        Ok(Self {
            runner: StatementRunner::new(args, work).await?,
            settings: Settings::default(),
        })
    }
}

/// Runs `atoll` without statements or a command.
pub(crate) async fn run(args: &SessionArgs, work: &Handle) -> Result<Ending, Failure> {
    let mut prompt = Prompt::new(args, work).await?;
    if !stdin().is_terminal() {
        // Parameters belong to a script as a whole.
        if !args.set.is_empty() {
            return prompt
                .run_all(&[SqlSource::File("-".into())], &args.set)
                .await;
        }
        return piped(&mut prompt).await;
    }
    for (name, value) in &args.set {
        prompt.settings.set(name, value);
    }
    if !args.quiet {
        let version = atoll_session::VERSION;
        note(&format!(
            "atoll {version}. SQL ends in ;  \\? for help, \\q to quit."
        ));
    }
    interactive(&mut prompt).await
}

/// Runs what arrives on a pipe, each statement as soon as it is complete.
async fn piped(prompt: &mut Prompt) -> Result<Ending, Failure> {
    let mut text = String::new();
    let mut lines_before = 0;
    for (read, line) in (1..).zip(stdin().lines()) {
        let mut line = line?;
        if read == 1 {
            line = without_mark(line);
        }
        if text.trim().is_empty() && commands::is_command(&line) {
            match commands::run(prompt, &line).await? {
                Next::Continue(Ending::Finished) => continue,
                Next::Continue(ending) => return Ok(ending),
                Next::Quit => return Ok(Ending::Finished),
            }
        }
        if text.is_empty() {
            lines_before = read - 1;
        }
        text.push_str(&line);
        text.push('\n');
        // Cheap before thorough: a long statement is not read again for every line.
        if line.contains(';') && is_complete(&text) {
            let place = Place::Pipe { lines_before };
            let ending = run_typed(prompt, &std::mem::take(&mut text), place).await?;
            if ending != Ending::Finished {
                return Ok(ending);
            }
        }
    }
    let place = Place::Pipe { lines_before };
    run_typed(prompt, &text, place).await
}

/// Runs statements with what `\set` defined, and keeps them for `\watch` and `\e`.
async fn run_typed(
    prompt: &mut Prompt,
    text: &str,
    place: Place,
) -> Result<Ending, Failure> {
    let filled = prompt.settings.fill(text)?;
    prompt.settings.last = Some(text.trim().to_string());
    prompt.runner.run_text(&filled, place).await
}

async fn interactive(prompt: &mut Prompt) -> Result<Ending, Failure> {
    let mut editor = editor()?;
    let history = history_file();
    if let Some(path) = &history {
        // No history yet is the usual case, and no reason to stop.
        let _ = editor.load_history(path);
    }
    loop {
        let names = Names::collect(prompt.runner.session.context()).await;
        if let Some(helper) = editor.helper_mut() {
            helper.set_names(names);
        }
        let text = match editor.readline("atoll> ") {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => {
                return Err(Failure::new(format!("cannot read the terminal: {error}")));
            }
        };
        if text.trim().is_empty() {
            continue;
        }
        remember(&mut editor, text.trim_end(), history.as_ref());
        let pager = prompt.settings.pager();
        prompt.runner.fit_screen(pager.as_deref());
        let next = match command(&text) {
            Some(line) => {
                let before = prompt.settings.last.clone();
                let next = commands::run(prompt, line).await;
                // What an editor made of a statement is worth keeping too.
                if let Some(last) = prompt.settings.last.as_ref()
                    && before.as_ref() != Some(last)
                {
                    remember(&mut editor, last, history.as_ref());
                }
                next
            }
            None => run_typed(prompt, &text, Place::Prompt)
                .await
                .map(Next::Continue),
        };
        match next {
            Ok(Next::Continue(_)) => {}
            Ok(Next::Quit) => break,
            Err(failure) if failure.broken_pipe => return Err(failure),
            Err(failure) => failure.print(),
        }
    }
    Ok(Ending::Finished)
}

/// The command that a typed line is, if it is no statement: one with a backslash, or a word
/// such as `quit` that other shells have.
fn command(text: &str) -> Option<&str> {
    let text = text.trim();
    match text.trim_end_matches(';').to_ascii_lowercase().as_str() {
        "quit" | "exit" => Some("\\q"),
        "help" => Some("\\?"),
        _ if commands::is_command(text) => Some(text),
        _ => None,
    }
}

fn editor() -> Result<Editor<SqlHelper, FileHistory>, Failure> {
    let failure = |error| Failure::new(format!("cannot use this terminal: {error}"));
    let config = Config::builder()
        .max_history_size(HISTORY_LENGTH)
        .map_err(failure)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        .build();
    let mut editor = Editor::with_config(config).map_err(failure)?;
    editor.set_helper(Some(SqlHelper::new(terminal::color_allowed())));
    Ok(editor)
}

/// Keeps a statement for later sessions at once: a killed session loses nothing.
fn remember(
    editor: &mut Editor<SqlHelper, FileHistory>,
    text: &str,
    file: Option<&PathBuf>,
) {
    // A history that cannot be written is no reason to refuse the statement.
    let added = editor.add_history_entry(text).unwrap_or(false);
    if let Some(path) = file.filter(|_| added) {
        let _ = editor.append_history(path);
    }
}

fn history_file() -> Option<PathBuf> {
    let folder = dirs::data_dir()?.join("atoll");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
