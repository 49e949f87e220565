//! Reads `VERSION AS OF 3` and `TIMESTAMP AS OF '2026-11-30'`, however they are written.

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::at::At;
use super::tokens::Tokens;

/// The version at a place, which is to be there, and the place after it.
pub(super) fn version(tokens: &Tokens, index: usize) -> Result<(At, usize)> {
    match opening(tokens, index) {
        Some((kind, value)) => kind.at(tokens, value),
        None => Err(tokens.expected("VERSION AS OF or TIMESTAMP AS OF", index)),
    }
}

/// Which of the two clauses it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Version,
    Timestamp,
}

/// The kind of the clause that begins at a place, and where its value is.
pub(super) fn opening(tokens: &Tokens, index: usize) -> Option<(Kind, usize)> {
    let word = match tokens.are(index, &["FOR"]) {
        true => index + 1,
        false => index,
    };
    let kind = if tokens.is_one_of(word, &["VERSION", "SYSTEM_VERSION"]) {
        Kind::Version
    } else if tokens.is_one_of(word, &["TIMESTAMP", "SYSTEM_TIME"]) {
        Kind::Timestamp
    } else {
        return None;
    };
    tokens
        .are(word + 1, &["AS", "OF"])
        .then_some((kind, word + 3))
}

impl Kind {
    /// Reads the value; the place after it is given too.
    pub(super) fn at(self, tokens: &Tokens, value: usize) -> Result<(At, usize)> {
        match self {
            Self::Version => Ok((version_number(tokens, value)?, value + 1)),
            Self::Timestamp => timestamp(tokens, value),
        }
    }
}

fn version_number(tokens: &Tokens, value: usize) -> Result<At> {
    if let Some(Token::Number(number, false)) = tokens.token(value)
        && let Ok(version) = number.parse()
    {
        return Ok(At::Version(version));
    }
    let mut found = tokens.text(value);
    if found == "-" {
        found.push_str(&tokens.text(value + 1));
    }
    plan_err!("VERSION AS OF takes the number of a version, such as 3, got {found}")
}

fn timestamp(tokens: &Tokens, value: usize) -> Result<(At, usize)> {
    // TIMESTAMP '2026-11-30' is a time too.
    let text = match tokens.is_one_of(value, &["TIMESTAMP", "DATE"]) {
        true => value + 1,
        false => value,
    };
    let found = match tokens.token(text) {
        Some(Token::SingleQuotedString(time)) => match tokens.token(text + 1) {
            // A longer expression, which only the planner could compute.
            Some(
                next @ (Token::Plus
                | Token::Minus
                | Token::DoubleColon
                | Token::StringConcat),
            ) => format!("'{time}' {next}"),
            _ => return Ok((At::timestamp(time)?, text + 1)),
        },
        _ => tokens.text(value),
    };
    plan_err!(
        "TIMESTAMP AS OF takes a time in quotes, such as '2026-11-30 01:00:00', got {found}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_error;

    #[test]
    fn wrong_versions_are_refused() {
        for (clause, found) in [
            ("VERSION AS OF -1", "-1"),
            ("VERSION AS OF 1.5", "1.5"),
            ("VERSION AS OF '3'", "'3'"),
            ("VERSION AS OF $1", "$1"),
            ("VERSION AS OF", "nothing"),
        ] {
            check_error(
                &format!("SELECT * FROM t {clause}"),
                &format!("takes the number of a version, such as 3, got {found}"),
            );
        }
    }

    #[test]
    fn wrong_times_are_refused() {
        let takes = "takes a time in quotes, such as '2026-11-30 01:00:00', got";
        for (value, expected) in [
            (
                "'yesterday'",
                "such as '2026-11-30 01:00:00', got 'yesterday'".to_string(),
            ),
            ("5", format!("{takes} 5")),
            ("now()", format!("{takes} now")),
            (
                "'2026-11-30' - INTERVAL '1 day'",
                format!("{takes} '2026-11-30' -"),
            ),
        ] {
            check_error(
                &format!("SELECT * FROM t TIMESTAMP AS OF {value}"),
                &expected,
            );
        }
    }
}
