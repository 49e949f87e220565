//! SQL as it is typed, or as it arrives on standard input.
//!
//! At a terminal an error ends the statement and nothing else. On a pipe it ends the
//! run, since what follows was written for its success.

pub(crate) mod commands;
mod helper;
mod names;

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use rustyline::config::{BellStyle, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::runtime::Handle;

use self::commands::Next;
use self::helper::SqlHelper;
use self::names::Names;
use crate::args::{SessionArgs, Source};
use crate::errors::Failure;
use crate::run::{Ending, Place, Runner};
use crate::script::is_complete;
use crate::terminal;

const HISTORY_LENGTH: usize = 10_000;

/// Runs `atoll` without statements or a command.
pub(crate) async fn run(args: &SessionArgs, work: &Handle) -> Result<Ending, Failure> {
    let mut runner = Runner::new(args, work).await?;
    if !stdin().is_terminal() {
        // Parameters belong to a script as a whole.
        if !args.set.is_empty() {
            return runner.run_all(&[Source::File("-".into())], &args.set).await;
        }
        return piped(&mut runner).await;
    }
    if !args.set.is_empty() {
        return Err(Failure::new("--set fills scripts, there is none here")
            .hint("name a script: atoll run FILE --set NAME=VALUE"));
    }
    if !args.quiet {
        let version = atoll_session::VERSION;
        runner.note(&format!(
            "atoll {version}. SQL ends in ;  \\? for help, \\q to quit."
        ));
    }
    interactive(&mut runner).await
}

/// Runs what arrives on a pipe, each statement as soon as it is complete.
async fn piped(runner: &mut Runner) -> Result<Ending, Failure> {
    let mut text = String::new();
    let mut lines_before = 0;
    for (read, line) in (1..).zip(stdin().lines()) {
        let line = line?;
        if text.trim().is_empty() && line.trim_start().starts_with('\\') {
            match commands::run(runner, &line).await? {
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
            let ending = runner.run_text(&std::mem::take(&mut text), place).await?;
            if ending != Ending::Finished {
                return Ok(ending);
            }
        }
    }
    let place = Place::Pipe { lines_before };
    runner.run_text(&text, place).await
}

async fn interactive(runner: &mut Runner) -> Result<Ending, Failure> {
    let mut editor = editor()?;
    let history = history_file();
    if let Some(path) = &history {
        // No history yet is the usual case, and no reason to stop.
        let _ = editor.load_history(path);
    }
    loop {
        let names = Names::collect(runner.session.context()).await;
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
        runner.fit_screen();
        let next = if text.trim_start().starts_with('\\') {
            commands::run(runner, &text).await
        } else {
            runner
                .run_text(&text, Place::Prompt)
                .await
                .map(Next::Continue)
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
