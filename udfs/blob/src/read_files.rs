//! The operator that opens the file that each row names.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use atoll_udf_common::args::string_at;
use atoll_udf_common::files::{Opened, open};
use atoll_udf_common::{CallContext, as_many_rows, known_rows};
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, Int64Array, RecordBatch, RecordBatchOptions,
    TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::list::Known;
use crate::read_blob::{BATCH_BYTES, READS};

/// Bytes that a file is taken to have of which nothing is known, when it is decided who
/// reads it.
const FILE_BYTES: u64 = 64 << 10;

/// What is read of a file. The numbers are those in which it is sent to executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Its bytes.
    Content = 0,
    /// How many they are.
    Size = 1,
    /// When they were changed last.
    LastModified = 2,
}

impl Part {
    /// All of them, in the order of `read_blob`'s columns.
    pub const ALL: [Self; 3] = [Self::Content, Self::Size, Self::LastModified];

    /// The column that it is in.
    pub fn field(self, nullable: bool) -> Field {
        match self {
            Self::Content => Field::new("content", DataType::Binary, nullable),
            Self::Size => Field::new("size", DataType::Int64, nullable),
            Self::LastModified => {
                let utc = Some("UTC".into());
                let time = DataType::Timestamp(TimeUnit::Microsecond, utc);
                Field::new("last_modified", time, true)
            }
        }
    }
}

/// A column of a [`ReadFilesExec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartColumn {
    /// What is in it.
    pub part: Part,
    /// Whether anybody looks at it. It is NULL otherwise.
    pub is_read: bool,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// The rows of its input in their order, with columns of the file that each of them names.
#[derive(Debug)]
pub struct ReadFilesExec {
    input: Arc<dyn ExecutionPlan>,
    /// Which column of the input names the file.
    filename: usize,
    columns: Vec<PartColumn>,
    /// How many files there are, where it is known.
    known: Option<Known>,
    properties: Arc<PlanProperties>,
}

impl ReadFilesExec {
    /// Reads the files that a column of text names.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        filename: usize,
        columns: Vec<PartColumn>,
        known: Option<Known>,
    ) -> Self {
        let of_input = input.schema();
        let added = columns.iter().map(|c| Arc::new(c.part.field(c.nullable)));
        let fields: Vec<_> = of_input.fields().iter().cloned().chain(added).collect();
        let schema = Schema::new_with_metadata(fields, of_input.metadata().clone());
        let mut equivalences = EquivalenceProperties::new(Arc::new(schema));
        if let Some(ordering) = input.output_ordering() {
            // Input columns keep their place, so their ordering holds as it is.
            equivalences.add_ordering(ordering.clone());
        }
        let properties = PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            filename,
            columns,
            known,
            properties: Arc::new(properties),
        }
    }

    /// Which column of the input names the file.
    pub fn filename(&self) -> usize {
        self.filename
    }

    /// What is read of each file.
    pub fn columns(&self) -> &[PartColumn] {
        &self.columns
    }

    /// The same, reading nothing that `is_used` says of its columns that nobody looks at.
    #[must_use]
    pub fn reading(&self, is_used: impl Fn(usize) -> bool) -> Self {
        let width = self.input.schema().fields().len();
        let columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| PartColumn {
                // NULL is what stands for a part that is not read.
                is_read: column.is_read && (is_used(width + n) || !column.nullable),
                ..*column
            });
        let columns = columns.collect();
        Self::new(Arc::clone(&self.input), self.filename, columns, self.known)
    }

    fn reads(&self, part: Part) -> bool {
        let columns = &mut self.columns.iter();
        columns.any(|column| column.part == part && column.is_read)
    }

    /// About how many bytes it reads, as far as that can be told.
    pub fn bytes(&self) -> u64 {
        if !self.reads(Part::Content) {
            return 0;
        }
        if let Some(known) = self.known {
            return known.bytes;
        }
        let rows = known_rows(self.input.as_ref());
        (rows.unwrap_or_default() as u64).saturating_mul(FILE_BYTES)
    }
}

