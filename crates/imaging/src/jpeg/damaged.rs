//! Sequential scans whose codes are damaged, read on as libjpeg and so Pillow do it: what
//! is no code means zero, what comes after the end of the codes is gray, and restart
//! markers are found again by their numbers (`jdhuff.c`, `jdmarker.c`).

use super::huffman::{Description, ZIGZAG};
use super::scan::ScanGrid;
use crate::Error;

/// The codes of a component of a damaged scan.
pub(super) struct Component {
    pub(super) quantization: [i32; 64],
    pub(super) dc: BitwiseCodes,
    pub(super) ac: BitwiseCodes,
}

/// Codes that are looked up bit by bit.
pub(super) struct BitwiseCodes {
    /// For each length, the largest code; -1 if there is none.
    largest: [i32; 18],
    /// For each length, what to add to a code to get its place in `values`.
    offsets: [i32; 18],
    values: Vec<u8>,
}

impl BitwiseCodes {
    pub(super) fn new(description: &Description) -> Self {
        let mut codes = BitwiseCodes {
            largest: [-1; 18],
            offsets: [0; 18],
            values: description.values.clone(),
        };
        // What is no code ends here.
        codes.largest[17] = i32::MAX;
        let (mut code, mut index) = (0, 0);
        for (length, count) in (1..).zip(description.counts.map(i32::from)) {
            codes.offsets[length] = index - code;
            if count > 0 {
                codes.largest[length] = code + count - 1;
            }
            (code, index) = ((code + count) << 1, index + count);
        }
        codes
    }
}

/// A scan that is read bit by bit.
pub(super) struct DamagedScan<'a> {
    data: &'a [u8],
    /// The next byte.
    at: usize,
    byte: u8,
    /// How many bits of `byte` are left.
    left: u32,
    /// A marker that was found and not yet passed.
    marker: Option<u8>,
    /// Whether bits were wanted that there are not.
    is_short: bool,
    /// The number of the next restart marker.
    restart: u8,
}

impl<'a> DamagedScan<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        DamagedScan {
            data,
            at: 0,
            byte: 0,
            left: 0,
            marker: None,
            is_short: false,
            restart: 0,
        }
    }

    /// Gives `put` each block with its component, as its place in the scan, and its column
    /// and row. Returns where the scan ends.
    pub(super) fn read(
        mut self,
        grid: &ScanGrid,
        components: &[Component],
        mut put: impl FnMut(usize, (usize, usize), &[i16; 64], usize),
    ) -> Result<usize, Error> {
        let mut predictions = [0; 4];
        for mcu in 0..grid.mcus.0 * grid.mcus.1 {
            if mcu > 0 && mcu % grid.interval == 0 {
                self.pass_restart()?;
                predictions = [0; 4];
            }
            let is_gray = self.is_short;
            for (n, at) in grid.blocks_of(mcu) {
                let mut block = [0; 64];
                let mut last = 0;
                if !is_gray {
                    let prediction = &mut predictions[n];
                    last = self.block(&components[n], prediction, &mut block);
                }
                put(n, at, &block, last);
            }
        }
        let pending = if self.marker.is_some() { 2 } else { 0 };
        Ok(self.at - pending)
    }

    fn block(
        &mut self,
        component: &Component,
        prediction: &mut i32,
        out: &mut [i16; 64],
    ) -> usize {
        let quantization = &component.quantization;
        let size = u32::from(self.symbol(&component.dc) & 15);
        *prediction = prediction.wrapping_add(self.number(size));
        // Wrapped to 16 bits, as in libjpeg-turbo.
        let times = |number: i32, place: usize| {
            i32::from(number as i16).wrapping_mul(quantization[place]) as i16
        };
        out[0] = times(*prediction, 0);
        let (mut place, mut last) = (1, 0);
        while place < 64 {
            let symbol = self.symbol(&component.ac);
            let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && zeros < 15 {
                break;
            }
            place += zeros;
            if size > 0 {
                let number = self.number(size);
                // What is beyond the block is its last coefficient.
                let there = place.min(63);
                out[usize::from(ZIGZAG[there])] = times(number, there);
                last = last.max(there);
            }
            place += 1;
        }
        last
    }

    fn symbol(&mut self, codes: &BitwiseCodes) -> u8 {
        let (mut code, mut length) = (self.bit(), 1);
        while code > codes.largest[length] {
            code = code << 1 | self.bit();
            length += 1;
        }
        let place = (code + codes.offsets[length.min(16)]) & 255;
        match length {
            ..=16 => codes.values.get(place as usize).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// The standard writes a negative number by the complement of its bits.
    fn number(&mut self, size: u32) -> i32 {
        let bits = (0..size).fold(0, |bits, _| bits << 1 | self.bit());
        match size {
            1.. if bits < 1 << (size - 1) => bits - (1 << size) + 1,
            _ => bits,
        }
    }

    fn bit(&mut self) -> i32 {
        if self.left == 0 {
            let Some(byte) = self.next_byte() else {
                self.is_short = true;
                return 0;
            };
            (self.byte, self.left) = (byte, 8);
        }
        self.left -= 1;
        i32::from(self.byte >> self.left & 1)
    }

    fn next_byte(&mut self) -> Option<u8> {
        if self.marker.is_some() {
            return None;
        }
        let byte = *self.data.get(self.at)?;
        self.at += 1;
        if byte != 0xff {
            return Some(byte);
        }
        // Fill bytes may stand before a marker.
        let fill = self.data[self.at..]
            .iter()
            .take_while(|b| **b == 0xff)
            .count();
        let next = *self.data.get(self.at + fill)?;
        self.at += fill + 1;
        if next == 0 {
            return Some(0xff);
        }
        self.marker = Some(next);
        None
    }

    /// Goes on after the next restart marker, or does not where a later one shows that it
    /// is missing.
    fn pass_restart(&mut self) -> Result<(), Error> {
        self.left = 0;
        if self.marker.is_none() {
            self.find_marker()?;
        }
        while let Some(marker) = self.marker {
            let ahead = marker.wrapping_sub(0xd0 + self.restart) & 7;
            match (marker, ahead) {
                (0xd0..=0xd7, 1 | 2) | (0xc0..=0xcf | 0xd8.., _) => break,
                (0xd0..=0xd7, 6 | 7) | (..0xc0, _) => self.find_marker()?,
                _ => self.marker = None,
            }
        }
        self.restart = (self.restart + 1) & 7;
        if self.marker.is_none() {
            self.is_short = false;
        }
        Ok(())
    }

    fn find_marker(&mut self) -> Result<(), Error> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let mut pairs = rest.windows(2);
        let is_marker = |pair: &[u8]| matches!(pair, [0xff, 1..=0xfe]);
        let found = pairs.position(is_marker);
        let found = found.ok_or_else(super::segments::ends_early)?;
        self.marker = rest.get(found + 1).copied();
        self.at += found + 2;
        Ok(())
    }
}
