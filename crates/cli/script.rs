//! Scripts: their parameters, and where one statement ends and the next begins.
//!
//! `${name}` is replaced everywhere but in comments, inside string literals too since
//! that is where paths are; there a quote in the value is doubled, so that a value can
//! never end the literal it is in. `$${` stands for `${`. Values are not searched for
//! further parameters. What a script's header declares has defaults and types
//! ([`crate::parameters`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::errors::{Failure, suggest};
use crate::parameters;

/// One statement of a script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScriptStatement {
    /// The text, without the comments before it and the semicolon after it.
    pub(crate) sql: String,
    /// Its place in the script, from 1.
    pub(crate) number: usize,
    /// The line it starts on, from 1.
    pub(crate) line: usize,
}

/// Why a text could not be split.
#[derive(Debug, PartialEq)]
pub(crate) struct SplitError {
    pub(crate) number: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// Splits at the semicolons that end statements.
///
/// The SQL parser's own tokenizer decides what is a string, a comment or a
/// dollar quote, so that splitting and parsing can never disagree.
pub(crate) fn split(text: &str) -> Result<Vec<ScriptStatement>, SplitError> {
    let mut statements = Vec::new();
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location_into_buf(&mut tokens);
    let offsets = Offsets::new(text);
    let mut start: Option<(usize, usize)> = None;
    let mut finish = |start: (usize, usize), end: usize| {
        let sql = text[start.0..end].trim_end().to_string();
        let number = statements.len() + 1;
        statements.push(ScriptStatement {
            sql,
            number,
            line: start.1,
        });
    };
    for token in &tokens {
        match &token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => {
                if let Some(start) = start.take() {
                    finish(start, offsets.byte(text, token.span.start));
                }
            }
            _ if start.is_none() => {
                let line = token.span.start.line as usize;
                start = Some((offsets.byte(text, token.span.start), line));
            }
            _ => {}
        }
    }
    if let Err(error) = outcome {
        return Err(SplitError {
            number: statements.len() + 1,
            line: error.location.line as usize,
            column: error.location.column as usize,
            message: error.message,
        });
    }
    if let Some(start) = start {
        finish(start, text.len());
    }
    Ok(statements)
}

/// Whether a text typed so far can be run: it ends in `;`, comments after it aside.
///
/// A text that no further line can repair counts as complete, so that its error shows.
pub(crate) fn is_complete(text: &str) -> bool {
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location_into_buf(&mut tokens);
    match outcome {
        Err(error) => {
            let message = error.message;
            !(message.contains("Unterminated") || message.contains("EOF"))
        }
        Ok(()) => tokens
            .iter()
            .rev()
            .map(|token| &token.token)
            .find(|token| !matches!(token, Token::Whitespace(_) | Token::EOF))
            .is_none_or(|last| *last == Token::SemiColon),
    }
}

/// Byte offsets of the lines of a text; the tokenizer counts lines and characters.
pub(crate) struct Offsets(Vec<usize>);

impl Offsets {
    pub(crate) fn new(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    pub(crate) fn byte(&self, text: &str, location: Location) -> usize {
        let line = (location.line as usize).saturating_sub(1);
        let start = self.0.get(line).copied().unwrap_or(text.len());
        let column = (location.column as usize).saturating_sub(1);
        text[start..]
            .char_indices()
            .nth(column)
            .map_or(text.len(), |(at, _)| start + at)
    }
}

/// What a stretch of SQL is, as far as parameters and colours care.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SegmentKind {
    Code,
    /// `'...'`
    Text,
    /// `"..."`
    Name,
    Comment,
}

/// Cuts a text, finished or not, into stretches of one kind.
pub(crate) fn segments(text: &str) -> Vec<(SegmentKind, Range<usize>)> {
    let mut segments = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let (kind, length) = match rest.as_bytes() {
            [b'\'', ..] => (SegmentKind::Text, until(rest, 1, "'")),
            [b'"', ..] => (SegmentKind::Name, until(rest, 1, "\"")),
            // Up to the line's end, which belongs to the code again.
            [b'-', b'-', ..] => {
                (SegmentKind::Comment, rest.find('\n').unwrap_or(rest.len()))
            }
            [b'/', b'*', ..] => (SegmentKind::Comment, until(rest, 2, "*/")),
            _ => {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            }
        };
        if start < at {
            segments.push((SegmentKind::Code, start..at));
        }
        segments.push((kind, at..at + length));
        at += length;
        start = at;
    }
    if start < text.len() {
        segments.push((SegmentKind::Code, start..text.len()));
    }
    segments
}

