//! Reads ALTER TABLE, which the parser knows and the planner does not.

use datafusion::common::{Result, plan_err};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AlterTable, AlterTableOperation, ColumnDef, ColumnOption, Statement as SqlStatement,
};

use super::parse::{Command, Verb};
use crate::sql::changes;

impl Command {
    /// The command that a statement consists of, if it is ALTER TABLE.
    pub(crate) fn of(statement: &mut Statement) -> Result<Option<Self>> {
        let is_direct = matches!(statement, Statement::Statement(sql)
            if matches!(sql.as_ref(), SqlStatement::AlterTable(_)));
        match changes::inner(statement) {
            Some(SqlStatement::AlterTable(alter)) if is_direct => {
                alter_table(alter).map(Some)
            }
            Some(SqlStatement::AlterTable(_)) => plan_err!(
                "EXPLAIN and PREPARE take a query or a statement that changes rows, got \
                 ALTER TABLE; run that by itself"
            ),
            _ => Ok(None),
        }
    }
}

fn alter_table(alter: &AlterTable) -> Result<Command> {
    let name = &alter.name;
    if alter.if_exists
        || alter.only
        || alter.location.is_some()
        || alter.on_cluster.is_some()
    {
        return plan_err!(
            "ALTER TABLE takes the name of a table and ADD COLUMN, got {alter}; leave the \
             rest out"
        );
    }
    let mut columns: Vec<(ColumnDef, bool)> = Vec::new();
    for operation in &alter.operations {
        let AlterTableOperation::AddColumn {
            column_keyword: _,
            if_not_exists,
            column_def,
            column_position: None,
        } = operation
        else {
            return plan_err!(
                "ALTER TABLE takes ADD COLUMN name type, got {operation}; write CREATE OR \
                 REPLACE TABLE {name} AS SELECT .. FROM {name} for other columns"
            );
        };
        let is_plain = |option: &ColumnOption| matches!(option, ColumnOption::Null);
        if let Some(option) = column_def.options.iter().find(|o| !is_plain(&o.option)) {
            return plan_err!(
                "ADD COLUMN {} takes a type only, since it is NULL in the rows that are \
                 there, got {option}; leave that out",
                column_def.name
            );
        }
        columns.push((column_def.clone(), *if_not_exists));
    }
    let verb = Verb::AddColumns { columns };
    let table = name.clone();
    Ok(Command { table, verb })
}

#[cfg(test)]
mod tests {
    use crate::sql::testing::check_error;

    #[test]
    fn alter_table_adds_columns_and_nothing_else() {
        for (sql, expected) in [
            (
                "ALTER TABLE t DROP COLUMN id",
                "got DROP COLUMN id; write CREATE OR REPLACE TABLE t AS SELECT .. FROM t for \
                 other columns",
            ),
            (
                "ALTER TABLE t ADD COLUMN a INT NOT NULL",
                "since it is NULL in the rows that are there, got NOT NULL; leave that out",
            ),
            (
                "ALTER TABLE t ADD COLUMN a INT DEFAULT 1",
                "got DEFAULT 1; leave that out",
            ),
            (
                "ALTER TABLE IF EXISTS t ADD COLUMN a INT",
                "leave the rest out",
            ),
        ] {
            check_error(sql, expected);
        }
    }
}
