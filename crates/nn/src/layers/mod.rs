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

use crate::architecture::{LayerSpec, PlannedLayer};
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

/// What flowed forward through a layer, and the gradient that flows back.
#[derive(Clone, Copy)]
pub(crate) struct Flow<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) input: &'a [f32],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
}

/// One layer of a running network.
pub(crate) trait Layer: Send {
    /// Overwrites `output`, for as many images as `input` has.
    fn forward(&mut self, weights: &[f32], input: &[f32], output: &mut [f32], mode: Mode);

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
}

/// The running form of a planned layer, for mini-batches of at most `rows` images.
///
/// Flattening has none: in NHWC order it moves nothing.
pub(crate) fn build(
    planned: &PlannedLayer,
    rows: usize,
    dropout: Stream,
) -> Option<Box<dyn Layer>> {
    let output = planned.output;
    let layer: Box<dyn Layer> = match (planned.spec, planned.window) {
        (LayerSpec::Conv { filters, .. }, Some(window)) => {
            Box::new(conv::Conv::new(window, filters))
        }
        (LayerSpec::MaxPool { .. }, Some(window)) => {
            Box::new(pool::MaxPool::new(window, rows))
        }
        (LayerSpec::AvgPool { .. }, Some(window)) => Box::new(pool::AvgPool::new(window)),
        (LayerSpec::GlobalAvgPool, _) => Box::new(pool::GlobalAvgPool::new(
            planned.input.channels,
            planned.input.values(),
        )),
        (LayerSpec::BatchNorm, _) => {
            Box::new(batch_norm::BatchNorm::new(output.channels))
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
            Box::new(dense::Dense::new(planned.input.values(), units))
        }
        _ => return None,
    };
    Some(layer)
}
