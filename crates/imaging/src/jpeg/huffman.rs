//! The Huffman codes of a JPEG scan. Decoding them takes the largest part of the time.
//!
//! A look at the next bits gives in one step how many of them a coefficient takes with its
//! code; what the coefficient is follows while the next is already looked up. Where none
//! is wanted, a look takes as many as it can. Bits are taken from memory eight bytes at a
//! time, without a branch; that is why the scan is copied without its stuffed bytes first
//! ("reading bits in far too many ways", variant 4, by Fabian Giesen).

use super::idct::index;

/// How many bits are looked at in one step.
const LOOK: u32 = 10;

/// How far the code for the end of a block advances: beyond any coefficient.
const END_OF_BLOCK: usize = 128;

/// More coefficients than a block has places for, but for the first.
const TOO_MANY: u32 = 64;

/// Where the coefficient at each place of the zigzag goes.
pub(super) const ZIGZAG: [u8; 64] = {
    let mut places = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48,
        41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15,
        23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62,
        63,
    ];
    let mut at = 0;
    while at < 64 {
        let place = places[at] as usize;
        // In range: one of 64.
        places[at] = index(place / 8, place % 8) as u8;
        at += 1;
    }
    places
};

/// Codes as the file has them: how many of each length, and what they mean.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) counts: [u8; 16],
    pub(super) values: Vec<u8>,
}

/// What the codes of a table stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HuffmanTableKind {
    /// Differences of DC coefficients.
    Dc,
    /// AC coefficients.
    Ac,
    /// Bytes that progressive scans give a meaning of their own.
    Symbol,
}

/// A coefficient by its code: in bits 0 to 7 the length of the code and of the number
/// behind it, in 8 to 15 how many places it advances, in 16 to 23 the length of the number
/// taken from 63, in 24 to 31 the length of the code.
#[derive(Debug, Clone, Copy)]
struct CodeEntry(u32);

impl CodeEntry {
    /// There is no such code, or it is longer than what is looked at.
    const NONE: CodeEntry = CodeEntry(0);

    fn new(kind: HuffmanTableKind, length: u32, meaning: u8) -> Self {
        let (run, size) = (u32::from(meaning >> 4), u32::from(meaning & 15));
        let advance = match (kind, run, size) {
            (HuffmanTableKind::Symbol, ..) => {
                let symbol = u32::from(meaning);
                return CodeEntry(length | (symbol << 8) | (63 << 16) | (length << 24));
            }
            (HuffmanTableKind::Dc, 0, 0..=11) => 0,
            (HuffmanTableKind::Ac, 0, 0) => END_OF_BLOCK as u32,
            (HuffmanTableKind::Ac, 15, 0) | (HuffmanTableKind::Ac, _, 1..=10) => run + 1,
            _ => return CodeEntry::NONE,
        };
        CodeEntry((length + size) | (advance << 8) | ((63 - size) << 16) | (length << 24))
    }

    #[inline(always)]
    fn length(self) -> u32 {
        self.0 & 255
    }

    #[inline(always)]
    fn advance(self) -> u32 {
        self.0 >> 8 & 255
    }

    /// The number behind the code that the bits begin with. The standard writes a negative
    /// one by the complement of its bits, so that the first of them is its sign.
    #[inline(always)]
    fn number(self, ahead: u64) -> i32 {
        let bits = ahead << (self.0 >> 24);
        let sign = !(bits as i64 >> 63);
        // Shifted twice, as it may have no bits at all.
        let size = (bits ^ sign as u64) >> 1 >> (self.0 >> 16 & 63);
        (size as i32 ^ sign as i32).wrapping_sub(sign as i32)
    }
}

/// Finds codes by the bits that they begin with.
struct Codes {
    kind: HuffmanTableKind,
    short: [CodeEntry; 1 << LOOK],
    /// For each length, the first number of 16 bits that begins no code so short.
    ends: [u32; 17],
    /// For each length, what to add to a code to get its place in `values`.
    offsets: [i32; 17],
    values: [u8; 256],
}

/// Codes of the differences of DC coefficients.
pub(super) struct DcTable {
    codes: Codes,
}

/// Codes of AC coefficients.
pub(super) struct AcTable {
    codes: Codes,
    /// As many coefficients as the next bits have: in bits 0 to 7 how long they are
    /// together, in 8 to 15 how many places they advance.
    several: [u16; 1 << LOOK],
}

