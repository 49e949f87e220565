//! The forward pass of Winograd's convolution over a few images.
#![expect(
    unsafe_code,
    reason = "tiles are read and written through raw pointers"
)]

use std::marker::PhantomData;

use super::tile::{LARGEST, OUTPUTS, Tile, across};
use super::{TileShape, WinogradScratch};
use crate::kernels::finish::{Finish, pool};
use crate::kernels::product::{Product, load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// Images in, finished outputs out.
pub(super) struct Forward<'a, T> {
    shape: TileShape,
    filters: &'a [f32],
    bias: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
    winners: &'a mut [u8],
    scratch: &'a mut WinogradScratch,
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Forward<'a, T> {
    pub(super) fn new(
        shape: TileShape,
        [filters, bias]: [&'a [f32]; 2],
        input: &'a [f32],
        (output, winners): (&'a mut [f32], &'a mut [u8]),
        scratch: &'a mut WinogradScratch,
    ) -> Self {
        let images = input.len() / shape.image_values();
        assert_eq!(filters.len(), shape.frequencies * shape.filter_stride());
        assert_eq!(bias.len(), shape.filters);
        assert_eq!(input.len(), images * shape.image_values());
        assert_eq!(output.len(), images * shape.output_values());
        if shape.finish == Finish::ReluPool {
            assert_eq!(winners.len(), output.len());
        }
        scratch.check(&shape);
        Self {
            shape,
            filters,
            bias,
            input,
            output,
            winners,
            scratch,
            tile: PhantomData,
        }
    }
}

impl<T: Tile> Kernel for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let shape = self.shape;
        let (tiles, window) = (shape.tiles(), shape.window);
        let blocks = self.input.chunks(shape.block * shape.image_values());
        for (block, images) in blocks.enumerate() {
            let count = images.len() / shape.image_values();
            for (index, image) in images.chunks_exact(shape.image_values()).enumerate() {
                transform_image::<S, T>(simd, &shape, image, index, self.scratch);
            }
            for frequency in 0..shape.frequencies {
                let product = Product {
                    rows: count * tiles,
                    columns: shape.filters.next_multiple_of(S::LANES),
                    segments: 1,
                    length: window.channels,
                    a: self.scratch.inputs[frequency * shape.input_stride()..].as_ptr(),
                    a_row: shape.channels,
                    a_step: 1,
                    a_segment: 0,
                    b: self.filters[frequency * shape.filter_stride()..].as_ptr(),
                    b_row: shape.units,
                    c: self.scratch.outputs[frequency * shape.output_stride()..]
                        .as_mut_ptr(),
                    c_row: shape.units,
                    add: false,
                };
                // SAFETY: `Forward::new` checked that each frequency has room for a
                // block of tiles by channels or filters, both whole vectors.
                unsafe { simd.product(&product) };
            }
            for index in 0..count {
                let place = (block * shape.block + index) * shape.output_values();
                let to = Outputs {
                    shape: &shape,
                    bias: self.bias,
                    values: &mut self.output[place..place + shape.output_values()],
                    winners: match shape.finish {
                        Finish::ReluPool => {
                            &mut self.winners[place..place + shape.output_values()]
                        }
                        _ => &mut [],
                    },
                };
                let first = index * tiles * shape.units;
                // SAFETY: `Forward::new` checked the room for a block.
                let from = unsafe { self.scratch.outputs.as_ptr().add(first) };
                to.fill::<S, T>(simd, from);
            }
        }
    }
}

/// Copies an image into its border of zeros and transforms its tiles.
#[inline(always)]
pub(super) fn transform_image<S: Simd, T: Tile>(
    simd: S,
    shape: &TileShape,
    image: &[f32],
    index: usize,
    scratch: &mut WinogradScratch,
) {
    let (window, channels) = (&shape.window, shape.channels);
    let row = shape.padded_width * channels;
    let line = window.in_width * window.channels;
    // What lies under no window is left out.
    let height = window.in_height.min(shape.padded_height - window.pad_top);
    let width = window.in_width.min(shape.padded_width - window.pad_left);
    for (y, from) in image.chunks_exact(line).enumerate().take(height) {
        let start = (y + window.pad_top) * row + window.pad_left * channels;
        let to = &mut scratch.padded[start..start + width * channels];
        if channels == window.channels {
            to.copy_from_slice(&from[..width * channels]);
            continue;
        }
        let pixels = from.chunks_exact(window.channels);
        for (to, from) in to.chunks_exact_mut(channels).zip(pixels) {
            to[..window.channels].copy_from_slice(from);
        }
    }
    for tile in 0..shape.tiles() {
        let (y, x) = (tile / shape.tiles_x, tile % shape.tiles_x);
        let from = (y * row + x * channels) * OUTPUTS;
        let to = (index * shape.tiles() + tile) * channels;
        for channel in (0..window.channels).step_by(S::LANES) {
            // SAFETY: `WinogradScratch::check` saw that the border makes room for whole tiles and
            // the block for all tiles of this image, with channels filled up to vectors.
            unsafe {
                let from = scratch.padded.as_ptr().add(from + channel);
                let to = scratch.inputs.as_mut_ptr().add(to + channel);
                let stride = shape.input_stride();
                transform_input::<S, T>(simd, from, [row, channels], to, stride);
            }
        }
    }
}

