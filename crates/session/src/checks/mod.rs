//! Calls of `assert` and `error`, taken out of expressions and run for every row.
//!
//! The optimizer may leave out a column that nothing reads, and may join two filters,
//! the condition of one then being computed for rows that the other takes away. So a
//! call that stands by itself, in a WHERE or in a SELECT list, gets an operator of its
//! own, which no rule moves a filter across. A call inside another expression, such as
//! CASE, stays there and runs as that says.

mod exec;
mod node;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, lit};
use datafusion::optimizer::AnalyzerRule;

pub(crate) use exec::CheckExec;
pub(crate) use node::CheckNode;

/// Gives checks an operator of their own.
#[derive(Debug, Default)]
pub(crate) struct ExtractChecks;

impl AnalyzerRule for ExtractChecks {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(filter) => of_filter(filter),
            LogicalPlan::Projection(_) => of_projection(plan),
            plan => Ok(Transformed::no(plan)),
        })
        .map(|plan| plan.data)
    }

    fn name(&self) -> &'static str {
        "extract_checks"
    }
}

/// Checks the rows that the rest of the condition leaves.
fn of_filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let parts = split_conjunction_owned(filter.predicate.clone());
    let (checks, rest): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| value(part).is_some());
    if checks.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    // An error() as a condition is NULL, which no row passes; it ends the statement.
    let input = match conjunction(rest) {
        Some(rest) => Arc::new(LogicalPlan::Filter(Filter::try_new(rest, filter.input)?)),
        None => filter.input,
    };
    Ok(Transformed::yes(checked(checks, input)))
}

/// Checks the rows below, so that what is left is a constant that may go.
fn of_projection(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let mut checks = vec![];
    let exprs: Vec<Expr> = plan
        .expressions()
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            let call = expr.clone().unalias();
            match value(&call) {
                Some(value) => {
                    checks.push(call);
                    name.restore(lit(value))
                }
                None => expr,
            }
        })
        .collect();
    if checks.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let input = Arc::new(plan.inputs()[0].clone());
    let plan = plan.with_new_exprs(exprs, vec![checked(checks, input)])?;
    Ok(Transformed::yes(plan))
}

fn checked(checks: Vec<Expr>, input: Arc<LogicalPlan>) -> LogicalPlan {
    LogicalPlan::Extension(Extension {
        node: Arc::new(CheckNode { checks, input }),
    })
}

/// What a check gives for a row that passes it; nothing for any other expression.
fn value(expr: &Expr) -> Option<ScalarValue> {
    let Expr::ScalarFunction(call) = expr else {
        return None;
    };
    let value = atoll_udf_check::passed(&call.func)?;
    let has_subquery = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        ))
    });
    // Subqueries are planned in filters and SELECT lists only.
    (!has_subquery.unwrap_or(true)).then_some(value)
}
