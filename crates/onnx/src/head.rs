//! What the last operator of a graph says about an output.

use std::collections::HashMap;

use crate::proto::{Function, Graph, Node, ValueInfo};

/// How many operators are looked at for one output. A real graph needs a dozen; a made
/// up one could branch without end.
const MOST_LOOKS: usize = 1_000;

/// How deep operators that join several values, and functions, may lie in each other.
const DEEPEST: usize = 16;

/// What the numbers of an output are, going by the operator that makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// Probabilities of classes that exclude each other; they sum to 1.
    Softmax,
    /// The logarithms of probabilities of classes that exclude each other.
    LogSoftmax,
    /// A probability for each number, or a part of a softmax.
    Sigmoid,
    /// The sum of a layer with weights, which nothing has bounded.
    Linear,
    /// Sorted values, whose places are no classes.
    Sorted,
    /// Anything else.
    #[default]
    Other,
}

/// Finds the head of each output of a graph, whose operators may be functions of the
/// model.
pub(crate) fn heads(graph: &Graph, functions: &[Function]) -> HashMap<Vec<u8>, Head> {
    let head = |output: &ValueInfo| {
        let mut search = Search {
            made_by: makers(&graph.nodes),
            functions,
            looks: 0,
            depth: 0,
        };
        (output.name.clone(), search.head(&output.name))
    };
    graph.outputs.iter().map(head).collect()
}

/// The node that makes each value.
pub(crate) fn makers(nodes: &[Node]) -> HashMap<&[u8], &Node> {
    let made_by = nodes.iter().flat_map(|node| {
        let outputs = node.outputs.iter().filter(|name| !name.is_empty());
        outputs.map(move |name| (name.as_slice(), node))
    });
    made_by.collect()
}

/// A walk from an output back through the graph, bounded by the nodes that it looks at.
struct Search<'a> {
    made_by: HashMap<&'a [u8], &'a Node>,
    functions: &'a [Function],
    looks: usize,
    depth: usize,
}

