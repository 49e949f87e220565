//! What clients upload: changes, parameters and rows of new tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    Command, CommandStatementIngest, DoPutPreparedStatementResult, DoPutUpdateResult,
};
use datafusion::arrow::array::RecordBatch;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Status, Streaming};

use crate::prepared::Planned;
use crate::service::{Service, command, no_transaction, unknown};
use crate::sessions::ClientSession;
use crate::{MESSAGE_BYTES, ingest};

/// Does what an upload asks for; the metadata of the answer.
pub(crate) async fn run(
    service: &Service,
    client: &Arc<ClientSession>,
    mut messages: Streaming<FlightData>,
) -> Result<Vec<u8>, Status> {
    let first = messages.message().await?;
    let first = first.ok_or_else(|| {
        Status::invalid_argument(
            "the upload is empty: the client named neither a table nor columns, as ADBC's \
             driver does for a table without record batches\nhint: pass one batch without \
             rows, such as pyarrow.RecordBatch.from_pylist([], schema=schema)",
        )
    })?;
    let descriptor = first.flight_descriptor.clone().unwrap_or_default();
    let command = command(&descriptor.cmd)?;
    let uploaded = futures::stream::iter([Ok(first)]).chain(messages);
    let counted = match command {
        Command::CommandStatementUpdate(command) => {
            no_transaction(command.transaction_id.as_ref())?;
            let session = Arc::clone(client);
            let plan = async move { Planned::new(&session.session, command.query).await };
            let plan = service.statements.on_work(plan).await?;
            service.statements.update(client, vec![plan]).await?
        }
        Command::CommandPreparedStatementUpdate(command) => {
            let prepared = client.prepared(&command.prepared_statement_handle)?;
            let rows = parameters(uploaded).await?;
            if !rows.is_empty() {
                prepared.bind(rows);
            }
            let session = Arc::clone(client);
            let plans = async move { prepared.plans(&session.session).await };
            let plans = service.statements.on_work(plans).await?;
            service.statements.update(client, plans).await?
        }
        Command::CommandPreparedStatementQuery(command) => {
            let handle = command.prepared_statement_handle;
            client.prepared(&handle)?.bind(parameters(uploaded).await?);
            let prepared_statement_handle = Some(handle);
            let result = DoPutPreparedStatementResult {
                prepared_statement_handle,
            };
            return Ok(result.encode_to_vec());
        }
        Command::CommandStatementIngest(command) => {
            ingest(service, client, command, uploaded).await?
        }
        command => return Err(unknown(&command)),
    };
    let record_count = counted.unwrap_or(-1);
    Ok(DoPutUpdateResult { record_count }.encode_to_vec())
}

async fn ingest(
    service: &Service,
    client: &Arc<ClientSession>,
    command: CommandStatementIngest,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Option<i64>, Status> {
    no_transaction(command.transaction_id.as_ref())?;
    let mut rows = decoded(messages);
    // The first batch comes after the schema; there may be none.
    let first = rows.try_next().await?;
    let Some(schema) = rows.schema().cloned() else {
        return Err(Status::invalid_argument(
            "the rows to ingest have no schema",
        ));
    };
    let rows = futures::stream::iter(first.map(Ok)).chain(rows.map_err(Status::from));
    let session = Arc::clone(client);
    let plan = async move { ingest::plan(&session.session, command, schema, rows).await };
    let (plan, count) = service.statements.on_work(plan).await?;
    service.statements.update(client, vec![plan]).await?;
    Ok(Some(count.load(Ordering::Relaxed)))
}

/// The record batches among messages; the first message may only carry a command.
fn decoded(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> FlightRecordBatchStream {
    let messages = messages
        .try_filter(|message| std::future::ready(!message.data_header.is_empty()))
        .map_err(FlightError::from);
    FlightRecordBatchStream::new_from_flight_data(messages)
}

/// Rows of parameters, which are kept in memory.
async fn parameters(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Vec<RecordBatch>, Status> {
    let mut rows = decoded(messages);
    let (mut kept, mut bytes) = (vec![], 0);
    while let Some(batch) = rows.try_next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > MESSAGE_BYTES {
            return Err(Status::resource_exhausted(format!(
                "the parameters take more than {MESSAGE_BYTES} bytes\nhint: ingest them as \
                 a table"
            )));
        }
        kept.push(batch);
    }
    Ok(kept)
}
