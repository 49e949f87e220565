//! Layers as ONNX nodes.

use super::MACHINE_LEARNING;
use super::columns::{self, ColumnNodes};
use super::proto::{
    Attribute, DOUBLE, Dimension, FLOAT, Graph, INT64, Node, Tensor, TensorShape,
    TensorType, Type, ValueInfo,
};
use crate::architecture::{
    Activation, ActivationShape, LayerSpec, PlannedLayer, series_steps,
};
use crate::kernels::Window;
use crate::layers::{BATCH_NORM_EPSILON, LAYER_NORM_EPSILON};
use crate::network::Network;
use crate::scaling::{Scale, Scaling};
use crate::{Dataset, LossKind};

/// The graph from `input` to `logits`, to `probabilities` of labels that do not exclude each
/// other, or to `prediction` where that is a number. Mixed columns are an input each in place
/// of `input`, and a number that is predicted from them has the name of its column. The ends of an interval are outputs
/// called as the number, with `_low` and `_high`.
pub(super) fn graph(
    network: &Network,
    dataset: &Dataset,
    (loss, radius): (LossKind, Option<f64>),
    scaling: &Scaling,
) -> Graph {
    let mut builder = Builder::default();
    if let Some(encoding) = &scaling.encoding {
        let columns = &dataset.columns;
        builder.prefix = prefix(dataset);
        let embedding = network.trained().next();
        let embedding = embedding.filter(|(layer, ..)| layer.spec == LayerSpec::Embed);
        let tables = embedding.map_or_else(Vec::new, |(layer, weights, _)| {
            let tables = layer.parameters.iter();
            tables.map(|table| &weights[table.range.clone()]).collect()
        });
        ColumnNodes::new(&mut builder, columns, encoding).add(&tables);
    }
    if !scaling.features.is_empty() {
        builder.standardise(&scaling.features);
    }
    let layers: Vec<_> = network.trained().collect();
    builder.chain(&layers);
    let output = match &scaling.target {
        Some(scale) => {
            if loss == LossKind::Poisson {
                builder.node("Exp", &[], vec![]);
            }
            builder.restore(scale);
            dataset.target.as_deref().unwrap_or("prediction")
        }
        None if loss == LossKind::BinaryCrossEntropy => {
            builder.node("Sigmoid", &[], vec![]);
            "probabilities"
        }
        None => "logits",
    };
    if let Some(last) = builder.nodes.last_mut() {
        last.outputs = vec![output.to_owned()];
    }
    let mut outputs = vec![output.to_owned()];
    let kind = element(scaling.target.as_slice());
    if let Some(radius) = radius {
        let radius = builder.scale("radius", kind, &[1], [radius]);
        for (end, operator) in [("low", "Sub"), ("high", "Add")] {
            let inputs = vec![output.to_owned(), radius.clone()];
            builder.apply(operator, inputs, vec![]);
            let name = format!("{output}_{end}");
            if let Some(last) = builder.nodes.last_mut() {
                last.outputs = vec![name.clone()];
            }
            outputs.push(name);
        }
    }
    let plan = network.plan();
    let described = |name: &String| value_info(name, kind, &[plan.output().values()]);
    let image = plan.image;
    let input: &[usize] = if plan.flat {
        &[image.channels]
    } else {
        &[image.channels, image.height, image.width]
    };
    let inputs = match scaling.encoding {
        Some(_) => columns::inputs(&dataset.columns),
        None => vec![value_info("input", element(&scaling.features), input)],
    };
    Graph {
        nodes: builder.nodes,
        name: "network".to_owned(),
        initializers: builder.initializers,
        inputs,
        outputs: outputs.iter().map(described).collect(),
    }
}

/// The nodes and the constants of a graph in the making.
#[derive(Default)]
pub(super) struct Builder {
    /// How the names of nodes and constants begin.
    prefix: String,
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
    /// Since an image was flattened and until a dense layer: where each feature of the
    /// file (channel first) is in our order (channel last).
    order: Option<Vec<usize>>,
    /// The value that the next node takes in place of what the last one made.
    start: Option<String>,
}

