//! Resizing with the bits of Pillow, on which most models were trained.

mod filter;
mod passes;
mod weights;

use std::ops::Range;

pub use filter::Filter;
use passes::Convolution;
pub(crate) use passes::{NewRow, Sink};
use weights::{ResizeAxis, Weights};

use crate::buffer::Buffer;
use crate::crop::Placement;
use crate::rows::{RowSource, interleave};
use crate::simd::dispatch;
use crate::{Error, Image, ImageRef};

/// Resizes to exactly `width` x `height`, whatever that does to the proportions.
pub fn resize(
    image: ImageRef<'_>,
    width: u32,
    height: u32,
    filter: Filter,
) -> Result<Image, Error> {
    image.check()?;
    let window = Window {
        source: Extent::whole(image),
        resized: (width, height),
        across: Placement::whole(width),
        down: Placement::whole(height),
    };
    resize_window(image, &window, filter)
}

/// The part of the decoded pixels that is the image. A JPEG that was decoded at a quarter of
/// its size may end inside of its last row and column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Extent {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Extent {
    /// All pixels.
    pub(crate) fn whole(image: ImageRef<'_>) -> Self {
        Extent {
            left: 0.0,
            top: 0.0,
            width: f64::from(image.width),
            height: f64::from(image.height),
        }
    }
}

/// A part of a resized image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// What is resized.
    pub(crate) source: Extent,
    /// Size of the whole image after resizing.
    pub(crate) resized: (u32, u32),
    /// The columns to compute.
    pub(crate) across: Placement,
    /// The rows to compute.
    pub(crate) down: Placement,
}

impl Window {
    /// The part of the source that the computed pixels are made of.
    pub(crate) fn part(&self) -> Extent {
        let source = self.source;
        let (left, width) =
            source_span((source.left, source.width), self.resized.0, self.across);
        let (top, height) =
            source_span((source.top, source.height), self.resized.1, self.down);
        Extent {
            left,
            top,
            width,
            height,
        }
    }
}

/// Computes some pixels of the resized image, the same as if all were computed.
///
/// An image of 4000x1 pixels whose shortest side becomes 256 is a million pixels
/// wide, of which a model wants 224.
fn resize_window(
    mut image: ImageRef<'_>,
    window: &Window,
    filter: Filter,
) -> Result<Image, Error> {
    let (width, height) = (window.across.length, window.down.length);
    let mut out = Image::black(width, height, image.channels)?;
    let line = width as usize * image.channels();
    let data = &mut out.data;
    resize_rows(
        &mut image,
        window,
        filter,
        true,
        &mut Interleaved { data, line },
    );
    Ok(out)
}

/// Makes an image of new rows.
struct Interleaved<'a> {
    data: &'a mut [u8],
    /// Bytes of a row.
    line: usize,
}

impl Sink for Interleaved<'_> {
    #[inline(always)]
    fn take(&mut self, row: NewRow<'_>) {
        let channels = row.planes.len() / row.width;
        let start = row.y * self.line + row.left * channels;
        let out = &mut self.data[start..start + row.planes.len()];
        interleave(row.planes, row.width, out);
    }
}

/// As [`resize_window`], from rows that come one at a time to rows that leave one at a time.
pub(crate) fn resize_rows<R: RowSource, S: Sink>(
    source: &mut R,
    window: &Window,
    filter: Filter,
    antialias: bool,
    sink: &mut S,
) {
    if filter == Filter::Nearest {
        return nearest(source, window, sink);
    }
    let Extent {
        left,
        top,
        width,
        height,
    } = window.source;
    let across = ResizeAxis {
        pixels: source.width(),
        source: (left, width),
        resized: window.resized.0,
        computed: window.across,
    };
    let down = ResizeAxis {
        pixels: source.height(),
        source: (top, height),
        resized: window.resized.1,
        computed: window.down,
    };
    // Vectors take eight pixels of a row at a time.
    dispatch(Convolution {
        source,
        across: Weights::new(&across, filter, antialias, 8),
        down: Weights::new(&down, filter, antialias, 1),
        sink,
    });
}

/// The pixels of `length` that the filter reaches from a span that becomes `resized`
/// pixels.
pub(crate) fn under(
    length: u32,
    (start, span): (f64, f64),
    resized: u32,
    filter: Filter,
) -> Range<u32> {
    let reach = filter.support() * (span / f64::from(resized)).max(1.0) + 1.0;
    // Casts of numbers outside of u32 saturate, which is what is wanted.
    let first = (start - reach).floor() as u32;
    let end = (start + span + reach).ceil() as u32;
    first..end.min(length)
}

/// Takes the pixel under the centre of each new pixel, as Pillow does.
fn nearest<R: RowSource, S: Sink>(source: &mut R, window: &Window, sink: &mut S) {
    let positions = |source: usize, resized: u32, computed: Placement| {
        let scale = source as f64 / f64::from(resized);
        // Summed up and not multiplied, because Pillow does: a centre between two
        // pixels falls to one of them by the rounding errors so far.
        std::iter::successors(Some(scale * 0.5), move |center| Some(center + scale))
            .skip(computed.from as usize)
            .take(computed.length as usize)
            .map(move |center| (center as usize).min(source - 1))
    };
    let old_width = source.width();
    let columns: Vec<usize> =
        positions(old_width, window.resized.0, window.across).collect();
    let rows = positions(source.height(), window.resized.1, window.down);
    let mut old = Buffer::of_len(source.channels() * old_width);
    let mut planes = Buffer::of_len(source.channels() * columns.len());
    for (y, row) in rows.enumerate() {
        source.read(row, 0..old_width, old_width, &mut old);
        let lines = old.chunks_exact(old_width);
        for (new, old) in planes.chunks_exact_mut(columns.len()).zip(lines) {
            for (new, column) in new.iter_mut().zip(&columns) {
                *new = old[*column];
            }
        }
        sink.take(NewRow {
            y,
            left: 0,
            planes: &planes,
            width: columns.len(),
        });
    }
}

/// The pixels of the source that the computed pixels lie over, as start and length.
fn source_span(
    (first, source): (f64, f64),
    resized: u32,
    computed: Placement,
) -> (f64, f64) {
    let scale = source / f64::from(resized);
    if f64::from(computed.length) * scale == source {
        return (first, source);
    }
    let start = f64::from(computed.from) * scale;
    // Rounding must not reach outside.
    (
        first + start,
        (f64::from(computed.length) * scale).min(source - start),
    )
}
