//! The normal distribution, the same to the bit on every processor.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E, PI};

/// The logarithm of the square root of two pi.
pub(crate) const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

/// The density.
pub(crate) fn density(x: f64) -> f64 {
    libm::exp(-0.5 * x * x) / libm::sqrt(2.0 * PI)
}

/// The share of values below `x`.
pub(crate) fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// The share of values between `low` and `high`, which are in order.
pub(crate) fn between(low: f64, high: f64) -> f64 {
    // In the upper tail both shares are close to one and their difference is lost.
    if low > 0.0 {
        return below(-low) - below(-high);
    }
    below(high) - below(low)
}

/// The logarithm of [`between`], also where that is zero in 64 bits.
pub(crate) fn ln_between(low: f64, high: f64) -> f64 {
    let share = between(low, high);
    if share > 1e-290 {
        return libm::log(share);
    }
    // Far out the density falls so fast that only the nearer end counts.
    let near = low.abs().min(high.abs());
    -0.5 * near * near - LN_SQRT_TAU - libm::log(near.max(1.0))
}

/// The value below which a share of `p` lies: Wichura's algorithm AS 241 (1988), good to
/// about 1 part in 10^16.
pub(crate) fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(r, &CENTRE.0, &CENTRE.1);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail <= 0.0 {
        return if q < 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    let r = libm::sqrt(-libm::log(tail));
    let value = match r <= 5.0 {
        true => ratio(r - 1.6, &NEAR.0, &NEAR.1),
        false => ratio(r - 5.0, &FAR.0, &FAR.1),
    };
    if q < 0.0 { -value } else { value }
}

type Ratio = ([f64; 8], [f64; 8]);

/// The quotient of two polynomials, lowest power first.
fn ratio(x: f64, above: &[f64; 8], below: &[f64; 8]) -> f64 {
    let value =
        |terms: &[f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * x + term);
    value(above) / value(below)
}

const CENTRE: Ratio = (
    [
        3.387_132_872_796_366_5,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_3e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_659_7e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
);

const NEAR: Ratio = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);

const FAR: Ratio = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

/// e to a power that is not above zero, to about 1 part in 10^12.
///
/// Densities of thousands of kernels are summed with it, which `libm` takes several times
/// as long for; a sum of products and one shift of the exponent is as portable.
pub(crate) fn fast_exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    let whole = (x * LOG2_E - 0.5) as i64;
    let rest = x - whole as f64 * LN_2;
    // Taylor's series; |rest| is at most ln(2) / 2 and its 13th term below 10^-13.
    let mut sum = 1.0;
    for divisor in [
        12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0,
    ] {
        sum = 1.0 + sum * rest * (1.0 / divisor);
    }
    sum * f64::from_bits(((1023 + whole) as u64) << 52)
}

/// The logarithm of a sum of exponentials.
pub(crate) fn ln_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let sum: f64 = terms.iter().map(|term| fast_exp(term - largest)).sum();
    largest + libm::log(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, expected: f64, within: f64) {
        assert!(
            (value - expected).abs() <= within * expected.abs().max(1e-300),
            "{value} is not {expected}"
        );
    }

    // scipy.stats.norm.ppf([0.975, 0.5001, 1e-3, 1e-20])
    #[test]
    fn quantiles_are_those_of_scipy() {
        close(quantile(0.975), 1.959_963_984_540_054, 1e-14);
        close(quantile(0.5001), 2.506_628_300_880_35e-4, 1e-12);
        close(quantile(1e-3), -3.090_232_306_167_813_5, 1e-14);
        close(quantile(1e-20), -9.262_340_089_798_408, 1e-14);
        assert_eq!(quantile(0.5), 0.0);
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
    }

    #[test]
    fn a_quantile_undoes_a_share() {
        for step in 1..200 {
            let p = f64::from(step) / 200.0;
            close(below(quantile(p)), p, 1e-13);
        }
    }

    // scipy.special.log_ndtr(-8) + log1p(-exp(log_ndtr(-9) - log_ndtr(-8))), and
    // scipy.stats.norm.logsf(50) for the far tail.
    #[test]
    fn shares_in_the_tails_keep_their_digits() {
        close(ln_between(8.0, 9.0), -35.013_618_593_437, 1e-9);
        close(ln_between(-9.0, -8.0), -35.013_618_593_437, 1e-9);
        close(ln_between(50.0, 60.0), -1_254.831_361_139, 1e-6);
        assert!(ln_between(1e8, 1e9).is_finite());
    }

    #[test]
    fn the_fast_exponential_is_the_exponential() {
        for step in 0..7_000 {
            let x = -f64::from(step) / 10.0 - 1e-3;
            close(fast_exp(x), libm::exp(x), 1e-11);
        }
        assert_eq!(fast_exp(-1e9), 0.0);
        close(fast_exp(0.0), 1.0, 1e-15);
    }
}
