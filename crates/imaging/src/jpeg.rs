//! What the JPEG codec does not do: decode as Pillow does, or only a part, or at a fraction
//! of the size, and notice that a file was cut short.

mod baseline;
mod header;
mod huffman;
mod idct;

pub(crate) use baseline::{Part, Planes, decode as decode_part};
pub(crate) use header::Header;
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};

use crate::Image;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// The denominators that are used. An eighth would be hardly faster than a quarter, and
/// reduced chroma would then be coarser than what the image is resized to.
const SCALES: [u16; 2] = [4, 2];

/// The largest denominator that leaves an image at least as large as `least`.
pub(crate) fn scale(size: (u32, u32), least: (u32, u32)) -> Option<u16> {
    SCALES.into_iter().find(|scale| {
        let scale = u32::from(*scale);
        size.0 / scale >= least.0 && size.1 / scale >= least.1
    })
}

/// Decodes at 1/`scale` of the size, or not at all.
///
/// A block of 8x8 pixels becomes one of 4x4 or 2x2 by the lower frequencies of its cosine
/// transform, much like averages over the pixels that become one. Where this decoder
/// cannot help, the other must, and its errors are the ones that users see.
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

/// Whether an end-of-image marker follows the first scan.
///
/// The codec fills what is missing with gray and says nothing, so a photo that was
/// cut off while downloading would be labelled as if it were whole. Pillow refuses
/// such files, and so do we. Only an image that ends early is found this way: the
/// marker cannot occur inside a scan, and those of thumbnails stand before it.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    match first_scan(bytes) {
        // It is at the end of nearly all files.
        Some(scan) => scan.windows(2).rev().any(|pair| pair == END_OF_IMAGE),
        // Not even a scan, or markers that make no sense: the codec says it better.
        None => true,
    }
}

/// What follows the header of the first scan.
fn first_scan(bytes: &[u8]) -> Option<&[u8]> {
    // Skips the start-of-image marker.
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xff, marker, tail @ ..] = rest else {
            return None;
        };
        match *marker {
            // Fill byte: the marker follows it.
            0xff => rest = &rest[1..],
            START_OF_SCAN => return Some(tail),
            // Markers without a length.
            0x01 | 0xd0..=0xd8 => rest = tail,
            _ => {
                let length = u16::from_be_bytes([*tail.first()?, *tail.get(1)?]);
                rest = tail.get(usize::from(length)..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 8] = [0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9];

    fn file(scan: &[u8]) -> Vec<u8> {
        [HEADER.as_slice(), &[0xff, START_OF_SCAN], scan].concat()
    }

    #[test]
    fn the_marker_of_a_thumbnail_does_not_count() {
        assert!(!is_complete(&file(&[1, 2, 3])));
    }

    #[test]
    fn bytes_after_the_marker_do_not_matter() {
        assert!(is_complete(&file(&[1, 2, 0xff, 0xd9, 7, 7])));
    }
}
