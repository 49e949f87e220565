//! What is read once from a model file and shared by all handles to the same content,
//! whatever names they were loaded under.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ort::session::Session;
use ort::value::Outlet;
use sha2::{Digest as _, Sha256};

use crate::file::{ModelFileHeader, invalid};
use crate::inner::{Inner, Outputs, with_outputs};
use crate::message::{Newer, clean};
use crate::runtime::runtime;
use crate::session::{OpenError, SharedSession};
use crate::{Error, Head, Port, Provider, Signature, cache, names};

/// Weights that a model keeps in other files, by the names of [`crate::weight_files`].
pub(crate) type Weights = BTreeMap<String, Arc<[u8]>>;

/// A model file, with the other files that it keeps weights in.
#[derive(Debug, Clone)]
pub struct ModelFiles<B> {
    /// The model file.
    pub bytes: B,
    /// The other files, by the names of [`crate::weight_files`]; most models have none.
    pub weights: BTreeMap<String, Arc<[u8]>>,
}

impl<B: AsRef<[u8]>> ModelFiles<B> {
    /// A model in one file.
    pub fn alone(bytes: B) -> Self {
        Self {
            bytes,
            weights: BTreeMap::new(),
        }
    }

    /// What [`LoadedModel::sha256`](crate::LoadedModel::sha256) says of the model that these
    /// files are.
    pub fn sha256(&self) -> String {
        hex::encode(self.digest())
    }

    /// The SHA-256 of the model file, and of the others after it in the order of names.
    pub(crate) fn digest(&self) -> cache::Digest {
        let mut hash = Sha256::new();
        hash.update(self.bytes.as_ref());
        self.weights.values().for_each(|file| hash.update(file));
        hash.finalize().into()
    }

    fn size(&self) -> usize {
        let weights = self.weights.values().map(|file| file.len());
        self.bytes.as_ref().len() + weights.sum::<usize>()
    }
}

/// The session, the signature and the metadata of one content, which all handles share.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) session: SharedSession,
    pub(crate) signature: Signature,
    /// The places in the signature of the outputs that can be read.
    pub(crate) readable: Vec<usize>,
    pub(crate) heads: Vec<Head>,
    pub(crate) size: usize,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) producer: Option<String>,
    pub(crate) opset: Option<u32>,
    pub(crate) labels: Vec<String>,
    /// The tensors inside the graph that are the last ones of the outputs.
    pub(crate) inner: Vec<Inner>,
    /// What enters the last dense layer.
    pub(crate) features: Option<Inner>,
    /// All tensors inside the graph, where they were asked for.
    pub(crate) tensors: Vec<Port>,
    pub(crate) sha256: String,
}

impl Loaded {
    pub(crate) fn open<B: AsRef<[u8]>>(
        provider: Provider,
        files: &ModelFiles<B>,
        (digest, outputs): (cache::Digest, &Outputs),
    ) -> Result<Self, OpenError> {
        let bytes = files.bytes.as_ref();
        let header = ModelFileHeader::read(bytes).map_err(OpenError::Model)?;
        header
            .check_weights(&files.weights)
            .map_err(OpenError::Model)?;
        let more: Vec<String> = match outputs {
            Outputs::Own => vec![],
            Outputs::And(inner) => inner.iter().map(|one| one.tensor.clone()).collect(),
            Outputs::All => header.tensors.inner.clone(),
        };
        let bytes = match more.as_slice() {
            [] => Cow::Borrowed(bytes),
            more => Cow::Owned(with_outputs(bytes, more)),
        };
        let shared = SharedSession::open(provider, &bytes, &files.weights)?;
        let session = shared.about();
        let port = |outlet: &Outlet, is_inner: bool| {
            // ONNX Runtime works out the shapes of inner tensors, and not of all.
            Port::new(outlet, is_inner || header.is_shapeless(outlet.name()))
        };
        let own = session.outputs().len() - more.len();
        let made = session.outputs().iter().enumerate();
        let mut made: Vec<Port> = made.map(|(n, one)| port(one, n >= own)).collect();
        let (inner, tensors) = match outputs {
            Outputs::Own => (vec![], vec![]),
            Outputs::And(inner) => (inner.clone(), vec![]),
            Outputs::All => (vec![], made.split_off(own)),
        };
        let taken = session.inputs().iter();
        let signature = Signature {
            inputs: taken.map(|one| port(one, false)).collect(),
            outputs: made,
        };
        let outputs = signature.outputs.iter().enumerate();
        let readable: Vec<usize> = outputs
            .filter(|(_, port)| port.is_readable())
            .map(|(place, _)| place)
            .collect();
        let head = |place: &usize| header.head(&signature.outputs[*place].name);
        let heads = readable.iter().map(head).collect();
        let (metadata, producer) = metadata(session)
            .map_err(|error| OpenError::Model(clean(error.message())))?;
        let opset = session.opset_for_domain("");
        Ok(Self {
            session: shared,
            signature,
            readable,
            heads,
            size: files.size(),
            labels: labels(&metadata),
            inner,
            features: header.tensors.features,
            tensors,
            metadata,
            producer,
            opset,
            sha256: hex::encode(digest),
        })
    }
}

/// The names of the classes: a line each, in JSON where names have lines themselves, or
/// as exporters in Python write them.
fn labels(metadata: &BTreeMap<String, String>) -> Vec<String> {
    let listed = metadata.get("labels.json");
    if let Some(labels) = listed.and_then(|json| serde_json::from_str(json).ok()) {
        return labels;
    }
    match (metadata.get("labels"), metadata.get("names")) {
        (Some(labels), _) => labels.lines().map(str::to_string).collect(),
        (None, Some(names)) => names::parse(names).unwrap_or_default(),
        (None, None) => Vec::new(),
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

/// The error of a model that could not be opened, under the name it was asked for by.
pub(crate) fn translate(model: &str, error: OpenError) -> Error {
    match error {
        OpenError::Runtime(error) => error,
        OpenError::Model(reason) => invalid(model, reason),
        OpenError::Newer(newer) => too_new(model, newer),
    }
}

fn too_new(model: &str, newer: Newer) -> Error {
    let (uses, known) = match newer {
        Newer::Opset {
            domain,
            wanted,
            known,
        } => (
            format!("opset {wanted} of {domain}"),
            format!("opset {known}"),
        ),
        Newer::FileFormat { wanted, known } => (
            format!("IR version {wanted}"),
            format!("IR version {known}"),
        ),
    };
    let version = runtime().map(|runtime| runtime.version);
    Error::TooNew {
        model: model.to_string(),
        uses,
        known,
        runtime: version.unwrap_or_default(),
    }
}
