//! A network with its weights and all the memory that a mini-batch needs.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::Error;
use crate::architecture::{Init, LayerSpec, Plan, PlannedLayer, PlannedParameter};
use crate::dataset::scale;
use crate::kernels::{Buffer, Team};
use crate::layers::{self, Flow, Layer, Pass, PassMode};
use crate::random::Stream;

/// More values than this for one mini-batch are refused (4 GiB).
const MAX_VALUES: usize = 1 << 30;

/// A network with its weights.
pub struct Network {
    plan: Plan,
    layers: Vec<LayerInstance>,
    weights: Buffer,
    gradients: Buffer,
    /// The input of each layer, then the logits.
    activations: Vec<Buffer>,
    /// The gradient of a layer's output, and room for that of its input: they change
    /// places from layer to layer.
    slopes: [Buffer; 2],
    /// The largest mini-batch.
    rows: usize,
    team: Arc<Team>,
}

/// A layer that computes, in contrast to one that only changes the shape.
struct LayerInstance {
    layer: Box<dyn Layer>,
    /// Which of the plan's layers it is.
    planned: usize,
    weights: Range<usize>,
    output: usize,
}

impl Network {
    /// Builds a network that works alone; see [`Network::with_threads`].
    #[cfg(test)]
    pub(crate) fn new(plan: Plan, rows: usize, seed: u64) -> Result<Self, Error> {
        Self::with_threads(plan, rows, seed, 1)
    }

