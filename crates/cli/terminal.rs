//! What the terminal can show.

use std::io::{IsTerminal, stderr, stdout};

use console::Term;

/// Whether colours are wanted at all: <https://no-color.org>.
pub(crate) fn color_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// Whether standard error shows colours.
pub(crate) fn stderr_colors() -> bool {
    color_allowed() && stderr().is_terminal()
}

/// The width of the terminal that standard output is, if it is one.
pub(crate) fn stdout_width() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    Term::stdout()
        .size_checked()
        .map(|(_, columns)| usize::from(columns))
}

/// The columns a text takes on the screen.
pub(crate) fn text_width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Cuts a text to some columns, with an ellipsis where it was cut.
pub(crate) fn clip(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}
