//! Bytes of a file to pixels.

mod jpeg;

use std::error::Error as _;
use std::io::{Cursor, ErrorKind};

use ::image::codecs::{bmp, gif, jpeg as jpeg_codec, png, tiff, webp};
use ::image::metadata::Orientation;
use ::image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageResult, Limits,
};

use crate::gif::fill;
use crate::guard::guarded;
use crate::jpeg::{DecodedPart, JpegHeader, Planes};
use crate::orientation::{of_png, of_webp};
use crate::resize::Extent;
use crate::rows::to_image;
use crate::tiff::{JpegParts, check, explain, prepare};
use crate::{Error, Format, Image};

/// The most pixels of an image, unless told otherwise: where Pillow raises
/// `DecompressionBombError`, twice its `Image.MAX_IMAGE_PIXELS`
/// (<https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.open>).
pub const MAX_PIXELS: u64 = 178_956_970;

/// Memory for what is not pixels: colour profiles, texts, tables.
const MAX_METADATA: u64 = 64 << 20;

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Turns the image upright as its EXIF orientation says. Invalid values are
    /// ignored.
    pub orient: bool,
    /// Refuses images with more pixels, before memory is taken for them.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            orient: true,
            max_pixels: MAX_PIXELS,
        }
    }
}

/// What the header of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The format, by content.
    pub format: Format,
    /// Pixels in a row, once upright.
    pub width: u32,
    /// Pixels in a column, once upright.
    pub height: u32,
    /// Channels after decoding: 1 for gray, 3 for RGB.
    pub channels: u8,
    /// Bits of one channel, or of a palette index, in the file.
    pub bit_depth: u8,
    /// EXIF orientation, 1 to 8; 1 where the file says nothing valid.
    pub orientation: u8,
    /// Whether the file has transparency, which decoding drops. GIF says it of each
    /// frame and not in the header: `None`.
    pub has_alpha: Option<bool>,
}

/// Decodes the first frame.
///
/// The format is found from the content. Transparency is dropped, not blended, and
/// 16-bit channels keep their upper byte, as Pillow's `convert("RGB")` does (but for
/// 16-bit gray, which Pillow clips to white). Gray stays gray. Files that are cut
/// short are refused.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, Error> {
    match decode_wanted(bytes, options, |_, _| DecodeRequest::default())?.pixels {
        Pixels::Image(image) => Ok(image),
        Pixels::Planes(mut planes) => to_image(&mut planes),
    }
}

/// An image whose pixels may be fewer than the file has.
pub(crate) struct Decoded {
    /// Upright, if that was asked for.
    pub(crate) pixels: Pixels,
    /// The size of the file's image, turned like `pixels`.
    pub(crate) size: (u32, u32),
    /// What of the pixels is the image.
    pub(crate) extent: Extent,
}

/// Pixels, or what they are made of.
pub(crate) enum Pixels {
    Image(Image),
    Planes(Planes),
}

/// What is needed of an image. Formats that cannot give less give all of it.
#[derive(Debug, Default)]
pub(crate) struct DecodeRequest {
    /// How small it may become; `None` wants every pixel.
    pub(crate) least: Option<(u32, u32)>,
    /// The pixels that are looked at, of the upright image; `None` wants all.
    pub(crate) part: Option<DecodedPart>,
}

/// Decodes the first frame, a JPEG perhaps in part or at a fraction of its size.
///
/// `wanted` says what is needed, given the upright size.
pub(crate) fn decode_wanted(
    bytes: &[u8],
    options: &DecodeOptions,
    wanted: impl Fn(u32, u32) -> DecodeRequest,
) -> Result<Decoded, Error> {
    let format = Format::sniff(bytes)?;
    guarded(|| match format {
        Format::Jpeg => jpeg::decode(bytes, options, wanted),
        Format::Tiff => match JpegParts::read(bytes) {
            Some(parts) => decode_parts(&parts, options),
            None => check(bytes)
                .and_then(|()| decode_whole(format, &prepare(bytes)?, options))
                .map_err(|error| explain(bytes, error)),
        },
        _ => decode_whole(format, bytes, options),
    })
}

/// Decodes a TIFF file of JPEG parts.
fn decode_parts(
    parts: &JpegParts<'_>,
    options: &DecodeOptions,
) -> Result<Decoded, Error> {
    check_size(
        (parts.width, parts.height),
        Format::Tiff,
        options.max_pixels,
    )?;
    let image = parts.decode()?;
    let orientation = if options.orient {
        parts.orientation
    } else {
        Orientation::NoTransforms
    };
    upright(image, orientation)
}