impl Builder {
    /// Adds layers one after the other, each with its weights and statistics.
    fn chain(&mut self, layers: &[(&PlannedLayer, &[f32], &[f32])]) {
        // Dropout does nothing at inference.
        let layers = layers
            .iter()
            .filter(|(layer, ..)| !matches!(layer.spec, LayerSpec::Dropout { .. }));
        let mut layers = layers.peekable();
        while let Some((layer, weights, statistics)) = layers.next() {
            let learns = matches!(
                layer.spec,
                LayerSpec::Conv { .. }
                    | LayerSpec::DepthwiseConv { .. }
                    | LayerSpec::Patches { .. }
                    | LayerSpec::Conv1d { .. }
                    | LayerSpec::Dense { .. }
            );
            let norm =
                layers.next_if(|(next, ..)| learns && next.spec == LayerSpec::BatchNorm);
            match norm {
                Some((_, norm, moments)) => {
                    self.layer(layer, &folded(weights, norm, moments), statistics);
                }
                None => self.layer(layer, weights, statistics),
            }
        }
    }

    /// Adds a residual block: its layers, those of its shortcut, and their sum.
    fn residual(&mut self, block: &PlannedLayer, weights: &[f32], statistics: &[f32]) {
        // What is added must be in one order.
        self.own_order();
        let input = self.current();
        let first = block.weights().start;
        let mut rest = statistics;
        let mut ends = Vec::new();
        for layers in [&block.body, &block.shortcut] {
            let layers = layers.iter().map(|layer| {
                let (statistics, after) = rest.split_at(inner_statistics(layer));
                rest = after;
                (layer, &weights[layer.weights_after(first)], statistics)
            });
            let layers: Vec<_> = layers.collect();
            self.start = Some(input.clone());
            self.chain(&layers);
            ends.push(self.current());
        }
        self.start = None;
        self.apply("Add", ends, vec![]);
    }

    fn layer(&mut self, layer: &PlannedLayer, weights: &[f32], statistics: &[f32]) {
        match (layer.spec, layer.window) {
            (
                LayerSpec::Conv {
                    filters, groups, ..
                },
                Some(window),
            ) => self.conv(&window, (filters, groups), weights),
            (LayerSpec::DepthwiseConv { .. }, Some(window)) => {
                let size = (window.channels, window.channels);
                self.conv(&window, size, weights);
            }
            (LayerSpec::Patches { units, .. }, Some(window)) => {
                self.conv(&window, (units, 1), weights);
            }
            (LayerSpec::Positions, _) => self.positions(layer.input, weights),
            (LayerSpec::Tokens { units }, _) => self.tokens(units, weights),
            (LayerSpec::Attention { heads }, _) => {
                self.attention(layer.input, heads, weights);
            }
            (LayerSpec::MaxPool { .. }, Some(window)) => {
                self.node("MaxPool", &[], pooling(&window));
            }
            (LayerSpec::AvgPool { .. }, Some(window)) => {
                self.node("AveragePool", &[], pooling(&window));
            }
            (LayerSpec::GlobalAvgPool, _) => self.node("GlobalAveragePool", &[], vec![]),
            (LayerSpec::BatchNorm, _) => self.batch_norm(weights, statistics),
            (LayerSpec::Activation(activation), _) => self.activation(activation),
            (LayerSpec::Flatten, _) if !layer.input.flat => {
                self.node("Flatten", &[], vec![Attribute::of_int("axis", 1)]);
                self.order = Some(channel_first(layer.input));
            }
            (LayerSpec::Dense { units }, _) => {
                self.dense(layer.input.values(), units, weights);
            }
            (LayerSpec::Residual, _) => self.residual(layer, weights, statistics),
            (LayerSpec::LayerNorm, _) => self.layer_norm(layer.input, weights),
            (LayerSpec::Conv1d { .. } | LayerSpec::MaxPool1d { .. }, _) => {
                self.series(layer, weights);
            }
            // Flattening a vector does nothing.
            _ => {}
        }
    }

    /// Takes the numbers of a row as they are in the data.
    fn standardise(&mut self, features: &[Scale]) {
        let element = element(features);
        let shape = [features.len()];
        let means = features.iter().map(|scale| scale.mean);
        let means = self.scale("mean", element, &shape, means);
        self.node("Sub", &[means], vec![]);
        let inverses = features.iter().map(|scale| scale.inverse);
        let inverses = self.scale("inverse", element, &shape, inverses);
        self.node("Mul", &[inverses], vec![]);
        if element == DOUBLE {
            self.node("Cast", &[], vec![Attribute::of_int("to", FLOAT.into())]);
        }
    }

    /// Gives a number in the units of the data.
    fn restore(&mut self, scale: &Scale) {
        let element = element(std::slice::from_ref(scale));
        let deviation = if scale.wide {
            self.node("Cast", &[], vec![Attribute::of_int("to", DOUBLE.into())]);
            1.0 / scale.inverse
        } else {
            f64::from(1.0 / scale.inverse as f32)
        };
        let deviation = self.scale("deviation", element, &[1], [deviation]);
        self.node("Mul", &[deviation], vec![]);
        let mean = self.scale("mean", element, &[1], [scale.mean]);
        self.node("Add", &[mean], vec![]);
    }

