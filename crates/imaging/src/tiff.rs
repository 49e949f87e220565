//! What the decoder of TIFF files gets wrong: known by the first directory, and refused or
//! prepared for it.

mod directory;
mod jpeg;

use std::borrow::Cow;

use directory::{Directory, tag};
pub(crate) use jpeg::JpegParts;

use crate::jpeg::JpegHeader;
use crate::{Error, Format};

const LZW: u64 = 5;
const JPEG: u64 = 7;

/// Refuses texts that are longer than the file, of which the decoder prints an error of its
/// own.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Error> {
    match Directory::read(bytes) {
        Some(directory) if directory.has_endless_text() => Err(Error::Corrupt {
            format: Format::Tiff,
            reason: "a text is longer than the file".to_string(),
        }),
        _ => Ok(()),
    }
}

/// Refuses what the decoder does not decode rightly, and gives the bytes that it does.
pub(crate) fn prepare(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    // Damaged files are for the decoder to name.
    let Some(directory) = Directory::read(bytes) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let refuse = |what: &str| {
        let what = what.to_string();
        Err(Error::Unsupported { what })
    };
    if directory.is_tiled() && directory.number(tag::PLANAR) == Some(2) {
        return refuse("TIFF with tiles of one channel each");
    }
    let Some(parts) = directory.parts() else {
        return refuse("TIFF with strips or tiles that share their bytes");
    };
    if directory.number(tag::COMPRESSION) == Some(JPEG) {
        let mut parts = parts.iter().cloned();
        if parts.any(|part| is_unusual_jpeg(&bytes[part])) {
            return refuse("TIFF with JPEG data of an unusual layout");
        }
    }
    if directory.number(tag::FILL_ORDER) == Some(2)
        && directory.number(tag::COMPRESSION) != Some(JPEG)
    {
        // The decoder reads the first bit of a byte as its highest in any case.
        let mut turned = bytes.to_vec();
        for part in parts {
            // Not again what several parts share.
            for (to, from) in turned[part.clone()].iter_mut().zip(&bytes[part]) {
                *to = from.reverse_bits();
            }
        }
        return Ok(Cow::Owned(turned));
    }
    Ok(Cow::Borrowed(bytes))
}

/// The error of the decoder, but for sound files that it finds too short.
pub(crate) fn explain(bytes: &[u8], error: Error) -> Error {
    let is_sound = Directory::read(bytes).is_some_and(|directory| {
        directory.is_tiled() && directory.number(tag::COMPRESSION) == Some(LZW)
    });
    match error {
        Error::Corrupt { .. } if is_sound => Error::Unsupported {
            what: "TIFF with these LZW tiles".to_string(),
        },
        error => error,
    }
}

/// Whether the codec that the TIFF decoder uses may give wrong pixels for this JPEG.
fn is_unusual_jpeg(bytes: &[u8]) -> bool {
    match JpegHeader::read(bytes) {
        Ok(header) => !header.is_plain(bytes),
        Err(error) => matches!(error, Error::Unsupported { .. }),
    }
}
