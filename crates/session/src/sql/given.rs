//! Tables that table functions are given by their names: `nearest('photos', ..)`.
//!
//! Their columns are found before the statement is planned, because the planner asks a
//! table function for its columns and does not wait.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use atoll_udf_common::tables::{GivenTables, TYPED_BY_TABLE, table_named};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, TableFactor, VisitorMut,
};

use super::{normalized, visit};

/// Finds the columns of these tables, for their functions to read.
pub(crate) async fn find(
    statement: &mut Statement,
    state: &mut SessionState,
) -> Result<()> {
    let mut names = Names::default();
    visit(statement, &mut names)?;
    if names.0.is_empty() {
        return Ok(());
    }
    let ctx = SessionContext::new_with_state(state.clone());
    let mut found = HashMap::new();
    for name in names.0 {
        // The function says what there is instead.
        if let Some(table) = table_named(&ctx, &name).await {
            found.insert(name, table.schema());
        }
    }
    state
        .config_mut()
        .set_extension(Arc::new(GivenTables(found)));
    Ok(())
}

/// Collects the texts that are given to the functions.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl VisitorMut for Names {
    type Break = DataFusionError;

    fn pre_visit_table_factor(
        &mut self,
        table: &mut TableFactor,
    ) -> ControlFlow<DataFusionError> {
        if let TableFactor::Table {
            name,
            args: Some(args),
            ..
        } = table
            && let [name] = &name.0[..]
            && let Some(name) = name.as_ident()
            && TYPED_BY_TABLE.contains(&normalized(name).as_str())
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) =
                args.args.first()
            && let Some(text) = value.value.clone().into_string()
        {
            self.0.insert(text);
        }
        ControlFlow::Continue(())
    }
}
