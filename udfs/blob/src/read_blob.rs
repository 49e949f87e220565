//! `read_blob`: the files of a folder, a pattern or a URL, a row each.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use atoll_udf_common::CallContext;
use atoll_udf_common::files::FileEntry;
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{
    Result, ScalarValue, exec_err, internal_datafusion_err, plan_err,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Documentation, Expr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::SECTION;
use crate::blob_table::BlobTable;
use crate::scan::ScanExec;

/// How much content a record batch holds, give or take its last file.
pub(crate) const BATCH_BYTES: u64 = 8 << 20;

/// How many files of a record batch are read at once: enough to hide the latency of
/// an object store, few enough for a disk.
pub(crate) const READS: usize = 16;

pub(crate) const CONTENT: &str = "content";

/// The documentation of `read_blob`.
pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        SECTION,
        "Lists files and reads them, a row each: `filename` VARCHAR, `content` BLOB, `size` \
         BIGINT and `last_modified` TIMESTAMP. A file is read only if `content` is used. A \
         pattern that matches no file is an error. Up to 100,000 files \
         (`atoll.distribute_files`) come in the order of their names; more are never held \
         in memory, and come as they are found. The names may be those of a query: its \
         columns stay, those of the files come beside them, `size` and `last_modified` \
         unless the query has them, and a file that cannot be read is an error that names \
         it (`try_url_download` gives a row instead). NULL for a name is NULL for its \
         file.",
        "read_blob(files)",
    )
    .with_argument(
        "files",
        "A file, a folder (all files below it but hidden ones), a pattern with `*`, `**`, \
         `?` and `[a-z]`, a URL (s3://, gs://, az://, https://), a list of these, or a \
         query in parentheses of its own, `read_blob((SELECT ..))`, of one column or with \
         a column `filename`.",
    )
    .with_sql_example(
        "SELECT filename, size FROM read_blob('sql/data/photos/*.png') ORDER BY size DESC;",
    )
    .with_related_udf("read_idx")
    .with_related_udf("url_download")
    .build()
}

/// The table function `read_blob(files)`.
#[derive(Debug)]
pub struct ReadBlob;

impl TableFunctionImpl for ReadBlob {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(files, _)] = args.exprs() else {
            return plan_err!(
                "read_blob takes one literal, a file, folder, pattern or URL or a list of \
                 them, or a query of names: read_blob((SELECT filename FROM ..))"
            );
        };
        let patterns = patterns(files)?;
        Ok(Arc::new(BlobTable::new(patterns, Arc::new(schema()))))
    }
}

fn schema() -> Schema {
    let utc = Some("UTC".into());
    Schema::new(vec![
        Field::new("filename", DataType::Utf8, false),
        Field::new(CONTENT, DataType::Binary, false),
        Field::new("size", DataType::Int64, false),
        Field::new(
            "last_modified",
            DataType::Timestamp(TimeUnit::Microsecond, utc),
            true,
        ),
    ])
}

fn patterns(files: &ScalarValue) -> Result<Vec<String>> {
    if let Some(Some(pattern)) = files.try_as_str() {
        return Ok(vec![pattern.to_string()]);
    }
    let items = match files {
        ScalarValue::List(list) => list.value(0),
        ScalarValue::LargeList(list) => list.value(0),
        ScalarValue::FixedSizeList(list) => list.value(0),
        other => {
            return plan_err!(
                "read_blob takes text or a list of text, got {}",
                other.data_type()
            );
        }
    };
    if items.is_empty() {
        return plan_err!("read_blob takes at least one file, got []");
    }
    (0..items.len())
        .map(
            |item| match ScalarValue::try_from_array(&items, item)?.try_as_str() {
                Some(Some(pattern)) => Ok(pattern.to_string()),
                _ => {
                    plan_err!("read_blob takes a list of text without NULL, got {files}")
                }
            },
        )
        .collect()
}

/// A scan of files with at most this many partitions.
pub(crate) fn scan(
    files: Vec<FileEntry>,
    schema: SchemaRef,
    partitions: usize,
) -> ScanExec {
    let files: Arc<[FileEntry]> = files.into();
    let label = format!("ReadBlobExec: files={}", files.len());
    let shares = shares(files.len(), partitions).map(|share| Share {
        files: Arc::clone(&files),
        share,
        schema: Arc::clone(&schema),
    });
    let shares: Vec<Share> = shares.collect();
    ScanExec::of_files(label, schema, shares.into())
}