impl<'a> Search<'a> {
    /// The node that makes a value, unless too many were looked at.
    fn maker(&mut self, value: &[u8]) -> Option<&'a Node> {
        self.looks += 1;
        (self.looks <= MOST_LOOKS).then(|| self.made_by.get(value).copied())?
    }

    fn head(&mut self, value: &[u8]) -> Head {
        if self.depth == DEEPEST {
            return Head::Other;
        }
        self.depth += 1;
        let head = self.follow(value);
        self.depth -= 1;
        head
    }

    /// Goes back from a value to the operator that decides what it is.
    fn follow(&mut self, value: &[u8]) -> Head {
        let mut value = value.to_vec();
        // Whether some of a value's numbers were taken out on the way.
        let mut is_part = false;
        // Probabilities stay what they are when they are bounded, and sums do not.
        let mut is_bounded = false;
        loop {
            let Some(node) = self.maker(&value) else {
                return Head::Other;
            };
            match operator(node) {
                // These change the shape, the type or the order of what they get.
                "Identity" | "Cast" | "CastLike" | "Squeeze" | "Unsqueeze"
                | "Reshape" | "Flatten" | "Transpose" | "Dropout" | "QuantizeLinear"
                | "DequantizeLinear" => {}
                "Clip" => is_bounded = true,
                "Slice" | "Gather" | "GatherElements" | "Split" => is_part = true,
                _ => {
                    let head = self.head_of(node, &value);
                    return match head {
                        Head::Softmax if is_part => Head::Sigmoid,
                        Head::LogSoftmax | Head::Linear if is_part || is_bounded => {
                            Head::Other
                        }
                        head => head,
                    };
                }
            }
            let Some(input) = node.inputs.first() else {
                return Head::Other;
            };
            value.clone_from(input);
        }
    }

    /// The head of what an operator makes, or several of them make together.
    fn head_of(&mut self, node: &Node, value: &[u8]) -> Head {
        match operator(node) {
            "Softmax" | "QLinearSoftmax" => Head::Softmax,
            "LogSoftmax" => Head::LogSoftmax,
            "Sigmoid" | "HardSigmoid" | "QLinearSigmoid" => Head::Sigmoid,
            "Gemm" | "MatMul" | "Conv" | "QGemm" | "QLinearMatMul" | "QLinearConv" => {
                Head::Linear
            }
            "Add" if self.adds_to_a_layer(node) => Head::Linear,
            "TopK" => Head::Sorted,
            "Log" => match node.inputs.first().map(|input| self.head(input)) {
                Some(Head::Softmax) => Head::LogSoftmax,
                _ => Head::Other,
            },
            "Div" | "Reciprocal" if self.divides_by_one_and_exp(node) => Head::Sigmoid,
            "Concat" if !node.inputs.is_empty() && self.looks < MOST_LOOKS => {
                let all = node
                    .inputs
                    .iter()
                    .all(|input| self.head(input) == Head::Sigmoid);
                if all { Head::Sigmoid } else { Head::Other }
            }
            "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier" => {
                match attribute(node, "post_transform") {
                    Some(b"SOFTMAX" | b"SOFTMAX_ZERO") => Head::Softmax,
                    Some(b"LOGISTIC") => Head::Sigmoid,
                    _ => Head::Other,
                }
            }
            _ => self.in_function(node, value),
        }
    }

    /// The head of what a function of the model makes.
    fn in_function(&mut self, node: &Node, value: &[u8]) -> Head {
        let mut functions = self.functions.iter();
        let function = functions.find(|function| {
            function.name == node.operator && function.domain == node.domain
        });
        let place = node.outputs.iter().position(|output| output == value);
        let output = function
            .zip(place)
            .and_then(|(function, place)| Some((function, function.outputs.get(place)?)));
        let Some((function, output)) = output.filter(|_| self.looks < MOST_LOOKS) else {
            return Head::Other;
        };
        let mut inner = Search {
            made_by: makers(&function.nodes),
            functions: self.functions,
            looks: self.looks,
            depth: self.depth,
        };
        let head = inner.head(output);
        self.looks = inner.looks;
        head
    }

    /// Whether a bias is added to what a layer gives.
    fn adds_to_a_layer(&mut self, node: &Node) -> bool {
        let is_layer = |input: &Vec<u8>| {
            let maker = self.maker(input).map(operator);
            matches!(maker, Some("Gemm" | "MatMul" | "Conv"))
        };
        node.inputs.iter().any(is_layer)
    }

    /// Whether this is the end of 1 / (1 + exp(-x)), a sigmoid written out.
    fn divides_by_one_and_exp(&mut self, node: &Node) -> bool {
        let Some(sum) = node.inputs.last().and_then(|input| self.maker(input)) else {
            return false;
        };
        let is_exp = |input: &Vec<u8>| self.maker(input).map(operator) == Some("Exp");
        operator(sum) == "Add" && sum.inputs.iter().any(is_exp)
    }
}

/// The name of an operator that ONNX or ONNX Runtime defines; empty for others.
pub(crate) fn operator(node: &Node) -> &str {
    match node.domain.as_slice() {
        b"" | b"ai.onnx" | b"ai.onnx.ml" | b"com.microsoft" => {
            std::str::from_utf8(&node.operator).unwrap_or_default()
        }
        _ => "",
    }
}

