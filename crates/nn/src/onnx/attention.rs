//! Attention, and what it is given, as ONNX nodes.

use super::graph::{Builder, channel_first};
use super::proto::Attribute;
use crate::architecture::ActivationShape;

impl Builder {
    /// Adds a vector to each pixel or step.
    pub(super) fn positions(&mut self, shape: ActivationShape, weights: &[f32]) {
        let order = channel_first(shape);
        let values: Vec<_> = order.iter().map(|place| weights[*place]).collect();
        let shape = [1, shape.channels, shape.height, shape.width];
        let vectors = self.constant("positions", &shape, &values);
        self.node("Add", &[vectors], vec![]);
    }

    /// Makes each number of a row a vector, in an image of one row.
    pub(super) fn tokens(&mut self, units: usize, weights: &[f32]) {
        let inputs = weights.len() / 2 / units;
        self.own_order();
        self.reshape(&[1, 1, inputs]);
        let halves = weights.chunks_exact(inputs * units);
        for (operator, values) in ["Mul", "Add"].into_iter().zip(halves) {
            let across = |unit: usize| (0..inputs).map(move |n| values[n * units + unit]);
            let values: Vec<_> = (0..units).flat_map(across).collect();
            let vectors = self.constant("vectors", &[1, units, 1, inputs], &values);
            self.node(operator, &[vectors], vec![]);
        }
    }

    /// Multi-head self-attention over the pixels of an image.
    pub(super) fn attention(
        &mut self,
        shape: ActivationShape,
        heads: usize,
        weights: &[f32],
    ) {
        let (channels, tokens) = (shape.channels, shape.height * shape.width);
        let (asked, told) = weights.split_at(3 * channels * (channels + 1));
        self.reshape(&[channels, tokens]);
        self.transpose(&[0, 2, 1]);
        let input = self.current();
        let asked = [0, 1, 2].map(|kind| {
            self.begin_with(&input);
            let own = kind * channels..(kind + 1) * channels;
            let rows = asked.chunks_exact(3 * channels);
            // The last row is the bias.
            let rows: Vec<_> = rows.flat_map(|row| &row[own.clone()]).copied().collect();
            self.affine(channels, &rows);
            self.reshape(&[tokens, heads, channels / heads]);
            // The keys lie across, for the product with the queries.
            let places = if kind == 1 {
                [0, 2, 3, 1]
            } else {
                [0, 2, 1, 3]
            };
            self.transpose(&places);
            self.current()
        });
        let [query, key, value] = asked;
        let scale = ((channels / heads) as f32).sqrt().recip();
        let scale = self.constant("scale", &[], &[scale]);
        self.apply("MatMul", vec![query, key], vec![]);
        self.node("Mul", &[scale], vec![]);
        self.node("Softmax", &[], vec![Attribute::of_int("axis", -1)]);
        self.node("MatMul", &[value], vec![]);
        self.transpose(&[0, 2, 1, 3]);
        self.reshape(&[tokens, channels]);
        self.affine(channels, told);
        self.transpose(&[0, 2, 1]);
        self.reshape(&[channels, shape.height, shape.width]);
    }

    /// Multiplies the last axis with a square matrix, and adds the bias that follows it.
    fn affine(&mut self, channels: usize, weights: &[f32]) {
        let (matrix, bias) = weights.split_at(channels * channels);
        let matrix = self.constant("matrix", &[channels, channels], matrix);
        self.node("MatMul", &[matrix], vec![]);
        let bias = self.constant("bias", &[channels], bias);
        self.node("Add", &[bias], vec![]);
    }

    fn transpose(&mut self, places: &[usize]) {
        self.node("Transpose", &[], vec![Attribute::of_ints("perm", places)]);
    }
}
