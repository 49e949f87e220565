//! A model that is ready to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_imaging::Preprocess;

use crate::data::{Input, Values};
use crate::file::{ModelFileHeader, invalid};
use crate::inner::Outputs;
use crate::loaded::{Loaded, ModelFiles, translate};
use crate::message::clean;
use crate::onnxruntime_library::start_beside;
use crate::signature::RowShape;
use crate::{
    Data, ElementType, Error, FEATURES, Head, Inference, Inner, OutputKind, Port,
    Signature, TableInput, cache, openvino,
};

/// A model that is ready to run: a cheap handle, to be cloned freely and used by any number
/// of threads at the same time.
///
/// Handles to files of equal content share everything but the name.
///
/// ```
/// use atoll_onnx::LoadedModel;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if atoll_onnx::runtime().is_err() { return Ok(()); } // It is not installed everywhere.
/// let bytes = std::fs::read("../../tests/data/models/identity.onnx")?;
/// let model = LoadedModel::load("identity.onnx", &bytes)?;
/// let outputs = model.run_floats(&[1.0, 2.0, 3.0])?;
/// assert_eq!(outputs[0].shape, [1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LoadedModel {
    name: Arc<str>,
    loaded: Arc<Loaded>,
}

/// One output of a model for one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its shape, with the mini-batch as the first dimension.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Data,
}

/// Which tensors a model is loaded with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WantedTensors {
    /// The outputs of its graph.
    Outputs,
    /// Those, and the one of this name if it is inside the graph, or `features`.
    Output(String),
    /// Those, and several of these names.
    Several(Vec<String>),
    /// Those, and a description of everything inside the graph.
    Tensors,
}

/// The tensors of these names that are inside a graph, each once.
fn inner_outputs<B: AsRef<[u8]>>(
    name: &str,
    files: &ModelFiles<B>,
    outputs: &[String],
) -> Result<Outputs, Error> {
    let header = ModelFileHeader::read(files.bytes.as_ref());
    let header = header.map_err(|reason| invalid(name, reason))?;
    let mut inner: Vec<Inner> = vec![];
    for found in outputs.iter().filter_map(|output| header.inner(output)) {
        if !inner.iter().any(|known| known.tensor == found.tensor) {
            inner.push(found);
        }
    }
    Ok(match inner.is_empty() {
        true => Outputs::Own,
        false => Outputs::And(inner),
    })
}

impl Output {
    /// The mean over all but the first two dimensions, which are the mini-batch and the
    /// channels.
    #[must_use]
    pub fn pooled(self) -> Self {
        let (Data::Floats(numbers), [batch, channels, places @ ..]) =
            (&self.data, self.shape.as_slice())
        else {
            return self;
        };
        let places: usize = places.iter().product();
        let means = numbers
            .chunks(places.max(1))
            .map(|places| places.iter().sum::<f32>() / places.len() as f32);
        Self {
            shape: vec![*batch, *channels],
            data: Data::Floats(means.collect()),
        }
    }

    /// Whether the values are a list: all lie along one dimension.
    pub fn is_list(&self) -> bool {
        let longest = self.shape.iter().max().copied().unwrap_or(1);
        self.data.len() <= longest
    }
}

impl LoadedModel {
    /// Loads a model file for the processor, or finds the one of equal content that is
    /// loaded already.
    ///
    /// `name` is what error messages call it: a path, a URL, a column.
    pub fn load(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::load_on(Inference::default(), name, bytes)
    }

    /// Loads a model file for an engine or an execution provider, in the same way.
    pub fn load_on(
        inference: impl Into<Inference>,
        name: &str,
        bytes: &[u8],
    ) -> Result<Self, Error> {
        let wanted = WantedTensors::Outputs;
        let read = || Ok(ModelFiles::alone(bytes));
        Self::load_from(inference.into(), name, &wanted, read)
    }

