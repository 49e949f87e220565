//! Names for columns that the statement does not name.
//!
//! The planner calls `t.status` `trials.t[status]`, and `train(..)` by the whole call
//! with all its hyperparameters. Here a field's column is named after the field, as in
//! DuckDB and BigQuery, and a call of a function that trains or infers after the
//! function, as in PostgreSQL. Where that would name two columns alike, fields are named by their path,
//! `t.status`, and what then is not unique keeps the planner's name.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use atoll_udf_common::as_expensive;
use datafusion::common::DataFusionError;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, ObjectName, OrderBy, OrderByKind, Query, Select, SelectItem,
    SetExpr, TableFactor, TableWithJoins, VisitorMut,
};

use super::{fields, normalized, visit};
use crate::functions;

/// How fields are named.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Titles {
    /// After themselves.
    Short,
    /// By their path where there is a `*`, which may stand for a column of their name.
    PathsBesideStars,
    /// As the planner does.
    None,
}

impl Titles {
    /// What clashes less.
    pub(super) fn plainer(self) -> Option<Self> {
        match self {
            Self::Short => Some(Self::PathsBesideStars),
            Self::PathsBesideStars => Some(Self::None),
            Self::None => None,
        }
    }
}

pub(super) fn add(statement: &mut Statement, titles: Titles) {
    if titles != Titles::None {
        // It breaks off nowhere.
        let _ = visit(statement, &mut Adder { titles });
    }
}

/// Functions whose calls are long: those that train and infer, and those that check.
static OWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let functions = functions::scalar_functions();
    functions
        .iter()
        .filter(|function| {
            as_expensive(function).is_some()
                || atoll_udf_check::passed(function).is_some()
        })
        .map(|function| function.name().to_string())
        .collect()
});

struct Adder {
    titles: Titles,
}

impl VisitorMut for Adder {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let is_star = |item: &SelectItem| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        };
        let paths = self.titles == Titles::PathsBesideStars
            && select.projection.iter().any(is_star);
        add_to(select, paths);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && matches!(select.distinct, Some(Distinct::Distinct))
            && let Some(order_by) = &mut query.order_by
        {
            order_by_titles(&select.projection, order_by);
        }
        ControlFlow::Continue(())
    }
}

/// Sorts distinct rows by their columns: what these are computed from is gone by then.
fn order_by_titles(items: &[SelectItem], order_by: &mut OrderBy) {
    let OrderByKind::Expressions(exprs) = &mut order_by.kind else {
        return;
    };
    for sort in exprs {
        let same = items.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if *expr == sort.expr => {
                Some(alias.clone())
            }
            _ => None,
        });
        if let Some(alias) = same {
            sort.expr = Expr::Identifier(alias);
        }
    }
}

fn add_to(select: &mut Select, paths: bool) {
    let tables = relation_names(&select.from);
    let items = &mut select.projection;
    let short: Vec<Option<String>> = items.iter().map(name).collect();
    let mut names: Vec<Option<String>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let is_given =
            !matches!(item, SelectItem::UnnamedExpr(expr) if title(expr).is_some());
        let taken = |name: &Option<String>| {
            let others = short
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index);
            name.is_some() && others.map(|(_, other)| other).any(|other| other == name)
        };
        let name = match item {
            _ if is_given => None,
            _ if !paths && !taken(&short[index]) => short[index].clone(),
            SelectItem::UnnamedExpr(expr) => {
                path(expr, &tables).filter(|path| !names.contains(&Some(path.clone())))
            }
            _ => None,
        };
        names.push(name);
    }
    for (item, name) in items.iter_mut().zip(names) {
        if let (SelectItem::UnnamedExpr(expr), Some(name)) = (&*item, name) {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', name),
            };
        }
    }
}

/// What a column is called, as far as the statement tells.
fn name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normalized(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(normalized(name)),
        SelectItem::UnnamedExpr(expr) => title(expr),
        _ => None,
    }
}

/// The name that we give to an expression.
fn title(expr: &Expr) -> Option<String> {
    match expr {
        Expr::CompoundIdentifier(names) => names.last().map(normalized),
        Expr::CompoundFieldAccess { access_chain, .. } => {
            let last = access_chain.last().and_then(fields::field)?;
            Some(normalized(&last))
        }
        Expr::Function(call) if call.over.is_none() => {
            let [name] = call.name.0.as_slice() else {
                return None;
            };
            let name = normalized(name.as_ident()?);
            OWN.contains(&name).then_some(name)
        }
        Expr::Nested(inner) => title(inner),
        Expr::Cast { expr, .. } => match expr.as_ref() {
            Expr::CompoundFieldAccess { .. } | Expr::CompoundIdentifier(_) => title(expr),
            _ => None,
        },
        _ => None,
    }
}

/// `t.history[1].loss`; nothing for the column of a table, which the planner tells from
/// others of its name.
fn path(expr: &Expr, tables: &[Vec<String>]) -> Option<String> {
    match expr {
        Expr::CompoundIdentifier(names) => {
            let names: Vec<String> = names.iter().map(normalized).collect();
            let (_, table) = names.split_last()?;
            let is_column = tables.iter().any(|name| name.ends_with(table));
            (!is_column).then(|| names.join("."))
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut path = match root.as_ref() {
                Expr::Identifier(name) => normalized(name),
                root => path(root, tables).or_else(|| title(root))?,
            };
            for access in access_chain {
                match fields::field(access) {
                    Some(field) => path.extend([".", &normalized(&field)]),
                    None => path.push_str(&access.to_string()),
                }
            }
            Some(path)
        }
        Expr::Nested(inner) => path(inner, tables),
        Expr::Cast { expr, .. } => path(expr, tables),
        _ => None,
    }
}

/// What the tables of a FROM are called, each name in its parts.
pub(super) fn relation_names(from: &[TableWithJoins]) -> Vec<Vec<String>> {
    let mut names = Vec::new();
    for table in from {
        add_relation_names(table, &mut names);
    }
    names
}

fn add_relation_names(table: &TableWithJoins, names: &mut Vec<Vec<String>>) {
    let joined = table.joins.iter().map(|join| &join.relation);
    for factor in [&table.relation].into_iter().chain(joined) {
        let parts = |name: &ObjectName| {
            let parts = name.0.iter().filter_map(|part| part.as_ident());
            parts.map(normalized).collect::<Vec<_>>()
        };
        let (alias, name) = match factor {
            TableFactor::Table { name, alias, .. } => (alias, Some(parts(name))),
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => {
                add_relation_names(table_with_joins, names);
                continue;
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => (alias, None),
            _ => continue,
        };
        match (alias, name) {
            (Some(alias), _) => names.push(vec![normalized(&alias.name)]),
            (None, Some(name)) => names.push(name),
            (None, None) => {}
        }
    }
}
