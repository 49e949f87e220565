//! The passes of Winograd's convolution over a mini-batch.
#![expect(
    unsafe_code,
    reason = "tiles are read and written through raw pointers"
)]

use std::marker::PhantomData;

use super::tile::{LARGEST, OUTPUTS, TAPS, Tile};
use super::{Flow, Scratch, Shape};
use crate::kernels::finish::{Finish, pool, through_relu, unpool};
use crate::kernels::product::{Product, load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// Transforms filters from `[tap][tap][channel][filter]` to `[frequency][channel][filter]`.
pub(super) struct Filters<'a, T> {
    shape: Shape,
    weights: &'a [f32],
    to: &'a mut [f32],
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Filters<'a, T> {
    pub(super) fn new(shape: Shape, weights: &'a [f32], to: &'a mut [f32]) -> Self {
        let values = shape.window.values() * shape.filters;
        assert_eq!(weights.len(), values, "filters need all their weights");
        assert_eq!(to.len(), T::SIZE * T::SIZE * shape.filter_stride());
        Self {
            shape,
            weights,
            to,
            tile: PhantomData,
        }
    }
}

impl<T: Tile> Kernel for Filters<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Shape {
            window, filters, ..
        } = self.shape;
        let tap = window.channels * filters;
        for channel in 0..window.channels {
            for filter in (0..filters).step_by(S::LANES) {
                let count = filters - filter;
                let mut half = [[simd.splat(0.0); TAPS]; LARGEST];
                for x in 0..T::FILTER {
                    let mut taps = [simd.splat(0.0); TAPS];
                    for (y, value) in taps.iter_mut().enumerate().take(T::FILTER) {
                        let at = (y * T::FILTER + x) * tap + channel * filters + filter;
                        // SAFETY: `new` checked that all taps have all channels and
                        // filters, of which `count` are left in this channel.
                        *value = unsafe {
                            load_up_to(simd, self.weights.as_ptr().add(at), count)
                        };
                    }
                    for y in 0..T::SIZE {
                        half[y][x] = weigh(simd, &T::FILTERS[y], &taps, T::FILTER);
                    }
                }
                for (y, half) in half.iter().enumerate().take(T::SIZE) {
                    for x in 0..T::SIZE {
                        let value = weigh(simd, &T::FILTERS[x], half, T::FILTER);
                        let at = (y * T::SIZE + x) * self.shape.filter_stride()
                            + channel * self.shape.units
                            + filter;
                        // SAFETY: `new` checked the size; filters are filled up to whole
                        // vectors.
                        unsafe { simd.store(self.to.as_mut_ptr().add(at), value) };
                    }
                }
            }
        }
    }
}

/// The sum of the first `count` values, each with its weight.
#[inline(always)]
fn weigh<S: Simd>(
    simd: S,
    weights: &[f32; TAPS],
    values: &[S::Vector; TAPS],
    count: usize,
) -> S::Vector {
    let mut sum = simd.splat(0.0);
    for (weight, value) in weights.iter().zip(values).take(count) {
        sum = simd.fma(simd.splat(*weight), *value, sum);
    }
    sum
}

/// Brings the gradient of the transformed filters back to the filters.
pub(super) struct FilterGradient<'a, T> {
    shape: Shape,
    from: &'a [f32],
    gradients: &'a mut [f32],
    tile: PhantomData<T>,
}

impl<'a, T: Tile> FilterGradient<'a, T> {
    pub(super) fn new(shape: Shape, from: &'a [f32], gradients: &'a mut [f32]) -> Self {
        let values = shape.window.values() * shape.filters;
        assert_eq!(gradients.len(), values, "filters need all their gradients");
        assert_eq!(from.len(), T::SIZE * T::SIZE * shape.filter_stride());
        Self {
            shape,
            from,
            gradients,
            tile: PhantomData,
        }
    }
}

impl<T: Tile> Kernel for FilterGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Shape {
            window, filters, ..
        } = self.shape;
        let tap = window.channels * filters;
        for channel in 0..window.channels {
            for filter in (0..filters).step_by(S::LANES) {
                let count = filters - filter;
                let mut half = [[simd.splat(0.0); LARGEST]; TAPS];
                for x in 0..T::SIZE {
                    let mut sums = [simd.splat(0.0); TAPS];
                    for y in 0..T::SIZE {
                        let at = (y * T::SIZE + x) * self.shape.filter_stride()
                            + channel * self.shape.units
                            + filter;
                        // SAFETY: `new` checked the size; filters are filled up to whole
                        // vectors.
                        let value = unsafe { simd.load(self.from.as_ptr().add(at)) };
                        for (weight, sum) in T::FILTERS[y].iter().zip(&mut sums) {
                            *sum = simd.fma(simd.splat(*weight), value, *sum);
                        }
                    }
                    for (half, sum) in half.iter_mut().zip(sums) {
                        half[x] = sum;
                    }
                }
                for (y, half) in half.iter().enumerate().take(T::FILTER) {
                    let mut sums = [simd.splat(0.0); TAPS];
                    for (weights, value) in T::FILTERS.iter().zip(half).take(T::SIZE) {
                        for (weight, sum) in weights.iter().zip(&mut sums) {
                            *sum = simd.fma(simd.splat(*weight), *value, *sum);
                        }
                    }
                    for (x, sum) in sums.iter().enumerate().take(T::FILTER) {
                        let at = (y * T::FILTER + x) * tap + channel * filters + filter;
                        // SAFETY: `new` checked that all taps have all channels and
                        // filters, of which `count` are left in this channel.
                        unsafe {
                            let to = self.gradients.as_mut_ptr().add(at);
                            store_up_to(simd, to, *sum, count);
                        }
                    }
                }
            }
        }
    }
}

