//! The operator that lists files while its rows are read.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::files::{FileEntry, Found, KeyRange, Named, Order, where_true};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, SchedulingType,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::read_blob::{CONTENT, batches, listed, read_batch};

/// Record batches of content that are read at once: while one is worked on, the next one
/// is on its way.
const BATCHES_AHEAD: usize = 2;

/// What a listing says of a file.
static LISTING: LazyLock<SchemaRef> = LazyLock::new(|| {
    let utc = Some("UTC".into());
    let time = DataType::Timestamp(TimeUnit::Microsecond, utc);
    Arc::new(Schema::new(vec![
        Field::new("filename", DataType::Utf8, false),
        Field::new("size", DataType::Int64, false),
        Field::new("last_modified", time, true),
        Field::new("etag", DataType::Utf8, true),
    ]))
});

/// Makes a table of a listing, by the executors of a cluster.
#[async_trait]
pub trait MakesTables: Debug + Send + Sync {
    /// Scans the table of the files that a listing gives; `columns` are some of
    /// [`ListExec::columns`].
    async fn table_of(
        &self,
        listing: ListExec,
        columns: &[usize],
        state: &dyn Session,
    ) -> Result<ListedFiles>;
}

/// What is known of files before they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// How many there are.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// A listing that is a table.
#[derive(Debug)]
pub struct ListedFiles {
    /// Gives the columns that were asked for.
    pub scan: Arc<dyn ExecutionPlan>,
    /// How many files there are, and how many bytes they have.
    pub known: Known,
}

/// Who makes tables of listings, among the extensions of a session's settings.
#[derive(Debug)]
pub struct Listings(pub Arc<dyn MakesTables>);

/// Files as they are found, a row each. Nothing is kept of a row that was passed on.
#[derive(Debug, Clone)]
pub struct ListExec {
    patterns: Arc<[Named]>,
    /// What is listed one after the other: the number of a pattern and a range of its
    /// keys, or all of it.
    parts: Vec<(usize, Option<KeyRange>)>,
    /// Which of the files are rows, by the columns of a listing.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// How many there are more than, for people.
    more_than: usize,
    /// Whether files are opened by their names, elsewhere.
    by_name: bool,
    properties: Arc<PlanProperties>,
}

impl ListExec {
    /// Lists what some patterns stand for.
    pub(crate) fn new(
        patterns: Vec<Named>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
        more_than: usize,
    ) -> Self {
        let parts = (0..patterns.len()).map(|pattern| (pattern, None)).collect();
        Self {
            patterns: patterns.into(),
            parts,
            filter,
            more_than,
            by_name: false,
            properties: properties(schema),
        }
    }

    /// The same for whoever opens the files by their names.
    #[must_use]
    pub(crate) fn by_name(self) -> Self {
        Self {
            by_name: true,
            ..self
        }
    }

    /// The columns of a listing.
    pub fn columns() -> SchemaRef {
        Arc::clone(&LISTING)
    }

    /// Tells listings of other files apart.
    pub fn key(&self) -> String {
        let texts = self.patterns.iter().map(|named| &named.text);
        let texts: Vec<_> = texts.collect();
        format!(
            "{texts:?} {:?}",
            self.filter.as_ref().map(ToString::to_string)
        )
    }

    /// Which of the files are rows, by the columns of a listing.
    pub fn filter(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.filter.as_ref()
    }

    /// The same without its filter.
    #[must_use]
    pub fn unfiltered(self) -> Self {
        Self {
            filter: None,
            ..self
        }
    }

    /// Cuts the listing into about so many that other processes can run; `None` if they
    /// may not see the files.
    pub async fn cut(&self, wanted: usize) -> Result<Option<Vec<Self>>> {
        let mut cut = vec![];
        for (pattern, named) in self.patterns.iter().enumerate() {
            let Some(ranges) = named.ranges(wanted).await? else {
                return Ok(None);
            };
            cut.extend(ranges.into_iter().map(|range| Self {
                parts: vec![(pattern, Some(range))],
                ..self.clone()
            }));
        }
        Ok(Some(cut))
    }

