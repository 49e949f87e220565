//! How much a plan reads.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use atoll_udf_blob::ReadFilesExec;
use atoll_udf_common::known_rows;
use datafusion::arrow::datatypes::Field;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::scans::ScansExec;
use crate::cluster::exec::ClusterExec;

/// About how many bytes a text, a list or a struct has.
const VALUE_BYTES: u64 = 64;

/// The files that a plan reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cluster) struct FilesRead {
    /// Files, one that is cut being as many as it has pieces.
    pub(in crate::cluster) files: usize,
    pub(in crate::cluster) bytes: u64,
}

impl FilesRead {
    pub(in crate::cluster) fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let mut read = Self::default();
        plan.apply(|node| {
            let of_node = Self::of_operator(node);
            read.files += of_node.files;
            read.bytes += of_node.bytes;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(read)
    }

    fn of_operator(node: &Arc<dyn ExecutionPlan>) -> Self {
        if let Some(scans) = node.downcast_ref::<ScansExec>() {
            return scans.files;
        }
        let files = node.downcast_ref::<DataSourceExec>().and_then(|scan| {
            let source: &dyn std::any::Any = scan.data_source().as_ref();
            source.downcast_ref::<FileScanConfig>()
        });
        if let Some(files) = files {
            let files = files.file_groups.iter().flat_map(FileGroup::iter);
            return Self::sum(files.map(|file| file.effective_size()));
        }
        if let Some(reads) = node.downcast_ref::<ReadFilesExec>() {
            return Self {
                files: 1,
                bytes: reads.bytes(),
            };
        }
        let partitions = 0..node.output_partitioning().partition_count();
        let sizes = partitions
            .filter_map(|partition| atoll_udf_blob::file_sizes(node.as_ref(), partition));
        Self::sum(sizes.flatten())
    }

    fn sum(sizes: impl Iterator<Item = u64>) -> Self {
        sizes.fold(Self::default(), |sum, bytes| Self {
            files: sum.files + 1,
            bytes: sum.bytes + bytes,
        })
    }
}

impl Display for FilesRead {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.files {
            1 => write!(f, "1 piece of files of {} bytes", self.bytes),
            files => write!(f, "{files} pieces of files of {} bytes", self.bytes),
        }
    }
}

/// About how many bytes the client would have to join, group and sort: the files that it
/// reads itself, and the rows that tasks give it. Those of a task that groups them already
/// are few.
pub(super) fn bytes_of_client(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    if let Some(exec) = plan.downcast_ref::<ClusterExec>() {
        if exec.chain().is::<AggregateExec>() {
            return 0;
        }
        if let Some(rows) = known_rows(exec) {
            let schema = plan.schema();
            let width: u64 = schema.fields().iter().map(|field| width_of(field)).sum();
            return (rows as u64).saturating_mul(width);
        }
    }
    let below = plan
        .children()
        .into_iter()
        .map(bytes_of_client)
        .sum::<u64>();
    below + FilesRead::of_operator(plan).bytes
}

/// About how many bytes a value has.
fn width_of(field: &Field) -> u64 {
    let width = field.data_type().primitive_width();
    width.map_or(VALUE_BYTES, |width| width as u64)
}
