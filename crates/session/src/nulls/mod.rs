//! NULL of a struct, list or map is NULL for everything inside it.
//!
//! Arrow keeps the NULLs of a struct beside its fields, which may have values there:
//! `CASE` and `nullif` only add NULLs to what they are given. DataFusion's `get_field` and
//! `unnest` read the fields and not the NULLs of the struct, and `array_append` reads the
//! elements of a list that is NULL.
//!
//! [`Field`] takes the place of `get_field` and heeds the NULLs of whatever it looks into,
//! wherever that came from. What `CASE`, `nullif` and their kind give, and what `unnest`
//! takes apart, goes through [`Emptied`], after which nothing is left below a NULL.
//! [`narrow`] has scans read the fields that are used and no others, which they do by
//! themselves only for DataFusion's function.

mod emptied;
mod field;
mod kernels;
mod map;
mod narrow;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, ScalarUDF, Unnest,
};
use datafusion::optimizer::AnalyzerRule;

use emptied::{EMPTIED, emptied};

pub(crate) use emptied::by_name;
pub(crate) use narrow::FieldsOfScans;

/// The functions that take the place of DataFusion's.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [field::get_field(), map::map_extract()]
}

/// Puts [`Field`](field::Field) and [`Emptied`](emptied::Emptied) where they are needed.
#[derive(Debug, Default)]
pub(crate) struct NullsReachInside;

impl AnalyzerRule for NullsReachInside {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut has_new_types = false;
        plan.transform_up_with_subqueries(|plan| {
            let of_structs = match plan {
                LogicalPlan::Unnest(unnest) if !unnest.struct_type_columns.is_empty() => {
                    has_new_types = true;
                    Transformed::yes(of_unnest(unnest)?)
                }
                plan => Transformed::no(plan),
            };
            let inside = of_structs.transform_data(in_expressions)?;
            match has_new_types {
                // A field that could not be NULL can be.
                true => inside.map_data(LogicalPlan::recompute_schema),
                false => Ok(inside),
            }
        })
        .map(|plan| plan.data)
    }

    fn name(&self) -> &'static str {
        "nulls_reach_inside"
    }
}

/// Takes apart structs whose fields are NULL where they are.
fn of_unnest(unnest: Unnest) -> Result<LogicalPlan> {
    let structs = &unnest.struct_type_columns;
    let columns = unnest.input.schema().columns().into_iter().enumerate();
    let exprs = columns.map(|(at, column)| match structs.contains(&at) {
        true => {
            let (relation, name) = (column.relation.clone(), column.name.clone());
            emptied::with_nullable_fields(Expr::Column(column))
                .alias_qualified(relation, name)
        }
        false => Expr::Column(column),
    });
    let input = Projection::try_new(exprs.collect(), unnest.input)?;
    LogicalPlanBuilder::from(LogicalPlan::Projection(input))
        .unnest_columns_with_options(unnest.exec_columns, unnest.options)?
        .build()
}

fn in_expressions(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    // Types are asked for where something may be left, which is rare.
    let schema = match has_expression(&plan, may_leave_rests)? {
        true => merge_schema(&plan.inputs()),
        false => DFSchema::empty(),
    };
    plan.map_expressions(|expr| expr.transform_up(|expr| in_expression(expr, &schema)))
}

fn in_expression(expr: Expr, schema: &dyn ExprSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarFunction(call) if field::is_datafusions(&call.func) => {
            Transformed::yes(Expr::ScalarFunction(field::ours(call)))
        }
        // A plan may be analyzed again, as that of a view is.
        Expr::ScalarFunction(call) if is_emptied_twice(&call) => {
            Transformed::yes(call.args.into_iter().next().unwrap_or_default())
        }
        expr if may_leave_rests(&expr) => match expr.get_type(schema) {
            Ok(data_type) if data_type.is_nested() => Transformed::yes(emptied(expr)),
            _ => Transformed::no(expr),
        },
        expr => Transformed::no(expr),
    })
}

/// Whether an operator has an expression of a kind.
fn has_expression(plan: &LogicalPlan, is_one: fn(&Expr) -> bool) -> Result<bool> {
    let mut has_one = false;
    plan.apply_expressions(|expr| {
        has_one |= expr.exists(|expr| Ok(is_one(expr)))?;
        Ok(match has_one {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(has_one)
}

fn is_emptied_twice(call: &ScalarFunction) -> bool {
    let is_emptied = |call: &ScalarFunction| call.func.name() == EMPTIED;
    let inner = call.args.first();
    let is_inner =
        |arg: &Expr| matches!(arg, Expr::ScalarFunction(call) if is_emptied(call));
    is_emptied(call) && inner.is_some_and(is_inner)
}

/// Whether an expression gives values that it was given, with more NULLs.
fn may_leave_rests(expr: &Expr) -> bool {
    match expr {
        Expr::Case(_) => true,
        // `coalesce`, `nvl` and `nvl2` become CASE.
        Expr::ScalarFunction(call) => {
            call.func.short_circuits() || call.func.name() == "nullif"
        }
        _ => false,
    }
}