    /// Loads the files that `read` returns, in the same way, with the tensors that are wanted.
    /// `read` runs while another thread loads the library of the engine, if this process has
    /// not done so yet.
    pub fn load_from<B: AsRef<[u8]>, E: From<Error>>(
        inference: Inference,
        name: &str,
        wanted: &WantedTensors,
        read: impl FnOnce() -> Result<ModelFiles<B>, E>,
    ) -> Result<Self, E> {
        let read = || {
            let files = read()?;
            let digest = files.digest();
            Ok::<_, E>((files, digest))
        };
        let (files, digest) = match inference {
            Inference::OnnxRuntime(_) => start_beside(read)?,
            Inference::OpenVino(_) => openvino::start_beside(read)?,
        };
        let outputs = match wanted {
            WantedTensors::Outputs => Outputs::Own,
            WantedTensors::Tensors => Outputs::All,
            WantedTensors::Output(output) => {
                inner_outputs(name, &files, std::slice::from_ref(output))?
            }
            WantedTensors::Several(outputs) => inner_outputs(name, &files, outputs)?,
        };
        let key = (digest, inference, outputs.clone());
        let loaded = cache::get_or_load(key, || {
            Loaded::open(inference, &files, (digest, &outputs))
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

    /// The inputs and outputs of the model, with their types and shapes.
    pub fn signature(&self) -> &Signature {
        &self.loaded.signature
    }

    /// The outputs that [`run`](Self::run) gives: all but those that are no tensors.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = &Port> {
        let ports = &self.loaded.signature.outputs;
        self.loaded.readable.iter().map(move |place| &ports[*place])
    }

    /// The output that a query names: one of the graph, or the tensor inside of it that
    /// the model was loaded with.
    pub fn output_named(&self, name: &str) -> Option<usize> {
        let named = |name: &str| self.outputs().position(|port| port.name == name);
        named(name).or_else(|| match (name, self.loaded.inner.as_slice()) {
            (FEATURES, [inner]) => named(&inner.tensor),
            _ => None,
        })
    }

    /// Whether what is wanted of an output is its mean over the places of an image.
    pub fn is_pooled(&self, output: usize) -> bool {
        let port = self.outputs().nth(output);
        let mut inner = self.loaded.inner.iter().filter(|inner| inner.pooled);
        port.is_some_and(|port| inner.any(|inner| inner.tensor == port.name))
    }

    /// The tensors inside the graph that the model was loaded with.
    pub fn inner(&self) -> &[Inner] {
        &self.loaded.inner
    }

    /// What enters the last dense layer, if there is one with a layer before it.
    pub fn features(&self) -> Option<&Inner> {
        self.loaded.features.as_ref()
    }

    /// The tensors inside the graph, in the order of its operators, of a model that was
    /// loaded with them.
    pub fn tensors(&self) -> &[Port] {
        &self.loaded.tensors
    }

    /// What the exporter wrote into the file beside the graph.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.loaded.metadata
    }

    /// The names of the classes in order; empty when the file has none.
    pub fn labels(&self) -> &[String] {
        &self.loaded.labels
    }

    /// Whether an entry of the metadata is what the labels are read from.
    pub fn is_labels(&self, key: &str) -> bool {
        match key {
            "labels" | "labels.json" => true,
            "names" => {
                !self.labels().is_empty() && !self.metadata().contains_key("labels")
            }
            _ => false,
        }
    }

    /// The program that wrote the file.
    pub fn producer(&self) -> Option<&str> {
        self.loaded.producer.as_deref()
    }

    /// The version of ONNX's operators that the graph uses.
    pub fn opset(&self) -> Option<u32> {
        self.loaded.opset
    }

    /// The SHA-256 of the file, in hexadecimal; with weights in other files that of all,
    /// one after the other in the order of their names.
    pub fn sha256(&self) -> &str {
        &self.loaded.sha256
    }

    /// What computes its answers.
    pub fn inference(&self) -> Inference {
        self.loaded.inference
    }

    /// The size in bytes, of weights in other files too.
    pub fn size(&self) -> usize {
        self.loaded.size
    }

    /// The output that holds the scores of a classifier whose metadata names none: the first
    /// one of floating point numbers.
    pub fn default_output(&self) -> Option<usize> {
        self.outputs().position(|port| port.element.is_float())
    }

    /// What the numbers of an output mean, logits or probabilities, say.
    ///
    /// The last operator decides together with what the query states, or, for the default
    /// output, with what the metadata states. The error is what the operator makes, where
    /// that contradicts the query.
    pub fn output_kind(
        &self,
        output: usize,
        stated: Option<OutputKind>,
    ) -> Result<OutputKind, Head> {
        let head = self.loaded.heads.get(output).copied().unwrap_or_default();
        if stated.is_some() {
            return OutputKind::of(head, stated).ok_or(head);
        }
        let metadata = self.metadata().get("output.kind");
        let metadata = metadata
            .filter(|_| self.default_output() == Some(output))
            .and_then(|kind| OutputKind::of_metadata(kind));
        // What the graph does is a fact, and what was written beside it is not.
        let kind = OutputKind::of(head, metadata).or_else(|| OutputKind::of(head, None));
        Ok(kind.unwrap_or(OutputKind::Unknown))
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
            values.push(self.value(port, data, shape)?);
        }
        for port in &self.signature().inputs {
            if !values.iter().any(|input| input.name == port.name) {
                return Err(self.mismatch(port, "nothing".to_string()));
            }
        }
        self.run_values(values, copies)
    }

