//! A model that is ready to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_imaging::Preprocess;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};
use sha2::{Digest as _, Sha256};

use crate::data::{ConversionError, from_value};
use crate::runtime::start_beside;
use crate::session::{OpenError, SharedSession, one_line};
use crate::signature::RowShape;
use crate::{Data, ElementType, Error, OutputKind, Port, Provider, Signature, cache};

/// A model that is ready to run: a cheap handle, to be cloned freely.
///
/// Handles to files of equal content share everything but the name.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    name: Arc<str>,
    loaded: Arc<Loaded>,
}

/// What handles to the same content share.
#[derive(Debug)]
pub(crate) struct Loaded {
    session: SharedSession,
    signature: Signature,
    metadata: BTreeMap<String, String>,
    producer: Option<String>,
    opset: Option<u32>,
    labels: Vec<String>,
    sha256: String,
}

/// One output of a model for one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its shape, mini-batch included.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Data,
}

impl LoadedModel {
    /// Loads a model file for the processor, or finds the one of equal content that is
    /// loaded already.
    ///
    /// `name` is what error messages call it: a path, a URL, a column.
    pub fn load(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::load_on(Provider::Cpu, name, bytes)
    }

    /// Loads a model file for a provider, in the same way.
    pub fn load_on(provider: Provider, name: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::load_from(provider, name, || Ok(bytes))
    }

    /// Loads what `read` reads, in the same way. It reads while ONNX Runtime is loaded, if
    /// that is not there yet.
    pub fn load_from<B: AsRef<[u8]>, E: From<Error>>(
        provider: Provider,
        name: &str,
        read: impl FnOnce() -> Result<B, E>,
    ) -> Result<Self, E> {
        let (bytes, digest) = start_beside(|| {
            let bytes = read()?;
            let digest: cache::Digest = Sha256::digest(bytes.as_ref()).into();
            Ok::<_, E>((bytes, digest))
        })?;
        let loaded = cache::get_or_load((digest, provider), || {
            Loaded::open(provider, bytes.as_ref(), digest)
        });
        Ok(Self {
            name: Arc::from(name),
            loaded: loaded.map_err(|error| translate(name, error))?,
        })
    }