/// `B' x B` of one tile and one vector of channels.
///
/// # Safety
///
/// A tile must be readable at `from`, and all frequencies writable at `to`.
#[inline(always)]
unsafe fn transform_input<S: Simd, T: Tile>(
    simd: S,
    from: *const f32,
    [row, pixel]: [usize; 2],
    to: *mut f32,
    stride: usize,
) {
    let mut columns = [[simd.splat(0.0); LARGEST]; LARGEST];
    for (x, column) in columns.iter_mut().enumerate().take(T::SIZE) {
        let mut values = [simd.splat(0.0); LARGEST];
        for (y, value) in values.iter_mut().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            *value = unsafe { simd.load(from.add(y * row + x * pixel)) };
        }
        *column = T::input(simd, values);
    }
    for y in 0..T::SIZE {
        let values = T::input(simd, across(simd, &columns, y));
        for (x, value) in values.iter().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            unsafe { simd.store(to.add((y * T::SIZE + x) * stride), *value) };
        }
    }
}

/// Where the outputs of one image go.
struct Outputs<'a> {
    shape: &'a TileShape,
    bias: &'a [f32],
    values: &'a mut [f32],
    winners: &'a mut [u8],
}

impl Outputs<'_> {
    /// Finishes all tiles of the image whose transformed outputs are at `from`.
    #[inline(always)]
    fn fill<S: Simd, T: Tile>(mut self, simd: S, from: *const f32) {
        let shape = *self.shape;
        let stride = shape.output_stride();
        for filter in (0..shape.filters).step_by(S::LANES) {
            let count = (shape.filters - filter).min(S::LANES);
            // SAFETY: there is a bias for each filter.
            let bias = unsafe { load_up_to(simd, self.bias.as_ptr().add(filter), count) };
            for tile in 0..shape.tiles() {
                let (y, x) = (tile / shape.tiles_x, tile % shape.tiles_x);
                let mut half = [[simd.splat(0.0); LARGEST]; OUTPUTS];
                for x in 0..T::SIZE {
                    let mut values = [simd.splat(0.0); LARGEST];
                    for (y, value) in values.iter_mut().enumerate().take(T::SIZE) {
                        let at = (y * T::SIZE + x) * stride + tile * shape.units + filter;
                        // SAFETY: `Forward::new` checked the room for all frequencies.
                        *value = unsafe { simd.load(from.add(at)) };
                    }
                    let values = T::output(simd, values);
                    for (half, value) in half.iter_mut().zip(values) {
                        half[x] = value;
                    }
                }
                let mut values = [[bias; OUTPUTS]; OUTPUTS];
                for (values, half) in values.iter_mut().zip(half) {
                    for (value, sum) in values.iter_mut().zip(T::output(simd, half)) {
                        *value = simd.add(*value, sum);
                    }
                }
                self.finish(simd, values, [y * OUTPUTS, x * OUTPUTS], [filter, count]);
            }
        }
    }

    /// Writes the part of a tile at `y` and `x` that lies in the image.
    #[inline(always)]
    fn finish<S: Simd>(
        &mut self,
        simd: S,
        values: [[S::Vector; OUTPUTS]; OUTPUTS],
        [y, x]: [usize; 2],
        [filter, count]: [usize; 2],
    ) {
        let TileShape {
            window,
            filters,
            finish,
            ..
        } = *self.shape;
        if finish == Finish::ReluPool {
            let (height, width) = (window.out_height / 2, window.out_width / 2);
            for row in 0..OUTPUTS / 2 {
                for column in 0..OUTPUTS / 2 {
                    let (y, x) = (y / 2 + row, x / 2 + column);
                    if y >= height || x >= width {
                        continue;
                    }
                    let (top, bottom) = (values[2 * row], values[2 * row + 1]);
                    let (left, right) = (2 * column, 2 * column + 1);
                    let square = [top[left], top[right], bottom[left], bottom[right]];
                    let (best, winner) = pool(simd, square);
                    let at = (y * width + x) * filters + filter;
                    // SAFETY: the position lies in the image, which has `filters` values
                    // and winners for each.
                    unsafe {
                        store_up_to(simd, self.values.as_mut_ptr().add(at), best, count);
                        let winners = self.winners.as_mut_ptr().add(at);
                        simd.store_bytes(winners, winner, count);
                    }
                }
            }
            return;
        }
        for (row, values) in values.into_iter().enumerate() {
            for (column, mut value) in values.into_iter().enumerate() {
                let (y, x) = (y + row, x + column);
                if y >= window.out_height || x >= window.out_width {
                    continue;
                }
                if finish == Finish::Relu {
                    value = simd.relu(value);
                }
                let at = (y * window.out_width + x) * filters + filter;
                // SAFETY: the position lies in the image, which has `filters` values for
                // each.
                unsafe {
                    store_up_to(simd, self.values.as_mut_ptr().add(at), value, count);
                }
            }
        }
    }
}
