//! A network that others trained with a head of one's own behind it, as one model file.
//!
//! The graph of the backbone is kept up to its features, byte for byte, and what only served
//! its own outputs is left out. The nodes and weights of the head follow under names of their
//! own. Messages of protocol buffers are cut and joined on the wire, so that what this crate
//! does not know of ONNX is kept as well.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use prost::Message;

use crate::inner::Inner;
use crate::loaded::ModelFiles;
use crate::proto::{EXTERNAL, Graph, Model, Node, OperatorSet, Tensor};
use crate::wire::{self, put, put_number};

/// Field numbers of `onnx.proto`.
mod model {
    pub(super) const IR_VERSION: u32 = 1;
    pub(super) const PRODUCER_NAME: u32 = 2;
    pub(super) const PRODUCER_VERSION: u32 = 3;
    pub(super) const GRAPH: u32 = 7;
    pub(super) const METADATA: u32 = 14;
    pub(super) const TRAINING: u32 = 20;
}

mod graph {
    pub(super) const NODES: u32 = 1;
    pub(super) const INITIALIZERS: u32 = 5;
    pub(super) const INPUTS: u32 = 11;
    pub(super) const OUTPUTS: u32 = 12;
    pub(super) const VALUES: u32 = 13;
}

mod node {
    pub(super) const INPUT: u32 = 1;
    pub(super) const OUTPUT: u32 = 2;
    pub(super) const NAME: u32 = 3;
    pub(super) const OPERATOR: u32 = 4;
    pub(super) const ATTRIBUTE: u32 = 5;
}

mod tensor {
    pub(super) const NAME: u32 = 8;
    pub(super) const RAW: u32 = 9;
    pub(super) const EXTERNAL: [u32; 2] = [13, 14];
}

mod attribute {
    pub(super) const NAME: u32 = 1;
    pub(super) const INT: u32 = 3;
    pub(super) const KIND: u32 = 20;
    /// What `KIND` says of one integer.
    pub(super) const IS_INT: u64 = 2;
}

/// The name of an input, output or value, and the key of an entry.
const KEY: u32 = 1;

/// The value of an entry.
const VALUE: u32 = 2;

/// ONNX's number for the type DOUBLE.
const DOUBLE: i32 = 11;

/// Operators of a head mean the same from this version on.
const OLDEST_OPSET: i64 = 9;

/// Weights need not be listed among the inputs from this version of the file format on.
const OLDEST_IR: i64 = 4;

/// What the metadata of a backbone says of its own outputs, which are left out.
const OF_OUTPUTS: [&str; 4] = ["labels", "labels.json", "names", "output.kind"];

/// A network whose features a head is put behind.
#[derive(Debug)]
pub struct Backbone<'a, B> {
    /// The model file, with the other files that it keeps weights in.
    pub files: &'a ModelFiles<B>,
    /// The tensor that the head takes.
    pub features: &'a Inner,
    /// How an image becomes the input, as `image.` entries of the metadata. They replace
    /// those of the file.
    pub preprocessing: &'a BTreeMap<String, String>,
}

/// Puts a head behind the features of a backbone. The head is a model file with one input,
/// a row of as many numbers as there are features, and one output. The result takes what the
/// backbone takes, gives what the head gives, and has the metadata of both, where the head
/// says what the outputs are. The error says why the files cannot be joined.
pub fn with_head<B: AsRef<[u8]>>(
    backbone: &Backbone<'_, B>,
    head: &[u8],
) -> Result<Vec<u8>, String> {
    let bytes = backbone.files.bytes.as_ref();
    let file = decode(bytes, "the backbone")?;
    let opset = opset(&file.opsets);
    if opset < OLDEST_OPSET {
        return Err(format!(
            "it uses opset {opset}, and a head can be put behind a model of opset \
             {OLDEST_OPSET} or later; convert it with onnx.version_converter"
        ));
    }
    let graph = file.graph.unwrap_or_default();
    let needed = Needed::of(&graph, &backbone.features.tensor);
    let names = Names::new(&graph, &needed);
    let weights = &backbone.files.weights;
    let mut joined = needed.graph(graph_bytes(bytes)?, &graph, weights)?;
    add_head(&mut joined, backbone.features, head, &names)?;

    let ir_version = file.ir_version.max(OLDEST_IR);
    let mut file = Vec::with_capacity(bytes.len() + head.len());
    put_number(&mut file, model::IR_VERSION, ir_version as u64);
    put(&mut file, model::PRODUCER_NAME, b"atoll");
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    put(&mut file, model::PRODUCER_VERSION, version);
    put(&mut file, model::GRAPH, &joined);
    let classes = lines_of_labels(bytes)?;
    for field in wire::fields(bytes) {
        let field = field?;
        let is_kept = match field.number {
            model::METADATA => {
                let key = text_of(field.value, KEY)?;
                let ours = key.starts_with("image.") || key.starts_with("atoll.");
                // Other names of its classes, such as those of WordNet.
                let lines = text_of(field.value, VALUE)?.lines().count();
                let of_classes = lines > 1 && Some(lines) == classes;
                !(ours || of_classes || OF_OUTPUTS.contains(&key.as_str()))
            }
            model::IR_VERSION
            | model::PRODUCER_NAME
            | model::PRODUCER_VERSION
            | model::GRAPH
            | model::TRAINING => false,
            _ => true,
        };
        if is_kept {
            file.extend_from_slice(field.whole);
        }
    }
    for (key, value) in backbone.preprocessing {
        put(&mut file, model::METADATA, &entry(key, value));
    }
    for field in wire::fields(head) {
        let field = field?;
        if field.number == model::METADATA {
            file.extend_from_slice(field.whole);
        }
    }
    Ok(file)
}

