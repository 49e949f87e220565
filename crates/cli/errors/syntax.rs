//! Guesses what is wrong at the place where the parser stopped: a misspelt keyword, a missing
//! comma, a quote that is never closed.

use std::ops::Range;

use datafusion::common::Location;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location as SqlLocation, Token};

use super::statement::TokenizedStatement;
use super::{Excerpt, Failure};
use crate::keywords::KEYWORDS;
use crate::script::{Offsets, SplitError};

/// Keywords that people misspell and completion need not offer.
const MORE_KEYWORDS: [&str; 5] = ["TO", "VALUES", "WHERE", "WITH", "WINDOW"];
/// Keywords that start a statement, and nothing within one that completes it.
const STARTS: [&str; 14] = [
    "ALTER", "COPY", "CREATE", "DESCRIBE", "DROP", "EXPLAIN", "INSERT", "MERGE",
    "OPTIMIZE", "RESTORE", "SELECT", "SHOW", "TRUNCATE", "VACUUM",
];
/// A shorter word is too near to too many others.
const SHORTEST: usize = 3;

impl Failure {
    /// A text that cannot be split into statements, which is one that something in it
    /// does not end; `line` is the number that its reader knows.
    pub(crate) fn unsplit(text: &str, error: &SplitError, line: usize) -> Self {
        let mut failure = Self::new(format!("syntax error: {}", error.message));
        let offsets = Offsets::new(text);
        let start = offsets.byte(
            text,
            SqlLocation {
                line: error.line as u64,
                column: error.column as u64,
            },
        );
        // The opening quote is what people look for.
        let end = text[start..].chars().next().map_or(0, char::len_utf8);
        let mut excerpt = Excerpt::new(text, start..start + end);
        excerpt.line = line;
        failure.excerpt = Some(Box::new(excerpt));
        if error.message.contains("string literal") {
            let hint = "it ends with '; a quote inside a text is written twice";
            failure.hint = Some(hint.to_string());
        }
        if error.message.contains("close delimiter") {
            let hint = "a name in double quotes ends with \"; texts are in single quotes";
            failure.hint = Some(hint.to_string());
        }
        failure
    }
}

/// Says what was expected, adds a hint, and gives the place.
pub(super) fn explain(
    statement: &TokenizedStatement<'_>,
    location: Location,
    failure: &mut Failure,
) -> Range<usize> {
    let token = statement.token_at(location);
    let expected = reword(failure);
    let scene = Scene {
        statement,
        token,
        expected: &expected,
    };
    let found = scene
        .misspelt()
        .or_else(|| scene.open_bracket())
        .or_else(|| scene.quote_in_text())
        .or_else(|| scene.half_a_clause())
        .or_else(|| scene.open_case())
        .or_else(|| scene.missing_separator());
    match found {
        Some((place, hint)) => {
            failure.hint = Some(hint);
            place
        }
        None => statement.range(token),
    }
}

/// Puts the parser's message in our words, and gives what it expected.
fn reword(failure: &mut Failure) -> String {
    let parts = failure
        .message
        .split_once("Expected: ")
        .and_then(|(before, rest)| {
            let (expected, found) = rest.rsplit_once(", found: ")?;
            Some((before.to_string(), expected.to_string(), found.to_string()))
        });
    let Some((before, expected, found)) = parts else {
        return String::new();
    };
    let found = match found.as_str() {
        "EOF" => "the end",
        found => found,
    };
    failure.message = match expected.as_str() {
        // It could have ended here, and much else could have followed.
        "end of statement" | "end of statement or ;" => {
            format!("{before}unexpected {found}")
        }
        expected => format!("{before}expected {expected}, found {found}"),
    };
    expected
}

/// A place, and what is wrong there.
type Found = Option<(Range<usize>, String)>;

/// The tokens around the place where the parser stopped.
struct Scene<'a> {
    statement: &'a TokenizedStatement<'a>,
    /// Where the parser stopped.
    token: usize,
    expected: &'a str,
}

