//! The two passes of a resize: each row is narrowed, then new rows are made of narrowed ones.
//!
//! Bytes are stored in between, and rows come first, both as in Pillow. The other order
//! differs by more than rounding where black meets white.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::weights::{WeightWindow, Weights};
use crate::buffer::Buffer;
use crate::rows::RowSource;
use crate::simd::SimdWork;

/// Some columns of a new row.
pub(crate) struct NewRow<'a> {
    pub(crate) y: usize,
    /// The first column.
    pub(crate) left: usize,
    /// A plane a channel, each of `width` bytes.
    pub(crate) planes: &'a [u8],
    pub(crate) width: usize,
}

/// The receiver of new rows. It is a trait and no closure, because a closure would not be
/// compiled with the vector instructions of the passes.
pub(crate) trait Sink {
    /// Receives every new row from top to bottom; a wide one in parts, from left to right.
    fn take(&mut self, row: NewRow<'_>);
}

/// Rows of the source that are narrowed at a time, an even number.
const AT_A_TIME: usize = 4;

/// The most bytes that are kept between the two passes. An image that becomes much wider and
/// much lower would take more, and is made in vertical strips that fit.
const MOST_BETWEEN: usize = 64 << 20;

/// One resize: the source, the weights of both axes and the receiver of new rows.
pub(super) struct Convolution<'a, R, S> {
    pub(super) source: &'a mut R,
    pub(super) across: Weights,
    pub(super) down: Weights,
    pub(super) sink: &'a mut S,
}

impl<R: RowSource, S: Sink> SimdWork for Convolution<'_, R, S> {
    type Output = ();

    #[inline(always)]
    fn run<const AVX2: bool>(self) {
        let Convolution {
            source,
            across,
            down,
            sink,
        } = self;
        let rows = span(&down, source.height());
        let width = across.starts.len();
        let most = (MOST_BETWEEN / (rows.len() * source.channels())).max(1);
        for left in (0..width).step_by(most) {
            let columns = left..(left + most).min(width);
            let narrowed =
                narrow::<AVX2, R>(source, across.part(columns.clone()), rows.clone());
            let row = source.channels() * columns.len();
            let mut planes = Buffer::of_len(row);
            for (y, start) in down.starts.iter().enumerate() {
                let old = &narrowed[(start - rows.start) * row..];
                weigh_rows::<AVX2>(old, down.of(y), down.shift, &mut planes);
                sink.take(NewRow {
                    y,
                    left,
                    planes: &planes,
                    width: columns.len(),
                });
            }
        }
    }
}

/// The span of old pixels that the new ones are made of.
fn span(weights: &Weights, pixels: usize) -> Range<usize> {
    // Neither ever falls from one new pixel to the next.
    let first = weights.starts.first().copied().unwrap_or(0);
    let last = weights.starts.last().copied().unwrap_or(0);
    first..(last + weights.taps).min(pixels)
}

/// Narrows some rows of the source to the new `columns`. The result holds, for each row, one
/// plane a channel.
#[inline(always)]
fn narrow<const AVX2: bool, R: RowSource>(
    source: &mut R,
    columns: WeightWindow<'_>,
    rows: Range<usize>,
) -> Buffer {
    let lines = AT_A_TIME * source.channels();
    // What lies behind the image has no weight, but is read.
    let stride = columns.reach();
    let first = columns.starts[0];
    let needed = first..(first + stride).min(source.width());
    let blocks = rows.len().div_ceil(AT_A_TIME);
    let block = lines * columns.starts.len();
    let mut narrowed = Buffer::of_len(blocks * block);
    let mut bytes = Buffer::of_len(lines * stride);
    let mut numbers = vec![0_i16; bytes.len()];
    let tops = rows.clone().step_by(AT_A_TIME);
    for (top, out) in tops.zip(narrowed.chunks_exact_mut(block)) {
        let planes = bytes.chunks_exact_mut(source.channels() * stride);
        for (y, planes) in (top..rows.end).zip(planes) {
            source.read(y, needed.clone(), stride, planes);
        }
        for (number, byte) in numbers.iter_mut().zip(bytes.iter()) {
            *number = i16::from(*byte);
        }
        #[cfg(target_arch = "x86_64")]
        if AVX2 && columns.starts.len() >= avx2::GROUP {
            #[expect(unsafe_code, reason = "only the caller knows the processor")]
            // SAFETY: the caller runs this for processors with AVX2 only.
            unsafe {
                avx2::weigh_columns(&numbers, stride, columns, out);
            }
            continue;
        }
        weigh_columns(&numbers, stride, columns, out);
    }
    narrowed
}

