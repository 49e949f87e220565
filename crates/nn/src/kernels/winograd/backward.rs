//! The backward pass of Winograd's convolution over a few images.
#![expect(
    unsafe_code,
    reason = "tiles are read and written through raw pointers"
)]

use std::marker::PhantomData;

use super::forward::transform_image;
use super::tile::{LARGEST, OUTPUTS, Tile, across};
use super::{Flow, TileShape, WinogradScratch};
use crate::kernels::finish::{Finish, through_relu, unpool};
use crate::kernels::product::{Product, load_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// The gradient of the outputs in; that of images, transformed filters and bias out.
pub(super) struct Backward<'a, T> {
    shape: TileShape,
    filters_across: &'a [f32],
    flow: Flow<'a>,
    input_gradient: Option<&'a mut [f32]>,
    scratch: &'a mut WinogradScratch,
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Backward<'a, T> {
    pub(super) fn new(
        shape: TileShape,
        filters_across: &'a [f32],
        flow: Flow<'a>,
        input_gradient: Option<&'a mut [f32]>,
        scratch: &'a mut WinogradScratch,
    ) -> Self {
        let images = flow.input.len() / shape.image_values();
        assert_eq!(
            filters_across.len(),
            shape.frequencies * shape.filter_stride()
        );
        assert_eq!(flow.input.len(), images * shape.image_values());
        assert_eq!(flow.output.len(), images * shape.output_values());
        assert_eq!(flow.output_gradient.len(), flow.output.len());
        if shape.finish == Finish::ReluPool {
            assert_eq!(flow.winners.len(), flow.output.len());
        }
        if let Some(gradient) = &input_gradient {
            assert_eq!(gradient.len(), flow.input.len());
        }
        scratch.check(&shape);
        Self {
            shape,
            filters_across,
            flow,
            input_gradient,
            scratch,
            tile: PhantomData,
        }
    }
}

impl<T: Tile> Kernel for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let shape = self.shape;
        let size = shape.image_values();
        let images = self.flow.input.len() / size;
        for start in (0..images).step_by(shape.block) {
            let count = shape.block.min(images - start);
            for index in 0..count {
                let image = &self.flow.input[(start + index) * size..][..size];
                transform_image::<S, T>(simd, &shape, image, index, self.scratch);
                self.transform_gradient(simd, start + index, index);
            }
            for frequency in 0..shape.frequencies {
                self.multiply(simd, frequency, count * shape.tiles());
            }
            if let Some(gradient) = self.input_gradient.as_deref_mut() {
                for index in 0..count {
                    let to = &mut gradient[(start + index) * size..][..size];
                    gather_gradient::<S, T>(simd, &shape, index, self.scratch, to);
                }
            }
        }
    }
}

