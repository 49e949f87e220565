//! Rows of Parquet files that executors read by themselves.
//!
//! A piece is a range of a file's rows. Row groups would be coarser: one of a table of
//! URLs may be a million downloads.

use std::collections::VecDeque;
use std::fmt::{self, Formatter};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::files::{footer, parquet_scan, without_bounds};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use super::listings::Kept;
use super::pace::Pace;
use super::runtime::encode_plan;
use super::source::{Input, Source};

/// Below this many bytes of files the client reads them: opening a file in each task
/// costs more than sending its rows.
const LEAST_BYTES: u64 = 1 << 20;

/// The same of their rows. Names of files that are alike take next to no room in a file, but
/// as much as others on their way.
const LEAST_ROWS: usize = 100_000;

/// Most bytes of a file in a task.
const BYTES_PER_TASK: u64 = 1 << 30;

/// Whether executors can read the rows of an operator by themselves: it scans Parquet
/// files whose order nobody relies on, and survives being written.
pub(super) fn can_be_cut(plan: &dyn ExecutionPlan) -> bool {
    let Some((config, _)) = parquet_scan(plan) else {
        return false;
    };
    let files = || config.file_groups.iter().flat_map(FileGroup::iter);
    let bytes: u64 = files().map(PartitionedFile::effective_size).sum();
    let Some(file) = files().next() else {
        return false;
    };
    let rows = files().filter_map(|file| {
        let known = file.statistics.as_ref()?;
        known.num_rows.get_value().copied()
    });
    (bytes >= LEAST_BYTES || rows.sum::<usize>() >= LEAST_ROWS)
        && config.output_ordering.is_empty()
        && config.limit.is_none()
        && files().all(may_be_read_by_tasks)
        && encode_plan(scan_of(&without_files(config), file.clone())).is_ok()
}

/// Whether a file is read as it is without what comes with it in this process.
fn may_be_read_by_tasks(file: &PartitionedFile) -> bool {
    let kept = usize::from(file.extensions.contains::<Kept>());
    file.extensions.len() == kept
}

/// What a scan has for any of its files. They may be many, and each piece is made of this.
fn without_files(config: &FileScanConfig) -> FileScanConfig {
    let schema = config.file_source().table_schema().table_schema();
    FileScanConfigBuilder::from(config.clone())
        .with_file_groups(vec![])
        .with_statistics(Statistics::new_unknown(schema))
        .build()
}

/// The scan of one file, whole.
fn scan_of(config: &FileScanConfig, file: PartitionedFile) -> Arc<dyn ExecutionPlan> {
    let file = PartitionedFile {
        range: None,
        statistics: None,
        ordering: None,
        ..file
    };
    let config = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(vec![FileGroup::new(vec![file])])
        .build();
    DataSourceExec::from_data_source(config)
}

/// The rows of a scan's partition, piece by piece.
pub(super) struct ParquetPieces {
    /// The scan, without its files.
    config: FileScanConfig,
    runtime: Arc<RuntimeEnv>,
    store: Arc<dyn ObjectStore>,
    /// Files that were not opened yet.
    files: VecDeque<PartitionedFile>,
    /// How many bytes a scan reads of them.
    bytes: u64,
    /// What is left of those that were, in order.
    open: VecDeque<Rows>,
}

/// Rows of a file.
#[derive(Debug, Clone)]
struct Rows {
    file: PartitionedFile,
    /// How many the file has.
    total: u64,
    /// Which of them are left.
    left: Range<u64>,
    /// Bytes of the file for each of its rows.
    row_bytes: u64,
}

impl ParquetPieces {
    pub(super) fn open(
        scan: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: &TaskContext,
    ) -> Result<Self> {
        let Some((config, _)) = parquet_scan(scan.as_ref()) else {
            return internal_err!("{} scans no Parquet", scan.name());
        };
        let runtime = context.runtime_env();
        let files = config.file_groups.get(partition);
        let files = || files.into_iter().flat_map(FileGroup::iter);
        Ok(Self {
            store: runtime.object_store(&config.object_store_url)?,
            bytes: files().map(PartitionedFile::effective_size).sum(),
            files: files().cloned().collect(),
            config: without_files(config),
            runtime,
            open: VecDeque::new(),
        })
    }

