//! The rows of one partition on their way through the compute pool.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use atoll_compute::panics::catch_async;
use atoll_compute::pool;
use atoll_udf_common::{CallContext, Rescue, RowError, panicked};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, internal_err,
};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::logical_expr::ScalarFunctionArgs;
use futures::future::{BoxFuture, try_join, try_join_all};
use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use tokio_util::sync::DropGuard;

use super::exec::PhysicalCall;
use super::joined::{Group, Joined};

/// How many bytes of input and of results may be with the pool at once, for each
/// partition. Enough that cores never wait for the next record batch, small beside any
/// memory limit.
const BYTES_IN_FLIGHT: usize = 64 << 20;

/// How many rows may be with the pool at once, for each partition: their results wait
/// for the slowest row before them.
const ROWS_IN_FLIGHT: usize = 1024;

/// Larger record batches are cut, so that results come while others are computed.
const ROWS_PER_PIECE: usize = 64;

/// How many rows are with the pool before one of them has shown how large a result is.
const ROWS_AT_FIRST: usize = 16;

/// Everything that evaluating a record batch needs.
pub(super) struct Work {
    pub(super) calls: Vec<PhysicalCall>,
    pub(super) joined: Arc<Joined>,
    pub(super) source: Option<usize>,
    pub(super) schema: SchemaRef,
    pub(super) options: Arc<ConfigOptions>,
    pub(super) context: CallContext,
    /// Who finds the row that brought a process down, and this operator's number there.
    pub(super) rescue: Option<(Arc<dyn Rescue>, u32)>,
}

impl Work {
    /// Evaluates a piece whose first row has the number `first`.
    async fn evaluate(&self, piece: RecordBatch, first: u64) -> Result<RecordBatch> {
        match &self.rescue {
            None => self.rows(piece, self.context.given_up.as_deref()).await,
            Some((rescue, operator)) => {
                self.carefully(piece, first, rescue.as_ref(), *operator)
                    .await
            }
        }
    }

    /// Evaluates a piece of a task that brought a process down before.
    async fn carefully(
        &self,
        piece: RecordBatch,
        first: u64,
        rescue: &dyn Rescue,
        operator: u32,
    ) -> Result<RecordBatch> {
        let rows = piece.num_rows();
        let deaths = rescue.start(operator, first..first + rows as u64).await?;
        if rows == 1 {
            // One process died of all rows together.
            let reason = rescue.gives_up(1 + deaths);
            return self.rows(piece, reason.as_deref()).await;
        }
        if deaths == 0 {
            return self.rows(piece, None).await;
        }
        let mut done = vec![];
        for row in 0..rows {
            let number = first + row as u64;
            let alone = rescue.start(operator, number..number + 1).await?;
            let reason = rescue.gives_up(1 + deaths.min(1) + alone);
            done.push(self.rows(piece.slice(row, 1), reason.as_deref()).await?);
        }
        Ok(concat_batches(&self.schema, &done)?)
    }