/// A model file with the values that its graph keeps in other files.
pub(crate) fn whole(
    bytes: &[u8],
    weights: &BTreeMap<String, Arc<[u8]>>,
) -> Result<Vec<u8>, String> {
    let file = decode(bytes, "the model")?;
    let graph = file.graph.unwrap_or_default();
    let mut tensors = graph.initializers.iter();
    let mut whole = Vec::with_capacity(bytes.len());
    for field in wire::fields(bytes) {
        let field = field?;
        if field.number != model::GRAPH {
            whole.extend_from_slice(field.whole);
            continue;
        }
        let mut inside = Vec::with_capacity(field.value.len());
        for field in wire::fields(field.value) {
            let field = field?;
            let tensor = match field.number {
                graph::INITIALIZERS => tensors.next(),
                _ => None,
            };
            match tensor {
                Some(tensor) if tensor.place == EXTERNAL => {
                    let tensor = inlined(field.value, tensor, weights)?;
                    put(&mut inside, graph::INITIALIZERS, &tensor);
                }
                _ => inside.extend_from_slice(field.whole),
            }
        }
        put(&mut whole, model::GRAPH, &inside);
    }
    Ok(whole)
}

fn decode(bytes: &[u8], what: &str) -> Result<Model, String> {
    Model::decode(bytes).map_err(|error| format!("{what} is no ONNX file: {error}"))
}

/// The version of the operators of ONNX itself.
fn opset(imported: &[OperatorSet]) -> i64 {
    let own = imported.iter().filter(|set| {
        let domain = set.domain.as_slice();
        domain.is_empty() || domain == b"ai.onnx"
    });
    own.map(|set| set.version).max().unwrap_or(1)
}

fn graph_bytes(model: &[u8]) -> Result<&[u8], String> {
    let mut found = None;
    for field in wire::fields(model) {
        let field = field?;
        if field.number == model::GRAPH {
            // Several would be one with the fields of all.
            if found.replace(field.value).is_some() {
                return Err("its graph is in several pieces".to_string());
            }
        }
    }
    found.ok_or_else(|| "it has no graph".to_string())
}

/// How many classes a model file names, a line each.
fn lines_of_labels(bytes: &[u8]) -> Result<Option<usize>, String> {
    for field in wire::fields(bytes) {
        let field = field?;
        if field.number == model::METADATA && text_of(field.value, KEY)? == "labels" {
            return Ok(Some(text_of(field.value, VALUE)?.lines().count()));
        }
    }
    Ok(None)
}

fn text_of(message: &[u8], wanted: u32) -> Result<String, String> {
    for field in wire::fields(message) {
        let field = field?;
        if field.number == wanted {
            return Ok(String::from_utf8_lossy(field.value).into_owned());
        }
    }
    Ok(String::new())
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, KEY, key.as_bytes());
    put(&mut entry, VALUE, value.as_bytes());
    entry
}

/// What of a graph one of its tensors needs.
struct Needed<'a> {
    /// Whether each node is needed.
    nodes: Vec<bool>,
    /// The values that needed nodes take or make.
    values: HashSet<&'a [u8]>,
}

