//! Functions of single numbers and of rows of them that need an exponential.
#![expect(unsafe_code, reason = "numbers are read through raw pointers")]

use super::level::dispatch;
use super::product::{load_up_to, store_up_to};
use super::simd::{Kernel, Simd};

/// The lanes of the widest level.
const LANES: usize = 16;

/// `e` to the power of `x`, to about two units in the last place; NaN stays NaN. The
/// polynomial is that of `expf` in Cephes (S. Moshier).
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    const COEFFICIENTS: [f32; 5] = [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    // Adding and taking away this number rounds to a whole one.
    let round = simd.splat(12_582_912.0);
    let (low, high) = (simd.splat(-87.0), simd.splat(88.0));
    let x = simd.select(simd.greater(low, x), low, x);
    let x = simd.select(simd.greater(x, high), high, x);
    let n = simd.fma(x, simd.splat(std::f32::consts::LOG2_E), round);
    let n = simd.sub(n, round);
    // The logarithm of 2 in two parts, of which the first has few digits.
    let rest = simd.fma(n, simd.splat(-0.693_359_4), x);
    let rest = simd.fma(n, simd.splat(2.121_944_4e-4), rest);
    let mut sum = simd.splat(1.987_569_1e-4);
    for coefficient in COEFFICIENTS {
        sum = simd.fma(sum, rest, simd.splat(coefficient));
    }
    let one = simd.splat(1.0);
    let sum = simd.fma(sum, simd.mul(rest, rest), simd.add(rest, one));
    simd.mul(sum, simd.power_of_two(n))
}

/// The cumulative distribution function of the normal distribution and its density, with an
/// error below 2e-7 (M. Abramowitz and I. Stegun, Handbook of mathematical functions, 7.1.26).
#[inline(always)]
fn normal<S: Simd>(simd: S, x: S::Vector) -> (S::Vector, S::Vector) {
    const COEFFICIENTS: [f32; 4] = [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let is_positive = simd.greater(x, zero);
    let size = simd.select(is_positive, x, simd.sub(zero, x));
    let bell = exp(simd, simd.mul(simd.mul(x, x), simd.splat(-0.5)));
    let z = simd.mul(size, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.div(one, simd.fma(z, simd.splat(0.327_591_1), one));
    let mut sum = simd.splat(1.061_405_4);
    for coefficient in COEFFICIENTS {
        sum = simd.fma(sum, t, simd.splat(coefficient));
    }
    let tail = simd.mul(simd.mul(simd.mul(sum, t), bell), simd.splat(0.5));
    let below = simd.select(is_positive, simd.sub(one, tail), tail);
    (below, simd.mul(bell, simd.splat(0.398_942_3)))
}

/// `x * Phi(x)` of each number.
pub(crate) fn gelu(input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len());
    dispatch(Gelu { input, output });
}

struct Gelu<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.input.len();
        for at in (0..count).step_by(S::LANES) {
            let lanes = (count - at).min(S::LANES);
            // SAFETY: `gelu` checked that both have `count` numbers.
            unsafe {
                let x = load_up_to(simd, self.input.as_ptr().add(at), lanes);
                let y = simd.mul(x, normal(simd, x).0);
                store_up_to(simd, self.output.as_mut_ptr().add(at), y, lanes);
            }
        }
    }
}

/// The gradient of the input of [`gelu`] from that of its output.
pub(crate) fn gelu_slope(input: &[f32], slopes: &[f32], target: &mut [f32]) {
    assert!(input.len() == target.len() && slopes.len() == target.len());
    dispatch(GeluSlope {
        input,
        slopes,
        target,
    });
}

struct GeluSlope<'a> {
    input: &'a [f32],
    slopes: &'a [f32],
    target: &'a mut [f32],
}

impl Kernel for GeluSlope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.input.len();
        for at in (0..count).step_by(S::LANES) {
            let lanes = (count - at).min(S::LANES);
            // SAFETY: `gelu_slope` checked that all have `count` numbers.
            unsafe {
                let x = load_up_to(simd, self.input.as_ptr().add(at), lanes);
                let dy = load_up_to(simd, self.slopes.as_ptr().add(at), lanes);
                let (below, density) = normal(simd, x);
                let dx = simd.mul(dy, simd.fma(x, density, below));
                store_up_to(simd, self.target.as_mut_ptr().add(at), dx, lanes);
            }
        }
    }
}

/// Makes each row of `width` numbers, times `scale`, shares that add up to 1.
pub(crate) fn softmax(rows: &mut [f32], width: usize, scale: f32) {
    assert!(rows.len().is_multiple_of(width));
    dispatch(Softmax { rows, width, scale });
}

