//! `atoll serve`: SQL for notebooks, ADBC, JDBC and BI tools.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atoll_serve::{Limits, Server, ServerOptions};
use atoll_session::{Session, SessionOptions};
use clap::Args;
use datafusion::common::DataFusionError;
use tokio::runtime::Handle;

use crate::errors::{Failure, split_hint};
use crate::exit::Ending;
use crate::notes::note;
use crate::session_args::{LOOPBACK, SessionArgs};
use crate::stop::{StopArgs, stop};

/// Arguments of `atoll serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen on this address; other machines need a token and one of theirs
    #[arg(long, value_name = "IP", default_value_t = LOOPBACK)]
    pub(crate) bind: IpAddr,

    /// Listen on this port; 0 picks a free one
    #[arg(long, default_value_t = atoll_serve::DEFAULT_PORT)]
    pub(crate) port: u16,

    /// Encrypt connections with this certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Let this many clients have a session
    #[arg(long, value_name = "N", default_value = "128")]
    pub(crate) max_sessions: NonZeroUsize,

    /// Run this many statements at once
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) max_statements: NonZeroUsize,

    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

/// Serves until SIGTERM or Ctrl-C; the second one cancels statements that still run.
///
/// This runs on the runtime that listens, and statements run on `work`.
pub(crate) async fn serve(
    args: &ServeArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let token = session.token()?;
    let is_secured = token.is_set();
    let options = ServerOptions {
        bind: args.bind,
        port: args.port,
        admits: is_secured.then(|| Arc::new(move |text: &str| token.is(text)) as _),
        identity: identity(args)?,
        limits: Limits {
            sessions: args.max_sessions.get(),
            statements: args.max_statements.get(),
            ..Limits::default()
        },
        explain,
    };
    let is_encrypted = options.identity.is_some();
    let server = Server::bind(options).await?;
    let options = SessionOptions {
        warn: Some(|warning| note(&format!("warning: {warning}"))),
        ..session.options().await?
    };
    let first = Session::new(options).await?;
    note(&format!(
        "atoll {} serve: {}://{}, {}, storage {}",
        atoll_session::VERSION,
        if is_encrypted { "grpc+tls" } else { "grpc" },
        server.address(),
        if is_secured {
            "token required"
        } else {
            "no token: anyone on this machine may use it"
        },
        first.storage(),
    ));
    let mut stop = stop(&args.stop);
    let serving = server.serve(first, work.clone(), stop.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        served = &mut serving => served?,
        _ = stop.changed() => {
            note("finishing running statements; once more to stop at once");
            serving.await?;
        }
    }
    note("server stopped");
    Ok(Ending::Finished)
}

/// A certificate and its private key, as PEM.
type Identity = (Vec<u8>, Vec<u8>);

fn identity(args: &ServeArgs) -> Result<Option<Identity>, Failure> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some((read(certificate)?, read(key)?))),
        _ => Ok(None),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", file.display()))
            .hint("--tls-cert and --tls-key name PEM files")
    })
}

/// The text of an error for a client: the message, the place and the hint that the prompt
/// would show.
fn explain(error: DataFusionError) -> String {
    let Failure {
        message,
        hint,
        position,
        ..
    } = Failure::from(error);
    let place =
        position.map(|(line, column)| format!(" at line {line}, column {column}"));
    let hint = hint.map(|hint| format!("\nhint: {hint}"));
    format!(
        "{message}{}{}",
        place.unwrap_or_default(),
        hint.unwrap_or_default()
    )
}

impl From<atoll_serve::Error> for Failure {
    fn from(error: atoll_serve::Error) -> Self {
        let (message, hint) = split_hint(&error.to_string());
        Self {
            hint,
            ..Self::new(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::plan_datafusion_err;

    use super::*;

    #[test]
    fn a_client_reads_a_sentence_and_a_hint() {
        let error = plan_datafusion_err!("no such thing\nhint: name another");
        assert_eq!(explain(error), "no such thing\nhint: name another");
    }
}
