//! `read_idx`: the images and labels of MNIST's own files.

use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::Location;
use atoll_udf_common::args::literal_str;
use atoll_udf_common::image::image_type;
use bytes::Bytes;
use datafusion::arrow::array::{
    ArrayRef, BinaryArray, Int64Array, RecordBatch, RecordBatchOptions, StructArray,
    UInt8Array, UInt32Array,
};
use datafusion::arrow::buffer::{Buffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, internal_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Documentation, Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::{
    RecordBatchReceiverStream, RecordBatchStreamAdapter,
};
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{TryStreamExt, stream};
use object_store::{GetOptions, GetRange};

use crate::SECTION;
use crate::idx::{Header, Kind, Reader, header, is_gzip};
use crate::scan::{Part, ScanExec};

/// How many bytes of pixels a record batch holds at most.
const BATCH_BYTES: usize = 8 << 20;

/// Enough of a packed file to unpack its header.
const START: u64 = 4096;

/// The documentation of `read_idx`.
pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        SECTION,
        "Reads images and their labels from two IDX files, the format of MNIST and its \
         successors, packed with gzip or not: `image` IMAGE (one gray channel) and `label` \
         BIGINT.",
        "read_idx(images, labels)",
    )
    .with_argument("images", "Path or URL of the images, such as `train-images-idx3-ubyte.gz`.")
    .with_argument("labels", "Path or URL of the labels, such as `train-labels-idx1-ubyte.gz`.")
    .with_sql_example(
        "SELECT label, count(*) AS images\n\
         FROM read_idx(\n\
         \x20   'tests/data/idx/train-images-idx3-ubyte.gz',\n\
         \x20   'tests/data/idx/train-labels-idx1-ubyte.gz'\n\
         )\n\
         GROUP BY label\n\
         ORDER BY label;",
    )
    .with_related_udf("read_blob")
    .with_related_udf("train")
    .build()
}

/// The table function `read_idx(images, labels)`.
#[derive(Debug)]
pub struct ReadIdx;

impl TableFunctionImpl for ReadIdx {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let files: Vec<_> = args.exprs().iter().filter_map(literal_str).collect();
        let &[images, labels] = files.as_slice() else {
            return plan_err!(
                "read_idx takes two literals, read_idx(images, labels), each the path or URL \
                 of an IDX file"
            );
        };
        if args.exprs().len() != files.len() {
            return plan_err!("read_idx takes read_idx(images, labels) and nothing else");
        }
        let schema = Schema::new(vec![
            Field::new("image", image_type(), false),
            Field::new("label", DataType::Int64, false),
        ]);
        Ok(Arc::new(IdxTable {
            images: Location::parse(images)?,
            labels: Location::parse(labels)?,
            schema: Arc::new(schema),
        }))
    }
}

#[derive(Debug)]
struct IdxTable {
    images: Location,
    labels: Location,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for IdxTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows().await?;
        let limit = limit.unwrap_or(usize::MAX);
        let rows = match rows {
            Precision::Exact(rows) => Precision::Exact(rows.min(limit)),
            rows => rows.to_inexact(),
        };
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema(),
        };
        let stream = Arc::new(Files {
            images: self.images.clone(),
            labels: self.labels.clone(),
            limit,
            schema: Arc::clone(&schema),
        });
        let label = format!(
            "ReadIdxExec: images={}, labels={}",
            self.images, self.labels
        );
        Ok(Arc::new(ScanExec::new(
            label,
            schema,
            vec![Part { stream, rows }],
        )))
    }
}

impl IdxTable {
    /// Checks the beginning of both files, and how many rows they promise.
    ///
    /// The number is exact only where the size of the files bears it out. How much a
    /// packed file really holds shows when it is unpacked.
    async fn rows(&self) -> Result<Precision<usize>> {
        let images = start(&self.images, Kind::Images).await?;
        let labels = start(&self.labels, Kind::Labels).await?;
        let (Some(images), Some(labels)) = (images, labels) else {
            return Ok(Precision::Absent);
        };
        check_counts(&self.images, &images.header, &self.labels, &labels.header)?;
        let rows = images.header.rows;
        match images.complete && labels.complete {
            true => Ok(Precision::Exact(rows)),
            false => Ok(Precision::Inexact(rows)),
        }
    }
}

fn check_counts(
    images: &Location,
    images_header: &Header,
    labels: &Location,
    labels_header: &Header,
) -> Result<()> {
    if images_header.rows == labels_header.rows {
        return Ok(());
    }
    plan_err!(
        "{images} holds {} images but {labels} holds {} labels; they must come from the same \
         set",
        images_header.rows,
        labels_header.rows
    )
}

/// What is known of a file at plan time.
struct Start {
    header: Header,
    /// Whether the file has the size that its header promises.
    complete: bool,
}

