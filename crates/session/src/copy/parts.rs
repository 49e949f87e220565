//! The files of a COPY to a folder: one writer for each partition of the rows.
//!
//! Every writer has a folder of its own below the staging folder, so that the name of a
//! file says which partition it holds and is the same in every run, which the random
//! names of DataFusion's writers are not.

use std::sync::{Arc, Mutex, PoisonError};

use atoll_udf_common::Location;
use atoll_udf_common::files::partitions;
use datafusion::arrow::array::{Array, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream_partitioned;
use datafusion::physical_plan::stream::{
    RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter,
};
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use object_store::path::{Path, PathPart};
use tokio::task::JoinSet;

use super::files::{self, CopyFile};
use super::target::FolderTarget;
use crate::cluster::{Target, WrittenByTasks, divert, is_dealt};

/// What stands before the name of a process in the name of a folder.
pub(super) const ATTEMPT: char = '~';

/// Letters of its hash in the name of a file.
const HASH: usize = 8;

/// Writes the rows of `copy` below `staging`; the row that counts them, and the files.
///
/// With a `size` a writer starts another file at about this many bytes.
pub(super) async fn write(
    context: &SessionContext,
    copy: CopyTo,
    staging: &Location,
    size: Option<u64>,
) -> Result<(MemTable, Vec<CopyFile>)> {
    let counts = Arc::clone(copy.output_schema.inner());
    let rows = context.execute_logical_plan(copy.input.as_ref().clone());
    let plan = rows.await?.create_physical_plan().await?;
    let task_context = context.task_ctx();
    let target: Arc<dyn Target> = Arc::new(FolderTarget::new(&copy, staging, size));
    if is_dealt(&plan) {
        FolderTarget::mark(staging).await?;
    }
    let diverted = divert(&plan, &target, &task_context, None)?;
    let (streams, by_tasks) = match diverted {
        Some(diverted) => (diverted.rows, Some(diverted.files)),
        None => (execute_stream_partitioned(plan, task_context)?, None),
    };
    let mut writers = JoinSet::new();
    for (part, rows) in streams.into_iter().enumerate() {
        let writer = Writer {
            context: context.clone(),
            copy: copy.clone(),
            staging: staging.clone(),
            part: format!("part-{part:05}"),
            attempt: String::new(),
        };
        writers.spawn(async move { writer.write_all(rows, size).await });
    }
    let mut total = 0;
    let mut files = vec![];
    while let Some(written) = writers.join_next().await {
        let written =
            written.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let (count, of_part) = written?;
        total += count;
        files.extend(of_part);
    }
    for by_task in by_tasks.iter().flat_map(WrittenByTasks::take) {
        let (count, of_task) = FolderTarget::read(&by_task)?;
        total += count;
        files.extend(of_task);
    }
    let total = UInt64Array::from(vec![total]);
    let total = RecordBatch::try_new(Arc::clone(&counts), vec![Arc::new(total)])?;
    Ok((MemTable::try_new(counts, vec![vec![total]])?, files))
}

/// Writes one partition of the rows.
pub(super) struct Writer {
    pub(super) context: SessionContext,
    pub(super) copy: CopyTo,
    pub(super) staging: Location,
    /// What the names of its files begin with.
    pub(super) part: String,
    /// Tells the folders of two processes apart that write the same part.
    pub(super) attempt: String,
}

impl Writer {
    /// Writes all rows; how many they were, and the files.
    pub(super) async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        size: Option<u64>,
    ) -> Result<(u64, Vec<CopyFile>)> {
        let rows = partitions::with_names(rows, &self.copy.partition_by)?;
        let (count, pieces) = match size {
            Some(size) => self.write_pieces(rows, size).await?,
            None => (self.write(0, rows).await?, 1),
        };
        let mut found = vec![];
        for piece in 0..pieces {
            let folder = self.folder(piece)?;
            found.extend(files::written(&self.staging, &folder).await?);
        }
        Ok((count, found))
    }

    /// Writes rows as one piece of the partition.
    async fn write(&self, piece: usize, rows: SendableRecordBatchStream) -> Result<u64> {
        let schema = rows.schema();
        let rows = Rows {
            schema: Arc::clone(&schema),
            rows: Mutex::new(Some(rows)),
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(rows)])?;
        let table = provider_as_source(Arc::new(table));
        let copy = CopyTo {
            input: Arc::new(LogicalPlanBuilder::scan("part", table, None)?.build()?),
            output_url: self.folder(piece)?.folder_url().to_string(),
            ..self.copy.clone()
        };
        run(&self.context, copy).await
    }

    fn folder(&self, piece: usize) -> Result<Location> {
        let (part, attempt) = (&self.part, &self.attempt);
        self.staging.join(&match piece {
            0 => format!("{part}{attempt}"),
            piece => format!("{part}-c{piece:04}{attempt}"),
        })
    }

    /// Writes pieces of about `size` bytes. How many bytes of a file the rows in memory
    /// become, the piece before tells; the first one is taken for incompressible. Returns
    /// the numbers of rows and of pieces.
    async fn write_pieces(
        &self,
        mut rows: SendableRecordBatchStream,
        size: u64,
    ) -> Result<(u64, usize)> {
        let (mut total, mut ratio) = (0, 1.0);
        let mut next = rows.try_next().await?;
        let mut piece = 0;
        while let Some(first) = next.take() {
            let builder = RecordBatchReceiverStreamBuilder::new(rows.schema(), 1);
            let sender = builder.tx();
            let room = (size as f64 / ratio) as usize;
            let feed = async {
                let mut taken = 0;
                let mut batch = Some(first);
                while let Some(rows_of_piece) = batch.take() {
                    taken += memory(&rows_of_piece);
                    if sender.send(Ok(rows_of_piece)).await.is_err() {
                        // The writer has failed and says why.
                        break;
                    }
                    batch = rows.try_next().await?;
                    if taken >= room {
                        break;
                    }
                }
                drop(sender);
                Ok::<_, DataFusionError>((taken, batch))
            };
            let (fed, written) = futures::join!(feed, self.write(piece, builder.build()));
            total += written?;
            let (taken, left) = fed?;
            next = left;
            if next.is_some() {
                ratio = self.bytes(piece).await? / taken.max(1) as f64;
            }
            piece += 1;
        }
        Ok((total, piece))
    }

    /// The bytes of the files of a piece, at least one.
    async fn bytes(&self, piece: usize) -> Result<f64> {
        let folder = self.folder(piece)?;
        let files = folder.store.list(Some(&folder.path));
        let bytes = files.try_fold(0, |sum, file| async move { Ok(sum + file.size) });
        let bytes = bytes.await.map_err(|error| folder.error(error))?;
        Ok(bytes.max(1) as f64)
    }
}