    fn conv(
        &mut self,
        window: &Window,
        (filters, groups): (usize, usize),
        weights: &[f32],
    ) {
        let (size, channels) = (window.size, window.channels / groups);
        let (matrix, bias) = weights.split_at(size * size * channels * filters);
        let mut kernels = Vec::with_capacity(matrix.len());
        for filter in 0..filters {
            for channel in 0..channels {
                for place in 0..size * size {
                    kernels.push(matrix[(place * channels + channel) * filters + filter]);
                }
            }
        }
        let kernels = self.constant("kernel", &[filters, channels, size, size], &kernels);
        let bias = self.constant("bias", &[filters], bias);
        let (bottom, right) = window.pad_end();
        let pads = [window.pad_top, window.pad_left, bottom, right];
        let mut attributes = vec![
            Attribute::of_ints("kernel_shape", &[size, size]),
            Attribute::of_ints("strides", &[window.stride, window.stride]),
            Attribute::of_ints("pads", &pads),
        ];
        if groups > 1 {
            attributes.push(Attribute::of_int("group", groups as i64));
        }
        self.node("Conv", &[kernels, bias], attributes);
    }

    /// A layer along a series, as one over an image of one row.
    fn series(&mut self, layer: &PlannedLayer, weights: &[f32]) {
        let Ok((steps, channels)) = series_steps(layer.spec, layer.input) else {
            return;
        };
        if layer.input.flat {
            self.own_order();
            self.reshape(&[1, 1, steps.input]);
        }
        let mut attributes = vec![
            Attribute::of_ints("kernel_shape", &[1, steps.size]),
            Attribute::of_ints("strides", &[1, steps.stride]),
        ];
        let LayerSpec::Conv1d { filters, .. } = layer.spec else {
            return self.node("MaxPool", &[], attributes);
        };
        let pads = [0, steps.before, 0, steps.after()];
        attributes.push(Attribute::of_ints("pads", &pads));
        let (matrix, bias) = weights.split_at(steps.size * channels * filters);
        let mut kernels = Vec::with_capacity(matrix.len());
        for filter in 0..filters {
            for channel in 0..channels {
                for place in 0..steps.size {
                    kernels.push(matrix[(place * channels + channel) * filters + filter]);
                }
            }
        }
        let kernels =
            self.constant("kernel", &[filters, channels, 1, steps.size], &kernels);
        let bias = self.constant("bias", &[filters], bias);
        self.node("Conv", &[kernels, bias], attributes);
    }

    /// Normalises the channels of a row or of each pixel, which lie last for the operator.
    fn layer_norm(&mut self, shape: ActivationShape, weights: &[f32]) {
        let transpose = |places: [usize; 4]| vec![Attribute::of_ints("perm", &places)];
        if !shape.flat {
            self.node("Transpose", &[], transpose([0, 2, 3, 1]));
        }
        let (factors, shifts) = weights.split_at(shape.channels);
        let inputs = [("factor", factors), ("shift", shifts)].map(|(name, values)| {
            let values = self.ordered(values);
            self.constant(name, &[values.len()], &values)
        });
        let attributes = vec![
            Attribute::of_int("axis", -1),
            Attribute::of_float("epsilon", LAYER_NORM_EPSILON),
        ];
        self.node("LayerNormalization", &inputs, attributes);
        if !shape.flat {
            self.node("Transpose", &[], transpose([0, 3, 1, 2]));
        }
    }

    /// Gives the values of each row this shape.
    pub(super) fn reshape(&mut self, shape: &[usize]) {
        // Zero stands for as many rows as there are.
        let shape: Vec<_> = std::iter::once(0).chain(shape.iter().copied()).collect();
        let shape = self.integers("shape", &shape);
        self.node("Reshape", &[shape], vec![]);
    }

    /// The node that comes next takes this value.
    pub(super) fn begin_with(&mut self, value: &str) {
        self.start = Some(value.to_owned());
    }

    /// Puts features that came from an image into our order, channel last.
    pub(super) fn own_order(&mut self) {
        let Some(order) = self.order.take() else {
            return;
        };
        let mut places = vec![0; order.len()];
        for (place, own) in order.iter().enumerate() {
            places[*own] = place;
        }
        let places = self.integers("places", &places);
        self.node("Gather", &[places], vec![Attribute::of_int("axis", 1)]);
    }

