//! JPEG as Pillow decodes it, to the bit: files of any layout, and of the usual kind also a
//! part, or at a fraction of the size.

mod baseline;
mod damaged;
mod header;
mod huffman;
mod idct;
mod pixels;
mod progressive;
mod scan;
mod segments;
mod tables;
mod usual;
mod whole;

pub(crate) use baseline::{DecodedPart, Planes, decode as decode_part};
pub(crate) use header::{Colors, JpegHeader};
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};
pub(crate) use segments::ends_early;
pub(crate) use usual::Usual;
pub(crate) use whole::decode as decode_whole;

use crate::Image;

/// The fractions of the size at which a file may be decoded: a half and a quarter. An eighth
/// would be hardly faster than a quarter, and chroma, which most files store at half the
/// resolution, would then be coarser than the image that it is resized to.
const SCALES: [u16; 2] = [4, 2];

/// The largest denominator that leaves an image at least as large as `least`.
pub(crate) fn scale(size: (u32, u32), least: (u32, u32)) -> Option<u16> {
    SCALES.into_iter().find(|scale| {
        let scale = u32::from(*scale);
        size.0 / scale >= least.0 && size.1 / scale >= least.1
    })
}

/// Decodes a file of the usual kind at 1/`scale` of its size. Returns `None` for any other
/// layout, which the crate used here decodes wrongly.
///
/// A block of 8x8 pixels becomes one of 4x4 or 2x2 by the lower frequencies of its cosine
/// transform, much like averages over the pixels that become one. An error is `None` too: the
/// caller then decodes at full size with our own decoder, whose errors users see.
pub(crate) fn decode_scaled(
    bytes: &[u8],
    (width, height): (u32, u32),
    scale: u16,
) -> Option<(Image, u16)> {
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    // The coefficients of a progressive file take their whole memory at any scale.
    if info.coding_process != CodingProcess::DctSequential
        || (u32::from(info.width), u32::from(info.height)) != (width, height)
    {
        return None;
    }
    // Other colours are converted by the other decoder only.
    let channels = match info.pixel_format {
        PixelFormat::L8 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::L16 | PixelFormat::CMYK32 => return None,
    };
    let wanted = (info.width.div_ceil(scale), info.height.div_ceil(scale));
    if decoder.scale(wanted.0, wanted.1).ok()? != wanted {
        return None;
    }
    let data = decoder.decode().ok()?;
    let image = Image {
        width: u32::from(wanted.0),
        height: u32::from(wanted.1),
        channels,
        data,
    };
    image.as_ref().check().ok()?;
    Some((image, scale))
}
