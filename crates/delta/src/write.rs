//! Rows into files of a table, which nobody sees before they are committed.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::warnings::Warnings;
use atoll_udf_common::Location;
use atoll_udf_common::files::partitions;
use datafusion::arrow::array::{AsArray, Int8Array, RecordBatch, Scalar};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::cmp::neq;
use datafusion::arrow::datatypes::{Int8Type, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, internal_datafusion_err,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::ArrowSchemaConverter;
use datafusion::parquet::basic::{Compression, LogicalType, Type, ZstdLevel};
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use deltalake_core::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake_core::kernel::Add;
use deltalake_core::operations::write::WriterStatsConfig;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::bounds::has_exact_bounds;
use crate::create::Definition;
use crate::error::explain;
use crate::guard::refuse_to_add;
use crate::open::{Table, log_of};
use crate::rewrite::Action;
use crate::types::Keeper;

/// A file is closed at about this size.
const FILE_BYTES: NonZeroU64 = NonZeroU64::new(128 << 20).unwrap();

/// A row group is closed at this many rows, so that a file of a few dozen megabytes can be
/// read by several cores, or at this size, so that tables of images need little memory.
const ROW_GROUP_ROWS: usize = 128 << 10;
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A dictionary larger than this is given up. The default of 1 MiB keeps one for a whole
/// row group of unique numbers, which makes the file twice as large.
const DICTIONARY_BYTES: usize = 128 << 10;

/// The log keeps bounds of so many columns, as is the default everywhere.
const COLUMNS_WITH_BOUNDS: usize = 32;

/// What files say of themselves: a key and a value of their metadata.
pub type Provenance = (String, String);

/// A file that a statement wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Below the table's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content in hexadecimal, if whoever wrote it was asked for it.
    pub sha256: Option<String>,
}

/// Files that a statement wrote and did not commit yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Written {
    /// What the log is to say of each of them.
    pub(crate) adds: Vec<Add>,
    /// How many rows they have.
    pub rows: u64,
    /// How many rows a statement that rewrites files added, changed or deleted.
    pub(crate) changed: u64,
    /// The SHA-256 of files by their paths.
    digests: HashMap<String, String>,
}

impl Written {
    /// Its files.
    pub fn files(&self) -> Vec<DataFile> {
        let files = self.adds.iter().map(|add| DataFile {
            path: add.path.clone(),
            bytes: u64::try_from(add.size).unwrap_or_default(),
            sha256: self.digests.get(&add.path).cloned(),
        });
        files.collect()
    }

    /// Notes the SHA-256 of one of its files.
    pub fn enter_digest(&mut self, path: String, sha256: String) {
        self.digests.insert(path, sha256);
    }

    /// Adds what was written elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.adds.extend(other.adds);
        self.rows += other.rows;
        self.changed += other.changed;
        self.digests.extend(other.digests);
    }

    /// For another process.
    pub fn encode(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| internal_datafusion_err!("{error}"))
    }

    /// From another process.
    pub fn decode(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| internal_datafusion_err!("{error}"))
    }

    /// Whether there were no rows.
    pub fn is_empty(&self) -> bool {
        self.adds.is_empty()
    }

    /// Deletes the files of a statement that failed. Those that stay are not seen, and
    /// VACUUM removes them.
    pub async fn discard(&self, location: &Location) {
        for add in &self.adds {
            if let Ok(file) = location.join(&add.path) {
                let _ = file.store.delete(&file.path).await;
            }
        }
    }
}

/// How the files of a table are to be written.
#[derive(Clone)]
pub struct Sink {
    location: Location,
    kept: SchemaRef,
    partition_by: Vec<String>,
    bounds: WriterStatsConfig,
    provenance: Provenance,
    warnings: Warnings,
    /// Whether a last column says what becomes of a row.
    has_actions: bool,
}

/// The key of a sink's metadata.
const SINK: &str = "atoll.sink";

/// A [`Sink`] on its way, without its schema.
#[derive(Serialize, Deserialize)]
struct WireSink {
    location: String,
    partition_by: Vec<String>,
    columns_with_bounds: Vec<String>,
    provenance: Provenance,
    has_actions: bool,
}

/// Runs a plan and writes its rows, here or wherever they are computed.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Writes the rows of a plan whose columns are the sink's. What a statement that failed
    /// wrote is deleted.
    async fn write(
        &self,
        sink: Sink,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<Written>;
}

