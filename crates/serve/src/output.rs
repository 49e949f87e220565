//! Rows on their way to a client: plans are run, and their record batches become messages of
//! Arrow Flight.

use std::sync::Arc;

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc::Sender;
use tonic::Status;

use crate::prepared::Planned;
use crate::sessions::ClientSession;
use crate::{Explain, status};

/// Runs the plans one after the other and sends their rows with the announced schema,
/// until nobody wants them.
pub(crate) async fn send_rows(
    client: Arc<ClientSession>,
    plans: Vec<Planned>,
    schema: SchemaRef,
    explain: Explain,
    sender: &Sender<Result<FlightData, Status>>,
) {
    let mut messages = std::pin::pin!(messages(client, plans, schema, explain));
    while let Some(message) = messages.next().await {
        let failed = message.is_err();
        if sender.send(message).await.is_err() || failed {
            return;
        }
    }
}

fn messages(
    client: Arc<ClientSession>,
    plans: Vec<Planned>,
    schema: SchemaRef,
    explain: Explain,
) -> impl Stream<Item = Result<FlightData, Status>> {
    let rows = async move {
        let mut plans = plans.into_iter();
        let first = plans.next().ok_or_else(|| {
            DataFusionError::Plan("no row of parameters is bound".to_string())
        })?;
        let first = client.session.execute_plan(first.plan, &first.text).await?;
        let rest = futures::stream::iter(plans)
            .then(move |plan| {
                let client = Arc::clone(&client);
                async move { client.session.execute_plan(plan.plan, &plan.text).await }
            })
            .try_flatten();
        let to = Arc::clone(&schema);
        let rows = first.chain(rest).map(move |batch| plain(&batch?, &to));
        let rows =
            rows.map_err(move |error| FlightError::from(status::of(error, explain)));
        Ok::<_, DataFusionError>(
            FlightDataEncoderBuilder::new()
                .with_schema(schema)
                .build(rows)
                .map_err(Status::from),
        )
    };
    futures::stream::once(rows)
        .map_err(move |error| status::of(error, explain))
        .try_flatten()
}

/// A stream of messages with rows that are in memory already.
pub(crate) fn of_batches(
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
) -> impl Stream<Item = Result<FlightData, Status>> {
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(futures::stream::iter(rows.into_iter().map(Ok)))
        .map_err(Status::from)
}

/// The schema that clients are given in place of `schema`.
///
/// Not every client knows text and bytes by view, and dictionaries would be sent anew
/// with every batch. Everything may be NULL: planning and running a statement do not
/// always agree on that, and some clients want what was announced to the letter.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let data_type = plain_type(field.data_type());
    let field = Field::clone(field).with_data_type(data_type);
    Arc::new(field.with_nullable(true))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(field) | DataType::ListView(field) => {
            DataType::List(plain_field(field))
        }
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(plain_field(field))
        }
        DataType::FixedSizeList(field, size) => {
            DataType::FixedSizeList(plain_field(field), *size)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(plain_field).collect())
        }
        other => other.clone(),
    }
}

fn plain(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            cast(column, field.data_type())
        }
    });
    let columns = columns.collect::<Result<_, _>>()?;
    let rows = datafusion::arrow::array::RecordBatchOptions::new()
        .with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &rows,
    )?)
}

/// Reads all rows of a statement and keeps none but the last batch.
pub(crate) async fn drain(
    mut rows: SendableRecordBatchStream,
) -> Result<Option<RecordBatch>, DataFusionError> {
    let mut last = None;
    while let Some(batch) = rows.try_next().await? {
        last = Some(batch);
    }
    Ok(last)
}

/// Runs the plans one after the other and keeps their rows with the announced schema.
pub(crate) async fn all_rows(
    client: &ClientSession,
    plans: Vec<Planned>,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let mut kept = vec![];
    for plan in plans {
        let mut rows = client.session.execute_plan(plan.plan, &plan.text).await?;
        while let Some(batch) = rows.try_next().await? {
            kept.push(plain(&batch, schema)?);
        }
    }
    Ok(kept)
}
