//! `atoll serve`: SQL for notebooks, ADBC, JDBC and BI tools.

use std::path::Path;
use std::sync::Arc;

use atoll_serve::{Limits, Server, ServerOptions};
use atoll_session::{Session, SessionOptions};
use datafusion::common::DataFusionError;
use tokio::runtime::Handle;

use crate::args::{ServeArgs, SessionArgs};
use crate::cluster::{note, stop};
use crate::errors::{Failure, split_hint};
use crate::run::Ending;

/// Until SIGTERM or Ctrl-C; the second one cancels statements that still run.
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
        match is_secured {
            true => "token required",
            false => "no token: anyone on this machine may use it",
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

/// What a client reads, as the prompt would say it.
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