impl<'a> Needed<'a> {
    fn of(graph: &'a Graph, tensor: &'a str) -> Self {
        let made = graph.nodes.iter().enumerate().flat_map(|(place, node)| {
            let outputs = node.outputs.iter().map(Vec::as_slice);
            outputs.map(move |output| (output, place))
        });
        let makers: HashMap<&[u8], usize> = made.collect();
        let mut nodes = vec![false; graph.nodes.len()];
        let mut values: HashSet<&[u8]> = HashSet::from([tensor.as_bytes()]);
        let mut open = vec![tensor.as_bytes()];
        while let Some(value) = open.pop() {
            let Some(&place) = makers.get(value) else {
                continue;
            };
            if std::mem::replace(&mut nodes[place], true) {
                continue;
            }
            let node = &graph.nodes[place];
            values.extend(node.outputs.iter().map(Vec::as_slice));
            for input in taken(node) {
                if values.insert(input) {
                    open.push(input);
                }
            }
        }
        Self { nodes, values }
    }

    /// The graph with what is needed of it, and no outputs yet. Weights that are in other
    /// files come into it.
    fn graph(
        &self,
        bytes: &[u8],
        graph: &Graph,
        weights: &BTreeMap<String, Arc<[u8]>>,
    ) -> Result<Vec<u8>, String> {
        let mut kept = Vec::with_capacity(bytes.len());
        let (mut nodes, mut tensors) = (self.nodes.iter(), graph.initializers.iter());
        for field in wire::fields(bytes) {
            let field = field?;
            let is_kept = match field.number {
                graph::NODES => nodes.next().copied().unwrap_or(false),
                graph::INITIALIZERS => match tensors.next() {
                    Some(tensor) if self.values.contains(tensor.name.as_slice()) => {
                        if tensor.place == EXTERNAL {
                            let inside = inlined(field.value, tensor, weights)?;
                            put(&mut kept, graph::INITIALIZERS, &inside);
                            continue;
                        }
                        true
                    }
                    _ => false,
                },
                graph::INPUTS | graph::VALUES => {
                    let name = text_of(field.value, KEY)?;
                    self.values.contains(name.as_bytes())
                }
                graph::OUTPUTS => false,
                _ => true,
            };
            if is_kept {
                kept.extend_from_slice(field.whole);
            }
        }
        Ok(kept)
    }
}

/// The values that a node takes, those of its branches and loops among them.
fn taken(node: &Node) -> Vec<&[u8]> {
    let mut values: Vec<&[u8]> = node.inputs.iter().map(Vec::as_slice).collect();
    for attribute in &node.attributes {
        for graph in attribute.graph.iter().chain(&attribute.graphs) {
            // Also what an inner graph makes itself; a name too many does no harm.
            values.extend(graph.nodes.iter().flat_map(taken));
            values.extend(graph.outputs.iter().map(|output| output.name.as_slice()));
        }
    }
    values
}

/// A tensor with its values, which are in another file.
fn inlined(
    bytes: &[u8],
    tensor: &Tensor,
    weights: &BTreeMap<String, Arc<[u8]>>,
) -> Result<Vec<u8>, String> {
    let name = String::from_utf8_lossy(&tensor.name);
    let entry = |key: &str| {
        let mut entries = tensor.external.iter();
        let found = entries.find(|entry| entry.key == key.as_bytes());
        found.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    };
    let number_of = |key: &str| entry(key).and_then(|value| value.parse::<usize>().ok());
    let file = entry("location").and_then(|location| weights.get(&location));
    let start = number_of("offset").unwrap_or(0);
    let values = file.and_then(|file| match number_of("length") {
        Some(length) => file.get(start..start.checked_add(length)?),
        None => file.get(start..),
    });
    let values = values.ok_or_else(|| format!("its weights {name} are not there"))?;
    let mut inside = Vec::with_capacity(values.len() + bytes.len());
    for field in wire::fields(bytes) {
        let field = field?;
        if !tensor::EXTERNAL.contains(&field.number) {
            inside.extend_from_slice(field.whole);
        }
    }
    put(&mut inside, tensor::RAW, values);
    Ok(inside)
}

/// What the values of a head are called beside those of its backbone.
struct Names<'a> {
    prefix: String,
    taken: HashSet<&'a [u8]>,
}

impl<'a> Names<'a> {
    fn new(graph: &'a Graph, needed: &Needed<'a>) -> Self {
        let taken = &needed.values;
        let mut prefix = "head/".to_string();
        let nodes = || graph.nodes.iter().flat_map(|node| &node.outputs);
        while nodes().any(|name| name.starts_with(prefix.as_bytes()))
            || taken.iter().any(|name| name.starts_with(prefix.as_bytes()))
        {
            prefix.insert(0, '_');
        }
        Self {
            prefix,
            taken: taken.clone(),
        }
    }

    fn inside(&self, name: &[u8]) -> Vec<u8> {
        match name {
            // An input that is left out has no name.
            [] => vec![],
            name => [self.prefix.as_bytes(), name].concat(),
        }
    }

