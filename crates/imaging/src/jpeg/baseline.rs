//! Decodes the kind of JPEG that nearly all photos are, wholly or in part.
//!
//! The pixels are those of libjpeg, and so of Pillow, to the bit: the same cosine
//! transform, the same interpolation of chroma and the same arithmetic of colours
//! (`jidctint.c`, `jdsample.c` and `jdcolor.c` of libjpeg-turbo). A model sees only the
//! middle of most photos; what lies outside is read over, which takes its codes, and not
//! its transform and colours.

use std::ops::Range;

use super::huffman::{BEHIND, Bits, split};
use super::idct::idct;
use super::segments::END_OF_IMAGE;
use super::usual::Usual;
use crate::buffer::Buffer;
use crate::rows::RowSource;
use crate::simd::{SimdWork, dispatch};

/// Pixels of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodedPart {
    pub(crate) columns: Range<u32>,
    pub(crate) rows: Range<u32>,
}

/// The samples of a part of an image, of which pixels are made a row at a time.
pub(crate) struct Planes {
    part: DecodedPart,
    /// How many times as many samples luma has as chroma, across and down.
    sampling: (usize, usize),
    planes: Vec<Plane>,
    /// A row of chroma, interpolated.
    chroma: [Buffer; 2],
    sums: Vec<u16>,
}

/// The samples of one component, of the part that was decoded.
pub(super) struct Plane {
    /// A row of samples to the next.
    pub(super) stride: usize,
    /// The first column and row that are there.
    pub(super) first: (usize, usize),
    /// How many columns and rows the component has in all, without padding.
    pub(super) size: (usize, usize),
    pub(super) data: Buffer,
}

/// Decodes a part of an image; `None` wherever anything is unusual, so that another decoder
/// may judge it.
pub(crate) fn decode(bytes: &[u8], header: &Usual, part: DecodedPart) -> Option<Planes> {
    let codes = bytes.get(header.scan..)?;
    let (copy, parts, end) = split(codes);
    if codes.get(end + 1) != Some(&END_OF_IMAGE) {
        return None;
    }
    let scan = Scan::new(header, part);
    // libjpeg does not interpolate what is so narrow.
    if header.sampling.0 == 2 && header.width <= 4 {
        return None;
    }
    let planes = dispatch(Blocks {
        header,
        scan: &scan,
        copy: &copy,
        parts: &parts,
    })?;
    let width = scan.part.columns.len();
    Some(Planes {
        part: scan.part,
        sampling: header.sampling,
        planes,
        chroma: [Buffer::of_len(width), Buffer::of_len(width)],
        sums: Vec::new(),
    })
}

/// What [`Scan::planes`] works on.
struct Blocks<'a> {
    header: &'a Usual,
    scan: &'a Scan,
    copy: &'a [u8],
    parts: &'a [Range<usize>],
}

impl SimdWork for Blocks<'_> {
    type Output = Option<Vec<Plane>>;

    #[inline(always)]
    fn run<const AVX2: bool>(self) -> Option<Vec<Plane>> {
        self.scan.planes::<AVX2>(self.header, self.copy, self.parts)
    }
}

/// Which MCUs there are and which are wanted.
struct Scan {
    part: DecodedPart,
    /// How many MCUs there are, across and down.
    mcus: (usize, usize),
    across: Range<usize>,
    down: Range<usize>,
}

impl Scan {
    fn new(header: &Usual, part: DecodedPart) -> Self {
        let (h, v) = header.sampling;
        let mcus = (header.width.div_ceil(8 * h), header.height.div_ceil(8 * v));
        // Interpolation looks at one sample more on each side, which is two pixels.
        let wanted = |range: &Range<u32>, unit: usize, count: usize| {
            let start = (range.start as usize).saturating_sub(2) / unit;
            start..(range.end as usize + 2).div_ceil(unit).min(count)
        };
        Scan {
            mcus,
            across: wanted(&part.columns, 8 * h, mcus.0),
            down: wanted(&part.rows, 8 * v, mcus.1),
            part,
        }
    }

