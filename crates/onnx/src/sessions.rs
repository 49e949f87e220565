//! Several ONNX sessions of one model, so that threads can run it at the same time.
//!
//! The binding wants a session for itself while it runs, because ONNX Runtime does not
//! promise more for every execution provider. So a session is made when a thread finds
//! none idle, and there are never more of them than threads that ran the model at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use ort::logging::LogLevel;
use ort::session::Session;

use crate::runtime::environment;
use crate::{Error, Provider};

/// The sessions of one model that no thread is using.
#[derive(Debug)]
pub(crate) struct Sessions {
    provider: Provider,
    bytes: Vec<u8>,
    idle: Mutex<Vec<Session>>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// ONNX Runtime itself is missing or broken.
    Runtime(Error),
    /// ONNX Runtime refused the model, with this reason.
    Model(String),
}

impl Sessions {
    /// Opens the first session, which tells whether the bytes are a model at all.
    pub(crate) fn open(
        provider: Provider,
        bytes: &[u8],
    ) -> Result<(Self, Session), OpenError> {
        let session = open(provider, bytes)?;
        let sessions = Self {
            provider,
            bytes: bytes.to_vec(),
            idle: Mutex::new(Vec::new()),
        };
        Ok((sessions, session))
    }

    /// Lends a session to `work`.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Session) -> T,
    ) -> Result<T, OpenError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut session = match idle {
            Some(session) => session,
            None => open(self.provider, &self.bytes)?,
        };
        let result = work(&mut session);
        self.give_back(session);
        Ok(result)
    }

    pub(crate) fn give_back(&self, session: Session) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session);
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// How many bytes the model file has.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

fn open(provider: Provider, bytes: &[u8]) -> Result<Session, OpenError> {
    if provider == Provider::Cpu {
        return commit(provider, bytes);
    }
    provider.check().map_err(OpenError::Runtime)?;
    commit(provider, bytes).map_err(|error| match error {
        // A missing device shows only now, and in words of the device's own. What the
        // processor can run is not the model's fault.
        OpenError::Model(reason) if commit(Provider::Cpu, bytes).is_ok() => {
            OpenError::Runtime(Error::Provider { provider, reason })
        }
        error => error,
    })
}

fn commit(provider: Provider, bytes: &[u8]) -> Result<Session, OpenError> {
    let environment = environment().map_err(OpenError::Runtime)?;
    // The binding panics on inputs and outputs of kinds that it does not know, such as
    // a sequence of sequences. No state of ours is touched in between.
    let session = catch_unwind(AssertUnwindSafe(|| -> ort::Result<Session> {
        // One thread per row. The compute pool already runs a row per core, so
        // threads inside a row would only fight over the same cores.
        Session::builder(environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_log_level(LogLevel::Fatal)?
            .with_execution_providers(provider.dispatches())?
            .commit_from_memory(bytes)
    }));
    match session {
        Ok(session) => session.map_err(|error| reason(&error)),
        Err(_) => Err(OpenError::Model(
            "an input or output has an unknown type".into(),
        )),
    }
}

fn reason(error: &ort::Error) -> OpenError {
    OpenError::Model(one_line(error.message()))
}

/// ONNX Runtime's messages may span lines; an error of ours is one sentence.
pub(crate) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