impl Scene<'_> {
    fn token(&self, token: usize) -> Option<&Token> {
        self.statement.tokens.get(token).map(|(token, _)| token)
    }

    fn text(&self, token: usize) -> &str {
        &self.statement.text[self.statement.range(token)]
    }

    /// A word that is nearly a keyword: where the parser stopped, or before it, where
    /// it passed for an alias.
    fn misspelt(&self) -> Found {
        let tokens = [Some(self.token), self.token.checked_sub(1)];
        tokens.into_iter().flatten().find_map(|token| {
            let word = self.statement.word(token)?;
            if word.quote_style.is_some() || word.keyword != Keyword::NoKeyword {
                return None;
            }
            let keyword = near_keyword(&word.value)?;
            let hint = format!("did you mean {keyword}?");
            Some((self.statement.range(token), hint))
        })
    }

    /// A bracket that is never closed, or closes nothing.
    fn open_bracket(&self) -> Found {
        let mut open = Vec::new();
        for token in 0..self.token {
            match self.token(token)?.to_string().as_str() {
                "(" | "[" | "{" => open.push(token),
                ")" | "]" | "}" => {
                    open.pop();
                }
                _ => {}
            }
        }
        let stopped = self.text(self.token);
        if matches!(stopped, ")" | "]" | "}") && open.is_empty() {
            let hint = format!("no bracket is open before this {stopped}");
            return Some((self.statement.range(self.token), hint));
        }
        let wants_closing = [")", "]", "}"].iter().any(|b| self.expected.contains(b));
        let last = *open.last()?;
        if self.starts_operand(self.token) || !(wants_closing || stopped.is_empty()) {
            return None;
        }
        let hint = format!("this {} is not closed", self.text(last));
        Some((self.statement.range(last), hint))
    }

    /// `'it's'`: the text ends early, and what follows touches it.
    fn quote_in_text(&self) -> Found {
        let text = (0..self.token).find(|text| {
            let is_text = matches!(self.token(*text), Some(Token::SingleQuotedString(_)));
            let touches = self.statement.range(text + 1).start;
            let is_word = self.statement.word(text + 1).is_some();
            is_text && is_word && self.statement.range(*text).end == touches
        })?;
        let hint = "a quote inside a text is written twice, as in 'it''s'";
        Some((self.statement.range(text), hint.to_string()))
    }

    /// `GROUP a`, `ORDER a`, `PARTITION a`.
    fn half_a_clause(&self) -> Found {
        let word = self.statement.word(self.token)?;
        let clause = word.value.to_ascii_uppercase();
        let by = self.statement.word(self.token + 1);
        let has_by = by.is_some_and(|by| by.value.eq_ignore_ascii_case("BY"));
        let is_half = matches!(clause.as_str(), "GROUP" | "ORDER" | "PARTITION");
        (is_half && !has_by).then(|| {
            let place = self.statement.range(self.token);
            (place, format!("did you mean {clause} BY?"))
        })
    }

    /// A CASE without its END; the parser takes it for a column.
    fn open_case(&self) -> Found {
        let mut open = Vec::new();
        for token in 0..self.statement.tokens.len() {
            match self.statement.word(token).map(|word| word.keyword) {
                Some(Keyword::CASE) => open.push(token),
                Some(Keyword::END) => {
                    open.pop();
                }
                _ => {}
            }
        }
        let case = *open.first()?;
        let hint = "this CASE has no END".to_string();
        (case < self.token).then(|| (self.statement.range(case), hint))
    }

    /// Two operands without a comma, two statements without a semicolon.
    fn missing_separator(&self) -> Found {
        let before = self.token.checked_sub(1)?;
        let found = self.text(self.token);
        let place = self.statement.range(self.token);
        let ends = self.expected.starts_with("end of statement");
        let is_start = |start: &&str| found.eq_ignore_ascii_case(start);
        if ends && STARTS.iter().any(is_start) {
            return Some((place, format!("is there a ; missing before {found}?")));
        }
        let separates = ends
            || [")", "]", "}", ","]
                .iter()
                .any(|s| self.expected.contains(s));
        (separates && self.ends_operand(before) && self.starts_operand(self.token))
            .then(|| (place, format!("is there a comma missing before {found}?")))
    }

    fn starts_operand(&self, token: usize) -> bool {
        match self.token(token) {
            Some(Token::Word(word)) => {
                word.quote_style.is_some() || word.keyword == Keyword::NoKeyword
            }
            Some(Token::Number(..) | Token::SingleQuotedString(_)) => true,
            _ => false,
        }
    }

    fn ends_operand(&self, token: usize) -> bool {
        let closes = matches!(
            self.token(token),
            Some(Token::RParen | Token::RBracket | Token::RBrace)
        );
        closes || self.starts_operand(token)
    }
}

