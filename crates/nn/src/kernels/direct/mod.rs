//! Convolution by its definition, for every window, stride and padding.
//!
//! The image is not unfolded: the matrix product reads it through its strides. Two rows of
//! the output at a time are made, finished and forgotten, so they stay in the first-level
//! cache.

mod backward;
mod forward;

use self::backward::Backward;
use self::forward::Forward;
use super::finish::Finish;
use super::level::{dispatch, level};
use super::slices::{self, SLICE, Slices};
use super::winograd::Flow;
use super::{Buffer, Team, Window};

/// Filters and lines are filled up to a multiple of this, whatever the level.
const LANES: usize = 16;

/// A convolution and the memory that it needs.
pub(crate) struct Direct {
    shape: ConvShape,
    /// A row for each value under the window, filters filled up.
    filters: Buffer,
    /// For each row of the window, a row for each filter, values filled up.
    filters_across: Buffer,
    /// The gradients of all images: a row for each value under the window, then the bias.
    sums: Buffer,
    slices: Slices<DirectScratch>,
}

/// All sizes that the passes need.
#[derive(Clone, Copy)]
struct ConvShape {
    window: Window,
    filters: usize,
    finish: Finish,
    /// The neighbouring pixels of the output that are made at once, because a single one
    /// has fewer filters than a vector has lanes. Their windows make one wider window, in
    /// which the filters of each pixel have zeros beside them.
    group: usize,
    /// The pixels under a row of that window.
    span: usize,
    /// The filters of all these pixels, filled up.
    units: usize,
    /// The numbers of one pixel.
    pixel: usize,
    /// The pixels of a row of the output, filled up.
    width: usize,
    /// The values in one row of the window, filled up.
    line: usize,
    /// The image with its border.
    padded_width: usize,
    padded_height: usize,
}

/// The memory of the image that is being worked on.
struct DirectScratch {
    /// An image with its border of zeros.
    padded: Buffer,
    /// The gradient of such an image.
    padded_gradient: Buffer,
    /// Two rows of the output or its gradient, filters filled up.
    rows: Buffer,
    /// The gradient of what lies under one row of the windows of one row of the output.
    lines: Buffer,
    /// The gradient of the filters, filled up, then of the bias.
    sums: Buffer,
}

impl slices::Scratch for DirectScratch {
    fn sums(&mut self) -> &mut Buffer {
        &mut self.sums
    }
}

impl DirectScratch {
    fn new(shape: &ConvShape) -> Self {
        let padded = shape.padded_height * shape.padded_row();
        let width = shape.window.out_width;
        Self {
            padded: Buffer::zeros(padded),
            padded_gradient: Buffer::zeros(padded),
            // With a vector more, because the last pixel may be narrower than one.
            rows: Buffer::zeros(2 * shape.row() + LANES),
            lines: Buffer::zeros(width * shape.line),
            sums: Buffer::zeros(shape.sums()),
        }
    }
}

impl ConvShape {
    fn new(window: Window, filters: usize, finish: Finish) -> Self {
        let cover = |out: usize| (out - 1) * window.stride + window.size;
        let lanes = level().lanes();
        let group = if lanes.is_multiple_of(filters) {
            lanes / filters
        } else {
            1
        };
        let units = (group * filters).next_multiple_of(LANES);
        let width = window.out_width.next_multiple_of(group);
        Self {
            window,
            filters,
            finish,
            group,
            span: cover(group),
            units,
            pixel: if group > 1 { filters } else { units },
            width,
            line: (window.size * window.channels).next_multiple_of(LANES),
            padded_width: cover(width).max(window.pad_left + window.in_width),
            padded_height: cover(window.out_height)
                .max(window.pad_top + window.in_height),
        }
    }

    fn image_values(&self) -> usize {
        self.window.in_height * self.window.in_width * self.window.channels
    }

    fn output_values(&self) -> usize {
        self.finish.positions(&self.window) * self.filters
    }

    fn padded_row(&self) -> usize {
        self.padded_width * self.window.channels
    }

    /// The values under the wider window.
    fn values(&self) -> usize {
        self.window.size * self.span * self.window.channels
    }

    /// The filters and the bias.
    fn sums(&self) -> usize {
        (self.values() + 1) * self.units
    }

    /// The filters of a group, filled up to vectors of this length.
    fn columns(&self, lanes: usize) -> usize {
        (self.group * self.filters).next_multiple_of(lanes)
    }

    /// The numbers of a row of the output.
    fn row(&self) -> usize {
        self.width * self.pixel
    }

    /// Calls `visit` for each value under the window and each pixel of a group, with the
    /// place of the value's filters among the weights and among the wider ones.
    fn each_value(&self, mut visit: impl FnMut(usize, usize)) {
        let Window {
            size,
            channels,
            stride,
            ..
        } = self.window;
        for row in 0..size {
            for value in 0..size * channels {
                let from = (row * size * channels + value) * self.filters;
                for pixel in 0..self.group {
                    let value = value + pixel * stride * channels;
                    let to = (row * self.span * channels + value) * self.units;
                    visit(from, to + pixel * self.filters);
                }
            }
        }
    }

