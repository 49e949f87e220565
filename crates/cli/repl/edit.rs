//! The commands that hand the terminal to another program: `\e` to an editor, `\!` to a
//! shell.

use std::io::{IsTerminal, Write, stdin, stdout};

use tokio::process::Command;

use super::Prompt;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::note;
use crate::output::is_installed;
use crate::prepared::Place;

/// Editors to try where the user names none.
const EDITORS: [&str; 4] = ["editor", "nano", "vim", "vi"];

/// Lets the user edit the last statement, and runs what comes back.
///
/// A text that was not changed is not run: leaving the editor is how people change
/// their mind.
pub(super) async fn last_statement(prompt: &mut Prompt) -> Result<Ending, Failure> {
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        return Err(Failure::new("\\e needs a terminal"));
    }
    let before = prompt.settings.last.clone().unwrap_or_default();
    let after = edit(&before).await?;
    if after.trim().is_empty() || after.trim() == before.trim() {
        note("nothing was changed, so nothing runs");
        return Ok(Ending::Finished);
    }
    // What runs should be on the screen, like everything else that was typed.
    note(after.trim_end());
    prompt.settings.last = Some(after.trim_end().to_string());
    let text = prompt.settings.fill(&after)?;
    prompt.runner.run_text(&text, Place::Prompt).await
}

async fn edit(text: &str) -> Result<String, Failure> {
    let editor = editor().ok_or_else(|| {
        Failure::new("no editor is installed").hint("name one in the variable EDITOR")
    })?;
    let fail = |error| Failure::new(format!("cannot edit a temporary file: {error}"));
    let mut file = tempfile::Builder::new()
        .prefix("atoll-")
        .suffix(".sql")
        .tempfile()
        .map_err(fail)?;
    writeln!(file, "{text}").map_err(fail)?;
    let status = Command::new("sh")
        // An editor may come with options of its own.
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .status()
        .await;
    match status {
        Ok(status) if status.success() => {
            // By name: editors replace the file rather than write into it.
            std::fs::read_to_string(file.path()).map_err(fail)
        }
        _ => Err(Failure::new(format!("the editor failed: {editor}"))
            .hint("name another in the variable EDITOR")),
    }
}

fn editor() -> Option<String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| {
        let editor = std::env::var(name).ok()?;
        (!editor.trim().is_empty()).then_some(editor)
    });
    let installed = EDITORS.into_iter().filter(|editor| is_installed(editor));
    named.chain(installed.map(str::to_string)).next()
}

/// Runs a command of the shell, or a shell to leave again.
pub(super) async fn shell(command: Option<&str>) -> Result<(), Failure> {
    let mut process = match command {
        Some(command) => {
            let mut process = Command::new("sh");
            process.args(["-c", command]);
            process
        }
        None => Command::new(std::env::var_os("SHELL").unwrap_or("sh".into())),
    };
    let status = process.status().await;
    let failed =
        |problem: String| Err(Failure::new(format!("the shell failed: {problem}")));
    match status {
        Ok(status) if status.success() => Ok(()),
        // A shell ends like its last command, which is nobody's mistake.
        Ok(_) if command.is_none() => Ok(()),
        Ok(status) => failed(status.to_string()),
        Err(error) => failed(error.to_string()),
    }
}