/// Reads the beginning of a file; `None` where a server gives only whole files.
async fn start(location: &Location, kind: Kind) -> Result<Option<Start>> {
    let range = Some(GetRange::Bounded(0..START));
    let options = GetOptions {
        range,
        ..GetOptions::default()
    };
    let found = match location.store.get_opts(&location.path, options).await {
        Ok(found) => found,
        Err(
            object_store::Error::NotSupported { .. }
            | object_store::Error::Generic { .. },
        ) if location.local_path().is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(location.error(error)),
    };
    let size = found.meta.size;
    let bytes = found.bytes().await.map_err(|error| location.error(error))?;
    let name = location.to_string();
    let header = header(&name, kind, &bytes)?;
    let complete = !is_gzip(&bytes) && size == header.file_bytes();
    Ok(Some(Start { header, complete }))
}

/// Reads both files side by side.
#[derive(Debug)]
struct Files {
    images: Location,
    labels: Location,
    limit: usize,
    schema: SchemaRef,
}

impl PartitionStream for Files {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (images, labels) = (self.images.clone(), self.labels.clone());
        let (limit, schema) = (self.limit, Arc::clone(&self.schema));
        let batch_size = context.session_config().batch_size();
        let batches = stream::once(async move {
            // The labels are read even when no one wants them: they are small, and
            // their number is checked against that of the images.
            let labels = (labels.to_string(), labels.read().await?);
            let wanted = schema.column_with_name("image").is_some();
            let images = match wanted {
                true => Some((images.to_string(), images.read().await?)),
                false => None,
            };
            let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), 2);
            let sender = builder.tx();
            builder.spawn_blocking(move || {
                let mut rows = Rows::open(images, labels, limit)?;
                while let Some(batch) = rows.next_batch(&schema, batch_size)? {
                    if sender.blocking_send(Ok(batch)).is_err() {
                        // The statement is over.
                        return Ok(());
                    }
                }
                Ok(())
            });
            Ok::<_, DataFusionError>(builder.build())
        });
        let batches = batches.try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        ))
    }
}

/// The rows that are left in two files.
struct Rows {
    images: Option<Reader>,
    labels: Option<Reader>,
    rows: usize,
    /// Whether the files end with the last row, or a limit does.
    whole: bool,
}

impl Rows {
    fn open(
        images: Option<(String, Bytes)>,
        labels: (String, Bytes),
        limit: usize,
    ) -> Result<Self> {
        let labels = Reader::open(&labels.0, Kind::Labels, labels.1)?;
        let images = images
            .map(|(name, bytes)| Reader::open(&name, Kind::Images, bytes))
            .transpose()?;
        let promised = labels.header.rows;
        if let Some(images) = &images
            && images.header.rows != promised
        {
            return plan_err!("{} images but {promised} labels", images.header.rows);
        }
        let rows = promised.min(limit);
        Ok(Self {
            images,
            labels: Some(labels),
            rows,
            whole: rows == promised,
        })
    }

    fn next_batch(
        &mut self,
        schema: &SchemaRef,
        batch_size: usize,
    ) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return self.finish();
        }
        let image_bytes = self
            .images
            .as_ref()
            .map_or(1, |images| images.header.row_bytes());
        let rows = (BATCH_BYTES / image_bytes)
            .clamp(1, batch_size)
            .min(self.rows);
        let Some(labels) = &mut self.labels else {
            return internal_err!("read_idx reads on after its end");
        };
        let labels = labels.read(rows)?;
        let images = match &mut self.images {
            Some(reader) => {
                let pixels = reader.read(rows)?;
                Some(image_column(&reader.header, rows, pixels)?)
            }
            None => None,
        };
        self.rows -= rows;
        let label = |values: &[u8]| {
            Int64Array::from_iter_values(values.iter().map(|&v| v.into()))
        };
        let columns =
            schema
                .fields()
                .iter()
                .filter_map(|field| match field.name().as_str() {
                    "image" => images.clone(),
                    _ => Some(Arc::new(label(&labels)) as ArrayRef),
                });
        // The row count matters where no column is wanted.
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(schema),
            columns.collect(),
            &options,
        )?;
        Ok(Some(batch))
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let readers = [self.images.take(), self.labels.take()];
        if self.whole {
            for reader in readers.into_iter().flatten() {
                reader.finish()?;
            }
        }
        Ok(None)
    }
}

/// Images of one size as IMAGE values, without copying their pixels.
fn image_column(header: &Header, rows: usize, pixels: Vec<u8>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = image_type() else {
        return internal_err!("IMAGE is not a struct");
    };
    let offsets = OffsetBuffer::from_repeated_length(header.row_bytes(), rows);
    let data = BinaryArray::try_new(offsets, Buffer::from_vec(pixels), None)?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_value(header.width, rows)),
        Arc::new(UInt32Array::from_value(header.height, rows)),
        Arc::new(UInt8Array::from_value(1, rows)),
        Arc::new(data),
    ];
    Ok(Arc::new(StructArray::try_new(fields, columns, None)?))
}
