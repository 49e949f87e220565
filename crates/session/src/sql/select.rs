//! `SELECT * FROM ..`, for asking the planner what a table has.

use datafusion::common::{Result, internal_err};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, SetExpr, Statement as SqlStatement, TableFactor,
};

/// Every column of a table or subquery, for the rows that meet a condition.
pub(super) fn everything(
    factor: TableFactor,
    selection: Option<Expr>,
) -> Result<Statement> {
    // The syntax tree of a SELECT has thirty fields, and the parser knows them all.
    let mut statements = DFParser::parse_sql("SELECT * FROM t")?;
    if let Some(mut statement) = statements.pop_front()
        && let Statement::Statement(sql) = &mut statement
        && let SqlStatement::Query(query) = sql.as_mut()
        && let SetExpr::Select(select) = query.body.as_mut()
        && let Some(table) = select.from.first_mut()
    {
        table.relation = factor;
        select.selection = selection;
        return Ok(statement);
    }
    internal_err!("SELECT is parsed as something else")
}

/// A table by its name.
pub(super) fn table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}
