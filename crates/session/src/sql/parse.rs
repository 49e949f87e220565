//! The parser, and `train(..).*`.
//!
//! `.*` after a call, an element or anything else in brackets is a syntax error to the
//! parser, which takes a star after names only. In the tokens it becomes a dot and a name
//! that no field has, [`STAR`], and [`super::expand`] makes a star of that again.

use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::normalized;

/// The name that stands for a star; the fields that it leaves out follow it.
const STAR: &str = ".*";
/// Stands between the names.
const SEPARATOR: char = '\0';

/// Parses one statement.
pub(super) fn statement(state: &SessionState, sql: &str) -> Result<Statement> {
    let options = &state.config().options().sql_parser;
    if let Some(dialect) = dialect_from_str(options.dialect)
        && sql.contains('*')
    {
        let dialect = dialect.as_ref();
        let tokens = Tokenizer::new(dialect, sql).tokenize_with_location();
        let (tokens, has_star) = with_stars(&tokens.map_err(ParserError::from)?);
        if has_star {
            let mut statements = DFParserBuilder::new(tokens)
                .with_dialect(dialect)
                .with_recursion_limit(options.recursion_limit.get())
                .build()?
                .parse_statements()?;
            if let (Some(statement), None) =
                (statements.pop_front(), statements.pop_back())
            {
                return Ok(statement);
            }
        }
    }
    state.sql_to_statement(sql, &options.dialect)
}

/// The fields that a star leaves out, if a name stands for one.
pub(super) fn star(name: &str) -> Option<Vec<String>> {
    let mut parts = name.split(SEPARATOR);
    let is_star = parts.next() == Some(STAR);
    is_star.then(|| parts.map(str::to_string).collect())
}

/// Replaces the stars that follow brackets; tells whether there was one.
fn with_stars(tokens: &[TokenWithSpan]) -> (Vec<TokenWithSpan>, bool) {
    let mut replaced: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut has_star = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let follows_bracket = replaced.iter().rev().find(|token| is_word(token));
        let follows_bracket = follows_bracket.is_some_and(|token| {
            matches!(token.token, Token::RParen | Token::RBracket | Token::RBrace)
        });
        let star = next(tokens, at + 1);
        match star {
            Some(star)
                if follows_bracket
                    && token.token == Token::Period
                    && tokens[star].token == Token::Mul =>
            {
                has_star = true;
                let (names, end) = excluded(tokens, star + 1);
                let value = std::iter::once(STAR.to_string()).chain(names);
                let value: Vec<String> = value.collect();
                let word = Token::Word(Word {
                    value: value.join(&SEPARATOR.to_string()),
                    quote_style: Some('"'),
                    keyword: Keyword::NoKeyword,
                });
                replaced.push(token.clone());
                replaced.push(TokenWithSpan {
                    token: word,
                    span: tokens[star].span,
                });
                at = end;
            }
            _ => {
                replaced.push(token.clone());
                at += 1;
            }
        }
    }
    (replaced, has_star)
}

fn is_word(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

/// The next token that is no blank.
fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let more = tokens.get(from..)?;
    more.iter().position(is_word).map(|at| from + at)
}

/// The names of `EXCLUDE (a, b)` behind a star, and where they end.
fn excluded(tokens: &[TokenWithSpan], from: usize) -> (Vec<String>, usize) {
    let none = (vec![], from);
    let Some(at) = next(tokens, from) else {
        return none;
    };
    let is_exclude = matches!(
        &tokens[at].token,
        Token::Word(word) if matches!(word.keyword, Keyword::EXCLUDE | Keyword::EXCEPT)
    );
    let Some(mut at) = next(tokens, at + 1).filter(|_| is_exclude) else {
        return none;
    };
    let is_list = tokens[at].token == Token::LParen;
    let mut names = vec![];
    loop {
        if is_list {
            let Some(inside) = next(tokens, at + 1) else {
                return none;
            };
            at = inside;
        }
        let Token::Word(word) = &tokens[at].token else {
            return none;
        };
        names.push(normalized(&Ident {
            value: word.value.clone(),
            quote_style: word.quote_style,
            span: tokens[at].span,
        }));
        if !is_list {
            return (names, at + 1);
        }
        let Some(behind) = next(tokens, at + 1) else {
            return none;
        };
        match tokens[behind].token {
            Token::Comma => at = behind,
            Token::RParen => return (names, behind + 1),
            _ => return none,
        }
    }
}
