//! Encoding: from pixels to the bytes of an image file.

use ::image::codecs::{bmp, jpeg, png, webp};
use ::image::{ExtendedColorType, ImageEncoder};

use crate::guard::guarded;
use crate::{Error, Format, ImageRef};

/// The quality of JPEG files, from 1 to 100: artefacts are hard to see and files still small.
const JPEG_QUALITY: u8 = 90;

/// Writes PNG, JPEG (quality 90), WebP (lossless) or BMP. Metadata is not written, so
/// that an image turned upright is not turned again.
pub fn encode(image: ImageRef<'_>, format: Format) -> Result<Vec<u8>, Error> {
    image.check()?;
    guarded(|| write(image, format))
}

fn write(image: ImageRef<'_>, format: Format) -> Result<Vec<u8>, Error> {
    let ImageRef { width, height, .. } = image;
    let color = if image.channels == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut out = Vec::new();
    let written =
        match format {
            Format::Png => png::PngEncoder::new(&mut out)
                .write_image(image.data, width, height, color),
            Format::Jpeg => jpeg::JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY)
                .write_image(image.data, width, height, color),
            Format::Webp => webp::WebPEncoder::new_lossless(&mut out)
                .write_image(image.data, width, height, color),
            Format::Bmp => bmp::BmpEncoder::new(&mut out)
                .write_image(image.data, width, height, color),
            Format::Gif | Format::Tiff => return Err(not_written(format)),
        };
    written.map_err(|error| {
        Error::argument(format!(
            "an image of {width}x{height} pixels cannot be written as {format}: {error}"
        ))
    })?;
    Ok(out)
}

fn not_written(format: Format) -> Error {
    let name = format.name();
    Error::argument(format!(
        "image format must be png, jpeg, webp or bmp, got '{name}'"
    ))
}

impl Format {
    /// Checks that [`encode`] writes this format.
    pub fn check_encodable(self) -> Result<(), Error> {
        match self {
            Format::Gif | Format::Tiff => Err(not_written(self)),
            Format::Png | Format::Jpeg | Format::Webp | Format::Bmp => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeOptions, Image, decode};

    fn pattern(channels: u8) -> Image {
        let data = (0..16 * 8 * u32::from(channels))
            .map(|n| (n * 7) as u8)
            .collect();
        Image {
            width: 16,
            height: 8,
            channels,
            data,
        }
    }

    #[test]
    fn lossless_formats_give_the_same_pixels_back() {
        for (format, channels) in [
            (Format::Png, 1),
            (Format::Png, 3),
            (Format::Webp, 3),
            (Format::Bmp, 3),
        ] {
            let image = pattern(channels);
            let bytes = encode(image.as_ref(), format).unwrap();
            assert_eq!(
                decode(&bytes, &DecodeOptions::default()),
                Ok(image),
                "{format}"
            );
        }
    }

    #[test]
    fn jpeg_keeps_size_and_channels() {
        for channels in [1, 3] {
            let bytes = encode(pattern(channels).as_ref(), Format::Jpeg).unwrap();
            let image = decode(&bytes, &DecodeOptions::default()).unwrap();
            assert_eq!(
                (image.width, image.height, image.channels),
                (16, 8, channels)
            );
        }
    }

    #[test]
    fn an_image_too_wide_for_the_format_is_an_error() {
        let image = Image {
            width: 70_000,
            height: 1,
            channels: 1,
            data: vec![0; 70_000],
        };
        let error = encode(image.as_ref(), Format::Jpeg).unwrap_err();
        assert_eq!(error.code(), "INVALID_ARGUMENT");
    }
}
