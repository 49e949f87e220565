//! A model that OpenVINO runs.
//!
//! A model whose mini-batch alone is left open is compiled for one row, which is faster than
//! for any number of rows, and gives a row the same bits whatever rows come with it. Where
//! more is left open, such as the height of an image, it is compiled as it is.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Debug, Formatter};
use std::num::NonZeroUsize;
use std::thread;

use openvino::{
    CompiledModel, Core, DeviceType, Dimension, InferRequest, InferenceError, Model,
    PartialShape, RwPropertyKey,
};
use parking_lot::Mutex;
use prost::Message;

use super::{sentence, start};
use crate::data::{Data, Input};
use crate::file::ModelFileHeader;
use crate::loaded::Weights;
use crate::session::{About, OpenError, Session};
use crate::{ElementType, Port, Precision, compose, proto};

mod tensor;

use tensor::Place;

/// A compiled model, with the requests that threads run it by.
pub(crate) struct OpenVinoSession {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    file: proto::Model,
    compiled: Mutex<CompiledModel>,
    /// Requests that no thread runs now. There come to be as many as threads that run the
    /// model at the same time.
    idle: Mutex<Vec<Request>>,
}

/// What one thread at a time runs a model by.
struct Request {
    native: InferRequest,
    /// The tensors of the inputs, which stay for the next row.
    inputs: Vec<Option<Place>>,
}

impl Debug for OpenVinoSession {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenVinoSession")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

fn unsupported(error: &InferenceError) -> OpenError {
    let text = sentence(error);
    // A list of operators, in a report about the conversion.
    let operators = text
        .split_once("No conversion rule found for operations: ")
        .and_then(|(_, rest)| rest.split_once(" To facilitate"))
        .map(|(operators, _)| operators.trim());
    OpenError::Unsupported(match operators {
        Some(operators) => format!("it does not have the operators {operators}"),
        None => text,
    })
}

impl OpenVinoSession {
    /// Reads a model and compiles it for the processor.
    pub(crate) fn open(
        precision: Precision,
        bytes: &[u8],
        weights: &Weights,
    ) -> Result<Self, OpenError> {
        let started = start().map_err(OpenError::Runtime)?;
        let bytes = in_one_file(bytes, weights)?;
        let mut file = proto::Model::decode(&*bytes).map_err(|_| {
            OpenError::Unsupported("it is no file of ONNX's own format".to_string())
        })?;
        let mut core = started.core.lock();
        let read = core.read_model_from_buffer(&bytes, None);
        let mut model = read.map_err(|error| unsupported(&error))?;
        let (inputs, outputs) = ports(&model, &file)?;
        // The names of its values are no longer needed, and there may be many.
        file.graph = None;
        if let Some(shapes) = of_one_row(&inputs)
            && reshape(&mut model, &shapes).is_err()
        {
            // Something in the graph wants another mini-batch.
            let read = core.read_model_from_buffer(&bytes, None);
            model = read.map_err(|error| unsupported(&error))?;
        }
        let compiled = compile(&mut core, &model, precision);
        Ok(Self {
            inputs,
            outputs,
            file,
            compiled: Mutex::new(compiled.map_err(|error| unsupported(&error))?),
            idle: Mutex::default(),
        })
    }

    /// A request that no other thread has.
    fn request(&self) -> Result<Request, InferenceError> {
        if let Some(request) = self.idle.lock().pop() {
            return Ok(request);
        }
        Ok(Request {
            native: self.compiled.lock().create_infer_request()?,
            inputs: self.inputs.iter().map(|_| None).collect(),
        })
    }
}

/// The model file with weights that were in others. OpenVINO itself must not look for
/// files: their names come from anywhere.
fn in_one_file<'a>(
    bytes: &'a [u8],
    weights: &Weights,
) -> Result<Cow<'a, [u8]>, OpenError> {
    let is_external = |bytes: &[u8]| {
        let header = ModelFileHeader::read(bytes).map_err(OpenError::Model)?;
        Ok::<_, OpenError>(header.is_external())
    };
    if !is_external(bytes)? {
        return Ok(Cow::Borrowed(bytes));
    }
    let whole = compose::whole(bytes, weights).map_err(OpenError::Model)?;
    match is_external(&whole)? {
        false => Ok(Cow::Owned(whole)),
        true => Err(OpenError::Unsupported(
            "its sparse weights are in another file".to_string(),
        )),
    }
}