/// How many bytes each file of a scan's partition has, where the scan can be cut into
/// pieces that other processes read by themselves.
pub fn file_sizes(plan: &dyn ExecutionPlan, partition: usize) -> Option<Vec<u64>> {
    let share = plan.downcast_ref::<ScanExec>()?.share(partition)?;
    let files = share.files();
    let found_again = files.iter().all(FileEntry::is_found_by_name);
    found_again.then(|| files.iter().map(|file| file.size).collect())
}

/// The scan of some files of a partition.
pub fn scan_piece(
    plan: &dyn ExecutionPlan,
    partition: usize,
    piece: Range<usize>,
) -> Option<Arc<dyn ExecutionPlan>> {
    let share = plan.downcast_ref::<ScanExec>()?.share(partition)?;
    let files = share.files().get(piece)?.to_vec();
    Some(Arc::new(scan(files, Arc::clone(&share.schema), 1)))
}

/// A scan in the form in which it is sent to another process.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    columns: Vec<String>,
    files: Vec<(Cow<'a, str>, u64, Option<i64>)>,
}

/// Writes a scan for another process; `None` when `plan` is no scan of files.
pub fn encode_scan(plan: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    let share = plan.downcast_ref::<ScanExec>()?.share(0)?;
    let fields = share.schema.fields().iter();
    let files = share.files().iter().map(|file| {
        let name = Cow::Borrowed(file.filename.as_str());
        (name, file.size, file.last_modified)
    });
    let wire = Wire {
        columns: fields.map(|field| field.name().clone()).collect(),
        files: files.collect(),
    };
    let bytes = serde_json::to_vec(&wire);
    Some(bytes.map_err(|error| internal_datafusion_err!("cannot send a scan: {error}")))
}

/// Reads what [`encode_scan`] wrote; relative names start where `context` says.
pub fn decode_scan(
    bytes: &[u8],
    context: &CallContext,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wire: Wire<'_> = serde_json::from_slice(bytes)
        .map_err(|error| internal_datafusion_err!("not a scan: {error}"))?;
    let all = schema();
    let fields = wire
        .columns
        .iter()
        .map(|name| Ok(all.field_with_name(name)?.clone()));
    let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
    let files = wire.files.into_iter().map(|(name, size, modified)| {
        FileEntry::find_again(name.into_owned(), size, modified, context)
    });
    let files: Vec<_> = files.collect::<Result<_>>()?;
    Ok(Arc::new(scan(files, schema, 1)))
}

/// Cuts `files` into at most `parts` runs of equal length, at least one.
fn shares(files: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.min(files).max(1);
    (0..parts).map(move |part| part * files / parts..(part + 1) * files / parts)
}

/// The files of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    files: Arc<[FileEntry]>,
    share: Range<usize>,
    schema: SchemaRef,
}

impl Share {
    pub(crate) fn files(&self) -> &[FileEntry] {
        &self.files[self.share.clone()]
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reads = self.schema.column_with_name(CONTENT).is_some();
        let rows = context.session_config().batch_size();
        let batches = batches(&self.files, self.share.clone(), rows, reads);
        let (files, schema) = (Arc::clone(&self.files), Arc::clone(&self.schema));
        let batches = stream::iter(batches).then(move |batch| {
            let (files, schema) = (Arc::clone(&files), Arc::clone(&schema));
            async move { read_batch(&files[batch], schema).await }
        });
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        ))
    }
}

/// Cuts a share into record batches of at most `rows` rows, and where content is read
/// of about [`BATCH_BYTES`].
pub(crate) fn batches(
    files: &[FileEntry],
    share: Range<usize>,
    rows: usize,
    reads: bool,
) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (share.start, 0);
    for file in share.clone() {
        let size = if reads { files[file].size } else { 0 };
        if file > start && (file - start >= rows || bytes + size > BATCH_BYTES) {
            batches.push(start..file);
            (start, bytes) = (file, 0);
        }
        bytes += size;
    }
    if start < share.end {
        batches.push(start..share.end);
    }
    batches
}

