//! What clients ask for besides rows: to prepare, to close, to cancel.

use std::sync::Arc;

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, Command, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus,
    FlightInfo, IpcMessage, SchemaAsIpc,
};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;

use crate::prepared;
use crate::service::{Service, command, no_transaction};
use crate::sessions::ClientSession;
use crate::statements::Cancelled;

const PREPARE: &str = "CreatePreparedStatement";
const CLOSE: &str = "ClosePreparedStatement";
const CANCEL_QUERY: &str = "CancelQuery";
const CANCEL: &str = "CancelFlightInfo";
const CLOSE_SESSION: &str = "CloseSession";

/// The result of `CloseSession`, which arrow-flight has no type for.
#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The session is closed.
const CLOSED: i32 = 1;

pub(crate) fn list() -> impl Iterator<Item = ActionType> + Send + 'static {
    let actions = [
        (PREPARE, "Prepares a statement"),
        (CLOSE, "Closes a prepared statement"),
        (CANCEL, "Cancels a statement"),
        (CANCEL_QUERY, "Cancels a statement, for older clients"),
        (CLOSE_SESSION, "Ends the session and all it does"),
    ];
    actions.into_iter().map(|(name, description)| ActionType {
        r#type: name.to_string(),
        description: description.to_string(),
    })
}

/// Runs an action and returns its answer, if it has one.
pub(crate) async fn run(
    service: &Service,
    client: &Arc<ClientSession>,
    action: &Action,
) -> Result<impl Iterator<Item = Vec<u8>> + Send + use<>, Status> {
    let body = action.body.as_ref();
    let answer = match action.r#type.as_str() {
        PREPARE => Some(prepare(service, client, unpack(body)?).await?),
        CLOSE => {
            let request: ActionClosePreparedStatementRequest = unpack(body)?;
            client.close(&request.prepared_statement_handle);
            None
        }
        CANCEL => {
            let request =
                CancelFlightInfoRequest::decode(body).map_err(|_| malformed())?;
            let status = cancel(service, &request.info.unwrap_or_default())? as i32;
            Some(CancelFlightInfoResult { status }.encode_to_vec())
        }
        CANCEL_QUERY => {
            let request: ActionCancelQueryRequest = unpack(body)?;
            let info = FlightInfo::decode(request.info).map_err(|_| malformed())?;
            // Both kinds of result have the same numbers.
            let result = cancel(service, &info)? as i32;
            Some(ActionCancelQueryResult { result }.as_any().encode_to_vec())
        }
        CLOSE_SESSION => {
            service.sessions.end(&client.id);
            Some(CloseSessionResult { status: CLOSED }.encode_to_vec())
        }
        other => {
            return Err(Status::unimplemented(format!(
                "not supported: the action {other}"
            )));
        }
    };
    Ok(answer.into_iter())
}

fn unpack<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any = Any::decode(body).map_err(|_| malformed())?;
    let message = any.unpack::<M>().map_err(|_| malformed())?;
    message.ok_or_else(malformed)
}

fn malformed() -> Status {
    Status::invalid_argument("the body of the action is not what it should be")
}

async fn prepare(
    service: &Service,
    client: &Arc<ClientSession>,
    request: ActionCreatePreparedStatementRequest,
) -> Result<Vec<u8>, Status> {
    no_transaction(request.transaction_id.as_ref())?;
    let session = Arc::clone(client);
    let described =
        async move { prepared::prepare(&session.session, &request.query).await };
    let described = service.statements.on_work(described).await?;
    let result = ActionCreatePreparedStatementResult {
        dataset_schema: encode(&described.rows)?,
        parameter_schema: encode(&described.parameters)?,
        prepared_statement_handle: client.keep(described.prepared)?.into(),
    };
    Ok(result.as_any().encode_to_vec())
}

/// A schema without columns is sent as nothing, which tells drivers that a statement
/// has no rows or no parameters.
fn encode(schema: &Schema) -> Result<Bytes, Status> {
    if schema.fields().is_empty() {
        return Ok(Bytes::new());
    }
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, ArrowError> =
        SchemaAsIpc::new(schema, &options).try_into();
    match message {
        Ok(IpcMessage(bytes)) => Ok(bytes),
        Err(error) => Err(Status::internal(format!("internal error: {error}"))),
    }
}

fn cancel(service: &Service, info: &FlightInfo) -> Result<CancelStatus, Status> {
    let mut known = false;
    for endpoint in &info.endpoint {
        let ticket = endpoint.ticket.clone().unwrap_or_default();
        if let Command::TicketStatementQuery(ticket) = command(&ticket.ticket)? {
            let cancelled = service.statements.cancel(&ticket.statement_handle);
            known |= cancelled == Cancelled::Yes;
        }
    }
    if known {
        Ok(CancelStatus::Cancelled)
    } else {
        Err(Status::not_found(
            "there is no such statement, or it has ended",
        ))
    }
}