    /// Runs rows through a model whose mini-batch has any size, and gives the outputs of each.
    /// An input has the values of all rows, one after the other.
    pub fn run_rows(
        &self,
        inputs: Vec<(String, Data)>,
        rows: usize,
    ) -> Result<Vec<Vec<Output>>, Error> {
        if !self.loaded.session.is_exact_in_batches() {
            return self.run_one_by_one(inputs, rows);
        }
        let mut values = Vec::with_capacity(inputs.len());
        for (name, data) in inputs {
            let port = self.input(&name)?;
            let per_row = data.len() / rows.max(1);
            let mut shape = self.check(port, per_row)?;
            match shape.dims.first_mut() {
                Some(batch @ 1) => *batch = rows,
                _ => return Err(self.mismatch(port, format!("{rows} rows"))),
            }
            values.push(self.value(port, data, shape)?);
        }
        let mut split: Vec<Vec<Output>> = (0..rows).map(|_| Vec::new()).collect();
        for output in self.run_values(values, 1)? {
            let values = output.data.len() / rows.max(1);
            let dims = output.shape.iter().skip(1).copied();
            let shape: Vec<usize> = [1].into_iter().chain(dims).collect();
            let parts = output.data.chunks(values);
            if parts.len() != rows {
                return Err(self.failed("an output has not as many rows as its inputs"));
            }
            for (row, data) in split.iter_mut().zip(parts) {
                row.push(Output {
                    shape: shape.clone(),
                    data,
                });
            }
        }
        Ok(split)
    }

    /// The same, a row at a time.
    fn run_one_by_one(
        &self,
        inputs: Vec<(String, Data)>,
        rows: usize,
    ) -> Result<Vec<Vec<Output>>, Error> {
        let mut split: Vec<Vec<(String, Data)>> = vec![vec![]; rows];
        for (name, data) in inputs {
            let per_row = data.len() / rows.max(1);
            for (row, data) in split.iter_mut().zip(data.chunks(per_row)) {
                row.push((name.clone(), data));
            }
        }
        split.into_iter().map(|row| self.run(row)).collect()
    }

    /// Whether its first output is a number that it learned to predict, as its metadata says.
    pub fn predicts_a_number(&self) -> bool {
        self.metadata()
            .get("output.kind")
            .is_some_and(|kind| kind == "number")
            || self
                .signature()
                .outputs
                .first()
                .is_some_and(|port| port.name == "prediction")
    }

