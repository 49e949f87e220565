//! What the first directory of a TIFF file says.

use std::ops::Range;

/// The tags that are looked at.
pub(super) mod tag {
    pub(crate) const WIDTH: u16 = 256;
    pub(crate) const LENGTH: u16 = 257;
    pub(crate) const BITS: u16 = 258;
    pub(crate) const COMPRESSION: u16 = 259;
    pub(crate) const PHOTOMETRIC: u16 = 262;
    pub(crate) const FILL_ORDER: u16 = 266;
    pub(crate) const STRIP_OFFSETS: u16 = 273;
    pub(crate) const ORIENTATION: u16 = 274;
    pub(crate) const SAMPLES: u16 = 277;
    pub(crate) const STRIP_ROWS: u16 = 278;
    pub(crate) const STRIP_BYTES: u16 = 279;
    pub(crate) const PLANAR: u16 = 284;
    pub(crate) const TILE_WIDTH: u16 = 322;
    pub(crate) const TILE_LENGTH: u16 = 323;
    pub(crate) const TILE_OFFSETS: u16 = 324;
    pub(crate) const TILE_BYTES: u16 = 325;
    pub(crate) const JPEG_TABLES: u16 = 347;
}

/// The first directory of a file.
pub(super) struct Directory<'a> {
    pub(super) bytes: &'a [u8],
    is_little: bool,
    is_big: bool,
    entries: &'a [u8],
}

impl<'a> Directory<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (is_little, is_big) = match bytes.first_chunk()? {
            b"II\x2a\0" => (true, false),
            b"MM\0\x2a" => (false, false),
            b"II\x2b\0" => (true, true),
            b"MM\0\x2b" => (false, true),
            _ => return None,
        };
        let mut directory = Directory {
            bytes,
            is_little,
            is_big,
            entries: &[],
        };
        let (start, count, head) = if is_big {
            let start = usize::try_from(directory.at(8, 8)?).ok()?;
            (start, directory.at(start, 8)?, 8)
        } else {
            let start = usize::try_from(directory.at(4, 4)?).ok()?;
            (start, directory.at(start, 2)?, 2)
        };
        let length = usize::try_from(count)
            .ok()?
            .checked_mul(directory.width())?;
        let start = start.checked_add(head)?;
        directory.entries = bytes.get(start..start.checked_add(length)?)?;
        Some(directory)
    }

    /// Bytes of an entry.
    fn width(&self) -> usize {
        if self.is_big { 20 } else { 12 }
    }

    /// A number of some bytes.
    fn at(&self, at: usize, count: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(count)?)?;
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_little {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    }

    /// Where the entries are.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let start = self.entries.as_ptr() as usize - self.bytes.as_ptr() as usize;
        let width = self.width();
        (0..self.entries.len() / width).map(move |n| start + n * width)
    }

    pub(super) fn has_endless_text(&self) -> bool {
        const TEXT: u64 = 2;
        let room = if self.is_big { 8 } else { 4 };
        self.places().any(|at| {
            self.at(at + 2, 2) == Some(TEXT)
                && self.at(at + 4, room) > Some(self.bytes.len() as u64)
        })
    }

    /// Where the values of a tag are, and how many bytes each has; `None` if it is absent or
    /// damaged.
    fn values(&self, tag: u16) -> Option<(Range<usize>, usize)> {
        let mut places = self.places();
        let at = places.find(|at| self.at(*at, 2) == Some(u64::from(tag)))?;
        let size = match self.at(at + 2, 2)? {
            1 | 7 => 1,
            3 => 2,
            4 | 13 => 4,
            16 | 18 => 8,
            _ => return None,
        };
        let room = if self.is_big { 8 } else { 4 };
        let count = usize::try_from(self.at(at + 4, room)?).ok()?;
        let length = count.checked_mul(size)?;
        let values = if length <= room {
            at + 4 + room
        } else {
            usize::try_from(self.at(at + 4 + room, room)?).ok()?
        };
        let values = values..values.checked_add(length)?;
        self.bytes.get(values.clone())?;
        Some((values, size))
    }

    /// The values of a tag.
    pub(super) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        let (values, size) = self.values(tag)?;
        values.step_by(size).map(|at| self.at(at, size)).collect()
    }

    /// The bytes of a tag.
    pub(super) fn data(&self, tag: u16) -> Option<&'a [u8]> {
        self.bytes.get(self.values(tag)?.0)
    }

    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        self.numbers(tag)?.first().copied()
    }

    pub(super) fn is_tiled(&self) -> bool {
        self.number(tag::TILE_WIDTH).is_some()
    }

    /// Where the strips or tiles are, in their order; those that are not in the file are
    /// empty. `None` if so many share their bytes that reading them all takes far longer
    /// than the file is long.
    pub(super) fn parts(&self) -> Option<Vec<Range<usize>>> {
        let (offsets, lengths) = if self.is_tiled() {
            (tag::TILE_OFFSETS, tag::TILE_BYTES)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_BYTES)
        };
        let offsets = self.numbers(offsets).unwrap_or_default();
        let lengths = self.numbers(lengths).unwrap_or_default();
        let parts = offsets.into_iter().zip(lengths).map(|(start, length)| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            (end <= self.bytes.len()).then_some(start..end)
        });
        let parts: Vec<_> = parts.map(Option::unwrap_or_default).collect();
        let total = parts
            .iter()
            .fold(0, |sum: usize, p| sum.saturating_add(p.len()));
        (total <= self.bytes.len().saturating_mul(2)).then_some(parts)
    }
}
