//! The seam between a model and what computes it: ONNX Runtime or OpenVINO.
//!
//! A session holds the weights and the optimised graph, so that there is one of them:
//! opening one for each thread costs memory and time, and the threads would push each
//! other's weights out of the caches that they share. Both engines pass the tests of
//! `tests/engines.rs`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::data::{Data, Input};
use crate::file::ModelFileHeader;
use crate::loaded::Weights;
use crate::message::Newer;
use crate::onnxruntime::OrtSession;
use crate::openvino::OpenVinoSession;
use crate::{Error, Inference, Port};

/// A model that an engine has read, which any number of threads run.
pub(crate) trait Session: Debug + Send + Sync {
    /// What the model takes, in the order of its file.
    fn inputs(&self, header: &ModelFileHeader) -> Vec<Port>;

    /// What the model gives, in the order of its file. Of the first `own` the file says
    /// whether they have a shape; the others are inside the graph.
    fn outputs(&self, header: &ModelFileHeader, own: usize) -> Vec<Port>;

    /// What the exporter wrote into the file beside the graph.
    fn about(&self) -> Result<About, String>;

    /// Whether rows of a mini-batch have the bits that they have alone. Where they need
    /// not, a mini-batch runs row by row.
    fn is_exact_in_batches(&self) -> bool;

    /// Runs the model once and copies these outputs, in their order, each with its shape.
    /// The error is what the engine says.
    fn run(
        &self,
        inputs: Vec<Input<'_>>,
        outputs: &[&Port],
    ) -> Result<Vec<(Vec<usize>, Data)>, String>;
}

/// What a model file says beside its graph.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// Entries by their keys.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The program that wrote the file.
    pub(crate) producer: Option<String>,
    /// The version of ONNX's own operators.
    pub(crate) opset: Option<u32>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The engine itself is missing or broken.
    Runtime(Error),
    /// The engine refused the model, with this reason.
    Model(String),
    /// The model is newer than ONNX Runtime.
    Newer(Newer),
    /// OpenVINO does not have what the model needs, which this names.
    Unsupported(String),
}

/// Opens a session, which tells whether the bytes are a model at all.
pub(crate) fn open(
    inference: Inference,
    bytes: &[u8],
    weights: &Weights,
) -> Result<Box<dyn Session>, OpenError> {
    Ok(match inference {
        Inference::OnnxRuntime(provider) => {
            Box::new(OrtSession::open(provider, bytes, weights)?)
        }
        Inference::OpenVino(precision) => {
            Box::new(OpenVinoSession::open(precision, bytes, weights)?)
        }
    })
}
