//! The answers to what the line editor asks while a statement is typed: whether it is
//! complete, what completes it, and which colours it has.

use std::borrow::Cow;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::command;
use super::complete::{complete, quoted_models};
use crate::keywords::is_keyword;
use crate::names::Names;
use crate::script::{SegmentKind, is_complete, segments};

const KEYWORD: &str = "\x1b[1;34m";
const TEXT: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const COMMENT: &str = "\x1b[90m";
const RESET: &str = "\x1b[0m";

/// Answers the line editor. A statement is complete at its semicolon, so Enter before that
/// begins a new line.
pub(super) struct SqlHelper {
    names: Names,
    colors: bool,
    files: FilenameCompleter,
}

impl SqlHelper {
    pub(super) fn new(colors: bool) -> Self {
        Self {
            names: Names::default(),
            colors,
            files: FilenameCompleter::new(),
        }
    }

    pub(super) fn set_names(&mut self, names: Names) {
        self.names = names;
    }
}

impl Helper for SqlHelper {}

impl Hinter for SqlHelper {
    type Hint = String;
}

impl Validator for SqlHelper {
    fn validate(
        &self,
        context: &mut ValidationContext,
    ) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        if command(text).is_some() || is_complete(text) {
            return Ok(ValidationResult::Valid(None));
        }
        Ok(ValidationResult::Incomplete)
    }
}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if ["\\i ", "\\o "].iter().any(|file| line.starts_with(file)) {
            return self.files.complete_path(line, cursor);
        }
        // Inside a string, what is typed is most likely a path.
        let last = segments(&line[..cursor]).pop();
        if let Some((SegmentKind::Text, range)) = last
            && (range.len() == 1 || !line[..cursor].ends_with('\''))
        {
            // Or the name of a model, which stands wherever its path would.
            let text = &line[range.start + 1..cursor];
            let models = quoted_models(&self.names, text);
            if text.is_empty() || models.is_empty() {
                return self.files.complete_path(line, cursor);
            }
            return Ok((range.start + 1, models.into_iter().map(pair).collect()));
        }
        let (start, found) = complete(&self.names, line, cursor);
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

fn pair(name: String) -> Pair {
    Pair {
        display: name.clone(),
        replacement: name,
    }
}

impl Highlighter for SqlHelper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if self.colors {
            Cow::Owned(color(line))
        } else {
            Cow::Borrowed(line)
        }
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        // Moving the cursor changes no colour.
        self.colors && kind != CmdKind::MoveCursor
    }
}

/// The line with colours, and no other change.
fn color(line: &str) -> String {
    let mut text = String::with_capacity(2 * line.len());
    for (kind, range) in segments(line) {
        let segment = &line[range];
        match kind {
            SegmentKind::Code => color_code(segment, &mut text),
            SegmentKind::Text => push(TEXT, segment, &mut text),
            SegmentKind::Name => text.push_str(segment),
            SegmentKind::Comment => push(COMMENT, segment, &mut text),
        }
    }
    text
}

fn color_code(code: &str, text: &mut String) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        // A number keeps its fraction, a word does not reach over a dot.
        let number = first.is_ascii_digit();
        let belongs = |c: char| is_word(c) || (number && c == '.');
        let other = |c: char| !is_word(c);
        let end = if is_word(first) {
            rest.find(|c| !belongs(c))
        } else {
            rest.find(|c| !other(c))
        };
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        match word {
            word if number => push(NUMBER, word, text),
            word if is_keyword(word) => push(KEYWORD, word, text),
            word => text.push_str(word),
        }
        rest = after;
    }
}

fn push(color: &str, segment: &str, text: &mut String) {
    text.push_str(color);
    text.push_str(segment);
    text.push_str(RESET);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let short = color(line)
            .replace(KEYWORD, "<k>")
            .replace(TEXT, "<t>")
            .replace(NUMBER, "<n>")
            .replace(COMMENT, "<c>")
            .replace(RESET, "</>");
        assert_eq!(short, expected);
    }

    #[test]
    fn colours_keywords_texts_numbers_and_comments() {
        check(
            "SELECT x1, 'from' , 1.5 -- why",
            "<k>SELECT</> x1, <t>'from'</> , <n>1.5</> <c>-- why</>",
        );
    }

    #[test]
    fn an_unfinished_text_is_a_text() {
        check("'it''s é", "<t>'it'</><t>'s é</>");
    }

    #[test]
    fn without_colours_the_line_is_untouched() {
        let helper = SqlHelper::new(false);
        assert_eq!(helper.highlight("SELECT 1", 0), "SELECT 1");
    }
}