impl DisplayAs for ReadFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter) -> fmt::Result {
        let input = self.input.schema();
        let name = input.field(self.filename).name();
        let parts = self.columns.iter().filter(|column| column.is_read);
        let parts: Vec<_> = parts
            .map(|column| column.part.field(true).name().clone())
            .collect();
        write!(f, "ReadFilesExec: by={name}, read=[{}]", parts.join(", "))?;
        match self.known {
            Some(Known { files, bytes }) => {
                write!(f, ", listed files={files}, bytes={bytes}")
            }
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ReadFilesExec {
    fn name(&self) -> &'static str {
        "ReadFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (1, Some(input)) = (children.len(), children.pop()) else {
            return internal_err!("ReadFilesExec takes one child");
        };
        let columns = self.columns.clone();
        Ok(Arc::new(Self::new(
            input,
            self.filename,
            columns,
            self.known,
        )))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// A row in is a row out; nothing is known of the new columns.
    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(as_many_rows(&self.schema(), inputs))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, Arc::clone(&context))?;
        let reader = Arc::new(Reader {
            schema: self.schema(),
            filename: self.filename,
            columns: self.columns.clone(),
            // What does not fit into a value is told by its size.
            most: self.reads(Part::Content).then_some(i32::MAX as u64),
            opens: self.columns.iter().any(|column| column.is_read),
            context: CallContext::of(context.session_config()),
        });
        let rows = rows.map_ok(move |batch| Reader::read(&reader, batch));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            rows.try_flatten(),
        )))
    }
}

/// What the rows of a partition share.
struct Reader {
    schema: SchemaRef,
    filename: usize,
    columns: Vec<PartColumn>,
    most: Option<u64>,
    opens: bool,
    context: CallContext,
}

impl Reader {
    /// Opens the files of a record batch, several at once, and gives its rows in smaller
    /// ones if much is read.
    fn read(
        reader: &Arc<Self>,
        batch: RecordBatch,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
        let names = Arc::clone(batch.column(reader.filename));
        let of_rows = Arc::clone(reader);
        let opened = stream::iter(0..batch.num_rows()).map(move |row| {
            let (reader, names) = (Arc::clone(&of_rows), Arc::clone(&names));
            async move {
                match string_at(&names, row) {
                    Some(name) if reader.opens => reader.open(name).await.map(Some),
                    _ => Ok(None),
                }
            }
        });
        let state = (Arc::clone(reader), opened.buffered(READS).boxed(), batch, 0);
        stream::try_unfold(state, |(reader, mut opened, batch, start)| async move {
            let (mut rows, mut bytes) = (vec![], 0);
            while bytes < BATCH_BYTES {
                let Some(file) = opened.try_next().await? else {
                    break;
                };
                let content = file.as_ref().and_then(|file| file.content.as_ref());
                bytes += content.map_or(0, |content| content.len() as u64);
                rows.push(file);
            }
            if rows.is_empty() {
                return Ok(None);
            }
            let some = reader.with_parts(&batch.slice(start, rows.len()), &rows)?;
            let end = start + rows.len();
            Ok(Some((some, (reader, opened, batch, end))))
        })
    }

    async fn open(&self, name: &str) -> Result<Opened> {
        let file = open(name, self.most, &self.context).await?;
        match (self.most, &file.content) {
            (Some(_), None) => exec_err!(
                "{name} is too large for a value, {} bytes; read_blob reads files below \
                 2 GiB",
                file.size
            ),
            _ => Ok(file),
        }
    }

    /// Rows with the parts of their files.
    fn with_parts(
        &self,
        rows: &RecordBatch,
        files: &[Option<Opened>],
    ) -> Result<RecordBatch> {
        let mut all: Vec<ArrayRef> = rows.columns().to_vec();
        for column in &self.columns {
            let field = column.part.field(column.nullable);
            all.push(match column.is_read {
                true => part(column.part, files)?,
                false => new_null_array(field.data_type(), files.len()),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, all, &options)?)
    }
}

/// One part of some files.
fn part(part: Part, files: &[Option<Opened>]) -> Result<ArrayRef> {
    let files = files.iter().map(Option::as_ref);
    Ok(match part {
        Part::Content => {
            let contents: Vec<_> = files
                .map(|file| file.and_then(|f| f.content.as_ref()))
                .collect();
            let bytes: usize = contents.iter().flatten().map(|c| c.len()).sum();
            if i32::try_from(bytes).is_err() {
                return exec_err!(
                    "two files after each other have {bytes} bytes, more than 2 GiB; \
                     leave the larger one out"
                );
            }
            let mut column = BinaryBuilder::with_capacity(contents.len(), bytes);
            contents.iter().for_each(|c| column.append_option(*c));
            Arc::new(column.finish())
        }
        Part::Size => {
            let size = |file: &Opened| i64::try_from(file.size).unwrap_or(i64::MAX);
            Arc::new(Int64Array::from_iter(files.map(|file| file.map(size))))
        }
        Part::LastModified => {
            let times = files.map(|file| file.and_then(|file| file.last_modified));
            Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone("UTC"))
        }
    })
}