impl Codes {
    fn new(kind: HuffmanTableKind, description: &Description) -> Option<Self> {
        let mut codes = Codes {
            kind,
            short: [CodeEntry::NONE; 1 << LOOK],
            ends: [0; 17],
            offsets: [0; 17],
            values: [0; 256],
        };
        let values = codes.values.get_mut(..description.values.len())?;
        values.copy_from_slice(&description.values);
        let (mut code, mut index) = (0_u32, 0_u32);
        for (length, count) in (1_u32..).zip(description.counts) {
            codes.offsets[length as usize] = index as i32 - code as i32;
            if code + u32::from(count) > 1 << length {
                return None;
            }
            if length <= LOOK {
                let width = 1 << (LOOK - length);
                let end = index as usize + usize::from(count);
                let meanings = &codes.values[index as usize..end];
                let entries = &mut codes.short[(code << (LOOK - length)) as usize..];
                for (entries, meaning) in entries.chunks_exact_mut(width).zip(meanings) {
                    entries.fill(CodeEntry::new(kind, length, *meaning));
                }
            }
            code += u32::from(count);
            index += u32::from(count);
            codes.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(codes)
    }

    /// What the bits begin with, or `None` if no such code is allowed.
    #[inline(always)]
    fn find(&self, ahead: u64) -> Option<CodeEntry> {
        let entry = self.short[(ahead >> (64 - LOOK)) as usize];
        if entry.length() == 0 {
            return self.search(ahead);
        }
        Some(entry)
    }

    /// Takes the bits by value, so that they stay in a register where most are short.
    #[inline(never)]
    fn search(&self, ahead: u64) -> Option<CodeEntry> {
        let bits = (ahead >> 48) as u32;
        if bits < self.ends[LOOK as usize] {
            // Short, and without an entry as it means nothing.
            return None;
        }
        let length = (LOOK + 1..=16).find(|&length| bits < self.ends[length as usize])?;
        let code = (bits >> (16 - length)) as i32;
        let index = code + self.offsets[length as usize];
        let entry = CodeEntry::new(self.kind, length, self.values[index as usize & 255]);
        (entry.length() > 0).then_some(entry)
    }
}

impl DcTable {
    pub(super) fn new(description: &Description) -> Option<Self> {
        Some(DcTable {
            codes: Codes::new(HuffmanTableKind::Dc, description)?,
        })
    }
}

impl AcTable {
    pub(super) fn new(description: &Description) -> Option<Self> {
        let codes = Codes::new(HuffmanTableKind::Ac, description)?;
        let several = std::array::from_fn(|bits| {
            let (mut length, mut advance) = (0, 0);
            while advance < TOO_MANY {
                let entry = codes.short[bits << length & ((1 << LOOK) - 1)];
                let next = advance + entry.advance();
                let is_whole = entry.length() > 0 && length + entry.length() <= LOOK;
                if !is_whole || (TOO_MANY..END_OF_BLOCK as u32).contains(&next) {
                    break;
                }
                (length, advance) = (length + entry.length(), next);
            }
            // In range: as many bits as are looked at, and as places of two blocks.
            match length {
                0 => (TOO_MANY << 8) as u16,
                _ => (length | (advance << 8)) as u16,
            }
        });
        Some(AcTable { codes, several })
    }
}

/// Codes of the symbols of progressive scans.
pub(super) struct SymbolTable {
    codes: Codes,
}

impl SymbolTable {
    pub(super) fn new(description: &Description) -> Option<Self> {
        Some(SymbolTable {
            codes: Codes::new(HuffmanTableKind::Symbol, description)?,
        })
    }
}

/// Bytes behind each part of a scan: what reading ahead takes at most.
pub(super) const BEHIND: [u8; 16] = [0; 16];

/// A part of a scan between restart markers, without stuffed bytes and with
/// [`BEHIND`] after it.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not yet in `ahead`.
    at: usize,
    /// The next bits, from the top.
    ahead: u64,
    /// How many of them count.
    left: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Bits {
            data,
            at: 0,
            ahead: 0,
            left: 0,
        }
    }

    /// How many bits were taken.
    pub(super) fn taken(&self) -> usize {
        self.at * 8 - self.left as usize
    }

    /// Makes 56 bits count, or `None` at the end.
    #[inline(always)]
    fn refill(&mut self) -> Option<()> {
        let next = *self.data.get(self.at..)?.first_chunk()?;
        self.ahead |= u64::from_be_bytes(next) >> self.left;
        self.at += ((63 - self.left) >> 3) as usize;
        self.left |= 56;
        Some(())
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.ahead <<= count & 63;
        self.left = self.left.wrapping_sub(count);
    }

    /// Takes the next block: its coefficients times `quantization`, in their places of a
    /// block of zeros, wrapped to 16 bits as in libjpeg-turbo. Returns the place of the
    /// last one in the zigzag.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        component: &super::tables::Component,
        prediction: &mut i32,
        out: &mut [i16; 64],
    ) -> Option<usize> {
        let quantization = &component.quantization;
        self.difference(&component.dc, prediction)?;
        out[0] = prediction.wrapping_mul(quantization[0]) as i16;
        let mut last = 0;
        loop {
            // A coefficient takes 26 bits at most, so that there are enough for two.
            self.refill()?;
            for _ in 0..2 {
                let entry = component.ac.codes.find(self.ahead)?;
                let number = entry.number(self.ahead);
                self.skip(entry.length());
                let place = last + entry.advance() as usize;
                if place >= 64 {
                    // A run of zeros may end with the block, a coefficient not beyond.
                    return (place >= END_OF_BLOCK).then_some(last);
                }
                out[usize::from(ZIGZAG[place])] = (number * quantization[place]) as i16;
                last = place;
                if place == 63 {
                    return Some(last);
                }
            }
        }
    }

    /// Reads over the next block.
    #[inline(always)]
    pub(super) fn pass(
        &mut self,
        component: &super::tables::Component,
        prediction: &mut i32,
    ) -> Option<()> {
        self.difference(&component.dc, prediction)?;
        let table = &*component.ac;
        let mut last = 0;
        loop {
            self.refill()?;
            for _ in 0..56 / LOOK {
                let several = table.several[(self.ahead >> (64 - LOOK)) as usize];
                let place = last + usize::from(several >> 8);
                if place < 63 {
                    self.skip(u32::from(several & 255));
                    last = place;
                    continue;
                }
                // An end after the last place is that of the next block.
                if place == 63 || (END_OF_BLOCK..END_OF_BLOCK + 63).contains(&place) {
                    self.skip(u32::from(several & 255));
                    return Some(());
                }
                // Long, or more than this block.
                self.refill()?;
                let entry = table.codes.find(self.ahead)?;
                self.skip(entry.length());
                last += entry.advance() as usize;
                if last >= 63 {
                    return (last == 63 || last >= END_OF_BLOCK).then_some(());
                }
                break;
            }
        }
    }

    /// Takes a difference of DC coefficients.
    #[inline(always)]
    pub(super) fn difference(
        &mut self,
        table: &DcTable,
        prediction: &mut i32,
    ) -> Option<()> {
        self.refill()?;
        let entry = table.codes.find(self.ahead)?;
        *prediction = prediction.wrapping_add(entry.number(self.ahead));
        self.skip(entry.length());
        Some(())
    }

    /// Takes a symbol.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &SymbolTable) -> Option<u8> {
        self.refill()?;
        let entry = table.codes.find(self.ahead)?;
        self.skip(entry.length());
        // In range: one of a byte's values.
        Some(entry.advance() as u8)
    }

    /// Takes a number of at most 32 bits.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        self.refill()?;
        // Shifted twice, as it may have no bits at all.
        let number = self.ahead >> 32 >> (32 - count);
        self.skip(count);
        Some(number as u32)
    }
}

