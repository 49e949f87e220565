//! Plans the operators that are ours: the one that evaluates expensive calls, and the one
//! that checks rows.

use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::{Call, CallContext, Erased, as_expensive};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, internal_datafusion_err, internal_err};
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNode,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{
    DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner,
};

use crate::checks::{CheckExec, CheckNode};
use crate::cluster::{distribute, explain};
use crate::reads::{self, ReadFilesNode};
use crate::sql::PartitionedBy;

use super::exec::{ExpensiveExec, PhysicalCall};
use super::node::ExpensiveNode;

/// DataFusion's planner, which also knows [`ExpensiveNode`] and [`CheckNode`].
#[derive(Debug)]
pub(crate) struct AtollQueryPlanner;

#[async_trait]
impl QueryPlanner for AtollQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(
            ExpensivePlanner,
        )]);
        let plan = planner.create_physical_plan(logical_plan, session).await?;
        match logical_plan {
            LogicalPlan::Explain(_) => {
                explain(plan, logical_plan, session, &planner).await
            }
            _ => distribute(plan, logical_plan, session, &planner).await,
        }
    }
}

struct ExpensivePlanner;

#[async_trait]
impl ExtensionPlanner for ExpensivePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<CheckNode>() {
            let [input] = physical_inputs else {
                return internal_err!("Check takes one input");
            };
            let schema = node.input.schema();
            let checks = node.checks.iter().map(|check| {
                planner.create_physical_expr(check, schema, session, context)
            });
            let exec = CheckExec::new(checks.collect::<Result<_>>()?, Arc::clone(input));
            return Ok(Some(Arc::new(exec)));
        }
        if node.as_any().is::<PartitionedBy>() {
            let [input] = physical_inputs else {
                return internal_err!("PartitionedBy takes one input");
            };
            // Whoever writes the rows reads the columns from the logical plan.
            return Ok(Some(Arc::clone(input)));
        }
        if let Some(node) = node.as_any().downcast_ref::<ReadFilesNode>() {
            let [input] = physical_inputs else {
                return internal_err!("ReadFiles takes one input");
            };
            return reads::physical(node, input).map(Some);
        }
        let Some(node) = node.as_any().downcast_ref::<ExpensiveNode>() else {
            return Ok(None);
        };
        let [input] = physical_inputs else {
            return internal_err!("ExpensiveCalls takes one input");
        };
        let state = session.as_any().downcast_ref::<SessionState>();
        let state =
            state.ok_or_else(|| internal_datafusion_err!("not a session state"))?;
        let schema = node.input.schema();
        let mut calls = Vec::with_capacity(node.calls.len());
        for (call, name) in &node.calls {
            let (prepared, args) = prepare(call, schema, state).await?;
            let args = args
                .iter()
                .map(|arg| planner.create_physical_expr(arg, schema, session, context))
                .collect::<Result<_>>()?;
            calls.push(PhysicalCall {
                args,
                name: name.clone(),
                ..prepared
            });
        }
        let source = match &node.source {
            Some(Expr::Column(column)) => schema.maybe_index_of_column(column),
            _ => None,
        };
        let exec = ExpensiveExec::try_new(calls, source, Arc::clone(input))?;
        exec.join(&CallContext::of(state.config())).await?;
        Ok(Some(Arc::new(exec)))
    }
}

/// Lets the function check the call; physical arguments are filled in by the caller.
async fn prepare<'a>(
    call: &'a Expr,
    schema: &DFSchema,
    session: &SessionState,
) -> Result<(PhysicalCall, &'a [Expr])> {
    let Expr::ScalarFunction(function) = call else {
        return internal_err!("not a function call: {call}");
    };
    let Some(expensive) = as_expensive(&function.func) else {
        return internal_err!("{} is not expensive", function.func.name());
    };
    let arg_fields: Vec<FieldRef> = function
        .args
        .iter()
        .map(|arg| arg.to_field(schema).map(|(_, field)| field))
        .collect::<Result<_>>()?;
    let (_, return_field) = call.to_field(schema)?;
    let call = Call {
        args: &Erased::new(function.args.clone()),
        arg_fields: &arg_fields,
        return_field: &return_field,
        session: &Erased::new(session.clone()),
    };
    let prepared = expensive.prepare(&call).await?;
    let call = PhysicalCall {
        function: function.func.name().to_string(),
        name: String::new(),
        prepared,
        args: vec![],
        arg_fields,
        return_field,
        grain: expensive.grain(),
        shipped: None,
    };
    Ok((call, &function.args))
}
