//! `hp_choice([..])` over elements of different types.
//!
//! The planner makes one type of the elements of a list, and structs with other fields have
//! none. Only a domain takes a list alone, and does not need it to be one: it becomes a
//! struct, whose fields may be anything.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    DictionaryField, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    VisitorMut,
};

use super::visit;

pub(super) fn rewrite(statement: &mut Statement) -> Result<()> {
    visit(statement, &mut Choices)
}

struct Choices;

impl VisitorMut for Choices {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if let Expr::Function(call) = expr
            && call.name.to_string().eq_ignore_ascii_case("hp_choice")
            && let FunctionArguments::List(arguments) = &mut call.args
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] =
                arguments.args.as_mut_slice()
            && let Expr::Array(list) = argument
            && !list.elem.is_empty()
        {
            let elements = std::mem::take(&mut list.elem).into_iter().enumerate();
            let fields = elements.map(|(n, value)| DictionaryField {
                key: Ident::with_quote('\'', n.to_string()),
                value: Box::new(value),
            });
            *argument = Expr::Dictionary(fields.collect());
        }
        ControlFlow::Continue(())
    }
}
