//! `FROM p, unnest(p.ls) AS ls` and `ls.label`, where `ls` is both a list and its element.
//!
//! The planner finds two columns of that name and asks which one is meant. A list has no
//! fields, so a dot behind the name means the element: `ls.label` becomes `ls.ls.label`.
//! `LATERAL` before `unnest` may be left out, and is.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectNamePart, Query,
    SetExpr, TableFactor, TableWithJoins, VisitorMut,
};

use super::{normalized, visit};

pub(super) fn qualify(statement: &mut Statement) -> Result<()> {
    visit(statement, &mut Elements::default())
}

/// The elements that are called as their lists are, of the queries around an expression.
#[derive(Default)]
struct Elements {
    names: Vec<Vec<String>>,
}

impl Elements {
    fn has(&self, name: &Ident) -> bool {
        let name = normalized(name);
        self.names.iter().flatten().any(|known| *known == name)
    }
}

impl VisitorMut for Elements {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        let names = match query.body.as_mut() {
            SetExpr::Select(select) => {
                for table in &mut select.from {
                    without_lateral(&mut table.relation);
                    for join in &mut table.joins {
                        without_lateral(&mut join.relation);
                    }
                }
                let joined = |table: &TableWithJoins| {
                    let joins = table.joins.iter().map(|join| &join.relation);
                    std::iter::once(&table.relation)
                        .chain(joins)
                        .filter_map(called_as_its_list)
                        .collect::<Vec<_>>()
                };
                select.from.iter().flat_map(joined).collect()
            }
            _ => vec![],
        };
        self.names.push(names);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<DataFusionError> {
        self.names.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        match expr {
            Expr::CompoundIdentifier(parts) => {
                if let [first, second, ..] = parts.as_slice()
                    && self.has(first)
                    && normalized(first) != normalized(second)
                {
                    parts.insert(1, first.clone());
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                if let Expr::Identifier(name) = root.as_ref()
                    && let Some(AccessExpr::Dot(Expr::Identifier(second))) =
                        access_chain.first()
                    && self.has(name)
                    && normalized(name) != normalized(second)
                {
                    let element = Expr::Identifier(name.clone());
                    access_chain.insert(0, AccessExpr::Dot(element));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Writes `LATERAL unnest(p.ls)` as `unnest(p.ls)`, which means the same. The parser takes
/// the first for a function that gives a table.
fn without_lateral(table: &mut TableFactor) {
    let TableFactor::Function {
        lateral: true,
        name,
        args,
        with_ordinality,
        alias,
    } = table
    else {
        return;
    };
    let is_unnest = matches!(name.0.as_slice(), [ObjectNamePart::Identifier(name)]
        if normalized(name) == "unnest");
    let lists = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(list)) => Some(list.clone()),
        _ => None,
    });
    if let (true, Some(array_exprs)) = (is_unnest, lists.collect()) {
        *table = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: *with_ordinality,
        };
    }
}

/// The alias of `unnest(p.ls) AS ls`.
fn called_as_its_list(table: &TableFactor) -> Option<String> {
    let TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        ..
    } = table
    else {
        return None;
    };
    let list = match array_exprs.as_slice() {
        [Expr::Identifier(name)] => name,
        [Expr::CompoundIdentifier(parts)] => parts.last()?,
        _ => return None,
    };
    let name = normalized(&alias.name);
    (alias.columns.is_empty() && normalized(list) == name).then_some(name)
}