    async fn rows(
        &self,
        batch: RecordBatch,
        given_up: Option<&str>,
    ) -> Result<RecordBatch> {
        let groups = match given_up {
            // Each has its own words for it.
            Some(_) => &[],
            None => self.joined.groups(&self.calls, &self.context).await?,
        };
        let is_alone =
            |place: &usize| !groups.iter().any(|group| group.members.contains(place));
        let alone: Vec<usize> = (0..self.calls.len()).filter(is_alone).collect();
        let calls = alone.iter();
        let calls = calls.map(|place| self.call(&self.calls[*place], &batch, given_up));
        let together = groups.iter().map(|group| self.together(group, &batch));
        let evaluated = try_join(try_join_all(calls), try_join_all(together)).await?;
        let (arrays, together) = evaluated;
        let mut made: Vec<(usize, ArrayRef)> = alone.into_iter().zip(arrays).collect();
        made.extend(together.into_iter().flatten());
        made.sort_by_key(|(place, _)| *place);
        let mut columns = batch.columns().to_vec();
        columns.extend(made.into_iter().map(|(_, array)| array));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn arguments(
        &self,
        call: &PhysicalCall,
        batch: &RecordBatch,
    ) -> Result<ScalarFunctionArgs> {
        let args = call.args.iter().map(|arg| arg.evaluate(batch));
        Ok(ScalarFunctionArgs {
            args: args.collect::<Result<_>>()?,
            arg_fields: call.arg_fields.clone(),
            number_rows: batch.num_rows(),
            return_field: Arc::clone(&call.return_field),
            config_options: Arc::clone(&self.options),
        })
    }

    /// Evaluates calls that are joined; each column with the place of its call.
    async fn together(
        &self,
        group: &Group,
        batch: &RecordBatch,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let calls = || group.members.iter().map(|place| &self.calls[*place]);
        if batch.num_rows() == 0 {
            let empty =
                calls().map(|call| new_empty_array(call.return_field.data_type()));
            return Ok(group.members.iter().copied().zip(empty).collect());
        }
        let args = calls().map(|call| self.arguments(call, batch));
        let args = args.collect::<Result<Vec<_>>>()?;
        let results = catch_async(group.calls.invoke(args, &self.context)).await;
        let function = &self.calls[group.members[0]].function;
        let results = results.unwrap_or_else(|panic| {
            exec_err!("{function}: {}", panicked(&panic).message())
        });
        let arrays = results.map_err(|error| self.describe(error, batch))?;
        let rows = batch.num_rows();
        let is_whole = arrays.len() == group.members.len()
            && arrays.iter().all(|array| array.len() == rows);
        if !is_whole {
            return internal_err!(
                "{function} and others did not return {rows} rows each"
            );
        }
        Ok(group.members.iter().copied().zip(arrays).collect())
    }

    async fn call(
        &self,
        call: &PhysicalCall,
        batch: &RecordBatch,
        given_up: Option<&str>,
    ) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(new_empty_array(call.return_field.data_type()));
        }
        let args = self.arguments(call, batch)?;
        let result = match given_up {
            Some(reason) => call.prepared.give_up(args, &self.context, reason),
            None => call.prepared.invoke(args, &self.context),
        };
        // Rows catch their own panics; this is for what is around them.
        let result = catch_async(result).await.unwrap_or_else(|panic| {
            exec_err!("{}: {}", call.function, panicked(&panic).message())
        });
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

/// What results have taken so far.
#[derive(Default)]
struct ResultSizes {
    rows: AtomicUsize,
    bytes: AtomicUsize,
}

impl ResultSizes {
    fn add(&self, rows: usize, columns: &[ArrayRef]) {
        self.bytes.fetch_add(bytes_of(columns), Ordering::Relaxed);
        // After the bytes: who sees rows sees bytes for them.
        self.rows.fetch_add(rows, Ordering::Release);
    }

    /// Bytes a row, or `None` before the first result.
    fn per_row(&self) -> Option<usize> {
        let rows = self.rows.load(Ordering::Acquire);
        (rows > 0).then(|| self.bytes.load(Ordering::Relaxed) / rows)
    }
}

/// What rows take, and not what the buffers take that they share with others.
fn bytes_of(columns: &[ArrayRef]) -> usize {
    columns.iter().map(array_bytes).sum()
}

fn array_bytes(array: &ArrayRef) -> usize {
    // The lower half of a view's first word is a length.
    let viewed = |views: &[u128]| -> usize {
        let lengths = views.iter().map(|view| *view as u32 as usize);
        lengths.sum::<usize>() + size_of_val(views)
    };
    match array.data_type() {
        DataType::BinaryView => viewed(array.as_binary_view().views()),
        DataType::Utf8View => viewed(array.as_string_view().views()),
        DataType::Struct(_) => bytes_of(array.as_struct().columns()),
        _ => {
            let data = array.to_data();
            let bytes = data.get_slice_memory_size();
            bytes.unwrap_or_else(|_| array.get_array_memory_size())
        }
    }
}

/// A piece of a record batch with the pool: its rows, its bytes, its result.
type Piece = (usize, usize, Result<RecordBatch>);

/// Keeps pieces of record batches with the pool, as many as the limits allow.
///
/// How much memory results take is not known before there are some: labels take a
/// hundred bytes, a decoded photo a hundred megabytes. So a partition begins with a few
/// pieces of one row, and goes on by what those have shown.
pub(super) struct ExpensiveStream {
    input: SendableRecordBatchStream,
    input_ended: bool,
    /// What is left of the record batch that is being cut, and its bytes a row.
    rest: Option<(RecordBatch, usize)>,
    in_flight: FuturesOrdered<BoxFuture<'static, Piece>>,
    /// The number of the next row.
    next: u64,
    rows_in_flight: usize,
    bytes_in_flight: usize,
    sizes: Arc<ResultSizes>,
    work: Arc<Work>,
    /// The bytes in flight, so that other operators spill before memory runs out.
    memory: MemoryReservation,
    /// Whether the session had no memory left for the last piece.
    is_pressed: bool,
    /// Stops the rows that are with the pool when the statement is dropped.
    _stop: DropGuard,
}

impl ExpensiveStream {
    pub(super) fn new(
        input: SendableRecordBatchStream,
        work: Work,
        memory: MemoryReservation,
    ) -> Self {
        Self {
            input,
            input_ended: false,
            rest: None,
            in_flight: FuturesOrdered::new(),
            next: 0,
            rows_in_flight: 0,
            bytes_in_flight: 0,
            sizes: Arc::default(),
            _stop: work.context.token.clone().drop_guard(),
            work: Arc::new(work),
            memory,
            is_pressed: false,
        }
    }

