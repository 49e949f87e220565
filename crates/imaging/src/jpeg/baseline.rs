//! Decodes the kind of JPEG that nearly all photos are, wholly or in part.
//!
//! The pixels are those of libjpeg, and so of Pillow, to the bit: the same cosine
//! transform, the same interpolation of chroma and the same arithmetic of colours
//! (`jidctint.c`, `jdsample.c` and `jdcolor.c` of libjpeg-turbo). A model sees only the
//! middle of most photos; what lies outside is read over, which takes its codes, and not
//! its transform and colours.

use std::ops::Range;

use super::header::Header;
use super::huffman::{BEHIND, Bits, split};
use super::idct::idct;
use crate::Image;

/// Pixels of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) columns: Range<u32>,
    pub(crate) rows: Range<u32>,
}

/// The samples of one component, of the part that was decoded.
struct Plane {
    /// A row of samples to the next.
    stride: usize,
    /// The first column and row that are there.
    first: (usize, usize),
    /// How many columns and rows the component has in all, without padding.
    size: (usize, usize),
    data: Vec<u8>,
}

/// Decodes a part of an image of the size that was read before; `None` wherever anything
/// is unusual, so that another decoder may judge it.
pub(crate) fn decode(bytes: &[u8], size: (u32, u32), part: &Part) -> Option<Image> {
    let header = Header::read(bytes)?;
    if (header.width, header.height) != (size.0 as usize, size.1 as usize) {
        return None;
    }
    let (copy, parts, is_whole) = split(bytes.get(header.scan..)?);
    if !is_whole {
        return None;
    }
    let scan = Scan::new(&header, part);
    // libjpeg does not interpolate what is so narrow.
    if header.sampling.0 == 2 && header.width <= 4 {
        return None;
    }
    let image = dispatch(&header, &scan, &copy, &parts)?;
    image.as_ref().check().ok()?;
    Some(image)
}

/// Runs the one function with all vector instructions that this machine has.
fn dispatch(
    header: &Header,
    scan: &Scan,
    copy: &[u8],
    parts: &[Range<usize>],
) -> Option<Image> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi2") {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
        fn fast(
            header: &Header,
            scan: &Scan,
            copy: &[u8],
            parts: &[Range<usize>],
        ) -> Option<Image> {
            run::<true>(header, scan, copy, parts)
        }
        #[expect(
            unsafe_code,
            reason = "the only way to call it from a general function"
        )]
        // SAFETY: every processor with AVX2 and BMI2 has BMI1 and LZCNT.
        return unsafe { fast(header, scan, copy, parts) };
    }
    run::<false>(header, scan, copy, parts)
}

#[inline(always)]
fn run<const AVX2: bool>(
    header: &Header,
    scan: &Scan,
    copy: &[u8],
    parts: &[Range<usize>],
) -> Option<Image> {
    let planes = scan.planes::<AVX2>(header, copy, parts)?;
    Some(scan.image(header, &planes))
}

/// Which MCUs there are and which are wanted.
struct Scan {
    part: Part,
    /// How many MCUs there are, across and down.
    mcus: (usize, usize),
    across: Range<usize>,
    down: Range<usize>,
}

impl Scan {
    fn new(header: &Header, part: &Part) -> Self {
        let (h, v) = header.sampling;
        let mcus = (header.width.div_ceil(8 * h), header.height.div_ceil(8 * v));
        // Interpolation looks at one sample more on each side, which is two pixels.
        let wanted = |range: &Range<u32>, unit: usize, count: usize| {
            let start = (range.start as usize).saturating_sub(2) / unit;
            start..(range.end as usize + 2).div_ceil(unit).min(count)
        };
        Scan {
            part: part.clone(),
            mcus,
            across: wanted(&part.columns, 8 * h, mcus.0),
            down: wanted(&part.rows, 8 * v, mcus.1),
        }
    }

    /// How many blocks a component has in an MCU.
    fn blocks(header: &Header, component: usize) -> (usize, usize) {
        if component == 0 {
            header.sampling
        } else {
            (1, 1)
        }
    }

