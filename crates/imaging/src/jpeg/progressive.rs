//! Progressive scans: each gives some bits of some coefficients of its blocks.

use super::huffman::{Bits, DcTable, SymbolTable};

/// Which bits of which coefficients a progressive scan holds.
pub(super) enum Pass {
    /// The upper bits of the first coefficient.
    First,
    /// The next bit of the first coefficient.
    Next,
    /// The upper bits of others.
    FirstOthers(Band),
    /// The next bit of others.
    NextOthers(Band),
}

/// Coefficients after the first, by their places in the zigzag.
pub(super) struct Band {
    first: usize,
    last: usize,
    table: SymbolTable,
}

/// The four numbers in the header of a progressive scan, checked: which coefficients it
/// holds, and which of their bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    first: usize,
    last: usize,
    /// How many bits are already known, 0 for none.
    high: u32,
    /// Which bit this scan ends with.
    pub(super) low: u32,
}

impl Selection {
    /// Checks what libjpeg does; `None` if it makes no sense.
    pub(super) fn new([first, last, bits]: [u8; 3], components: usize) -> Option<Self> {
        let selection = Selection {
            first: usize::from(first),
            last: usize::from(last),
            high: u32::from(bits >> 4),
            low: u32::from(bits & 15),
        };
        let Selection {
            first,
            last,
            high,
            low,
        } = selection;
        let is_band = (first..64).contains(&last) && components == 1;
        let fits = if first == 0 { last == 0 } else { is_band };
        let follows = high == 0 || high == low + 1;
        (fits && follows && low <= 13).then_some(selection)
    }

    /// `table` makes the codes of the band, where there is one.
    pub(super) fn pass<E>(
        self,
        table: impl FnOnce() -> Result<SymbolTable, E>,
    ) -> Result<Pass, E> {
        if self.first == 0 {
            return Ok(if self.high == 0 {
                Pass::First
            } else {
                Pass::Next
            });
        }
        let band = Band {
            first: self.first,
            last: self.last,
            table: table()?,
        };
        Ok(if self.high == 0 {
            Pass::FirstOthers(band)
        } else {
            Pass::NextOthers(band)
        })
    }
}

impl Pass {
    /// Reads what the scan has of a block, whose coefficients are in zigzag order. `run` is
    /// how many blocks have nothing more of it. `None` if the codes are damaged.
    #[inline(always)]
    pub(super) fn block(
        &self,
        low: u32,
        bits: &mut Bits<'_>,
        dc: Option<&DcTable>,
        (prediction, run): (&mut i32, &mut u32),
        block: &mut [i16; 64],
    ) -> Option<()> {
        match self {
            Pass::First => {
                bits.difference(dc?, prediction)?;
                block[0] = (*prediction << low) as i16;
            }
            Pass::Next => block[0] |= (bits.take(1)? << low) as i16,
            Pass::FirstOthers(band) => band.first_bits(low, bits, run, block)?,
            Pass::NextOthers(band) => band.next_bit(low, bits, run, block)?,
        }
        Some(())
    }
}

impl Band {
    fn first_bits(
        &self,
        low: u32,
        bits: &mut Bits<'_>,
        run: &mut u32,
        block: &mut [i16; 64],
    ) -> Option<()> {
        if *run > 0 {
            *run -= 1;
            return Some(());
        }
        let mut place = self.first;
        while place <= self.last {
            let symbol = bits.symbol(&self.table)?;
            let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && zeros < 15 {
                // This block is the first of the run.
                *run = (1 << zeros) - 1 + bits.take(zeros)?;
                return Some(());
            }
            place += zeros as usize;
            if size > 0 {
                let number = signed(bits.take(size)?, size);
                *block[..=self.last].get_mut(place)? = (number << low) as i16;
            }
            place += 1;
        }
        Some(())
    }

    fn next_bit(
        &self,
        low: u32,
        bits: &mut Bits<'_>,
        run: &mut u32,
        block: &mut [i16; 64],
    ) -> Option<()> {
        let bit = 1_i16 << low;
        let mut place = self.first;
        while *run == 0 && place <= self.last {
            let symbol = bits.symbol(&self.table)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            let new = match size {
                0 if zeros < 15 => {
                    *run = (1 << zeros) + bits.take(zeros)?;
                    break;
                }
                0 => 0,
                1 if bits.take(1)? == 1 => bit,
                1 => -bit,
                _ => return None,
            };
            // Coefficients that are known already are not counted.
            loop {
                if place > self.last {
                    return (new == 0).then_some(());
                }
                let known = &mut block[place];
                place += 1;
                if *known != 0 {
                    refine(known, bit, bits)?;
                } else if zeros == 0 {
                    *known = new;
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
        if *run > 0 {
            let known = block.get_mut(place..=self.last).unwrap_or_default();
            for known in known.iter_mut().filter(|known| **known != 0) {
                refine(known, bit, bits)?;
            }
            *run -= 1;
        }
        Some(())
    }
}

/// Reads the next bit of a coefficient that is not zero.
#[inline(always)]
fn refine(known: &mut i16, bit: i16, bits: &mut Bits<'_>) -> Option<()> {
    if bits.take(1)? == 1 && *known & bit == 0 {
        let bit = if *known < 0 { -bit } else { bit };
        *known = known.wrapping_add(bit);
    }
    Some(())
}

/// The standard writes a negative number by the complement of its bits.
#[inline(always)]
fn signed(bits: u32, size: u32) -> i32 {
    // At most 15 bits.
    let bits = bits as i32;
    if bits < 1 << (size - 1) {
        bits - (1 << size) + 1
    } else {
        bits
    }
}
