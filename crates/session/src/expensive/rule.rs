//! Finds expensive calls and gives them an operator of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atoll_udf_common::as_expensive;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{
    Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter,
};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::conditional::only_where_needed;
use super::node::ExpensiveNode;

/// Replaces every expensive call by a column of an [`ExpensiveNode`] below.
///
/// An analyzer rule and not an optimizer rule, because the optimizer already moves
/// and copies expressions.
#[derive(Debug, Default)]
pub(crate) struct ExtractExpensiveCalls;

impl AnalyzerRule for ExtractExpensiveCalls {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(extract)
            .map(|plan| plan.data)
    }

    fn name(&self) -> &'static str {
        "extract_expensive_calls"
    }
}

fn extract(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let Some(function) = first_expensive(&plan)? else {
        return Ok(Transformed::no(plan));
    };
    let supported = matches!(
        plan,
        LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Window(_)
    );
    if !supported {
        return plan_err!(
            "{function}() cannot be used in {}; call it in the SELECT list of a \
             subquery and use its result",
            plan.display()
                .to_string()
                .split([':', ' '])
                .next()
                .unwrap_or("this clause")
        );
    }
    let names = NamePreserver::new(&plan);
    let exprs = plan.expressions();
    let saved: Vec<_> = exprs.iter().map(|expr| names.save(expr)).collect();
    let mut input = plan.inputs()[0].clone();
    let exprs = exprs.into_iter();
    let mut exprs = exprs
        .map(|expr| only_where_needed(expr, input.schema()))
        .collect::<Result<Vec<_>>>()?;
    // A call whose argument is another call needs the other's column first.
    loop {
        let mut round = Round::default();
        exprs = exprs
            .into_iter()
            .map(|expr| expr.rewrite(&mut round).map(|expr| expr.data))
            .collect::<Result<_>>()?;
        if round.calls.is_empty() {
            break;
        }
        input = round.below(input)?;
    }
    let exprs = exprs
        .into_iter()
        .zip(saved)
        .map(|(expr, name)| name.restore(expr));
    let columns = plan.schema().columns();
    let rewritten = plan.with_new_exprs(exprs.collect(), vec![input])?;
    // A filter or sort passes its input on, which has grown by the calls' columns.
    if rewritten.schema().fields().len() == columns.len() {
        return Ok(Transformed::yes(rewritten));
    }
    let columns = columns.into_iter().map(Expr::Column).collect();
    let projection = Projection::try_new(columns, Arc::new(rewritten))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// The name of an expensive function that this node calls, if any.
fn first_expensive(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            if let Expr::ScalarFunction(call) = expr
                && as_expensive(&call.func).is_some()
            {
                found = Some(call.func.name().to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

pub(super) fn is_expensive(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if as_expensive(&call.func).is_some())
}

/// One layer of calls: those whose arguments hold no other call.
#[derive(Default)]
struct Round {
    calls: Vec<(Expr, String)>,
    arguments: Vec<Expr>,
}

/// Makes the names of a process unique, so that layers never clash.
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn unique(prefix: &str) -> String {
    format!("__{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl TreeNodeRewriter for Round {
    type Node = Expr;

    fn f_down(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(call) = &expr else {
            return Ok(Transformed::no(expr));
        };
        if as_expensive(&call.func).is_none() {
            return Ok(Transformed::no(expr));
        }
        for arg in &call.args {
            if arg.exists(|expr| Ok(is_expensive(expr)))? {
                return Ok(Transformed::no(expr));
            }
        }
        // Equal calls are one call: expensive functions are deterministic.
        let name = match self.calls.iter().find(|(seen, _)| *seen == expr) {
            Some((_, name)) => name.clone(),
            None => {
                let name = unique(call.func.name());
                self.calls.push((expr, name.clone()));
                name
            }
        };
        let column = Expr::Column(Column::new_unqualified(name));
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    }
}

impl Round {
    /// Puts this layer's operator on top of `input`.
    fn below(mut self, input: LogicalPlan) -> Result<LogicalPlan> {
        let calls = std::mem::take(&mut self.calls);
        let calls = calls
            .into_iter()
            .map(|(call, name)| Ok((self.with_plain_arguments(call)?, name)))
            .collect::<Result<Vec<_>>>()?;
        let input = if self.arguments.is_empty() {
            input
        } else {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            let exprs: Vec<_> = columns.chain(self.arguments).collect();
            LogicalPlanBuilder::from(input).project(exprs)?.build()?
        };
        let node = ExpensiveNode::try_new(calls, input)?;
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        }))
    }

    /// The column of an argument that another call has too, by which it is seen that both
    /// calls are about the same.
    fn computed(&self, argument: &Expr) -> Option<String> {
        let mut known = self.arguments.iter().filter_map(|known| match known {
            Expr::Alias(known) => Some(known),
            _ => None,
        });
        let found = known.find(|known| *known.expr == *argument);
        found
            .filter(|_| !argument.is_volatile())
            .map(|known| known.name.clone())
    }

    /// Computes arguments below the operator, where every kind of expression works.
    /// Constants become literals, so that functions can check them at plan time.
    fn with_plain_arguments(&mut self, call: Expr) -> Result<Expr> {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = call else {
            return plan_err!("not a function call: {call}");
        };
        let mut args = args.into_iter().map(folded).collect::<Result<Vec<_>>>()?;
        if let Some(function) = as_expensive(&func) {
            function.check(&args)?;
            args = function.settle(args)?;
        }
        let args = args.into_iter().map(|arg| match arg {
            plain @ (Expr::Column(_) | Expr::Literal(_, _)) => Ok(plain),
            computed => {
                let name = match self.computed(&computed) {
                    Some(name) => name,
                    None => {
                        let name = unique("argument");
                        self.arguments.push(computed.alias(&name));
                        name
                    }
                };
                Ok(Expr::Column(Column::new_unqualified(name)))
            }
        });
        let args = args.collect::<Result<_>>()?;
        Ok(Expr::ScalarFunction(ScalarFunction { func, args }))
    }
}

/// A constant such as `{resize: 'squash'}` as the literal that it is.
fn folded(arg: Expr) -> Result<Expr> {
    let constant = !arg.any_column_refs()
        && !arg.is_volatile()
        && !arg.contains_outer()
        && !arg.exists(|expr| Ok(is_subquery(expr)))?;
    if !constant {
        return Ok(arg);
    }
    ExprSimplifier::new(SimplifyContext::default()).simplify(arg)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
    )
}
