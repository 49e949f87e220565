//! Codes of a JPEG scan: what takes the most time of all.
//!
//! A look at the next bits gives a coefficient and all about it in one step, if it and
//! its code are short, which most are. Bits are taken from memory eight bytes at a time,
//! without a branch; that is why the scan is copied without its stuffed bytes first
//! ("reading bits in far too many ways", variant 4, by Fabian Giesen).

/// How many bits are looked at in one step.
const LOOK: u32 = 11;

/// An end of block advances beyond any coefficient.
const END_OF_BLOCK: u32 = 128;

/// The coefficient at each place of the zigzag.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41,
    34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30,
    37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Codes as the file has them: how many of each length, and what they mean.
pub(super) struct Description<'a> {
    pub(super) counts: &'a [u8; 16],
    pub(super) values: &'a [u8],
}

/// Finds codes of any length.
struct Codes {
    /// By the next bits: the length and the meaning; 0 where the code is longer.
    short: [(u8, u8); 1 << LOOK],
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
    /// By the next bits: the length in bits 0 to 7, in bits 8 to 15 the zeros before the
    /// coefficient, above them the coefficient. A length of 0 means to look longer.
    fast: [u32; 1 << LOOK],
    codes: Codes,
}

impl Codes {
    fn new(description: &Description<'_>) -> Option<Self> {
        let mut codes = Codes {
            short: [(0, 0); 1 << LOOK],
            ends: [0; 17],
            offsets: [0; 17],
            values: [0; 256],
        };
        let values = codes.values.get_mut(..description.values.len())?;
        values.copy_from_slice(description.values);
        let (mut code, mut index) = (0_u32, 0_u32);
        for (length, count) in (1_u32..).zip(*description.counts) {
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
                    entries.fill((length as u8, *meaning));
                }
            }
            code += u32::from(count);
            index += u32::from(count);
            codes.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(codes)
    }

    /// The length and the meaning of the code that 16 bits begin with.
    #[inline(always)]
    fn find(&self, bits: u32) -> Option<(u32, u8)> {
        match self.short[(bits >> (16 - LOOK)) as usize] {
            (0, _) => self.search(bits),
            (length, meaning) => Some((u32::from(length), meaning)),
        }
    }

    /// An entry for what is too long for the table of [`AcTable`]. Takes the bits by
    /// value, so that they stay in a register where most are short.
    #[inline(never)]
    fn long(&self, ahead: u64) -> Option<u32> {
        let (length, meaning) = self.find((ahead >> 48) as u32)?;
        let (run, size) = (u32::from(meaning >> 4), u32::from(meaning & 15));
        match (run, size) {
            (15, 0) => Some(entry(length, 15, 0)),
            (_, 0) => Some(entry(length, END_OF_BLOCK, 0)),
            (_, 1..=10) => {
                let extra = (ahead << length >> (64 - size)) as u32;
                Some(entry(length + size, run, extend(extra, size)))
            }
            _ => None,
        }
    }

    #[inline(never)]
    fn search(&self, bits: u32) -> Option<(u32, u8)> {
        let length = (LOOK + 1..=16).find(|&length| bits < self.ends[length as usize])?;
        let code = (bits >> (16 - length)) as i32;
        let index = code + self.offsets[length as usize];
        Some((length, self.values[index as usize & 255]))
    }
}

impl DcTable {
    pub(super) fn new(description: &Description<'_>) -> Option<Self> {
        Some(DcTable {
            codes: Codes::new(description)?,
        })
    }
}

impl AcTable {
    pub(super) fn new(description: &Description<'_>) -> Option<Self> {
        let codes = Codes::new(description)?;
        let mut fast = [0; 1 << LOOK];
        for (bits, fast) in (0_u32..).zip(&mut fast) {
            let (length, meaning) = codes.short[bits as usize];
            let length = u32::from(length);
            let (run, size) = (u32::from(meaning >> 4), u32::from(meaning & 15));
            if length == 0 || length + size > LOOK {
                continue;
            }
            *fast = match (run, size) {
                (15, 0) => entry(length, 15, 0),
                (_, 0) => entry(length, END_OF_BLOCK, 0),
                _ => {
                    let extra = bits >> (LOOK - length - size) & ((1 << size) - 1);
                    entry(length + size, run, extend(extra, size))
                }
            };
        }
        Some(AcTable { fast, codes })
    }
}

/// How [`AcTable`] writes a coefficient.
fn entry(length: u32, run: u32, value: i32) -> u32 {
    length | (run << 8) | ((value as u32) << 16)
}

/// The number of `size` bits as the standard writes it: the lower half is negative.
#[inline(always)]
fn extend(extra: u32, size: u32) -> i32 {
    let is_negative = extra >> (size - 1) == 0;
    extra as i32 - if is_negative { (1 << size) - 1 } else { 0 }
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

    #[inline(always)]
    fn top(&self, count: u32) -> u32 {
        (self.ahead >> (64 - count)) as u32
    }

    /// Takes the next block: its coefficients times `quantization`, in their places of a
    /// block of zeros, wrapped to 16 bits as in libjpeg-turbo. Returns the place of the
    /// last one in the zigzag.
    #[inline(always)]
    pub(super) fn block<const KEEP: bool>(
        &mut self,
        component: &super::header::Component,
        prediction: &mut i32,
        out: &mut [i16; 64],
    ) -> Option<usize> {
        self.refill()?;
        *prediction = prediction.wrapping_add(self.dc(&component.dc)?);
        let quantization = &component.quantization;
        if KEEP {
            out[0] = prediction.wrapping_mul(quantization[0]) as i16;
        }
        let (mut place, mut last) = (1, 0);
        loop {
            // A coefficient takes 26 bits at most, so that there are enough for two.
            self.refill()?;
            for _ in 0..2 {
                let mut entry = component.ac.fast[self.top(LOOK) as usize];
                if entry & 255 == 0 {
                    entry = component.ac.codes.long(self.ahead)?;
                }
                self.skip(entry & 255);
                place += (entry >> 8 & 255) as usize;
                if place >= 64 {
                    // A run of zeros may end with the block, a coefficient not beyond.
                    return (place >= END_OF_BLOCK as usize).then_some(last);
                }
                if KEEP {
                    let value = entry as i32 >> 16;
                    out[usize::from(ZIGZAG[place])] =
                        (value * quantization[place]) as i16;
                    last = place;
                }
                place += 1;
                if place == 64 {
                    return Some(last);
                }
            }
        }
    }

    #[inline(always)]
    fn dc(&mut self, table: &DcTable) -> Option<i32> {
        let (length, size) = table.codes.find(self.top(16))?;
        self.skip(length);
        let size = u32::from(size);
        match size {
            0 => Some(0),
            1..=11 => {
                let extra = self.top(size);
                self.skip(size);
                Some(extend(extra, size))
            }
            _ => None,
        }
    }
}

/// The parts of a scan between restart markers, without stuffed bytes, each as where it
/// is in the copy; and whether the image ends after them.
pub(super) fn split(scan: &[u8]) -> (Vec<u8>, Vec<std::ops::Range<usize>>, bool) {
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
                if !matches!(marker, Some(0xd0..=0xd7)) {
                    return (copy, parts, marker == Some(0xd9));
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
