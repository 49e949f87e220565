//! Tensors inside a graph that are wanted as if they were outputs.

use std::collections::HashSet;

use prost::Message;

use crate::head::{makers, operator};
use crate::proto::{Graph, Model, Node, Tensor, ValueInfo};

/// The name under which a query asks for the features of any model.
pub const FEATURES: &str = "features";

/// How many operators are looked at between an output and its last dense layer.
const MOST_LOOKS: usize = 100;

/// A tensor inside a graph.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Inner {
    /// Its name in the graph.
    pub tensor: String,
    /// Whether what is wanted of it is the mean over the places of an image, as the
    /// network itself takes it further on.
    pub pooled: bool,
}

/// Which tensors of a graph a session gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Outputs {
    /// The graph's own outputs.
    Own,
    /// More, of which none is named twice.
    And(Vec<Inner>),
    /// Every tensor that an operator makes.
    All,
}

/// What a graph says of the tensors in it.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    /// What operators make and is no output, in the order of the operators.
    pub(crate) inner: Vec<String>,
    /// What enters the last dense layer.
    pub(crate) features: Option<Inner>,
}

impl Tensors {
    pub(crate) fn of(graph: &Graph) -> Self {
        let outputs: HashSet<&[u8]> = graph
            .outputs
            .iter()
            .map(|output| output.name.as_slice())
            .collect();
        let made = graph.nodes.iter().flat_map(|node| &node.outputs);
        let inner = made.filter(|name| {
            // Text that is not UTF-8 cannot be asked for.
            !name.is_empty() && !outputs.contains(name.as_slice())
        });
        Self {
            inner: inner
                .filter_map(|name| String::from_utf8(name.clone()).ok())
                .collect(),
            features: graph
                .outputs
                .iter()
                .find_map(|output| features(graph, &output.name)),
        }
    }

    /// What a query names, unless that is an output of the graph itself, or nothing.
    pub(crate) fn find(&self, outputs: &[&str], wanted: &str) -> Option<Inner> {
        if outputs.contains(&wanted) {
            return None;
        }
        if self.inner.iter().any(|name| name == wanted) {
            return Some(Inner {
                tensor: wanted.to_string(),
                pooled: false,
            });
        }
        let features = self.features.as_ref();
        features.filter(|_| wanted == FEATURES).cloned()
    }
}

/// Goes back from an output to the last layer with weights, and returns what enters it:
/// the features of timm's `forward_features` and `forward_head(pre_logits=True)`, of
/// Keras's `include_top=False` with pooling.
fn features(graph: &Graph, output: &[u8]) -> Option<Inner> {
    let made_by = makers(&graph.nodes);
    let maker = |value: &[u8]| made_by.get(value).copied();
    let mut value = output.to_vec();
    for _ in 0..MOST_LOOKS {
        let node = maker(&value)?;
        let first = node.inputs.first()?;
        let (tensor, pooled) = match operator(node) {
            "Identity" | "Cast" | "CastLike" | "Squeeze" | "Unsqueeze" | "Reshape"
            | "Flatten" | "Transpose" | "Dropout" | "Clip" | "Relu" | "LeakyRelu"
            | "Softmax" | "LogSoftmax" | "Sigmoid" | "HardSigmoid" | "Log"
            | "GlobalAveragePool" | "AveragePool" | "GlobalMaxPool" | "ReduceMean" => {
                value.clone_from(first);
                continue;
            }
            // A bias, a scale or a temperature, whichever side it stands on.
            "Add" | "Sub" | "Mul" | "Div" => {
                let mut made = node.inputs.iter().filter(|input| {
                    maker(input).is_some_and(|node| operator(node) != "Constant")
                });
                value = made.next()?.clone();
                if made.next().is_some() {
                    return None;
                }
                continue;
            }
            "Gemm" => (first, false),
            "MatMul" => {
                let mut made = node.inputs.iter().filter(|input| {
                    maker(input).is_some_and(|node| operator(node) != "Constant")
                });
                (made.next()?, false)
            }
            "Conv" if is_dense(graph, node) => (first, true),
            _ => return None,
        };
        // What nothing made is the input itself.
        maker(tensor)?;
        return Some(Inner {
            tensor: String::from_utf8(tensor.clone()).ok()?,
            pooled,
        });
    }
    None
}

/// Whether a convolution is a dense layer at each place: its kernel covers one.
fn is_dense(graph: &Graph, node: &Node) -> bool {
    let kernel = node
        .attributes
        .iter()
        .find(|attribute| attribute.name == b"kernel_shape");
    if let Some(kernel) = kernel {
        return kernel.ints.iter().all(|side| *side == 1);
    }
    let weights = node.inputs.get(1);
    let is_weights = |tensor: &&Tensor| Some(&tensor.name) == weights;
    let weights = graph.initializers.iter().find(is_weights);
    weights.is_some_and(|weights| {
        weights.dims.len() > 2 && weights.dims[2..].iter().all(|side| *side == 1)
    })
}