/// Length of the stretch that ends with `end`, or of everything when it never does.
fn until(text: &str, opening: usize, end: &str) -> usize {
    text[opening..]
        .find(end)
        .map_or(text.len(), |at| opening + at + end.len())
}

/// A script with its parameters filled in.
#[derive(Debug)]
pub(crate) struct Script {
    /// The SQL to split and run.
    pub(crate) text: String,
    /// The parameters it knows: those it uses and those it declares.
    pub(crate) names: BTreeSet<String>,
    /// What they are in this run.
    pub(crate) values: BTreeMap<String, String>,
    /// Lines that values added, by the offset in `text` where each value ends.
    added: Vec<(usize, usize)>,
}

/// Where a segment of a script begins.
#[derive(Clone, Copy)]
struct ScriptPlace<'a> {
    path: &'a str,
    /// From 1.
    line: usize,
}

impl Script {
    /// A text without parameters, such as one typed at the prompt.
    pub(crate) fn verbatim(text: &str) -> Self {
        Self {
            text: text.to_string(),
            names: BTreeSet::new(),
            values: BTreeMap::new(),
            added: Vec::new(),
        }
    }

    /// Fills `set`, or else the script's own defaults, into `source`.
    pub(crate) fn new(
        path: &str,
        source: &str,
        set: &[(String, String)],
    ) -> Result<Self, Failure> {
        let declared = parameters::declared(path, source)?;
        let mut values =
            parameters::values(&declared, set).map_err(|failure| failure.at(path))?;
        let mut script = Self {
            text: String::with_capacity(source.len()),
            names: declared
                .into_iter()
                .map(|parameter| parameter.name)
                .collect(),
            values: BTreeMap::new(),
            added: Vec::new(),
        };
        for (kind, range) in segments(source) {
            let place = ScriptPlace {
                path,
                line: line_of(source, range.start),
            };
            script.fill(kind, &source[range], place, &values)?;
        }
        values.retain(|name, _| script.names.contains(name));
        script.values = values;
        Ok(script)
    }

    fn fill(
        &mut self,
        kind: SegmentKind,
        segment: &str,
        place: ScriptPlace<'_>,
        values: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let mut rest = segment;
        while let Some(at) = rest.find("${").filter(|_| kind != SegmentKind::Comment) {
            if rest[..at].ends_with('$') {
                self.text.push_str(&rest[..at - 1]);
                self.text.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            let Some(end) = rest[at..].find('}') else {
                break;
            };
            let name = &rest[at + 2..at + end];
            let Some(value) = values.get(name) else {
                let inside = line_of(segment, segment.len() - rest.len() + at);
                let (path, line) = (place.path, place.line + inside - 1);
                return Err(undefined(name, &format!("{path}:{line}"), values));
            };
            self.names.insert(name.to_string());
            self.text.push_str(&rest[..at]);
            match kind {
                SegmentKind::Text => self.text.push_str(&value.replace('\'', "''")),
                SegmentKind::Name => self.text.push_str(&value.replace('"', "\"\"")),
                SegmentKind::Code | SegmentKind::Comment => self.text.push_str(value),
            }
            self.added
                .push((self.text.len(), value.matches('\n').count()));
            rest = &rest[at + end + 1..];
        }
        self.text.push_str(rest);
        Ok(())
    }

    /// The line of the file behind a line of the filled-in text.
    pub(crate) fn source_line(&self, line: usize) -> usize {
        let before = |end: usize| line_of(&self.text, end) <= line;
        let added = self
            .added
            .iter()
            .filter(|(end, _)| before(*end))
            .map(|(_, n)| n);
        line.saturating_sub(added.sum()).max(1)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset].matches('\n').count()
}

fn undefined(name: &str, place: &str, values: &BTreeMap<String, String>) -> Failure {
    let defined: Vec<&str> = values.keys().map(String::as_str).collect();
    let list = match defined.as_slice() {
        [] => "no parameter is defined".to_string(),
        names => format!("defined are {}", names.join(", ")),
    };
    if name.starts_with("interval_") {
        let failure = format!("{place}: ${{{name}}} wants to know an interval");
        return Failure::new(failure).hint("atoll run FILE --interval START/END");
    }
    let hint = match suggest(name, &defined) {
        Some(near) => {
            format!("did you mean ${{{near}}}? Otherwise pass --set {name}=VALUE")
        }
        None => format!("pass --set {name}=VALUE; to write ${{ itself, write $${{"),
    };
    Failure::new(format!(
        "{place}: parameter ${{{name}}} is not defined, {list}"
    ))
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_split(text: &str, expected: &[(usize, &str)]) {
        let statements = split(text).unwrap();
        let found: Vec<_> = statements
            .iter()
            .map(|s| (s.line, s.sql.as_str()))
            .collect();
        assert_eq!(found, expected, "text: {text}");
    }

    #[test]
    fn splits_at_semicolons_and_keeps_lines() {
        check_split(
            "SELECT 1;\n\nSELECT 2\n;",
            &[(1, "SELECT 1"), (3, "SELECT 2")],
        );
    }

    #[test]
    fn the_last_semicolon_is_optional_and_empty_statements_do_not_count() {
        check_split(";;SELECT 1;; SELECT 2", &[(1, "SELECT 1"), (1, "SELECT 2")]);
        check_split("-- nothing\n", &[]);
    }

    #[test]
    fn strings_comments_and_dollar_quotes_hide_semicolons() {
        check_split(
            "SELECT ';', \";\" /* ; */ -- ;\n;",
            &[(1, "SELECT ';', \";\" /* ; */ -- ;")],
        );
        check_split(
            "SELECT $$;$$; SELECT $a$;$a$",
            &[(1, "SELECT $$;$$"), (1, "SELECT $a$;$a$")],
        );
        check_split("SELECT 'it''s; fine';", &[(1, "SELECT 'it''s; fine'")]);
    }

    #[test]
    fn comments_before_a_statement_do_not_move_its_line() {
        check_split(
            "-- one\n/* two\n */\nSELECT 'ä;', 'ü' ;SELECT 2",
            &[(4, "SELECT 'ä;', 'ü'"), (4, "SELECT 2")],
        );
    }

    #[test]
    fn an_open_string_names_its_statement() {
        let error = split("SELECT 1;\nSELECT 'a").unwrap_err();
        assert_eq!((error.number, error.line), (2, 2));
    }

    #[test]
    fn complete_ends_in_a_semicolon() {
        for text in ["", "SELECT 1;", "SELECT 1; -- why", "SELECT ';';\n"] {
            assert!(is_complete(text), "{text}");
        }
        for text in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1; SELECT",
            "SELECT 1 /* ;",
            "SELECT \"a;",
        ] {
            assert!(!is_complete(text), "{text}");
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_string(), value.to_string())
    }