    /// The output keeps its name, by which programs ask for it, where it is free.
    fn output(&self, name: &[u8]) -> Vec<u8> {
        match self.taken.contains(name) {
            true => self.inside(name),
            false => name.to_vec(),
        }
    }
}

/// Adds the nodes, weights and outputs of a head to a graph.
fn add_head(
    joined: &mut Vec<u8>,
    features: &Inner,
    head: &[u8],
    names: &Names<'_>,
) -> Result<(), String> {
    let graph = decode(head, "the head")?.graph.unwrap_or_default();
    let ([input], [output]) = (graph.inputs.as_slice(), graph.outputs.as_slice()) else {
        return Err("the head has not one input and one output".to_string());
    };
    let element = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let is_wide = element.is_some_and(|tensor| tensor.element == DOUBLE);
    let mut value = features.tensor.as_bytes().to_vec();
    let mut step = |operator: &str, attribute: Option<(&str, u64)>, to: Vec<u8>| {
        let made = node(operator, &value, &to, attribute);
        put(joined, graph::NODES, &made);
        value = to;
    };
    if features.pooled {
        step("GlobalAveragePool", None, names.inside(b"pooled"));
    }
    let flat = if is_wide {
        b"flat".as_slice()
    } else {
        &input.name
    };
    step("Flatten", Some(("axis", 1)), names.inside(flat));
    if is_wide {
        let to = Some(("to", DOUBLE as u64));
        step("Cast", to, names.inside(&input.name));
    }
    let renamed = |name: &[u8]| match name == output.name {
        true => names.output(name),
        false => names.inside(name),
    };
    for field in wire::fields(graph_bytes(head)?) {
        let field = field?;
        let rename: &[u32] = match field.number {
            graph::NODES => &[node::INPUT, node::OUTPUT, node::NAME],
            graph::INITIALIZERS => &[tensor::NAME],
            graph::OUTPUTS => &[KEY],
            _ => continue,
        };
        let mut message = Vec::with_capacity(field.value.len());
        for part in wire::fields(field.value) {
            let part = part?;
            match rename.contains(&part.number) {
                true => put(&mut message, part.number, &renamed(part.value)),
                false => message.extend_from_slice(part.whole),
            }
        }
        put(joined, field.number, &message);
    }
    Ok(())
}

