//! The quantization and Huffman tables of a JPEG file, and the standard's own, which files of
//! Motion JPEG leave out.

use std::rc::Rc;

use super::damaged;
use super::huffman::{AcTable, DcTable, Description, SymbolTable};
use super::segments::corrupt;
use crate::Error;

/// The tables that the segments read so far define, by their slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    quantization: [Option<[i32; 64]>; 4],
    dc: [Option<Rc<Description>>; 4],
    ac: [Option<Rc<Description>>; 4],
}

/// The tables that a component of a scan is decoded with.
pub(super) struct Component {
    /// In zigzag order.
    pub(super) quantization: [i32; 64],
    pub(super) dc: Rc<DcTable>,
    pub(super) ac: Rc<AcTable>,
}

/// Tables made for a scan, so that components that share one share its memory.
#[derive(Default)]
pub(super) struct Made {
    dc: [Option<Rc<DcTable>>; 4],
    ac: [Option<Rc<AcTable>>; 4],
}

impl Tables {
    /// Reads a segment of quantization tables.
    pub(super) fn read_quantization(&mut self, mut segment: &[u8]) -> Result<(), Error> {
        let bad = || corrupt("a quantization table is damaged");
        while let Some((&kind, rest)) = segment.split_first() {
            let mut table = [0; 64];
            let slot = self.quantization.get_mut(usize::from(kind & 15));
            let slot = slot.ok_or_else(bad)?;
            if kind >> 4 == 0 {
                let (values, rest) = rest.split_first_chunk::<64>().ok_or_else(bad)?;
                table = values.map(i32::from);
                segment = rest;
            } else {
                let (values, rest) = rest.split_first_chunk::<128>().ok_or_else(bad)?;
                for (to, from) in table.iter_mut().zip(values.as_chunks().0) {
                    *to = i32::from(u16::from_be_bytes(*from));
                }
                segment = rest;
            }
            *slot = Some(table);
        }
        Ok(())
    }

    /// Reads a segment of Huffman tables. What they mean is looked at when one is used.
    pub(super) fn read_huffman(&mut self, mut segment: &[u8]) -> Result<(), Error> {
        let bad = || corrupt("a Huffman table is damaged");
        while let Some((&kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(bad)?;
            let total = counts.iter().copied().map(usize::from).sum();
            let (values, rest) = rest.split_at_checked(total).ok_or_else(bad)?;
            let slots = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(bad()),
            };
            let slot = slots.get_mut(usize::from(kind & 15)).ok_or_else(bad)?;
            *slot = Some(Rc::new(Description {
                counts: *counts,
                values: values.to_vec(),
            }));
            segment = rest;
        }
        Ok(())
    }

    pub(super) fn quantization(&self, slot: usize) -> Result<[i32; 64], Error> {
        let table = self.quantization.get(slot).copied().flatten();
        table.ok_or_else(|| corrupt(format!("quantization table {slot} is missing")))
    }

    /// The tables that a scan names for a component: in its upper four bits that of DC
    /// coefficients, in the lower four that of AC coefficients.
    pub(super) fn component(
        &self,
        quantization: [i32; 64],
        choice: u8,
        made: &mut Made,
    ) -> Result<Component, Error> {
        let (dc, ac) = (usize::from(choice >> 4), usize::from(choice & 15));
        Ok(Component {
            quantization,
            dc: share(&mut made.dc, dc, || self.dc(dc))?,
            ac: share(&mut made.ac, ac, || {
                let made = AcTable::new(&*described(&self.ac, ac, &standard::AC)?);
                made.ok_or_else(|| bad_codes(ac))
            })?,
        })
    }

    /// The same for a scan whose codes are damaged.
    pub(super) fn damaged(
        &self,
        quantization: [i32; 64],
        choice: u8,
    ) -> Result<damaged::Component, Error> {
        let (dc, ac) = (usize::from(choice >> 4), usize::from(choice & 15));
        Ok(damaged::Component {
            quantization,
            dc: damaged::BitwiseCodes::new(&*described(&self.dc, dc, &standard::DC)?),
            ac: damaged::BitwiseCodes::new(&*described(&self.ac, ac, &standard::AC)?),
        })
    }

    pub(super) fn dc(&self, slot: usize) -> Result<DcTable, Error> {
        let made = DcTable::new(&*described(&self.dc, slot, &standard::DC)?);
        made.ok_or_else(|| bad_codes(slot))
    }

    /// The codes of AC coefficients of a progressive scan.
    pub(super) fn symbols(&self, slot: usize) -> Result<SymbolTable, Error> {
        let made = SymbolTable::new(&*described(&self.ac, slot, &standard::AC)?);
        made.ok_or_else(|| bad_codes(slot))
    }
}

fn bad_codes(slot: usize) -> Error {
    corrupt(format!("the codes of Huffman table {slot} are damaged"))
}

fn share<T>(
    slots: &mut [Option<Rc<T>>; 4],
    slot: usize,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<Rc<T>, Error> {
    if let Some(Some(made)) = slots.get(slot) {
        return Ok(Rc::clone(made));
    }
    let made = Rc::new(make()?);
    if let Some(slot) = slots.get_mut(slot) {
        *slot = Some(Rc::clone(&made));
    }
    Ok(made)
}

/// The table of a slot: the file's, or the standard's. Frames of Motion JPEG have none.
fn described(
    slots: &[Option<Rc<Description>>; 4],
    slot: usize,
    standard: &[([u8; 16], &[u8]); 2],
) -> Result<Rc<Description>, Error> {
    if let Some(Some(description)) = slots.get(slot) {
        return Ok(Rc::clone(description));
    }
    let (counts, values) = standard
        .get(slot)
        .ok_or_else(|| corrupt(format!("Huffman table {slot} is missing")))?;
    Ok(Rc::new(Description {
        counts: *counts,
        values: values.to_vec(),
    }))
}

/// The tables of Annex K of ITU-T T.81, of luma and of chroma.
mod standard {
    type Table = ([u8; 16], &'static [u8]);

    const DIFFERENCES: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    pub(super) const DC: [Table; 2] = [
        (
            [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            DIFFERENCES,
        ),
        (
            [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
            DIFFERENCES,
        ),
    ];

    pub(super) const AC: [Table; 2] = [
        ([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d], LUMA),
        ([0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77], CHROMA),
    ];

    const LUMA: &[u8] = &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13,
        0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42,
        0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a,
        0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35,
        0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a,
        0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67,
        0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84,
        0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
        0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3,
        0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1,
        0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4,
        0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ];

    const CHROMA: &[u8] = &[
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51,
        0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1,
        0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24,
        0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a,
        0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
        0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66,
        0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82,
        0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96,
        0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa,
        0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
        0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9,
        0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4,
        0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ];
}
