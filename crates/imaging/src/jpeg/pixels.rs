//! Samples of any layout to pixels, as libjpeg makes them (`jdsample.c`, `jdcolor.c`), and
//! inks to colours as Pillow does it.

use std::ops::Range;

use super::baseline::{Plane, to_rgb};
use super::header::Colors;
use crate::buffer::Buffer;
use crate::rows::RowSource;

/// The samples of an image, of which pixels are made a row at a time.
pub(super) struct Samples {
    size: (usize, usize),
    colors: Colors,
    planes: Vec<Scaled>,
    /// A row of each, of the size of the image.
    rows: Vec<Buffer>,
    sums: Vec<u16>,
}

/// The samples of a component and how they become as many as there are pixels.
pub(super) struct Scaled {
    pub(super) plane: Plane,
    pub(super) scaling: Scaling,
}

/// How pixels find their samples.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scaling {
    /// So many pixels to a sample, 1 or 2, with interpolation.
    Smooth(usize, usize),
    /// The nearest sample: one of so many to so many pixels, across and down.
    Nearest {
        samples: (usize, usize),
        pixels: (usize, usize),
    },
}

impl Scaling {
    /// `sampling` is the component's, `most` the largest of all, `width` its samples in a
    /// row.
    pub(super) fn new(
        sampling: (usize, usize),
        most: (usize, usize),
        width: usize,
    ) -> Self {
        let nearest = Scaling::Nearest {
            samples: sampling,
            pixels: most,
        };
        let twice = (2 * sampling.0 == most.0, 2 * sampling.1 == most.1);
        match (sampling.0 == most.0, sampling.1 == most.1, twice) {
            (true, true, _) => Scaling::Smooth(1, 1),
            (true, _, (_, true)) => Scaling::Smooth(1, 2),
            // libjpeg does not interpolate what is so narrow.
            (_, true, (true, _)) if width > 2 => Scaling::Smooth(2, 1),
            (_, _, (true, true)) if width > 2 => Scaling::Smooth(2, 2),
            _ => nearest,
        }
    }
}

impl Samples {
    pub(super) fn new(size: (usize, usize), colors: Colors, planes: Vec<Scaled>) -> Self {
        Samples {
            size,
            colors,
            rows: planes.iter().map(|_| Buffer::of_len(size.0)).collect(),
            planes,
            sums: Vec::new(),
        }
    }
}

impl Scaled {
    /// A row of pixels from `left` on.
    #[inline(always)]
    fn read(&self, y: usize, left: usize, sums: &mut Vec<u16>, out: &mut [u8]) {
        let (samples, pixels) = match self.scaling {
            Scaling::Smooth(h, v) => {
                return self.plane.interpolate((h, v), y, left, sums, out);
            }
            Scaling::Nearest { samples, pixels } => (samples, pixels),
        };
        let plane = &self.plane;
        // The sample under the middle of a pixel.
        let y = (2 * y + 1) * samples.1 / (2 * pixels.1);
        let row = plane.row(y.min(plane.size.1 - 1), 0, plane.size.0);
        for (x, out) in (left..).zip(out) {
            let x = (2 * x + 1) * samples.0 / (2 * pixels.0);
            *out = row[x.min(plane.size.0 - 1)];
        }
    }
}

impl RowSource for Samples {
    fn width(&self) -> usize {
        self.size.0
    }

    fn height(&self) -> usize {
        self.size.1
    }

    fn channels(&self) -> usize {
        if self.colors == Colors::Gray { 1 } else { 3 }
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, stride: usize, out: &mut [u8]) {
        let count = columns.len();
        for (plane, row) in self.planes.iter().zip(&mut self.rows) {
            plane.read(y, columns.start, &mut self.sums, &mut row[..count]);
        }
        let rows = |n: usize| &self.rows[n][..count];
        if matches!(self.colors, Colors::Ycc | Colors::Ycck) {
            to_rgb(rows(0), rows(1), rows(2), stride, out);
        } else {
            for (row, out) in self.rows.iter().take(3).zip(out.chunks_mut(stride)) {
                out[..count].copy_from_slice(&row[..count]);
            }
        }
        if matches!(self.colors, Colors::Cmyk | Colors::Ycck) {
            // The colours of luma and chroma are those that their inks leave over, and
            // inks are stored inverted.
            let inverted = self.colors == Colors::Cmyk;
            let black = rows(3);
            for out in out.chunks_mut(stride).take(3) {
                for (out, black) in out.iter_mut().zip(black) {
                    let ink = if inverted { 255 - *out } else { *out };
                    *out = with_ink(ink, *black);
                }
            }
        }
    }
}

/// What an ink leaves of a gray: Pillow's `cmyk2rgb`.
#[inline(always)]
fn with_ink(ink: u8, gray: u8) -> u8 {
    let product = u32::from(ink) * u32::from(gray) + 128;
    let taken = (product + (product >> 8)) >> 8;
    // In range: a share of the gray.
    gray.saturating_sub(taken as u8)
}
