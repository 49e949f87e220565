//! `.field` after any expression.
//!
//! The planner knows `t.status` and `labels[1]['label']`, and not `labels[1].label` or
//! `train(..).status`. The latter become the former.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, Subscript, Value, VisitorMut,
};

use super::{normalized, visit};

pub(super) fn rewrite(statement: &mut Statement) -> Result<()> {
    visit(statement, &mut Fields)
}

/// `['field']`
pub(super) fn subscript(field: String) -> AccessExpr {
    let index = Expr::Value(Value::SingleQuotedString(field).into());
    AccessExpr::Subscript(Subscript::Index { index })
}

/// The field that an access names.
pub(super) fn field(access: &AccessExpr) -> Option<Ident> {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(name.clone()),
        AccessExpr::Subscript(Subscript::Index {
            index: Expr::Value(value),
        }) => match &value.value {
            Value::SingleQuotedString(name) => Some(Ident::with_quote('"', name)),
            _ => None,
        },
        _ => None,
    }
}

struct Fields;

impl VisitorMut for Fields {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        let Expr::CompoundFieldAccess { root, access_chain } = expr else {
            return ControlFlow::Continue(());
        };
        // `schema.table.column[1]`: what is in front of the first bracket is a column.
        let is_name = matches!(root.as_ref(), Expr::Identifier(_));
        let of_column = match is_name {
            true => access_chain
                .iter()
                .take_while(|access| is_dot(access))
                .count(),
            false => 0,
        };
        for access in access_chain.iter_mut().skip(of_column) {
            match access {
                AccessExpr::Dot(Expr::Identifier(name)) => {
                    *access = subscript(normalized(name));
                }
                AccessExpr::Dot(other) => {
                    return ControlFlow::Break(plan_datafusion_err!(
                        "a dot is followed by the name of a field, got {other}"
                    ));
                }
                AccessExpr::Subscript(_) => {}
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_dot(access: &AccessExpr) -> bool {
    matches!(access, AccessExpr::Dot(Expr::Identifier(_)))
}
