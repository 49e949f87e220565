//! Convolution of stride 1 by Winograd's method: a quarter to a sixth of the
//! multiplications, forward and in both gradients.
//!
//! Images are cut into tiles that overlap. Transformed tiles are multiplied frequency by
//! frequency (the word for one of the `SIZE * SIZE` products), which is a matrix product
//! of tiles by channels and channels by filters. A few images at a time go through all
//! stages, so that everything but the filters stays in the second-level cache.
//!
//! The gradients are the exact transposes of the forward pass. Both need the transformed
//! gradient of the output, which is therefore made once.

mod backward;
mod filters;
mod forward;
mod tile;

use self::backward::Backward;
use self::filters::{Across, FilterGradient, Filters};
use self::forward::Forward;
use self::tile::{Five, OUTPUTS, Three, Tile};
use super::level::dispatch;
use super::slices::{self, SLICE, Slices};
use super::{Buffer, Finish, Team, Window};

/// Channels are filled up to a multiple of this, whatever the level.
const LANES: usize = 16;

/// The numbers between two frequencies beyond what they hold. Without them all stores of
/// a tile would fall into the same few lines of the first-level cache.
const SKEW: usize = 16;

/// At least this many tiles are multiplied at once, if the images have them.
const TILES: usize = 32;

/// All sizes that the passes need.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileShape {
    pub(super) window: Window,
    pub(super) filters: usize,
    pub(super) finish: Finish,
    /// The tiles of an image in each direction.
    pub(super) tiles_y: usize,
    pub(super) tiles_x: usize,
    /// The images that go through all stages together.
    pub(super) block: usize,
    /// Channels and filters, filled up.
    pub(super) channels: usize,
    pub(super) units: usize,
    /// The row length of the image with its border, in pixels.
    pub(super) padded_width: usize,
    pub(super) padded_height: usize,
    pub(super) frequencies: usize,
}

impl TileShape {
    fn new(window: Window, filters: usize, finish: Finish) -> Self {
        let tiles_y = window.out_height.div_ceil(OUTPUTS);
        let tiles_x = window.out_width.div_ceil(OUTPUTS);
        let size = OUTPUTS + window.size - 1;
        Self {
            window,
            filters,
            finish,
            tiles_y,
            tiles_x,
            block: TILES.div_ceil(tiles_y * tiles_x),
            channels: window.channels.next_multiple_of(LANES),
            units: filters.next_multiple_of(LANES),
            padded_width: tiles_x * OUTPUTS + window.size - 1,
            padded_height: tiles_y * OUTPUTS + window.size - 1,
            frequencies: size * size,
        }
    }

    pub(super) fn tiles(&self) -> usize {
        self.tiles_y * self.tiles_x
    }

    pub(super) fn image_values(&self) -> usize {
        self.window.in_height * self.window.in_width * self.window.channels
    }

    pub(super) fn output_values(&self) -> usize {
        self.finish.positions(&self.window) * self.filters
    }

    /// From one frequency to the next, in transformed images.
    pub(super) fn input_stride(&self) -> usize {
        self.block * self.tiles() * self.channels + SKEW
    }

    /// From one frequency to the next, in transformed outputs.
    pub(super) fn output_stride(&self) -> usize {
        self.block * self.tiles() * self.units + SKEW
    }

    /// From one frequency to the next, in transformed filters.
    pub(super) fn filter_stride(&self) -> usize {
        self.channels * self.units + SKEW
    }

    /// The transformed filters and the bias.
    fn sums(&self) -> usize {
        self.frequencies * self.filter_stride() + self.units
    }
}

/// A convolution and the memory that it needs.
pub(crate) struct Winograd {
    shape: TileShape,
    /// The transformed filters, channel by filter.
    filters: Buffer,
    /// The same, filter by channel.
    filters_across: Buffer,
    /// The gradients of all images: those of the transformed filters, then the bias.
    sums: Buffer,
    slices: Slices<WinogradScratch>,
}

/// The memory of the images that are being worked on.
pub(super) struct WinogradScratch {
    /// An image with its border of zeros.
    pub(super) padded: Buffer,
    /// The gradient of such an image.
    pub(super) padded_gradient: Buffer,
    /// Tiles by channels, for each frequency; in the backward pass first the images, then
    /// their gradient.
    pub(super) inputs: Buffer,
    /// Tiles by filters, for each frequency.
    pub(super) outputs: Buffer,
    /// Channels by filters, for each frequency, then the bias.
    pub(super) sums: Buffer,
}

impl slices::Scratch for WinogradScratch {
    fn sums(&mut self) -> &mut Buffer {
        &mut self.sums
    }
}

impl WinogradScratch {
    fn new(shape: &TileShape) -> Self {
        let padded = shape.padded_height * shape.padded_width * shape.channels;
        Self {
            padded: Buffer::zeros(padded),
            padded_gradient: Buffer::zeros(padded),
            inputs: Buffer::zeros(shape.frequencies * shape.input_stride()),
            outputs: Buffer::zeros(shape.frequencies * shape.output_stride()),
            sums: Buffer::zeros(shape.sums()),
        }
    }