impl<T: Tile> Backward<'_, T> {
    /// Both products of one frequency.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, frequency: usize, rows: usize) {
        let shape = self.shape;
        let inputs = self.scratch.inputs[frequency * shape.input_stride()..].as_mut_ptr();
        let outputs = self.scratch.outputs[frequency * shape.output_stride()..].as_ptr();
        let filter = frequency * shape.filter_stride();
        let filters = Product {
            rows: shape.window.channels,
            columns: shape.filters.next_multiple_of(S::LANES),
            segments: 1,
            length: rows,
            a: inputs,
            a_row: 1,
            a_step: shape.channels,
            a_segment: 0,
            b: outputs,
            b_row: shape.units,
            c: self.scratch.sums[filter..].as_mut_ptr(),
            c_row: shape.units,
            add: true,
        };
        // SAFETY: `Backward::new` checked that each frequency has room for a block of
        // tiles by channels or filters, and for channels by filters, all whole vectors.
        unsafe { simd.product(&filters) };
        if self.input_gradient.is_none() {
            return;
        }
        // The transformed image is not needed any more: its gradient takes its place.
        let images = Product {
            rows,
            columns: shape.window.channels.next_multiple_of(S::LANES),
            segments: 1,
            length: shape.filters,
            a: outputs,
            a_row: shape.units,
            a_step: 1,
            a_segment: 0,
            b: self.filters_across[filter..].as_ptr(),
            b_row: shape.channels,
            c: inputs,
            c_row: shape.channels,
            add: false,
        };
        // SAFETY: as above.
        unsafe { simd.product(&images) };
    }

    /// `A dy A'` of all tiles of an image.
    #[inline(always)]
    fn transform_gradient<S: Simd>(&mut self, simd: S, image: usize, index: usize) {
        let shape = self.shape;
        let size = shape.output_values();
        let place = image * size..(image + 1) * size;
        let from = Gradients {
            shape: &shape,
            output: &self.flow.output[place.clone()],
            gradient: &self.flow.output_gradient[place.clone()],
            winners: match shape.finish {
                Finish::ReluPool => &self.flow.winners[place],
                _ => &[],
            },
        };
        for filter in (0..shape.filters).step_by(S::LANES) {
            let count = (shape.filters - filter).min(S::LANES);
            let mut bias = simd.splat(0.0);
            for tile in 0..shape.tiles() {
                let (y, x) = (tile / shape.tiles_x, tile % shape.tiles_x);
                let (values, sum) =
                    from.tile(simd, [y * OUTPUTS, x * OUTPUTS], [filter, count]);
                bias = simd.add(bias, sum);
                let mut half = [[simd.splat(0.0); OUTPUTS]; LARGEST];
                for x in 0..OUTPUTS {
                    let column = [values[0][x], values[1][x], values[2][x], values[3][x]];
                    let column = T::output_gradient(simd, column);
                    for (half, value) in half.iter_mut().zip(column) {
                        half[x] = value;
                    }
                }
                let to = (index * shape.tiles() + tile) * shape.units + filter;
                for (y, half) in half.iter().enumerate().take(T::SIZE) {
                    let values = T::output_gradient(simd, *half);
                    for (x, value) in values.iter().enumerate().take(T::SIZE) {
                        let at = (y * T::SIZE + x) * shape.output_stride() + to;
                        // SAFETY: `Backward::new` checked the room for all frequencies.
                        unsafe {
                            let to = self.scratch.outputs.as_mut_ptr().add(at);
                            simd.store(to, *value);
                        }
                    }
                }
            }
            let at = shape.frequencies * shape.filter_stride() + filter;
            // SAFETY: the biases follow the filters and are filled up to whole vectors.
            unsafe {
                let total = self.scratch.sums.as_mut_ptr().add(at);
                simd.store(total, simd.add(simd.load(total), bias));
            }
        }
    }
}

/// The gradient of the outputs of one image.
struct Gradients<'a> {
    shape: &'a TileShape,
    output: &'a [f32],
    gradient: &'a [f32],
    winners: &'a [u8],
}

impl Gradients<'_> {
    /// The gradient of the sums of a tile, which is zero outside of the image, and its
    /// total.
    #[inline(always)]
    fn tile<S: Simd>(
        &self,
        simd: S,
        [y, x]: [usize; 2],
        [filter, count]: [usize; 2],
    ) -> ([[S::Vector; OUTPUTS]; OUTPUTS], S::Vector) {
        let TileShape {
            window,
            filters,
            finish,
            ..
        } = *self.shape;
        let mut total = simd.splat(0.0);
        let mut values = [[total; OUTPUTS]; OUTPUTS];
        if finish == Finish::ReluPool {
            let (height, width) = (window.out_height / 2, window.out_width / 2);
            for row in 0..OUTPUTS / 2 {
                for column in 0..OUTPUTS / 2 {
                    let (y, x) = (y / 2 + row, x / 2 + column);
                    if y >= height || x >= width {
                        continue;
                    }
                    let at = (y * width + x) * filters + filter;
                    // SAFETY: the position lies in the image, which has `filters` values
                    // and winners for each.
                    let (output, gradient, winner) = unsafe {
                        (
                            load_up_to(simd, self.output.as_ptr().add(at), count),
                            load_up_to(simd, self.gradient.as_ptr().add(at), count),
                            simd.load_bytes(self.winners.as_ptr().add(at), count),
                        )
                    };
                    let gradient = through_relu(simd, output, gradient);
                    total = simd.add(total, gradient);
                    let [a, b, c, d] = unpool(simd, gradient, winner);
                    let (left, right) = (2 * column, 2 * column + 1);
                    (values[2 * row][left], values[2 * row][right]) = (a, b);
                    (values[2 * row + 1][left], values[2 * row + 1][right]) = (c, d);
                }
            }
            return (values, total);
        }
        for (row, values) in values.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                let (y, x) = (y + row, x + column);
                if y >= window.out_height || x >= window.out_width {
                    continue;
                }
                let at = (y * window.out_width + x) * filters + filter;
                // SAFETY: the position lies in the image, which has `filters` values for
                // each.
                unsafe {
                    *value = load_up_to(simd, self.gradient.as_ptr().add(at), count);
                    if finish == Finish::Relu {
                        let output =
                            load_up_to(simd, self.output.as_ptr().add(at), count);
                        *value = through_relu(simd, output, *value);
                    }
                }
                total = simd.add(total, *value);
            }
        }
        (values, total)
    }
}

