//! Residual blocks: what layers make of their input, added to the input itself (K. He and
//! others, Deep residual learning for image recognition, CVPR 2016).

use std::ops::Range;

use super::{Flow, Layer, Pass, PassMode, build};
use crate::architecture::PlannedLayer;
use crate::kernels::Buffer;
use crate::random::Stream;

/// A layer of a chain.
struct Part {
    layer: Box<dyn Layer>,
    /// Its weights among those of the block.
    weights: Range<usize>,
}

/// Layers one after the other, with what flows between them.
struct Chain {
    parts: Vec<Part>,
    /// What each layer makes of a mini-batch.
    activations: Vec<Buffer>,
    /// Numbers of one row, of each activation.
    widths: Vec<usize>,
}

/// The layers of a block, and those of its shortcut where the shapes differ.
pub(crate) struct Residual {
    body: Chain,
    shortcut: Chain,
    /// Numbers of one row that come in.
    inputs: usize,
    /// Numbers of one row that go out.
    outputs: usize,
    /// Values that training changes, of all layers in turn. The layers have copies while they
    /// run.
    statistics: Vec<f32>,
    /// The gradient of a layer's output, and room for that of its input.
    slopes: [Buffer; 2],
}

impl Chain {
    fn new(
        planned: &[PlannedLayer],
        (rows, threads): (usize, usize),
        first_weight: usize,
        stream: &dyn Fn(&str) -> Stream,
    ) -> Self {
        let mut chain = Self {
            parts: Vec::new(),
            activations: Vec::new(),
            widths: Vec::new(),
        };
        let mut place = 0;
        while place < planned.len() {
            let stream = |name: &str| stream(&format!(".{place}{name}"));
            let (layer, covered) = build(&planned[place..], rows, threads, &stream);
            if let Some(layer) = layer {
                let output = planned[place + covered - 1].output.values();
                chain.parts.push(Part {
                    layer,
                    weights: planned[place].weights_after(first_weight),
                });
                chain.activations.push(Buffer::zeros(rows * output));
                chain.widths.push(output);
            }
            place += covered.max(1);
        }
        chain
    }

    fn widest(&self) -> usize {
        self.widths.iter().copied().max().unwrap_or(0)
    }

    fn forward(&mut self, weights: &[f32], input: &[f32], rows: usize, pass: Pass<'_>) {
        for (n, part) in self.parts.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(n);
            let input = match n {
                0 => input,
                n => &before[n - 1][..rows * self.widths[n - 1]],
            };
            let output = &mut after[0][..rows * self.widths[n]];
            part.layer
                .forward(&weights[part.weights.clone()], input, output, pass);
        }
    }

    /// What the last layer made; nothing without layers.
    fn output(&self, rows: usize) -> Option<&[f32]> {
        let width = self.widths.last()?;
        Some(&self.activations.last()?[..rows * width])
    }

    /// Finds the gradients of all weights, and adds that of the input to `target`.
    fn backward(
        &mut self,
        flow: Flow<'_>,
        slopes: &mut [Buffer; 2],
        target: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let Some(output) = self.widths.last() else {
            return;
        };
        let rows = flow.output_gradient.len() / output;
        let [from, to] = slopes;
        from[..flow.output_gradient.len()].copy_from_slice(flow.output_gradient);
        for n in (0..self.parts.len()).rev() {
            let input = match n {
                0 => flow.input,
                n => &self.activations[n - 1][..rows * self.widths[n - 1]],
            };
            let part = &mut self.parts[n];
            let flow = Flow {
                weights: &flow.weights[part.weights.clone()],
                input,
                output: &self.activations[n][..rows * self.widths[n]],
                output_gradient: &from[..rows * self.widths[n]],
                team: flow.team,
            };
            let is_wanted = n > 0 || target.is_some();
            let inputs = input.len();
            let gradients = &mut gradients[part.weights.clone()];
            let room = is_wanted.then(|| &mut to[..inputs]);
            part.layer.backward(flow, room, gradients);
            std::mem::swap(from, to);
        }
        if let Some(target) = target {
            for (target, slope) in target.iter_mut().zip(&from[..flow.input.len()]) {
                *target += slope;
            }
        }
    }

    /// Copies the statistics of the layers from or to `all`, and returns how many there are.
    fn exchange(&mut self, all: &mut [f32], to_layers: bool) -> usize {
        let mut place = 0;
        for part in &mut self.parts {
            let count = part.layer.statistics().len();
            let all = &mut all[place..place + count];
            match to_layers {
                true => part.layer.statistics_mut().copy_from_slice(all),
                false => all.copy_from_slice(part.layer.statistics()),
            }
            place += count;
        }
        place
    }

    fn statistics(&self) -> impl Iterator<Item = &f32> {
        self.parts.iter().flat_map(|part| part.layer.statistics())
    }
}