/// Compiles a model for one thread a row: the compute pool runs a row per core, and each of
/// those threads has a stream of its own.
fn compile(
    core: &mut Core,
    model: &Model,
    precision: Precision,
) -> Result<CompiledModel, InferenceError> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.to_string();
    let precision = match precision {
        Precision::Float32 => "f32",
        Precision::Bfloat16 => "bf16",
    };
    let settings = [
        (RwPropertyKey::HintInferencePrecision, precision),
        (RwPropertyKey::NumStreams, threads.as_str()),
        (RwPropertyKey::InferenceNumThreads, threads.as_str()),
        // The threads are the pool's, and other work runs on them.
        (RwPropertyKey::HintEnableCpuPinning, "NO"),
        (RwPropertyKey::HintEnableHyperThreading, "YES"),
    ];
    core.set_properties(&DeviceType::CPU, settings)?;
    core.compile_model(model, DeviceType::CPU)
}

/// The shapes of inputs for one row, if the mini-batch is all that they leave open.
fn of_one_row(inputs: &[Port]) -> Option<Vec<Vec<i64>>> {
    let is_open = |port: &Port| port.shape.iter().flatten().any(Option::is_none);
    if !inputs.iter().any(is_open) {
        return None;
    }
    let of_port = |port: &Port| {
        let mut dims = port.shape.clone()?;
        if dims.len() > 1
            && let Some(batch @ None) = dims.first_mut()
        {
            *batch = Some(1);
        }
        let dims = dims.into_iter();
        dims.map(|dim| i64::try_from(dim?).ok()).collect()
    };
    inputs.iter().map(of_port).collect()
}

fn reshape(model: &mut Model, shapes: &[Vec<i64>]) -> Result<(), InferenceError> {
    let shapes: Result<Vec<PartialShape>, _> = shapes
        .iter()
        .map(|dims| PartialShape::new_static(dims.len() as i64, dims))
        .collect();
    let shapes = shapes?;
    let by_place: Vec<(usize, &PartialShape)> = shapes.iter().enumerate().collect();
    model.reshape_by_port_indexes(&by_place)
}

/// The inputs and outputs, in the order of the file and under its names: OpenVINO may give
/// a tensor several.
fn ports(
    model: &Model,
    file: &proto::Model,
) -> Result<(Vec<Port>, Vec<Port>), OpenError> {
    let Some(graph) = &file.graph else {
        return Err(OpenError::Model("it has no graph".to_string()));
    };
    let weights: HashSet<&[u8]> = graph
        .initializers
        .iter()
        .map(|tensor| tensor.name.as_slice())
        .collect();
    let names = |ports: &[proto::ValueInfo]| -> Vec<String> {
        let ports = ports.iter();
        ports
            .filter(|port| !weights.contains(port.name.as_slice()))
            .map(|port| String::from_utf8_lossy(&port.name).into_owned())
            .collect()
    };
    let outputs: Vec<String> = graph
        .outputs
        .iter()
        .map(|port| String::from_utf8_lossy(&port.name).into_owned())
        .collect();
    let ports = || -> Result<(Vec<Port>, Vec<Port>), InferenceError> {
        let inputs = names(&graph.inputs).into_iter().enumerate();
        let inputs =
            inputs.map(|(place, name)| port(name, &model.get_input_by_index(place)?));
        let outputs = outputs.into_iter().enumerate();
        let outputs =
            outputs.map(|(place, name)| port(name, &model.get_output_by_index(place)?));
        Ok((
            inputs.collect::<Result<_, _>>()?,
            outputs.collect::<Result<_, _>>()?,
        ))
    };
    let (inputs, outputs) = ports().map_err(|error| unsupported(&error))?;
    let is_text = |port: &&Port| port.element == ElementType::String;
    if let Some(port) = inputs.iter().chain(&outputs).find(is_text) {
        return Err(OpenError::Unsupported(format!(
            "its {} is text, and only numbers can be given to OpenVINO and taken from it",
            port.name
        )));
    }
    Ok((inputs, outputs))
}