    /// Opens files until some have rows; whether any are left.
    async fn has_rows(&mut self) -> Result<bool> {
        while self.open.is_empty() {
            let Some(file) = self.files.pop_front() else {
                return Ok(false);
            };
            self.bytes -= file.effective_size();
            let metadata =
                footer(&self.runtime, &self.store, &file.object_meta, false).await?;
            let total: u64 = rows(metadata.row_groups());
            for left in ranges(&metadata, &file) {
                self.open.push_back(Rows {
                    row_bytes: (file.object_meta.size / total.max(1)).max(1),
                    file: file.clone(),
                    total,
                    left,
                });
            }
        }
        Ok(true)
    }

    /// About how many rows are left, those of files that were not opened by their bytes.
    fn left(&self) -> usize {
        let opened: u64 = self
            .open
            .iter()
            .map(|rows| rows.left.end - rows.left.start)
            .sum();
        let row_bytes = self.open.front().map_or(1, |rows| rows.row_bytes);
        usize::try_from(opened + self.bytes / row_bytes).unwrap_or(usize::MAX)
    }
}

fn rows(groups: &[RowGroupMetaData]) -> u64 {
    let rows = groups.iter().map(|group| u64::try_from(group.num_rows()));
    rows.map(Result::unwrap_or_default).sum()
}

/// The rows that a scan reads of a file: all, or those of the row groups that begin in
/// its range, as DataFusion counts them.
fn ranges(metadata: &ParquetMetaData, file: &PartitionedFile) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut start = 0;
    for group in metadata.row_groups() {
        let end = start + rows(std::slice::from_ref(group));
        let is_in = file.range.as_ref().is_none_or(|range| {
            let first = group.columns().first();
            first.is_some_and(|column| {
                let dictionary = column.dictionary_page_offset();
                range.contains(dictionary.unwrap_or_else(|| column.data_page_offset()))
            })
        });
        match found.last_mut() {
            Some(last) if is_in && last.end == start => last.end = end,
            _ if is_in && end > start => found.push(start..end),
            _ => {}
        }
        start = end;
    }
    found
}

#[async_trait]
impl Source for ParquetPieces {
    async fn next_job(
        &mut self,
        slots: usize,
        pace: &Pace,
    ) -> Result<Option<Vec<Input>>> {
        let mut inputs: Vec<Input> = Vec::new();
        while inputs.len() < pace.tasks(slots) && self.has_rows().await? {
            let step = pace.rows(slots, self.left()) as u64;
            let Some(front) = self.open.front_mut() else {
                break;
            };
            let most = (BYTES_PER_TASK / front.row_bytes).max(1);
            let start = front.left.start;
            let end = (start + step.min(most)).min(front.left.end);
            let piece = PieceExec::new(
                scan_of(&self.config, front.file.clone()),
                start..end,
                front.total,
                front.file.object_meta.e_tag.clone(),
            );
            inputs.push((end - start, Arc::new(piece)));
            front.left.start = end;
            if front.left.is_empty() {
                self.open.pop_front();
            }
        }
        Ok((!inputs.is_empty()).then_some(inputs))
    }

    async fn skip(&mut self, mut rows: u64) -> Result<()> {
        while rows > 0 && self.has_rows().await? {
            let Some(front) = self.open.front_mut() else {
                break;
            };
            let len = rows.min(front.left.end - front.left.start);
            front.left.start += len;
            rows -= len;
            if front.left.is_empty() {
                self.open.pop_front();
            }
        }
        Ok(())
    }
}

/// Reads a range of a Parquet file's rows.
#[derive(Debug)]
pub(super) struct PieceExec {
    /// The scan of the file.
    pub(super) scan: Arc<dyn ExecutionPlan>,
    /// Which of its rows.
    pub(super) rows: Range<u64>,
    /// How many rows it has.
    pub(super) total: u64,
    /// Which of the files that had this name it was, where the store says so.
    pub(super) e_tag: Option<String>,
    properties: Arc<PlanProperties>,
}

