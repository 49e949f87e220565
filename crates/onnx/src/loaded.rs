//! What is read once from a model file and shared by all handles to the same content,
//! whatever names they were loaded under.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::file::{ModelFileHeader, invalid};
use crate::inner::{Inner, Outputs, with_outputs};
use crate::message::Newer;
use crate::onnxruntime_library::runtime;
use crate::session::{About, OpenError, Session, open};
use crate::{Error, Head, Inference, Port, Signature, TableInput, cache, names};

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
    pub(crate) session: Box<dyn Session>,
    /// What computes its answers.
    pub(crate) inference: Inference,
    pub(crate) signature: Signature,
    /// The places in the signature of the outputs that can be read.
    pub(crate) readable: Vec<usize>,
    pub(crate) heads: Vec<Head>,
    pub(crate) size: usize,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) producer: Option<String>,
    pub(crate) opset: Option<u32>,
    pub(crate) labels: Vec<String>,
    /// The columns of a table that it takes, if it says so.
    pub(crate) columns: Option<Vec<TableInput>>,
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
        inference: Inference,
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
        let session = open(inference, &bytes, &files.weights)?;
        // Those that were added come last.
        let mut made = session.outputs(&header, header.output_count());
        let (inner, tensors) = match outputs {
            Outputs::Own => (vec![], vec![]),
            Outputs::And(inner) => (inner.clone(), vec![]),
            Outputs::All => (vec![], made.split_off(header.output_count())),
        };
        let signature = Signature {
            inputs: session.inputs(&header),
            outputs: made,
        };
        let outputs = signature.outputs.iter().enumerate();
        let readable: Vec<usize> = outputs
            .filter(|(_, port)| port.is_readable())
            .map(|(place, _)| place)
            .collect();
        let head = |place: &usize| header.head(&signature.outputs[*place].name);
        let heads = readable.iter().map(head).collect();
        let About {
            metadata,
            producer,
            opset,
        } = session.about().map_err(OpenError::Model)?;
        let columns = columns(&metadata, &signature);
        Ok(Self {
            session,
            inference,
            signature,
            readable,
            heads,
            size: files.size(),
            labels: labels(&metadata),
            columns,
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

/// The columns that `atoll.columns` lists, if they are the inputs of the graph.
fn columns(
    metadata: &BTreeMap<String, String>,
    signature: &Signature,
) -> Option<Vec<TableInput>> {
    let columns: Vec<TableInput> =
        serde_json::from_str(metadata.get("atoll.columns")?).ok()?;
    let names = columns.iter().map(|column| &column.name);
    names
        .eq(signature.inputs.iter().map(|port| &port.name))
        .then_some(columns)
}

/// The error of a model that could not be opened, under the name it was asked for by.
pub(crate) fn translate(model: &str, error: OpenError) -> Error {
    match error {
        OpenError::Runtime(error) => error,
        OpenError::Model(reason) => invalid(model, reason),
        OpenError::Newer(newer) => too_new(model, newer),
        OpenError::Unsupported(reason) => Error::Unsupported {
            model: model.to_string(),
            reason,
        },
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