    /// Checks what the passes rely on.
    fn check(&self, shape: &TileShape) {
        let padded = shape.padded_height * shape.padded_width * shape.channels;
        assert_eq!(self.padded.len(), padded);
        assert_eq!(self.padded_gradient.len(), padded);
        let frequencies = shape.frequencies;
        assert_eq!(self.inputs.len(), frequencies * shape.input_stride());
        assert_eq!(self.outputs.len(), frequencies * shape.output_stride());
        assert_eq!(self.sums.len(), shape.sums());
    }
}

impl Winograd {
    /// Whether it can compute the convolution faster than by its definition.
    pub(crate) fn suits(window: &Window, filters: usize) -> bool {
        let size = window.size == 3 || window.size == 5;
        let positions = window.out_height >= OUTPUTS && window.out_width >= OUTPUTS;
        size && positions && window.stride == 1 && window.channels >= 4 && filters >= 8
    }

    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(
        window: Window,
        filters: usize,
        finish: Finish,
        rows: usize,
        threads: usize,
    ) -> Self {
        let shape = TileShape::new(window, filters, finish);
        let filters = shape.frequencies * shape.filter_stride();
        Self {
            shape,
            filters: Buffer::zeros(filters),
            filters_across: Buffer::zeros(filters),
            sums: Buffer::zeros(shape.sums()),
            slices: Slices::new(rows, threads, || WinogradScratch::new(&shape)),
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
        match self.shape.window.size {
            3 => self.forward_with::<Three>(weights, input, output, winners, team),
            _ => self.forward_with::<Five>(weights, input, output, winners, team),
        }
    }

    fn forward_with<T: Tile>(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        winners: &mut [u8],
        team: &Team,
    ) {
        let shape = self.shape;
        let (weights, bias) = weights.split_at(weights.len() - shape.filters);
        dispatch(Filters::<T>::new(shape, weights, &mut self.filters));
        let filters = &self.filters;
        let values = SLICE * shape.output_values();
        let winners = winners.chunks_mut(values);
        let parts = input
            .chunks(SLICE * shape.image_values())
            .zip(output.chunks_mut(values))
            .zip(winners.chain(std::iter::repeat_with(Default::default)));
        self.slices
            .each(team, parts, |scratch, ((input, output), winners)| {
                let filters = [filters, bias];
                let outputs = (output, winners);
                dispatch(Forward::<T>::new(shape, filters, input, outputs, scratch));
            });
    }

    /// Finds the gradients of weights and input; comes after the forward pass.
    pub(crate) fn backward(
        &mut self,
        gradients: &mut [f32],
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        team: &Team,
    ) {
        match self.shape.window.size {
            3 => self.backward_with::<Three>(gradients, flow, input_gradient, team),
            _ => self.backward_with::<Five>(gradients, flow, input_gradient, team),
        }
    }

    fn backward_with<T: Tile>(
        &mut self,
        gradients: &mut [f32],
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        team: &Team,
    ) {
        let shape = self.shape;
        if input_gradient.is_some() {
            dispatch(Across {
                shape,
                from: &self.filters,
                to: &mut self.filters_across,
            });
        }
        let filters_across = &self.filters_across;
        let images = SLICE * shape.image_values();
        let input_gradients = input_gradient
            .map(|gradient| gradient.chunks_mut(images))
            .into_iter()
            .flatten()
            .map(Some)
            .chain(std::iter::repeat_with(|| None));
        let parts = flow.slices(images, SLICE * shape.output_values());
        self.slices.sum(
            team,
            parts.zip(input_gradients),
            &mut self.sums,
            |scratch, (flow, input_gradient)| {
                dispatch(Backward::<T>::new(
                    shape,
                    filters_across,
                    flow,
                    input_gradient,
                    scratch,
                ));
            },
        );
        let (sums, bias_sums) = self
            .sums
            .split_at(shape.frequencies * shape.filter_stride());
        let (gradients, bias) = gradients.split_at_mut(gradients.len() - shape.filters);
        bias.copy_from_slice(&bias_sums[..shape.filters]);
        dispatch(FilterGradient::<T>::new(shape, sums, gradients));
    }
}

/// What the backward pass of a convolution reads.
#[derive(Clone, Copy)]
pub(crate) struct Flow<'a> {
    pub(crate) input: &'a [f32],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    /// Which value of its square each value of the output was, if they were pooled.
    pub(crate) winners: &'a [u8],
}

impl<'a> Flow<'a> {
    /// Cuts it into slices of as many values.
    pub(super) fn slices(
        self,
        input: usize,
        output: usize,
    ) -> impl Iterator<Item = Flow<'a>> {
        let winners = self.winners.chunks(output);
        self.input
            .chunks(input)
            .zip(self.output.chunks(output))
            .zip(self.output_gradient.chunks(output))
            .zip(winners.chain(std::iter::repeat_with(Default::default)))
            .map(|(((input, output), output_gradient), winners)| Flow {
                input,
                output,
                output_gradient,
                winners,
            })
    }
}
