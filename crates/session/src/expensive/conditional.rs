//! Calls in the branches of CASE and COALESCE run for the rows of their branch.
//!
//! A call becomes a column, which has a value for every row. So one of the arguments of a
//! call in a branch becomes NULL for the rows of other branches: NULL in is NULL out, and
//! costs nothing.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Case, Expr, ExprSchemable};

use super::rule::is_expensive;

/// Functions that evaluate an argument only where all before are NULL.
const FIRST_THERE: [&str; 3] = ["coalesce", "nvl", "ifnull"];

/// Rewrites the calls in branches, innermost first.
pub(super) fn only_where_needed(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewritten = expr.transform_up(|expr| match expr {
        Expr::Case(case) => cases(case, schema).map(Transformed::yes),
        Expr::ScalarFunction(call) if call.func.short_circuits() => {
            first_there(call, schema).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

fn cases(case: Case, schema: &DFSchema) -> Result<Expr> {
    let operand = case.expr;
    // The branches before, for whose rows a later one is not evaluated.
    let mut before: Vec<(Box<Expr>, Box<Expr>)> = vec![];
    for (when, then) in case.when_then_expr {
        // An argument where no branch before is taken and, maybe, this one is.
        let here = |argument: Expr, taken: Option<&Expr>| -> Result<Expr> {
            let null = null_of(&argument, schema)?;
            let earlier = before.iter().map(|(when, _)| (when.clone(), null.clone()));
            let mut pairs: Vec<_> = earlier.collect();
            let mut last = Some(Box::new(argument));
            if let Some((when, argument)) = taken.zip(last.take_if(|_| taken.is_some())) {
                pairs.push((Box::new(when.clone()), argument));
            }
            Ok(Expr::Case(Case::new(operand.clone(), pairs, last)))
        };
        let when = match before.is_empty() {
            // Evaluated for every row.
            true => *when,
            false => masked(*when, &|argument| here(argument, None))?,
        };
        let then = masked(*then, &|argument| here(argument, Some(&when)))?;
        before.push((Box::new(when), Box::new(then)));
    }
    let last = case.else_expr.map(|last| {
        masked(*last, &|argument| {
            let null = null_of(&argument, schema)?;
            let pairs = before.iter().map(|(when, _)| (when.clone(), null.clone()));
            let argument = Some(Box::new(argument));
            Ok(Expr::Case(Case::new(
                operand.clone(),
                pairs.collect(),
                argument,
            )))
        })
    });
    let last = last.transpose()?.map(Box::new);
    Ok(Expr::Case(Case::new(operand, before, last)))
}

fn first_there(call: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
    if !FIRST_THERE.contains(&call.func.name()) {
        let sometimes = call.func.inner().conditional_arguments(&call.args);
        for argument in sometimes.map(|(_, some)| some).unwrap_or_default() {
            if argument.exists(|expr| Ok(is_expensive(expr)))? {
                return refuse(call.func.name());
            }
        }
        return Ok(Expr::ScalarFunction(call));
    }
    let mut args: Vec<Expr> = vec![];
    for arg in call.args {
        let is_there = args.iter().map(|arg| arg.clone().is_not_null());
        let arg = match is_there.reduce(Expr::or) {
            None => arg,
            Some(is_there) => masked(arg, &|argument| {
                let pair = (Box::new(is_there.clone()), null_of(&argument, schema)?);
                let argument = Some(Box::new(argument));
                Ok(Expr::Case(Case::new(None, vec![pair], argument)))
            })?,
        };
        args.push(arg);
    }
    let func = call.func;
    Ok(Expr::ScalarFunction(ScalarFunction { func, args }))
}

/// A branch whose expensive calls have an argument that `here` makes NULL for the rows of
/// other branches.
fn masked(branch: Expr, here: &dyn Fn(Expr) -> Result<Expr>) -> Result<Expr> {
    let rewritten = branch.transform_up(|expr| {
        if !is_expensive(&expr) {
            return Ok(Transformed::no(expr));
        }
        let Expr::ScalarFunction(mut call) = expr else {
            return Ok(Transformed::no(expr));
        };
        let place = call
            .args
            .iter()
            .position(|arg| varies(arg) && !is_struct(arg));
        let place = place.or_else(|| call.args.iter().position(varies));
        let Some(place) = place else {
            return refuse(call.func.name());
        };
        let argument = std::mem::take(&mut call.args[place]);
        call.args[place] = here(argument)?;
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    })?;
    Ok(rewritten.data)
}

fn varies(argument: &Expr) -> bool {
    argument.any_column_refs()
}

/// Whether the keys of an argument are looked at when the statement is planned.
fn is_struct(argument: &Expr) -> bool {
    let name = match argument {
        Expr::ScalarFunction(call) => call.func.name(),
        _ => return false,
    };
    name == "named_struct"
}

fn refuse<T>(function: &str) -> Result<T> {
    plan_err!(
        "{function}() inside CASE or COALESCE has no argument that depends on the row, so \
         that it would run for every row; filter the rows with WHERE in a subquery first"
    )
}

fn null_of(argument: &Expr, schema: &DFSchema) -> Result<Box<Expr>> {
    let null = ScalarValue::try_from(&argument.get_type(schema)?)?;
    Ok(Box::new(Expr::Literal(null, None)))
}