fn node(
    operator: &str,
    input: &[u8],
    output: &[u8],
    attribute: Option<(&str, u64)>,
) -> Vec<u8> {
    let mut node = Vec::new();
    put(&mut node, node::INPUT, input);
    put(&mut node, node::OUTPUT, output);
    put(&mut node, node::NAME, output);
    put(&mut node, node::OPERATOR, operator.as_bytes());
    if let Some((name, value)) = attribute {
        let mut attribute = Vec::new();
        put(&mut attribute, attribute::NAME, name.as_bytes());
        put_number(&mut attribute, attribute::INT, value);
        let kind = attribute::IS_INT;
        put_number(&mut attribute, attribute::KIND, kind);
        put(&mut node, node::ATTRIBUTE, &attribute);
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::nodes;
    use crate::proto::{Entry, TensorType, ValueInfo, ValueType};

    fn value(name: &str) -> ValueInfo {
        ValueInfo {
            name: name.as_bytes().to_vec(),
            kind: None,
        }
    }

    fn weights(name: &str) -> Tensor {
        Tensor {
            name: name.as_bytes().to_vec(),
            ..Tensor::default()
        }
    }

    fn model(lines: &str, tensors: &[&str], (input, output): (&str, &str)) -> Model {
        Model {
            ir_version: 3,
            graph: Some(Graph {
                nodes: nodes(lines),
                initializers: tensors.iter().copied().map(weights).collect(),
                inputs: vec![value(input)],
                outputs: vec![value(output)],
                ..Graph::default()
            }),
            opsets: vec![OperatorSet {
                domain: vec![],
                version: 13,
            }],
            ..Model::default()
        }
    }

    const BACKBONE: &str =
        "a = Conv(x, k)\n f = Relu(a)\n h = Gemm(f, w)\n y = Softmax(h)";

    fn joined(backbone: &Model, head: &Model, pooled: bool) -> Result<Model, String> {
        let backbone = Backbone {
            files: &ModelFiles::alone(backbone.encode_to_vec()),
            features: &Inner {
                tensor: "f".to_string(),
                pooled,
            },
            preprocessing: &BTreeMap::new(),
        };
        let file = with_head(&backbone, &head.encode_to_vec())?;
        Ok(Model::decode(file.as_slice()).unwrap())
    }

    fn operators(graph: &Graph) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let line = |node: &Node| {
            let inputs = node.inputs.iter().map(|input| text(input));
            let inputs = inputs.collect::<Vec<_>>().join(", ");
            let output = text(&node.outputs[0]);
            format!("{output} = {}({inputs})", text(&node.operator))
        };
        graph.nodes.iter().map(line).collect()
    }

    #[test]
    fn a_head_takes_the_place_of_the_last_layer() {
        let backbone = model(BACKBONE, &["k", "w"], ("x", "y"));
        let head = model("logits = Gemm(input, m)", &["m"], ("input", "logits"));
        let joined = joined(&backbone, &head, true).unwrap();
        assert_eq!(joined.ir_version, 4);
        let graph = joined.graph.unwrap();
        let expected = [
            "a = Conv(x, k)",
            "f = Relu(a)",
            "head/pooled = GlobalAveragePool(f)",
            "head/input = Flatten(head/pooled)",
            "logits = Gemm(head/input, head/m)",
        ];
        assert_eq!(operators(&graph), expected);
        let names = |tensors: &[Tensor]| -> Vec<Vec<u8>> {
            tensors.iter().map(|tensor| tensor.name.clone()).collect()
        };
        assert_eq!(
            names(&graph.initializers),
            [b"k".to_vec(), b"head/m".to_vec()]
        );
        assert_eq!(graph.inputs, [value("x")]);
        assert_eq!(graph.outputs, [value("logits")]);
    }

    #[test]
    fn names_that_are_taken_are_avoided() {
        let lines = "head/b = Conv(x, k)\n logits = Relu(head/b)\n f = Relu(logits)\n \
            y = Gemm(f, w)";
        let backbone = model(lines, &["k", "w"], ("x", "y"));
        let head = model("logits = Gemm(input, m)", &["m"], ("input", "logits"));
        let graph = joined(&backbone, &head, false).unwrap().graph.unwrap();
        let last = operators(&graph).pop().unwrap();
        assert_eq!(last, "_head/logits = Gemm(_head/input, _head/m)");
        assert_eq!(graph.outputs, [value("_head/logits")]);
    }

    #[test]
    fn a_head_of_doubles_gets_them() {
        let backbone = model(BACKBONE, &["k", "w"], ("x", "y"));
        let mut head = model("p = Gemm(input, m)", &["m"], ("input", "p"));
        head.graph.as_mut().unwrap().inputs[0].kind = Some(ValueType {
            tensor: Some(TensorType {
                element: DOUBLE,
                shape: None,
            }),
        });
        let graph = joined(&backbone, &head, false).unwrap().graph.unwrap();
        let expected = [
            "head/flat = Flatten(f)",
            "head/input = Cast(head/flat)",
            "p = Gemm(head/input, head/m)",
        ];
        assert_eq!(operators(&graph)[2..], expected);
    }

    #[test]
    fn weights_of_other_files_come_into_the_one() {
        let mut backbone = model(BACKBONE, &["k", "w"], ("x", "y"));
        let entry = |key: &str, value: &str| Entry {
            key: key.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        };
        let kernel = &mut backbone.graph.as_mut().unwrap().initializers[0];
        kernel.place = EXTERNAL;
        kernel.external = vec![entry("location", "w.bin"), entry("offset", "2")];
        let head = model("p = Gemm(input, m)", &["m"], ("input", "p"));
        let files = ModelFiles {
            bytes: backbone.encode_to_vec(),
            weights: BTreeMap::from([(
                "w.bin".to_string(),
                Arc::from(&b"..weights"[..]),
            )]),
        };
        let features = &Inner {
            tensor: "f".to_string(),
            pooled: false,
        };
        let (files, preprocessing) = (&files, &BTreeMap::new());
        let backbone = Backbone {
            files,
            features,
            preprocessing,
        };
        let file = with_head(&backbone, &head.encode_to_vec()).unwrap();
        assert!(file.windows(7).any(|part| part == b"weights"));
        let graph = Model::decode(file.as_slice()).unwrap().graph.unwrap();
        assert_eq!(
            (graph.initializers[0].place, graph.initializers.len()),
            (0, 2)
        );
    }

    #[test]
    fn an_old_model_is_refused() {
        let mut backbone = model(BACKBONE, &["k", "w"], ("x", "y"));
        backbone.opsets[0].version = 8;
        let head = model("p = Gemm(input, m)", &["m"], ("input", "p"));
        let error = joined(&backbone, &head, false).unwrap_err();
        assert!(error.contains("it uses opset 8"), "{error}");
    }
}
