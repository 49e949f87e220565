//! From the text of a statement to its plan.
//!
//! DataFusion's parser knows more than its planner does. Between the two the statement
//! is rewritten, so that what people type first means what it means in other engines:
//! `train(..).status` ([`fields`]), columns named after their fields ([`titles`]), `t.*`
//! of a struct ([`expand`], with [`parse`] for what the parser does not take), and
//! `unnest(p.ls) AS ls` ([`elements`]), `hp_choice([1, 'auto'])` ([`choices`]). What the planner would leave out without a word is
//! refused ([`ignored`], [`definitions`]). What the parser does not know either is taken out
//! of the tokens before: versions of tables ([`versions`]), partitions of new ones
//! ([`partitioned`]), their columns called `key` ([`columns`]), the stars of MERGE ([`merge`]), and statements about a table as a
//! whole ([`commands`], of which [`refresh`] plans one) or about models with names ([`models`], which also puts paths in
//! the place of these names). [`given`] finds tables that table functions name. [`relations`] and [`lateral`] plan TABLESAMPLE and `unnest` in FROM,
//! [`peers`] windows in an order that the planner does not know, and [`names`] lists the
//! fields of a struct when one is misspelt.

pub(crate) mod at;
mod changes;
mod choices;
mod columns;
mod commands;
mod definitions;
mod elements;
mod expand;
mod fields;
mod given;
mod ignored;
mod lateral;
mod merge;
mod models;
mod names;
mod parse;
mod partitioned;
mod partitions;
mod peers;
mod refresh;
mod relations;
mod select;
#[cfg(test)]
mod testing;
mod titles;
mod tokens;
mod version_clause;
mod versions;

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, SchemaError};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, VisitMut, VisitorMut,
};

pub use at::without_version;
pub(crate) use at::{At, milliseconds, split};
pub use changes::changes_something;
pub(crate) use changes::is_of_session;
pub(crate) use commands::{Action, NewColumn, TableCommand};
pub(crate) use lateral::UnnestBesideTables;
pub(crate) use models::{ModelAction, ModelCommand, NamedModels, Source, model_names};
pub(crate) use names::FieldNames;
pub(crate) use partitioned::PartitionedBy;
pub(crate) use peers::PeersOfAnyType;
pub(crate) use refresh::TableQuery;
pub(crate) use relations::Relations;

use crate::functions;
use parse::Parsed;
use titles::Titles;

/// Reads and checks one statement, and runs none of it.
pub(crate) async fn plan(state: SessionState, sql: &str) -> Result<LogicalPlan> {
    match parse::parse(&state, sql)? {
        Parsed::Command(command) => command.plan(&state).await,
        Parsed::Model(verb, query) => {
            models::plan(*verb, query.map(|query| *query), state).await
        }
        Parsed::Statement(statement, partitions) => {
            let described = commands::described(&statement, &state)?;
            let described = described.map(|name| (name, state.clone()));
            let plan = statement_to_plan(state, *statement).await?;
            if let Some((name, state)) = described
                && let Some(plan) = commands::of_stored(name, &state).await?
            {
                return Ok(plan);
            }
            match partitions {
                Some(columns) => partitioned::wrap(plan, columns),
                None => Ok(plan),
            }
        }
    }
}

/// Plans what the parser reads.
async fn statement_to_plan(
    mut state: SessionState,
    mut statement: Statement,
) -> Result<LogicalPlan> {
    partitions::unquote_columns(&mut statement);
    if let Some(sql) = functions::show_functions(&statement) {
        return state.create_logical_plan(&sql).await;
    }
    definitions::refuse(&statement)?;
    changes::check(&mut statement)?;
    ignored::refuse(&mut statement, &state)?;
    // Plans the source as it is written, so this comes before it is rewritten.
    merge::expand(&mut statement, &state).await?;
    elements::qualify(&mut statement)?;
    fields::rewrite(&mut statement)?;
    choices::rewrite(&mut statement)?;
    models::resolve(&mut statement, &state).await?;
    given::find(&mut statement, &mut state).await?;
    let stars = expand::Stars::mark(&mut statement, &mut state)?;
    let mut titles = Titles::Short;
    loop {
        let mut titled = statement.clone();
        titles::add(&mut titled, titles);
        let planned = state.statement_to_plan(titled).await;
        if stars.expand(&mut statement)? {
            continue;
        }
        match planned {
            // Names that we gave, and columns that * stands for: only the planner knows
            // that they clash.
            Err(error) if is_clash(&error) => match titles.plainer() {
                Some(plainer) => titles = plainer,
                None => return Err(error),
            },
            planned => return planned,
        }
    }
}

/// Whether two columns of one SELECT list have one name.
fn is_clash(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => {
            !matches!(error.as_ref(), SchemaError::FieldNotFound { .. })
        }
        error => error.to_string().contains("unique expression names"),
    }
}

/// Shows a statement's queries and expressions to a visitor.
fn visit<V>(statement: &mut Statement, visitor: &mut V) -> Result<()>
where
    V: VisitorMut<Break = DataFusionError>,
{
    let flow = match statement {
        Statement::Statement(statement) => statement.visit(visitor),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(visitor),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        Statement::Explain(explain) => return visit(&mut explain.statement, visitor),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {
            ControlFlow::Continue(())
        }
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A name as the planner looks for it.
fn normalized(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

/// A call of a function.
fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter();
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
