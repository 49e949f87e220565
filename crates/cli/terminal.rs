//! What the terminal can show.

use std::io::{IsTerminal, stderr, stdout};

use console::Term;

/// Rows and columns of a terminal that does not say.
const USUAL_SIZE: (u16, u16) = (24, 80);

/// Whether colours are wanted at all: <https://no-color.org>.
pub(crate) fn color_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// Whether standard error shows colours.
pub(crate) fn stderr_colors() -> bool {
    color_allowed() && stderr().is_terminal()
}

/// The rows and columns of the terminal that standard output is, if it is one.
pub(crate) fn stdout_size() -> Option<(usize, usize)> {
    if !stdout().is_terminal() {
        return None;
    }
    Some(size(&Term::stdout()))
}

/// The width of the terminal that standard output is, if it is one.
pub(crate) fn stdout_width() -> Option<usize> {
    stdout_size().map(|(_, columns)| columns)
}

/// The columns of the terminal that standard error is, or of the usual one.
pub(crate) fn stderr_width() -> usize {
    size(&Term::stderr()).1
}

fn size(term: &Term) -> (usize, usize) {
    let (rows, columns) = term.size_checked().unwrap_or(USUAL_SIZE);
    // A terminal that was not told its size says 0.
    let known = |side: u16, usual: u16| usize::from(if side == 0 { usual } else { side });
    (known(rows, USUAL_SIZE.0), known(columns, USUAL_SIZE.1))
}

/// The columns a text takes on the screen.
pub(crate) fn text_width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Cuts a text to some columns, with an ellipsis where it was cut.
pub(crate) fn clip(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// Cuts a text into pieces of at most so many columns, at a space where one is near.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let end = cut(rest, width);
        if end == rest.len() {
            pieces.push(rest);
            return pieces;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece.trim_end());
        rest = after;
    }
}

/// Where the first piece of a text ends; not at its start, unless it is empty.
fn cut(text: &str, width: usize) -> usize {
    let mut columns = 0;
    let mut space = None;
    for (at, c) in text.char_indices() {
        columns += text_width(c.encode_utf8(&mut [0; 4]));
        if columns > width && at > 0 {
            return space.unwrap_or(at);
        }
        // A break further left leaves too much of the line empty.
        if c == ' ' && columns * 3 > width * 2 {
            space = Some(at + 1);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_near_the_end_and_else_anywhere() {
        assert_eq!(wrap("short", 10), ["short"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("12345678 9abcd", 10), ["12345678", "9abcd"]);
        assert_eq!(wrap("1 3456789abcdef", 10), ["1 3456789a", "bcdef"]);
        assert_eq!(wrap("日本語日本", 4), ["日本", "語日", "本"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
    }
}