impl Residual {
    /// The block that `planned` says, for mini-batches of at most `rows`.
    pub(crate) fn new(
        planned: &PlannedLayer,
        rows: usize,
        threads: usize,
        stream: &dyn Fn(&str) -> Stream,
    ) -> Self {
        let first_weight = planned.weights().start;
        let size = (rows, threads);
        let body = Chain::new(&planned.body, size, first_weight, stream);
        let shortcut = Chain::new(&planned.shortcut, size, first_weight, stream);
        let (inputs, outputs) = (planned.input.values(), planned.output.values());
        let widest = body
            .widest()
            .max(shortcut.widest())
            .max(inputs)
            .max(outputs);
        Self {
            statistics: body
                .statistics()
                .chain(shortcut.statistics())
                .copied()
                .collect(),
            body,
            shortcut,
            inputs,
            outputs,
            slopes: [Buffer::zeros(rows * widest), Buffer::zeros(rows * widest)],
        }
    }

    fn exchange(&mut self, to_layers: bool) {
        let place = self.body.exchange(&mut self.statistics, to_layers);
        self.shortcut
            .exchange(&mut self.statistics[place..], to_layers);
    }
}

impl Layer for Residual {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        let rows = input.len() / self.inputs;
        self.exchange(true);
        self.body.forward(weights, input, rows, pass);
        self.shortcut.forward(weights, input, rows, pass);
        if pass.mode == PassMode::Training {
            self.exchange(false);
        }
        let body = self.body.output(rows).unwrap_or(input);
        let shortcut = self.shortcut.output(rows).unwrap_or(input);
        for ((output, body), shortcut) in output.iter_mut().zip(body).zip(shortcut) {
            *output = body + shortcut;
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let mut target = input_gradient;
        if let Some(target) = target.as_deref_mut() {
            match self.shortcut.parts.is_empty() {
                true => target.copy_from_slice(flow.output_gradient),
                false => target.fill(0.0),
            }
        }
        debug_assert_eq!(
            flow.output.len() / self.outputs,
            flow.input.len() / self.inputs
        );
        let slopes = &mut self.slopes;
        self.body
            .backward(flow, slopes, target.as_deref_mut(), gradients);
        self.shortcut.backward(flow, slopes, target, gradients);
    }

    fn statistics(&self) -> &[f32] {
        &self.statistics
    }

    fn statistics_mut(&mut self) -> &mut [f32] {
        &mut self.statistics
    }

    fn streams(&mut self) -> Vec<&mut Stream> {
        let parts = self.body.parts.iter_mut().chain(&mut self.shortcut.parts);
        parts.flat_map(|part| part.layer.streams()).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::gradients::check_layer;

    #[test]
    fn gradients_of_images() {
        check_layer("residual(conv(2, 3), tanh, conv(2, 3))", (4, 4, 2));
        check_layer(
            "residual(conv(3, 3, stride: 2), tanh, conv(3, 3))",
            (4, 4, 2),
        );
        check_layer("residual(batch_norm, tanh, conv(2, 1))", (3, 3, 2));
    }

    #[test]
    fn gradients_of_rows() {
        check_layer("flatten, residual(dense(5), tanh, dense(4))", (2, 2, 1));
        check_layer("flatten, residual(dense(3), tanh)", (2, 2, 1));
        check_layer(
            "flatten, residual(residual(dense(4), tanh), dense(4))",
            (2, 2, 1),
        );
    }
}
