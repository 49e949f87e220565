//! Forward and backward passes of each layer, over mini-batches in NHWC order.
//!
//! What flows between two layers is a plain slice: `[rows, height, width, channels]` for
//! images, `[rows, features]` for vectors, without padding and row after row. The shapes
//! themselves are in the plan of the network, which the layers were built from.
//!
//! A layer owns the scratch memory it needs, allocated when it is built, and borrows
//! everything else: weights and gradients belong to the [network](crate::network).

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod conv1d;
mod dense;
mod depthwise_conv;
mod dropout;
mod embed;
mod grouped_conv;
mod layer_norm;
mod pool;
mod residual;
mod tokens;

use crate::architecture::{Activation, LayerSpec, PlannedLayer, series_steps};
use crate::kernels::{Finish, NormPixels, Team, Window};
use crate::random::Stream;

pub(crate) use attention::kept_values as attention_values;
pub(crate) use batch_norm::EPSILON as BATCH_NORM_EPSILON;
pub(crate) use conv1d::{Steps, series};
pub(crate) use layer_norm::EPSILON as LAYER_NORM_EPSILON;

/// Whether a pass belongs to training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassMode {
    /// Dropout drops, batch norm uses and follows the mini-batch.
    Training,
    /// The same image always gives the same logits.
    Inference,
}

/// One forward pass over a mini-batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) mode: PassMode,
    /// The threads that share the mini-batch.
    pub(crate) team: &'a Team,
}

#[cfg(test)]
impl<'a> Pass<'a> {
    pub(crate) fn alone(mode: PassMode, team: &'a Team) -> Self {
        Self { mode, team }
    }
}

/// What a backward pass reads: the forward pass of the same mini-batch, and the gradient of
/// the loss by the layer's output.
#[derive(Clone, Copy)]
pub(crate) struct Flow<'a> {
    /// The layer's weights, in the layout that the layer documents.
    pub(crate) weights: &'a [f32],
    /// What the layer was given, `[rows, input shape]`.
    pub(crate) input: &'a [f32],
    /// What it made of that, `[rows, output shape]`.
    pub(crate) output: &'a [f32],
    /// The gradient of the loss by `output`, as long as `output`.
    pub(crate) output_gradient: &'a [f32],
    /// The threads that share the mini-batch.
    pub(crate) team: &'a Team,
}

/// One layer of a running network.
pub(crate) trait Layer: Send {
    /// Computes `output` from `input`, overwriting it.
    ///
    /// `input` is `[rows, input shape]` and `output` `[rows, output shape]`; `rows` may be
    /// anything up to the number that the layer was built for, because the last mini-batch
    /// of an epoch is smaller.
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    );

    /// Computes the gradients of the loss by the layer's weights and by its input,
    /// overwriting both. A forward pass in training mode over the same mini-batch has to
    /// come before it.
    ///
    /// `gradients` is as long as the weights, `input_gradient` as long as `flow.input`. The
    /// latter is `None` where no layer before this one has weights, so that nobody would
    /// read it.
    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    );

    /// Values that training changes though they have no gradient, such as the running means
    /// of a batch norm. They are saved and restored with the weights.
    fn statistics(&self) -> &[f32] {
        &[]
    }

    /// See [`Layer::statistics`].
    fn statistics_mut(&mut self) -> &mut [f32] {
        &mut []
    }

    /// The streams of random numbers that the layer draws from. A checkpoint keeps how many
    /// were drawn.
    fn streams(&mut self) -> Vec<&mut Stream> {
        Vec::new()
    }
}

