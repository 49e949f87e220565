//! The physical plan of a table function: streams, with rows that are known before.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
    SchedulingType,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};

use crate::read_blob::Share;

/// One stream of a [`ScanExec`] and how many rows it gives.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) stream: Arc<dyn PartitionStream>,
    pub(crate) rows: Precision<usize>,
}

/// Reads the parts of a table function's table.
///
/// DataFusion's own plan for streams knows no row counts, and without them
/// `count(*)` would read every file.
#[derive(Debug)]
pub(crate) struct ScanExec {
    /// The files behind the parts, where an executor could read them by itself.
    files: Option<Arc<[Share]>>,
    /// What the plan shows, such as `ReadBlobExec: files=9`.
    label: String,
    parts: Vec<Part>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    pub(crate) fn new(label: String, schema: SchemaRef, parts: Vec<Part>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = properties.with_scheduling_type(SchedulingType::Cooperative);
        Self {
            files: None,
            label,
            parts,
            properties: Arc::new(properties),
        }
    }
}

impl ScanExec {
    /// The same over files, a share of them in each partition.
    pub(crate) fn of_files(
        label: String,
        schema: SchemaRef,
        shares: Arc<[Share]>,
    ) -> Self {
        let parts = shares.iter().map(|share| Part {
            rows: Precision::Exact(share.files().len()),
            stream: Arc::new(share.clone()),
        });
        let scan = Self::new(label, schema, parts.collect());
        Self {
            files: Some(shares),
            ..scan
        }
    }

    /// The files of a partition, where this is a scan of files.
    pub(crate) fn share(&self, partition: usize) -> Option<&Share> {
        self.files.as_ref()?.get(partition)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}", self.label)
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            Ok(self)
        } else {
            internal_err!("a scan has no children")
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        match self.parts.get(partition) {
            Some(part) => Ok(make_cooperative(part.stream.execute(context))),
            None => internal_err!("no partition {partition} in {}", self.label),
        }
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = match args.partition() {
            Some(partition) => self.parts.get(partition).map(|part| part.rows),
            None => self
                .parts
                .iter()
                .map(|part| part.rows)
                .reduce(|a, b| a.add(&b)),
        };
        let unknown = Statistics::new_unknown(&self.schema());
        Ok(Arc::new(
            unknown.with_num_rows(rows.unwrap_or(Precision::Exact(0))),
        ))
    }
}