struct Softmax<'a> {
    rows: &'a mut [f32],
    width: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in self.rows.chunks_exact_mut(self.width) {
            let largest = largest(row);
            let (largest, scale) = (simd.splat(largest), simd.splat(self.scale));
            let mut sums = [0.0_f32; LANES];
            for part in row.chunks_mut(S::LANES) {
                // SAFETY: a part has as many numbers as it is long, and no more than lanes.
                unsafe {
                    let x = load_up_to(simd, part.as_ptr(), part.len());
                    let y = exp(simd, simd.mul(simd.sub(x, largest), scale));
                    store_up_to(simd, part.as_mut_ptr(), y, part.len());
                }
                for (sum, y) in sums.iter_mut().zip(&*part) {
                    *sum += y;
                }
            }
            let share = 1.0 / sums.iter().sum::<f32>();
            for y in row {
                *y *= share;
            }
        }
    }
}

/// The largest number; which one does not matter if one of them is NaN.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut largest = [f32::MIN; LANES];
    for part in row.chunks(LANES) {
        for (largest, x) in largest.iter_mut().zip(part) {
            *largest = if *x > *largest { *x } else { *largest };
        }
    }
    largest.into_iter().fold(f32::MIN, f32::max)
}

/// The gradient of the numbers before [`softmax`], in place of that of the shares.
pub(crate) fn softmax_slope(
    slopes: &mut [f32],
    shares: &[f32],
    width: usize,
    scale: f32,
) {
    assert_eq!(slopes.len(), shares.len());
    dispatch(SoftmaxSlope {
        slopes,
        shares,
        width,
        scale,
    });
}

struct SoftmaxSlope<'a> {
    slopes: &'a mut [f32],
    shares: &'a [f32],
    width: usize,
    scale: f32,
}

impl Kernel for SoftmaxSlope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rows = self.slopes.chunks_exact_mut(self.width);
        for (slopes, shares) in rows.zip(self.shares.chunks_exact(self.width)) {
            let mut sums = [0.0_f32; LANES];
            for (slopes, shares) in slopes.chunks(LANES).zip(shares.chunks(LANES)) {
                for (sum, (slope, share)) in
                    sums.iter_mut().zip(slopes.iter().zip(shares))
                {
                    *sum += slope * share;
                }
            }
            let sum = sums.iter().sum::<f32>();
            for (slope, share) in slopes.iter_mut().zip(shares) {
                *slope = share * (*slope - sum) * self.scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Guarded, at_each_level};

    #[test]
    fn gelu_agrees_with_double_precision() {
        let numbers: Vec<f32> = (-1_000..1_003).map(|n| n as f32 * 0.01).collect();
        let input = Guarded::from(numbers);
        at_each_level(|level| {
            let mut output = Guarded::new(9.0, input.len());
            gelu(&input, &mut output);
            for (x, y) in input.iter().zip(output.iter()) {
                let expected = f64::from(*x) * below(f64::from(*x));
                let error = (f64::from(*y) - expected).abs();
                assert!(error < 1e-6 * (1.0 + expected.abs()), "{level:?} {x}: {y}");
            }
        });
    }

    /// The normal distribution by Simpson's rule.
    fn below(x: f64) -> f64 {
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let step = x / 200.0;
        let sum: f64 = (0..200)
            .map(|n| {
                let start = step * f64::from(n);
                density(start) + 4.0 * density(start + step / 2.0) + density(start + step)
            })
            .sum();
        0.5 + sum * step / 6.0
    }

    #[test]
    fn shares_add_up_and_nan_is_never_hidden() {
        at_each_level(|level| {
            for width in [1, 3, 8, 17, 40] {
                let numbers = (0..2 * width).map(|n| (n * 7 % 23) as f32 * 9.0 - 80.0);
                let numbers: Vec<f32> = numbers.collect();
                let mut rows = Guarded::from(numbers.clone());
                softmax(&mut rows, width, 0.5);
                for (row, numbers) in
                    rows.chunks_exact(width).zip(numbers.chunks_exact(width))
                {
                    let exact = |x: &f32| (0.5 * f64::from(*x)).exp();
                    let all: f64 = numbers.iter().map(exact).sum();
                    for (share, x) in row.iter().zip(numbers) {
                        let error = f64::from(*share) - exact(x) / all;
                        assert!(error.abs() < 1e-6, "{level:?} {width}: {share}");
                    }
                }
            }
            let mut row = [1.0, f32::NAN, 0.0];
            softmax(&mut row, 3, 1.0);
            assert!(row.iter().all(|share| share.is_nan()), "{level:?} {row:?}");
        });
    }
}
