//! Reads the statements about tables that the parser does not know.

use std::ops::Range;
use std::time::Duration;

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{ColumnDef, Expr, ObjectName};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::sql::at::{At, split};
use crate::sql::tokens::Tokens;
use crate::sql::version_clause;

const CREATE_OR_REFRESH: &str = "CREATE OR REFRESH TABLE";

/// A statement about a table, as it is read.
pub(crate) struct Command {
    pub(super) table: ObjectName,
    pub(super) verb: Verb,
}

/// What is to be done, with names and types as they are written.
pub(super) enum Verb {
    Optimize {
        predicate: Option<Box<Expr>>,
    },
    Vacuum {
        retain: Option<Duration>,
        dry_run: bool,
    },
    Restore {
        to: At,
    },
    AddColumns {
        columns: Vec<(ColumnDef, bool)>,
    },
    Refresh {
        full: bool,
    },
    /// The text of the CREATE TABLE that makes the table if it is not there.
    CreateOrRefresh {
        create: String,
    },
    Detail,
    Extended,
    History,
}

impl Command {
    /// The command that a statement consists of, if it is one.
    pub(crate) fn parse(
        sql: &str,
        tokens: &Tokens,
        dialect: &dyn Dialect,
    ) -> Result<Option<Self>> {
        let start = tokens.start();
        let Some(name) = verb(tokens, start) else {
            return Ok(None);
        };
        if start > 0 {
            return plan_err!(
                "{} takes a query or a statement that changes rows, got {name}; run that \
                 by itself",
                tokens.text(0).to_uppercase()
            );
        }
        let mut reader = Reader { tokens, place: 0 };
        reader.place += name.split(' ').count();
        if name == CREATE_OR_REFRESH {
            let table = reader.name()?;
            let create = without(sql, tokens, 1..3);
            let verb = Verb::CreateOrRefresh { create };
            return Ok(Some(Self { table, verb }));
        }
        reader.skip_table();
        let table = reader.name()?;
        if let Some((what, Some(at))) = table
            .0
            .last()
            .and_then(|part| part.as_ident().map(|last| split(&last.value)))
        {
            return plan_err!(
                "{name} is about the current version of a table, got {what} {at}; leave \
                 the version out"
            );
        }
        let verb = match name {
            "OPTIMIZE" => reader.optimize(dialect)?,
            "VACUUM" => reader.vacuum()?,
            "RESTORE" => reader.restore()?,
            "REFRESH TABLE" => Verb::Refresh {
                full: reader.takes(&["FULL"]),
            },
            "DESCRIBE DETAIL" => Verb::Detail,
            "DESCRIBE EXTENDED" => Verb::Extended,
            _ => Verb::History,
        };
        reader.end()?;
        Ok(Some(Self { table, verb }))
    }
}

/// The text of a statement without some of its tokens.
fn without(sql: &str, tokens: &Tokens, range: Range<usize>) -> String {
    let offset = |place: usize| {
        let start = tokens.get(place).map(|token| token.span.start)?;
        // Lines and columns are counted from 1, columns in characters.
        let mut lines = sql.split_inclusive('\n');
        let line = usize::try_from(start.line).ok()?.checked_sub(1)?;
        let before: usize = lines.by_ref().take(line).map(str::len).sum();
        let column = usize::try_from(start.column).ok()?.checked_sub(1)?;
        let text = lines.next()?.chars().take(column);
        Some(before + text.map(char::len_utf8).sum::<usize>())
    };
    match (offset(range.start), offset(range.end)) {
        (Some(start), Some(end)) => format!("{}{}", &sql[..start], &sql[end..]),
        _ => sql.to_string(),
    }
}

/// The words that begin the statement at a place.
fn verb(tokens: &Tokens, place: usize) -> Option<&'static str> {
    for name in ["OPTIMIZE", "VACUUM", "RESTORE"] {
        if tokens.are(place, &[name]) {
            return Some(name);
        }
    }
    if tokens.are(place, &["REFRESH", "TABLE"]) {
        return Some("REFRESH TABLE");
    }
    if tokens.are(place, &["CREATE", "OR", "REFRESH", "TABLE"]) {
        return Some(CREATE_OR_REFRESH);
    }
    // `DESCRIBE history` is about a table of that name.
    let describes = tokens.is_one_of(place, &["DESCRIBE", "DESC"])
        && tokens.part(place + 2).is_some();
    if describes && tokens.are(place + 1, &["DETAIL"]) {
        return Some("DESCRIBE DETAIL");
    }
    if describes && tokens.is_one_of(place + 1, &["EXTENDED", "FORMATTED"]) {
        return Some("DESCRIBE EXTENDED");
    }
    (describes && tokens.are(place + 1, &["HISTORY"])).then_some("DESCRIBE HISTORY")
}

