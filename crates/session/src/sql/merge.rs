//! `UPDATE SET *`, `INSERT *` and `INSERT ROW` of MERGE.
//!
//! The star stands for every column that the target and the source have both. The parser
//! takes none there, so it reads a column of this name instead.

use datafusion::common::{Result, TableReference, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Ident, Merge, MergeAction, MergeClause,
    MergeClauseKind, MergeInsertExpr, MergeInsertKind, ObjectName, ObjectNamePart,
    Parens, Statement as SqlStatement, TableFactor, Values,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::Tokens;
use super::{changes, select};

/// What the parser reads in place of a star; no column is called so by accident.
const EVERY: &str = "*";

/// Makes a star of MERGE something that the parser reads.
pub(super) fn mark(tokens: &mut Tokens) {
    if !tokens.are(tokens.start(), &["MERGE"]) {
        return;
    }
    let mut index = 0;
    while index < tokens.len() {
        let star = Some(&Token::Mul);
        let column = Token::make_word(EVERY, Some('"'));
        let zero = Token::Number("0".to_string(), false);
        if tokens.are(index, &["UPDATE", "SET"]) && tokens.token(index + 2) == star {
            put(tokens, index + 2, vec![column, Token::Eq, zero]);
        } else if tokens.are(index, &["INSERT"]) && tokens.token(index + 1) == star {
            let values = Token::make_keyword("VALUES");
            let (open, close) = (Token::LParen, Token::RParen);
            let columns = [open.clone(), column, close.clone()];
            let row = [values, open, zero, close];
            put(tokens, index + 1, columns.into_iter().chain(row).collect());
        }
        index += 1;
    }
}

/// Puts tokens in the place of one, where the statement is said to have them.
fn put(tokens: &mut Tokens, index: usize, by: Vec<Token>) {
    let span = tokens.get(index).map(|token| token.span);
    let by = by.into_iter().map(|token| match span {
        Some(span) => TokenWithSpan::new(token, span),
        None => TokenWithSpan::wrap(token),
    });
    let by: Vec<_> = by.collect();
    tokens.replace(index..index + 1, by);
}

/// Writes out what the stars stand for.
pub(super) async fn expand(
    statement: &mut Statement,
    state: &SessionState,
) -> Result<()> {
    let Some(SqlStatement::Merge(merge)) = changes::inner(statement) else {
        return Ok(());
    };
    if !merge.clauses.iter().any(is_short) {
        return Ok(());
    }
    let shared = shared(merge, state).await?;
    for clause in &mut merge.clauses {
        expand_clause(clause, &shared)?;
    }
    Ok(())
}

fn is_short(clause: &MergeClause) -> bool {
    match &clause.action {
        MergeAction::Update(update) => {
            update.assignments.iter().any(|assignment| {
                matches!(&assignment.target, AssignmentTarget::ColumnName(name) if is_star(name))
            })
        }
        MergeAction::Insert(insert) => {
            insert.kind == MergeInsertKind::Row || insert.columns.iter().any(is_star)
        }
        MergeAction::Delete { .. } => false,
    }
}

fn is_star(name: &ObjectName) -> bool {
    matches!(
        name.0.as_slice(),
        [ObjectNamePart::Identifier(name)] if name.value == EVERY
    )
}

/// A column of the target, and the source's column of that name.
type Shared = (ObjectName, Expr);

async fn shared(merge: &Merge, state: &SessionState) -> Result<Vec<Shared>> {
    let target = columns(merge.table.clone(), state).await?;
    let source = columns(merge.source.clone(), state).await?;
    let mut shared = Vec::new();
    for (_, name) in target {
        let mut named = source.iter().filter(|(_, other)| *other == name);
        let Some((qualifier, _)) = named.next() else {
            continue;
        };
        if named.next().is_some() {
            return plan_err!(
                "the source of MERGE has two columns {name}; name them with AS"
            );
        }
        let Some(qualifier) = qualifier else {
            return plan_err!(
                "the source of MERGE needs a name where * stands for its columns; write \
                 USING (..) AS source"
            );
        };
        let quoted = |name: &str| Ident::with_quote('"', name);
        let column = ObjectNamePart::Identifier(quoted(&name));
        let mut path: Vec<Ident> = qualifier.to_vec().iter().map(|p| quoted(p)).collect();
        path.push(quoted(&name));
        let value = Expr::CompoundIdentifier(path);
        shared.push((ObjectName(vec![column]), value));
    }
    if shared.is_empty() {
        return plan_err!(
            "* of MERGE stands for the columns that {} and its source have both, and they \
             have none; name the columns with AS",
            merge.table
        );
    }
    Ok(shared)
}

/// The columns of a table or subquery, and what is written before them.
async fn columns(
    factor: TableFactor,
    state: &SessionState,
) -> Result<Vec<(Option<TableReference>, String)>> {
    let select = select::everything(factor, None)?;
    // Boxed, because this is a part of what it calls.
    let plan = Box::pin(super::statement_to_plan(state.clone(), select));
    let plan: LogicalPlan = plan.await?;
    let columns = plan.schema().iter();
    let columns = columns.map(|(table, field)| (table.cloned(), field.name().clone()));
    Ok(columns.collect())
}

fn expand_clause(clause: &mut MergeClause, shared: &[Shared]) -> Result<()> {
    if !is_short(clause) {
        return Ok(());
    }
    if clause.clause_kind == MergeClauseKind::NotMatchedBySource {
        return plan_err!(
            "UPDATE SET * takes values from the source, and a row that is NOT MATCHED BY \
             SOURCE has none there; name the columns and their values"
        );
    }
    match &mut clause.action {
        MergeAction::Update(update) => {
            if update.assignments.len() > 1 {
                return plan_err!(
                    "UPDATE SET * sets every column; leave the other assignments out"
                );
            }
            let assignments = shared.iter().map(|(column, value)| Assignment {
                target: AssignmentTarget::ColumnName(column.clone()),
                value: value.clone(),
            });
            update.assignments = assignments.collect();
            Ok(())
        }
        MergeAction::Insert(insert) => expand_insert(insert, shared),
        MergeAction::Delete { .. } => Ok(()),
    }
}

fn expand_insert(insert: &mut MergeInsertExpr, shared: &[Shared]) -> Result<()> {
    if insert.kind == MergeInsertKind::Row && !insert.columns.is_empty() {
        return plan_err!(
            "INSERT ROW takes every column of the source; leave the list of columns out, \
             or write VALUES"
        );
    }
    let (columns, values): (Vec<_>, Vec<_>) = shared.iter().cloned().unzip();
    insert.columns = columns;
    insert.kind = MergeInsertKind::Values(Values {
        explicit_row: false,
        value_keyword: false,
        rows: vec![Parens::with_empty_span(values)],
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlan, MergeIntoAction, WriteOp};

    use super::super::testing::{check_error, plan, run};

    /// What the WHEN clauses set and insert.
    #[track_caller]
    fn check(using: &str, clauses: &str, expected: &[&str]) {
        let sql = format!("MERGE INTO t USING {using} ON t.id = s.id {clauses}");
        let LogicalPlan::Dml(dml) = run(plan(&sql)).unwrap() else {
            panic!("{sql} changes rows");
        };
        let WriteOp::MergeInto(merge) = dml.op else {
            panic!("{sql} is MERGE");
        };
        let shown = merge.clauses.into_iter().map(|clause| match clause.action {
            MergeIntoAction::Update(set) => set,
            MergeIntoAction::Insert { columns, values } => {
                columns.into_iter().zip(values).collect()
            }
            MergeIntoAction::Delete => vec![],
        });
        let shown = shown.map(|set| {
            let set = set
                .iter()
                .map(|(column, value)| format!("{column} = {value}"));
            set.collect::<Vec<_>>().join(", ")
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{sql}");
    }

    const BOTH: &str = "id = s.id, name = s.name";

    #[test]
    fn stars_stand_for_the_columns_of_both() {
        check(
            "s",
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
            &[BOTH, BOTH],
        );
        check(
            "(SELECT id, upper(name) AS name, 1 AS other FROM s) AS s",
            "WHEN MATCHED AND t.day IS NULL THEN UPDATE SET * WHEN MATCHED THEN DELETE \
             WHEN NOT MATCHED BY TARGET THEN INSERT ROW",
            &[BOTH, "", BOTH],
        );
    }

    #[test]
    fn columns_that_are_named_stay() {
        check(
            "s",
            "WHEN MATCHED THEN UPDATE SET Name = s.name WHEN NOT MATCHED THEN INSERT *",
            &["name = s.name", BOTH],
        );
        check(
            "t VERSION AS OF 3 AS s",
            "WHEN NOT MATCHED THEN INSERT *",
            &["id = s.id, name = s.name, day = s.day"],
        );
    }

    #[test]
    fn explained_and_renamed_targets_have_stars_too() {
        let sql = "EXPLAIN MERGE INTO t AS x USING s ON x.id = s.id \
                   WHEN NOT MATCHED THEN INSERT *";
        assert!(matches!(run(plan(sql)).unwrap(), LogicalPlan::Explain(_)));
    }

    #[test]
    fn stars_without_columns_are_refused() {
        for (sql, expected) in [
            (
                "MERGE INTO t USING s ON t.id = s.id \
                 WHEN NOT MATCHED BY SOURCE THEN UPDATE SET *",
                "has none there; name the columns and their values",
            ),
            (
                "MERGE INTO t USING (SELECT 1 AS x) AS s ON t.id = s.x \
                 WHEN MATCHED THEN UPDATE SET *",
                "stands for the columns that t and its source have both, and they have \
                 none; name the columns with AS",
            ),
            (
                "MERGE INTO t USING (SELECT * FROM s AS a CROSS JOIN s AS b) ON true \
                 WHEN NOT MATCHED THEN INSERT *",
                "the source of MERGE has two columns id; name them with AS",
            ),
            (
                "MERGE INTO t USING (SELECT id + 1 AS id FROM s) ON true \
                 WHEN NOT MATCHED THEN INSERT *",
                "where * stands for its columns; write USING (..) AS source",
            ),
            (
                "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET *, id = 1",
                "UPDATE SET * sets every column; leave the other assignments out",
            ),
            (
                "MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) ROW",
                "leave the list of columns out, or write VALUES",
            ),
        ] {
            check_error(sql, expected);
        }
    }
}
