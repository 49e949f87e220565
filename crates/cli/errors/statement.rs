//! Finds places in the text of a statement.

use std::ops::Range;

use datafusion::common::{Location, Span};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{
    Location as SqlLocation, Token, Tokenizer, Word,
};

use crate::script::Offsets;

/// A statement and its tokens, without white space and comments.
pub(super) struct TokenizedStatement<'a> {
    pub(super) text: &'a str,
    offsets: Offsets,
    pub(super) tokens: Vec<(Token, Range<usize>)>,
}

impl<'a> TokenizedStatement<'a> {
    /// What cannot be read as tokens is left out at the end.
    pub(super) fn new(text: &'a str) -> Self {
        let mut all = Vec::new();
        let tokenizer = &mut Tokenizer::new(&GenericDialect {}, text);
        let _ = tokenizer.tokenize_with_location_into_buf(&mut all);
        let offsets = Offsets::new(text);
        let tokens = all
            .into_iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
            .map(|token| {
                let start = offsets.byte(text, token.span.start);
                let end = offsets.byte(text, token.span.end);
                (token.token, start..end.max(start))
            })
            .collect();
        Self {
            text,
            offsets,
            tokens,
        }
    }

    /// The number of the token at a place, or how many there are before the end.
    pub(super) fn token_at(&self, location: Location) -> usize {
        let byte = self.byte(location);
        let after = self.tokens.iter().position(|(_, range)| range.end > byte);
        after.unwrap_or(self.tokens.len())
    }

    /// The bytes of a token; beyond the last one, the end of the text.
    pub(super) fn range(&self, token: usize) -> Range<usize> {
        match self.tokens.get(token) {
            Some((_, range)) => range.clone(),
            None => {
                let end = self.tokens.last().map_or(0, |(_, range)| range.end);
                end..end
            }
        }
    }

    pub(super) fn span(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start);
        start..self.byte(span.end).max(start)
    }

    fn byte(&self, location: Location) -> usize {
        let location = SqlLocation {
            line: location.line,
            column: location.column,
        };
        self.offsets.byte(self.text, location)
    }

    /// The word at a token, if it is one.
    pub(super) fn word(&self, token: usize) -> Option<&Word> {
        match self.tokens.get(token) {
            Some((Token::Word(word), _)) => Some(word),
            _ => None,
        }
    }

    /// Where a function is called first.
    pub(super) fn call(&self, function: &str) -> Option<Range<usize>> {
        let called = |pair: &&[(Token, Range<usize>)]| {
            matches!(pair, [(Token::Word(word), _), (Token::LParen, _)]
                if word.value.eq_ignore_ascii_case(function))
        };
        let pair = self.tokens.windows(2).find(called)?;
        Some(pair[0].1.clone())
    }

    /// Where a name, a text or an operator is written first. A qualified name may be
    /// written with less in front of it.
    pub(super) fn written(&self, what: &str) -> Option<Range<usize>> {
        let parts: Vec<&str> = what.split('.').collect();
        // A path is no name, whatever its dots look like.
        let names = (0..parts.len()).filter(|_| !what.contains('/'));
        let text = || self.tokens.iter().find(|(token, _)| is(token, what));
        names
            .filter_map(|skip| self.name(&parts[skip..]))
            .next()
            .or_else(|| text().map(|(_, range)| range.clone()))
    }

    fn name(&self, parts: &[&str]) -> Option<Range<usize>> {
        let width = 2 * parts.len() - 1;
        let found = |window: &&[(Token, Range<usize>)]| {
            window
                .iter()
                .enumerate()
                .all(|(n, (token, _))| match n % 2 {
                    0 => is_name(token, parts[n / 2]),
                    _ => *token == Token::Period,
                })
        };
        let window = self.tokens.windows(width).find(found)?;
        Some(window[0].1.start..window[width - 1].1.end)
    }
}

fn is_name(token: &Token, name: &str) -> bool {
    let name = name.trim_matches('"');
    match token {
        Token::Word(word) if word.quote_style.is_some() => word.value == name,
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    }
}

/// Whether a token is this text, number or operator.
fn is(token: &Token, what: &str) -> bool {
    match token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text == what,
        other => other.to_string() == what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, what: &str, expected: Option<&str>) {
        let statement = TokenizedStatement::new(text);
        let found = statement.written(what).map(|range| &text[range]);
        assert_eq!(found, expected, "{what} in {text}");
    }

    #[test]
    fn finds_names_texts_and_operators() {
        check("SELECT Nope -- nope", "nope", Some("Nope"));
        check("SELECT a.nope, nope", "a.nope", Some("a.nope"));
        check("SELECT \"No pe\"", "No pe", Some("\"No pe\""));
        check("SELECT nope", "t.nope", Some("nope"));
        check("SELECT 'ä', 'no.pe'", "no.pe", Some("'no.pe'"));
        check("SELECT 1 + 2", "+", Some("+"));
        check("SELECT 'nope'", "hope", None);
    }

    #[test]
    fn finds_calls_only_where_there_are_any() {
        let statement = TokenizedStatement::new("SELECT train, train (1)");
        assert_eq!(statement.call("TRAIN"), Some(14..19));
        assert_eq!(statement.call("predict"), None);
    }

    #[test]
    fn a_place_in_lines_and_characters_is_a_token() {
        let statement = TokenizedStatement::new("SELECT 'ä',\n  b c");
        let at = |line, column| statement.token_at(Location { line, column });
        assert_eq!(statement.range(at(2, 5)), 17..18);
        assert_eq!(at(1, 12), 3);
        assert_eq!(statement.range(at(9, 9)), 18..18);
    }
}
