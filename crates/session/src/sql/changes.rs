//! Statements that change rows: refuses what the planner would misread, and writes names
//! as it looks for them.

use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, FromTable, Ident, Insert, ObjectName,
    ObjectNamePart, ObjectType, Query, SetExpr, SqliteOnConflict,
    Statement as SqlStatement, TableFactor, TableObject, TableWithJoins, Update,
};

use super::commands::TableCommand;
use super::models::ModelCommand;
use super::normalized;
use super::parse::{Parsed, parse};

/// Whether a statement is there for what it does and not for its rows.
pub fn changes_something(plan: &LogicalPlan) -> bool {
    if let Some(command) = TableCommand::of(plan) {
        return command.action.changes_table();
    }
    if ModelCommand::of(plan).is_some() {
        return true;
    }
    match plan {
        LogicalPlan::Ddl(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::Statement(_) => true,
        // EXPLAIN ANALYZE does what it explains.
        LogicalPlan::Analyze(analyze) => changes_something(&analyze.input),
        _ => false,
    }
}

/// Whether a statement changes nothing but its session, such as SET and CREATE VIEW, so
/// that a session which goes on where another one stopped needs it again.
pub(crate) fn is_of_session(state: &SessionState, sql: &str) -> bool {
    let Ok(Parsed::Statement(statement, _)) = parse(state, sql) else {
        return false;
    };
    match *statement {
        Statement::CreateExternalTable(_) | Statement::Reset(_) => true,
        Statement::Statement(statement) => match *statement {
            SqlStatement::Drop { object_type, .. } => object_type == ObjectType::View,
            statement => matches!(
                statement,
                SqlStatement::Set(_)
                    | SqlStatement::CreateView(_)
                    | SqlStatement::CreateFunction(_)
                    | SqlStatement::Prepare { .. }
                    | SqlStatement::Deallocate { .. }
            ),
        },
        _ => false,
    }
}

/// The statement itself, or the one that is explained or prepared.
pub(super) fn inner(statement: &mut Statement) -> Option<&mut SqlStatement> {
    match statement {
        Statement::Statement(statement) => Some(unwrapped(statement)),
        Statement::Explain(explain) => inner(&mut explain.statement),
        _ => None,
    }
}

fn unwrapped(statement: &mut SqlStatement) -> &mut SqlStatement {
    match statement {
        SqlStatement::Explain { statement, .. }
        | SqlStatement::Prepare { statement, .. } => unwrapped(statement),
        statement => statement,
    }
}

/// The kind of a statement that changes a table, and which table that is.
pub(super) fn target(statement: &mut Statement) -> Option<(&'static str, ObjectName)> {
    let statement: &SqlStatement = inner(statement)?;
    let (what, name) = match statement {
        SqlStatement::Insert(Insert {
            table: TableObject::TableName(name),
            ..
        }) => ("INSERT", name),
        SqlStatement::Update(update) => ("UPDATE", table(&update.table.relation)?),
        SqlStatement::Delete(delete) => {
            ("DELETE", table(&from(delete).first()?.relation)?)
        }
        SqlStatement::Merge(merge) => ("MERGE", table(&merge.table)?),
        SqlStatement::Truncate(truncate) => {
            ("TRUNCATE", &truncate.table_names.first()?.name)
        }
        SqlStatement::AlterTable(alter) => ("ALTER TABLE", &alter.name),
        SqlStatement::CreateTable(create) => ("CREATE TABLE", &create.name),
        SqlStatement::Drop { names, .. } => ("DROP", names.first()?),
        _ => return None,
    };
    Some((what, name.clone()))
}

fn table(factor: &TableFactor) -> Option<&ObjectName> {
    match factor {
        TableFactor::Table { name, .. } => Some(name),
        _ => None,
    }
}

fn from(delete: &Delete) -> &[TableWithJoins] {
    match &delete.from {
        FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from) => from,
    }
}

/// Refuses what is not meant as it would be planned; the columns of UPDATE get the names
/// that they have in the table.
pub(super) fn check(statement: &mut Statement) -> Result<()> {
    match inner(statement) {
        Some(SqlStatement::Insert(insert)) => check_insert(insert),
        Some(SqlStatement::Update(update)) => check_update(update),
        Some(SqlStatement::Delete(delete)) => check_delete(delete),
        Some(SqlStatement::Query(query)) => check_with(query),
        _ => Ok(()),
    }
}