/// A model file with more outputs. Messages of protocol buffers that stand one after the
/// other are one with the fields of both, and so nothing of the file is copied or read.
pub(crate) fn with_outputs(bytes: &[u8], tensors: &[String]) -> Vec<u8> {
    let output = |tensor: &String| ValueInfo {
        name: tensor.as_bytes().to_vec(),
        kind: None,
    };
    let more = Model {
        graph: Some(Graph {
            outputs: tensors.iter().map(output).collect(),
            ..Graph::default()
        }),
        ..Model::default()
    };
    [bytes, &more.encode_to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::nodes;
    use crate::proto::Attribute;

    fn graph(lines: &str) -> Graph {
        Graph {
            nodes: nodes(lines),
            outputs: vec![ValueInfo {
                name: b"y".to_vec(),
                kind: None,
            }],
            ..Graph::default()
        }
    }

    #[track_caller]
    fn check(lines: &str, expected: Option<&str>) {
        let found = Tensors::of(&graph(lines)).features;
        let found = found.map(|inner| (inner.tensor, inner.pooled));
        assert_eq!(
            found,
            expected.map(|tensor| (tensor.to_string(), false)),
            "{lines}"
        );
    }

    #[test]
    fn features_enter_the_last_dense_layer() {
        check("f = Relu(x)\n y = Gemm(f, w, b)", Some("f"));
        check("f = Relu(x)\n a = MatMul(f, w)\n y = Add(b, a)", Some("f"));
        check("f = Relu(x)\n a = MatMul(w, f)\n y = Softmax(a)", Some("f"));
        let calibrated = "f = Relu(x)\n a = Gemm(f, w)\n t = Constant()\n \
            b = Div(a, t)\n c = Reshape(b, s)\n y = Sigmoid(c)";
        check(calibrated, Some("f"));
    }

    #[test]
    fn a_graph_without_a_layer_before_its_last_has_no_features() {
        check("y = Gemm(x, w, b)", None);
        check("a = Gemm(x, w)\n b = Gemm(x, v)\n y = Add(a, b)", None);
        check("y = TreeEnsembleClassifier(x)", None);
        check("y = Identity(y)", None);
        check("", None);
    }

    #[test]
    fn a_convolution_of_one_place_is_pooled() {
        let mut graph = graph(
            "f = Relu(x)\n a = Conv(f, w)\n b = Relu(a)\n y = GlobalAveragePool(b)",
        );
        assert_eq!(Tensors::of(&graph).features, None);
        graph.initializers.push(Tensor {
            name: b"w".to_vec(),
            dims: vec![10, 4, 1, 1],
            ..Tensor::default()
        });
        let expected = Some(Inner {
            tensor: "f".to_string(),
            pooled: true,
        });
        assert_eq!(Tensors::of(&graph).features, expected);
        graph.nodes[1].attributes.push(Attribute {
            name: b"kernel_shape".to_vec(),
            ints: vec![3, 3],
            ..Attribute::default()
        });
        assert_eq!(Tensors::of(&graph).features, None);
    }

    #[test]
    fn a_name_is_an_output_a_tensor_or_the_features() {
        let tensors = Tensors::of(&graph("f = Relu(x)\n y = Gemm(f, w, b)"));
        let named = |name: &str| Inner {
            tensor: name.to_string(),
            pooled: false,
        };
        assert_eq!(tensors.inner, ["f"]);
        assert_eq!(tensors.find(&["y"], "y"), None);
        assert_eq!(tensors.find(&["y"], "f"), Some(named("f")));
        assert_eq!(tensors.find(&["y"], FEATURES), Some(named("f")));
        assert_eq!(tensors.find(&["features"], FEATURES), None);
        assert_eq!(tensors.find(&["y"], "x"), None);
    }

    #[test]
    fn a_file_gets_more_outputs_and_keeps_what_it_has() {
        let model = Model {
            graph: Some(graph("f = Relu(x)\n y = Gemm(f, w, b)")),
            ..Model::default()
        };
        let more = with_outputs(&model.encode_to_vec(), &["f".to_string()]);
        let more = Model::decode(more.as_slice()).unwrap().graph.unwrap();
        assert_eq!(more.nodes.len(), 2);
        let names: Vec<&[u8]> = more.outputs.iter().map(|o| o.name.as_slice()).collect();
        assert_eq!(names, [b"y", b"f"]);
    }
}
