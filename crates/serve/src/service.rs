//! The calls of the Arrow Flight SQL protocol, each handed on to the module that answers it.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{
    Action, ActionType, BasicAuth, Criteria, Empty, FlightData, FlightDescriptor,
    FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, PollInfo, PutResult,
    SchemaAsIpc, SchemaResult, Ticket,
};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use prost::bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use crate::access::{self, Credentials};
use crate::connection::Peer;
use crate::output::plain_schema;
use crate::prepared::Planned;
use crate::sessions::{self, ClientSession, Sessions};
use crate::statements::Statements;
use crate::{Admits, actions, catalog, output, put};

/// A server of Flight SQL.
pub(crate) struct Service {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) admits: Option<Admits>,
}

/// The session that a request belongs to.
pub(crate) struct Caller {
    pub(crate) client: Arc<ClientSession>,
    /// It has not shown the id of its session, so it may not know it.
    is_unnamed: bool,
}

impl Caller {
    fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        let mut response = Response::new(answer);
        if self.is_unnamed {
            access::announce(response.metadata_mut(), &self.client.id)?;
        }
        Ok(response)
    }
}

impl Service {
    /// Finds or opens the session of a request. Fails if the request shows neither the token
    /// nor a session.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        let peer =
            peer.ok_or_else(|| Status::internal("internal error: no connection"))?;
        let credentials = Credentials::of(request.metadata());
        let bearer = credentials.bearer.as_deref();
        let shown = match bearer.filter(|bearer| sessions::is_id(bearer)) {
            // Who knows the id of a session has been let in before.
            Some(id) => Some(id),
            None => {
                self.admit(&credentials)?;
                credentials.cookie.as_deref()
            }
        };
        let client = match shown {
            Some(id) => self.sessions.find(id).ok_or_else(sessions::ended)?,
            None => peer.own_session().await?,
        };
        if client.is_ended() {
            return Err(sessions::ended());
        }
        peer.attach(&client);
        Ok(Caller {
            client,
            is_unnamed: shown.is_none(),
        })
    }

    fn admit(&self, credentials: &Credentials) -> Result<(), Status> {
        let Some(admits) = &self.admits else {
            return Ok(());
        };
        let given = credentials
            .bearer
            .as_ref()
            .or(credentials.password.as_ref());
        match given {
            Some(given) if admits(given) => Ok(()),
            given => Err(access::refused(given.is_some())),
        }
    }

    /// Plans what a command asks for. Returns its columns and, if it is a statement, its
    /// plans.
    async fn plan(
        &self,
        client: &Arc<ClientSession>,
        command: &Command,
    ) -> Result<(SchemaRef, Option<Vec<Planned>>), Status> {
        let client = Arc::clone(client);
        let planned = match command {
            Command::CommandStatementQuery(command) => {
                no_transaction(command.transaction_id.as_ref())?;
                let sql = command.query.clone();
                let plan = async move {
                    let planned = Planned::new(&client.session, sql).await?;
                    let schema = client.session.result_schema(&planned.plan)?;
                    Ok((schema, vec![planned]))
                };
                self.statements.on_work(plan).await?
            }
            Command::CommandPreparedStatementQuery(command) => {
                let prepared = client.prepared(&command.prepared_statement_handle)?;
                let plans = async move {
                    let plans = prepared.plans(&client.session).await?;
                    let first = plans.first();
                    let schema =
                        first.map(|first| client.session.result_schema(&first.plan));
                    let schema = schema.transpose()?;
                    Ok((schema.unwrap_or_else(|| Arc::new(Schema::empty())), plans))
                };
                self.statements.on_work(plans).await?
            }
            command => {
                let schema = catalog::schema(command).ok_or_else(|| unknown(command))?;
                return Ok((schema, None));
            }
        };
        let (schema, plans) = planned;
        Ok((plain_schema(&schema), Some(plans)))
    }
}

pub(crate) fn command(bytes: &[u8]) -> Result<Command, Status> {
    let wrong = |error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("this is no command of Flight SQL: {error}"))
    };
    let message = Any::decode(bytes).map_err(|error| wrong(&error))?;
    Command::try_from(message).map_err(|error| wrong(&error))
}

