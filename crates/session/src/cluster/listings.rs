//! Listings of many files as tables, which the tasks of a cluster make.
//!
//! The keys of a store are cut into ranges, and a task lists each. The files of this
//! machine are listed by the client, since no other machine has to see the same ones. The
//! table is Parquet below `work/` in the storage; it lasts as long as plans that read it.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use atoll_delta::Clock;
use atoll_udf_blob::{Known, ListExec, ListedFiles, MakesTables};
use atoll_udf_common::files::{FileScan, Parquet};
use atoll_udf_common::{Location, storage_root};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use serde::{Deserialize, Serialize};

use super::TaskRunner;
use super::exec::{envelope, task};
use super::messages::WireTarget;
use super::numbers::Numbers;
use super::output::{OutputExec, Target, TaskTerms, Terms};
use super::outputs::Outputs;
use super::pace::TASKS_PER_JOB;
use super::stages::Work;

/// Tasks of a listing for each slot of the cluster. Ranges of keys are of unlike length.
const TASKS_PER_SLOT: usize = 4;

/// Files in a row group. Tasks read some of its pages, and whoever writes it holds it.
const ROWS_PER_GROUP: usize = 100_000;

/// Files in a page, which is the least that a task reads.
const ROWS_PER_PAGE: usize = 5_000;

/// Makes tables of listings for a session.
#[derive(Debug)]
pub(crate) struct ListingTables {
    cluster: Arc<dyn TaskRunner>,
    /// What the statements of the session made, with when and of what.
    made: Mutex<Vec<(Instant, String, Arc<Table>)>>,
}

/// A listing in the storage.
#[derive(Debug)]
struct Table {
    work: Work,
    files: Vec<ListingFile>,
}

/// What keeps a table, in each of the files that a plan reads of it.
#[derive(Debug)]
pub(super) struct Kept(
    #[expect(dead_code, reason = "is there to be dropped")] Arc<Table>,
);

/// What a task says of the file that it wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ListingFile {
    /// Its name in the folder of the table.
    object: String,
    /// How many bytes it has.
    len: u64,
    /// How many files it lists, and how many bytes they have.
    rows: u64,
    bytes: u64,
}

impl ListingTables {
    pub(crate) fn new(cluster: Arc<dyn TaskRunner>) -> Self {
        Self {
            cluster,
            made: Mutex::default(),
        }
    }

    /// Deletes the tables that no plan reads any more.
    pub(crate) async fn clean(&self) {
        let unused: Vec<_> = {
            let mut made = self.made();
            let all = std::mem::take(&mut *made);
            let (used, unused) = all
                .into_iter()
                .partition(|(_, _, table)| Arc::strong_count(table) > 1);
            *made = used;
            unused
        };
        for (_, _, table) in unused {
            if let Some(table) = Arc::into_inner(table) {
                table.work.close().await;
            }
        }
    }

    fn made(&self) -> MutexGuard<'_, Vec<(Instant, String, Arc<Table>)>> {
        // Every change leaves a value that can be read.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table of a listing. One statement lists once, however often it is planned.
    async fn table(&self, listing: ListExec, state: &dyn Session) -> Result<Arc<Table>> {
        let key = listing.key();
        let clock = state.config().get_extension::<Clock>();
        if let Some(began) = clock.map(|clock| clock.started()) {
            let made = self.made();
            let found = made.iter().find(|(at, of, _)| *at >= began && *of == key);
            if let Some((_, _, table)) = found {
                return Ok(Arc::clone(table));
            }
        }
        let at = Instant::now();
        let storage = storage_root(state.config_options())?;
        let work = Work::open(storage, Arc::clone(&self.cluster))?;
        let files = match self.list(listing, &work.folder, state).await {
            Ok(files) => files,
            Err(error) => {
                work.close().await;
                return Err(error);
            }
        };
        let table = Arc::new(Table { work, files });
        self.made().push((at, key, Arc::clone(&table)));
        Ok(table)
    }

    /// Lists files and writes their names into a folder.
    async fn list(
        &self,
        listing: ListExec,
        folder: &Location,
        state: &dyn Session,
    ) -> Result<Vec<ListingFile>> {
        let target: Arc<dyn Target> = Arc::new(ListingTarget {
            folder: folder.clone(),
        });
        let slots = self.cluster.slots().await?.max(1);
        let wanted = (slots * TASKS_PER_SLOT).min(TASKS_PER_JOB);
        let Some(ranges) = listing.cut(wanted).await? else {
            let context = state.task_ctx();
            let files = filtered(listing)?.execute(0, Arc::clone(&context))?;
            let (_, file) = target.write(files, "000000", &context).await?;
            return Ok(vec![ListingFile::read(&file)?]);
        };
        let envelope = envelope(state.config()).await?;
        let tasks = ranges.into_iter().enumerate().map(|(number, range)| {
            let terms = Terms::Task(TaskTerms {
                name: format!("{number:06}"),
                few: 0,
            });
            let target = Arc::clone(&target);
            let output = OutputExec::new(filtered(range)?, target, terms);
            task(&envelope, 0, Arc::new(output))
        });
        let tasks = tasks.collect::<Result<Vec<_>>>()?;
        let mut outputs = Outputs::new(
            Arc::clone(&self.cluster),
            "list files".to_string(),
            state.config(),
            Numbers::default(),
            &tasks,
        );
        let mut files = Vec::new();
        while let Some((_, output, _)) = outputs.next().await? {
            // With no rows for the client, whatever the task wrote.
            for file in OutputExec::files_of(&output)? {
                files.push(ListingFile::read(&file)?);
            }
        }
        Ok(files)
    }
}

