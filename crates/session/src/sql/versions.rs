//! Takes `VERSION AS OF` and its like out of a statement, and puts [`At`] into the names.

use std::ops::{ControlFlow, Range};

use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, TableAlias, TableFactor, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::at::{At, split};
use super::tokens::Tokens;
use super::version_clause::opening;
use super::{changes, normalized, visit};

/// What stands before the name of a table that is read or, by mistake, changed.
const BEFORE_NAMES: [&str; 12] = [
    "COPY",
    "DESC",
    "DESCRIBE",
    "FROM",
    "INTO",
    "JOIN",
    "MERGE",
    "OVERWRITE",
    "TABLE",
    "TRUNCATE",
    "UPDATE",
    "USING",
];

/// Writes `t VERSION AS OF 3` as `"t@version=3"`.
pub(super) fn rewrite(tokens: &mut Tokens) -> Result<()> {
    let mut index = 1;
    while index < tokens.len() {
        if let Some(clause) = Clause::find(tokens, index)? {
            clause.apply(tokens);
        }
        index += 1;
    }
    Ok(())
}

/// A table's name, and what follows it.
struct Clause {
    at: At,
    /// The last part of the name.
    name: Ident,
    /// Where that is, and what it is taken out with.
    range: Range<usize>,
}

impl Clause {
    /// The clause that begins at a place, if one does.
    fn find(tokens: &Tokens, index: usize) -> Result<Option<Self>> {
        let Some((kind, value)) = opening(tokens, index) else {
            return Ok(None);
        };
        // `SELECT version AS of FROM t` names a column.
        let begins = tokens.is_one_of(index - 1, &["SELECT", "DISTINCT", "ALL"]);
        let ends = match tokens.token(value) {
            Some(Token::Comma | Token::RParen | Token::SemiColon) | None => true,
            Some(Token::Word(word)) => {
                let keyword = word.keyword;
                keyword != Keyword::NoKeyword
                    && !matches!(keyword, Keyword::TIMESTAMP | Keyword::DATE)
            }
            Some(_) => false,
        };
        if begins || (ends && tokens.part(index - 1).is_none()) {
            return Ok(None);
        }
        let Some(name) = table_before(tokens, index) else {
            if ends {
                return Ok(None);
            }
            return plan_err!(
                "{} AS OF stands after the name of a table or folder and before its alias, \
                 got it after {}",
                tokens.text(value - 3).to_uppercase(),
                tokens.text(index - 1)
            );
        };
        let (at, end) = kind.at(tokens, value)?;
        let range = index - 1..end;
        Ok(Some(Self { at, name, range }))
    }

    fn apply(self, tokens: &mut Tokens) {
        let word = Word {
            value: self.at.name(&normalized(&self.name)),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        };
        let token = TokenWithSpan::new(Token::Word(word), self.name.span);
        tokens.replace(self.range, [token]);
    }
}

/// The last part of the table's name that ends before a place.
fn table_before(tokens: &Tokens, index: usize) -> Option<Ident> {
    let name = tokens.part(index.checked_sub(1)?)?;
    let mut start = index - 1;
    while start >= 2
        && tokens.token(start - 1) == Some(&Token::Period)
        && tokens.part(start - 2).is_some()
    {
        start -= 2;
    }
    let before = start.checked_sub(1)?;
    let opens = matches!(tokens.token(before), Some(Token::Comma | Token::LParen));
    (opens || tokens.is_one_of(before, &BEFORE_NAMES)).then_some(name)
}

/// Gives versions of tables the names that their columns are known by, and refuses to
/// change anything but the current one.
pub(super) fn alias(statement: &mut Statement) -> Result<()> {
    if let Some((what, name)) = changes::target(statement)
        && let Some(last) = last_part(&name)
        && let (table, Some(at)) = split(&last.value)
    {
        return plan_err!(
            "{what} changes the current version of a table, got {table} {at}; \
             RESTORE {table} TO {at} makes that one the current one"
        );
    }
    visit(statement, &mut Aliases)
}

fn last_part(name: &ObjectName) -> Option<&Ident> {
    name.0.last().and_then(|part| part.as_ident())
}

struct Aliases;

impl VisitorMut for Aliases {
    type Break = DataFusionError;