pub(crate) fn unknown(command: &Command) -> Status {
    let name = command.type_url();
    let name = name.rsplit('.').next().unwrap_or(name);
    Status::unimplemented(format!("not supported: {name}"))
}

pub(crate) fn no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id {
        Some(id) if !id.is_empty() => Err(Status::unimplemented(
            "transactions are not supported; every statement commits by itself",
        )),
        _ => Ok(()),
    }
}

fn arrow(error: &datafusion::arrow::error::ArrowError) -> Status {
    Status::internal(format!("internal error: {error}"))
}

#[async_trait]
impl FlightService for Service {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let mut credentials = Credentials::of(request.metadata());
        if credentials.bearer.is_none() && credentials.password.is_none() {
            // Older clients send user and password in a message.
            let message = request.into_inner().message().await?.unwrap_or_default();
            let login = BasicAuth::decode(message.payload.as_ref());
            credentials.password = login.ok().map(|login| login.password);
        }
        self.admit(&credentials)?;
        let caller = Caller {
            client: self.sessions.create().await?,
            is_unnamed: true,
        };
        let response = HandshakeResponse {
            protocol_version: 0,
            payload: caller.client.id.clone().into(),
        };
        caller.answer(futures::stream::iter([Ok(response)]).boxed())
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = self.caller(&request).await?;
        let descriptor = request.into_inner();
        let command = command(&descriptor.cmd)?;
        let (schema, plans) = self.plan(&caller.client, &command).await?;
        let (schema, ticket) = match plans {
            Some(plans) => {
                let offered = self.statements.offer(&caller.client, plans, schema);
                let (handle, schema) = offered.await?;
                let statement_handle = handle.into();
                (schema, TicketStatementQuery { statement_handle }.as_any())
            }
            None => (schema, command.into_any()),
        };
        let ticket = Ticket::new(ticket.encode_to_vec());
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(|error| arrow(&error))?
            .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
            .with_descriptor(descriptor);
        caller.answer(info)
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let caller = self.caller(&request).await?;
        let command = command(&request.get_ref().cmd)?;
        let (schema, _) = self.plan(&caller.client, &command).await?;
        let options = IpcWriteOptions::default();
        caller.answer(
            SchemaAsIpc::new(&schema, &options)
                .try_into()
                .map_err(|error| arrow(&error))?,
        )
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = self.caller(&request).await?;
        let command = command(&request.get_ref().ticket)?;
        let rows = match command {
            Command::TicketStatementQuery(ticket) => {
                self.statements.start(&ticket.statement_handle)?
            }
            command @ Command::CommandPreparedStatementQuery(_) => {
                let (schema, plans) = self.plan(&caller.client, &command).await?;
                let plans = plans.unwrap_or_default();
                let offered = self.statements.offer(&caller.client, plans, schema);
                let (handle, _) = offered.await?;
                self.statements.start(handle.as_bytes())?
            }
            command => {
                let refused = unknown(&command);
                let client = Arc::clone(&caller.client);
                let answer =
                    async move { catalog::answer(&client.session, command).await };
                let rows = self.statements.on_work(answer).await?;
                let rows = rows.ok_or(refused)?;
                output::of_batches(rows.schema(), vec![rows]).boxed()
            }
        };
        caller.answer(rows)
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let caller = self.caller(&request).await?;
        let result = put::run(self, &caller.client, request.into_inner()).await?;
        let result = PutResult {
            app_metadata: result.into(),
        };
        caller.answer(futures::stream::iter([Ok(result)]).boxed())
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = self.caller(&request).await?;
        let body = actions::run(self, &caller.client, request.get_ref()).await?;
        let results = body.map(|body| Ok(arrow_flight::Result { body: body.into() }));
        caller.answer(futures::stream::iter(results).boxed())
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let caller = self.caller(&request).await?;
        caller.answer(futures::stream::iter(actions::list().map(Ok)).boxed())
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented("not supported: ListFlights"))
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("not supported: PollFlightInfo"))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("not supported: DoExchange"))
    }
}