    fn dense(&mut self, inputs: usize, units: usize, weights: &[f32]) {
        let (matrix, bias) = weights.split_at(inputs * units);
        let matrix = match self.order.take() {
            Some(order) => self.constant(
                "matrix",
                &[inputs, units],
                &order
                    .iter()
                    .flat_map(|row| &matrix[row * units..(row + 1) * units])
                    .copied()
                    .collect::<Vec<_>>(),
            ),
            None => self.constant("matrix", &[inputs, units], matrix),
        };
        let bias = self.constant("bias", &[units], bias);
        self.node("Gemm", &[matrix, bias], vec![]);
    }

    fn batch_norm(&mut self, weights: &[f32], statistics: &[f32]) {
        let channels = weights.len() / 2;
        let vectors = [("scale", weights), ("mean", statistics)];
        let [mut inputs, moments] = vectors.map(|(name, values)| {
            let second = if name == "mean" { "variance" } else { "shift" };
            let (first, rest) = values.split_at(channels);
            [(name, first), (second, rest)]
                .map(|(name, values)| {
                    let values = self.ordered(values);
                    self.constant(name, &[channels], &values)
                })
                .to_vec()
        });
        inputs.extend(moments);
        let epsilon = Attribute::of_float("epsilon", BATCH_NORM_EPSILON);
        self.node("BatchNormalization", &inputs, vec![epsilon]);
    }

    /// Values per feature, in the order that features have in the file.
    fn ordered(&self, values: &[f32]) -> Vec<f32> {
        match &self.order {
            Some(order) => order.iter().map(|&feature| values[feature]).collect(),
            None => values.to_vec(),
        }
    }

    fn activation(&mut self, activation: Activation) {
        match activation {
            Activation::Relu => self.node("Relu", &[], vec![]),
            Activation::Tanh => self.node("Tanh", &[], vec![]),
            Activation::Sigmoid => self.node("Sigmoid", &[], vec![]),
            Activation::Gelu => self.gelu(),
            Activation::LeakyRelu => {
                self.node("LeakyRelu", &[], vec![Attribute::of_float("alpha", 0.01)]);
            }
            Activation::Silu => {
                let x = self.current();
                self.node("Sigmoid", &[], vec![]);
                self.node("Mul", &[x], vec![]);
            }
        }
    }

    /// `x * 0.5 * (1 + erf(x / sqrt(2)))`: opset 17 has no node of its own for it.
    fn gelu(&mut self) {
        let x = self.current();
        let root = self.constant("root", &[], &[std::f32::consts::SQRT_2]);
        let one = self.constant("one", &[], &[1.0]);
        let half = self.constant("half", &[], &[0.5]);
        self.node("Div", &[root], vec![]);
        self.node("Erf", &[], vec![]);
        self.node("Add", &[one], vec![]);
        self.node("Mul", &[x], vec![]);
        self.node("Mul", &[half], vec![]);
    }

    /// The name of the value that the next node takes.
    pub(super) fn current(&self) -> String {
        if let Some(start) = &self.start {
            return start.clone();
        }
        let last = self.nodes.last().and_then(|node| node.outputs.first());
        last.cloned().unwrap_or_else(|| "input".to_owned())
    }

    /// Adds a node that takes the current value, then `more`.
    pub(super) fn node(
        &mut self,
        operator: &str,
        more: &[String],
        attributes: Vec<Attribute>,
    ) {
        let mut inputs = vec![self.current()];
        inputs.extend_from_slice(more);
        self.apply(operator, inputs, attributes);
    }

    /// Adds a node that takes these values, and returns the name of what it makes.
    pub(super) fn apply(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        attributes: Vec<Attribute>,
    ) -> String {
        let operator_name = operator.to_lowercase();
        let name = format!("{}{operator_name}_{}", self.prefix, self.nodes.len());
        self.start = None;
        self.nodes.push(Node {
            inputs,
            outputs: vec![name.clone()],
            name: name.clone(),
            operator: operator.to_owned(),
            attributes,
            domain: String::new(),
        });
        name
    }

    /// The same with an operator of the set for machine learning.
    pub(super) fn apply_of_ml(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        attributes: Vec<Attribute>,
    ) -> String {
        let name = self.apply(operator, inputs, attributes);
        if let Some(node) = self.nodes.last_mut() {
            node.domain = MACHINE_LEARNING.to_owned();
        }
        name
    }