    /// Builds the network with its initial weights, for mini-batches of up to `rows`.
    ///
    /// The number of threads changes no bit of any result.
    pub(crate) fn with_threads(
        plan: Plan,
        rows: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Self, Error> {
        let values: usize = plan.layers.iter().map(PlannedLayer::values).sum();
        if values.saturating_mul(rows) > MAX_VALUES {
            return Err(Error::Architecture {
                problem: format!(
                    "a mini-batch of {rows} images needs {} values, more than the limit \
                     of {MAX_VALUES}; use a smaller batch_size or smaller layers",
                    values.saturating_mul(rows)
                ),
            });
        }
        let mut layers = Vec::new();
        let team = Arc::new(Team::new(threads));
        let mut planned = 0;
        while planned < plan.layers.len() {
            let stream =
                |inside: &str| Stream::new(seed, &format!("dropout {planned}{inside}"));
            let (layer, covered) =
                layers::build(&plan.layers[planned..], rows, team.threads(), &stream);
            if let Some(layer) = layer {
                layers.push(LayerInstance {
                    layer,
                    planned,
                    weights: plan.layers[planned].weights(),
                    output: plan.layers[planned + covered - 1].output.values(),
                });
            }
            planned += covered.max(1);
        }
        let mut activations = vec![Buffer::zeros(rows * plan.image.values())];
        activations.extend(
            layers
                .iter()
                .map(|layer| Buffer::zeros(rows * layer.output)),
        );
        let widest = layers.iter().map(|layer| layer.output).max().unwrap_or(0);
        let slopes = [Buffer::zeros(rows * widest), Buffer::zeros(rows * widest)];
        let weights = initial_weights(&plan, seed);
        let gradients = Buffer::zeros(plan.weights);
        Ok(Self {
            plan,
            layers,
            weights,
            gradients,
            activations,
            slopes,
            rows,
            team,
        })
    }

    /// The logits of images in NHWC order, one row of them per image.
    ///
    /// Dropout and batch norm are in their inference form: the logits of an image do not
    /// depend on the other images.
    pub fn logits(&mut self, pixels: &[u8]) -> Result<Vec<f32>, Error> {
        let values = self.plan.image.values();
        if !pixels.len().is_multiple_of(values) {
            return Err(Error::Dataset {
                problem: format!(
                    "an image has {values} values, but {} are not a whole number of images",
                    pixels.len()
                ),
            });
        }
        let mut logits = Vec::new();
        for pixels in pixels.chunks(values * self.rows) {
            let rows = pixels.len() / values;
            scale(pixels, self.images_mut(rows));
            logits.extend_from_slice(self.forward(rows, PassMode::Inference));
        }
        Ok(logits)
    }

    /// Room for the images of the next mini-batch.
    pub(crate) fn images_mut(&mut self, rows: usize) -> &mut [f32] {
        &mut self.activations[0][..rows * self.plan.image.values()]
    }

    /// The largest mini-batch.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The threads that work on it.
    pub(crate) fn team(&self) -> &Arc<Team> {
        &self.team
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The planned layers, each with its weights and statistics.
    pub(crate) fn trained(
        &self,
    ) -> impl Iterator<Item = (&PlannedLayer, &[f32], &[f32])> {
        self.plan.layers.iter().enumerate().map(|(index, layer)| {
            let running = self.layers.iter().find(|running| running.planned == index);
            let statistics: &[f32] =
                running.map_or(&[], |running| running.layer.statistics());
            (layer, &self.weights[layer.weights()], statistics)
        })
    }

    /// Runs the mini-batch of `rows` images and returns its logits.
    pub(crate) fn forward(&mut self, rows: usize, mode: PassMode) -> &[f32] {
        for index in 0..self.layers.len() {
            self.forward_layer(index, rows, mode);
        }
        let values = self.plan.output().values();
        &self.activations[self.layers.len()][..rows * values]
    }

    /// Runs one of the layers that compute.
    pub(crate) fn forward_layer(&mut self, index: usize, rows: usize, mode: PassMode) {
        let running = &mut self.layers[index];
        let (inputs, outputs) = self.activations.split_at_mut(index + 1);
        let input = &inputs[index][..inputs[index].len() / self.rows * rows];
        let output = &mut outputs[0][..rows * running.output];
        let weights = &self.weights[running.weights.clone()];
        let team = &self.team;
        running
            .layer
            .forward(weights, input, output, Pass { mode, team });
    }

    /// The logits of the last forward pass, and room for their gradient.
    pub(crate) fn logits_and_slopes(&mut self, rows: usize) -> (&[f32], &mut [f32]) {
        let values = rows * self.plan.output().values();
        let logits = &self.activations[self.layers.len()][..values];
        (logits, &mut self.slopes[0][..values])
    }

    /// Finds the gradients of all weights from that of the logits.
    pub(crate) fn backward(&mut self, rows: usize) {
        for index in (self.first_learning()..self.layers.len()).rev() {
            self.backward_layer(index, rows);
        }
    }

    /// The first layer that has weights.
    pub(crate) fn first_learning(&self) -> usize {
        let learns = |running: &LayerInstance| !running.weights.is_empty();
        let first = self.layers.iter().position(learns);
        first.unwrap_or(self.layers.len())
    }

    /// Finds the gradients of one layer from that of its output.
    pub(crate) fn backward_layer(&mut self, index: usize, rows: usize) {
        let first = self.first_learning();
        let running = &mut self.layers[index];
        let inputs = self.activations[index].len() / self.rows * rows;
        let outputs = rows * running.output;
        let [from, to] = &mut self.slopes;
        let flow = Flow {
            weights: &self.weights[running.weights.clone()],
            input: &self.activations[index][..inputs],
            output: &self.activations[index + 1][..outputs],
            output_gradient: &from[..outputs],
            team: &self.team,
        };
        // The image itself has no gradient, nor has what does not depend on weights.
        let target = (index > first).then(|| &mut to[..inputs]);
        let gradients = &mut self.gradients[running.weights.clone()];
        running.layer.backward(flow, target, gradients);
        self.slopes.swap(0, 1);
    }

    /// The names of the layers that compute, with what they do in the same pass.
    pub(crate) fn layer_names(&self) -> impl Iterator<Item = String> {
        self.layers.iter().enumerate().map(|(index, running)| {
            let end = self
                .layers
                .get(index + 1)
                .map_or(self.plan.layers.len(), |next| next.planned);
            let names = self.plan.layers[running.planned..end]
                .iter()
                .filter(|layer| layer.spec != LayerSpec::Flatten)
                .map(|layer| layer.spec.name());
            names.collect::<Vec<_>>().join(" + ")
        })
    }

    /// The multiplications of the definition of each layer that computes, for one image.
    pub(crate) fn multiplications(&self) -> impl Iterator<Item = usize> {
        self.layers.iter().map(|running| {
            let layer = &self.plan.layers[running.planned];
            let matrix = layer.parameters.first().map_or(0, |p| p.range.len());
            match layer.spec {
                LayerSpec::Conv { .. }
                | LayerSpec::Patches { .. }
                | LayerSpec::DepthwiseConv { .. } => {
                    matrix * layer.output.height * layer.output.width
                }
                LayerSpec::Dense { .. } => matrix,
                _ => 0,
            }
        })
    }

    /// The groups of weights, all weights and their gradients.
    pub(crate) fn learn(
        &mut self,
    ) -> (
        impl Iterator<Item = &PlannedParameter>,
        &mut [f32],
        &mut [f32],
    ) {
        let parameters = self.plan.layers.iter().flat_map(|layer| &layer.parameters);
        (parameters, &mut self.weights, &mut self.gradients)
    }

    /// The size of a [`Network::save`].
    pub(crate) fn saved_len(&self) -> usize {
        let statistics = self
            .layers
            .iter()
            .map(|running| running.layer.statistics().len());
        self.weights.len() + statistics.sum::<usize>()
    }

    /// The random streams of its layers.
    pub(crate) fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.layers
            .iter_mut()
            .flat_map(|running| running.layer.streams())
    }

    /// The parts of a [`Network::save`], in its order.
    pub(crate) fn saved_parts(&self) -> impl Iterator<Item = &[f32]> {
        let statistics = self.layers.iter().map(|running| running.layer.statistics());
        std::iter::once(&self.weights[..]).chain(statistics)
    }

    /// Copies everything that training changes.
    pub(crate) fn save(&self, saved: &mut [f32]) {
        let (weights, mut rest) = saved.split_at_mut(self.weights.len());
        weights.copy_from_slice(&self.weights);
        for running in &self.layers {
            let statistics = running.layer.statistics();
            let (target, after) = rest.split_at_mut(statistics.len());
            target.copy_from_slice(statistics);
            rest = after;
        }
    }

    /// Goes back to what [`Network::save`] copied.
    pub(crate) fn restore(&mut self, saved: &[f32]) {
        let (weights, mut rest) = saved.split_at(self.weights.len());
        self.weights.copy_from_slice(weights);
        for running in &mut self.layers {
            let statistics = running.layer.statistics_mut();
            let (source, after) = rest.split_at(statistics.len());
            statistics.copy_from_slice(source);
            rest = after;
        }
    }

    /// Replaces the weights, to compare with another implementation.
    #[cfg(test)]
    pub(crate) fn set_weights(&mut self, value: impl Fn(usize) -> f32) {
        for (index, weight) in self.weights.iter_mut().enumerate() {
            *weight = value(index);
        }
    }

    #[cfg(test)]
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }
}

