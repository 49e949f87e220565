//! A model that ONNX Runtime runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use half::{bf16, f16};
use ort::AsPointer as _;
use ort::logging::LogLevel;
use ort::session::{Session as Native, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, Tensor, TensorRef};
use parking_lot::Mutex;

use crate::data::{Data, Input, Values};
use crate::file::ModelFileHeader;
use crate::loaded::Weights;
use crate::message::{Newer, clean};
use crate::onnxruntime_library::environment;
use crate::session::{About, OpenError, Session};
use crate::{ElementType, Error, Port, Provider};

/// A session that any number of threads run.
#[derive(Debug)]
pub(crate) struct OrtSession {
    session: Native,
    provider: Provider,
    /// Held while a device works. Its memory is not made for several rows at a time.
    turn: Mutex<()>,
}

impl OrtSession {
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

    /// Runs the model once and calls `read` with its outputs, in the order of their names.
    /// They lie in memory of ONNX Runtime, which is freed when `read` returns.
    fn run_values<T>(
        &self,
        inputs: &[(&str, SessionInputValue<'_>)],
        outputs: &[&Port],
        read: impl FnOnce(&[DynValue]) -> T,
    ) -> ort::Result<T> {
        let _turn = (self.provider != Provider::Cpu).then(|| self.turn.lock());
        let input_names = names(inputs.iter().map(|(name, _)| *name))?;
        let output_names = names(outputs.iter().map(|port| port.name.as_str()))?;
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

impl Session for OrtSession {
    fn inputs(&self, header: &ModelFileHeader) -> Vec<Port> {
        let taken = self.session.inputs().iter();
        taken.map(|one| port(one, header, false)).collect()
    }

    fn outputs(&self, header: &ModelFileHeader, own: usize) -> Vec<Port> {
        let made = self.session.outputs().iter().enumerate();
        // ONNX Runtime works out the shapes of inner tensors, and not of all.
        made.map(|(place, one)| port(one, header, place >= own))
            .collect()
    }

    fn about(&self) -> Result<About, String> {
        let about = || -> ort::Result<About> {
            let model = self.session.metadata()?;
            let mut metadata = BTreeMap::new();
            for key in model.custom_keys()? {
                let value = model.custom(&key).unwrap_or_default();
                metadata.insert(key, value);
            }
            Ok(About {
                metadata,
                producer: model.producer().filter(|producer| !producer.is_empty()),
                opset: self.session.opset_for_domain(""),
            })
        };
        about().map_err(|error| clean(error.message()))
    }

    fn is_exact_in_batches(&self) -> bool {
        true
    }

    fn run(
        &self,
        inputs: Vec<Input<'_>>,
        outputs: &[&Port],
    ) -> Result<Vec<(Vec<usize>, Data)>, String> {
        let values: ort::Result<Vec<_>> = inputs
            .into_iter()
            .map(|input| Ok((input.name, tensor(input.dims, input.values)?)))
            .collect();
        let values = values.map_err(|error| error.message().to_string())?;
        let read = |results: &[DynValue]| {
            if results.len() != outputs.len() {
                return Err("an output is missing".to_string());
            }
            let copy = |(port, value): (&&Port, &DynValue)| {
                from_value(value, port.element).map_err(|reason| {
                    format!("output {} cannot be read: {reason}", port.name)
                })
            };
            outputs.iter().zip(results).map(copy).collect()
        };
        self.run_values(&values, outputs, read)
            .map_err(|error| error.message().to_string())?
    }
}

fn port(outlet: &Outlet, header: &ModelFileHeader, is_inner: bool) -> Port {
    Port::new(outlet, is_inner || header.is_shapeless(outlet.name()))
}

fn tensor(dims: Vec<usize>, values: Values<'_>) -> ort::Result<SessionInputValue<'_>> {
    match values {
        Values::Float32(Cow::Borrowed(numbers)) => {
            Ok(TensorRef::from_array_view((dims, numbers))?.into())
        }
        Values::Float32(Cow::Owned(numbers)) => owned(dims, numbers),
        Values::Float16(numbers) => owned(dims, numbers),
        Values::Bfloat16(numbers) => owned(dims, numbers),
        Values::Float64(numbers) => owned(dims, numbers),
        Values::Int8(numbers) => owned(dims, numbers),
        Values::Int16(numbers) => owned(dims, numbers),
        Values::Int32(numbers) => owned(dims, numbers),
        Values::Int64(numbers) => owned(dims, numbers),
        Values::Uint8(numbers) => owned(dims, numbers),
        Values::Uint16(numbers) => owned(dims, numbers),
        Values::Uint32(numbers) => owned(dims, numbers),
        Values::Uint64(numbers) => owned(dims, numbers),
        Values::Bool(flags) => owned(dims, flags),
        Values::Strings(texts) => Ok(Tensor::from_string_array((dims, &*texts))?.into()),
    }
}

fn owned<T>(dims: Vec<usize>, values: Vec<T>) -> ort::Result<SessionInputValue<'static>>
where
    T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
{
    Ok(Tensor::from_array((dims, values))?.into())
}

/// Copies an output of a model; the error says what it is instead of a tensor.
fn from_value(
    value: &DynValue,
    element: ElementType,
) -> Result<(Vec<usize>, Data), Cow<'static, str>> {
    match element {
        ElementType::Float16 => extract(value, |values: &[f16]| {
            Data::Floats(values.iter().map(|half| half.to_f32()).collect())
        }),
        ElementType::Bfloat16 => extract(value, |values: &[bf16]| {
            Data::Floats(values.iter().map(|half| half.to_f32()).collect())
        }),
        ElementType::Float32 => extract(value, |values| Data::Floats(values.to_vec())),
        ElementType::Float64 => extract(value, |values| Data::Doubles(values.to_vec())),
        ElementType::Int64 => extract(value, |values| Data::Integers(values.to_vec())),
        ElementType::Int8 => extract(value, Data::widened::<i8>),
        ElementType::Int16 => extract(value, Data::widened::<i16>),
        ElementType::Int32 => extract(value, Data::widened::<i32>),
        ElementType::Uint8 => extract(value, Data::widened::<u8>),
        ElementType::Uint16 => extract(value, Data::widened::<u16>),
        ElementType::Uint32 => extract(value, Data::widened::<u32>),
        ElementType::Bool => extract(value, Data::widened::<bool>),
        ElementType::Uint64 => extract(value, Data::clamped),
        ElementType::String => {
            let (shape, values) = value
                .try_extract_strings()
                .map_err(|error| error.to_string())?;
            Ok((dims(shape), Data::Strings(values)))
        }
        ElementType::Other => Err("its type is not supported".into()),
    }
}

fn extract<T: PrimitiveTensorElementType>(
    value: &DynValue,
    copy: impl Fn(&[T]) -> Data,
) -> Result<(Vec<usize>, Data), Cow<'static, str>> {
    let (shape, values) = value
        .try_extract_tensor::<T>()
        .map_err(|error| error.to_string())?;
    Ok((dims(shape), copy(values)))
}

fn dims(shape: &[i64]) -> Vec<usize> {
    shape
        .iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .collect()
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
) -> Result<Native, OpenError> {
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
) -> Result<Native, OpenError> {
    let environment = environment().map_err(OpenError::Runtime)?;
    // The binding panics on inputs and outputs of kinds that it does not know, such as
    // a sequence of sequences. No state of ours is touched in between.
    let session = catch_unwind(AssertUnwindSafe(|| -> ort::Result<Native> {
        // One thread per row. The compute pool already runs a row per core, so
        // threads inside a row would only fight over the same cores.
        let mut builder = Native::builder(environment)?
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
