//! Windows over rows in an order that has no distances, such as that of BLOB values.
//!
//! A window that is ordered reaches, unless it says otherwise, from the first row to the
//! last one that is equal to the current one. The planner writes that as RANGE, and
//! refuses RANGE over types without distances, though such a window needs none: it is
//! the same as one of GROUPS.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

/// Lets windows be ordered by values of any type that can be sorted.
#[derive(Debug, Default)]
pub(crate) struct PeersOfAnyType;

impl AnalyzerRule for PeersOfAnyType {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::Window(window) = &plan else {
                return Ok(Transformed::no(plan));
            };
            let schema = std::sync::Arc::clone(window.input.schema());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|expr| by_groups(expr, &schema))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })
        })
        .map(|plan| plan.data)
    }

    fn name(&self) -> &'static str {
        "peers_of_any_type"
    }
}

fn by_groups(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(function) = &mut expr else {
        return Ok(Transformed::no(expr));
    };
    let params = &mut function.params;
    let frame = &mut params.window_frame;
    let has_no_distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => by.is_null(),
    };
    let is_plain = frame.units == WindowFrameUnits::Range
        && has_no_distance(&frame.start_bound)
        && has_no_distance(&frame.end_bound);
    let Some(first) = params.order_by.first().filter(|_| is_plain) else {
        return Ok(Transformed::no(expr));
    };
    if !lacks_distances(&first.expr.get_type(schema)?) {
        return Ok(Transformed::no(expr));
    }
    frame.units = WindowFrameUnits::Groups;
    Ok(Transformed::yes(expr))
}

/// Types that have an order and that the planner takes for RANGE in no way.
fn lacks_distances(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => lacks_distances(values),
        other => {
            matches!(
                other,
                DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
                    | DataType::FixedSizeBinary(_)
                    | DataType::Struct(_)
                    | DataType::Duration(_)
                    | DataType::Interval(_)
            )
        }
    }
}
