//! The words of a statement, for what is decided before the parser sees it.

use std::ops::Range;

use datafusion::common::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

/// A statement in tokens, numbered without white space and comments.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    all: Vec<TokenWithSpan>,
    /// Where those are in `all` that are neither white space nor comments.
    shown: Vec<usize>,
}

impl Tokens {
    pub(super) fn new(sql: &str, dialect: &dyn Dialect) -> Result<Self> {
        let tokens = Tokenizer::new(dialect, sql).tokenize_with_location();
        Ok(Self::from(tokens.map_err(ParserError::from)?))
    }

    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&TokenWithSpan> {
        self.all.get(*self.shown.get(index)?)
    }

    pub(super) fn token(&self, index: usize) -> Option<&Token> {
        self.get(index).map(|token| &token.token)
    }

    /// The word at a place, if it is one that is not quoted.
    pub(super) fn word(&self, index: usize) -> Option<&Word> {
        match self.token(index)? {
            Token::Word(word) if word.quote_style.is_none() => Some(word),
            _ => None,
        }
    }

    /// Whether these words stand at a place, one after the other.
    pub(super) fn are(&self, index: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, expected)| {
            self.word(index + offset)
                .is_some_and(|word| word.value.eq_ignore_ascii_case(expected))
        })
    }

    /// Whether one of these words stands at a place.
    pub(super) fn is_one_of(&self, index: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.are(index, &[word]))
    }

    /// The part of a name at a place: a word, or a path in quotes.
    pub(super) fn part(&self, index: usize) -> Option<Ident> {
        let token = self.get(index)?;
        let (value, quote_style) = match &token.token {
            Token::Word(word) => (&word.value, word.quote_style),
            Token::SingleQuotedString(path) => (path, Some('\'')),
            _ => return None,
        };
        Some(Ident {
            value: value.clone(),
            quote_style,
            span: token.span,
        })
    }

    /// A token as it is written, or what there is instead of one.
    pub(super) fn text(&self, index: usize) -> String {
        match self.token(index) {
            Some(token) => token.to_string(),
            None => "nothing".to_string(),
        }
    }

    /// Where the statement begins that is explained or prepared, or this one does.
    pub(super) fn start(&self) -> usize {
        if self.are(0, &["PREPARE"]) {
            let types = match self.token(2) {
                Some(Token::LParen) => self.after_bracket(2),
                _ => 2,
            };
            return if self.are(types, &["AS"]) {
                types + 1
            } else {
                0
            };
        }
        if !self.are(0, &["EXPLAIN"]) {
            return 0;
        }
        let mut start = match self.token(1) {
            Some(Token::LParen) => self.after_bracket(1),
            _ => 1,
        };
        loop {
            start += match () {
                () if self.is_one_of(start, &["ANALYZE", "VERBOSE"]) => 1,
                () if self.are(start, &["FORMAT"]) => 2,
                () => return start,
            };
        }
    }

    /// The place after the bracket that closes the one at `index`; the end if none does.
    pub(super) fn after_bracket(&self, index: usize) -> usize {
        let mut depth = 0_usize;
        for place in index..self.len() {
            match self.token(place) {
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return place + 1;
            }
        }
        self.len()
    }

    /// Puts tokens in the place of others.
    pub(super) fn replace(
        &mut self,
        range: Range<usize>,
        by: impl IntoIterator<Item = TokenWithSpan>,
    ) {
        let start = self.shown.get(range.start).copied();
        let start = start.unwrap_or(self.all.len());
        let end = match range.end.checked_sub(1) {
            Some(last) if last >= range.start => {
                self.shown.get(last).map_or(self.all.len(), |last| last + 1)
            }
            _ => start,
        };
        self.all.splice(start..end, by);
        *self = Self::from(std::mem::take(&mut self.all));
    }

    /// The tokens from a place on.
    pub(super) fn rest(&self, index: usize) -> Vec<TokenWithSpan> {
        let start = self.shown.get(index).copied();
        self.all[start.unwrap_or(self.all.len())..].to_vec()
    }

    /// What the parser says where it finds something else.
    pub(super) fn expected(&self, expected: &str, index: usize) -> DataFusionError {
        let found = match self.get(index) {
            Some(token) => token.clone(),
            None => TokenWithSpan::new_eof(),
        };
        let place = found.span.start;
        let message = format!("Expected: {expected}, found: {found}{place}");
        DataFusionError::from(ParserError::ParserError(message))
    }
}

impl From<Vec<TokenWithSpan>> for Tokens {
    fn from(all: Vec<TokenWithSpan>) -> Self {
        let is_shown = |token: &TokenWithSpan| {
            !matches!(token.token, Token::Whitespace(_) | Token::EOF)
        };
        let shown = all.iter().enumerate();
        let shown = shown.filter(|(_, token)| is_shown(token));
        let shown = shown.map(|(index, _)| index).collect();
        Self { all, shown }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn tokens(sql: &str) -> Tokens {
        Tokens::new(sql, &GenericDialect {}).unwrap()
    }

    #[test]
    fn white_space_and_comments_are_not_counted() {
        let tokens = tokens("a -- b\n /* c */ 'd' \"E\"");
        assert_eq!(tokens.len(), 3);
        assert!(tokens.are(0, &["A"]) && !tokens.are(2, &["E"]));
        assert_eq!(tokens.part(1).unwrap().value, "d");
        assert_eq!(tokens.text(7), "nothing");
    }

    #[test]
    fn tokens_are_replaced_and_the_rest_stays() {
        let mut tokens = tokens("a /* x */ b c d");
        let new = TokenWithSpan::wrap(Token::make_word("new", None));
        tokens.replace(1..3, [new]);
        let text = |tokens: Vec<TokenWithSpan>| {
            tokens.iter().map(ToString::to_string).collect::<String>()
        };
        assert_eq!(text(tokens.rest(0)), "a /* x */ new d");
        tokens.replace(1..2, []);
        assert_eq!(text(tokens.rest(1)), "d");
    }

    #[test]
    fn explained_and_prepared_statements_begin_later() {
        for (sql, expected) in [
            ("SELECT 1", 0),
            ("EXPLAIN VACUUM t", 1),
            ("EXPLAIN ANALYZE VERBOSE VACUUM t", 3),
            ("EXPLAIN FORMAT tree VACUUM t", 3),
            ("EXPLAIN (ANALYZE, VERBOSE) VACUUM t", 6),
            ("PREPARE p AS VACUUM t", 3),
            ("PREPARE p(INT, TEXT) AS VACUUM t", 8),
        ] {
            assert_eq!(tokens(sql).start(), expected, "{sql}");
        }
    }
}
