//! The operator that runs expensive calls on the compute pool.

use std::fmt::{self, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use atoll_udf_common::{CallContext, Grain, PreparedCall, RowError};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{
    DataFusionError, Result, Statistics, exec_datafusion_err, internal_err,
};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ScalarFunctionArgs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use tokio_util::sync::DropGuard;

/// How many bytes of input may be with the pool at once, for each partition. Enough
/// that cores never wait for the next record batch, small beside any memory limit.
const BYTES_IN_FLIGHT: usize = 64 << 20;

/// How many rows may be with the pool at once, for each partition. Their results wait
/// for the slowest row before them, and a decoded image is much larger than its file.
const ROWS_IN_FLIGHT: usize = 1024;

/// Larger record batches are cut: the result of one piece has to fit one Arrow array,
/// which holds at most 2 GiB of pixels.
const ROWS_PER_PIECE: usize = 64;

/// One call, planned.
#[derive(Debug, Clone)]
pub(crate) struct PhysicalCall {
    /// The SQL name of the function.
    pub(crate) function: String,
    /// The name of the column it makes.
    pub(crate) name: String,
    pub(crate) prepared: Arc<dyn PreparedCall>,
    pub(crate) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) arg_fields: Vec<FieldRef>,
    pub(crate) return_field: FieldRef,
    /// How a cluster deals the rows.
    pub(crate) grain: Grain,
    /// What an executor needs beyond the arguments, once that is where it can find it.
    pub(crate) shipped: Option<Vec<u8>>,
}

/// The rows of `input` in their order, with one more column for each call.
///
/// Rows of several record batches are with the compute pool at once, so a slow row
/// holds up neither the rows behind it nor a core.
#[derive(Debug)]
pub(crate) struct ExpensiveExec {
    calls: Vec<PhysicalCall>,
    /// The input column that names a row's file, for error messages.
    source: Option<usize>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ExpensiveExec {
    pub(crate) fn try_new(
        calls: Vec<PhysicalCall>,
        source: Option<usize>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let mut fields = input.schema().fields().to_vec();
        fields.extend(calls.iter().map(|call| {
            let field = call.return_field.as_ref().clone();
            Arc::new(field.with_name(&call.name).with_nullable(true))
        }));
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let mut equivalences = EquivalenceProperties::new(schema);
        if let Some(ordering) = input.output_ordering() {
            // Input columns keep their place, so their ordering holds as it is.
            equivalences.add_ordering(ordering.clone());
        }
        let properties = Arc::new(PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Ok(Self {
            calls,
            source,
            input,
            properties,
        })
    }
}

impl ExpensiveExec {
    pub(crate) fn calls(&self) -> &[PhysicalCall] {
        &self.calls
    }

    pub(crate) fn source(&self) -> Option<usize> {
        self.source
    }

    /// The finest grain of its calls.
    pub(crate) fn grain(&self) -> Grain {
        let grains = self.calls.iter().map(|call| call.grain);
        grains.max().unwrap_or(Grain::Groups)
    }

    /// The same calls over `input`, ready to be sent to another process.
    pub(crate) async fn shipped(
        &self,
        input: Arc<dyn ExecutionPlan>,
        context: &CallContext,
    ) -> Result<Self> {
        let mut calls = self.calls.clone();
        for call in &mut calls {
            call.shipped = Some(call.prepared.ship(context).await?);
        }
        Self::try_new(calls, self.source, input)
    }
}

impl DisplayAs for ExpensiveExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let calls = self.calls.iter().map(|call| {
            let args: Vec<_> = call.args.iter().map(ToString::to_string).collect();
            format!("{}({})", call.function, args.join(", "))
        });
        let calls = calls.collect::<Vec<_>>().join(", ");
        match kind {
            DisplayFormatType::TreeRender => write!(f, "{calls}"),
            _ => write!(f, "ExpensiveExec: calls=[{calls}]"),
        }
    }
}

impl ExecutionPlan for ExpensiveExec {
    fn name(&self) -> &'static str {
        "ExpensiveExec"
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

    /// The pool spreads the rows; more partitions would only shuffle them.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for arg in self.calls.iter().flat_map(|call| &call.args) {
            if f(arg)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (1, Some(input)) = (children.len(), children.pop()) else {
            return internal_err!("ExpensiveExec takes one child");
        };
        Ok(Arc::new(Self::try_new(
            self.calls.clone(),
            self.source,
            input,
        )?))
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
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = inputs
            .first()
            .map_or(Precision::Absent, |input| input.num_rows);
        Ok(Arc::new(statistics))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let call_context = CallContext::of(context.session_config());
        let stop = call_context.token.clone().drop_guard();
        Ok(Box::pin(ExpensiveStream {
            input: self.input.execute(partition, Arc::clone(&context))?,
            input_ended: false,
            rest: None,
            in_flight: FuturesOrdered::new(),
            rows_in_flight: 0,
            bytes_in_flight: 0,
            work: Arc::new(Work {
                calls: self.calls.clone(),
                source: self.source,
                schema: self.schema(),
                options: Arc::clone(context.session_config().options()),
                context: call_context,
            }),
            _stop: stop,
        }))
    }
}