impl PieceExec {
    pub(super) fn new(
        scan: Arc<dyn ExecutionPlan>,
        rows: Range<u64>,
        total: u64,
        e_tag: Option<String>,
    ) -> Self {
        let of_scan = scan.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(scan.schema()),
            Partitioning::UnknownPartitioning(1),
            of_scan.emission_type,
            of_scan.boundedness,
        );
        Self {
            scan,
            rows,
            total,
            e_tag,
            properties: Arc::new(properties),
        }
    }

    /// Some rows of the piece, counted from its first.
    pub(super) fn narrow(&self, rows: Range<usize>) -> Option<Self> {
        let at = |row: usize| self.rows.start + row as u64;
        let rows = at(rows.start)..at(rows.end);
        let scan = Arc::clone(&self.scan);
        let narrowed = |rows| Self::new(scan, rows, self.total, self.e_tag.clone());
        (rows.end <= self.rows.end).then(|| narrowed(rows))
    }

    /// The scan with the choice of rows, and the file.
    fn chosen(
        &self,
        runtime: &RuntimeEnv,
    ) -> Result<(Arc<dyn ExecutionPlan>, FileScanConfig, PartitionedFile)> {
        let Some((config, _)) = parquet_scan(self.scan.as_ref()) else {
            return internal_err!("a piece of {}", self.scan.name());
        };
        let file = config
            .file_groups
            .first()
            .and_then(|group| group.iter().next());
        let Some(file) = file.cloned() else {
            return internal_err!("a piece of no file");
        };
        let index = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
        let rows = std::iter::once(index(self.rows.start)..index(self.rows.end));
        let rows = RowSelection::from_consecutive_ranges(rows, index(self.total));
        let with_rows = file.clone().with_extension(ParquetRowSelection::new(rows));
        let config = config.clone();
        let scan = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(vec![FileGroup::new(vec![with_rows])])
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
        Ok((without_bounds(&scan, runtime)?, config, file))
    }
}

/// Refuses a file that is not the one that the client cut.
async fn refuse_changed(
    store: &dyn ObjectStore,
    file: &PartitionedFile,
    e_tag: Option<&str>,
) -> Result<()> {
    let then = &file.object_meta;
    let now = match store.head(&then.location).await {
        Ok(now) => now,
        Err(object_store::Error::NotFound { .. }) => {
            return exec_err!(
                "{} was deleted while the statement ran, or this executor does not see \
                 it; run the statement again, and give all nodes the same files",
                then.location
            );
        }
        Err(error) => return Err(error.into()),
    };
    // Without a tag the file is one that nobody changes. Machines that share a folder may
    // give it other tags, but not other times.
    let is_same = now.size == then.size
        && (e_tag.is_none()
            || now.e_tag.as_deref() == e_tag
            || now.last_modified == then.last_modified);
    match is_same {
        true => Ok(()),
        false => exec_err!(
            "{} changed while the statement ran; run the statement again",
            then.location
        ),
    }
}

impl DisplayAs for PieceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "PieceExec: rows={}..{}", self.rows.start, self.rows.end)
    }
}

impl ExecutionPlan for PieceExec {
    fn name(&self) -> &'static str {
        "PieceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The scan is part of the piece, not an input of it.
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
            false => internal_err!("PieceExec takes no children"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = context.runtime_env();
        let (scan, config, file) = self.chosen(&runtime)?;
        let store = runtime.object_store(&config.object_store_url)?;
        let (schema, e_tag) = (self.schema(), self.e_tag.clone());
        let rows = async move {
            refuse_changed(store.as_ref(), &file, e_tag.as_deref()).await?;
            // Before the scan opens the file, which asks for no more than it needs itself.
            footer(&runtime, &store, &file.object_meta, true).await?;
            scan.execute(partition, context)
        };
        let rows = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