    /// What error messages call this model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the model takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.loaded.signature
    }

    /// What the exporter wrote into the file beside the graph.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.loaded.metadata
    }

    /// The names of the classes in order; empty when the file has none.
    pub fn labels(&self) -> &[String] {
        &self.loaded.labels
    }

    /// The program that wrote the file.
    pub fn producer(&self) -> Option<&str> {
        self.loaded.producer.as_deref()
    }

    /// The version of ONNX's operators that the graph uses.
    pub fn opset(&self) -> Option<u32> {
        self.loaded.opset
    }

    /// The SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.loaded.sha256
    }

    /// What computes its answers.
    pub fn provider(&self) -> Provider {
        self.loaded.session.provider()
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> usize {
        self.loaded.session.size()
    }

    /// What the metadata says about the first output.
    pub fn output_kind(&self) -> OutputKind {
        self.metadata()
            .get("output.kind")
            .and_then(|kind| OutputKind::parse(kind))
            .unwrap_or(OutputKind::Unknown)
    }

    /// How an image becomes the model's input, if the metadata says so.
    pub fn preprocess(&self) -> Result<Option<Preprocess>, Error> {
        Preprocess::from_metadata(self.metadata()).map_err(|error| Error::Invalid {
            model: self.name.to_string(),
            reason: format!("its metadata has no usable preprocessing: {error}"),
        })
    }

    /// Runs one row through the model. Outputs come in the order of the signature.
    ///
    /// Every input must be given, by its name in the signature; a list has the length
    /// of one row and takes its shape from the signature. A model whose mini-batch has
    /// a fixed size gets the row as often as it needs, and its first answer counts.
    pub fn run(&self, inputs: Vec<(String, Data)>) -> Result<Vec<Output>, Error> {
        let mut copies = 1;
        let mut values = Vec::with_capacity(inputs.len());
        for (name, data) in inputs {
            let port = self.input(&name)?;
            let shape = self.check(port, data.len())?;
            copies = copies.max(shape.copies);
            values.push((name, self.value(port, data, &shape)?));
        }
        for port in &self.signature().inputs {
            if !values.iter().any(|(name, _)| *name == port.name) {
                return Err(self.mismatch(port, "nothing".to_string()));
            }
        }
        self.run_values(&values, copies)
    }

    /// Runs one row through a model of one input, in the same way. A model of float32
    /// reads the numbers where they are.
    pub fn run_floats(&self, numbers: &[f32]) -> Result<Vec<Output>, Error> {
        let port = self.single_input()?;
        let RowShape { dims, copies } = self.check(port, numbers.len())?;
        if port.element != ElementType::Float32 || copies > 1 {
            let data = Data::Floats(numbers.to_vec());
            return self.run(vec![(port.name.clone(), data)]);
        }
        let value = TensorRef::from_array_view((dims, numbers))
            .map_err(|error| self.failed(error.message()))?;
        self.run_values(&[(port.name.clone(), value.into())], copies)
    }

    fn run_values(
        &self,
        values: &[(String, SessionInputValue<'_>)],
        copies: usize,
    ) -> Result<Vec<Output>, Error> {
        let ports = &self.signature().outputs;
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        let read = |outputs: &[DynValue]| self.read(outputs, copies);
        self.loaded
            .session
            .run(values, &names, read)
            .map_err(|error| self.failed(error.message()))?
    }

    /// Checks at plan time that rows of `len` numbers fit an input.
    pub fn check_len(&self, port: &Port, len: usize) -> Result<(), Error> {
        self.check(port, len).map(|_| ())
    }

    /// The only input of a model that has one.
    pub fn single_input(&self) -> Result<&Port, Error> {
        match self.signature().inputs.as_slice() {
            [port] => Ok(port),
            ports => Err(Error::InputMismatch {
                model: self.name.to_string(),
                input: names(ports),
                expected: format!("a struct with {} inputs by name", ports.len()),
                given: "one value".to_string(),
            }),
        }
    }

    /// The input of this name.
    pub fn input(&self, name: &str) -> Result<&Port, Error> {
        let ports = &self.signature().inputs;
        ports
            .iter()
            .find(|port| port.name == name)
            .ok_or_else(|| Error::InputMismatch {
                model: self.name.to_string(),
                input: name.to_string(),
                expected: format!("nothing, because its inputs are {}", names(ports)),
                given: "a value".to_string(),
            })
    }

    /// The error for an input that does not fit.
    pub fn mismatch(&self, port: &Port, given: String) -> Error {
        Error::InputMismatch {
            model: self.name.to_string(),
            input: port.name.clone(),
            expected: port.expectation(),
            given,
        }
    }

    fn check(&self, port: &Port, len: usize) -> Result<RowShape, Error> {
        port.row_shape(len)
            .ok_or_else(|| self.mismatch(port, count(len)))
    }

    fn value(
        &self,
        port: &Port,
        data: Data,
        shape: &RowShape,
    ) -> Result<SessionInputValue<'static>, Error> {
        let data = data.repeat(shape.copies);
        data.into_value(port.element, &shape.dims)
            .map_err(|error| match error {
                ConversionError::Value(given) => self.mismatch(port, given),
                ConversionError::Runtime(error) => self.failed(error.message()),
            })
    }

    fn read(&self, outputs: &[DynValue], copies: usize) -> Result<Vec<Output>, Error> {
        let ports = &self.signature().outputs;
        if outputs.len() != ports.len() {
            return Err(self.failed("an output is missing"));
        }
        let read = |(port, value): (&Port, &DynValue)| {
            let (shape, data) = from_value(value, port.element).map_err(|reason| {
                self.failed(&format!("output {} cannot be read: {reason}", port.name))
            })?;
            Ok(first_row(shape, data, copies))
        };
        ports.iter().zip(outputs).map(read).collect()
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Run {
            model: self.name.to_string(),
            reason: one_line(reason),
        }
    }
}

impl Loaded {
    fn open(
        provider: Provider,
        bytes: &[u8],
        digest: cache::Digest,
    ) -> Result<Self, OpenError> {
        let shared = SharedSession::open(provider, bytes)?;
        let session = shared.about();
        let signature = Signature {
            inputs: session.inputs().iter().map(Port::new).collect(),
            outputs: session.outputs().iter().map(Port::new).collect(),
        };
        let (metadata, producer) =
            metadata(session).map_err(|error| OpenError::Model(error.to_string()))?;
        // One name a line, unless names have lines themselves.
        let listed = metadata.get("labels.json");
        let labels = match listed.and_then(|json| serde_json::from_str(json).ok()) {
            Some(labels) => labels,
            None => match metadata.get("labels") {
                Some(labels) => labels.lines().map(str::to_string).collect(),
                None => Vec::new(),
            },
        };
        let opset = session.opset_for_domain("");
        Ok(Self {
            session: shared,
            signature,
            metadata,
            producer,
            opset,
            labels,
            sha256: hex::encode(digest),
        })
    }
}

type Metadata = (BTreeMap<String, String>, Option<String>);

fn metadata(session: &Session) -> ort::Result<Metadata> {
    let model = session.metadata()?;
    let mut entries = BTreeMap::new();
    for key in model.custom_keys()? {
        let value = model.custom(&key).unwrap_or_default();
        entries.insert(key, value);
    }
    Ok((
        entries,
        model.producer().filter(|producer| !producer.is_empty()),
    ))
}

fn translate(model: &str, error: OpenError) -> Error {
    match error {
        OpenError::Runtime(error) => error,
        OpenError::Model(reason) => Error::Invalid {
            model: model.to_string(),
            reason,
        },
    }
}

/// The answer for the first of `copies` equal rows.
fn first_row(mut shape: Vec<usize>, mut data: Data, copies: usize) -> Output {
    if copies > 1
        && let Some(batch) = shape.first_mut()
        && *batch == copies
    {
        *batch = 1;
        data.truncate(data.len() / copies);
    }
    Output { shape, data }
}

fn names(ports: &[Port]) -> String {
    ports
        .iter()
        .map(|port| port.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn count(len: usize) -> String {
    match len {
        1 => "1 number".to_string(),
        len => format!("{len} numbers"),
    }
}
