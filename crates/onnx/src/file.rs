//! What a model file says that ONNX Runtime does not tell: where its weights are, which
//! inputs have a shape, what the last operators are.
//!
//! The file comes from anywhere, so nothing in it is trusted: a file that cannot be read
//! here is no model and is not given to ONNX Runtime, whose code is native.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message;

use crate::Error;
use crate::head::{Head, heads};
use crate::inner::{Inner, Tensors};
use crate::proto::{EXTERNAL, Graph, Model, Node, SparseTensor, Tensor};

/// How a file of ONNX Runtime's own format begins, after four bytes of an offset. Only
/// ONNX Runtime can read it.
const ORT_FORMAT: &[u8] = b"ORTM";

/// What a model file says of itself.
#[derive(Debug, Default)]
pub(crate) struct ModelFileHeader {
    /// What the last operators say of the outputs.
    heads: HashMap<Vec<u8>, Head>,
    /// Whether an input or output has a shape, by its name.
    has_shape: HashMap<Vec<u8>, bool>,
    external: Vec<External>,
    /// What is inside the graph.
    pub(crate) tensors: Tensors,
    /// The graph's own outputs.
    outputs: Vec<String>,
}

/// Values that are kept in another file.
#[derive(Debug)]
struct External {
    tensor: String,
    location: String,
    offset: u64,
    length: Option<u64>,
    /// Whether it belongs to a branch, a loop or a function. ONNX Runtime looks for those
    /// in the folder that the process happens to be in.
    is_inner: bool,
}

/// The names of the other files that a model keeps weights in, relative to its own folder
/// and never outside of it; sorted, and empty for most models.
///
/// `name` is what the error calls the model.
pub fn weight_files(name: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let header = ModelFileHeader::read(bytes).map_err(|reason| invalid(name, reason))?;
    Ok(header.locations().into_iter().map(String::from).collect())
}

pub(crate) fn invalid(model: &str, reason: impl Into<String>) -> Error {
    Error::Invalid {
        model: model.to_string(),
        reason: reason.into(),
    }
}

impl ModelFileHeader {
    /// Reads a model file, or says why it is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.get(4..8) == Some(ORT_FORMAT) {
            return Ok(Self::default());
        }
        if bytes.starts_with(b"version https://git-lfs") {
            let reason = "it is a pointer of Git LFS; fetch the file with git lfs pull";
            return Err(reason.to_string());
        }
        let model = Model::decode(bytes).map_err(|_| {
            "it is no ONNX file, or was cut short; check that it is a whole ONNX file"
                .to_string()
        })?;
        let Some(graph) = &model.graph else {
            let reason = "it has no graph; check that it is a whole ONNX file";
            return Err(reason.to_string());
        };
        let mut found = OutsideTensors::default();
        found.in_graph(graph);
        found.is_inner = true;
        let functions = model.functions.iter().flat_map(|function| &function.nodes);
        functions.for_each(|node| found.in_node(node));
        let external: Result<Vec<External>, String> =
            found.tensors.into_iter().map(External::of).collect();
        Ok(Self {
            heads: heads(graph, &model.functions),
            has_shape: shapes(graph),
            external: external?,
            tensors: Tensors::of(graph),
            outputs: graph.outputs.iter().map(|port| text(&port.name)).collect(),
        })
    }

    /// The tensor inside the graph that a query names as an output.
    pub(crate) fn inner(&self, wanted: &str) -> Option<Inner> {
        let outputs: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        self.tensors.find(&outputs, wanted)
    }

    /// How many outputs the graph has itself.
    pub(crate) fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// Whether values are in other files.
    pub(crate) fn is_external(&self) -> bool {
        !self.external.is_empty()
    }

    /// What the last operators say of an output.
    pub(crate) fn head(&self, output: &str) -> Head {
        let head = self.heads.get(output.as_bytes());
        head.copied().unwrap_or_default()
    }

    /// Whether an input or output is declared without a shape, so that no dimensions mean
    /// any number of them.
    pub(crate) fn is_shapeless(&self, port: &str) -> bool {
        self.has_shape.get(port.as_bytes()) == Some(&false)
    }

    fn locations(&self) -> BTreeSet<&str> {
        let locations = self.external.iter();
        locations
            .map(|external| external.location.as_str())
            .collect()
    }

    /// Checks that the other files are there, and large enough for what is in them.
    pub(crate) fn check_weights(
        &self,
        files: &BTreeMap<String, impl AsRef<[u8]>>,
    ) -> Result<(), String> {
        for external in &self.external {
            let location = &external.location;
            if external.is_inner {
                return Err(format!(
                    "its weights {} are in another file and in an inner graph, which \
                     cannot be read; save the model in one file",
                    external.tensor
                ));
            }
            let Some(file) = files.get(location) else {
                return Err(format!(
                    "it keeps weights in another file, {location}; name the model by its \
                     path, with that file beside it"
                ));
            };
            let size = file.as_ref().len() as u64;
            let length = external.length.unwrap_or(0);
            let end = external.offset.checked_add(length);
            if end.is_none_or(|end| end > size) {
                return Err(format!(
                    "its weights {} are {length} bytes from {} of {location}, which has \
                     {size} bytes; was that file cut short?",
                    external.tensor, external.offset
                ));
            }
        }
        Ok(())
    }
}

