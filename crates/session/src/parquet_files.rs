//! Writes the rows of a statement as Parquet files.

use std::path::PathBuf;

use atoll_udf_common::Location;
use datafusion::common::{DataFusionError, Result};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use tokio::task::JoinSet;

use crate::Origin;
use crate::copy::explain;

/// A row group is closed at this size, so that tables of images need little memory.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// Writes `frame` to `part-<n>.parquet` below `folder`, one file a partition.
///
/// There is at least one file, also without rows, because it carries the schema. A
/// statement that fails or is dropped leaves nothing behind in a local folder.
pub(crate) async fn write(
    frame: DataFrame,
    folder: &Location,
    origin: &Origin,
) -> Result<()> {
    let mut unfinished = Unfinished(folder.local_path());
    let streams = frame.execute_stream_partitioned().await?;
    let mut writers = JoinSet::new();
    for (part, rows) in streams.into_iter().enumerate() {
        let file = folder.join(&format!("part-{part}.parquet"))?;
        writers.spawn(write_file(rows, file, origin.provenance()));
    }
    while let Some(written) = writers.join_next().await {
        let written = written.map_err(|error| DataFusionError::External(Box::new(error)));
        if let Err(error) = written.flatten() {
            return Err(explain(folder, error).await);
        }
    }
    unfinished.0 = None;
    Ok(())
}

async fn write_file(
    mut rows: SendableRecordBatchStream,
    file: Location,
    (key, value): (&'static str, String),
) -> Result<()> {
    let pairs = vec![KeyValue::new(key.to_string(), value)];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(pairs))
        .build();
    let sink = BufWriter::new(file.store, file.path);
    let mut writer = AsyncArrowWriter::try_new(sink, rows.schema(), Some(properties))?;
    while let Some(batch) = rows.try_next().await? {
        writer.write(&batch).await?;
        if writer.in_progress_size() > ROW_GROUP_BYTES {
            writer.flush().await?;
        }
    }
    writer.close().await?;
    Ok(())
}

/// A folder that goes away unless its files were all written.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            // Nothing refers to the folder; what stays is only wasted space.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
