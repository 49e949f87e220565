//! The parser, behind what is taken out of the tokens before it, and `train(..).*`.
//!
//! `.*` after a call, an element or anything else in brackets is a syntax error to the
//! parser, which takes a star after names only. In the tokens it becomes a dot and a name
//! that no field has, [`STAR`], and [`super::expand`] makes a star of that again.

use datafusion::common::{Result, not_impl_err, plan_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Ident, Statement as SqlStatement};
use datafusion::sql::sqlparser::dialect::{Dialect, dialect_from_str};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::commands::Command;
use super::tokens::Tokens;
use super::{columns, merge, models, normalized, partitioned, versions};

/// The name that stands for a star; the fields that it leaves out follow it.
const STAR: &str = ".*";
/// Stands between the names.
const SEPARATOR: char = '\0';

/// A statement as it is read.
pub(super) enum Parsed {
    /// What the planner does not know.
    Command(Box<Command>),
    /// What is about a model, and the query of CREATE MODEL.
    Model(Box<models::Verb>, Option<Box<Statement>>),
    /// What it knows, and the columns of its PARTITIONED BY.
    Statement(Box<Statement>, Option<Vec<String>>),
}

/// The dialect that the session reads.
fn dialect(state: &SessionState) -> Result<Box<dyn Dialect>> {
    let dialect = state.config().options().sql_parser.dialect;
    dialect_from_str(dialect)
        .ok_or_else(|| plan_datafusion_err!("there is no SQL dialect {dialect}"))
}

/// Parses one statement.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Parsed> {
    let dialect = dialect(state)?;
    let dialect = dialect.as_ref();
    let mut tokens = Tokens::new(sql, dialect)?;
    if let Some(command) = Command::parse(sql, &tokens, dialect)? {
        return Ok(Parsed::Command(Box::new(command)));
    }
    if let Some((verb, query)) = models::parse(&tokens)? {
        let Some(start) = query else {
            return Ok(Parsed::Model(Box::new(verb), None));
        };
        tokens.replace(0..start, []);
        return match statement(tokens, state)? {
            Parsed::Statement(query, None) if is_query(&query) => {
                Ok(Parsed::Model(Box::new(verb), Some(query)))
            }
            _ => plan_err!(
                "CREATE MODEL .. AS takes a query, such as SELECT trial['model'] FROM study \
                 ORDER BY .. LIMIT 1"
            ),
        };
    }
    statement(tokens, state)
}

fn is_query(statement: &Statement) -> bool {
    matches!(statement, Statement::Statement(statement)
        if matches!(statement.as_ref(), SqlStatement::Query(_)))
}

/// Parses what is no statement of our own, but for what is in it.
fn statement(mut tokens: Tokens, state: &SessionState) -> Result<Parsed> {
    let options = &state.config().options().sql_parser;
    let dialect = dialect(state)?;
    let dialect = dialect.as_ref();
    versions::rewrite(&mut tokens)?;
    merge::mark(&mut tokens);
    columns::quote(&mut tokens);
    columns::quote_calls(&mut tokens);
    let partitions = partitioned::take(&mut tokens)?;
    let mut statements = DFParserBuilder::new(with_stars(&tokens.rest(0)))
        .with_dialect(dialect)
        .with_recursion_limit(options.recursion_limit.get())
        .build()?
        .parse_statements()?;
    let Some(mut statement) = statements.pop_front() else {
        return plan_err!("No SQL statements were provided in the query string");
    };
    if !statements.is_empty() {
        return not_impl_err!(
            "The context currently only supports a single SQL statement"
        );
    }
    versions::alias(&mut statement)?;
    if let Some(command) = Command::of(&mut statement)? {
        return Ok(Parsed::Command(Box::new(command)));
    }
    Ok(Parsed::Statement(Box::new(statement), partitions))
}

/// The fields that a star leaves out, if a name stands for one.
pub(super) fn star(name: &str) -> Option<Vec<String>> {
    let mut parts = name.split(SEPARATOR);
    let is_star = parts.next() == Some(STAR);
    is_star.then(|| parts.map(str::to_string).collect())
}

/// Replaces the stars that follow brackets.
fn with_stars(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut replaced: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
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
    replaced
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