    fn has_room(&self) -> bool {
        if self.work.rescue.is_some() {
            // One after the other, so that it is known which brought the process down.
            return self.rows_in_flight == 0;
        }
        // However large rows are, every thread of the pool gets one.
        let threads = pool::threads();
        if self.rows_in_flight < threads {
            return true;
        }
        let most = match self.sizes.per_row() {
            Some(_) => ROWS_IN_FLIGHT,
            None => ROWS_AT_FIRST.max(2 * threads),
        };
        self.rows_in_flight < most
            && self.bytes_in_flight < BYTES_IN_FLIGHT
            && !self.is_pressed
    }

    /// Gives the next piece of `batch` to the pool and keeps the rest.
    fn start(&mut self, batch: &RecordBatch, row_bytes: usize) {
        let result_bytes = self.sizes.per_row();
        let most = match result_bytes {
            // Rows whose results are large come one by one, as at the beginning.
            Some(bytes) => (BYTES_IN_FLIGHT / 8 / bytes.max(1)).clamp(1, ROWS_PER_PIECE),
            None => 1,
        };
        let rows = batch.num_rows().min(most);
        let piece = batch.slice(0, rows);
        let left = batch.num_rows() - rows;
        self.rest = (left > 0).then(|| (batch.slice(rows, left), row_bytes));
        let bytes = (row_bytes + result_bytes.unwrap_or_default()) * rows;
        self.rows_in_flight += rows;
        self.bytes_in_flight += bytes;
        self.is_pressed = self.memory.try_resize(self.bytes_in_flight).is_err();
        if self.is_pressed {
            // The piece goes on, because without it nothing would; the next waits.
            self.memory.resize(self.bytes_in_flight);
        }
        let (work, sizes) = (Arc::clone(&self.work), Arc::clone(&self.sizes));
        let first = self.next;
        self.next += rows as u64;
        let evaluate = async move {
            let inputs = piece.num_columns();
            let result = work.evaluate(piece, first).await;
            if let Ok(batch) = &result {
                sizes.add(rows, &batch.columns()[inputs..]);
            }
            (rows, bytes, result)
        };
        self.in_flight.push_back(Box::pin(evaluate));
    }

    /// Starts pieces while there is room; true when it ran out of rows before.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        while self.has_room() {
            if let Some((rest, row_bytes)) = self.rest.take() {
                self.start(&rest, row_bytes);
                continue;
            }
            if self.input_ended {
                return Ok(true);
            }
            match self.input.poll_next_unpin(cx) {
                Poll::Ready(Some(batch)) => {
                    let batch = batch?;
                    let bytes = bytes_of(batch.columns());
                    self.start(&batch, bytes / batch.num_rows().max(1));
                }
                Poll::Ready(None) => self.input_ended = true,
                Poll::Pending => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Makes room for others after a piece is done.
    fn finish(&mut self, rows: usize, bytes: usize) {
        self.rows_in_flight -= rows;
        self.bytes_in_flight -= bytes;
        self.memory.resize(self.bytes_in_flight);
        self.is_pressed = false;
    }
}

impl Stream for ExpensiveStream {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        loop {
            let is_starved = match self.fill(cx) {
                Ok(is_starved) => is_starved,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            match self.in_flight.poll_next_unpin(cx) {
                Poll::Ready(Some((rows, bytes, result))) => {
                    self.finish(rows, bytes);
                    return Poll::Ready(Some(result));
                }
                Poll::Ready(None) if self.input_ended && self.rest.is_none() => {
                    return Poll::Ready(None);
                }
                // A piece behind the first one has just shown how large results are.
                _ if !is_starved && self.has_room() => {}
                _ => return Poll::Pending,
            }
        }
    }
}

impl RecordBatchStream for ExpensiveStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.work.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use datafusion::arrow::array::{BinaryArray, BinaryViewArray, StructArray};
    use datafusion::arrow::datatypes::Field;

    #[test]
    fn a_slice_counts_for_what_it_shows() {
        let photos = vec![&[7_u8; 1_000][..]; 100];
        let plain: ArrayRef = Arc::new(BinaryArray::from_vec(photos.clone()));
        let viewed: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(photos));
        let field = Arc::new(Field::new("content", DataType::BinaryView, true));
        let nested = StructArray::from(vec![(field, Arc::clone(&viewed))]);
        for photos in [plain, viewed, Arc::new(nested)] {
            let one = array_bytes(&photos.slice(40, 1));
            assert!((1_000..1_100).contains(&one), "{one} bytes");
            let all = array_bytes(&photos);
            assert!((100_000..110_000).contains(&all), "{all} bytes");
        }
    }
}
