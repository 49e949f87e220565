//! The most that a core can do, to compare kernels with.

use std::hint::black_box;

use super::level::dispatch;
use super::simd::{Kernel, Simd};

/// Multiplies and adds in registers for about 5 milliseconds and returns the number of
/// floating-point operations.
pub(crate) fn saturate() -> f64 {
    dispatch(Saturate)
}

/// Sums enough to hide the latency of each, few enough for the registers of every level.
const SUMS: usize = 12;

const ROUNDS: usize = 1_000_000;

/// Multiplications and additions that wait for nothing, [`ROUNDS`] times.
struct Saturate;

impl Kernel for Saturate {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let (factor, term) = (simd.splat(black_box(0.5)), simd.splat(black_box(0.1)));
        let mut sums = [simd.splat(black_box(0.0)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.fma(*sum, factor, term);
            }
        }
        let mut total = simd.splat(0.0);
        for sum in sums {
            total = simd.add(total, sum);
        }
        black_box(simd.greater(total, simd.splat(f32::MAX)));
        (ROUNDS * SUMS * S::LANES * 2) as f64
    }
}