/// Adds up the overlapping tiles of an image's gradient: `B dx B'`.
#[inline(always)]
fn gather_gradient<S: Simd, T: Tile>(
    simd: S,
    shape: &TileShape,
    index: usize,
    scratch: &mut WinogradScratch,
    image: &mut [f32],
) {
    let (window, channels) = (&shape.window, shape.channels);
    let row = shape.padded_width * channels;
    scratch.padded_gradient.fill(0.0);
    for tile in 0..shape.tiles() {
        let (y, x) = (tile / shape.tiles_x, tile % shape.tiles_x);
        let to = (y * row + x * channels) * OUTPUTS;
        let from = (index * shape.tiles() + tile) * channels;
        for channel in (0..window.channels).step_by(S::LANES) {
            // SAFETY: `WinogradScratch::check` saw that the border makes room for whole tiles and
            // the block for all tiles of this image, with channels filled up to vectors.
            unsafe {
                let from = scratch.inputs.as_ptr().add(from + channel);
                let to = scratch.padded_gradient.as_mut_ptr().add(to + channel);
                let stride = shape.input_stride();
                add_input_gradient::<S, T>(simd, from, stride, to, [row, channels]);
            }
        }
    }
    let line = window.in_width * window.channels;
    let height = window.in_height.min(shape.padded_height - window.pad_top);
    let width = window.in_width.min(shape.padded_width - window.pad_left);
    for (y, to) in image.chunks_exact_mut(line).enumerate() {
        if y >= height {
            to.fill(0.0);
            continue;
        }
        let start = (y + window.pad_top) * row + window.pad_left * channels;
        let from = &scratch.padded_gradient[start..start + width * channels];
        let pixels = from.chunks_exact(channels);
        to[width * window.channels..].fill(0.0);
        for (to, from) in to.chunks_exact_mut(window.channels).zip(pixels) {
            to.copy_from_slice(&from[..window.channels]);
        }
    }
}

/// Adds `B dx B'` of one tile and one vector of channels.
///
/// # Safety
///
/// All frequencies must be readable at `from`, and a tile writable at `to`.
#[inline(always)]
unsafe fn add_input_gradient<S: Simd, T: Tile>(
    simd: S,
    from: *const f32,
    stride: usize,
    to: *mut f32,
    [row, pixel]: [usize; 2],
) {
    let mut columns = [[simd.splat(0.0); LARGEST]; LARGEST];
    for (x, column) in columns.iter_mut().enumerate().take(T::SIZE) {
        let mut values = [simd.splat(0.0); LARGEST];
        for (y, value) in values.iter_mut().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            *value = unsafe { simd.load(from.add((y * T::SIZE + x) * stride)) };
        }
        *column = T::input_gradient(simd, values);
    }
    for y in 0..T::SIZE {
        let values = T::input_gradient(simd, across(simd, &columns, y));
        for (x, value) in values.iter().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            unsafe {
                let to = to.add(y * row + x * pixel);
                simd.store(to, simd.add(simd.load(to), *value));
            }
        }
    }
}