    /// How many blocks a component has in an MCU.
    fn blocks(header: &Usual, component: usize) -> (usize, usize) {
        if component == 0 {
            header.sampling
        } else {
            (1, 1)
        }
    }

    fn plane(&self, header: &Usual, component: usize) -> Plane {
        let (h, v) = Self::blocks(header, component);
        let (all_h, all_v) = header.sampling;
        let stride = self.across.len() * h * 8;
        Plane {
            stride,
            first: (self.across.start * h * 8, self.down.start * v * 8),
            size: (
                (header.width * h).div_ceil(all_h),
                (header.height * v).div_ceil(all_v),
            ),
            data: Buffer::of_len(stride * self.down.len() * v * 8),
        }
    }

    /// Decodes all blocks of the wanted MCUs.
    #[inline(always)]
    fn planes<const AVX2: bool>(
        &self,
        header: &Usual,
        copy: &[u8],
        parts: &[Range<usize>],
    ) -> Option<Vec<Plane>> {
        let count = header.components.len();
        let mut planes: Vec<Plane> = (0..count).map(|n| self.plane(header, n)).collect();
        let interval = match header.restart {
            0 => self.mcus.0 * self.mcus.1,
            interval => interval,
        };
        // MCUs below the wanted ones are not even read over.
        let total = self.mcus.0 * self.down.end;
        let mut coefficients = [0; 64];
        let mut parts = parts.iter();
        for first in (0..total).step_by(interval) {
            let part = parts.next()?;
            let mut bits = Bits::new(copy.get(part.start..part.end + BEHIND.len())?);
            let mut predictions = [0; 3];
            for mcu in first..(first + interval).min(total) {
                let (x, y) = (mcu % self.mcus.0, mcu / self.mcus.0);
                let keep = self.across.contains(&x) && self.down.contains(&y);
                for (n, component) in header.components.iter().enumerate() {
                    let prediction = &mut predictions[n];
                    let (h, v) = Self::blocks(header, n);
                    for block in 0..h * v {
                        if !keep {
                            bits.pass(component, prediction)?;
                            continue;
                        }
                        let last =
                            bits.block(component, prediction, &mut coefficients)?;
                        let left = ((x - self.across.start) * h + block % h) * 8;
                        let top = ((y - self.down.start) * v + block / h) * 8;
                        let plane = &mut planes[n];
                        let out = &mut plane.data[top * plane.stride + left..];
                        idct::<AVX2>(&coefficients, last, out, plane.stride);
                        coefficients = [0; 64];
                    }
                }
            }
            // Zeros behind the end look like codes.
            if bits.taken() > part.len() * 8 {
                return None;
            }
        }
        Some(planes)
    }
}

impl RowSource for Planes {
    fn width(&self) -> usize {
        self.part.columns.len()
    }

    fn height(&self) -> usize {
        self.part.rows.len()
    }

    fn channels(&self) -> usize {
        self.planes.len()
    }

    #[inline(always)]
    fn read(&mut self, y: usize, columns: Range<usize>, stride: usize, out: &mut [u8]) {
        let y = self.part.rows.start as usize + y;
        let left = self.part.columns.start as usize + columns.start;
        let count = columns.len();
        let luma = self.planes[0].row(y, left, left + count);
        let [_, blue, red] = self.planes.as_slice() else {
            out[..count].copy_from_slice(luma);
            return;
        };
        for (plane, chroma) in [blue, red].into_iter().zip(&mut self.chroma) {
            let chroma = &mut chroma[..count];
            plane.interpolate(self.sampling, y, left, &mut self.sums, chroma);
        }
        to_rgb(luma, &self.chroma[0], &self.chroma[1], stride, out);
    }
}

impl Plane {
    pub(super) fn row(&self, y: usize, left: usize, right: usize) -> &[u8] {
        let start = (y - self.first.1) * self.stride;
        &self.data[start + left - self.first.0..start + right - self.first.0]
    }