    /// Writes the listing for another process, without its filter.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let (mut patterns, mut parts) = (vec![], vec![]);
        for (pattern, range) in &self.parts {
            let Some(place) = self.patterns[*pattern].to_parts() else {
                return internal_err!("a listing of this machine's files is not sent");
            };
            let range = range.clone().unwrap_or_default();
            let text = |key: Option<Path>| key.map(String::from);
            parts.push((patterns.len(), text(range.after), text(range.until)));
            patterns.push(place);
        }
        let wire = Wire { patterns, parts };
        serde_json::to_vec(&wire)
            .map_err(|error| internal_datafusion_err!("cannot send a listing: {error}"))
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|error| internal_datafusion_err!("not a listing: {error}"))?;
        let patterns = wire.patterns.into_iter();
        let patterns = patterns.map(|(text, url, pattern)| {
            Named::from_parts(text, &url, pattern.as_deref())
        });
        let patterns: Vec<Named> = patterns.collect::<Result<_>>()?;
        let key = |key: Option<String>| {
            let key = key.map(Path::parse).transpose();
            key.map_err(|error| internal_datafusion_err!("not a key: {error}"))
        };
        let parts = wire.parts.into_iter().map(|(pattern, after, until)| {
            if pattern >= patterns.len() {
                return internal_err!("a listing of no pattern");
            }
            let (after, until) = (key(after)?, key(until)?);
            Ok((pattern, Some(KeyRange { after, until })))
        });
        Ok(Self {
            parts: parts.collect::<Result<_>>()?,
            patterns: patterns.into(),
            filter: None,
            more_than: 0,
            by_name: false,
            properties: properties(Self::columns()),
        })
    }

    /// The files as they are found.
    fn found(&self) -> Found {
        let (patterns, parts) = (Arc::clone(&self.patterns), self.parts.clone());
        let (filter, by_name) = (self.filter.clone(), self.by_name);
        let pages = stream::iter(parts).flat_map(move |(pattern, range)| {
            let named = &patterns[pattern];
            match range {
                Some(range) => named.stream_of(&range),
                None => named.stream(Order::Any),
            }
        });
        let kept = pages.map(move |files| {
            let files = match &filter {
                Some(filter) => keep(filter, files?)?,
                None => files?,
            };
            let is_lost = |file: &&FileEntry| by_name && !file.is_found_by_name();
            match files.iter().find(is_lost) {
                Some(file) => exec_err!(
                    "executors open files by their names, and that of {} is not valid \
                     Unicode; rename it",
                    file.filename
                ),
                None => Ok(files),
            }
        });
        kept.boxed()
    }
}

fn properties(schema: SchemaRef) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// The form in which a listing is sent.
#[derive(Serialize, Deserialize)]
struct Wire {
    patterns: Vec<(String, String, Option<String>)>,
    parts: Vec<(usize, Option<String>, Option<String>)>,
}

/// The files for which a filter over the columns of a listing is true.
fn keep(filter: &Arc<dyn PhysicalExpr>, files: Vec<FileEntry>) -> Result<Vec<FileEntry>> {
    let columns = LISTING.fields().iter();
    let columns = columns.filter_map(|field| listed(field, &files)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    let listing =
        RecordBatch::try_new_with_options(ListExec::columns(), columns, &options)?;
    where_true(filter, &listing, files)
}

impl DisplayAs for ListExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter) -> fmt::Result {
        let reads = match self.schema().column_with_name(CONTENT) {
            Some(_) => ", read as they are found",
            None => "",
        };
        write!(f, "ListExec: files>{}, a stream{reads}", self.more_than)
    }
}

impl ExecutionPlan for ListExec {
    fn name(&self) -> &'static str {
        "ListExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    /// What chooses files is part of the listing and never rewritten.
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
            false => internal_err!("ListExec takes no children"),
        }
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let reads = schema.column_with_name(CONTENT).is_some();
        let rows = context.session_config().batch_size();
        let of_batches = Arc::clone(&schema);
        let batches = self.found().map_ok(move |files| {
            let cut = batches(&files, 0..files.len(), rows, reads);
            let (files, schema): (Arc<[FileEntry]>, _) =
                (files.into(), Arc::clone(&of_batches));
            stream::iter(cut).map(move |batch| {
                let (files, schema) = (Arc::clone(&files), Arc::clone(&schema));
                Ok(async move { read_batch(&files[batch], schema).await })
            })
        });
        let batches = batches.try_flatten().try_buffered(BATCHES_AHEAD);
        let batches = RecordBatchStreamAdapter::new(schema, batches);
        Ok(make_cooperative(Box::pin(batches)))
    }
}