/// Turns an image that was decoded whole.
fn upright(image: Image, orientation: Orientation) -> Result<Decoded, Error> {
    let image = orient(image, orientation)?;
    let extent = Extent::whole(image.as_ref());
    Ok(Decoded {
        size: (image.width, image.height),
        pixels: Pixels::Image(image),
        extent,
    })
}

/// Decodes a file of another format than JPEG.
fn decode_whole(
    format: Format,
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<Decoded, Error> {
    let mut decoder = open(format, bytes)?;
    let in_file = decoder.dimensions();
    check_size(in_file, format, options.max_pixels)?;
    let orientation = if options.orient {
        orientation(format, bytes, &mut *decoder)
    } else {
        Orientation::NoTransforms
    };
    let mut image = read(decoder).map_err(|error| translate(format, &error))?;
    if format == Format::Gif {
        fill(bytes, &mut image);
    }
    upright(image, orientation)
}

/// Whether rows become columns.
fn is_sideways(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

fn turned(orientation: Orientation, (width, height): (u32, u32)) -> (u32, u32) {
    if is_sideways(orientation) {
        (height, width)
    } else {
        (width, height)
    }
}

/// Reads the header only. An image whose pixels are damaged still has one.
pub fn info(bytes: &[u8]) -> Result<Info, Error> {
    let format = Format::sniff(bytes)?;
    guarded(|| match format {
        Format::Jpeg => jpeg::info(&JpegHeader::read(bytes)?),
        Format::Tiff => match JpegParts::read(bytes) {
            Some(parts) => parts_info(&parts),
            None => check(bytes).and_then(|()| header_info(format, bytes)),
        },
        _ => header_info(format, bytes),
    })
}

fn parts_info(parts: &JpegParts<'_>) -> Result<Info, Error> {
    let in_file = (parts.width, parts.height);
    check_size(in_file, Format::Tiff, u64::MAX)?;
    let (width, height) = turned(parts.orientation, in_file);
    Ok(Info {
        format: Format::Tiff,
        width,
        height,
        channels: parts.channels(),
        bit_depth: 8,
        orientation: parts.orientation.to_exif(),
        has_alpha: Some(false),
    })
}

fn header_info(format: Format, bytes: &[u8]) -> Result<Info, Error> {
    let mut decoder = open(format, bytes)?;
    // No pixel is read, so any size is fine.
    check_size(decoder.dimensions(), format, u64::MAX)?;
    let color = decoder.color_type();
    let orientation = orientation(format, bytes, &mut *decoder);
    let (width, height) = turned(orientation, decoder.dimensions());
    let bit_depth = match format {
        // Byte 8 of the first chunk's data; the decoder has checked that it exists.
        Format::Png => bytes.get(24).copied().unwrap_or(8),
        // Fits: the widest colour has 128 bits a pixel.
        _ => (color.bits_per_pixel() / u16::from(color.channel_count())) as u8,
    };
    Ok(Info {
        format,
        width,
        height,
        channels: if color.has_color() { 3 } else { 1 },
        bit_depth,
        orientation: orientation.to_exif(),
        has_alpha: (format != Format::Gif).then(|| color.has_alpha()),
    })
}

/// Reads the header.
fn open(format: Format, bytes: &[u8]) -> Result<Box<dyn ImageDecoder + '_>, Error> {
    let limits = limits(MAX_METADATA);
    let file = Cursor::new(bytes);
    let opened: ImageResult<Box<dyn ImageDecoder>> = match format {
        Format::Png => {
            png::PngDecoder::with_limits(file, limits).map(|d| Box::new(d) as _)
        }
        Format::Jpeg => jpeg_codec::JpegDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Gif => gif::GifDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Webp => webp::WebPDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Bmp => bmp::BmpDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Tiff => tiff::TiffDecoder::new(file).map(|d| Box::new(d) as _),
    };
    opened.map_err(|error| translate(format, &error))
}

fn limits(max_alloc: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_alloc);
    limits
}