    /// The samples of a row of pixels from `left` on, as `jdsample.c` interpolates them.
    #[inline(always)]
    pub(super) fn interpolate(
        &self,
        (h, v): (usize, usize),
        y: usize,
        left: usize,
        sums: &mut Vec<u16>,
        out: &mut [u8],
    ) {
        let right = left + out.len();
        // The samples that are needed, with one neighbour on each side.
        let from = (left / h).saturating_sub(h - 1);
        let to = (right.div_ceil(h) + h - 1).min(self.size.0);
        let near = self.row(y / v, from, to);
        // Down: three quarters of the nearer row and a quarter of the other.
        let far = match (v, y % v) {
            (1, _) => near,
            (_, 0) => self.row((y / v).saturating_sub(1), from, to),
            _ => self.row((y / v + 1).min(self.size.1 - 1), from, to),
        };
        match (h, v) {
            (1, 1) => out.copy_from_slice(near),
            (1, _) => {
                let bias = if y.is_multiple_of(v) { 1 } else { 2 };
                for (out, (near, far)) in out.iter_mut().zip(near.iter().zip(far)) {
                    *out = ((u16::from(*near) * 3 + u16::from(*far) + bias) >> 2) as u8;
                }
            }
            _ => {
                // Sums of 4 without interpolation down as well, which rounds the same
                // with other biases.
                let (weights, shift, biases) = match v {
                    1 => ((1, 0), 2, (1, 2)),
                    _ => ((3, 1), 4, (8, 7)),
                };
                sums.clear();
                // A neighbour on the left, there or not, stands in front.
                let outside = from == left / h;
                if outside {
                    sums.push(0);
                }
                sums.extend(near.iter().zip(far).map(|(near, far)| {
                    u16::from(*near) * weights.0 + u16::from(*far) * weights.1
                }));
                if outside {
                    sums[0] = sums[1];
                }
                across(sums, left, shift, biases, out);
            }
        }
    }
}

/// Interpolates across: `out` begins at the pixel `left`, `sums` at the sample before the
/// one under it. Samples outside of the image are those at its border.
#[inline(always)]
fn across(
    sums: &mut Vec<u16>,
    left: usize,
    shift: u32,
    biases: (u16, u16),
    out: &mut [u8],
) {
    // One neighbour on each side of the samples under `out`.
    let count = (left + out.len()).div_ceil(2) - left / 2;
    if let Some(last) = sums.last().copied() {
        sums.resize(count + 2, last);
    }
    let pairs = |sums: &[u16], index: usize| {
        let [before, this, after] = [sums[index], sums[index + 1], sums[index + 2]];
        let (even, odd) = (this * 3 + before + biases.0, this * 3 + after + biases.1);
        [(even >> shift) as u8, (odd >> shift) as u8]
    };
    let (head, body) = out.split_at_mut(left % 2);
    if let [head] = head {
        *head = pairs(sums, 0)[1];
    }
    let sums = &sums[left % 2..];
    let (body, tail) = body.as_chunks_mut::<2>();
    let windows = sums.windows(3);
    for (pair, sums) in body.iter_mut().zip(windows) {
        *pair = pairs(sums, 0);
    }
    if let [tail] = tail {
        *tail = pairs(sums, body.len())[0];
    }
}

/// Luma and chroma to planes of red, green and blue, `stride` bytes apart, in 16 bits
/// after the point.
#[inline(always)]
pub(super) fn to_rgb(
    luma: &[u8],
    blue: &[u8],
    red: &[u8],
    stride: usize,
    out: &mut [u8],
) {
    const HALF: i32 = 1 << 15;
    let (out_red, out) = out.split_at_mut(stride);
    let (out_green, out_blue) = out.split_at_mut(stride);
    let samples = luma.iter().zip(blue).zip(red);
    let out = out_red.iter_mut().zip(out_green).zip(out_blue);
    for (((red, green), blue), ((y, cb), cr)) in out.zip(samples) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        // In range after the clamp.
        let byte = |value: i32| value.clamp(0, 255) as u8;
        *red = byte(y + ((91_881 * cr + HALF) >> 16));
        *green = byte(y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16));
        *blue = byte(y + ((116_130 * cb + HALF) >> 16));
    }
}
