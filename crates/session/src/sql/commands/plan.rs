//! Looks up what the statements about tables name.

use std::sync::Arc;

use atoll_udf_common::as_expensive;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, internal_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    ColumnDef, Expr as SqlExpr, Ident, ObjectName, Statement as SqlStatement,
};

use super::node::{Action, NewColumn, TableCommand};
use super::parse::{Command, Verb};
use crate::sql::{TableQuery, normalized, select, statement_to_plan};

impl Command {
    /// Finds the table and its columns; the plan has no operator and touches nothing.
    pub(crate) async fn plan(self, state: &SessionState) -> Result<LogicalPlan> {
        let Self { table: name, verb } = self;
        let normalizes = state
            .config()
            .options()
            .sql_parser
            .enable_ident_normalization;
        let table = object_name_to_table_reference(name.clone(), normalizes)?;
        let action = match verb {
            Verb::Optimize {
                predicate: Some(predicate),
            } => {
                let predicate = Some(condition(name, *predicate, state).await?);
                return Ok(
                    TableCommand::try_new(table, Action::Optimize { predicate })?
                        .into_plan(),
                );
            }
            Verb::Optimize { predicate: None } => Action::Optimize { predicate: None },
            Verb::Vacuum { retain, dry_run } => Action::Vacuum { retain, dry_run },
            Verb::Restore { to } => Action::Restore { to },
            Verb::Refresh { full } => Action::Refresh { full, create: None },
            Verb::CreateOrRefresh { create } => {
                // The table may not be there.
                TableQuery::plan(state, &create).await?;
                let create = Some(create);
                let action = Action::Refresh {
                    full: false,
                    create,
                };
                return Ok(TableCommand::try_new(table, action)?.into_plan());
            }
            Verb::Detail => Action::Detail,
            Verb::Extended => Action::Extended,
            Verb::History => Action::History,
            Verb::AddColumns { columns } => {
                let columns = added(columns, state).await?;
                Action::AddColumns { columns }
            }
        };
        // A table that is not there is found by planning, as in any other statement.
        rows(name, None, state).await?;
        Ok(TableCommand::try_new(table, action)?.into_plan())
    }
}

/// The rows of a table.
async fn rows(
    name: ObjectName,
    condition: Option<SqlExpr>,
    state: &SessionState,
) -> Result<LogicalPlan> {
    let select = select::everything(select::table(name), condition)?;
    statement_to_plan(state.clone(), select).await
}

/// The condition of OPTIMIZE, with its types coerced and without the table's name. Which
/// columns the table is partitioned by is known when it is opened.
async fn condition(
    name: ObjectName,
    condition: SqlExpr,
    state: &SessionState,
) -> Result<Expr> {
    let shown = condition.to_string();
    let mut plan = rows(name, Some(condition), state).await?;
    let filter = loop {
        plan = match plan {
            LogicalPlan::Projection(projection) => Arc::unwrap_or_clone(projection.input),
            filter @ LogicalPlan::Filter(_) => break filter,
            _ => return internal_err!("WHERE is planned as something else"),
        };
    };
    let filter = TypeCoercion::new().analyze(filter, state.config_options())?;
    let LogicalPlan::Filter(filter) = filter else {
        return internal_err!("a filter is coerced to something else");
    };
    let is_computed = |expr: &Expr| match expr {
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::ScalarSubquery(_)
        | Expr::Placeholder(_) => true,
        Expr::ScalarFunction(call) => as_expensive(&call.func).is_some(),
        _ => false,
    };
    let has_computed = filter.predicate.exists(|expr| Ok(is_computed(expr)))?;
    if has_computed || filter.predicate.is_volatile() {
        return plan_err!(
            "OPTIMIZE .. WHERE compares partition columns with constants, got {shown}"
        );
    }
    let plain = filter.predicate.transform(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(
            Column::new_unqualified(column.name),
        ))),
        expr => Ok(Transformed::no(expr)),
    })?;
    Ok(plain.data)
}