/// The bytes of the rows alone, which may be a slice of larger buffers.
fn memory(batch: &RecordBatch) -> usize {
    let size = |array: &Arc<dyn Array>| {
        let size = array.to_data().get_slice_memory_size();
        size.unwrap_or_else(|_| array.get_array_memory_size())
    };
    batch.columns().iter().map(size).sum()
}

/// Runs a COPY as DataFusion plans it and returns how many rows it wrote.
async fn run(context: &SessionContext, copy: CopyTo) -> Result<u64> {
    let copy = context.execute_logical_plan(LogicalPlan::Copy(copy));
    let counts = copy.await?.collect().await?;
    let count = |batch: &RecordBatch| {
        let counts = batch.column(0).as_primitive_opt::<UInt64Type>();
        counts.map_or(0, |counts| counts.values().iter().sum::<u64>())
    };
    Ok(counts.iter().map(count).sum())
}

/// Where a file below the staging folder belongs below the target: its name is made of
/// the number of its partition and of its content, folders of partition columns stay.
pub(super) fn published(below_staging: &[PathPart<'_>], sha256: &str) -> Option<Path> {
    let (part, rest) = below_staging.split_first()?;
    let (file, folders) = rest.split_last()?;
    let (stem, extension) = file.as_ref().split_once('.')?;
    let hash = sha256.get(..HASH)?;
    // A writer starts another file after many rows, and counts its files from 0.
    let number = match stem.rsplit_once('_') {
        Some((_, number)) if number != "0" => format!("-{number}"),
        _ => String::new(),
    };
    let part = part.as_ref().split(ATTEMPT).next().unwrap_or_default();
    let name = format!("{part}{number}-{hash}.{extension}");
    let folders = folders.iter().cloned();
    Some(folders.chain([PathPart::from(name)]).collect())
}

/// Rows on their way, as a table that can be read once.
struct Rows {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.take().unwrap_or_else(|| {
            let again = async { internal_err!("the rows of a COPY were read twice") };
            let schema = Arc::clone(&self.schema);
            let again = futures::stream::once(again).boxed();
            Box::pin(RecordBatchStreamAdapter::new(schema, again))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, expected: &str) {
        let written = Path::parse(written).unwrap();
        let parts: Vec<PathPart<'_>> = written.parts().collect();
        let published = published(&parts, "0123456789abcdef").unwrap();
        assert_eq!(published.as_ref(), expected, "{written}");
    }

    #[test]
    fn names_say_the_partition_and_the_content_and_nothing_random() {
        check("part-00003/aB3_0.parquet", "part-00003-01234567.parquet");
        check("part-00003/aB3_2.csv.gz", "part-00003-2-01234567.csv.gz");
        check(
            "part-00003-t00001~x7/a_0.parquet",
            "part-00003-t00001-01234567.parquet",
        );
        check(
            "part-00000/day=1/k=a%2Fb/xY9.parquet",
            "day=1/k=a%2Fb/part-00000-01234567.parquet",
        );
    }
}
