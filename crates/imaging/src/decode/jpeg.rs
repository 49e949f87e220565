//! JPEG files: whole, in part or at a fraction of the size.

use ::image::metadata::Orientation;

use super::{
    DecodeOptions, DecodeRequest, Decoded, Info, Pixels, check_size, is_sideways, orient,
    turned, upright,
};
use crate::guard::guarded;
use crate::jpeg::{
    DecodedPart, JpegHeader, Usual, decode_part, decode_scaled, decode_whole, ends_early,
    scale,
};
use crate::resize::Extent;
use crate::rows::to_image;
use crate::{Error, Format, Image};

/// What the header says.
pub(super) fn info(header: &JpegHeader) -> Result<Info, Error> {
    // No pixel is read, so any size is fine.
    check_size(header.size(), Format::Jpeg, u64::MAX)?;
    let (width, height) = turned(header.orientation, header.size());
    Ok(Info {
        format: Format::Jpeg,
        width,
        height,
        channels: header.channels(),
        bit_depth: 8,
        orientation: header.orientation.to_exif(),
        has_alpha: Some(false),
    })
}

/// Decodes a file, perhaps in part or at a fraction of its size.
///
/// `wanted` says what is needed, given the upright size.
pub(super) fn decode(
    bytes: &[u8],
    options: &DecodeOptions,
    wanted: impl Fn(u32, u32) -> DecodeRequest,
) -> Result<Decoded, Error> {
    let header = JpegHeader::read(bytes)?;
    check_size(header.size(), Format::Jpeg, options.max_pixels)?;
    // A photo that was cut off while downloading would be labelled as if it were whole.
    // Pillow refuses such files, and so do we.
    if !header.is_complete(bytes) {
        return Err(ends_early());
    }
    let orientation = if options.orient {
        header.orientation
    } else {
        Orientation::NoTransforms
    };
    let size = turned(orientation, header.size());
    if let Some(usual) = header.usual(bytes) {
        let wanted = wanted(size.0, size.1);
        let decoded = decode_usual(bytes, &usual, header.size(), orientation, wanted);
        if let Some(decoded) = decoded {
            let (pixels, extent) = decoded?;
            return Ok(Decoded {
                pixels,
                size,
                extent,
            });
        }
    }
    let image = decode_whole(bytes, &header)?;
    upright(image, orientation)
}

/// A JPEG of the usual kind, of `in_file` pixels, or `None` if it is damaged.
fn decode_usual(
    bytes: &[u8],
    header: &Usual,
    in_file: (u32, u32),
    orientation: Orientation,
    wanted: DecodeRequest,
) -> Option<Result<(Pixels, Extent), Error>> {
    let size = turned(orientation, in_file);
    let scale = wanted.least.and_then(|least| scale(size, least));
    let scaled = |scale| {
        let decoded = guarded(|| Ok(decode_scaled(bytes, in_file, scale)));
        decoded.ok().flatten()
    };
    let scaled = scale.and_then(scaled);
    if let Some((image, scale)) = scaled {
        let extent = scaled_extent(&image, in_file, scale, orientation);
        let image = orient(image, orientation);
        return Some(image.map(|image| (Pixels::Image(image), extent)));
    }
    let whole = DecodedPart {
        columns: 0..in_file.0,
        rows: 0..in_file.1,
    };
    // Few photos are stored on their side, and those cost a little more.
    let part = match (wanted.part, orientation) {
        (Some(part), Orientation::NoTransforms) => part,
        _ => whole,
    };
    let extent = Extent {
        left: -f64::from(part.columns.start),
        top: -f64::from(part.rows.start),
        width: f64::from(size.0),
        height: f64::from(size.1),
    };
    let mut planes = decode_part(bytes, header, part)?;
    if orientation == Orientation::NoTransforms {
        return Some(Ok((Pixels::Planes(planes), extent)));
    }
    let image = to_image(&mut planes).and_then(|image| orient(image, orientation));
    Some(image.map(|image| (Pixels::Image(image), extent)))
}

/// What of the pixels of an image decoded at 1/`scale` is the image, once upright. The
/// last column and row stand for fewer pixels of the file than the others.
fn scaled_extent(
    image: &Image,
    (width, height): (u32, u32),
    scale: u16,
    orientation: Orientation,
) -> Extent {
    let (width, height) = (
        f64::from(width) / f64::from(scale),
        f64::from(height) / f64::from(scale),
    );
    let right = f64::from(image.width) - width;
    let bottom = f64::from(image.height) - height;
    let (left, top) = match orientation {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => (0.0, 0.0),
        Orientation::FlipHorizontal => (right, 0.0),
        Orientation::Rotate180 => (right, bottom),
        Orientation::FlipVertical => (0.0, bottom),
        // Rows become columns, the last row the first column.
        Orientation::Rotate90 => (bottom, 0.0),
        Orientation::Rotate270FlipH => (bottom, right),
        Orientation::Rotate270 => (0.0, right),
    };
    let (width, height) = if is_sideways(orientation) {
        (height, width)
    } else {
        (width, height)
    };
    Extent {
        left,
        top,
        width,
        height,
    }
}