/// The keyword that a word is a slip of the fingers away from.
fn near_keyword(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_uppercase();
    if word.len() < SHORTEST {
        return None;
    }
    let slips = if word.len() > 4 { 2 } else { 1 };
    let near = KEYWORDS
        .into_iter()
        .chain(MORE_KEYWORDS)
        .filter(|keyword| strsim::damerau_levenshtein(&word, keyword) <= slips);
    atoll_suggest::nearest(&word, near)
}

#[cfg(test)]
mod tests {
    use datafusion::common::DataFusionError;
    use datafusion::sql::parser::DFParser;

    use super::super::about::About;
    use super::*;

    /// The place and the hint for a statement that does not parse.
    #[track_caller]
    fn check(text: &str, place: &str, message: &str, hint: Option<&str>) {
        let error: DataFusionError = DFParser::parse_sql(text).unwrap_err();
        let mut failure = Failure::from(error);
        let About::Syntax(location) = *failure.about else {
            panic!("{failure:?}");
        };
        let range = explain(&TokenizedStatement::new(text), location, &mut failure);
        assert_eq!(&text[range], place, "{text}: {failure:?}");
        assert_eq!(
            failure.message,
            format!("syntax error: {message}"),
            "{text}"
        );
        assert_eq!(failure.hint.as_deref(), hint, "{text}");
    }

    #[test]
    fn misspelt_keywords() {
        let mean = |keyword| Some(format!("did you mean {keyword}?"));
        for (text, place, message, keyword) in [
            (
                "SELCT 1",
                "SELCT",
                "expected an SQL statement, found SELCT",
                "SELECT",
            ),
            ("SELECT a FORM t", "FORM", "unexpected t", "FROM"),
            ("SELECT * FORM a", "FORM", "unexpected FORM", "FROM"),
            (
                "SELECT a FROM t WHER a = 1",
                "WHER",
                "unexpected a",
                "WHERE",
            ),
            (
                "SELECT a FROM t GRUOP BY a",
                "GRUOP",
                "unexpected BY",
                "GROUP",
            ),
            ("COPY t TOO 'x'", "TOO", "unexpected TOO", "TO"),
            (
                "VACUM t",
                "VACUM",
                "expected an SQL statement, found VACUM",
                "VACUUM",
            ),
        ] {
            check(text, place, message, mean(keyword).as_deref());
        }
    }

    #[test]
    fn brackets() {
        check(
            "SELECT (1 + 2",
            "(",
            "expected ), found the end",
            Some("this ( is not closed"),
        );
        check(
            "SELECT x IN (1, 2 FROM t",
            "(",
            "expected ), found FROM",
            Some("this ( is not closed"),
        );
        check(
            "SELECT {a: [1}",
            "[",
            "expected ], found }",
            Some("this [ is not closed"),
        );
        check(
            "SELECT 1 + 2)",
            ")",
            "unexpected )",
            Some("no bracket is open before this )"),
        );
    }

    #[test]
    fn separators() {
        check(
            "SELECT a b c FROM x",
            "c",
            "unexpected c",
            Some("is there a comma missing before c?"),
        );
        check(
            "SELECT f({epochs: 1 hidden: 64})",
            "hidden",
            "expected }, found hidden",
            Some("is there a comma missing before hidden?"),
        );
        check(
            "SELECT a FROM t SELECT b",
            "SELECT",
            "unexpected SELECT",
            Some("is there a ; missing before SELECT?"),
        );
        check(
            "SELECT 'it's what that's'",
            "'it'",
            "unexpected what",
            Some("a quote inside a text is written twice, as in 'it''s'"),
        );
    }

    #[test]
    fn clauses() {
        check(
            "SELECT a FROM t GROUP a",
            "GROUP",
            "unexpected GROUP",
            Some("did you mean GROUP BY?"),
        );
        check(
            "SELECT CASE WHEN 1 THEN 2",
            "CASE",
            "unexpected 1",
            Some("this CASE has no END"),
        );
        check(
            "SELECT a FROM t WHERE",
            "",
            "expected an expression, found the end",
            None,
        );
    }
}
