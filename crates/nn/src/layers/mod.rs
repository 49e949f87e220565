//! Forward and backward passes of each layer, over mini-batches in NHWC order.
//!
//! A layer owns the scratch memory it needs, allocated when it is built, and borrows
//! everything else: weights and gradients belong to the [network](crate::network).

mod activation;
mod batch_norm;
mod conv;
mod dense;
mod dropout;
mod pool;

use crate::architecture::{Activation, LayerSpec, PlannedLayer};
use crate::kernels::{Finish, Pixels, Team};
use crate::random::Stream;

pub(crate) use batch_norm::EPSILON as BATCH_NORM_EPSILON;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Dropout drops, batch norm uses and follows the mini-batch.
    Training,
    /// The same image always gives the same logits.
    Inference,
}

/// What a forward pass is for and who makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) mode: Mode,
    pub(crate) team: &'a Team,
}

#[cfg(test)]
impl<'a> Pass<'a> {
    pub(crate) fn alone(mode: Mode, team: &'a Team) -> Self {
        Self { mode, team }
    }
}

/// What flowed forward through a layer, and the gradient that flows back.
#[derive(Clone, Copy)]
pub(crate) struct Flow<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) input: &'a [f32],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) team: &'a Team,
}

/// One layer of a running network.
pub(crate) trait Layer: Send {
    /// Overwrites `output`, for as many images as `input` has.
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    );

    /// Overwrites both gradients; comes after a forward pass in training mode.
    ///
    /// Without `input_gradient` no layer before this one learns anything.
    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    );

    /// Values that training changes but no gradient does.
    fn statistics(&self) -> &[f32] {
        &[]
    }

    /// See [`Layer::statistics`].
    fn statistics_mut(&mut self) -> &mut [f32] {
        &mut []
    }

    /// Where its random numbers come from, if it needs any.
    fn stream(&mut self) -> Option<&mut Stream> {
        None
    }
}

/// The running form of the first of `planned`, for mini-batches of at most `rows` images,
/// and how many of them it covers: an activation and pooling may be part of the layer
/// before them.
///
/// Flattening has none: in NHWC order it moves nothing.
pub(crate) fn build(
    planned: &[PlannedLayer],
    rows: usize,
    threads: usize,
    dropout: Stream,
) -> (Option<Box<dyn Layer>>, usize) {
    let Some(first) = planned.first() else {
        return (None, 0);
    };
    let (finish, covered) = finish(planned);
    let output = first.output;
    let layer: Box<dyn Layer> = match (first.spec, first.window) {
        (LayerSpec::Conv { filters, .. }, Some(window)) => {
            let conv = conv::Conv::new(window, filters, finish, rows, threads);
            return (Some(Box::new(conv)), covered);
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
            let pixels = Pixels {
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
            dropout,
        )),
        (LayerSpec::Activation(function), _) => {
            Box::new(activation::Elementwise::new(function))
        }
        (LayerSpec::Dense { units }, _) => {
            Box::new(dense::Dense::new(first.input.values(), units))
        }
        _ => return (None, 1),
    };
    (Some(layer), 1)
}

/// What the layers after the first one let it do in the same pass, and how many layers
/// that makes.
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
