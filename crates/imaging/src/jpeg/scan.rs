//! The blocks of a scan, in the order of the file.

use std::ops::Range;

use super::header::JpegHeader;
use super::huffman::{BEHIND, Bits, split};

/// How the blocks of a scan follow each other.
pub(super) struct ScanGrid {
    /// How many MCUs there are, across and down.
    pub(super) mcus: (usize, usize),
    /// For each component of the scan, its blocks in an MCU, across and down.
    blocks: Vec<(usize, usize)>,
    /// MCUs between restart markers.
    pub(super) interval: usize,
}

/// What the next block depends on. Restart markers end it.
#[derive(Default)]
pub(super) struct BlockState {
    /// The last DC coefficient of each component.
    pub(super) predictions: [i32; 4],
    /// Blocks that have nothing more of a progressive scan.
    pub(super) run: u32,
}

/// The codes of a scan without what is stuffed in between.
pub(super) struct Codes {
    copy: Vec<u8>,
    parts: Vec<Range<usize>>,
}

impl Codes {
    /// Also gives how many bytes of the file they are.
    pub(super) fn read(bytes: &[u8]) -> (Self, usize) {
        let (copy, parts, end) = split(bytes);
        (Codes { copy, parts }, end)
    }
}

impl ScanGrid {
    /// `components` are places in the frame.
    pub(super) fn new(header: &JpegHeader, components: &[usize], restart: usize) -> Self {
        let (blocks, mcus) = match *components {
            // A component alone has no MCUs to fill.
            [component] => (vec![(1, 1)], header.blocks(component)),
            _ => {
                let sampling = components.iter().map(|n| header.frame[*n].sampling);
                (sampling.collect(), header.mcus())
            }
        };
        let interval = match restart {
            0 => mcus.0 * mcus.1,
            interval => interval,
        };
        ScanGrid {
            mcus,
            blocks,
            interval,
        }
    }

    /// The blocks of an MCU, each with its component, as its place in the scan, and with its
    /// column and row.
    #[inline(always)]
    pub(super) fn blocks_of(
        &self,
        mcu: usize,
    ) -> impl Iterator<Item = (usize, (usize, usize))> {
        let (x, y) = (mcu % self.mcus.0, mcu / self.mcus.0);
        let components = self.blocks.iter().copied().enumerate();
        components.flat_map(move |(n, (h, v))| {
            (0..h * v).map(move |at| (n, (x * h + at % h, y * v + at / h)))
        })
    }

    /// Calls `block` for each block: with the component, as its place in the scan, and with
    /// the block's column and row. `None` if the codes are damaged. Where that is forgiven,
    /// the next part of the scan is read instead, and no more of this one.
    #[inline(always)]
    pub(super) fn walk(
        &self,
        codes: &Codes,
        is_forgiven: bool,
        mut block: impl FnMut(
            &mut Bits<'_>,
            &mut BlockState,
            usize,
            (usize, usize),
        ) -> Option<()>,
    ) -> Option<()> {
        let total = self.mcus.0 * self.mcus.1;
        let mut parts = codes.parts.iter();
        for first in (0..total).step_by(self.interval) {
            let Some(part) = parts.next() else {
                return is_forgiven.then_some(());
            };
            let data = codes.copy.get(part.start..part.end + BEHIND.len())?;
            let mut bits = Bits::new(data);
            let mut progress = BlockState::default();
            for mcu in first..(first + self.interval).min(total) {
                let mut blocks = self.blocks_of(mcu);
                let read =
                    blocks.try_for_each(|(n, at)| block(&mut bits, &mut progress, n, at));
                // Zeros behind the end look like codes.
                if read.is_none() || bits.taken() > part.len() * 8 {
                    if !is_forgiven {
                        return None;
                    }
                    break;
                }
            }
        }
        Some(())
    }
}

impl JpegHeader {
    /// How many MCUs the scans of several components have, across and down.
    pub(super) fn mcus(&self) -> (usize, usize) {
        let (h, v) = self.sampling();
        (self.width.div_ceil(8 * h), self.height.div_ceil(8 * v))
    }

    /// How many samples a component has, across and down.
    pub(super) fn samples(&self, component: usize) -> (usize, usize) {
        let (h, v) = self.frame[component].sampling;
        let most = self.sampling();
        (
            (self.width * h).div_ceil(most.0),
            (self.height * v).div_ceil(most.1),
        )
    }

    /// How many blocks a component has in a scan of its own.
    pub(super) fn blocks(&self, component: usize) -> (usize, usize) {
        let (width, height) = self.samples(component);
        (width.div_ceil(8), height.div_ceil(8))
    }
}