impl Sink {
    /// For a table that is not there yet.
    pub fn new(
        location: &Location,
        definition: &Definition,
        (provenance, warnings): (Provenance, Warnings),
    ) -> Self {
        let Definition {
            kept, partition_by, ..
        } = definition.clone();
        let names = columns_with_bounds(&kept, &partition_by);
        let bounds = WriterStatsConfig::new(Default::default(), Some(names));
        Self {
            location: location.clone(),
            kept,
            partition_by,
            bounds,
            provenance,
            warnings,
            has_actions: false,
        }
    }

    /// For more files of a table.
    pub fn of(
        table: &Table,
        (provenance, warnings): (Provenance, Warnings),
    ) -> Result<Self> {
        refuse_to_add(table)?;
        let snapshot = table.snapshot()?;
        Ok(Self {
            location: table.location().clone(),
            kept: table.kept_schema()?,
            partition_by: table.partition_columns()?,
            bounds: WriterStatsConfig::from_config(snapshot.table_configuration()),
            provenance,
            warnings,
            has_actions: false,
        })
    }

    /// Rows come with [`ACTION`](crate::rewrite::ACTION) as their last column: it is not
    /// written, and neither are rows that are deleted.
    pub(crate) fn with_actions(self) -> Self {
        Self {
            has_actions: true,
            ..self
        }
    }