    /// The rows of the output that are made at once, two unless one is left over.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let height = self.window.out_height;
        (0..height)
            .step_by(2)
            .map(move |y| (y, (height - y).min(2)))
    }
}

impl Direct {
    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(
        window: Window,
        filters: usize,
        finish: Finish,
        rows: usize,
        threads: usize,
    ) -> Self {
        let shape = ConvShape::new(window, filters, finish);
        Self {
            shape,
            filters: Buffer::zeros(shape.values() * shape.units),
            filters_across: Buffer::zeros(window.size * filters * shape.line),
            sums: Buffer::zeros(shape.sums()),
            slices: Slices::new(rows, threads, || DirectScratch::new(&shape)),
        }
    }

    /// Convolves all images of `input` and finishes them.
    ///
    /// `winners` has a byte for each value of `output` if the finish pools.
    pub(crate) fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        winners: &mut [u8],
        team: &Team,
    ) {
        let shape = self.shape;
        let (weights, bias) = weights.split_at(weights.len() - shape.filters);
        shape.each_value(|from, to| {
            let from = &weights[from..from + shape.filters];
            self.filters[to..to + shape.filters].copy_from_slice(from);
        });
        let filters = &self.filters;
        let size = shape.output_values();
        let winners = winners.chunks_mut(SLICE * size);
        let parts = input
            .chunks(SLICE * shape.image_values())
            .zip(output.chunks_mut(SLICE * size))
            .zip(winners.chain(std::iter::repeat_with(Default::default)));
        self.slices
            .each(team, parts, |scratch, ((input, output), winners)| {
                let images = input.chunks_exact(shape.image_values());
                let winners = winners.chunks_exact_mut(size);
                let outputs = output
                    .chunks_exact_mut(size)
                    .zip(winners.chain(std::iter::repeat_with(Default::default)));
                for (image, (output, winners)) in images.zip(outputs) {
                    pad(&shape, image, &mut scratch.padded);
                    dispatch(Forward {
                        shape: &shape,
                        filters,
                        bias,
                        output,
                        winners,
                        scratch,
                    });
                }
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
        let shape = self.shape;
        let filters_across = if input_gradient.is_some() {
            self.turn_filters(weights);
            Some(&*self.filters_across)
        } else {
            None
        };
        let (size, images) = (shape.output_values(), shape.image_values());
        let input_gradients = input_gradient
            .map(|gradient| gradient.chunks_mut(SLICE * images))
            .into_iter()
            .flatten()
            .chain(std::iter::repeat_with(Default::default));
        let parts = flow.slices(SLICE * images, SLICE * size);
        self.slices.sum(
            team,
            parts.zip(input_gradients),
            &mut self.sums,
            |scratch, (flow, input_gradient)| {
                let targets = input_gradient.chunks_exact_mut(images);
                let targets = targets.chain(std::iter::repeat_with(Default::default));
                for (flow, target) in flow.slices(images, size).zip(targets) {
                    pad(&shape, flow.input, &mut scratch.padded);
                    scratch.padded_gradient.fill(0.0);
                    dispatch(Backward {
                        shape: &shape,
                        filters_across,
                        flow,
                        scratch,
                    });
                    crop(&shape, &scratch.padded_gradient, target);
                }
            },
        );
        let (gradients, bias) = gradients.split_at_mut(gradients.len() - shape.filters);
        gradients.fill(0.0);
        shape.each_value(|to, from| {
            let to = &mut gradients[to..to + shape.filters];
            for (gradient, sum) in to.iter_mut().zip(&self.sums[from..]) {
                *gradient += sum;
            }
        });
        let biases = &self.sums[shape.values() * shape.units..];
        bias.copy_from_slice(&biases[..shape.filters]);
    }

    /// Exchanges filters and values in each row of the window.
    fn turn_filters(&mut self, weights: &[f32]) {
        let ConvShape {
            window,
            filters,
            line,
            ..
        } = self.shape;
        let values = window.size * window.channels;
        for row in 0..window.size {
            for value in 0..values {
                let from = &weights[(row * values + value) * filters..][..filters];
                for (filter, weight) in from.iter().enumerate() {
                    self.filters_across[(row * filters + filter) * line + value] =
                        *weight;
                }
            }
        }
    }
}

/// Copies an image into its border of zeros.
fn pad(shape: &ConvShape, image: &[f32], padded: &mut [f32]) {
    let window = &shape.window;
    let line = window.in_width * window.channels;
    let rows = padded.chunks_exact_mut(shape.padded_row());
    let rows = rows.skip(window.pad_top);
    for (to, from) in rows.zip(image.chunks_exact(line)) {
        to[window.pad_left * window.channels..][..line].copy_from_slice(from);
    }
}

/// The inverse of [`pad`].
fn crop(shape: &ConvShape, padded: &[f32], image: &mut [f32]) {
    let window = &shape.window;
    let line = window.in_width * window.channels;
    let rows = padded.chunks_exact(shape.padded_row()).skip(window.pad_top);
    for (to, from) in image.chunks_exact_mut(line).zip(rows) {
        to.copy_from_slice(&from[window.pad_left * window.channels..][..line]);
    }
}
