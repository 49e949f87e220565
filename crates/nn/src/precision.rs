//! Which numbers 32 bits do not tell apart.
//!
//! A network computes with 32 bits, and what it sees is centred and scaled, for which that
//! is enough. The numbers of the data may not be: neighbouring 32-bit numbers near 10^9 lie
//! 64 apart, so that seconds since 1970 become minutes and `1e9 + 3x` becomes stairs.

/// The most that rounding to 32 bits may change a number, as a share of the range of its
/// column: 64 times the precision of 32 bits.
const ROUNDING: f64 = 1.0 / 262_144.0;

/// How many times the range of a column its numbers may be. Beyond that, sums with 32 bits
/// lose what rounding the numbers themselves has not.
const OFFSET: f64 = 4_096.0;

/// Which numbers of a dataset keep 64 bits until they are centred and scaled.
///
/// All others are rounded to 32 bits, as they always were: for them nothing is lost, and
/// their trials keep their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wide {
    /// The features, if any column needs it.
    pub features: bool,
    /// The numbers to predict.
    pub labels: bool,
}

/// Whether 32 bits are too few for a column. The order of its numbers does not matter.
pub fn needs_64_bits(column: impl IntoIterator<Item = f64>) -> bool {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut rounding: f64 = 0.0;
    for number in column {
        least = least.min(number);
        most = most.max(number);
        rounding = rounding.max((number - narrowed(number)).abs());
    }
    if least > most {
        return false;
    }
    let (range, largest) = (most - least, least.abs().max(most.abs()));
    if largest > f64::from(f32::MAX) {
        return true;
    }
    match range > 0.0 {
        // All are the same: rounding hides nothing, but may be far off itself.
        false => rounding >= 0.5,
        true => {
            rounding > range * ROUNDING
                || largest > range * OFFSET
                || range < f64::from(f32::MIN_POSITIVE)
        }
    }
}

/// The nearest 32-bit number.
pub(crate) fn narrowed(number: f64) -> f64 {
    f64::from(number as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(column: &[f64], expected: bool) {
        assert_eq!(
            needs_64_bits(column.iter().copied()),
            expected,
            "{column:?}"
        );
    }

    #[test]
    fn ordinary_columns_fit_32_bits() {
        check(&[], false);
        check(&[0.1, 0.2, 0.3], false);
        check(&[120_000.5, 480_000.25], false);
        check(&[280.15, 305.65], false);
        check(&[1_999.0, 2_024.0], false);
        check(&[0.1], false);
        check(&[0.0, 1e9], false);
    }

    #[test]
    fn numbers_that_lie_close_together_for_their_size_do_not() {
        check(&[1e9, 1e9 + 3.0, 1e9 + 6.0], true);
        // Seconds since 1970, an hour apart.
        check(&[1_700_000_000.0, 1_700_003_600.0], true);
        // Each of these is a 32-bit number, but a mean of them is not.
        check(&[1e9, 1e9 + 64.0], true);
        check(&[16_777_217.0], true);
    }

    #[test]
    fn numbers_outside_of_32_bits_do_not() {
        check(&[1e300, 2e300], true);
        check(&[1e-50, 2e-50], true);
        check(&[-1.7e308, 1.7e308], true);
    }
}