/// Narrows lines of `stride` numbers.
fn weigh_columns(
    numbers: &[i16],
    stride: usize,
    columns: WeightWindow<'_>,
    out: &mut [u8],
) {
    let starts = columns.starts;
    let lines = numbers.chunks_exact(stride);
    for (line, out) in lines.zip(out.chunks_exact_mut(starts.len())) {
        let weights = columns.values.chunks_exact(columns.taps);
        for ((out, start), weights) in out.iter_mut().zip(starts).zip(weights) {
            *out = weigh(&line[start - starts[0]..], weights, columns.shift);
        }
    }
}

/// A new pixel.
#[inline(always)]
fn weigh(pixels: &[i16], weights: &[i16], shift: u32) -> u8 {
    let products = pixels.iter().zip(weights);
    let sum = products.map(|(p, w)| i32::from(*p) * i32::from(*w)).sum();
    Weights::byte(sum, shift)
}

/// A new row of what is `out.len()` apart in `rows`; weights without a row are zeros.
#[inline(always)]
fn weigh_rows<const AVX2: bool>(
    rows: &[u8],
    weights: &[i16],
    shift: u32,
    out: &mut [u8],
) {
    #[cfg(target_arch = "x86_64")]
    if AVX2 && out.len() >= avx2::BLOCK {
        #[expect(unsafe_code, reason = "only the caller knows the processor")]
        // SAFETY: the caller runs this for processors with AVX2 only.
        return unsafe { avx2::weigh_rows(rows, weights, shift, out) };
    }
    let mut sums = vec![0; out.len()];
    for (row, weight) in rows.chunks_exact(out.len()).zip(weights) {
        for (sum, pixel) in sums.iter_mut().zip(row) {
            *sum += i32::from(*pixel) * i32::from(*weight);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = Weights::byte(sum, shift);
    }
}

#[cfg(test)]
mod tests {
    use super::super::weights::ResizeAxis;
    use super::*;
    use crate::crop::Placement;
    use crate::resize::Interleaved;
    use crate::{Filter, ImageRef, resize};

    fn noise(len: usize) -> Vec<u8> {
        let mut seed = 1_u32;
        std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Extremes are frequent, so that sums leave the range of a byte.
            ((seed >> 24).cast_signed() * 2 - 128).clamp(0, 255) as u8
        })
        .take(len)
        .collect()
    }

    fn made<const AVX2: bool>(
        mut image: ImageRef<'_>,
        (width, height): (u32, u32),
        filter: Filter,
    ) -> Vec<u8> {
        let axis = |pixels: u32, resized: u32| ResizeAxis {
            pixels: pixels as usize,
            source: (0.0, f64::from(pixels)),
            resized,
            computed: Placement::whole(resized),
        };
        let across = Weights::new(&axis(image.width, width), filter, true, 8);
        let down = Weights::new(&axis(image.height, height), filter, true, 1);
        let line = width as usize * usize::from(image.channels);
        let mut out = vec![0; line * height as usize];
        let mut image_of_rows = Interleaved {
            data: &mut out,
            line,
        };
        let convolution = Convolution {
            source: &mut image,
            across,
            down,
            sink: &mut image_of_rows,
        };
        convolution.run::<AVX2>();
        out
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_processor_gives_the_same_pixels() {
        if !std::is_x86_feature_detected!("avx2") {
            return;
        }
        let sizes = [1, 2, 3, 4, 5, 7, 15, 16, 17, 33, 50, 121];
        let data = noise(3 * 121 * 121);
        for (n, width) in sizes.into_iter().enumerate() {
            for (m, height) in sizes.into_iter().enumerate() {
                let channels = if (n + m) % 2 == 0 { 3 } else { 1 };
                let image = ImageRef {
                    width,
                    height,
                    channels,
                    data: &data[..(width * height) as usize * usize::from(channels)],
                };
                let new = (sizes[(5 * n + m) % 12], sizes[(n + 7 * m) % 12]);
                for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
                    assert_eq!(
                        made::<true>(image, new, filter),
                        made::<false>(image, new, filter),
                        "{width}x{height} to {new:?}, {channels} channels, {filter:?}"
                    );
                }
            }
        }
    }

    /// Between the passes there would be more than [`MOST_BETWEEN`] bytes.
    #[test]
    fn a_low_and_very_wide_image_is_made_in_strips() {
        let height = 70_000;
        let data = noise(height);
        let image = ImageRef {
            width: 1,
            height: height as u32,
            channels: 1,
            data: &data,
        };
        let one = resize(image, 1, 40, Filter::Bicubic).unwrap();
        let many = resize(image, 1_000, 40, Filter::Bicubic).unwrap();
        for (row, pixel) in many.data.chunks_exact(1_000).zip(one.data) {
            assert!(row.iter().all(|other| *other == pixel));
        }
    }
}
