//! The operator of a table function whose rows are computed while it is read.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::future::BoxFuture;
use tokio::sync::mpsc::Sender;

/// Rows that wait for the operators above.
const ROWS_AHEAD: usize = 64;

/// Computes rows and sends them.
pub type StartRows = dyn Fn(Arc<TaskContext>, Sender<Result<RecordBatch>>) -> BoxFuture<'static, Result<()>>
    + Send
    + Sync;

/// Rows of a function in one partition, as they come.
pub struct RowsExec {
    name: &'static str,
    /// What EXPLAIN shows.
    description: String,
    start: Arc<StartRows>,
    properties: Arc<PlanProperties>,
}

impl RowsExec {
    /// Rows with these columns; `start` is called when they are read.
    pub fn new(
        name: &'static str,
        description: String,
        schema: SchemaRef,
        start: Arc<StartRows>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            name,
            description,
            start,
            properties: Arc::new(properties),
        }
    }

    /// The columns that a scan asks for.
    pub fn projected(
        self,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let exec: Arc<dyn ExecutionPlan> = Arc::new(self);
        let Some(projection) = projection else {
            return Ok(exec);
        };
        let schema = exec.schema();
        let columns = projection.iter().map(|n| {
            let name = schema.field(*n).name().clone();
            Ok((col(&name, &schema)?, name))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(columns, exec)?))
    }
}

/// Without what it runs, which has no words.
impl Debug for RowsExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowsExec")
            .field("name", &self.name)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match kind {
            DisplayFormatType::TreeRender => write!(f, "{}", self.description),
            _ => write!(f, "{}: {}", self.name, self.description),
        }
    }
}

impl ExecutionPlan for RowsExec {
    fn name(&self) -> &'static str {
        self.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("{} takes no child", self.name),
        }
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut rows = RecordBatchReceiverStreamBuilder::new(self.schema(), ROWS_AHEAD);
        rows.spawn((self.start)(context, rows.tx()));
        Ok(rows.build())
    }
}