impl fmt::Debug for Network {
    /// The weights are left out: there may be millions of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.plan.layers.iter().map(|layer| layer.spec.name());
        f.debug_struct("Network")
            .field("image", &self.plan.image)
            .field("layers", &names.collect::<Vec<_>>())
            .field("weights", &self.weights.len())
            .finish_non_exhaustive()
    }
}

fn initial_weights(plan: &Plan, seed: u64) -> Buffer {
    let mut weights = Buffer::zeros(plan.weights);
    let mut stream = Stream::new(seed, "weights");
    for parameter in plan.layers.iter().flat_map(|layer| &layer.parameters) {
        for weight in &mut weights[parameter.range.clone()] {
            *weight = match parameter.init {
                Init::Constant(value) => value,
                Init::Uniform { limit } => (2.0 * stream.unit() - 1.0) * limit,
            };
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocations;
    use crate::optimizer::Optimizer;
    use crate::{Hyperparameters, ImageShape};

    fn network(architecture: &str, rows: usize) -> Result<Network, Error> {
        let shape = ImageShape {
            height: 6,
            width: 6,
            channels: 1,
        };
        let hyperparameters = Hyperparameters {
            architecture: architecture.to_owned(),
            ..Hyperparameters::default()
        };
        Network::new(hyperparameters.plan(shape, 3).unwrap(), rows, 1)
    }

    #[test]
    fn logits_do_not_depend_on_the_mini_batch() {
        let text = "conv(4, 3), batch_norm, relu, max_pool(2), dropout(0.5), dense(3)";
        let pixels: Vec<u8> = (0..5 * 36_u32).map(|n| (n * 37 % 251) as u8).collect();
        let all = network(text, 5).unwrap().logits(&pixels).unwrap();
        assert_eq!(all.len(), 15);
        let mut pairs = network(text, 2).unwrap();
        let chunked = pairs.logits(&pixels).unwrap();
        for (a, b) in all.iter().zip(&chunked) {
            assert!((a - b).abs() < 1e-5, "{all:?} {chunked:?}");
        }
        assert_eq!(pairs.logits(&pixels).unwrap(), chunked);
    }

    #[test]
    fn a_step_does_not_allocate_whatever_the_layers() {
        let text = "conv(9, 5), relu, max_pool(2), conv(10, 3), batch_norm, relu, \
                    max_pool(2), conv(8, 2, stride: 2), depthwise_conv(3), relu, \
                    conv(6, 1, groups: 2), positions, attention(2), layer_norm, gelu, \
                    dropout(0.3), dense(20), tokens(4), dense(3)";
        let hyperparameters = Hyperparameters {
            architecture: text.to_owned(),
            clip_norm: Some(0.1),
            ..Hyperparameters::default()
        };
        let shape = ImageShape {
            height: 18,
            width: 17,
            channels: 3,
        };
        for threads in [1, 2] {
            let plan = hyperparameters.plan(shape, 3).unwrap();
            let mut optimizer = Optimizer::new(&hyperparameters, plan.weights);
            let mut network = Network::with_threads(plan, 70, 1, threads).unwrap();
            optimizer.share(network.team());
            let before = allocations::count();
            for rows in [70, 33] {
                network.images_mut(rows).fill(0.5);
                network.forward(rows, PassMode::Training);
                network.logits_and_slopes(rows).1.fill(0.1);
                network.backward(rows);
                let (parameters, weights, gradients) = network.learn();
                optimizer.step(parameters, weights, gradients, 0.05);
            }
            assert_eq!(allocations::count(), before, "{threads} threads");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        for text in [
            "conv(9, 5), relu, max_pool(2), conv(10, 3), batch_norm, relu, \
             conv(8, 2, stride: 2), dropout(0.3), dense(20), relu, dense(3)",
            "conv(6, 3, groups: 2), relu, depthwise_conv(3), relu, conv(20, 1), \
             depthwise_conv(5, stride: 2), batch_norm, relu, dense(3)",
            "patches(1, 12), positions, residual(layer_norm, attention(3)), \
             residual(layer_norm, conv(20, 1), gelu, conv(12, 1)), layer_norm, \
             global_avg_pool, flatten, tokens(6), attention(2), dense(3)",
        ] {
            check_threads(text);
        }
    }

    #[track_caller]
    fn check_threads(text: &str) {
        let shape = ImageShape {
            height: 12,
            width: 11,
            channels: 2,
        };
        let trained = |threads: usize| {
            let hyperparameters = Hyperparameters {
                architecture: text.to_owned(),
                clip_norm: Some(0.1),
                ..Hyperparameters::default()
            };
            let plan = hyperparameters.plan(shape, 3).unwrap();
            let mut optimizer = Optimizer::new(&hyperparameters, plan.weights);
            let mut network = Network::with_threads(plan, 70, 1, threads).unwrap();
            optimizer.share(network.team());
            for rows in [70, 64, 33, 5] {
                let images = network.images_mut(rows);
                for (index, value) in images.iter_mut().enumerate() {
                    *value = (index * 37 % 251) as f32 / 255.0;
                }
                let labels: Vec<u32> = (0..rows as u32).map(|row| row % 3).collect();
                network.forward(rows, PassMode::Training);
                let (logits, slopes) = network.logits_and_slopes(rows);
                for ((slope, logit), label) in slopes.iter_mut().zip(logits).zip(
                    labels
                        .iter()
                        .flat_map(|label| (0..3).map(move |n| n == *label)),
                ) {
                    *slope = 0.01 * (logit - f32::from(u8::from(label)));
                }
                network.backward(rows);
                let (parameters, weights, gradients) = network.learn();
                optimizer.step(parameters, weights, gradients, 0.05);
            }
            network.weights().to_vec()
        };
        let alone = trained(1);
        assert!(alone.iter().all(|weight| weight.is_finite()));
        for threads in [2, 3, 5] {
            assert_eq!(trained(threads), alone, "{text}: {threads} threads");
        }
    }

    #[test]
    fn half_an_image_is_refused() {
        let error = network("dense(3)", 1)
            .unwrap()
            .logits(&[0; 40])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset: an image has 36 values, but 40 are not a whole number of images"
        );
    }

    #[test]
    fn a_mini_batch_that_does_not_fit_into_memory_is_refused() {
        let error = network("conv(1000, 3), dense(3)", 50_000).unwrap_err();
        assert!(
            error.to_string().contains("use a smaller batch_size"),
            "{error}"
        );
    }

    #[test]
    fn initial_weights_are_within_he_and_glorot_limits() {
        let network = network("dense(8), relu, dense(3)", 1).unwrap();
        let largest = |range: Range<usize>| {
            network.weights[range]
                .iter()
                .fold(0.0_f32, |m, w| m.max(w.abs()))
        };
        let (he, glorot) = ((6.0_f32 / 36.0).sqrt(), (6.0_f32 / 11.0).sqrt());
        assert!((0.95 * he..=he).contains(&largest(0..288)));
        assert_eq!(largest(288..296), 0.0);
        assert!((0.8 * glorot..=glorot).contains(&largest(296..320)));
    }

    #[test]
    fn what_was_saved_comes_back() {
        let mut network = network("conv(2, 3), batch_norm, dense(3)", 2).unwrap();
        let mut saved = vec![0.0; network.saved_len()];
        network.save(&mut saved);
        let before = network.logits(&[7; 36]).unwrap();
        network.images_mut(2).fill(0.5);
        network.forward(2, PassMode::Training);
        network.weights[0] += 1.0;
        assert_ne!(network.logits(&[7; 36]).unwrap(), before);
        network.restore(&saved);
        assert_eq!(network.logits(&[7; 36]).unwrap(), before);
    }
}
