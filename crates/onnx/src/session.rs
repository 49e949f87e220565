//! The ONNX session of a model, which all threads run.
//!
//! A session holds the weights and the optimised graph, so that there is one of them:
//! opening one for each thread costs memory and time, and the threads would push each
//! other's weights out of the caches that they share.

use std::ffi::{CString, NulError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer as _;
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::DynValue;
use parking_lot::Mutex;

use crate::loaded::Weights;
use crate::message::{Newer, clean};
use crate::runtime::environment;
use crate::{Error, Provider};

/// A session that any number of threads run.
#[derive(Debug)]
pub(crate) struct SharedSession {
    session: Session,
    provider: Provider,
    /// Held while a device works. Its memory is not made for several rows at a time.
    turn: Mutex<()>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// ONNX Runtime itself is missing or broken.
    Runtime(Error),
    /// ONNX Runtime refused the model, with this reason.
    Model(String),
    /// The model is newer than ONNX Runtime.
    Newer(Newer),
}

impl SharedSession {
    /// Opens the session, which tells whether the bytes are a model at all.
    pub(crate) fn open(
        provider: Provider,
        bytes: &[u8],
        weights: &Weights,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            session: open(provider, bytes, weights)?,
            provider,
            turn: Mutex::new(()),
        })
    }

    /// The signature and the metadata that ONNX Runtime reports of the model.
    pub(crate) fn about(&self) -> &Session {
        &self.session
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// Runs the model once and calls `read` with its outputs, in the order of their names.
    /// They lie in memory of ONNX Runtime, which is freed when `read` returns.
    pub(crate) fn run<T>(
        &self,
        inputs: &[(String, SessionInputValue<'_>)],
        outputs: &[&str],
        read: impl FnOnce(&[DynValue]) -> T,
    ) -> ort::Result<T> {
        let _turn = (self.provider != Provider::Cpu).then(|| self.turn.lock());
        let input_names = names(inputs.iter().map(|(name, _)| name.as_str()))?;
        let output_names = names(outputs.iter().copied())?;
        let input_names: Vec<_> = input_names.iter().map(|name| name.as_ptr()).collect();
        let output_names: Vec<_> =
            output_names.iter().map(|name| name.as_ptr()).collect();
        let values: Vec<_> = inputs.iter().map(|(_, value)| value.ptr()).collect();
        let mut results = vec![ptr::null_mut(); outputs.len()];
        #[expect(unsafe_code, reason = "the binding wants the session for itself")]
        // SAFETY: all pointers are to what lives until the call ends, and there are as many
        // names as values. The binding asks for `&mut` because not every provider allows
        // several runs at a time. That of the processor does ("Multiple threads are allowed
        // to run this function", inference_session.h), and the others wait for their turn.
        unsafe {
            ort::Error::result_from_status((ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                values.as_ptr(),
                values.len(),
                output_names.as_ptr(),
                output_names.len(),
                results.as_mut_ptr(),
            ))?;
        }
        let results: Vec<DynValue> = results
            .into_iter()
            .filter_map(NonNull::new)
            .map(|result| {
                let allocator = Some(self.session.allocator());
                #[expect(unsafe_code, reason = "the call gives a bare pointer")]
                // SAFETY: the run made this value for us alone. It is dropped here and so
                // before the session that made it.
                unsafe {
                    DynValue::from_ptr(result, allocator)
                }
            })
            .collect();
        Ok(read(&results))
    }
}

/// Names as C strings, which end in a zero byte.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> ort::Result<Vec<CString>> {
    names
        .map(CString::new)
        .collect::<Result<_, NulError>>()
        .map_err(ort::Error::wrap)
}

fn open(
    provider: Provider,
    bytes: &[u8],
    weights: &Weights,
) -> Result<Session, OpenError> {
    if provider == Provider::Cpu {
        return commit(provider, bytes, weights);
    }
    provider.check().map_err(OpenError::Runtime)?;
    commit(provider, bytes, weights).map_err(|error| match error {
        // A missing device shows only now, and in words of the device's own. What the
        // processor can run is not the model's fault.
        OpenError::Model(reason) if commit(Provider::Cpu, bytes, weights).is_ok() => {
            OpenError::Runtime(Error::Provider { provider, reason })
        }
        error => error,
    })
}

fn commit(
    provider: Provider,
    bytes: &[u8],
    weights: &Weights,
) -> Result<Session, OpenError> {
    let environment = environment().map_err(OpenError::Runtime)?;
    // The binding panics on inputs and outputs of kinds that it does not know, such as
    // a sequence of sequences. No state of ours is touched in between.
    let session = catch_unwind(AssertUnwindSafe(|| -> ort::Result<Session> {
        // One thread per row. The compute pool already runs a row per core, so
        // threads inside a row would only fight over the same cores.
        let mut builder = Session::builder(environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_log_level(LogLevel::Fatal)?
            .with_execution_providers(provider.dispatches())?;
        for (name, file) in weights {
            let file = Arc::clone(file);
            builder = builder.with_external_initializer_file_in_memory(name, file)?;
        }
        builder.commit_from_memory(bytes)
    }));
    match session {
        Ok(session) => session.map_err(|error| reason(&error)),
        Err(_) => Err(OpenError::Model(
            "an input or output has an unknown type".into(),
        )),
    }
}

fn reason(error: &ort::Error) -> OpenError {
    let message = error.message();
    match Newer::of(message) {
        Some(newer) => OpenError::Newer(newer),
        None => OpenError::Model(format!(
            "{}; check the file with onnx.checker, or export it again",
            clean(message)
        )),
    }
}
