//! The kind of file that nearly all photos are.

use super::header::{Colors, JpegHeader};
use super::segments::Segment;
use super::tables::{Component, Made};

/// One sequential scan of whole MCUs, gray or with chroma of the full or of half the size.
pub(crate) struct Usual {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One for gray, or luma and two of chroma.
    pub(super) components: Vec<Component>,
    /// Blocks of luma in an MCU, across and down; chroma has one.
    pub(super) sampling: (usize, usize),
    /// MCUs between restart markers; 0 if there are none.
    pub(super) restart: usize,
    /// Where the codes begin.
    pub(super) scan: usize,
}

impl JpegHeader {
    /// Whether the components are laid out as in nearly all photos.
    pub(crate) fn has_usual_layout(&self) -> bool {
        match self.frame.as_slice() {
            [_] => true,
            [luma, chroma @ ..] => {
                self.colors == Colors::Ycc
                    && matches!(luma.sampling, (1 | 2, 1 | 2))
                    && chroma.iter().all(|frame| frame.sampling == (1, 1))
            }
            [] => false,
        }
    }

    /// Whether the file has one scan of all components, or is progressive.
    pub(crate) fn has_one_scan(&self, bytes: &[u8]) -> bool {
        let segment = Segment::next(bytes, self.first_scan);
        let count = segment
            .ok()
            .and_then(|segment| segment.data.first().copied());
        self.is_progressive || count.map(usize::from) == Some(self.frame.len())
    }

    /// Whether the file has one sequential scan of all components, all of one size or with
    /// chroma of at most half the size.
    pub(crate) fn is_plain(&self, bytes: &[u8]) -> bool {
        let mut samplings = self.frame.iter().map(|frame| frame.sampling);
        let is_even = samplings.all(|sampling| sampling == (1, 1));
        (is_even || self.has_usual_layout())
            && !self.is_progressive
            && self.has_one_scan(bytes)
    }

    /// Reads the header of the scan; `None` if the file is of another kind, or damaged.
    pub(crate) fn usual(&self, bytes: &[u8]) -> Option<Usual> {
        if self.is_progressive || !self.has_usual_layout() {
            return None;
        }
        let segment = Segment::next(bytes, self.first_scan).ok()?;
        let (&count, rest) = segment.data.split_first()?;
        let (choices, [0, 63, 0]) = rest.split_at_checked(2 * usize::from(count))? else {
            return None;
        };
        let choices = choices.as_chunks::<2>().0;
        if choices.len() != self.frame.len() || self.width == 0 || self.height == 0 {
            return None;
        }
        let mut made = Made::default();
        let components = self.frame.iter().zip(choices).map(|(frame, [id, tables])| {
            if frame.id != *id {
                return None;
            }
            let quantization = self.tables.quantization(frame.quantization).ok()?;
            let component = self.tables.component(quantization, *tables, &mut made);
            component.ok()
        });
        Some(Usual {
            width: self.width,
            height: self.height,
            components: components.collect::<Option<_>>()?,
            // One component: the sampling says nothing.
            sampling: match self.frame.as_slice() {
                [luma, _, ..] => luma.sampling,
                _ => (1, 1),
            },
            restart: self.restart,
            scan: segment.end,
        })
    }
}