fn port(name: String, node: &openvino::Node) -> Result<Port, InferenceError> {
    let shape = node.get_partial_shape()?;
    let dims = || {
        let dims = shape.get_dimensions().iter();
        dims.map(|dim: &Dimension| match dim.is_dynamic() {
            true => None,
            false => usize::try_from(dim.get_min()).ok(),
        })
        .collect()
    };
    // The binding calls the rank of a scalar, from 0 to 0, open as well.
    let rank = shape.get_rank();
    let shape = (rank.get_min() == rank.get_max()).then(dims);
    Ok(Port {
        name,
        element: tensor::element(node.get_element_type()?),
        shape,
        instead: None,
    })
}

impl Session for OpenVinoSession {
    fn inputs(&self, _header: &ModelFileHeader) -> Vec<Port> {
        self.inputs.clone()
    }

    fn outputs(&self, _header: &ModelFileHeader, _own: usize) -> Vec<Port> {
        self.outputs.clone()
    }

    fn about(&self) -> Result<About, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let entries = self.file.metadata.iter();
        let own = self.file.opsets.iter().filter(|set| {
            let domain = set.domain.as_slice();
            domain.is_empty() || domain == b"ai.onnx"
        });
        Ok(About {
            metadata: entries
                .map(|entry| (text(&entry.key), text(&entry.value)))
                .collect(),
            producer: Some(text(&self.file.producer)).filter(|name| !name.is_empty()),
            opset: own.filter_map(|set| u32::try_from(set.version).ok()).max(),
        })
    }

    fn is_exact_in_batches(&self) -> bool {
        // OpenVINO takes other kernels for other numbers of rows.
        false
    }

    fn run(
        &self,
        inputs: Vec<Input<'_>>,
        outputs: &[&Port],
    ) -> Result<Vec<(Vec<usize>, Data)>, String> {
        let place = |ports: &[Port], name: &str| {
            let found = ports.iter().position(|port| port.name == name);
            found.ok_or_else(|| format!("it has no {name}"))
        };
        let mut request = self.request().map_err(|error| sentence(&error))?;
        for input in inputs {
            let place = place(&self.inputs, input.name)?;
            request.set(place, input)?;
        }
        let Request { native, .. } = &mut request;
        native.infer().map_err(|error| sentence(&error))?;
        let read = |port: &&Port| {
            let place = place(&self.outputs, &port.name)?;
            let tensor = native.get_output_tensor_by_index(place);
            tensor
                .and_then(|tensor| tensor::copy(&tensor))
                .map_err(|error| sentence(&error))?
                .ok_or_else(|| format!("output {} has an unknown type", port.name))
        };
        let results = outputs.iter().map(read).collect();
        // One that failed is not used again.
        self.idle.lock().push(request);
        results
    }
}

impl Request {
    /// Writes the values of an input where the model reads them.
    fn set(&mut self, at: usize, input: Input<'_>) -> Result<(), String> {
        let Input { name, dims, values } = input;
        tensor::check_range(name, &values)?;
        let write = || -> Result<(), InferenceError> {
            let kept = self.inputs[at]
                .take()
                .filter(|place| place.has_shape(&dims));
            let mut place = match kept {
                Some(place) => place,
                // The binding makes no tensor without dimensions; the request has one.
                None if dims.is_empty() => Place::of(self.native.get_tensor(name)?, dims),
                None => {
                    let place = Place::new(tensor::type_of(&values), dims)?;
                    self.native.set_input_tensor_by_index(at, place.tensor())?;
                    place
                }
            };
            place.write(&values)?;
            self.inputs[at] = Some(place);
            Ok(())
        };
        write().map_err(|error| sentence(&error))
    }
}