/// The rows of a listing, by operators that can be sent.
fn filtered(listing: ListExec) -> Result<Arc<dyn ExecutionPlan>> {
    let filter = listing.filter().cloned();
    let listing: Arc<dyn ExecutionPlan> = Arc::new(listing.unfiltered());
    Ok(match filter {
        Some(filter) => Arc::new(FilterExec::try_new(filter, listing)?),
        None => listing,
    })
}

#[async_trait]
impl MakesTables for ListingTables {
    async fn table_of(
        &self,
        listing: ListExec,
        columns: &[usize],
        state: &dyn Session,
    ) -> Result<ListedFiles> {
        let table = self.table(listing, state).await?;
        let files = table.files.iter().map(|file| {
            let path = table.work.folder.join(&file.object)?.path;
            let file = PartitionedFile::new(path.to_string(), file.len);
            Ok(file.with_extension(Kept(Arc::clone(&table))))
        });
        let scan = FileScan {
            base: &table.work.folder,
            format: &Parquet::default(),
            schema: TableSchema::from(ListExec::columns()),
            files: files.collect::<Result<_>>()?,
        };
        let scan = scan.plan(state, Some(&columns.to_vec()), &[], None).await?;
        let known = Known {
            files: table.files.iter().map(|file| file.rows).sum(),
            bytes: table.files.iter().map(|file| file.bytes).sum(),
        };
        Ok(ListedFiles { scan, known })
    }
}

impl ListingFile {
    fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| internal_datafusion_err!("not a file's name: {error}"))
    }
}

/// The folder of a listing's table, which tasks write to.
pub(super) struct ListingTarget {
    folder: Location,
}

impl ListingTarget {
    /// From the client.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let Ok(url) = str::from_utf8(bytes) else {
            return internal_err!("not the URL of a folder");
        };
        let folder = Location::parse(url)?;
        Ok(Self { folder })
    }
}

impl Debug for ListingTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.folder)
    }
}

#[async_trait]
impl Target for ListingTarget {
    fn encode(&self) -> Result<WireTarget> {
        let url = self.folder.url.to_string();
        Ok(WireTarget::Listing(url.into_bytes()))
    }

    async fn is_here(&self) -> bool {
        // Whoever runs tasks has reached the storage.
        true
    }

    async fn write(
        &self,
        mut rows: SendableRecordBatchStream,
        task: &str,
        _context: &Arc<TaskContext>,
    ) -> Result<(u64, String)> {
        // A task that runs twice leaves a file that nothing names.
        let object = format!("{task}-{}.parquet", crate::unique_id());
        let file = self.folder.join(&object)?;
        // Names of a folder begin alike, and none is there twice.
        let filename = ColumnPath::from("filename");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_column_dictionary_enabled(filename.clone(), false)
            .set_column_encoding(filename, Encoding::DELTA_BYTE_ARRAY)
            .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
            .set_data_page_row_count_limit(ROWS_PER_PAGE)
            .build();
        let sink = BufWriter::new(Arc::clone(&file.store), file.path.clone());
        let schema = rows.schema();
        let mut writer = AsyncArrowWriter::try_new(sink, schema, Some(properties))?;
        let (mut count, mut bytes) = (0, 0_u64);
        while let Some(batch) = rows.try_next().await? {
            let sizes = batch.column_by_name("size");
            let sizes = sizes.and_then(|sizes| sizes.as_primitive_opt::<Int64Type>());
            let sizes = sizes.into_iter().flat_map(|sizes| sizes.iter().flatten());
            bytes += sizes.map(i64::unsigned_abs).sum::<u64>();
            count += batch.num_rows() as u64;
            writer.write(&batch).await?;
        }
        writer.finish().await?;
        let len = writer.bytes_written() as u64;
        let file = ListingFile {
            object,
            len,
            rows: count,
            bytes,
        };
        let file = serde_json::to_string(&file)
            .map_err(|error| internal_datafusion_err!("cannot name a file: {error}"))?;
        Ok((count, file))
    }
}
