//! Resizing as Pillow does it.

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
        resized: (width, height),
        across: Placement::whole(width),
        down: Placement::whole(height),
    };
    resize_window(image, &window, filter, true)
}

/// A part of a resized image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Size of the whole image after resizing.
    pub(crate) resized: (u32, u32),
    /// The columns to compute.
    pub(crate) across: Placement,
    /// The rows to compute.
    pub(crate) down: Placement,
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
    let (left, box_width) = source_span(image.width, window.resized.0, window.across);
    let (top, box_height) = source_span(image.height, window.resized.1, window.down);
    let Some(algorithm) = filter.algorithm(antialias) else {
        nearest(image, window, &mut out);
        return Ok(out);
    };
    let options = fir::ResizeOptions::new()
        .resize_alg(algorithm)
        .crop(left, top, box_width, box_height)
        .use_alpha(false);
    if image.channels == 1 {
        convolve::<fir::pixels::U8>(image, &mut out, &options)?;
    } else {
        convolve::<fir::pixels::U8x3>(image, &mut out, &options)?;
    }
    Ok(out)
}

fn convolve<P: fir::PixelTrait>(
    image: ImageRef<'_>,
    out: &mut Image,
    options: &fir::ResizeOptions,
) -> Result<(), Error> {
    use fir::images::{TypedImage, TypedImageRef};
    let source = TypedImageRef::<P>::from_buffer(image.width, image.height, image.data)
        .map_err(bug)?;
    let mut target = TypedImage::<P>::from_buffer(out.width, out.height, &mut out.data)
        .map_err(bug)?;
    fir::Resizer::new()
        .resize_typed(&source, &mut target, options)
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
fn source_span(source: u32, resized: u32, computed: Placement) -> (f64, f64) {
    let (source, scale) = (f64::from(source), f64::from(source) / f64::from(resized));
    if f64::from(computed.length) * scale == source {
        return (0.0, source);
    }
    let start = f64::from(computed.from) * scale;
    // Rounding must not reach outside.
    (
        start,
        (f64::from(computed.length) * scale).min(source - start),
    )
}