    fn plane(&self, header: &Header, component: usize) -> Plane {
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
            data: vec![0; stride * self.down.len() * v * 8],
        }
    }

    /// Decodes all blocks of the wanted MCUs.
    #[inline(always)]
    fn planes<const AVX2: bool>(
        &self,
        header: &Header,
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
                            bits.block::<false>(
                                component,
                                prediction,
                                &mut coefficients,
                            )?;
                            continue;
                        }
                        let last =
                            bits.block::<true>(component, prediction, &mut coefficients)?;
                        let pixels = idct::<AVX2>(&coefficients, last);
                        coefficients = [0; 64];
                        let left = ((x - self.across.start) * h + block % h) * 8;
                        let top = ((y - self.down.start) * v + block / h) * 8;
                        planes[n].put(left, top, &pixels);
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

    /// Interpolates chroma and converts colours.
    #[inline(always)]
    fn image(&self, header: &Header, planes: &[Plane]) -> Image {
        let (columns, rows) = (&self.part.columns, &self.part.rows);
        let (left, right) = (columns.start as usize, columns.end as usize);
        let channels = planes.len();
        let mut data = vec![0; (right - left) * rows.len() * channels];
        let mut chroma = [vec![0; right - left], vec![0; right - left]];
        let mut sums = Vec::new();
        for (out, y) in data
            .chunks_exact_mut((right - left) * channels)
            .zip(rows.start as usize..)
        {
            let luma = planes[0].row(y, left, right);
            let [_, blue, red] = planes else {
                out.copy_from_slice(luma);
                continue;
            };
            for (plane, chroma) in [blue, red].into_iter().zip(&mut chroma) {
                plane.interpolate(header.sampling, y, left, &mut sums, chroma);
            }
            to_rgb(luma, &chroma[0], &chroma[1], out);
        }
        Image {
            width: columns.len() as u32,
            height: rows.len() as u32,
            channels: channels as u8,
            data,
        }
    }
}

impl Plane {
    #[inline(always)]
    fn put(&mut self, left: usize, top: usize, pixels: &[[u8; 8]; 8]) {
        let rows = self.data[top * self.stride..].chunks_mut(self.stride);
        for (row, pixels) in rows.zip(pixels) {
            row[left..left + 8].copy_from_slice(pixels);
        }
    }

    fn row(&self, y: usize, left: usize, right: usize) -> &[u8] {
        let start = (y - self.first.1) * self.stride;
        &self.data[start + left - self.first.0..start + right - self.first.0]
    }

    /// The samples of a row of pixels from `left` on, as `jdsample.c` interpolates them.
    #[inline(always)]
    fn interpolate(
        &self,
        (h, v): (usize, usize),
        y: usize,
        left: usize,
        sums: &mut Vec<i32>,
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
                    *out = ((u32::from(*near) * 3 + u32::from(*far) + bias) >> 2) as u8;
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
                sums.extend(near.iter().zip(far).map(|(near, far)| {
                    i32::from(*near) * weights.0 + i32::from(*far) * weights.1
                }));
                across(sums, from, left, shift, biases, out);
            }
        }
    }
}

/// Interpolates across: `sums` begins at the sample `from`, `out` at the pixel `left`.
/// Samples outside of the image are those at its border.
#[inline(always)]
fn across(
    sums: &mut Vec<i32>,
    from: usize,
    left: usize,
    shift: u32,
    biases: (i32, i32),
    out: &mut [u8],
) {
    // One neighbour on each side of the samples under `out`.
    let first = left / 2;
    if from == first {
        sums.insert(0, sums[0]);
    }
    let count = (left + out.len()).div_ceil(2) - first;
    if let Some(last) = sums.last().copied() {
        sums.resize(count + 2, last);
    }
    let pairs = |sums: &[i32], index: usize| {
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

/// Luma and chroma to red, green and blue, in 16 bits after the point.
#[inline(always)]
fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    let samples = luma.iter().zip(blue).zip(red);
    for (pixel, ((y, cb), cr)) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        let red = y + ((91_881 * cr + HALF) >> 16);
        let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
        let blue = y + ((116_130 * cb + HALF) >> 16);
        // In range after the clamp.
        let byte = |value: i32| value.clamp(0, 255) as u8;
        *pixel = [byte(red), byte(green), byte(blue)];
    }
}