impl External {
    fn of((tensor, is_inner): (&Tensor, bool)) -> Result<Self, String> {
        let name = text(&tensor.name);
        let entry = |key: &str| {
            let mut entries = tensor.external.iter();
            let found = entries.find(|entry| entry.key == key.as_bytes());
            found.map(|entry| text(&entry.value))
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(value) => value.parse::<u64>().map(Some).map_err(|_| {
                format!("the {key} of its weights {name} is no number: {value}")
            }),
        };
        let location = entry("location").unwrap_or_default();
        if !stays_inside(&location) {
            return Err(format!(
                "its weights {name} are in a file outside of its folder: '{location}'"
            ));
        }
        Ok(Self {
            offset: number("offset")?.unwrap_or(0),
            length: number("length")?,
            is_inner,
            tensor: name,
            location,
        })
    }
}

/// Whether a relative path is below the folder it starts in, on every platform. Nor may it
/// be one of the marks with stars by which ONNX Runtime means an address in memory.
fn stays_inside(location: &str) -> bool {
    let is_strange = |c: char| c.is_control() || matches!(c, '\\' | ':' | '*');
    !location.contains(is_strange)
        && location.split('/').all(|part| !matches!(part, "" | ".."))
        && !location.ends_with('.')
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shapes(graph: &Graph) -> HashMap<Vec<u8>, bool> {
    let ports = graph.inputs.iter().chain(&graph.outputs);
    ports
        .map(|port| {
            let tensor = port.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
            let has_shape = tensor.is_some_and(|tensor| tensor.shape.is_some());
            (port.name.clone(), has_shape)
        })
        .collect()
}

/// The tensors whose values are in another file, and whether each is in an inner graph.
#[derive(Default)]
struct OutsideTensors<'a> {
    tensors: Vec<(&'a Tensor, bool)>,
    is_inner: bool,
}

impl<'a> OutsideTensors<'a> {
    fn in_graph(&mut self, graph: &'a Graph) {
        let sparse = graph.sparse_initializers.iter().flat_map(parts);
        self.add(graph.initializers.iter().chain(sparse));
        graph.nodes.iter().for_each(|node| self.in_node(node));
    }

    fn in_node(&mut self, node: &'a Node) {
        for attribute in &node.attributes {
            let sparse = attribute.sparse_tensor.iter();
            let sparse = sparse.chain(&attribute.sparse_tensors).flat_map(parts);
            let tensors = attribute.tensor.iter().chain(&attribute.tensors);
            self.add(tensors.chain(sparse));
            let was_inner = std::mem::replace(&mut self.is_inner, true);
            for graph in attribute.graph.iter().chain(&attribute.graphs) {
                self.in_graph(graph);
            }
            self.is_inner = was_inner;
        }
    }

    fn add(&mut self, tensors: impl Iterator<Item = &'a Tensor>) {
        let is_inner = self.is_inner;
        let external = tensors.filter(|tensor| tensor.place == EXTERNAL);
        self.tensors
            .extend(external.map(|tensor| (tensor, is_inner)));
    }
}

fn parts(tensor: &SparseTensor) -> impl Iterator<Item = &Tensor> {
    tensor.values.iter().chain(&tensor.indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Attribute, Entry};

    /// A model with a tensor elsewhere, in the graph itself or in a branch.
    fn model(entries: &[(&str, &str)]) -> Vec<u8> {
        model_with(entries, false)
    }

    fn model_with(entries: &[(&str, &str)], is_inner: bool) -> Vec<u8> {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: key.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        };
        let tensor = Tensor {
            name: b"w".to_vec(),
            external: entries.iter().map(entry).collect(),
            place: EXTERNAL,
            ..Tensor::default()
        };
        let mut graph = Graph {
            initializers: vec![tensor],
            ..Graph::default()
        };
        if is_inner {
            let branch = Attribute {
                graph: Some(graph),
                ..Attribute::default()
            };
            let node = Node {
                attributes: vec![branch],
                ..Node::default()
            };
            graph = Graph {
                nodes: vec![node],
                ..Graph::default()
            };
        }
        let model = Model {
            graph: Some(graph),
            ..Model::default()
        };
        model.encode_to_vec()
    }

    #[test]
    fn weights_in_other_files_are_found_wherever_they_are() {
        for is_inner in [false, true] {
            let model = model_with(&[("location", "data/w.bin")], is_inner);
            assert_eq!(weight_files("m", &model).unwrap(), ["data/w.bin"]);
            let header = ModelFileHeader::read(&model).unwrap();
            let files = BTreeMap::from([("data/w.bin".to_string(), [0_u8; 4])]);
            assert_eq!(header.check_weights(&files).is_err(), is_inner);
        }
        let files = weight_files("m", &model(&[("location", "./w")]));
        assert_eq!(files.unwrap(), ["./w"]);
    }

    #[test]
    fn a_path_never_leaves_the_folder_of_the_model() {
        for path in [
            "/etc/passwd",
            "../w",
            "a/../../w",
            "",
            ".",
            "./.",
            "a//b",
            "C:w",
            "..\\w",
            "a\0b",
            "s3://b/w",
            "*/_ORT_MEM_ADDR_/*",
        ] {
            let error = weight_files("m", &model(&[("location", path)])).unwrap_err();
            assert_eq!(error.code(), "MODEL_INVALID", "{path}");
            assert!(
                error.to_string().contains("outside of its folder"),
                "{error}"
            );
        }
        let error = weight_files("m", &model(&[])).unwrap_err();
        assert!(
            error.to_string().contains("outside of its folder"),
            "{error}"
        );
    }

    #[test]
    fn weights_must_lie_in_their_file() {
        let check = |offset: &str, length: &str, expected: &str| {
            let entries = [("location", "w"), ("offset", offset), ("length", length)];
            let error = ModelFileHeader::read(&model(&entries)).and_then(|header| {
                header.check_weights(&BTreeMap::from([("w".to_string(), [0_u8; 48])]))
            });
            let error = error.err().unwrap_or_default();
            assert!(error.contains(expected), "{offset} {length}: {error}");
            assert_eq!(error.is_empty(), expected.is_empty(), "{error}");
        };
        check("0", "48", "");
        check("16", "32", "");
        check("16", "33", "33 bytes from 16 of w, which has 48 bytes");
        check("18446744073709551615", "1", "which has 48 bytes");
        check("-1", "1", "the offset of its weights w is no number: -1");
    }

    #[test]
    fn what_is_no_model_says_what_it_is() {
        let check = |bytes: &[u8], expected: &str| {
            let reason = ModelFileHeader::read(bytes).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        };
        check(b"", "it has no graph");
        check(b"<html>", "it is no ONNX file");
        check(
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        );
        assert!(ModelFileHeader::read(b"\x18\0\0\0ORTM\0\0").is_ok());
    }
}
