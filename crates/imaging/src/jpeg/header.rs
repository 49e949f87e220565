//! What stands before the pixels of a JPEG file.

use ::image::metadata::Orientation;

use super::segments::{
    END_OF_IMAGE, HUFFMAN_TABLES, QUANTIZATION_TABLES, RESTART_INTERVAL, START_OF_SCAN,
    Segment, corrupt, unsupported,
};
use super::tables::Tables;
use crate::Error;
use crate::orientation;

/// The header of a file of a kind that is decoded: 8 bits a sample, Huffman codes,
/// sequential or progressive.
pub(crate) struct JpegHeader {
    pub(super) is_progressive: bool,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) frame: Vec<FrameComponent>,
    pub(crate) colors: Colors,
    /// As they are before the first scan.
    pub(super) tables: Tables,
    /// MCUs between restart markers; 0 if there are none.
    pub(super) restart: usize,
    /// Where the marker of the first scan begins.
    pub(super) first_scan: usize,
    /// How the image is turned, by its metadata if they are there and valid.
    pub(crate) orientation: Orientation,
}

/// A component as the frame header has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameComponent {
    pub(super) id: u8,
    /// Blocks in an MCU, across and down.
    pub(super) sampling: (usize, usize),
    /// Which quantization table it uses.
    pub(super) quantization: usize,
}

/// The colour space of the components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colors {
    Gray,
    Rgb,
    /// Luma and chroma.
    Ycc,
    /// Ink, inverted: 255 is none.
    Cmyk,
    /// Luma, chroma and black ink.
    Ycck,
}

/// The segments that were found before the first scan.
#[derive(Default)]
struct HeaderParts {
    tables: Tables,
    is_progressive: bool,
    size: (usize, usize),
    frame: Vec<FrameComponent>,
    restart: usize,
    is_jfif: bool,
    exif: Vec<u8>,
    xmp: Option<Orientation>,
    /// What the Adobe segment says of the colours.
    transform: Option<u8>,
}

impl JpegHeader {
    /// Columns and rows.
    pub(crate) fn size(&self) -> (u32, u32) {
        // In range: each has 16 bits in the file.
        (self.width as u32, self.height as u32)
    }

    /// The channels of the decoded image.
    pub(crate) fn channels(&self) -> u8 {
        if self.colors == Colors::Gray { 1 } else { 3 }
    }

    /// The largest sampling of a component, across and down.
    pub(super) fn sampling(&self) -> (usize, usize) {
        let across = self.frame.iter().map(|component| component.sampling.0);
        let down = self.frame.iter().map(|component| component.sampling.1);
        (across.max().unwrap_or(1), down.max().unwrap_or(1))
    }

    /// Whether an end-of-image marker follows the first scan's header.
    ///
    /// Only an image that ends early is found this way: the marker cannot occur inside a
    /// scan, and those of thumbnails stand before it.
    pub(crate) fn is_complete(&self, bytes: &[u8]) -> bool {
        let scans = bytes.get(self.first_scan..).unwrap_or_default();
        // It is at the end of nearly all files.
        let mut pairs = scans.windows(2).rev();
        pairs.any(|pair| pair == [0xff, END_OF_IMAGE])
    }

    /// Reads the header. Kinds that no decoder here knows are refused by their name.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut found = HeaderParts::default();
        let mut at = 2;
        loop {
            let segment = Segment::next(bytes, at)?;
            if segment.marker == START_OF_SCAN {
                return found.finish(segment.start);
            }
            found.segment(&segment)?;
            at = segment.end;
        }
    }
}

impl HeaderParts {
    fn segment(&mut self, segment: &Segment<'_>) -> Result<(), Error> {
        let data = segment.data;
        match segment.marker {
            END_OF_IMAGE => return Err(corrupt("it has no pixels")),
            QUANTIZATION_TABLES => self.tables.read_quantization(data)?,
            HUFFMAN_TABLES => self.tables.read_huffman(data)?,
            // Conditions of arithmetic coding, which no frame that is decoded uses.
            0xcc => {}
            marker @ (0xc0..=0xcf | 0xde | 0xdf | 0xf7) => self.frame(marker, data)?,
            RESTART_INTERVAL => self.restart = restart_interval(data)?,
            0xe0 => self.is_jfif |= data.starts_with(b"JFIF\0") && data.len() >= 14,
            0xe1 => {
                // Several are put together, as in Pillow, so that the first one counts.
                if let Some(exif) = data.strip_prefix(b"Exif\0\0") {
                    self.exif.extend_from_slice(exif);
                }
                if let Some(xmp) = data.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp = orientation::of_xmp(xmp);
                }
            }
            0xee if data.starts_with(b"Adobe") && data.len() >= 12 => {
                self.transform = Some(data[11]);
            }
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self, marker: u8, data: &[u8]) -> Result<(), Error> {
        if let Some(kind) = unknown_frame(marker) {
            return Err(unsupported(kind));
        }
        let bad = || corrupt("its frame header is damaged");
        let [precision, h1, h0, w1, w0, count, components @ ..] = data else {
            return Err(bad());
        };
        if *precision != 8 {
            let what = format!("JPEG with {precision} bits a sample");
            return Err(unsupported(what));
        }
        let (components, []) = components.as_chunks::<3>() else {
            return Err(bad());
        };
        if !self.frame.is_empty() || components.len() != usize::from(*count) {
            return Err(bad());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG with {count} components")));
        }
        self.is_progressive = marker == 0xc2;
        self.size = (
            usize::from(u16::from_be_bytes([*w1, *w0])),
            usize::from(u16::from_be_bytes([*h1, *h0])),
        );
        for [id, sampling, quantization] in components {
            let sampling = (usize::from(sampling >> 4), usize::from(sampling & 15));
            if !matches!(sampling, (1..=4, 1..=4)) {
                return Err(bad());
            }
            self.frame.push(FrameComponent {
                id: *id,
                sampling,
                quantization: usize::from(*quantization),
            });
        }
        Ok(())
    }

