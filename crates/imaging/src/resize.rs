//! Resizing as Pillow does it.

use std::ops::Range;
use std::str::FromStr;

use fast_image_resize as fir;

use crate::crop::Placement;
use crate::{Error, Image, ImageRef};

/// How pixels are weighed. Downscaling widens the filter, which is what libraries
/// call antialiasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Filter {
    /// The nearest pixel, without any weighing.
    Nearest,
    /// A triangle, over 2 pixels.
    #[default]
    Bilinear,
    /// A cubic with a = -0.5, over 4 pixels.
    Bicubic,
    /// A windowed sinc, over 6 pixels.
    Lanczos3,
}

impl Filter {
    /// The name in lower case, as used in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Nearest => "nearest",
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
            Filter::Lanczos3 => "lanczos3",
        }
    }

    /// How many pixels on each side the filter reaches when it is not widened.
    fn support(self) -> f64 {
        match self {
            Filter::Nearest => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos3 => 3.0,
        }
    }

    /// `None` for nearest.
    fn algorithm(self, antialias: bool) -> Option<fir::ResizeAlg> {
        let filter = match self {
            Filter::Nearest => return None,
            Filter::Bilinear => fir::FilterType::Bilinear,
            Filter::Bicubic if antialias => fir::FilterType::CatmullRom,
            Filter::Bicubic => {
                match fir::Filter::new("bicubic -0.75", steep_cubic, 2.0) {
                    Ok(filter) => fir::FilterType::Custom(filter),
                    // Cannot happen, since the support is positive; and if it did, the
                    // other cubic is close.
                    Err(_) => fir::FilterType::CatmullRom,
                }
            }
            Filter::Lanczos3 => fir::FilterType::Lanczos3,
        };
        Some(if antialias {
            fir::ResizeAlg::Convolution(filter)
        } else {
            fir::ResizeAlg::Interpolation(filter)
        })
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_lowercase().as_str() {
            "nearest" => Ok(Filter::Nearest),
            "bilinear" => Ok(Filter::Bilinear),
            "bicubic" => Ok(Filter::Bicubic),
            "lanczos3" | "lanczos" => Ok(Filter::Lanczos3),
            _ => Err(Error::argument(format!(
                "filter must be nearest, bilinear, bicubic or lanczos3, got '{name}'"
            ))),
        }
    }
}

/// The cubic of OpenCV and of PyTorch without antialiasing: a = -0.75.
fn steep_cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

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
    resize_window(image, &window, filter, true)
}

/// The part of some pixels that is the image. A JPEG that was decoded at a quarter of
/// its size may end inside its last row and column.
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
    /// What of the source the computed pixels lie over.
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
pub(crate) fn resize_window(
    image: ImageRef<'_>,
    window: &Window,
    filter: Filter,
    antialias: bool,
) -> Result<Image, Error> {
    let (width, height) = (window.across.length, window.down.length);
    let mut out = Image::black(width, height, image.channels)?;
    let Some(algorithm) = filter.algorithm(antialias) else {
        nearest(image, window, &mut out);
        return Ok(out);
    };
    let part = window.part();
    // Rounding must not reach outside.
    let part = Extent {
        width: part.width.min(f64::from(image.width) - part.left),
        height: part.height.min(f64::from(image.height) - part.top),
        ..part
    };
    if image.channels == 1 {
        convolve::<fir::pixels::U8>(image, &mut out, part, filter, algorithm)?;
    } else {
        convolve::<fir::pixels::U8x3>(image, &mut out, part, filter, algorithm)?;
    }
    Ok(out)
}

/// Rows first and then columns, with whole numbers in between, as Pillow does it. The
/// library takes the columns first, which differs by more than rounding where black
/// meets white.
fn convolve<P: fir::PixelTrait>(
    image: ImageRef<'_>,
    out: &mut Image,
    part: Extent,
    filter: Filter,
    algorithm: fir::ResizeAlg,
) -> Result<(), Error> {
    let rows = under(image.height, (part.top, part.height), out.height, filter);
    let between = u64::from(rows.end - rows.start) * u64::from(out.width);
    if part.height == f64::from(out.height) && part.top.fract() == 0.0
        || between > MOST_BETWEEN
    {
        return pass::<P>(image, out, part, algorithm);
    }
    let mut narrowed = Image::black(out.width, rows.end - rows.start, image.channels)?;
    let strip = Extent {
        top: f64::from(rows.start),
        height: f64::from(rows.end - rows.start),
        ..part
    };
    pass::<P>(image, &mut narrowed, strip, algorithm)?;
    let column = Extent {
        left: 0.0,
        top: part.top - f64::from(rows.start),
        width: f64::from(out.width),
        height: part.height,
    };
    pass::<P>(narrowed.as_ref(), out, column, algorithm)
}

/// Pixels between the two passes. Only an image that becomes much wider and much lower
/// has as many, and it is not worth their memory.
const MOST_BETWEEN: u64 = 64 << 20;

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

fn pass<P: fir::PixelTrait>(
    image: ImageRef<'_>,
    out: &mut Image,
    part: Extent,
    algorithm: fir::ResizeAlg,
) -> Result<(), Error> {
    use fir::images::{TypedImage, TypedImageRef};
    let options = fir::ResizeOptions::new()
        .resize_alg(algorithm)
        .crop(part.left, part.top, part.width, part.height)
        .use_alpha(false);
    let source = TypedImageRef::<P>::from_buffer(image.width, image.height, image.data)
        .map_err(bug)?;
    let mut target = TypedImage::<P>::from_buffer(out.width, out.height, &mut out.data)
        .map_err(bug)?;
    fir::Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(bug)
}

/// Sizes are checked before, so this says where to look and no more.
fn bug(error: impl std::fmt::Display) -> Error {
    Error::argument(format!("internal error while resizing: {error}"))
}

/// Takes the pixel under the centre of each new pixel, as Pillow does. The library's
/// own takes the one under the corner when it enlarges.
fn nearest(image: ImageRef<'_>, window: &Window, out: &mut Image) {
    let positions = |source: u32, resized: u32, computed: Placement| {
        let scale = f64::from(source) / f64::from(resized);
        // Summed up and not multiplied, because Pillow does: a centre between two
        // pixels falls to one of them by the rounding errors so far.
        std::iter::successors(Some(scale * 0.5), move |center| Some(center + scale))
            .skip(computed.from as usize)
            .take(computed.length as usize)
            .map(move |center| (center as usize).min(source as usize - 1))
    };
    let channels = usize::from(image.channels);
    let columns: Vec<usize> =
        positions(image.width, window.resized.0, window.across).collect();
    let rows = positions(image.height, window.resized.1, window.down);
    let out_rows = out.data.chunks_exact_mut(columns.len() * channels);
    for (target, row) in out_rows.zip(rows) {
        let source = &image.data[row * image.width as usize * channels..];
        for (pixel, column) in target.chunks_exact_mut(channels).zip(&columns) {
            pixel.copy_from_slice(&source[column * channels..][..channels]);
        }
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
