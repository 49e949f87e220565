//! Filters into the transformed form, and their gradient back.
#![expect(
    unsafe_code,
    reason = "tiles are read and written through raw pointers"
)]

use std::marker::PhantomData;

use super::TileShape;
use super::tile::{LARGEST, TAPS, Tile, across};
use crate::kernels::product::{load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// Transforms filters from `[tap][tap][channel][filter]` to `[frequency][channel][filter]`.
pub(super) struct Filters<'a, T> {
    shape: TileShape,
    weights: &'a [f32],
    to: &'a mut [f32],
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Filters<'a, T> {
    pub(super) fn new(shape: TileShape, weights: &'a [f32], to: &'a mut [f32]) -> Self {
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
        let TileShape {
            window, filters, ..
        } = self.shape;
        let tap = window.channels * filters;
        for channel in 0..window.channels {
            for filter in (0..filters).step_by(S::LANES) {
                let count = filters - filter;
                let mut columns = [[simd.splat(0.0); LARGEST]; TAPS];
                for (x, column) in columns.iter_mut().enumerate().take(T::FILTER) {
                    let mut taps = [simd.splat(0.0); TAPS];
                    for (y, value) in taps.iter_mut().enumerate().take(T::FILTER) {
                        let at = (y * T::FILTER + x) * tap + channel * filters + filter;
                        // SAFETY: `new` checked that all taps have all channels and
                        // filters, of which `count` are left in this channel.
                        *value = unsafe {
                            load_up_to(simd, self.weights.as_ptr().add(at), count)
                        };
                    }
                    for (sum, weights) in column.iter_mut().zip(&T::FILTERS) {
                        *sum = weigh(simd, weights, &taps, T::FILTER);
                    }
                }
                for y in 0..T::SIZE {
                    let row = across(simd, &columns, y);
                    for (x, weights) in T::FILTERS.iter().enumerate().take(T::SIZE) {
                        let value = weigh(simd, weights, &row, T::FILTER);
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
    shape: TileShape,
    from: &'a [f32],
    gradients: &'a mut [f32],
    tile: PhantomData<T>,
}

impl<'a, T: Tile> FilterGradient<'a, T> {
    pub(super) fn new(
        shape: TileShape,
        from: &'a [f32],
        gradients: &'a mut [f32],
    ) -> Self {
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
        let TileShape {
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
    pub(super) shape: TileShape,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl Kernel for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let TileShape {
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
