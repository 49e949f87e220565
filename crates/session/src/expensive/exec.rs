//! The operator that runs expensive calls on the compute pool.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use atoll_udf_common::{CallContext, Grain, Inference, PreparedCall, as_many_rows};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

use super::joined::Joined;
use super::stream::{ExpensiveStream, Work};

/// One call, planned.
#[derive(Debug, Clone)]
pub(crate) struct PhysicalCall {
    /// The SQL name of the function.
    pub(crate) function: String,
    /// The name of the column it makes.
    pub(crate) name: String,
    pub(crate) prepared: Arc<dyn PreparedCall>,
    pub(crate) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) arg_fields: Vec<FieldRef>,
    pub(crate) return_field: FieldRef,
    /// How a cluster deals the rows.
    pub(crate) grain: Grain,
    /// What an executor needs beyond the arguments, once that is where it can find it.
    pub(crate) shipped: Option<Vec<u8>>,
}

/// The rows of `input` in their order, with one more column for each call.
///
/// Rows of several record batches are with the compute pool at once, so a slow row
/// holds up neither the rows behind it nor a core.
#[derive(Debug)]
pub(crate) struct ExpensiveExec {
    calls: Vec<PhysicalCall>,
    /// The input column that names a row's file, for error messages.
    source: Option<usize>,
    input: Arc<dyn ExecutionPlan>,
    joined: Arc<Joined>,
    properties: Arc<PlanProperties>,
}

impl ExpensiveExec {
    pub(crate) fn try_new(
        calls: Vec<PhysicalCall>,
        source: Option<usize>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        Self::with_joined(calls, source, input, Arc::default())
    }

    fn with_joined(
        calls: Vec<PhysicalCall>,
        source: Option<usize>,
        input: Arc<dyn ExecutionPlan>,
        joined: Arc<Joined>,
    ) -> Result<Self> {
        let mut fields = input.schema().fields().to_vec();
        fields.extend(calls.iter().map(|call| {
            let field = call.return_field.as_ref().clone();
            Arc::new(field.with_name(&call.name).with_nullable(true))
        }));
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let mut equivalences = EquivalenceProperties::new(schema);
        if let Some(ordering) = input.output_ordering() {
            // Input columns keep their place, so their ordering holds as it is.
            equivalences.add_ordering(ordering.clone());
        }
        let properties = Arc::new(PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Ok(Self {
            calls,
            source,
            input,
            joined,
            properties,
        })
    }

    /// Joins the calls that are made of the same work.
    pub(crate) async fn join(&self, context: &CallContext) -> Result<()> {
        self.joined.groups(&self.calls, context).await.map(drop)
    }
}

impl ExpensiveExec {
    pub(crate) fn calls(&self) -> &[PhysicalCall] {
        &self.calls
    }

    pub(crate) fn source(&self) -> Option<usize> {
        self.source
    }

    /// The finest grain of its calls.
    pub(crate) fn grain(&self) -> Grain {
        let grains = self.calls.iter().map(|call| call.grain);
        grains.max().unwrap_or(Grain::Groups)
    }

    /// The same calls over `input`, ready to be sent to another process.
    pub(crate) async fn shipped(
        &self,
        input: Arc<dyn ExecutionPlan>,
        context: &CallContext,
    ) -> Result<Self> {
        let mut calls = self.calls.clone();
        for call in &mut calls {
            call.shipped = Some(call.prepared.ship(context).await?);
        }
        Self::with_joined(calls, self.source, input, Arc::clone(&self.joined))
    }
}

impl DisplayAs for ExpensiveExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let calls = self.calls.iter().map(|call| {
            let args: Vec<_> = call.args.iter().map(ToString::to_string).collect();
            format!("{}({})", call.function, args.join(", "))
        });
        let calls = calls.collect::<Vec<_>>().join(", ");
        match kind {
            DisplayFormatType::TreeRender => write!(f, "{calls}"),
            _ => {
                write!(f, "ExpensiveExec: calls=[{calls}]{}", self.joined)?;
                // All calls of a statement have the settings of its session.
                let mut engines = self
                    .calls
                    .iter()
                    .filter_map(|call| call.prepared.inference());
                match engines.find(|engine| *engine != Inference::default()) {
                    Some(engine) => write!(f, ", inference={engine}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl ExecutionPlan for ExpensiveExec {
    fn name(&self) -> &'static str {
        "ExpensiveExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// The pool spreads the rows; more partitions would only shuffle them.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for arg in self.calls.iter().flat_map(|call| &call.args) {
            if f(arg)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (1, Some(input)) = (children.len(), children.pop()) else {
            return internal_err!("ExpensiveExec takes one child");
        };
        Ok(Arc::new(Self::with_joined(
            self.calls.clone(),
            self.source,
            input,
            Arc::clone(&self.joined),
        )?))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// A row in is a row out; nothing is known of the new columns.
    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(as_many_rows(&self.schema(), inputs))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let memory = MemoryConsumer::new(format!("ExpensiveExec[{partition}]"));
        let memory = memory.register(context.memory_pool());
        let call_context = CallContext::of(context.session_config());
        let rescue = call_context.rescue.clone().map(|rescue| {
            let operator = rescue.operator();
            (rescue, operator)
        });
        let work = Work {
            calls: self.calls.clone(),
            joined: Arc::clone(&self.joined),
            source: self.source,
            schema: self.schema(),
            options: Arc::clone(context.session_config().options()),
            context: call_context,
            rescue,
        };
        Ok(Box::pin(ExpensiveStream::new(input, work, memory)))
    }
}