/// Exchanges channels and filters of transformed filters.
pub(super) struct Across<'a> {
    pub(super) shape: Shape,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl Kernel for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Shape {
            channels, units, ..
        } = self.shape;
        let stride = self.shape.filter_stride();
        assert_eq!(self.from.len(), self.shape.frequencies * stride);
        assert_eq!(self.to.len(), self.from.len());
        for frequency in 0..self.shape.frequencies {
            for channel in (0..channels).step_by(S::LANES) {
                for unit in (0..units).step_by(S::LANES) {
                    // SAFETY: both were checked to hold all frequencies, whose sides are
                    // multiples of a vector.
                    unsafe {
                        let from = self.from.as_ptr().add(frequency * stride);
                        let to = self.to.as_mut_ptr().add(frequency * stride);
                        simd.transpose(
                            from.add(channel * units + unit),
                            units,
                            to.add(unit * channels + channel),
                            channels,
                        );
                    }
                }
            }
        }
    }
}

/// Images in, finished outputs out.
pub(super) struct Forward<'a, T> {
    shape: Shape,
    filters: &'a [f32],
    bias: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
    winners: &'a mut [u8],
    scratch: &'a mut Scratch,
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Forward<'a, T> {
    pub(super) fn new(
        shape: Shape,
        [filters, bias]: [&'a [f32]; 2],
        input: &'a [f32],
        [output]: [&'a mut [f32]; 1],
        winners: &'a mut [u8],
        scratch: &'a mut Scratch,
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

impl Scratch {
    fn check(&self, shape: &Shape) {
        let padded = shape.padded_height * shape.padded_width * shape.channels;
        assert_eq!(self.padded.len(), padded);
        assert_eq!(self.padded_gradient.len(), padded);
        let frequencies = shape.frequencies;
        assert_eq!(self.inputs.len(), frequencies * shape.input_stride());
        assert_eq!(self.outputs.len(), frequencies * shape.output_stride());
        let filters = frequencies * shape.filter_stride();
        assert_eq!(self.filter_gradient.len(), filters);
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
fn transform_image<S: Simd, T: Tile>(
    simd: S,
    shape: &Shape,
    image: &[f32],
    index: usize,
    scratch: &mut Scratch,
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
            // SAFETY: `Scratch::check` saw that the border makes room for whole tiles and
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
    let mut half = [[simd.splat(0.0); LARGEST]; LARGEST];
    for x in 0..T::SIZE {
        let mut values = [simd.splat(0.0); LARGEST];
        for (y, value) in values.iter_mut().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            *value = unsafe { simd.load(from.add(y * row + x * pixel)) };
        }
        let values = T::input(simd, values);
        for y in 0..T::SIZE {
            half[y][x] = values[y];
        }
    }
    for (y, half) in half.iter().enumerate().take(T::SIZE) {
        let values = T::input(simd, *half);
        for (x, value) in values.iter().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            unsafe { simd.store(to.add((y * T::SIZE + x) * stride), *value) };
        }
    }
}

/// Where the outputs of one image go.
struct Outputs<'a> {
    shape: &'a Shape,
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
        let Shape {
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

/// The gradient of the outputs in; that of images, transformed filters and bias out.
pub(super) struct Backward<'a, T> {
    shape: Shape,
    filters_across: &'a [f32],
    flow: Flow<'a>,
    input_gradient: Option<&'a mut [f32]>,
    bias_gradient: &'a mut [f32],
    scratch: &'a mut Scratch,
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Backward<'a, T> {
    pub(super) fn new(
        shape: Shape,
        filters_across: &'a [f32],
        flow: Flow<'a>,
        input_gradient: Option<&'a mut [f32]>,
        bias_gradient: &'a mut [f32],
        scratch: &'a mut Scratch,
    ) -> Self {
        let images = flow.input.len() / shape.image_values();
        assert_eq!(
            filters_across.len(),
            shape.frequencies * shape.filter_stride()
        );
        assert_eq!(bias_gradient.len(), shape.filters);
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
            bias_gradient,
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
            c: self.scratch.filter_gradient[filter..].as_mut_ptr(),
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
            // SAFETY: there is a bias for each filter.
            unsafe {
                let total = self.bias_gradient.as_mut_ptr().add(filter);
                let sum = simd.add(load_up_to(simd, total, count), bias);
                store_up_to(simd, total, sum, count);
            }
        }
    }
}

/// The gradient of the outputs of one image.
struct Gradients<'a> {
    shape: &'a Shape,
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
        let Shape {
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
    shape: &Shape,
    index: usize,
    scratch: &mut Scratch,
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
            // SAFETY: `Scratch::check` saw that the border makes room for whole tiles and
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
    let mut half = [[simd.splat(0.0); LARGEST]; LARGEST];
    for x in 0..T::SIZE {
        let mut values = [simd.splat(0.0); LARGEST];
        for (y, value) in values.iter_mut().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            *value = unsafe { simd.load(from.add((y * T::SIZE + x) * stride)) };
        }
        let values = T::input_gradient(simd, values);
        for y in 0..T::SIZE {
            half[y][x] = values[y];
        }
    }
    for (y, half) in half.iter().enumerate().take(T::SIZE) {
        let values = T::input_gradient(simd, *half);
        for (x, value) in values.iter().enumerate().take(T::SIZE) {
            // SAFETY: the caller's promise.
            unsafe {
                let to = to.add(y * row + x * pixel);
                simd.store(to, simd.add(simd.load(to), *value));
            }
        }
    }
}
