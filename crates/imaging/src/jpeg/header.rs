//! What stands before the pixels of a JPEG file.

use std::rc::Rc;

use ::image::metadata::Orientation;

use super::huffman::{AcTable, DcTable, Description};

/// A file of the kind that nearly all photos are: one scan of whole blocks, gray or with
/// chroma of the full or of half the size.
pub(crate) struct Header {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One for gray, or luma and two of chroma.
    pub(super) components: Vec<Component>,
    /// Blocks of luma in an MCU, across and down; chroma has one.
    pub(super) sampling: (usize, usize),
    /// MCUs between restart markers; 0 if there are none.
    pub(super) restart: usize,
    /// Where the scan begins.
    pub(super) scan: usize,
    /// How the image is turned, by its EXIF data if they are there and valid.
    pub(crate) orientation: Orientation,
}

/// The tables of a component.
pub(super) struct Component {
    /// In zigzag order.
    pub(super) quantization: [i32; 64],
    pub(super) dc: Rc<DcTable>,
    pub(super) ac: Rc<AcTable>,
}

/// A component as the frame header has it.
struct Frame {
    id: u8,
    sampling: (usize, usize),
    quantization: usize,
}

#[derive(Default)]
struct Tables {
    quantization: [Option<[i32; 64]>; 4],
    dc: [Option<Rc<DcTable>>; 4],
    ac: [Option<Rc<AcTable>>; 4],
}

/// What was found before the scan.
#[derive(Default)]
struct Found {
    tables: Tables,
    size: (usize, usize),
    frame: Vec<Frame>,
    restart: usize,
    is_jfif: bool,
    exif: Option<Orientation>,
    /// What the Adobe segment says of the colours.
    transform: Option<u8>,
}

impl Header {
    /// Columns and rows.
    pub(crate) fn size(&self) -> (u32, u32) {
        // In range: each has 16 bits in the file.
        (self.width as u32, self.height as u32)
    }

    /// Reads the header; `None` if the file is of another kind, or damaged.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut found = Found::default();
        let mut at = 2;
        loop {
            let [0xff, marker] = *bytes.get(at..)?.first_chunk()? else {
                return None;
            };
            at += 2;
            match marker {
                // Fill byte: the marker follows it.
                0xff => at -= 1,
                0x01 | 0xd0..=0xd8 => {}
                _ => {
                    let length = *bytes.get(at..)?.first_chunk()?;
                    let end = at + usize::from(u16::from_be_bytes(length));
                    let segment = bytes.get(at + 2..end)?;
                    if marker == super::START_OF_SCAN {
                        return found.finish(segment, end);
                    }
                    found.segment(marker, segment)?;
                    at = end;
                }
            }
        }
    }
}

