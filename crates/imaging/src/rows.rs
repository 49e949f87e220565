//! Pixels that are made a row at a time, wherever they come from.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::image::luma;
use crate::simd::{SimdWork, dispatch};
use crate::{Error, Image, ImageRef};

/// An image whose rows are read one after the other, and never all at once: what is made
/// of a row finds it in the nearest cache.
pub(crate) trait RowSource {
    fn width(&self) -> usize;

    fn height(&self) -> usize;

    /// 1 for gray, 3 for RGB.
    fn channels(&self) -> usize;

    /// Writes some columns of a row: for each channel so many bytes at the beginning of
    /// its `stride` bytes of `out`.
    fn read(&mut self, y: usize, columns: Range<usize>, stride: usize, out: &mut [u8]);
}

impl RowSource for ImageRef<'_> {
    fn width(&self) -> usize {
        self.width as usize
    }

    fn height(&self) -> usize {
        self.height as usize
    }

    fn channels(&self) -> usize {
        usize::from(self.channels)
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, stride: usize, out: &mut [u8]) {
        let start = y * self.width() * self.channels();
        let row = &self.data[start..start + self.width() * self.channels()];
        if self.channels == 1 {
            out[..columns.len()].copy_from_slice(&row[columns]);
            return;
        }
        let row = &row[3 * columns.start..3 * columns.end];
        let (red, rest) = out.split_at_mut(stride);
        let (green, blue) = rest.split_at_mut(stride);
        take::<0>(row, &mut red[..columns.len()]);
        take::<1>(row, &mut green[..columns.len()]);
        take::<2>(row, &mut blue[..columns.len()]);
    }
}

/// One channel of interleaved pixels.
#[inline(always)]
fn take<const CHANNEL: usize>(pixels: &[u8], out: &mut [u8]) {
    /// Pixels that become a vector.
    const TOGETHER: usize = 16;
    let (groups, rest) = pixels.as_chunks::<{ 3 * TOGETHER }>();
    let (out, out_rest) = out.as_chunks_mut::<TOGETHER>();
    for (out, group) in out.iter_mut().zip(groups) {
        *out = std::array::from_fn(|n| group[3 * n + CHANNEL]);
    }
    for (out, pixel) in out_rest.iter_mut().zip(rest.as_chunks::<3>().0) {
        *out = pixel[CHANNEL];
    }
}

/// The luma of an image of three channels.
pub(crate) struct Gray<R> {
    image: R,
    colors: Buffer,
}

impl<R: RowSource> Gray<R> {
    pub(crate) fn of(image: R) -> Self {
        let colors = Buffer::of_len(3 * image.width());
        Gray { image, colors }
    }
}

impl<R: RowSource> RowSource for Gray<R> {
    fn width(&self) -> usize {
        self.image.width()
    }

    fn height(&self) -> usize {
        self.image.height()
    }

    fn channels(&self) -> usize {
        1
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, stride: usize, out: &mut [u8]) {
        if self.image.channels() == 1 {
            return self.image.read(y, columns, stride, out);
        }
        let count = columns.len();
        self.image.read(y, columns, count, &mut self.colors);
        let (red, rest) = self.colors.split_at(count);
        let (green, blue) = rest.split_at(count);
        for (((out, red), green), blue) in out.iter_mut().zip(red).zip(green).zip(blue) {
            *out = luma(&[*red, *green, *blue]);
        }
    }
}

/// All rows, interleaved.
pub(crate) fn to_image(rows: &mut impl RowSource) -> Result<Image, Error> {
    // Sides of images fit into what they came from.
    let (width, height) = (rows.width() as u32, rows.height() as u32);
    let mut image = Image::black(width, height, rows.channels() as u8)?;
    dispatch(Interleave {
        rows,
        out: &mut image.data,
    });
    Ok(image)
}

/// Turns rows of planes into the interleaved pixels of an image.
struct Interleave<'a, R> {
    rows: &'a mut R,
    out: &'a mut [u8],
}

impl<R: RowSource> SimdWork for Interleave<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<const AVX2: bool>(self) {
        let (width, channels) = (self.rows.width(), self.rows.channels());
        let mut planes = Buffer::of_len(width * channels);
        for (y, row) in self.out.chunks_exact_mut(width * channels).enumerate() {
            self.rows.read(y, 0..width, width, &mut planes);
            interleave(&planes, width, row);
        }
    }
}

/// Planes of `stride` bytes to pixels.
#[inline(always)]
pub(crate) fn interleave(planes: &[u8], stride: usize, out: &mut [u8]) {
    if planes.len() == stride {
        out.copy_from_slice(&planes[..out.len()]);
        return;
    }
    let (red, rest) = planes.split_at(stride);
    let (green, blue) = rest.split_at(stride);
    let pixels = out.as_chunks_mut::<3>().0.iter_mut();
    for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
        *pixel = [*red, *green, *blue];
    }
}
