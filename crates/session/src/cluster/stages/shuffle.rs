//! Leaves the rows of a task in the storage, for tasks of later stages.

use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use atoll_compute::CancellationToken;
use atoll_udf_common::{CallContext, Location};
use datafusion::arrow::array::{
    ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;

use super::{Left, LocalRange, Output, Range, Shuffle};

/// What [`ShuffleExec`] gives: a row for each range.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::UInt64, false),
        Field::new("object", DataType::Utf8, false),
        Field::new("start", DataType::UInt64, false),
        Field::new("end", DataType::UInt64, false),
        Field::new("rows", DataType::UInt64, false),
    ]))
});

/// Writes its input into an object of the storage, sorted by who will read it.
pub(in crate::cluster) struct ShuffleExec {
    pub(in crate::cluster) input: Arc<dyn ExecutionPlan>,
    pub(in crate::cluster) output: Output,
    /// The folder of the statement.
    pub(in crate::cluster) folder: String,
    /// What the object's name begins with.
    pub(in crate::cluster) name: String,
    /// Who sorts rows in this process; nobody in a client.
    shuffle: Option<Arc<dyn Shuffle>>,
    properties: Arc<PlanProperties>,
}

impl ShuffleExec {
    pub(in crate::cluster) fn new(
        input: Arc<dyn ExecutionPlan>,
        output: Output,
        (folder, name): (String, String),
        shuffle: Option<Arc<dyn Shuffle>>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&SCHEMA)),
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            output,
            folder,
            name,
            shuffle,
            properties: Arc::new(properties),
        }
    }
}

/// Notes what a task left; how many rows they are, and their bytes.
pub(super) fn enter(
    left: &mut Left,
    task: usize,
    ranges: &RecordBatch,
) -> Result<(u64, u64)> {
    let [partition, object, start, end, rows] = ranges.columns() else {
        return internal_err!("a task left other columns");
    };
    let number = |column: &ArrayRef, row: usize| {
        let column = column.as_primitive_opt::<UInt64Type>();
        column.map_or(0, |column| column.value(row))
    };
    let Some(object) = object.as_string_opt::<i32>() else {
        return internal_err!("a task left no names");
    };
    let mut sum = (0, 0);
    for row in 0..ranges.num_rows() {
        let range = Range {
            object: object.value(row).to_string(),
            start: number(start, row),
            end: number(end, row),
            rows: number(rows, row),
        };
        let partition = usize::try_from(number(partition, row)).unwrap_or(usize::MAX);
        if range.rows > 0 {
            sum = (sum.0 + range.rows, sum.1 + range.end - range.start);
            left.enter(partition, task, range)?;
        }
    }
    Ok(sum)
}

/// Runs a plan and leaves its rows.
async fn leave(
    shuffle: Arc<dyn Shuffle>,
    plan: Arc<dyn ExecutionPlan>,
    output: Output,
    (folder, name): (String, String),
    context: Arc<TaskContext>,
) -> Result<RecordBatch> {
    let here = tempfile::tempdir().map_err(|error| {
        exec_datafusion_err!(
            "an executor needs a folder for temporary files: {error}; set TMPDIR"
        )
    })?;
    let token = CallContext::of(context.session_config()).token;
    let plan = Arc::new(StopExec { input: plan, token });
    let ranges = shuffle.write(plan, &output, here.path(), context).await?;
    let folder = Location::parse(&folder)?;
    let mut objects: Vec<(&Path, String)> = vec![];
    for range in &ranges {
        if !objects.iter().any(|(file, _)| *file == range.file) {
            // Two processes may run the same task, and the one whose answer comes counts.
            let object = format!("{name}-{}.arrow", crate::unique_id());
            upload(&range.file, &folder.join(&object)?).await?;
            objects.push((&range.file, object));
        }
    }
    let object_of = |range: &LocalRange| {
        let object = objects.iter().find(|(file, _)| *file == range.file);
        object
            .map(|(_, object)| object.as_str())
            .unwrap_or_default()
    };
    let numbers = |of: fn(&LocalRange) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(ranges.iter().map(of)))
    };
    let names = StringArray::from_iter_values(ranges.iter().map(object_of));
    let columns: Vec<ArrayRef> = vec![
        numbers(|range| range.partition as u64),
        Arc::new(names),
        numbers(|range| range.start),
        numbers(|range| range.end),
        numbers(|range| range.rows),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

async fn upload(file: &Path, to: &Location) -> Result<()> {
    let mut writer = BufWriter::new(Arc::clone(&to.store), to.path.clone());
    let copied = async {
        let mut file = tokio::fs::File::open(file).await?;
        tokio::io::copy(&mut file, &mut writer).await?;
        writer.shutdown().await
    };
    copied
        .await
        .map_err(|error| exec_datafusion_err!("cannot write {to}: {error}"))
}

impl Debug for ShuffleExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut exec = f.debug_struct("ShuffleExec");
        exec.field("name", &self.name).finish_non_exhaustive()
    }
}

impl DisplayAs for ShuffleExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ShuffleExec: {}", self.name)
    }
}

impl ExecutionPlan for ShuffleExec {
    fn name(&self) -> &'static str {
        "ShuffleExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
            return internal_err!("ShuffleExec takes one child");
        };
        let place = (self.folder.clone(), self.name.clone());
        let output = self.output.clone();
        Ok(Arc::new(Self::new(
            input,
            output,
            place,
            self.shuffle.clone(),
        )))
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(shuffle) = self.shuffle.clone() else {
            return internal_err!("this process shuffles no rows");
        };
        let place = (self.folder.clone(), self.name.clone());
        let input = Arc::clone(&self.input);
        let left = leave(shuffle, input, self.output.clone(), place, context);
        let left = futures::stream::once(left);
        let schema = Arc::clone(&SCHEMA);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, left)))
    }
}

/// Ends with an error when its task is cancelled: what sorts rows goes on by itself when
/// nobody wants them any more.
#[derive(Debug)]
struct StopExec {
    input: Arc<dyn ExecutionPlan>,
    token: CancellationToken,
}

impl DisplayAs for StopExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("StopExec")
    }
}

impl ExecutionPlan for StopExec {
    fn name(&self) -> &'static str {
        "StopExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
            return internal_err!("StopExec takes one child");
        };
        let token = self.token.clone();
        Ok(Arc::new(Self { input, token }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let token = self.token.clone();
        let cancelled = async move {
            token.cancelled().await;
            exec_err!("cancelled")
        };
        // Whichever comes first; rows after the error are not asked for.
        let cancelled = futures::stream::once(cancelled);
        let schema = self.schema();
        let rows = futures::stream::unfold(
            (rows, Box::pin(cancelled)),
            |(mut rows, mut cancelled)| async move {
                let next = tokio::select! {
                    biased;
                    stop = cancelled.next() => stop,
                    row = rows.next() => row,
                };
                Some((next?, (rows, cancelled)))
            },
        );
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