/// Everything that evaluating a record batch needs.
struct Work {
    calls: Vec<PhysicalCall>,
    source: Option<usize>,
    schema: SchemaRef,
    options: Arc<ConfigOptions>,
    context: CallContext,
}

impl Work {
    async fn evaluate(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let calls = self.calls.iter().map(|call| self.call(call, &batch));
        let mut columns = batch.columns().to_vec();
        columns.extend(try_join_all(calls).await?);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    async fn call(&self, call: &PhysicalCall, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(new_empty_array(call.return_field.data_type()));
        }
        let args = call.args.iter().map(|arg| arg.evaluate(batch));
        let args = ScalarFunctionArgs {
            args: args.collect::<Result<_>>()?,
            arg_fields: call.arg_fields.clone(),
            number_rows: rows,
            return_field: Arc::clone(&call.return_field),
            config_options: Arc::clone(&self.options),
        };
        let result = match &self.context.given_up {
            Some(reason) => call.prepared.give_up(args, &self.context, reason).await,
            None => call.prepared.invoke(args, &self.context).await,
        };
        let array = result.map_err(|error| self.describe(error, batch))?;
        if array.len() != rows {
            return internal_err!(
                "{} returned {} rows for {rows}",
                call.function,
                array.len()
            );
        }
        Ok(array)
    }

    /// Names the file or URL of the row that failed, where a column does.
    fn describe(&self, error: DataFusionError, batch: &RecordBatch) -> DataFusionError {
        let DataFusionError::External(external) = &error else {
            return error;
        };
        let Some(failed) = external.downcast_ref::<RowError>() else {
            return error;
        };
        let message = failed.error.strip_backtrace();
        let message = ["Execution error: ", "External error: "]
            .iter()
            .fold(message.as_str(), |text, prefix| {
                text.trim_start_matches(prefix)
            });
        let source = self
            .source
            .filter(|column| batch.column(*column).is_valid(failed.row))
            .and_then(|column| {
                array_value_to_string(batch.column(column), failed.row).ok()
            });
        match source {
            Some(source) => exec_datafusion_err!("{source}: {message}"),
            None => exec_datafusion_err!("{message}"),
        }
    }
}

/// A piece of a record batch with the pool: its rows, its bytes, its result.
type Piece = (usize, usize, Result<RecordBatch>);

/// Keeps pieces of record batches with the pool, as many as the limits allow.
struct ExpensiveStream {
    input: SendableRecordBatchStream,
    input_ended: bool,
    /// What is left of the record batch that is being cut, and its bytes a row.
    rest: Option<(RecordBatch, usize)>,
    in_flight: FuturesOrdered<BoxFuture<'static, Piece>>,
    rows_in_flight: usize,
    bytes_in_flight: usize,
    work: Arc<Work>,
    /// Stops the rows that are with the pool when the statement is dropped.
    _stop: DropGuard,
}

impl ExpensiveStream {
    fn has_room(&self) -> bool {
        self.rows_in_flight < ROWS_IN_FLIGHT && self.bytes_in_flight < BYTES_IN_FLIGHT
    }

    /// Gives the next piece of `batch` to the pool and keeps the rest.
    fn start(&mut self, batch: &RecordBatch, row_bytes: usize) {
        let rows = batch.num_rows().min(ROWS_PER_PIECE);
        let piece = batch.slice(0, rows);
        let left = batch.num_rows() - rows;
        self.rest = (left > 0).then(|| (batch.slice(rows, left), row_bytes));
        let bytes = row_bytes * rows;
        self.rows_in_flight += rows;
        self.bytes_in_flight += bytes;
        let work = Arc::clone(&self.work);
        let evaluate = async move { (rows, bytes, work.evaluate(piece).await) };
        self.in_flight.push_back(Box::pin(evaluate));
    }
}

impl Stream for ExpensiveStream {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        while self.has_room() {
            if let Some((rest, row_bytes)) = self.rest.take() {
                self.start(&rest, row_bytes);
                continue;
            }
            if self.input_ended {
                break;
            }
            match self.input.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    // Slices share their buffers, so a row counts for its share.
                    let row_bytes =
                        batch.get_array_memory_size() / batch.num_rows().max(1);
                    self.start(&batch, row_bytes);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => self.input_ended = true,
                Poll::Pending => break,
            }
        }
        match self.in_flight.poll_next_unpin(cx) {
            Poll::Ready(Some((rows, bytes, result))) => {
                self.rows_in_flight -= rows;
                self.bytes_in_flight -= bytes;
                Poll::Ready(Some(result))
            }
            Poll::Ready(None) if self.input_ended && self.rest.is_none() => {
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        }
    }
}

impl RecordBatchStream for ExpensiveStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.work.schema)
    }
}
