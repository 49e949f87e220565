//! Haar wavelets with the rounding of PyWavelets, whose low band `whash` is made of.

use std::f64::consts::FRAC_1_SQRT_2;

/// The filter of PyWavelets, 0.7071067811865476.
const C: f64 = FRAC_1_SQRT_2;

/// The low band of `small` x `small` values: of the image without its mean, which is taken
/// away as the lowest of all wavelets. Both sides are powers of two.
pub(super) fn low(mut values: Vec<f64>, side: usize, small: usize) -> Vec<f64> {
    let mut scratch = vec![0.0; values.len()];
    let mut size = side;
    while size > 1 {
        forward(&mut values, &mut scratch, side, size);
        size /= 2;
    }
    values[0] = 0.0;
    while size < side {
        size *= 2;
        backward(&mut values, &mut scratch, side, size);
    }
    while size > small {
        forward(&mut values, &mut scratch, side, size);
        size /= 2;
    }
    let rows = values.chunks_exact(side).take(small);
    rows.flat_map(|row| &row[..small]).copied().collect()
}

/// Splits the first `size` x `size` values into their low band, in the first quarter, and
/// their high ones: along columns first, then along rows.
fn forward(values: &mut [f64], scratch: &mut [f64], side: usize, size: usize) {
    let half = size / 2;
    for k in 0..half {
        for column in 0..size {
            let even = values[2 * k * side + column];
            let odd = values[(2 * k + 1) * side + column];
            scratch[k * side + column] = C * odd + C * even;
            scratch[(half + k) * side + column] = -C * odd + C * even;
        }
    }
    for row in 0..size {
        let from = &scratch[row * side..][..size];
        let to = &mut values[row * side..][..size];
        for (k, pair) in from.as_chunks::<2>().0.iter().enumerate() {
            let [even, odd] = pair;
            to[k] = C * odd + C * even;
            to[half + k] = -C * odd + C * even;
        }
    }
}

/// Undoes [`forward`], in the opposite order.
fn backward(values: &mut [f64], scratch: &mut [f64], side: usize, size: usize) {
    let half = size / 2;
    for row in 0..size {
        let from = &values[row * side..][..size];
        let to = &mut scratch[row * side..][..size];
        for (k, pair) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (low, high) = (from[k], from[half + k]);
            *pair = [C * low + C * high, C * low - C * high];
        }
    }
    for k in 0..half {
        for column in 0..size {
            let low = scratch[k * side + column];
            let high = scratch[(half + k) * side + column];
            values[2 * k * side + column] = C * low + C * high;
            values[(2 * k + 1) * side + column] = C * low - C * high;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_is_put_together_again() {
        let values: Vec<f64> = (0..64).map(|n| f64::from(n * n % 17)).collect();
        let (mut found, mut scratch) = (values.clone(), vec![0.0; 64]);
        forward(&mut found, &mut scratch, 8, 8);
        forward(&mut found, &mut scratch, 8, 4);
        backward(&mut found, &mut scratch, 8, 4);
        backward(&mut found, &mut scratch, 8, 8);
        for (found, value) in found.iter().zip(&values) {
            assert!((found - value).abs() < 1e-12, "{found} for {value}");
        }
    }

    #[test]
    fn the_low_band_is_the_means_of_squares_without_the_mean_of_all() {
        let values: Vec<f64> = (0..256).map(f64::from).collect();
        let low = low(values.clone(), 16, 8);
        let square = |row: usize, column: usize| {
            let at = |r: usize, c: usize| values[(2 * row + r) * 16 + 2 * column + c];
            (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 2.0 - 2.0 * 127.5
        };
        for (n, found) in low.iter().enumerate() {
            assert!((found - square(n / 8, n % 8)).abs() < 1e-9, "{n}: {found}");
        }
    }
}