fn check_size(
    (width, height): (u32, u32),
    format: Format,
    limit: u64,
) -> Result<(), Error> {
    if width == 0 || height == 0 {
        let reason = format!("its size is {width}x{height} pixels");
        return Err(Error::Corrupt { format, reason });
    }
    if u64::from(width) * u64::from(height) > limit {
        return Err(Error::TooLarge {
            width,
            height,
            limit,
        });
    }
    Ok(())
}

/// The valid orientation of the file; damaged metadata must not cost the image.
fn orientation(
    format: Format,
    bytes: &[u8],
    decoder: &mut dyn ImageDecoder,
) -> Orientation {
    let orientation = match format {
        // The decoders miss what stands behind the pixels.
        Format::Png => of_png(bytes),
        Format::Webp => of_webp(bytes),
        _ => decoder.orientation().ok(),
    };
    orientation.unwrap_or(Orientation::NoTransforms)
}

fn read(mut decoder: Box<dyn ImageDecoder + '_>) -> ImageResult<Image> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let total = decoder.total_bytes();
    // A frame may be larger than the canvas it is drawn on, or be decoded into a
    // buffer of four channels first. More than that is an attack.
    let max_alloc = total.saturating_mul(3).saturating_add(MAX_METADATA);
    decoder.set_limits(limits(max_alloc))?;
    let mut data = vec![0; usize::try_from(total).unwrap_or(usize::MAX)];
    decoder.read_image_boxed(&mut data)?;
    let (channels, data) = match color {
        ColorType::L8 => (1, data),
        ColorType::Rgb8 => (3, data),
        ColorType::La8 => (1, keep(data, 2, &[0])),
        ColorType::Rgba8 => (3, keep(data, 4, &[0, 1, 2])),
        ColorType::L16 => (1, keep(data, 2, &[HIGH])),
        ColorType::La16 => (1, keep(data, 4, &[HIGH])),
        ColorType::Rgb16 => (3, keep(data, 6, &[HIGH, 2 + HIGH, 4 + HIGH])),
        ColorType::Rgba16 => (3, keep(data, 8, &[HIGH, 2 + HIGH, 4 + HIGH])),
        // Floating point has no agreed range to map to 0..=255.
        other => return Err(unsupported_color(other)),
    };
    Ok(Image {
        width,
        height,
        channels,
        data,
    })
}

/// Where the upper byte of a 16-bit channel is.
const HIGH: usize = if cfg!(target_endian = "big") { 0 } else { 1 };

/// Keeps some bytes of every group of `stride` bytes, in place.
fn keep(mut data: Vec<u8>, stride: usize, offsets: &[usize]) -> Vec<u8> {
    let groups = data.len() / stride;
    for group in 0..groups {
        for (n, offset) in offsets.iter().enumerate() {
            data[group * offsets.len() + n] = data[group * stride + offset];
        }
    }
    data.truncate(groups * offsets.len());
    data
}

fn unsupported_color(color: ColorType) -> ImageError {
    use ::image::error::{ImageFormatHint, UnsupportedError, UnsupportedErrorKind};
    ImageError::Unsupported(UnsupportedError::from_format_and_kind(
        ImageFormatHint::Unknown,
        UnsupportedErrorKind::Color(color.into()),
    ))
}

fn orient(image: Image, orientation: Orientation) -> Result<Image, Error> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let Image {
        width,
        height,
        channels,
        data,
    } = image;
    let buffer = if channels == 1 {
        ImageBuffer::from_raw(width, height, data).map(DynamicImage::ImageLuma8)
    } else {
        ImageBuffer::from_raw(width, height, data).map(DynamicImage::ImageRgb8)
    };
    let Some(mut buffer) = buffer else {
        return Err(Error::argument(
            "the decoder gave another size than it announced",
        ));
    };
    buffer.apply_orientation(orientation);
    let (width, height) = (buffer.width(), buffer.height());
    Ok(Image {
        width,
        height,
        channels,
        data: buffer.into_bytes(),
    })
}

fn translate(format: Format, error: &ImageError) -> Error {
    let corrupt = |reason: String| Error::Corrupt { format, reason };
    match error {
        ImageError::Unsupported(error) => Error::Unsupported {
            what: format!("this {format} image ({error})"),
        },
        ImageError::Limits(_) => {
            corrupt("it needs far more memory than its size in pixels".to_string())
        }
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            corrupt("the file ends before the image does".to_string())
        }
        error => corrupt(match error.source() {
            Some(source) => source.to_string(),
            None => error.to_string(),
        }),
    }
}