    /// The columns of a table that it takes by their names, if it was trained on one.
    pub fn columns(&self) -> Option<&[TableInput]> {
        self.loaded.columns.as_deref()
    }

    /// Runs one row through a model of one input, in the same way. A model of float32
    /// reads the numbers where they are.
    pub fn run_floats(&self, numbers: &[f32]) -> Result<Vec<Output>, Error> {
        let port = self.single_input()?;
        let shape = self.check(port, numbers.len())?;
        self.run_shaped(port, numbers, shape)
    }

    /// Runs the numbers of one image through a model of one input. The shape is that of the
    /// numbers, without the mini-batch; it says how high and wide the image is where the
    /// model leaves that open.
    pub fn run_image(
        &self,
        numbers: &[f32],
        shape: [usize; 3],
    ) -> Result<Vec<Output>, Error> {
        let port = self.single_input()?;
        let shape = self.check_shape(port, shape)?;
        self.run_shaped(port, numbers, shape)
    }

    fn run_shaped(
        &self,
        port: &Port,
        numbers: &[f32],
        shape: RowShape,
    ) -> Result<Vec<Output>, Error> {
        let copies = shape.copies;
        if port.element != ElementType::Float32 || copies > 1 {
            let data = Data::Floats(numbers.to_vec());
            return self.run_values(vec![self.value(port, data, shape)?], copies);
        }
        let input = Input {
            name: &port.name,
            dims: shape.dims,
            values: Values::Float32(numbers.into()),
        };
        self.run_values(vec![input], copies)
    }

    fn run_values(
        &self,
        inputs: Vec<Input<'_>>,
        copies: usize,
    ) -> Result<Vec<Output>, Error> {
        let ports: Vec<&Port> = self.outputs().collect();
        if ports.is_empty() {
            return Err(self.failed("it has no output that can be read"));
        }
        let outputs = self.loaded.session.run(inputs, &ports);
        let outputs = outputs.map_err(|reason| self.failed(&reason))?;
        let first = outputs
            .into_iter()
            .map(|(shape, data)| first_row(shape, data, copies));
        Ok(first.collect())
    }

    /// Checks that rows of `len` numbers fit an input. Queries are checked with it when they
    /// are planned, before any row is read.
    pub fn check_len(&self, port: &Port, len: usize) -> Result<(), Error> {
        self.check(port, len).map(|_| ())
    }

    /// Checks that images of this shape fit the only input; the shape has no dimension for
    /// the mini-batch. Queries are checked with it when they are planned.
    pub fn check_image(&self, shape: [usize; 3]) -> Result<(), Error> {
        self.check_shape(self.single_input()?, shape).map(drop)
    }

    fn check_shape(&self, port: &Port, shape: [usize; 3]) -> Result<RowShape, Error> {
        let [a, b, c] = shape;
        port.image_shape([1, a, b, c]).ok_or_else(|| {
            self.mismatch(port, format!("an image of {a}x{b}x{c} numbers"))
        })
    }

    /// The only input of a model that has one.
    pub fn single_input(&self) -> Result<&Port, Error> {
        match self.signature().inputs.as_slice() {
            [port] => Ok(port),
            ports => Err(Error::InputMismatch {
                model: self.name.to_string(),
                input: listed(ports),
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
                expected: format!("nothing, because its inputs are {}", listed(ports)),
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

    fn value<'a>(
        &self,
        port: &'a Port,
        data: Data,
        shape: RowShape,
    ) -> Result<Input<'a>, Error> {
        let values = data.repeat(shape.copies).into_values(port.element);
        Ok(Input {
            name: &port.name,
            dims: shape.dims,
            values: values.map_err(|given| self.mismatch(port, given))?,
        })
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Run {
            model: self.name.to_string(),
            reason: clean(reason),
        }
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

fn listed(ports: &[Port]) -> String {
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