/// `WITH .. INSERT`, which is a query to the parser and nothing to the planner.
fn check_with(query: &Query) -> Result<()> {
    let instead = match query.body.as_ref() {
        SetExpr::Insert(_) => "INSERT INTO t WITH .. SELECT ..",
        SetExpr::Merge(_) => "MERGE INTO t USING (WITH .. SELECT ..) AS source ON ..",
        SetExpr::Update(_) | SetExpr::Delete(_) => "WHERE id IN (WITH .. SELECT ..)",
        _ => return Ok(()),
    };
    plan_err!(
        "WITH stands in the query of a statement that changes rows; write {instead}"
    )
}

/// How rows are replaced one by one.
const MERGE: &str = "write MERGE INTO t USING new ON t.id = new.id WHEN MATCHED THEN \
                     UPDATE SET * WHEN NOT MATCHED THEN INSERT *";

fn check_insert(insert: &Insert) -> Result<()> {
    let replaces = insert.replace_into || insert.or == Some(SqliteOnConflict::Replace);
    if replaces || insert.on.is_some() {
        let what = match replaces {
            true => "REPLACE INTO",
            false => "INSERT .. ON CONFLICT",
        };
        return plan_err!(
            "{what} is not supported, because tables have no keys; {MERGE}"
        );
    }
    if insert.partitioned.is_some() {
        return plan_err!(
            "INSERT .. PARTITION is not supported; a row goes to the partition that its \
             columns name, so write them among the other columns"
        );
    }
    Ok(())
}

fn check_update(update: &mut Update) -> Result<()> {
    if update.from.is_some() || !update.table.joins.is_empty() {
        return plan_err!(
            "UPDATE takes one table and no FROM; write MERGE INTO t USING other ON \
             t.id = other.id WHEN MATCHED THEN UPDATE SET column = other.column"
        );
    }
    if update.limit.is_some() || !update.order_by.is_empty() {
        return plan_err!(
            "UPDATE takes no ORDER BY and no LIMIT; say with WHERE which rows are meant"
        );
    }
    let TableFactor::Table { name, alias, .. } = &update.table.relation else {
        return plan_err!("UPDATE takes the name of a table, got {}", update.table);
    };
    let table: Vec<String> = match alias {
        Some(alias) => vec![normalized(&alias.name)],
        None => idents(name).map(normalized).collect(),
    };
    let mut seen: Vec<String> = Vec::new();
    for assignment in &mut update.assignments {
        let column = assigned(assignment, &table)?;
        if seen.contains(&column) {
            return plan_err!("UPDATE sets the column {column} twice; leave one out");
        }
        seen.push(column);
    }
    Ok(())
}

/// The column that is set, whose name is written as it is in the table.
fn assigned(assignment: &mut Assignment, table: &[String]) -> Result<String> {
    let AssignmentTarget::ColumnName(name) = &mut assignment.target else {
        return plan_err!(
            "UPDATE sets columns one by one, got {}; write a = 1, b = 2",
            assignment.target
        );
    };
    let parts: Vec<Ident> = idents(name).cloned().collect();
    let Some((column, qualifier)) = parts.split_last() else {
        return plan_err!("UPDATE sets columns, got {name}");
    };
    let names: Vec<String> = qualifier.iter().map(normalized).collect();
    // The planner looks at the last part only, and would set another column.
    if !table.ends_with(&names) {
        return plan_err!(
            "UPDATE sets whole columns of its table, got {name}; a field of a struct is \
             set with the others, as in s = named_struct('field', 1)"
        );
    }
    let value = normalized(column);
    let column = Ident::with_quote_and_span('"', column.span, &value);
    *name = ObjectName(vec![ObjectNamePart::Identifier(column)]);
    Ok(value)
}

fn idents(name: &ObjectName) -> impl Iterator<Item = &Ident> {
    name.0.iter().filter_map(|part| part.as_ident())
}

