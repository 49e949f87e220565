//! What the tasks of a partition read.
//!
//! Executors read files by themselves: those of `read_blob`, and the rows of Parquet
//! files. Rows of anything else are computed by the client and travel with their tasks.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;

use super::pace::Pace;
use super::pieces::{ParquetPieces, can_be_cut};

/// Most bytes of rows in a job: they pass through the scheduler.
const BYTES_PER_JOB: usize = 16 << 20;

/// Most bytes of files in a task.
const FILE_BYTES_PER_TASK: u64 = 1 << 30;

/// What a task reads: how many rows, and the operator that gives them.
pub(super) type Input = (u64, Arc<dyn ExecutionPlan>);

/// The rows of a partition, cut into what tasks read.
#[async_trait]
pub(super) trait Source: Send {
    /// The inputs of the next job's tasks; `None` at the end.
    async fn next_job(&mut self, slots: usize, pace: &Pace)
    -> Result<Option<Vec<Input>>>;

    /// Leaves the next rows out.
    async fn skip(&mut self, rows: u64) -> Result<()>;
}

/// Who reads the rows of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadBy {
    /// The client, which sends them with the tasks.
    Client,
    /// Executors, which read the files of `read_blob`.
    ExecutorFiles,
    /// Executors, which read Parquet.
    ExecutorParquet,
}

impl ReadBy {
    pub(super) fn of(plan: &dyn ExecutionPlan) -> Self {
        if can_be_cut(plan) {
            return Self::ExecutorParquet;
        }
        let partitions = plan.output_partitioning().partition_count();
        let is_files = partitions > 0
            && (0..partitions)
                .all(|partition| atoll_udf_blob::file_sizes(plan, partition).is_some());
        match is_files {
            true => Self::ExecutorFiles,
            false => Self::Client,
        }
    }
}

/// Opens a partition.
pub(super) fn open(
    input: &Arc<dyn ExecutionPlan>,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<Box<dyn Source>> {
    Ok(match ReadBy::of(input.as_ref()) {
        ReadBy::Client => Box::new(Rows {
            stream: input.execute(partition, Arc::clone(context))?,
            rest: None,
        }),
        ReadBy::ExecutorFiles => {
            let sizes = atoll_udf_blob::file_sizes(input.as_ref(), partition);
            Box::new(Files {
                scan: Arc::clone(input),
                partition,
                sizes: sizes.unwrap_or_default(),
                next: 0,
            })
        }
        ReadBy::ExecutorParquet => {
            Box::new(ParquetPieces::open(input, partition, context)?)
        }
    })
}

/// Rows that the client computes.
struct Rows {
    stream: SendableRecordBatchStream,
    /// What is left of the last record batch, and its bytes a row.
    rest: Option<(RecordBatch, usize)>,
}

#[async_trait]
impl Source for Rows {
    async fn next_job(
        &mut self,
        slots: usize,
        pace: &Pace,
    ) -> Result<Option<Vec<Input>>> {
        let most = pace.tasks(slots).saturating_mul(pace.most());
        let Some(rows) = next_rows(&mut self.stream, &mut self.rest, most).await? else {
            return Ok(None);
        };
        let step = pace.rows(slots, rows.num_rows());
        let starts = (0..rows.num_rows()).step_by(step);
        let inputs = starts.map(|start| {
            let len = step.min(rows.num_rows() - start);
            let rows = compact(&rows.slice(start, len))?;
            let schema = rows.schema();
            let leaf = MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?;
            Ok((len as u64, leaf as Arc<dyn ExecutionPlan>))
        });
        inputs.collect::<Result<_>>().map(Some)
    }

    async fn skip(&mut self, rows: u64) -> Result<()> {
        match rows {
            0 => Ok(()),
            // They need not come in the same order again.
            _ => internal_err!("rows of the client are not left out"),
        }
    }
}

/// Files of `read_blob`.
struct Files {
    scan: Arc<dyn ExecutionPlan>,
    partition: usize,
    sizes: Vec<u64>,
    next: usize,
}

#[async_trait]
impl Source for Files {
    async fn next_job(
        &mut self,
        slots: usize,
        pace: &Pace,
    ) -> Result<Option<Vec<Input>>> {
        let mut inputs = Vec::new();
        while self.next < self.sizes.len() && inputs.len() < pace.tasks(slots) {
            let left = &self.sizes[self.next..];
            let mut bytes = 0;
            // Of large files a task takes fewer.
            let len = left
                .iter()
                .take(pace.rows(slots, left.len()))
                .take_while(|size| {
                    bytes += **size;
                    bytes <= FILE_BYTES_PER_TASK
                })
                .count()
                .max(1);
            let piece = self.next..self.next + len;
            self.next += len;
            let scan = self.scan.as_ref();
            let Some(scan) = atoll_udf_blob::scan_piece(scan, self.partition, piece)
            else {
                return internal_err!("a scan lost its files");
            };
            inputs.push((len as u64, scan));
        }
        Ok((!inputs.is_empty()).then_some(inputs))
    }

    async fn skip(&mut self, rows: u64) -> Result<()> {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        self.next = self.next.saturating_add(rows).min(self.sizes.len());
        Ok(())
    }
}

/// The next rows of a stream, at most `most` of them and few enough bytes for a job.
async fn next_rows(
    stream: &mut SendableRecordBatchStream,
    rest: &mut Option<(RecordBatch, usize)>,
    most: usize,
) -> Result<Option<RecordBatch>> {
    let schema: SchemaRef = stream.schema();
    let (mut taken, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while rows < most && bytes < BYTES_PER_JOB {
        let (batch, row_bytes) = match rest.take() {
            Some(rest) => rest,
            None => match stream.next().await.transpose()? {
                // Slices share their buffers, so a row counts for its share.
                Some(batch) => {
                    let bytes = batch.get_array_memory_size();
                    let row_bytes = (bytes / batch.num_rows().max(1)).max(1);
                    (batch, row_bytes)
                }
                None => break,
            },
        };
        if batch.num_rows() == 0 {
            continue;
        }
        let fit = ((BYTES_PER_JOB - bytes) / row_bytes).max(1);
        let len = batch.num_rows().min(most - rows).min(fit);
        if len < batch.num_rows() {
            *rest = Some((batch.slice(len, batch.num_rows() - len), row_bytes));
        }
        taken.push(batch.slice(0, len));
        rows += len;
        bytes += len * row_bytes;
    }
    match taken.is_empty() {
        true => Ok(None),
        false => Ok(Some(concat_batches(&schema, &taken)?)),
    }
}

/// Lets go of text and bytes that only other rows use: views are sent with all of their
/// buffers.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => {
                Arc::new(column.as_string_view().gc()) as Arc<dyn Array>
            }
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns.collect(),
        &options,
    )?)
}
