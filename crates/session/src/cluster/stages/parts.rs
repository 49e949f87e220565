//! Reads what tasks of earlier stages left.

use std::fmt::{self, Formatter};
use std::io::Cursor;
use std::sync::Arc;

use atoll_udf_common::Location;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;

use super::Range;

/// Ranges that are fetched while the ones before them are read.
const RANGES_AHEAD: usize = 4;

/// Reads ranges of the storage, in their order: the same rows in the same order each time.
#[derive(Debug)]
pub struct PartsExec {
    /// The folder of the statement.
    pub(crate) folder: String,
    /// The ranges of each partition.
    pub(crate) partitions: Vec<Vec<Range>>,
    /// Whether each partition is the first one: rows that every task reads whole.
    pub(crate) is_broadcast: bool,
    properties: Arc<PlanProperties>,
    schema: SchemaRef,
}

impl PartsExec {
    /// Reads `partitions` of the folder of a statement.
    pub fn new(
        folder: &str,
        schema: SchemaRef,
        partitions: Vec<Vec<Range>>,
        is_broadcast: bool,
        partitioning: Partitioning,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            folder: folder.to_string(),
            partitions,
            is_broadcast,
            properties: Arc::new(properties),
            schema,
        }
    }

    /// All ranges as one partition, one after the other.
    pub fn in_one(&self) -> Self {
        let all = match self.is_broadcast {
            true => self.partitions.first().cloned().unwrap_or_default(),
            false => self.partitions.concat(),
        };
        let partitioning = Partitioning::UnknownPartitioning(1);
        let schema = Arc::clone(&self.schema);
        Self::new(&self.folder, schema, vec![all], false, partitioning)
    }

    /// The ranges that a partition reads.
    pub fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.partitions.iter().flatten()
    }
}

impl DisplayAs for PartsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "PartsExec: ranges={}", self.ranges().count())
    }
}

impl ExecutionPlan for PartsExec {
    fn name(&self) -> &'static str {
        "PartsExec"
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
            false => internal_err!("PartsExec takes no children"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partition = if self.is_broadcast { 0 } else { partition };
        let ranges = self.partitions.get(partition).cloned().unwrap_or_default();
        let folder = Location::parse(&self.folder)?;
        let rows = stream::iter(ranges)
            .map(move |range| {
                let folder = folder.clone();
                async move {
                    let rows = read(&folder, &range).await?;
                    Ok::<_, DataFusionError>(stream::iter(rows.into_iter().map(Ok)))
                }
            })
            .buffered(RANGES_AHEAD)
            .try_flatten();
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The rows of a range: one Arrow IPC stream after another.
async fn read(folder: &Location, range: &Range) -> Result<Vec<RecordBatch>> {
    let object = folder.join(&range.object)?;
    let bytes = object.store.get_range(&object.path, range.start..range.end);
    let bytes = bytes.await.map_err(|error| object.error(error))?;
    let mut cursor = Cursor::new(bytes.as_ref());
    let mut rows = vec![];
    while cursor.position() < bytes.len() as u64 {
        let mut reader = StreamReader::try_new(&mut cursor, None)?;
        for batch in reader.by_ref() {
            rows.push(batch?);
        }
    }
    let found: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if found as u64 != range.rows {
        return exec_err!(
            "{object} holds {found} rows where {} were left; run the statement again and \
             report this",
            range.rows
        );
    }
    Ok(rows)
}