fn check_delete(delete: &Delete) -> Result<()> {
    if !delete.order_by.is_empty() || delete.limit.is_some() {
        return plan_err!(
            "DELETE takes no ORDER BY and no LIMIT; say with WHERE which rows are meant"
        );
    }
    let one = match from(delete) {
        [one] if one.joins.is_empty() => Some(&one.relation),
        _ => None,
    };
    let (Some(TableFactor::Table { name, alias, .. }), true, None) =
        (one, delete.tables.is_empty(), &delete.using)
    else {
        return plan_err!(
            "DELETE takes one table and no USING; write DELETE FROM t WHERE id IN \
             (SELECT id FROM other), or MERGE INTO t USING other ON t.id = other.id WHEN \
             MATCHED THEN DELETE"
        );
    };
    if let Some(alias) = alias {
        // The planner leaves it out and then does not find its columns.
        return plan_err!(
            "DELETE takes no other name for its table, got {}; write {name}.column",
            alias.name
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, check_error};

    #[test]
    fn update_finds_columns_in_any_case() {
        for set in ["Name = 'b'", "t.NAME = 'b'", "\"name\" = 'b'"] {
            check(
                &format!("UPDATE t SET {set} WHERE id = 1"),
                &[
                    "Dml: op=[Update] table=[t]",
                    "Projection: t.id AS id, Utf8(\"b\") AS name, t.day AS day",
                    "Filter: t.id = Int64(1)",
                    "TableScan: t",
                ],
            );
        }
        check_error(
            "UPDATE t SET \"Name\" = 'b'",
            "Valid fields are t.id, t.name, t.day.",
        );
    }

    #[test]
    fn update_sets_each_column_of_its_table_once() {
        check_error(
            "UPDATE t SET name = 'a', NAME = 'b'",
            "UPDATE sets the column name twice; leave one out",
        );
        check_error(
            "UPDATE t SET other.name = 'a'",
            "got other.name; a field of a struct is set with the others, as in s = \
             named_struct('field', 1)",
        );
        check_error(
            "UPDATE t SET (id, name) = (1, 'a')",
            "UPDATE sets columns one by one, got (id, name); write a = 1, b = 2",
        );
    }

    #[test]
    fn rows_of_other_tables_are_merged() {
        let end = "WHEN MATCHED THEN UPDATE SET column = other.column";
        check_error("UPDATE t SET name = s.name FROM s WHERE t.id = s.id", end);
        check_error("UPDATE t JOIN s ON t.id = s.id SET name = s.name", end);
        let end =
            "or MERGE INTO t USING other ON t.id = other.id WHEN MATCHED THEN DELETE";
        check_error("DELETE FROM t USING s WHERE t.id = s.id", end);
        check_error("DELETE FROM t, s WHERE t.id = s.id", end);
        let end = "THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *";
        check_error("REPLACE INTO t SELECT * FROM t", end);
        check_error("INSERT OR REPLACE INTO t SELECT * FROM t", end);
        check_error("EXPLAIN REPLACE INTO t SELECT * FROM t", end);
        check_error("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", end);
    }

    #[test]
    fn with_stands_in_the_query() {
        let with = "WITH x AS (SELECT * FROM s)";
        check_error(
            &format!("{with} INSERT INTO t SELECT id, name, NULL FROM x"),
            "write INSERT INTO t WITH .. SELECT ..",
        );
        check_error(
            &format!("{with} MERGE INTO t USING x ON true WHEN MATCHED THEN DELETE"),
            "write MERGE INTO t USING (WITH .. SELECT ..) AS source ON ..",
        );
        check_error(
            &format!("{with} DELETE FROM t WHERE id IN (SELECT id FROM x)"),
            "write WHERE id IN (WITH .. SELECT ..)",
        );
    }

    #[test]
    fn rows_are_named_by_where() {
        let end = "takes no ORDER BY and no LIMIT; say with WHERE which rows are meant";
        for sql in [
            "DELETE FROM t LIMIT 1",
            "DELETE FROM t ORDER BY id",
            "UPDATE t SET id = 1 LIMIT 1",
        ] {
            check_error(sql, end);
        }
        check_error(
            "DELETE FROM t AS x WHERE x.id = 1",
            "DELETE takes no other name for its table, got x; write t.column",
        );
    }

    #[test]
    fn insert_overwrites() {
        for insert in [
            "INSERT OVERWRITE",
            "INSERT OVERWRITE TABLE",
            "INSERT OVERWRITE INTO",
        ] {
            check(
                &format!("{insert} t (ID, Name) SELECT id, name FROM s"),
                &[
                    "Dml: op=[Insert Overwrite] table=[t]",
                    "Projection: s.id AS id, s.name AS name, CAST(NULL AS Date32) AS day",
                    "Projection: s.id, s.name",
                    "TableScan: s",
                ],
            );
        }
        check_error(
            "INSERT INTO t PARTITION (day = '2026-11-30') SELECT id, name FROM s",
            "so write them among the other columns",
        );
    }
}