/// Builds the layer that runs the first of `planned`, for mini-batches of at most `rows`
/// images and a team of `threads`.
///
/// `stream` makes the stream of the layer, or of each layer inside of it by its name.
///
/// Returns it with the number of planned layers that it covers, because a convolution or a
/// batch norm also does the ReLU and the 2x2 pooling that follow it. There is no layer for
/// flattening: in NHWC order it moves nothing.
pub(crate) fn build(
    planned: &[PlannedLayer],
    rows: usize,
    threads: usize,
    stream: &dyn Fn(&str) -> Stream,
) -> (Option<Box<dyn Layer>>, usize) {
    let Some(first) = planned.first() else {
        return (None, 0);
    };
    let (finish, covered) = finish(planned);
    let output = first.output;
    let layer: Box<dyn Layer> = match (first.spec, first.window) {
        (
            LayerSpec::Conv {
                filters, groups, ..
            },
            Some(window),
        ) => {
            let size = (filters, groups);
            return convolution(window, size, (finish, covered), (rows, threads));
        }
        (LayerSpec::DepthwiseConv { .. }, Some(window)) => {
            return depthwise(window, finish, (rows, threads));
        }
        (LayerSpec::Patches { units, .. }, Some(window)) => {
            return convolution(window, (units, 1), (finish, covered), (rows, threads));
        }
        (LayerSpec::Tokens { units }, _) => Box::new(tokens::Tokens::new(units)),
        (LayerSpec::Positions, _) => Box::new(tokens::Positions::new(output.values())),
        (LayerSpec::Attention { heads }, _) => {
            Box::new(attention::Attention::new(first.input, heads, rows))
        }
        (LayerSpec::MaxPool { .. }, Some(window)) => {
            Box::new(pool::MaxPool::new(window, rows))
        }
        (LayerSpec::AvgPool { .. }, Some(window)) => Box::new(pool::AvgPool::new(window)),
        (LayerSpec::GlobalAvgPool, _) => Box::new(pool::GlobalAvgPool::new(
            first.input.channels,
            first.input.values(),
        )),
        (LayerSpec::BatchNorm, _) => {
            let pixels = NormPixels {
                height: output.height,
                width: output.width,
                finish,
            };
            let norm = batch_norm::BatchNorm::new(pixels, output.channels, rows);
            return (Some(Box::new(norm)), covered);
        }
        (LayerSpec::Dropout { probability }, _) => Box::new(dropout::Dropout::new(
            probability,
            rows * output.values(),
            stream(""),
        )),
        (LayerSpec::Activation(function), _) => {
            Box::new(activation::Elementwise::new(function))
        }
        (LayerSpec::Dense { units }, _) => {
            Box::new(dense::Dense::new(first.input.values(), units))
        }
        (LayerSpec::Conv1d { .. } | LayerSpec::MaxPool1d { .. }, _) => {
            return (along_series(first, rows), 1);
        }
        (LayerSpec::LayerNorm, _) => {
            Box::new(layer_norm::LayerNorm::new(output.channels))
        }
        (LayerSpec::Residual, _) => {
            Box::new(residual::Residual::new(first, rows, threads, stream))
        }
        (LayerSpec::Embed, _) => {
            let passed = first.input.channels - first.tables.len();
            Box::new(embed::Embed::new(passed, first.tables.clone()))
        }
        _ => return (None, 1),
    };
    (Some(layer), 1)
}

/// A layer for the steps of a series.
fn along_series(planned: &PlannedLayer, rows: usize) -> Option<Box<dyn Layer>> {
    let (steps, channels) = series_steps(planned.spec, planned.input).ok()?;
    Some(match planned.spec {
        LayerSpec::Conv1d { filters, .. } => {
            Box::new(conv1d::Conv1d::new(steps, channels, filters, rows))
        }
        _ => Box::new(conv1d::MaxPool1d::new(steps, channels)),
    })
}

/// The kernel that suits a convolution, and how many planned layers it covers.
fn convolution(
    window: Window,
    (filters, groups): (usize, usize),
    (finish, covered): (Finish, usize),
    (rows, threads): (usize, usize),
) -> (Option<Box<dyn Layer>>, usize) {
    if groups > 1 && groups == window.channels && groups == filters {
        return depthwise(window, finish, (rows, threads));
    }
    if groups > 1 {
        let size = (filters, groups);
        let layer = grouped_conv::GroupedConv::new(window, size, finish, rows, threads);
        return (Some(Box::new(layer)), covered);
    }
    // A window of one pixel is a dense layer over all pixels: one product of matrices.
    if (window.size, window.stride, finish) == (1, 1, Finish::Plain) {
        let layer = dense::Dense::new(window.channels, filters);
        return (Some(Box::new(layer)), covered);
    }
    let layer = conv::Conv::new(window, filters, finish, rows, threads);
    (Some(Box::new(layer)), covered)
}

/// A depthwise convolution does the ReLU that follows, and leaves pooling to a layer.
fn depthwise(
    window: Window,
    finish: Finish,
    (rows, threads): (usize, usize),
) -> (Option<Box<dyn Layer>>, usize) {
    let relu = finish != Finish::Plain;
    let layer = depthwise_conv::DepthwiseConv::new(window, relu, rows, threads);
    (Some(Box::new(layer)), 1 + usize::from(relu))
}

/// Which of the layers after the first one it can do in the same pass, and how many planned
/// layers that covers, the first one included.
fn finish(planned: &[PlannedLayer]) -> (Finish, usize) {
    const RELU: LayerSpec = LayerSpec::Activation(Activation::Relu);
    let spec = |index: usize| planned.get(index).map(|layer| layer.spec);
    match (spec(1), spec(2)) {
        (Some(RELU), Some(LayerSpec::MaxPool { size: 2, stride: 2 })) => {
            (Finish::ReluPool, 3)
        }
        (Some(RELU), _) => (Finish::Relu, 2),
        _ => (Finish::Plain, 1),
    }
}