/// The columns of ADD COLUMN in the engine's types, which the planner knows for CREATE
/// TABLE.
async fn added(
    columns: Vec<(ColumnDef, bool)>,
    state: &SessionState,
) -> Result<Vec<NewColumn>> {
    let (definitions, keep): (Vec<ColumnDef>, Vec<bool>) = columns.into_iter().unzip();
    for (index, column) in definitions.iter().enumerate() {
        let name = normalized(&column.name);
        if definitions[..index]
            .iter()
            .any(|other| normalized(&other.name) == name)
        {
            return plan_err!("ALTER TABLE adds the column {name} twice; leave one out");
        }
    }
    let name = ObjectName::from(vec![Ident::new("t")]);
    let create = CreateTableBuilder::new(name).columns(definitions).build();
    let create = Statement::Statement(Box::new(SqlStatement::CreateTable(create)));
    let plan = statement_to_plan(state.clone(), create).await?;
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = plan else {
        return internal_err!("CREATE TABLE is planned as something else");
    };
    let fields = create.input.schema().fields().iter().cloned();
    let columns = fields.zip(keep);
    let columns = columns.map(|(field, if_not_exists)| NewColumn {
        field,
        if_not_exists,
    });
    Ok(columns.collect())
}

#[cfg(test)]
mod tests {
    use crate::sql::TableCommand;
    use crate::sql::testing::{check, check_error, plan, run};

    #[test]
    fn tables_are_there() {
        for command in [
            "OPTIMIZE x",
            "OPTIMIZE x WHERE id = 1",
            "VACUUM x",
            "RESTORE x TO VERSION AS OF 1",
            "DESCRIBE DETAIL x",
            "DESCRIBE HISTORY x",
            "ALTER TABLE x ADD COLUMN a INT",
        ] {
            check_error(command, "table 'datafusion.public.x' not found");
        }
    }

    #[test]
    fn conditions_have_types_and_no_table() {
        check(
            "OPTIMIZE t WHERE t.day >= '2026-11-30' AND Id = 1",
            &[
                "TableCommand: OPTIMIZE t WHERE day >= CAST(Utf8(\"2026-11-30\") AS Date32) AND id = Int64(1)",
            ],
        );
        check_error(
            "OPTIMIZE t WHERE month = 1",
            "Valid fields are t.id, t.name, t.day.",
        );
        for condition in [
            "id = (SELECT max(id) FROM s)",
            "id IN (SELECT id FROM s)",
            "random() < 0.5",
            "id = $1",
        ] {
            check_error(
                &format!("OPTIMIZE t WHERE {condition}"),
                &format!("compares partition columns with constants, got {condition}"),
            );
        }
    }

    #[test]
    fn columns_are_added_once() {
        check_error(
            "ALTER TABLE t ADD COLUMN a INT, ADD COLUMN A TEXT",
            "ALTER TABLE adds the column a twice; leave one out",
        );
        check_error(
            "ALTER TABLE t ADD COLUMN a NONSENSE",
            "Unsupported SQL type NONSENSE",
        );
    }

    #[test]
    fn reports_have_columns() {
        for (sql, columns, changes) in [
            (
                "OPTIMIZE t",
                "files_removed, files_added, bytes_removed, bytes_added",
                true,
            ),
            ("VACUUM t", "files_deleted, bytes_deleted", true),
            ("VACUUM t DRY RUN", "files_deleted, bytes_deleted", false),
            ("RESTORE t TO VERSION AS OF 1", "version", true),
            ("ALTER TABLE t ADD COLUMN a INT", "", true),
            (
                "DESCRIBE DETAIL t",
                "format, name, location, version, rows, files, bytes, partition_columns",
                false,
            ),
            (
                "DESCRIBE EXTENDED t",
                "column_name, data_type, is_nullable",
                false,
            ),
            (
                "DESCRIBE HISTORY t",
                "version, timestamp, operation, parameters, statement, engine",
                false,
            ),
        ] {
            let plan = run(plan(sql)).unwrap();
            let command = TableCommand::of(&plan).unwrap();
            let fields = plan.schema().fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
            assert_eq!(names.join(", "), columns, "{sql}");
            assert_eq!(command.action.changes_table(), changes, "{sql}");
            assert_eq!(crate::changes_something(&plan), changes, "{sql}");
        }
    }
}
