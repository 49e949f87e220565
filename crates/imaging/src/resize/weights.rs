//! Which old pixels each new pixel is made of along one axis, and how much each of them
//! counts.

use std::ops::Range;

use super::Filter;
use crate::crop::Placement;

/// One axis of a resize, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResizeAxis {
    /// How many old pixels there are.
    pub(super) pixels: usize,
    /// Where among them the image begins, and how long it is. A scaled JPEG may end inside of
    /// its last pixel, so these are no whole numbers.
    pub(super) source: (f64, f64),
    /// How many new pixels there are.
    pub(super) resized: u32,
    /// Which of the new pixels are computed.
    pub(super) computed: Placement,
}

/// Whole numbers that stand for weights: a new pixel is the sum of old pixels times
/// weights, divided by two to the power of `shift`.
pub(super) struct Weights {
    /// The first old pixel of each new one.
    pub(super) starts: Vec<usize>,
    /// `taps` for each new pixel, zeros after its own.
    pub(super) values: Vec<i16>,
    pub(super) taps: usize,
    pub(super) shift: u32,
}

/// The weights of a run of new pixels.
#[derive(Clone, Copy)]
pub(super) struct WeightWindow<'a> {
    pub(super) starts: &'a [usize],
    pub(super) values: &'a [i16],
    pub(super) taps: usize,
    pub(super) shift: u32,
}

impl WeightWindow<'_> {
    /// How far behind the first pixel the last one lies that is read.
    pub(super) fn reach(&self) -> usize {
        let starts = self.starts.iter().map(|start| start - self.starts[0]);
        starts.max().unwrap_or(0) + self.taps
    }
}

/// The nearest whole number, halves away from zero. A call of `round` is slower.
fn whole(value: f64) -> i16 {
    (value + 0.5_f64.copysign(value)) as i16
}

/// Bits after the point at most: sums of bytes fit 32 bits then (`PRECISION_BITS` of
/// Pillow).
const MOST_BITS: u32 = 22;

impl Weights {
    /// Positions and weights as `precompute_coeffs` of Pillow's `Resample.c` computes
    /// them, in as many bits as fit 16. There are a multiple of `unit` for each pixel.
    pub(super) fn new(
        axis: &ResizeAxis,
        filter: Filter,
        antialias: bool,
        unit: usize,
    ) -> Self {
        let scale = axis.source.1 / f64::from(axis.resized);
        let widened = if antialias { scale.max(1.0) } else { 1.0 };
        let support = filter.support() * widened;
        let range = |center: f64| {
            // Casts of numbers outside saturate, which is what is wanted.
            let start = ((center - support + 0.5) as usize).min(axis.pixels - 1);
            let end = ((center + support + 0.5) as usize).min(axis.pixels);
            start..end.max(start + 1)
        };
        let computed = axis.computed;
        let centers = (computed.from..computed.from + computed.length)
            .map(|index| axis.source.0 + (f64::from(index) + 0.5) * scale);
        let ranges: Vec<_> = centers.clone().map(range).collect();
        let longest = ranges.iter().map(ExactSizeIterator::len).max();
        let taps = longest.unwrap_or(1).next_multiple_of(unit);

        let mut exact = vec![0.0; taps * ranges.len()];
        let rows = exact.chunks_exact_mut(taps);
        for ((row, range), center) in rows.zip(&ranges).zip(centers) {
            for (weight, pixel) in row.iter_mut().zip(range.clone()) {
                let distance = (pixel as f64 - center + 0.5) / widened;
                *weight = filter.weight(distance, antialias);
            }
            let sum: f64 = row.iter().sum();
            if sum != 0.0 {
                row.iter_mut().for_each(|weight| *weight /= sum);
            }
        }
        let largest = exact.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
        let fits =
            |bits: &u32| (largest * f64::from(1 << bits)).round() <= f64::from(i16::MAX);
        let shift = (1..=MOST_BITS).rev().find(fits).unwrap_or(1);
        let one = f64::from(1 << shift);
        Weights {
            starts: ranges.iter().map(|range| range.start).collect(),
            values: exact.iter().map(|w| whole(w * one)).collect(),
            taps,
            shift,
        }
    }

    /// The weights of some new pixels.
    pub(super) fn part(&self, pixels: Range<usize>) -> WeightWindow<'_> {
        WeightWindow {
            starts: &self.starts[pixels.clone()],
            values: &self.values[pixels.start * self.taps..pixels.end * self.taps],
            taps: self.taps,
            shift: self.shift,
        }
    }

    /// The weights of a new pixel.
    pub(super) fn of(&self, index: usize) -> &[i16] {
        &self.values[index * self.taps..(index + 1) * self.taps]
    }

    /// Of the sum of a pixel: rounded, and within a byte.
    #[inline(always)]
    pub(super) fn byte(sum: i32, shift: u32) -> u8 {
        // In range after the clamp.
        ((sum + (1 << (shift - 1))) >> shift).clamp(0, 255) as u8
    }
}
