//! The forward pass of batch normalisation over some images.
#![expect(
    unsafe_code,
    reason = "pixels are read and written through raw pointers"
)]

use super::{Channels, NormPixels, SUMS, Squares, total};
use crate::kernels::finish::{Finish, pool};
use crate::kernels::level::dispatch;
use crate::kernels::product::{load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// The mean of each channel over `rows`, and the sum of the squared distances from it.
pub(crate) fn measure(
    rows: &[f32],
    channels: usize,
    means: &mut [f32],
    squares: &mut [f32],
) {
    assert!(rows.len().is_multiple_of(channels));
    assert!(means.len() == channels && squares.len() == channels);
    dispatch(Measure {
        rows,
        channels,
        means,
        squares,
    });
}

/// The first half of the forward pass: mean and squared distance of each channel.
struct Measure<'a> {
    rows: &'a [f32],
    channels: usize,
    means: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.rows.len() / self.channels;
        let whole = count - count % SUMS;
        let share = simd.splat(1.0 / count as f32);
        for channel in (0..self.channels).step_by(S::LANES) {
            let lanes = (self.channels - channel).min(S::LANES);
            // SAFETY: `measure` checked that all rows have all channels.
            unsafe {
                let from = self.rows.as_ptr().add(channel);
                let mut sums = [simd.splat(0.0); SUMS];
                for row in (0..whole).step_by(SUMS) {
                    for (next, sum) in sums.iter_mut().enumerate() {
                        let at = from.add((row + next) * self.channels);
                        *sum = simd.add(*sum, load_up_to(simd, at, lanes));
                    }
                }
                for row in whole..count {
                    let at = from.add(row * self.channels);
                    sums[0] = simd.add(sums[0], load_up_to(simd, at, lanes));
                }
                let mean = simd.mul(total(simd, sums), share);
                let mut squares = [simd.splat(0.0); SUMS];
                for row in (0..whole).step_by(SUMS) {
                    for (next, square) in squares.iter_mut().enumerate() {
                        let at = from.add((row + next) * self.channels);
                        let x = simd.sub(load_up_to(simd, at, lanes), mean);
                        *square = simd.fma(x, x, *square);
                    }
                }
                for row in whole..count {
                    let at = from.add(row * self.channels);
                    let x = simd.sub(load_up_to(simd, at, lanes), mean);
                    squares[0] = simd.fma(x, x, squares[0]);
                }
                let to = self.means.as_mut_ptr().add(channel);
                store_up_to(simd, to, mean, lanes);
                let to = self.squares.as_mut_ptr().add(channel);
                store_up_to(simd, to, total(simd, squares), lanes);
            }
        }
    }
}

/// Normalises images and finishes them.
///
/// `winners` has a byte for each value of `output` if the finish pools.
pub(crate) fn normalise(
    channels: &Channels,
    pixels: NormPixels,
    input: &[f32],
    output: &mut [f32],
    winners: &mut [u8],
) {
    let images = input.len() / (pixels.count() * channels.count);
    channels.check();
    assert_eq!(input.len(), images * pixels.count() * channels.count);
    assert_eq!(output.len(), images * pixels.finished() * channels.count);
    if pixels.finish == Finish::ReluPool {
        assert_eq!(winners.len(), output.len());
    }
    dispatch(Normalise {
        channels,
        pixels,
        input,
        output,
        winners,
    });
}

/// The second half of the forward pass: every value normalised, scaled and shifted.
struct Normalise<'a> {
    channels: &'a Channels,
    pixels: NormPixels,
    input: &'a [f32],
    output: &'a mut [f32],
    winners: &'a mut [u8],
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (pixels, count) = (self.pixels, self.channels.count);
        let images = self.input.len() / (pixels.count() * count);
        for channel in (0..count).step_by(S::LANES) {
            let lanes = (count - channel).min(S::LANES);
            // SAFETY: `normalise` checked that all pixels have all channels and that what
            // is done to each channel has whole vectors.
            unsafe {
                let mean = simd.load(self.channels.mean.as_ptr().add(channel));
                let factor = simd.load(self.channels.factor.as_ptr().add(channel));
                let shift = simd.load(self.channels.shift.as_ptr().add(channel));
                let from = self.input.as_ptr().add(channel);
                let to = self.output.as_mut_ptr().add(channel);
                if pixels.finish != Finish::ReluPool {
                    for pixel in 0..images * pixels.count() {
                        let x = load_up_to(simd, from.add(pixel * count), lanes);
                        let mut y = simd.fma(simd.sub(x, mean), factor, shift);
                        if pixels.finish == Finish::Relu {
                            y = simd.relu(y);
                        }
                        store_up_to(simd, to.add(pixel * count), y, lanes);
                    }
                    continue;
                }
                let winners = self.winners.as_mut_ptr().add(channel);
                for place in Squares::new(images, pixels) {
                    let mut square = [mean; 4];
                    for (y, pixel) in square.iter_mut().zip(place.pixels) {
                        let x = load_up_to(simd, from.add(pixel * count), lanes);
                        *y = simd.fma(simd.sub(x, mean), factor, shift);
                    }
                    let (best, winner) = pool(simd, square);
                    store_up_to(simd, to.add(place.index * count), best, lanes);
                    simd.store_bytes(winners.add(place.index * count), winner, lanes);
                }
            }
        }
    }
}
