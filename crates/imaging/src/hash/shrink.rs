//! Gray images in another size, with all the bits that Pillow's `Resample.c` has.
//!
//! `resize` keeps weights in 16 bits, for speed, and differs by one in a pixel out of some
//! hundreds. Where a hash compares a pixel with the next, that is another bit.

use crate::{Filter, ImageRef};

/// Bits after the point of a weight (`PRECISION_BITS`).
const BITS: u32 = 22;

/// Which old pixels a new one is made of, and how much each of them counts.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The pixels of a gray image in another size, shrunk or grown by LANCZOS: along rows
/// first, then along columns, rounded in between.
pub(super) fn shrink(gray: ImageRef<'_>, width: usize, height: usize) -> Vec<u8> {
    let (old_width, old_height) = (gray.width as usize, gray.height as usize);
    let across = if width == old_width {
        gray.data.to_vec()
    } else {
        let taps = taps(old_width, width);
        let rows = gray.data.chunks_exact(old_width);
        rows.flat_map(|row| taps.iter().map(|taps| taps.of(row.iter().skip(taps.first))))
            .collect()
    };
    if height == old_height {
        return across;
    }
    let mut pixels = Vec::with_capacity(width * height);
    for taps in taps(old_height, height) {
        let below = &across[taps.first * width..];
        for column in 0..width {
            pixels.push(taps.of(below[column..].iter().step_by(width)));
        }
    }
    pixels
}

/// For each new pixel, as `precompute_coeffs` has it.
fn taps(old: usize, new: usize) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let widened = scale.max(1.0);
    let support = Filter::Lanczos3.support() * widened;
    let of = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        // A cast of a number below zero is zero.
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(old);
        let weight = |pixel: usize| {
            let distance = (pixel as f64 - center + 0.5) * (1.0 / widened);
            Filter::Lanczos3.weight(distance, true)
        };
        let exact: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = exact.iter().sum();
        let whole = |weight: &f64| {
            let value = weight / sum * f64::from(1 << BITS);
            // Fits: a weight is near one at most.
            (value + 0.5_f64.copysign(value)) as i32
        };
        Taps {
            first,
            weights: exact.iter().map(whole).collect(),
        }
    };
    (0..new).map(of).collect()
}

impl Taps {
    /// A new pixel of the old ones from the first on.
    fn of<'a>(&self, pixels: impl Iterator<Item = &'a u8>) -> u8 {
        let products = self.weights.iter().zip(pixels);
        let products = products.map(|(weight, pixel)| weight * i32::from(*pixel));
        let sum = products.sum::<i32>() + (1 << (BITS - 1));
        // In range after the clamp.
        (sum >> BITS).clamp(0, 255) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // pixels = numpy.arange(48).reshape(6, 8) ** 2 % 256
    // Image.fromarray(pixels.astype(numpy.uint8)).resize((3, 4), Image.LANCZOS)
    #[test]
    fn pixels_are_pillows() {
        let data: Vec<u8> = (0..48_u32).map(|n| (n * n % 256) as u8).collect();
        let gray = ImageRef {
            width: 8,
            height: 6,
            channels: 1,
            data: &data,
        };
        assert_eq!(
            shrink(gray, 3, 4),
            [30, 52, 98, 55, 145, 175, 96, 110, 128, 109, 134, 151]
        );
        assert_eq!(
            shrink(gray, 8, 9)[40..48],
            [60, 111, 164, 231, 0, 59, 132, 222]
        );
    }
}