    #[track_caller]
    fn check_fill(source: &str, set: &[(String, String)], expected: &str) {
        assert_eq!(Script::new("x.sql", source, set).unwrap().text, expected);
    }

    #[test]
    fn fills_code_and_strings_but_not_comments() {
        let set = [pair("n", "3"), pair("dir", "/it's")];
        check_fill("LIMIT ${n} -- ${other}", &set, "LIMIT 3 -- ${other}");
        check_fill("'${dir}/a' /* ${x} */", &set, "'/it''s/a' /* ${x} */");
    }

    #[test]
    fn a_value_is_not_searched_again() {
        check_fill("${a}", &[pair("a", "${b}"), pair("b", "2")], "${b}");
    }

    #[test]
    fn two_dollars_escape() {
        check_fill("'$${n}' ${n}", &[pair("n", "1")], "'${n}' 1");
    }

    #[test]
    fn set_wins_over_the_header_default() {
        let source = "-- Tune.\n-- Parameter: n integer = 1\nSELECT ${n}";
        check_fill(
            source,
            &[],
            "-- Tune.\n-- Parameter: n integer = 1\nSELECT 1",
        );
        check_fill(
            source,
            &[pair("n", "2")],
            "-- Tune.\n-- Parameter: n integer = 1\nSELECT 2",
        );
    }

    #[test]
    fn undefined_lists_what_is_defined_and_suggests() {
        let set = [pair("epochs", "1"), pair("out", "o")];
        let error = Script::new("x.sql", "SELECT 1,\n'\n${epocs}'", &set).unwrap_err();
        assert_eq!(
            error.message,
            "x.sql:3: parameter ${epocs} is not defined, defined are epochs, out"
        );
        assert!(error.hint.unwrap().contains("did you mean ${epochs}?"));
    }

    #[test]
    fn values_with_line_breaks_do_not_move_later_lines() {
        let script =
            Script::new("x", "SELECT ${a};\nSELECT 2", &[pair("a", "1,\n2\n")]).unwrap();
        let statements = split(&script.text).unwrap();
        assert_eq!(statements[1].line, 4);
        assert_eq!(script.source_line(4), 2);
    }

    #[test]
    fn only_names_the_script_knows_are_reported() {
        let script =
            Script::new("x", "SELECT ${a}", &[pair("a", "1"), pair("b", "2")]).unwrap();
        assert_eq!(script.names.into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