    fn finish(self, first_scan: usize) -> Result<JpegHeader, Error> {
        if self.frame.is_empty() {
            return Err(corrupt("it has no frame header"));
        }
        if let (1.., 0) = self.size {
            return Err(unsupported(
                "JPEG whose height follows its first scan (DNL)",
            ));
        }
        let orientation = orientation::of_exif(&self.exif).or(self.xmp);
        Ok(JpegHeader {
            is_progressive: self.is_progressive,
            width: self.size.0,
            height: self.size.1,
            colors: self.colors(),
            frame: self.frame,
            tables: self.tables,
            restart: self.restart,
            first_scan,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }

    /// The colour space of the components, decided as libjpeg does it: a JFIF segment means
    /// luma and chroma, else the Adobe segment decides, else the components' identifiers.
    fn colors(&self) -> Colors {
        let ids: Vec<u8> = self.frame.iter().map(|frame| frame.id).collect();
        match (ids.len(), self.is_jfif, self.transform) {
            (1, _, _) => Colors::Gray,
            (4, _, None | Some(0)) => Colors::Cmyk,
            (4, _, Some(_)) => Colors::Ycck,
            (_, false, Some(0)) => Colors::Rgb,
            (_, false, None) if ids == *b"RGB" => Colors::Rgb,
            _ => Colors::Ycc,
        }
    }
}

/// The name of a frame that is not decoded.
fn unknown_frame(marker: u8) -> Option<String> {
    let name = match marker {
        0xc0..=0xc2 => return None,
        0xc3 => "lossless JPEG",
        0xc5..=0xc7 | 0xde | 0xdf => "hierarchical JPEG",
        0xc9 | 0xca => "JPEG with arithmetic coding",
        0xcb => "lossless JPEG with arithmetic coding",
        0xcd..=0xcf => "hierarchical JPEG with arithmetic coding",
        0xf7 => return Some("image format JPEG-LS".to_string()),
        _ => "JPEG of a reserved kind",
    };
    Some(match marker {
        0xc0..=0xcf => format!("{name} (SOF{})", marker - 0xc0),
        _ => name.to_string(),
    })
}

pub(super) fn restart_interval(data: &[u8]) -> Result<usize, Error> {
    match data {
        [high, low] => Ok(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => Err(corrupt("its restart interval is damaged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [u8; 2] = [0xff, 0xd8];
    const EXIF: [u8; 6] = [0xff, 0xe1, 0, 4, 0xff, 0xd9];
    const FRAME: [u8; 13] = [0xff, 0xc0, 0, 11, 8, 0, 1, 0, 1, 1, 1, 0x11, 0];

    fn file(scan: &[u8]) -> Vec<u8> {
        [
            &START,
            &EXIF[..],
            &FRAME,
            &[0xff, START_OF_SCAN, 0, 2],
            scan,
        ]
        .concat()
    }

    fn is_complete(bytes: &[u8]) -> bool {
        JpegHeader::read(bytes).unwrap().is_complete(bytes)
    }

    #[test]
    fn the_marker_of_a_thumbnail_does_not_count() {
        assert!(!is_complete(&file(&[1, 2, 3])));
    }

    #[test]
    fn bytes_after_the_marker_do_not_matter() {
        assert!(is_complete(&file(&[1, 2, 0xff, 0xd9, 7, 7])));
    }

    #[test]
    fn bytes_between_segments_do_not_matter() {
        let bytes = [&START, &[0, 7, 0xff, 0][..], &file(&[0xff, 0xd9])[2..]].concat();
        assert!(is_complete(&bytes));
    }

    /// Every kind of frame but those that are decoded, and every other precision.
    #[test]
    fn kinds_that_are_not_decoded_are_named() {
        for marker in (0xc3..=0xcf).filter(|marker| !matches!(marker, 0xc4 | 0xcc)) {
            let mut bytes = file(&[]);
            bytes[9] = marker;
            let error = JpegHeader::read(&bytes).err().unwrap();
            assert_eq!(error.code(), "UNSUPPORTED_FORMAT", "{marker:x}");
            let name = format!("(SOF{})", marker - 0xc0);
            assert!(error.to_string().contains(&name), "{error}");
        }
        for precision in (0..=16).filter(|precision| *precision != 8) {
            let mut bytes = file(&[]);
            bytes[12] = precision;
            let error = JpegHeader::read(&bytes).err().unwrap();
            let text = error.to_string();
            assert_eq!(error.code(), "UNSUPPORTED_FORMAT", "{precision}");
            assert!(
                text.contains(&format!("{precision} bits a sample")),
                "{text}"
            );
        }
    }
}