pub(crate) async fn read_batch(
    files: &[FileEntry],
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match listed(field, files) {
            Some(column) => column,
            None => content(files).await?,
        });
    }
    // The row count matters where no column is wanted.
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// A column that is known from the listing; `None` for the content.
pub(crate) fn listed(field: &Field, files: &[FileEntry]) -> Option<ArrayRef> {
    let column: ArrayRef = match field.name().as_str() {
        "filename" => Arc::new(StringArray::from_iter_values(
            files.iter().map(|file| &file.filename),
        )),
        "size" => Arc::new(Int64Array::from_iter_values(
            files
                .iter()
                .map(|file| i64::try_from(file.size).unwrap_or(i64::MAX)),
        )),
        "last_modified" => {
            let times = files.iter().map(|file| file.last_modified);
            Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone("UTC"))
        }
        "etag" => Arc::new(StringArray::from_iter(files.iter().map(FileEntry::e_tag))),
        _ => return None,
    };
    Some(column)
}

async fn content(files: &[FileEntry]) -> Result<ArrayRef> {
    if let Some(file) = files.iter().find(|file| i32::try_from(file.size).is_err()) {
        return exec_err!(
            "{} is too large for a value, {} bytes; read_blob reads files below 2 GiB, \
             leave it out with WHERE size < 2147483648",
            file.filename,
            file.size
        );
    }
    // Reads in the order of the files, so a batch needs no sorting afterwards.
    let contents: Vec<_> = stream::iter(files)
        .map(FileEntry::read)
        .buffered(READS)
        .try_collect()
        .await?;
    let bytes: usize = contents.iter().map(|content| content.len()).sum();
    if i32::try_from(bytes).is_err() {
        return exec_err!(
            "files grew while they were read, among them {}",
            files[0].filename
        );
    }
    let mut column = BinaryBuilder::with_capacity(contents.len(), bytes);
    for content in contents {
        column.append_value(content);
    }
    Ok(Arc::new(column.finish()))
}

#[cfg(test)]
mod tests {
    use atoll_udf_common::files::list;

    use super::*;

    async fn entries(sizes: &[usize]) -> (tempfile::TempDir, Vec<FileEntry>) {
        let folder = tempfile::tempdir().unwrap();
        for (i, size) in sizes.iter().enumerate() {
            let file =
                std::fs::File::create(folder.path().join(format!("{i:03}"))).unwrap();
            file.set_len(*size as u64).unwrap();
        }
        let files = list(folder.path().to_str().unwrap()).await.unwrap();
        (folder, files)
    }

    #[test]
    fn shares_cover_all_files_in_order() {
        for (files, parts) in [(0, 4), (3, 4), (10, 4), (1000, 7)] {
            let shares: Vec<_> = shares(files, parts).collect();
            assert_eq!(shares[0].start, 0);
            assert_eq!(shares.last().unwrap().end, files);
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }

    #[tokio::test]
    async fn batches_are_bounded_by_bytes_only_when_content_is_read() {
        let (_folder, files) = entries(&[5 << 20, 5 << 20, 20 << 20, 1, 1]).await;
        assert_eq!(batches(&files, 0..5, 100, true), [0..1, 1..2, 2..3, 3..5]);
        assert_eq!(batches(&files, 0..5, 100, false), [0..5, 5..5][..1]);
        assert_eq!(batches(&files, 1..5, 3, false), [1..4, 4..5]);
        assert!(batches(&files, 0..0, 3, true).is_empty());
    }

    #[tokio::test]
    async fn a_file_of_2_gib_is_refused_with_a_remedy() {
        let (_folder, files) = entries(&[1 << 31]).await;
        let error = content(&files).await.unwrap_err().strip_backtrace();
        assert!(error.contains("WHERE size <"), "{error}");
    }

    #[test]
    fn only_text_names_files() {
        let error = patterns(&ScalarValue::Int64(Some(1)))
            .unwrap_err()
            .strip_backtrace();
        assert!(
            error.contains("takes text or a list of text, got Int64"),
            "{error}"
        );
        let list = ScalarValue::new_list_nullable(
            &[ScalarValue::Utf8(Some("a".into())), ScalarValue::Utf8(None)],
            &DataType::Utf8,
        );
        assert!(patterns(&ScalarValue::List(list)).is_err());
    }
}
