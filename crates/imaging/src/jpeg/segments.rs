//! The segments of a JPEG file, between its markers.

use crate::{Error, Format};

pub(super) const START_OF_SCAN: u8 = 0xda;
pub(super) const END_OF_IMAGE: u8 = 0xd9;
pub(super) const HUFFMAN_TABLES: u8 = 0xc4;
pub(super) const QUANTIZATION_TABLES: u8 = 0xdb;
pub(super) const RESTART_INTERVAL: u8 = 0xdd;

/// A marker and what belongs to it.
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    /// Without the length; empty for markers that have none.
    pub(super) data: &'a [u8],
    /// Where the marker begins.
    pub(super) start: usize,
    /// Where the file goes on.
    pub(super) end: usize,
}

impl<'a> Segment<'a> {
    /// The next segment at or after `at`. What stands before its marker is passed over, as
    /// libjpeg does it.
    pub(super) fn next(bytes: &'a [u8], at: usize) -> Result<Self, Error> {
        let (start, marker) = find_marker(bytes, at).ok_or_else(ends_early)?;
        let after = start + 2;
        let (data, end) = match marker {
            // Markers without a length.
            0x01 | 0xd0..=END_OF_IMAGE => (&[][..], after),
            0x02..=0xbf => {
                return Err(corrupt(format!("it has an unknown marker {marker:02x}")));
            }
            _ => {
                let rest = bytes.get(after..).unwrap_or_default();
                let length = *rest.first_chunk().ok_or_else(ends_early)?;
                let length = usize::from(u16::from_be_bytes(length));
                if length < 2 {
                    return Err(corrupt(format!("a segment has {length} bytes")));
                }
                let data = rest.get(2..length).ok_or_else(ends_early)?;
                (data, after + length)
            }
        };
        Ok(Segment {
            marker,
            data,
            start,
            end,
        })
    }
}

/// Where the next marker begins, and which one it is.
fn find_marker(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let rest = bytes.get(at..)?;
    let mut pairs = rest.windows(2).enumerate();
    // Fill bytes stand before a marker, a zero follows a byte of data.
    pairs.find_map(|(n, pair)| match pair {
        [0xff, marker @ 1..=0xfe] => Some((at + n, *marker)),
        _ => None,
    })
}

pub(super) fn corrupt(reason: impl Into<String>) -> Error {
    Error::Corrupt {
        format: Format::Jpeg,
        reason: reason.into(),
    }
}

pub(super) fn unsupported(what: impl Into<String>) -> Error {
    Error::Unsupported { what: what.into() }
}

pub(crate) fn ends_early() -> Error {
    corrupt("the file ends before the image does")
}