/// Reads tokens one after the other.
struct Reader<'a> {
    tokens: &'a Tokens,
    place: usize,
}

impl Reader<'_> {
    fn takes(&mut self, words: &[&str]) -> bool {
        let are = self.tokens.are(self.place, words);
        if are {
            self.place += words.len();
        }
        are
    }

    /// `TABLE` before a name; a table may be called so.
    fn skip_table(&mut self) {
        if self.tokens.part(self.place + 1).is_some() {
            self.takes(&["TABLE"]);
        }
    }

    fn name(&mut self) -> Result<ObjectName> {
        let mut parts = Vec::new();
        loop {
            let Some(part) = self.tokens.part(self.place) else {
                return Err(self.tokens.expected("the name of a table", self.place));
            };
            parts.push(part);
            self.place += 1;
            if self.tokens.token(self.place) != Some(&Token::Period) {
                return Ok(ObjectName::from(parts));
            }
            self.place += 1;
        }
    }

    fn optimize(&mut self, dialect: &dyn Dialect) -> Result<Verb> {
        if self.takes(&["ZORDER"]) {
            return plan_err!(
                "OPTIMIZE takes no ZORDER BY; order the rows with CREATE OR REPLACE \
                 TABLE .. AS SELECT .. ORDER BY"
            );
        }
        if !self.takes(&["WHERE"]) {
            return Ok(Verb::Optimize { predicate: None });
        }
        let rest = self.tokens.rest(self.place);
        let mut parser = Parser::new(dialect).with_tokens_with_locations(rest);
        let predicate = Some(Box::new(parser.parse_expr()?));
        let found = parser.peek_token();
        if !matches!(found.token, Token::EOF | Token::SemiColon) {
            return Ok(parser.expected("end of statement", found)?);
        }
        self.place = self.tokens.len();
        Ok(Verb::Optimize { predicate })
    }

    fn vacuum(&mut self) -> Result<Verb> {
        let retain = match self.takes(&["RETAIN"]) {
            true => Some(self.retention()?),
            false => None,
        };
        let dry_run = self.takes(&["DRY", "RUN"]);
        Ok(Verb::Vacuum { retain, dry_run })
    }

    fn retention(&mut self) -> Result<Duration> {
        let hours = match () {
            () if self.tokens.is_one_of(self.place + 1, &["HOURS", "HOUR"]) => Some(1),
            () if self.tokens.is_one_of(self.place + 1, &["DAYS", "DAY"]) => Some(24),
            () => None,
        };
        let seconds = match self.tokens.token(self.place) {
            Some(Token::Number(number, false)) => number.parse::<u64>().ok(),
            _ => None,
        };
        let seconds = seconds
            .zip(hours)
            .and_then(|(number, hours)| number.checked_mul(hours * 3600));
        let Some(seconds) = seconds else {
            let number = self.tokens.text(self.place);
            let unit = match self.tokens.token(self.place + 1) {
                Some(unit) => unit.to_string(),
                None => "without a unit".to_string(),
            };
            return plan_err!(
                "VACUUM .. RETAIN takes a whole number of HOURS or DAYS, such as RETAIN \
                 168 HOURS, got {number} {unit}"
            );
        };
        self.place += 2;
        Ok(Duration::from_secs(seconds))
    }

    fn restore(&mut self) -> Result<Verb> {
        if !self.takes(&["TO"]) {
            return Err(self.tokens.expected("TO VERSION AS OF", self.place));
        }
        let (to, end) = version_clause::version(self.tokens, self.place)?;
        self.place = end;
        Ok(Verb::Restore { to })
    }

    /// Nothing may follow but the semicolon.
    fn end(&mut self) -> Result<()> {
        while self.tokens.token(self.place) == Some(&Token::SemiColon) {
            self.place += 1;
        }
        match self.tokens.token(self.place) {
            None => Ok(()),
            Some(_) => Err(self.tokens.expected("end of statement", self.place)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::testing::{check, check_error};

    #[test]
    fn commands_are_read() {
        for (sql, shown) in [
            ("OPTIMIZE t", "OPTIMIZE t"),
            ("optimize table T;", "OPTIMIZE t"),
            ("OPTIMIZE public.t", "OPTIMIZE public.t"),
            ("VACUUM t", "VACUUM t"),
            (
                "VACUUM TABLE t RETAIN 240 HOURS",
                "VACUUM t RETAIN 240 HOURS",
            ),
            (
                "VACUUM t RETAIN 2 DAYS DRY RUN",
                "VACUUM t RETAIN 48 HOURS DRY RUN",
            ),
            ("VACUUM 'folder/' DRY RUN", "VACUUM folder/ DRY RUN"),
            (
                "RESTORE t TO VERSION AS OF 3",
                "RESTORE t TO VERSION AS OF 3",
            ),
            (
                "RESTORE TABLE t TO TIMESTAMP AS OF '2026-11-30'",
                "RESTORE t TO TIMESTAMP AS OF '2026-11-30'",
            ),
            ("REFRESH TABLE t", "REFRESH TABLE t"),
            ("refresh table T full;", "REFRESH TABLE t FULL"),
            ("DESCRIBE DETAIL t", "DESCRIBE DETAIL t"),
            ("DESC HISTORY TABLE t", "DESCRIBE HISTORY t"),
            ("DESCRIBE EXTENDED t", "DESCRIBE EXTENDED t"),
            ("DESC FORMATTED t", "DESCRIBE EXTENDED t"),
            (
                "ALTER TABLE t ADD COLUMN a INT, ADD COLUMN IF NOT EXISTS b DOUBLE NULL",
                "ALTER TABLE t ADD COLUMN a Int32, ADD COLUMN b Float64",
            ),
            (
                "ALTER TABLE t ADD a TEXT",
                "ALTER TABLE t ADD COLUMN a Utf8View",
            ),
        ] {
            check(sql, &[&format!("TableCommand: {shown}")]);
        }
    }

    #[test]
    fn words_are_taken_out_of_a_text() {
        let sql = "-- é\n  CREATE /* ö */ OR\nREFRESH TABLE t AS SELECT 'it''s'";
        let tokens = super::Tokens::new(
            sql,
            &datafusion::sql::sqlparser::dialect::GenericDialect {},
        )
        .unwrap();
        assert_eq!(
            super::without(sql, &tokens, 1..3),
            "-- é\n  CREATE /* ö */ TABLE t AS SELECT 'it''s'"
        );
    }

    #[test]
    fn tables_may_be_called_as_commands_are() {
        check_error("DESCRIBE detail", "'datafusion.public.detail' not found");
        check_error(
            "SELECT * FROM vacuum",
            "'datafusion.public.vacuum' not found",
        );
    }

    #[test]
    fn what_is_left_over_is_a_mistake() {
        let ended = |found: &str| format!("Expected: end of statement, found: {found}");
        for (sql, expected) in [
            ("OPTIMIZE t t", ended("t at Line: 1, Column: 12\")")),
            ("OPTIMIZE t WHERE day IS NULL LIMIT 1", ended("LIMIT at Line: 1, Column: 30\")")),
            ("VACUUM t FULL", ended("FULL at Line: 1, Column: 10\")")),
            ("DESCRIBE HISTORY t VERSION AS OF 3", ended("VERSION at Line: 1, Column: 20\")")),
            ("OPTIMIZE", "Expected: the name of a table, found: EOF\")".to_string()),
            (
                "RESTORE t TO 3",
                "Expected: VERSION AS OF or TIMESTAMP AS OF, found: 3 at Line: 1, Column: \
                 14\")"
                    .to_string(),
            ),
        ] {
            check_error(sql, &expected);
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        let takes =
            "takes a whole number of HOURS or DAYS, such as RETAIN 168 HOURS, got";
        for (sql, expected) in [
            ("VACUUM t RETAIN 1.5 HOURS", format!("{takes} 1.5 HOURS")),
            ("VACUUM t RETAIN 7", format!("{takes} 7 without a unit")),
            ("VACUUM t RETAIN 7 WEEKS", format!("{takes} 7 WEEKS")),
            (
                "VACUUM t RETAIN 18446744073709551615 DAYS",
                format!("{takes} 18446744073709551615 DAYS"),
            ),
            (
                "RESTORE t TO VERSION AS OF -1",
                "VERSION AS OF takes the number of a version, such as 3, got -1".to_string(),
            ),
            (
                "OPTIMIZE t ZORDER BY (id)",
                "order the rows with CREATE OR REPLACE TABLE .. AS SELECT .. ORDER BY"
                    .to_string(),
            ),
            (
                "OPTIMIZE \"t@version=3\"",
                "is about the current version of a table, got t VERSION AS OF 3; leave the \
                 version out"
                    .to_string(),
            ),
        ] {
            check_error(sql, &expected);
        }
    }

    #[test]
    fn commands_are_neither_explained_nor_prepared() {
        for (sql, expected) in [
            ("EXPLAIN OPTIMIZE t", "got OPTIMIZE; run that by itself"),
            (
                "EXPLAIN ANALYZE VERBOSE VACUUM t",
                "got VACUUM; run that by itself",
            ),
            (
                "PREPARE p AS RESTORE t TO VERSION AS OF 1",
                "got RESTORE; run that by itself",
            ),
            (
                "PREPARE p AS DESCRIBE HISTORY t",
                "got DESCRIBE HISTORY; run that by itself",
            ),
            (
                "EXPLAIN ALTER TABLE t ADD COLUMN a INT",
                "got ALTER TABLE; run that by itself",
            ),
        ] {
            check_error(sql, expected);
        }
    }
}