/// The parts of a scan between restart markers, without stuffed bytes, each as where it
/// is in the copy; and where the marker after them is.
pub(super) fn split(scan: &[u8]) -> (Vec<u8>, Vec<std::ops::Range<usize>>, usize) {
    let mut copy = Vec::with_capacity(scan.len() + 64);
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    loop {
        let rest = scan.get(at..).unwrap_or_default();
        let plain = plain_length(rest);
        copy.extend_from_slice(&rest[..plain]);
        let marker = rest.get(plain + 1).copied();
        at += plain + 2;
        match marker {
            Some(0) => copy.push(0xff),
            // A fill byte: the marker follows it.
            Some(0xff) => at -= 1,
            _ => {
                parts.push(start..copy.len());
                copy.extend_from_slice(&BEHIND);
                start = copy.len();
                // Restart markers are numbered; where one is out of turn, the scan ends.
                let restart = 0xd0 + ((parts.len() - 1) % 8) as u8;
                if marker != Some(restart) {
                    return (copy, parts, (at - 2).min(scan.len()));
                }
            }
        }
    }
}

/// How many bytes there are before the first that is 255.
fn plain_length(bytes: &[u8]) -> usize {
    let words = bytes.as_chunks::<16>().0;
    let plain = words
        .iter()
        .take_while(|word| !word.iter().fold(false, |any, byte| any | (*byte == 0xff)))
        .count();
    let tail = &bytes[plain * 16..];
    let position = tail.iter().position(|byte| *byte == 0xff);
    plain * 16 + position.unwrap_or(tail.len())
}