    /// Runs a plan whose columns are the table's, in its order, and writes a file or more
    /// for each of its partitions. What a statement that failed wrote is deleted.
    pub async fn write(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<Written> {
        self.write_streams(execute_stream_partitioned(plan, context)?)
            .await
    }

    /// The same of rows that come already, a file or more for each stream.
    pub async fn write_streams(
        &self,
        streams: Vec<SendableRecordBatchStream>,
    ) -> Result<Written> {
        let mut writers = JoinSet::new();
        for rows in streams {
            let sink = self.clone();
            writers.spawn(async move { sink.write_part(rows).await });
        }
        let mut written = Written::default();
        let mut failed = None;
        while let Some(part) = writers.join_next().await {
            let part = part.map_err(|error| DataFusionError::External(Box::new(error)));
            match part.flatten() {
                Ok(part) => written.merge(part),
                Err(error) => {
                    failed.get_or_insert(error);
                    writers.abort_all();
                }
            }
        }
        match failed {
            Some(error) => {
                written.discard(&self.location).await;
                Err(error)
            }
            None => Ok(written),
        }
    }

    /// The folder of the table.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// For another process: an Arrow IPC stream without rows, whose schema is that of the
    /// rows and has the rest as metadata.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let rest = WireSink {
            location: self.location.to_string(),
            partition_by: self.partition_by.clone(),
            columns_with_bounds: match &self.bounds.stats_columns {
                Some(columns) => columns.clone(),
                // The table says how many columns are to have bounds and not which.
                None => columns_with_bounds(&self.kept, &self.partition_by),
            },
            provenance: self.provenance.clone(),
            has_actions: self.has_actions,
        };
        let rest = serde_json::to_string(&rest)
            .map_err(|error| internal_datafusion_err!("{error}"))?;
        let mut metadata = self.kept.metadata().clone();
        metadata.insert(SINK.to_string(), rest);
        let schema = self.kept.as_ref().clone().with_metadata(metadata);
        let mut bytes = vec![];
        StreamWriter::try_new(&mut bytes, &schema)?.finish()?;
        Ok(bytes)
    }

    /// From another process.
    pub fn decode(bytes: &[u8], warnings: Warnings) -> Result<Self> {
        let schema = StreamReader::try_new(bytes, None)?.schema();
        let mut metadata = schema.metadata().clone();
        let rest = metadata.remove(SINK).unwrap_or_default();
        let rest: WireSink = serde_json::from_str(&rest)
            .map_err(|error| internal_datafusion_err!("{error}"))?;
        let columns = Some(rest.columns_with_bounds);
        Ok(Self {
            location: Location::parse(&rest.location)?,
            kept: Arc::new(schema.as_ref().clone().with_metadata(metadata)),
            partition_by: rest.partition_by,
            bounds: WriterStatsConfig::new(Default::default(), columns),
            provenance: rest.provenance,
            warnings,
            has_actions: rest.has_actions,
        })
    }

    async fn write_part(&self, mut rows: SendableRecordBatchStream) -> Result<Written> {
        // Without the notes of types, which are the log's.
        let fields = self.kept.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_metadata([].into()));
        let kept: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let config = WriterConfig::new(
            Arc::clone(&kept),
            self.partition_by.clone(),
            Some(self.properties(&kept)?),
            Some(FILE_BYTES),
            None,
            self.bounds.num_indexed_cols,
            self.bounds.stats_columns.clone(),
        );
        let log = log_of(&self.location)?.log_store();
        let mut writer = DeltaWriter::new(log.object_store(None), config);
        let mut keeper = Keeper::new(kept, self.warnings.clone());
        let error = |error| explain(&self.location, "write to", error);
        let (mut count, mut changed) = (0, 0);
        let done: Result<()> = async {
            while let Some(mut batch) = rows.try_next().await? {
                if self.has_actions {
                    let of_batch;
                    (batch, of_batch) = without_actions(&batch)?;
                    changed += of_batch;
                }
                if batch.num_rows() > 0 {
                    count += batch.num_rows() as u64;
                    let batch = keeper.keep(&batch)?;
                    self.refuse_name_of_null(&batch)?;
                    writer.write(&batch).await.map_err(error)?;
                }
            }
            Ok(())
        }
        .await;
        if let Err(failed) = done {
            // What failed matters more than what could not be cleaned up after it.
            let _ = writer.abort().await;
            return Err(failed);
        }
        let adds = writer.close().await.map_err(error)?;
        let rows = count;
        Ok(Written {
            adds,
            rows,
            changed,
            ..Written::default()
        })
    }

    /// The writer tells partitions apart by the names of their folders, in which a text
    /// can be what NULL is called.
    fn refuse_name_of_null(&self, batch: &RecordBatch) -> Result<()> {
        let columns = self.partition_by.iter();
        let columns = columns.filter_map(|name| batch.column_by_name(name));
        let mut texts = columns.filter_map(|column| column.as_string_opt::<i32>());
        texts.try_for_each(partitions::refuse_null)
    }

    fn properties(&self, kept: &Schema) -> Result<WriterProperties> {
        let (key, value) = self.provenance.clone();
        let pairs = vec![KeyValue::new(key, value)];
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_key_value_metadata(Some(pairs));
        let parquet = ArrowSchemaConverter::new().convert(kept);
        let parquet = parquet.map_err(|error| exec_datafusion_err!("{error}"))?;
        for column in parquet.columns() {
            let is_float = matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE)
                || matches!(column.logical_type_ref(), Some(LogicalType::Float16));
            if is_float {
                // NaN is in no bound, and readers trust bounds.
                properties = properties.set_column_statistics_enabled(
                    column.path().clone(),
                    EnabledStatistics::None,
                );
            }
        }
        Ok(properties.build())
    }
}

/// The columns whose bounds the log is to keep, in the form of the log's property.
///
/// A name that the property's syntax would have to quote is left out: its files are read
/// where bounds would have spared that.
pub(crate) fn columns_with_bounds(kept: &Schema, partition_by: &[String]) -> Vec<String> {
    let plain = |name: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_word)
    };
    let fields = kept.fields().iter().filter(|field| {
        let name = field.name();
        plain(name) && !partition_by.contains(name) && has_exact_bounds(field.data_type())
    });
    let names = fields.map(|field| field.name().clone());
    names.take(COLUMNS_WITH_BOUNDS).collect()
}

/// The rows that stay, without the column of actions, and how many are not as they were.
fn without_actions(batch: &RecordBatch) -> Result<(RecordBatch, u64)> {
    let last = batch.num_columns() - 1;
    let actions = batch.column(last).as_primitive::<Int8Type>();
    let keep = Scalar::new(Int8Array::from(vec![Action::Keep as i8]));
    let delete = Scalar::new(Int8Array::from(vec![Action::Delete as i8]));
    let changed = neq(actions, &keep)?.true_count() as u64;
    let columns: Vec<usize> = (0..last).collect();
    let rows = filter_record_batch(&batch.project(&columns)?, &neq(actions, &delete)?)?;
    Ok((rows, changed))
}
