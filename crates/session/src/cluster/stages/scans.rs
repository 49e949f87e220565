//! Scans as rows, so that a plan is cut by them like by rows in memory.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BinaryArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion_proto::bytes::physical_plan_from_bytes_with_extension_codec;
use futures::{StreamExt, TryStreamExt, stream};

use super::size::FilesRead;
use crate::cluster::runtime::encode_plan;
use crate::cluster::wire::PlanCodec;

/// Runs the scans that its rows are.
///
/// Whoever cuts a plan cuts rows in memory by partition, and knows no scan of ours.
#[derive(Debug)]
pub(in crate::cluster) struct ScansExec {
    input: Arc<dyn ExecutionPlan>,
    /// What the scans read, where they are cut.
    pub(super) files: FilesRead,
    properties: Arc<PlanProperties>,
}

impl ScansExec {
    pub(in crate::cluster) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            files: FilesRead::default(),
            properties: Arc::new(properties),
        }
    }

    /// Puts it in the place of each scan of `read_blob`.
    pub(super) fn in_place(
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let Some(scans) = partitions(&node) else {
                return Ok(Transformed::no(node));
            };
            let scan = Field::new("scan", DataType::Binary, false);
            let schema = Arc::new(Schema::new(vec![scan]));
            let rows = scans.into_iter().map(|scan| {
                let scan = BinaryArray::from_iter_values([encode_plan(scan)?]);
                let row =
                    RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(scan)])?;
                Ok(vec![row])
            });
            let rows = rows.collect::<Result<Vec<_>>>()?;
            let rows = MemorySourceConfig::try_new_exec(&rows, schema, None)?;
            let scans = Self {
                files: FilesRead::of(&node)?,
                ..Self::new(rows, node.schema())
            };
            Ok(Transformed::yes(Arc::new(scans) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(plan.data)
    }
}

/// The partitions of a scan of files, each as a scan of its own.
fn partitions(scan: &Arc<dyn ExecutionPlan>) -> Option<Vec<Arc<dyn ExecutionPlan>>> {
    let partitions = 0..scan.output_partitioning().partition_count();
    let alone = |partition| {
        let files = atoll_udf_blob::file_sizes(scan.as_ref(), partition)?.len();
        atoll_udf_blob::scan_piece(scan.as_ref(), partition, 0..files)
    };
    partitions.map(alone).collect()
}

impl DisplayAs for ScansExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ScansExec: read_blob, {}", self.files)
    }
}

impl ExecutionPlan for ScansExec {
    fn name(&self) -> &'static str {
        "ScansExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (1, Some(input)) = (children.len(), children.pop()) else {
            return internal_err!("ScansExec takes one child");
        };
        Ok(Arc::new(Self {
            files: self.files,
            ..Self::new(input, self.schema())
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let scans = self.input.execute(partition, Arc::clone(&context))?;
        let rows = scans
            .map(move |batch| {
                let batch = batch?;
                let Some(scans) = batch.column(0).as_binary_opt::<i32>() else {
                    return internal_err!("a scan that is no bytes");
                };
                let codec = PlanCodec { calls: None };
                let rows = scans.iter().flatten().map(|scan| {
                    let scan = physical_plan_from_bytes_with_extension_codec(
                        scan, &context, &codec,
                    )?;
                    scan.execute(0, Arc::clone(&context))
                });
                let rows = rows.collect::<Vec<Result<_>>>();
                Ok::<_, DataFusionError>(stream::iter(rows).try_flatten())
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
