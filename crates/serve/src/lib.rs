//! An Arrow Flight SQL server over [`Session`]s, for notebooks, ADBC, JDBC and BI tools.
//!
//! Each client has a session of its own, so that its settings and views are its own.
//! Asking for a statement's columns plans it and runs nothing. Executing it runs it if it
//! is there for what it does, such as CREATE TABLE; the rows of any other statement are
//! computed once, while its ticket is read.
//! Statements run on a runtime of their own: however busy they keep it, the server
//! still hears that a client cancels or goes away, and stops them.
//!
//! Nothing here prints.

mod access;
mod actions;
mod catalog;
mod connection;
mod info;
mod ingest;
mod output;
mod parameters;
mod prepared;
mod put;
mod service;
mod sessions;
mod statements;
mod status;
mod update;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use atoll_session::Session;
use datafusion::common::DataFusionError;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::transport::{Identity, ServerTlsConfig};

use crate::service::Service;
use crate::sessions::Sessions;
use crate::statements::Statements;

/// The port of servers that were given none.
pub const DEFAULT_PORT: u16 = 50060;

/// The largest message that a client may send: rows of parameters or of a new table.
const MESSAGE_BYTES: usize = 64 << 20;

/// How often a silent connection is asked whether its client is still there.
const PING: Duration = Duration::from_secs(10);

/// How long a client may take to answer that.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How often what has expired is looked for.
const ROUND: Duration = Duration::from_secs(1);

/// How long a server that stops at once waits for statements to notice.
const FAREWELL: Duration = Duration::from_secs(2);

/// Whether a text is the server's token.
pub type Admits = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Turns an error into the text that the author of the statement reads.
pub type Explain = fn(DataFusionError) -> String;

/// How much a server lets its clients do at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many sessions may be open.
    pub sessions: usize,
    /// How many statements may run at once, in all sessions together.
    pub statements: usize,
    /// How long a session may do nothing before it ends. Clients close connections that
    /// they have not used for half an hour and come back, so much longer than that.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 128,
            statements: 64,
            idle: Duration::from_secs(24 * 3600),
        }
    }
}

/// What a server is started with.
pub struct ServerOptions {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port; 0 picks a free one.
    pub port: u16,
    /// Who may use it; everybody, if `None`. Needed to listen on anything but the
    /// loopback.
    pub admits: Option<Admits>,
    /// Certificate chain and private key, both PEM, for TLS.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// What it allows.
    pub limits: Limits,
    /// Makes messages of errors.
    pub explain: Explain,
}

/// Why a server did not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options do not allow it to start. Whoever starts it must change them.
    #[error("{0}")]
    Start(String),
    /// The network failed.
    #[error("the server ended: {0}")]
    Ended(String),
}

/// A server that listens, but does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
}

impl Server {
    /// Binds the port, and fails if the options do not allow to listen there.
    pub async fn bind(options: ServerOptions) -> Result<Self, Error> {
        if !options.bind.is_loopback() && options.admits.is_none() {
            return Err(Error::Start(format!(
                "listening on {} lets others run statements\nhint: set ATOLL_TOKEN or \
                 --token-file to a secret first",
                options.bind
            )));
        }
        let wanted = SocketAddr::new(options.bind, options.port);
        let failed = |error: std::io::Error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::AddrInUse => "choose another --port",
                _ => "choose another --bind",
            };
            Error::Start(format!(
                "cannot listen on {wanted}: {error}\nhint: {remedy}"
            ))
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` counts one, then finishes the statements that run; two
    /// cancels them.
    ///
    /// Clients get siblings of `session`, whose statements run on `work`. That must not
    /// be the runtime which polls this.
    pub async fn serve(
        self,
        session: Session,
        work: Handle,
        mut stop: watch::Receiver<u32>,
    ) -> Result<(), Error> {
        let limits = self.options.limits;
        let statements =
            Arc::new(Statements::new(work.clone(), limits, self.options.explain));
        let sessions = Arc::new(Sessions::new(session, limits, Arc::clone(&statements)));
        let service = Service {
            sessions: Arc::clone(&sessions),
            statements: Arc::clone(&statements),
            admits: self.options.admits.clone(),
        };
        let service =
            FlightServiceServer::new(service).max_decoding_message_size(MESSAGE_BYTES);
        let mut server = transport(&self.options)?;
        let mut first = stop.clone();
        let draining = Arc::clone(&statements);
        let drain = async move {
            let _ = first.wait_for(|count| *count >= 1).await;
            draining.stop();
        };
        let incoming = connection::incoming(self.listener, Arc::clone(&sessions));
        let mut serving = std::pin::pin!(
            server
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, drain)
        );
        let cancelled = async {
            let _ = stop.wait_for(|count| *count >= 2).await;
        };
        let served = tokio::select! {
            served = &mut serving => served,
            () = expire(&sessions, &statements) => Ok(()),
            () = cancelled => {
                statements.cancel_all();
                match tokio::time::timeout(FAREWELL, serving).await {
                    Ok(served) => served,
                    Err(_) => Ok(()),
                }
            }
        };
        served.map_err(|error| Error::Ended(status::causes(&error)))
    }
}

/// HTTP/2, and TLS if there is an identity.
fn transport(options: &ServerOptions) -> Result<tonic::transport::Server, Error> {
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING_PATIENCE));
    let Some((certificate, key)) = &options.identity else {
        return Ok(server);
    };
    let identity = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    server
        .tls_config(identity)
        .map_err(|error| wrong_identity(&error))
}

fn wrong_identity(error: &tonic::transport::Error) -> Error {
    Error::Start(format!(
        "the certificate or its key cannot be used: {}\nhint: --tls-cert and --tls-key take \
         PEM files, the server's own certificate first and a key that fits it",
        status::causes(error)
    ))
}

/// Ends sessions and planned statements that nobody has used for long. Never returns.
async fn expire(sessions: &Sessions, statements: &Statements) {
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        rounds.tick().await;
        sessions.expire();
        statements.expire();
    }
}