    /// Adds a constant for the node that comes next and returns its name.
    pub(super) fn constant(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes());
        self.initializer(name, FLOAT, shape, raw.collect())
    }

    /// The same for whole numbers, as a list.
    pub(super) fn integers(&mut self, name: &str, values: &[usize]) -> String {
        let raw = values
            .iter()
            .flat_map(|value| (*value as i64).to_le_bytes());
        self.initializer(name, INT64, &[values.len()], raw.collect())
    }

    /// The same for numbers that may need 64 bits.
    pub(super) fn scale(
        &mut self,
        name: &str,
        element: i32,
        shape: &[usize],
        values: impl IntoIterator<Item = f64>,
    ) -> String {
        let values = values.into_iter();
        let raw = match element {
            DOUBLE => values.flat_map(f64::to_le_bytes).collect(),
            _ => values
                .flat_map(|value| (value as f32).to_le_bytes())
                .collect(),
        };
        self.initializer(name, element, shape, raw)
    }

    fn initializer(
        &mut self,
        name: &str,
        element: i32,
        shape: &[usize],
        raw: Vec<u8>,
    ) -> String {
        let name = format!("{}{}_{name}", self.prefix, self.nodes.len());
        self.initializers.push(Tensor {
            shape: shape.iter().map(|length| *length as i64).collect(),
            element,
            name: name.clone(),
            raw,
        });
        name
    }
}

/// The start of names that no column has.
fn prefix(dataset: &Dataset) -> String {
    let mut prefix = "network/".to_owned();
    let names = || {
        dataset
            .columns
            .iter()
            .map(|column| &column.name)
            .chain(&dataset.target)
    };
    while names().any(|name| name.starts_with(&prefix)) {
        prefix.push('/');
    }
    prefix
}

/// What numbers have to be for a graph to scale them.
fn element(scales: &[Scale]) -> i32 {
    element_of(scales.iter().any(|scale| scale.wide))
}

/// The element type of numbers with 64 or 32 bits.
pub(super) fn element_of(wide: bool) -> i32 {
    if wide { DOUBLE } else { FLOAT }
}

/// How many statistics a layer has: a mean and a variance for each channel of a batch norm.
fn inner_statistics(layer: &PlannedLayer) -> usize {
    match layer.spec {
        LayerSpec::BatchNorm => 2 * layer.input.channels,
        _ => layer.inner().map(inner_statistics).sum(),
    }
}

/// The weights of a layer that does what it and the batch norm after it did: a batch norm
/// at inference is `x * factor + offset` for each output of the layer.
fn folded(weights: &[f32], norm: &[f32], moments: &[f32]) -> Vec<f32> {
    let outputs = norm.len() / 2;
    let (scales, shifts) = norm.split_at(outputs);
    let (means, variances) = moments.split_at(outputs);
    let factors: Vec<f64> = scales
        .iter()
        .zip(variances)
        .map(|(&scale, &variance)| {
            f64::from(scale) / f64::from(variance + BATCH_NORM_EPSILON).sqrt()
        })
        .collect();
    let (matrix, bias) = weights.split_at(weights.len() - outputs);
    let mut folded = Vec::with_capacity(weights.len());
    for row in matrix.chunks_exact(outputs) {
        let scaled = row.iter().zip(&factors);
        folded
            .extend(scaled.map(|(&weight, factor)| (f64::from(weight) * factor) as f32));
    }
    folded.extend((0..outputs).map(|output| {
        let centred = f64::from(bias[output]) - f64::from(means[output]);
        (centred * factors[output] + f64::from(shifts[output])) as f32
    }));
    folded
}

fn pooling(window: &Window) -> Vec<Attribute> {
    vec![
        Attribute::of_ints("kernel_shape", &[window.size, window.size]),
        Attribute::of_ints("strides", &[window.stride, window.stride]),
    ]
}

/// For each value of an image in CHW order, its place in HWC order.
pub(super) fn channel_first(shape: ActivationShape) -> Vec<usize> {
    let pixels = shape.height * shape.width;
    (0..shape.channels)
        .flat_map(|channel| {
            (0..pixels).map(move |pixel| pixel * shape.channels + channel)
        })
        .collect()
}

pub(super) fn value_info(name: &str, element: i32, shape: &[usize]) -> ValueInfo {
    let batch = Dimension {
        parameter: Some("batch".to_owned()),
        value: None,
    };
    let fixed = shape.iter().map(|length| Dimension {
        value: Some(*length as i64),
        parameter: None,
    });
    let shape = TensorShape {
        dimensions: [batch].into_iter().chain(fixed).collect(),
    };
    let tensor = TensorType {
        element,
        shape: Some(shape),
    };
    ValueInfo {
        name: name.to_owned(),
        kind: Some(Type {
            tensor: Some(tensor),
        }),
    }
}
