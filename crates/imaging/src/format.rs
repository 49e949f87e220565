//! What kind of file some bytes are.

use std::fmt;
use std::str::FromStr;

use ::image::ImageFormat;

use crate::Error;

/// An image format that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Portable Network Graphics, animated ones included.
    Png,
    /// JPEG, baseline and progressive.
    Jpeg,
    /// Graphics Interchange Format.
    Gif,
    /// WebP, lossy and lossless.
    Webp,
    /// Windows bitmap.
    Bmp,
    /// Tagged Image File Format.
    Tiff,
}

impl Format {
    /// The name in lower case, as used in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::Gif => "gif",
            Format::Webp => "webp",
            Format::Bmp => "bmp",
            Format::Tiff => "tiff",
        }
    }

    /// Looks at the content only: file names lie.
    pub(crate) fn sniff(bytes: &[u8]) -> Result<Format, Error> {
        if bytes.is_empty() {
            return Err(Error::NotAnImage {
                found: "it is empty".to_string(),
            });
        }
        match ::image::guess_format(bytes) {
            Ok(ImageFormat::Png) => Ok(Format::Png),
            Ok(ImageFormat::Jpeg) => Ok(Format::Jpeg),
            Ok(ImageFormat::Gif) => Ok(Format::Gif),
            Ok(ImageFormat::WebP) => Ok(Format::Webp),
            Ok(ImageFormat::Bmp) => Ok(Format::Bmp),
            Ok(ImageFormat::Tiff) => Ok(Format::Tiff),
            Ok(other) => Err(unsupported(&format!("{other:?}"))),
            // What files of 4 GiB and more must be, and others may.
            Err(_) if BIG_TIFF.iter().any(|magic| bytes.starts_with(magic)) => {
                Ok(Format::Tiff)
            }
            Err(_) => Err(explain(bytes)),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Png => "PNG",
            Format::Jpeg => "JPEG",
            Format::Gif => "GIF",
            Format::Webp => "WebP",
            Format::Bmp => "BMP",
            Format::Tiff => "TIFF",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_lowercase().as_str() {
            "png" => Ok(Format::Png),
            "jpeg" | "jpg" => Ok(Format::Jpeg),
            "gif" => Ok(Format::Gif),
            "webp" => Ok(Format::Webp),
            "bmp" => Ok(Format::Bmp),
            "tiff" | "tif" => Ok(Format::Tiff),
            _ => Err(Error::argument(format!(
                "image format must be png, jpeg, webp or bmp, got '{name}'"
            ))),
        }
    }
}

fn unsupported(format: &str) -> Error {
    Error::Unsupported {
        what: format!("image format {format}"),
    }
}

/// How a BigTIFF file begins, in both byte orders.
const BIG_TIFF: [&[u8]; 2] = [b"II\x2b\0\x08\0\0\0", b"MM\0\x2b\0\x08\0\0"];

/// Images that are known but not decoded, by a signature and where it stands.
const FOREIGN_IMAGES: [(usize, &[u8], &str); 8] = [
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\x01\0", "ICO"),
];

/// Other files that are often mistaken for images.
const NO_IMAGES: [(&[u8], &str); 4] = [
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "gzip-compressed data, decompress it first"),
    (b"RIFF", "a RIFF file without WebP data"),
];

/// Says what bytes without an image signature probably are.
fn explain(bytes: &[u8]) -> Error {
    let starts_at = |at: usize, magic: &[u8]| {
        bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
    };
    for (at, magic, name) in FOREIGN_IMAGES {
        if starts_at(at, magic) {
            return unsupported(name);
        }
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]);
    let lower = text.trim_start().to_lowercase();
    if lower.contains("<svg") {
        return unsupported("SVG");
    }
    let known = NO_IMAGES.iter().find(|(magic, _)| bytes.starts_with(magic));
    let found = if let Some((_, name)) = known {
        format!("it is {name}")
    } else if lower.starts_with("<!doctype html") || lower.contains("<html") {
        "it is an HTML page".to_string()
    } else if is_text(&text) {
        format!(
            "it is text that starts with {:?}",
            text.chars().take(20).collect::<String>()
        )
    } else {
        let start: String = bytes
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("no known image format starts with the bytes {start}")
    };
    Error::NotAnImage { found }
}

fn is_text(start: &str) -> bool {
    let mut chars = start.chars();
    // The last character may have been cut in two.
    chars.next_back();
    let mut chars = chars.peekable();
    chars.peek().is_some()
        && chars.all(|c| c != '\u{fffd}' && (!c.is_control() || c.is_ascii_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(Format::sniff(bytes).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_page_of_a_failed_download_is_named() {
        check(
            b"\n<!DOCTYPE html><title>404",
            "not an image: it is an HTML page",
        );
    }

    #[test]
    fn text_is_quoted() {
        check(
            b"hello there",
            r#"not an image: it is text that starts with "hello there""#,
        );
    }

    #[test]
    fn binary_junk_is_shown_in_hexadecimal() {
        check(
            &[0, 1, 2],
            "not an image: no known image format starts with the bytes 000102",
        );
    }

    #[test]
    fn svg_is_an_image_of_another_kind() {
        check(
            b"<?xml version=\"1.0\"?><svg/>",
            "image format SVG is not supported, convert it to PNG or JPEG first",
        );
    }

    #[test]
    fn names_parse_in_any_case() {
        assert_eq!("JPG".parse(), Ok(Format::Jpeg));
        assert!("jpeg2".parse::<Format>().is_err());
    }
}
