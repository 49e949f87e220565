//! DESCRIBE of a stored table, which says more than DataFusion's list of columns.

use atoll_udf_common::storage_root;
use datafusion::common::{Result, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{DescribeAlias, Statement as SqlStatement};

use super::node::{Action, TableCommand};
use crate::sql::split;

/// What DESCRIBE names, if the statement is one.
pub(crate) fn described(
    statement: &Statement,
    state: &SessionState,
) -> Result<Option<TableReference>> {
    let Statement::Statement(statement) = statement else {
        return Ok(None);
    };
    let SqlStatement::ExplainTable {
        describe_alias: DescribeAlias::Describe | DescribeAlias::Desc,
        table_name,
        ..
    } = statement.as_ref()
    else {
        return Ok(None);
    };
    let parser = &state.config().options().sql_parser;
    let normalizes = parser.enable_ident_normalization;
    object_name_to_table_reference(table_name.clone(), normalizes).map(Some)
}

/// The plan that also says what the table consists of, if it is a stored one. Views, files
/// and external tables have their columns and nothing else.
pub(crate) async fn of_stored(
    name: TableReference,
    state: &SessionState,
) -> Result<Option<LogicalPlan>> {
    let schema = state.schema_for_ref(name.clone())?;
    let Some(table) = schema.table(name.table()).await? else {
        return Ok(None);
    };
    let Some(location) = atoll_delta::location_of(table.as_ref()) else {
        return Ok(None);
    };
    let root = storage_root(state.config().options())?.join("tables")?;
    if root.join(split(name.table()).0)?.url != location.url {
        return Ok(None);
    }
    let command = TableCommand::try_new(name, Action::Extended)?;
    Ok(Some(command.into_plan()))
}