    fn pre_visit_table_factor(
        &mut self,
        factor: &mut TableFactor,
    ) -> ControlFlow<DataFusionError> {
        let TableFactor::Table {
            name, alias, args, ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(last) = last_part(name) else {
            return ControlFlow::Continue(());
        };
        let (table, Some(at)) = split(&last.value) else {
            return ControlFlow::Continue(());
        };
        if args.is_some() {
            return ControlFlow::Break(plan_datafusion_err!(
                "{at} is for tables, and {table} is called as a function; leave it out"
            ));
        }
        let named = TableAlias {
            explicit: true,
            name: Ident::with_quote_and_span('"', last.span, table),
            columns: vec![],
            at: None,
        };
        alias.get_or_insert(named);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, check_error};

    const VERSION: &str = "TableScan: t@version=3";
    const TIME: &str = "TableScan: t@timestamp=2026-11-30 01:00:00";

    #[test]
    fn columns_keep_the_names_of_the_table() {
        for clause in [
            "VERSION AS OF 3",
            "FOR VERSION AS OF 3",
            "FOR SYSTEM_VERSION AS OF 3",
            "version as /* of the table */ of 3",
        ] {
            check(
                &format!("SELECT T.id FROM T {clause} WHERE t.name = 'a'"),
                &[
                    "Projection: t.id",
                    "Filter: t.name = Utf8(\"a\")",
                    "SubqueryAlias: t",
                    VERSION,
                ],
            );
        }
    }

    #[test]
    fn times_are_in_quotes() {
        for clause in [
            "TIMESTAMP AS OF '2026-11-30 01:00:00'",
            "TIMESTAMP AS OF TIMESTAMP '2026-11-30 01:00:00'",
            "FOR SYSTEM_TIME AS OF '2026-11-30 01:00:00'",
        ] {
            check(
                &format!("SELECT t.id FROM public.t {clause}"),
                &[
                    "Projection: t.id",
                    "SubqueryAlias: t",
                    "TableScan: public.t@timestamp=2026-11-30 01:00:00",
                ],
            );
        }
    }

    #[test]
    fn an_alias_stays() {
        check(
            "SELECT x.a FROM t VERSION AS OF 3 AS x(a, b, c)",
            &[
                "Projection: x.a",
                "SubqueryAlias: x",
                "Projection: t@version=3.id AS a, t@version=3.name AS b, t@version=3.day AS c",
                VERSION,
            ],
        );
    }

    #[test]
    fn a_table_is_compared_with_what_it_was() {
        check(
            "SELECT t.id FROM t, t VERSION AS OF 3 AS old WHERE t.id = old.id",
            &[
                "Projection: t.id",
                "Filter: t.id = old.id",
                "Cross Join:",
                "TableScan: t",
                "SubqueryAlias: old",
                VERSION,
            ],
        );
        check(
            "WITH old AS (SELECT id FROM t TIMESTAMP AS OF '2026-11-30 01:00:00') \
             SELECT count(id) FROM old",
            &[
                "Projection: count(old.id)",
                "Aggregate: groupBy=[[]], aggr=[[count(old.id)]]",
                "SubqueryAlias: old",
                "Projection: t.id",
                "SubqueryAlias: t",
                TIME,
            ],
        );
    }

    #[test]
    fn folders_have_versions() {
        check(
            "SELECT id FROM 'folder/' VERSION AS OF 3",
            &[
                "Projection: folder/.id",
                "SubqueryAlias: folder/",
                "TableScan: folder/@version=3",
            ],
        );
    }

    #[test]
    fn versions_are_copied_described_and_inserted() {
        check(
            "INSERT INTO t SELECT * FROM t VERSION AS OF 3",
            &[
                "Dml: op=[Insert Into] table=[t]",
                "Projection: t.id AS id, t.name AS name, t.day AS day",
                "Projection: t.id, t.name, t.day",
                "SubqueryAlias: t",
                VERSION,
            ],
        );
        check("DESCRIBE t VERSION AS OF 3", &["DescribeTable"]);
    }

    #[test]
    fn words_that_are_columns_stay_columns() {
        check(
            "SELECT id AS version, name AS of FROM t",
            &["Projection: t.id AS version, t.name AS of", "TableScan: t"],
        );
        check(
            "SELECT version AS of FROM (SELECT id AS version FROM t) AS x",
            &[
                "Projection: x.version AS of",
                "SubqueryAlias: x",
                "Projection: t.id AS version",
                "TableScan: t",
            ],
        );
    }

    #[test]
    fn the_clause_stands_before_the_alias() {
        let before = "stands after the name of a table or folder and before its alias, got \
                      it after";
        for (from, after) in [
            ("t AS x VERSION AS OF 3", "x"),
            ("t x VERSION AS OF 3", "x"),
            ("(SELECT 1) VERSION AS OF 3", ")"),
        ] {
            check_error(
                &format!("SELECT * FROM {from}"),
                &format!("{before} {after}"),
            );
        }
    }

    #[test]
    fn only_the_current_version_is_changed() {
        let end = "changes the current version of a table, got t VERSION AS OF 3; RESTORE \
                   t TO VERSION AS OF 3 makes that one the current one";
        for sql in [
            "INSERT INTO t VERSION AS OF 3 SELECT * FROM t",
            "UPDATE t VERSION AS OF 3 SET id = 1",
            "DELETE FROM t VERSION AS OF 3",
            "MERGE INTO t VERSION AS OF 3 USING s ON true WHEN MATCHED THEN DELETE",
            "TRUNCATE TABLE t VERSION AS OF 3",
            "EXPLAIN DELETE FROM t VERSION AS OF 3",
        ] {
            check_error(sql, end);
        }
    }
}
