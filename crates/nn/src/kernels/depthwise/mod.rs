//! Depthwise convolution: each channel has one filter of its own, so there is no matrix
//! product in it and memory is what it waits for.
//!
//! The image is neither unfolded nor padded. Which pixels meet which weights is found once,
//! when the layer is built: positions in a line that see the same weights make a run, which
//! the kernels go along with the sums in registers.

mod backward;
mod forward;
mod runs;

use self::backward::{Mask, WeightSums};
use self::forward::Gather;
use self::runs::Runs;
use super::level::dispatch;
use super::slices::{self, SLICE, Slices};
use super::winograd::Flow;
use super::{Buffer, Team, Window};

/// A depthwise convolution and the memory that it needs.
///
/// Its weights are a matrix of (row, column) of the window by channel, then one bias per
/// channel.
pub(crate) struct Depthwise {
    channels: usize,
    /// The weights of a channel.
    taps: usize,
    /// Whether it also does the ReLU that follows.
    relu: bool,
    /// From the image to the output.
    forward: Runs,
    /// From the gradient of the output to that of the image.
    backward: Runs,
    /// The gradients of all images: those of the weights, then of the bias.
    sums: Buffer,
    slices: Slices<DepthwiseScratch>,
}

/// The memory of a slice of images.
struct DepthwiseScratch {
    /// The gradient of one output before its ReLU.
    slopes: Buffer,
    sums: Buffer,
}

impl slices::Scratch for DepthwiseScratch {
    fn sums(&mut self) -> &mut Buffer {
        &mut self.sums
    }
}

impl Depthwise {
    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(window: Window, relu: bool, rows: usize, threads: usize) -> Self {
        let (channels, taps) = (window.channels, window.size * window.size);
        let outputs = window.positions() * channels;
        let slopes = if relu { outputs } else { 0 };
        Self {
            channels,
            taps,
            relu,
            forward: Runs::forward(&window),
            backward: Runs::backward(&window),
            sums: Buffer::zeros((taps + 1) * channels),
            slices: Slices::new(rows, threads, || DepthwiseScratch {
                slopes: Buffer::zeros(slopes),
                sums: Buffer::zeros((taps + 1) * channels),
            }),
        }
    }

    /// Convolves all images of `input`.
    pub(crate) fn forward(
        &self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        team: &Team,
    ) {
        let channels = self.channels;
        let (weights, bias) = weights.split_at(self.taps * channels);
        let images = input.chunks_exact(self.forward.sources() * channels);
        let outputs = output.chunks_exact_mut(self.forward.targets() * channels);
        team.share(images.zip(outputs), |(from, to)| {
            dispatch(Gather {
                runs: &self.forward,
                channels,
                weights,
                bias: Some(bias),
                relu: self.relu,
                from,
                to,
            });
        });
    }

    /// Finds the gradients of weights and input; comes after the forward pass.
    pub(crate) fn backward(
        &mut self,
        weights: &[f32],
        gradients: &mut [f32],
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        team: &Team,
    ) {
        let (channels, relu) = (self.channels, self.relu);
        let (forward, backward) = (&self.forward, &self.backward);
        let weights = &weights[..self.taps * channels];
        let image = forward.sources() * channels;
        let size = forward.targets() * channels;
        let targets = input_gradient
            .map(|gradient| gradient.chunks_mut(SLICE * image))
            .into_iter()
            .flatten()
            .chain(std::iter::repeat_with(Default::default));
        let parts = flow.slices(SLICE * image, SLICE * size).zip(targets);
        self.slices
            .sum(team, parts, &mut self.sums, |scratch, (flow, target)| {
                let DepthwiseScratch { slopes, sums } = scratch;
                let mut targets = target.chunks_exact_mut(image);
                for flow in flow.slices(image, size) {
                    let slopes = if relu {
                        dispatch(Mask {
                            output: flow.output,
                            gradient: flow.output_gradient,
                            to: slopes,
                        });
                        &**slopes
                    } else {
                        flow.output_gradient
                    };
                    dispatch(WeightSums {
                        runs: forward,
                        channels,
                        input: flow.input,
                        slopes,
                        sums,
                    });
                    let Some(to) = targets.next() else { continue };
                    dispatch(Gather {
                        runs: backward,
                        channels,
                        weights,
                        bias: None,
                        relu: false,
                        from: slopes,
                        to,
                    });
                }
            });
        gradients.copy_from_slice(&self.sums);
    }
}