impl Found {
    fn segment(&mut self, marker: u8, segment: &[u8]) -> Option<()> {
        match marker {
            0xdb => self.tables.quantization(segment),
            0xc4 => self.tables.huffman(segment),
            0xc0 | 0xc1 => self.frame(segment),
            // Progressive, lossless, arithmetic, and frames within frames.
            0xc2..=0xcf | 0xde | 0xdf => None,
            0xdd => {
                let interval = *segment.first_chunk()?;
                self.restart = usize::from(u16::from_be_bytes(interval));
                Some(())
            }
            0xe0 => {
                self.is_jfif |= segment.starts_with(b"JFIF\0");
                Some(())
            }
            0xe1 => {
                let Some(exif) = segment.strip_prefix(b"Exif\0\0") else {
                    return Some(());
                };
                let orientation = Orientation::from_exif_chunk(exif)
                    .unwrap_or(Orientation::NoTransforms);
                // Which of several counts is not for us to say.
                self.exif.replace(orientation).is_none().then_some(())
            }
            0xee => {
                if segment.starts_with(b"Adobe") {
                    self.transform = segment.get(11).copied();
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let [8, h1, h0, w1, w0, count, components @ ..] = segment else {
            return None;
        };
        let components = components.as_chunks::<3>().0;
        if !self.frame.is_empty()
            || components.len() != usize::from(*count)
            || !matches!(count, 1 | 3)
        {
            return None;
        }
        self.size = (
            usize::from(u16::from_be_bytes([*w1, *w0])),
            usize::from(u16::from_be_bytes([*h1, *h0])),
        );
        self.frame = components
            .iter()
            .map(|[id, sampling, quantization]| Frame {
                id: *id,
                sampling: (usize::from(sampling >> 4), usize::from(sampling & 15)),
                quantization: usize::from(*quantization),
            })
            .collect();
        Some(())
    }

    /// Reads the header of the scan, which ends at `scan`.
    fn finish(self, segment: &[u8], scan: usize) -> Option<Header> {
        let (&count, rest) = segment.split_first()?;
        let (choices, [0, 63, 0]) = rest.split_at_checked(2 * usize::from(count))? else {
            return None;
        };
        let choices = choices.as_chunks::<2>().0;
        if choices.len() != self.frame.len() || self.size.0 == 0 || self.size.1 == 0 {
            return None;
        }
        let (first, chroma) = self.frame.split_first()?;
        let sampling = if chroma.is_empty() {
            // One component: the sampling says nothing.
            (1, 1)
        } else {
            first.sampling
        };
        let is_usual = matches!(sampling, (1 | 2, 1 | 2))
            && chroma.iter().all(|frame| frame.sampling == (1, 1));
        if !is_usual || !(chroma.is_empty() || self.is_ycc()) {
            return None;
        }
        let components = self.frame.iter().zip(choices).map(|(frame, [id, tables])| {
            if frame.id != *id {
                return None;
            }
            Some(Component {
                quantization: (*self.tables.quantization.get(frame.quantization)?)?,
                dc: self.tables.dc.get(usize::from(tables >> 4))?.clone()?,
                ac: self.tables.ac.get(usize::from(tables & 15))?.clone()?,
            })
        });
        Some(Header {
            width: self.size.0,
            height: self.size.1,
            components: components.collect::<Option<_>>()?,
            sampling,
            restart: self.restart,
            scan,
            orientation: self.exif.unwrap_or(Orientation::NoTransforms),
        })
    }

    /// Whether three components are luma and chroma, as libjpeg decides it.
    fn is_ycc(&self) -> bool {
        match (self.is_jfif, self.transform) {
            (true, _) => true,
            (false, Some(transform)) => transform == 1,
            (false, None) => {
                let ids: Vec<u8> = self.frame.iter().map(|frame| frame.id).collect();
                ids != *b"RGB"
            }
        }
    }
}

impl Tables {
    fn quantization(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let mut table = [0; 64];
            let slot = self.quantization.get_mut(usize::from(kind & 15))?;
            if kind >> 4 == 0 {
                let (values, rest) = rest.split_first_chunk::<64>()?;
                table = values.map(i32::from);
                segment = rest;
            } else {
                let (values, rest) = rest.split_first_chunk::<128>()?;
                for (to, from) in table.iter_mut().zip(values.as_chunks().0) {
                    *to = i32::from(u16::from_be_bytes(*from));
                }
                segment = rest;
            }
            *slot = Some(table);
        }
        Some(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().copied().map(usize::from).sum();
            let (values, rest) = rest.split_at_checked(total)?;
            let description = Description { counts, values };
            let slot = usize::from(kind & 15);
            match kind >> 4 {
                0 => {
                    let table = DcTable::new(&description)?;
                    *self.dc.get_mut(slot)? = Some(Rc::new(table));
                }
                1 => {
                    let table = AcTable::new(&description)?;
                    *self.ac.get_mut(slot)? = Some(Rc::new(table));
                }
                _ => return None,
            }
            segment = rest;
        }
        Some(())
    }
}