fn attribute<'a>(node: &'a Node, name: &str) -> Option<&'a [u8]> {
    let mut attributes = node.attributes.iter();
    let found = attributes.find(|attribute| attribute.name == name.as_bytes());
    found.map(|attribute| attribute.text.as_slice())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Nodes of lines such as `y = Softmax(x)`.
    pub(crate) fn nodes(lines: &str) -> Vec<Node> {
        let node = |line: &str| {
            let (outputs, call) = line.split_once(" = ").unwrap();
            let (operator, inputs) = call.trim_end_matches(')').split_once('(').unwrap();
            let names = |text: &str| {
                let names = text.split(", ").filter(|name| !name.is_empty());
                names.map(|name| name.as_bytes().to_vec()).collect()
            };
            let (domain, operator) = operator.split_once('.').unwrap_or(("", operator));
            Node {
                inputs: names(inputs),
                outputs: names(outputs),
                operator: operator.as_bytes().to_vec(),
                domain: domain.as_bytes().to_vec(),
                ..Node::default()
            }
        };
        lines.lines().map(|line| node(line.trim())).collect()
    }

    /// The head of `y`.
    fn head(lines: &str, functions: &[Function]) -> Head {
        let graph = Graph {
            nodes: nodes(lines),
            outputs: vec![ValueInfo {
                name: b"y".to_vec(),
                kind: None,
            }],
            ..Graph::default()
        };
        heads(&graph, functions)[b"y".as_slice()]
    }

    #[track_caller]
    fn check(lines: &str, expected: Head) {
        assert_eq!(head(lines, &[]), expected, "{lines}");
    }

    #[test]
    fn a_function_of_the_model_is_looked_into() {
        let function = |lines: &str| Function {
            name: b"act".to_vec(),
            outputs: vec![b"loss".to_vec(), b"z".to_vec()],
            nodes: nodes(lines),
            domain: b"mine".to_vec(),
        };
        let sigmoid = [function("s = Sigmoid(x)\n z = Identity(s)")];
        assert_eq!(head("l, y = mine.act(x)", &sigmoid), Head::Sigmoid);
        assert_eq!(head("y, z = mine.act(x)", &sigmoid), Head::Other);
        assert_eq!(head("l, y = other.act(x)", &sigmoid), Head::Other);
        let endless = [function("loss, z = mine.act(x)")];
        assert_eq!(head("l, y = mine.act(x)", &endless), Head::Other);
        // What others call a sigmoid need not be one.
        check("y = other.Sigmoid(x)", Head::Other);
    }

    #[test]
    fn the_last_operator_counts() {
        check("y = Softmax(x)", Head::Softmax);
        check("a = Softmax(x)\n y = Softmax(a)", Head::Softmax);
        check("y = LogSoftmax(x)", Head::LogSoftmax);
        check("a = Softmax(x)\n y = Log(a)", Head::LogSoftmax);
        check("y = Sigmoid(x)", Head::Sigmoid);
        check("y = HardSigmoid(x)", Head::Sigmoid);
        check("y = Gemm(x, w, b)", Head::Linear);
        check("a = MatMul(x, w)\n y = Add(a, b)", Head::Linear);
        check("y, i = TopK(x, k)", Head::Sorted);
        check("y = Relu(x)", Head::Other);
        check("y = Add(x, b)", Head::Other);
        check("", Head::Other);
    }

    #[test]
    fn what_changes_no_number_is_looked_through() {
        let lines = "a = Sigmoid(x)\n b = Identity(a)\n c = Cast(b)\n d = Squeeze(c, n)\n\
            e = Reshape(d, s)\n f = Flatten(e)\n y = Unsqueeze(f, n)";
        check(lines, Head::Sigmoid);
        check("a = Gemm(x)\n y = Reshape(a, s)", Head::Linear);
    }

    #[test]
    fn a_part_of_a_softmax_no_longer_sums_to_one() {
        check("a = Softmax(x)\n y = Gather(a, i)", Head::Sigmoid);
        check("a = Softmax(x)\n z, y = Split(a)", Head::Sigmoid);
        check("a = Gemm(x)\n y = Slice(a, i)", Head::Other);
    }

    #[test]
    fn bounds_change_a_sum_and_no_probability() {
        check("a = Sigmoid(x)\n y = Clip(a, l, h)", Head::Sigmoid);
        check("a = Gemm(x)\n y = Clip(a, l, h)", Head::Other);
    }

    #[test]
    fn a_sigmoid_may_be_written_out() {
        let start = "a = Neg(x)\n b = Exp(a)\n c = Add(b, one)\n";
        check(&format!("{start}y = Reciprocal(c)"), Head::Sigmoid);
        check(&format!("{start}y = Div(one, c)"), Head::Sigmoid);
        check("a = Exp(x)\n y = Div(a, s)", Head::Other);
    }

    #[test]
    fn sigmoids_of_several_layers_make_one_output() {
        let lines = "a = Sigmoid(x)\n b = Sigmoid(z)\n y = Concat(a, b)";
        check(lines, Head::Sigmoid);
        check("a = Sigmoid(x)\n y = Concat(a, z)", Head::Other);
    }

    #[test]
    fn a_graph_without_an_end_ends() {
        check("y = Identity(y)", Head::Other);
        check("y = Concat(y, y, y, y)", Head::Other);
        check("a = Log(y)\n y = Log(a)", Head::Other);
    }
}
