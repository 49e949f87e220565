//! The one-dimensional transforms of Winograd's convolution.
//!
//! A tile of `SIZE` inputs and a filter of `FILTER` taps give `OUTPUTS` outputs with `SIZE`
//! multiplications: `y = A'((G w) * (B'x))`, where `*` multiplies value by value and `'`
//! transposes. The matrices are those of Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks" (2015), for the points 0, ±1, ±2, infinity, and ±1/2
//! for the larger tile. `A` has the powers of the points as its rows, `B'` the products of
//! all other points' factors, and `G` the powers divided by the products of differences.
//!
//! The gradients are the transposes: `B dy` leads back to the input, `A` to the tile.

use crate::kernels::simd::Simd;

/// The outputs of a tile, in each direction.
pub(crate) const OUTPUTS: usize = 4;

/// The inputs of the largest tile. Smaller ones leave the last entries alone.
pub(crate) const LARGEST: usize = 8;

/// The taps of the largest filter.
pub(crate) const TAPS: usize = 5;

/// The transforms for one size of filter.
pub(crate) trait Tile {
    /// The inputs under a tile, in each direction.
    const SIZE: usize;
    /// The filter's taps, in each direction.
    const FILTER: usize;
    /// `G`: one row for each of the tile's multiplications.
    const FILTERS: [[f32; TAPS]; LARGEST];

    /// `B' x`
    fn input<S: Simd>(simd: S, x: [S::Vector; LARGEST]) -> [S::Vector; LARGEST];
    /// `B y`
    fn input_gradient<S: Simd>(simd: S, y: [S::Vector; LARGEST]) -> [S::Vector; LARGEST];
    /// `A' m`
    fn output<S: Simd>(simd: S, m: [S::Vector; LARGEST]) -> [S::Vector; OUTPUTS];
    /// `A y`
    fn output_gradient<S: Simd>(simd: S, y: [S::Vector; OUTPUTS])
    -> [S::Vector; LARGEST];
}

/// Filters of 3 taps: 6 multiplications instead of 12.
pub(crate) struct Three;

/// Filters of 5 taps: 8 multiplications instead of 20.
pub(crate) struct Five;

/// A row of a square whose columns are given.
///
/// (The closure of `array::map` would not be compiled with the level's instructions.)
#[inline(always)]
pub(crate) fn across<S: Simd, const N: usize>(
    simd: S,
    columns: &[[S::Vector; LARGEST]; N],
    row: usize,
) -> [S::Vector; N] {
    let mut values = [simd.splat(0.0); N];
    for (value, column) in values.iter_mut().zip(columns) {
        *value = column[row];
    }
    values
}

/// `a * x + y` for a constant.
#[inline(always)]
fn axpy<S: Simd>(simd: S, a: f32, x: S::Vector, y: S::Vector) -> S::Vector {
    simd.fma(simd.splat(a), x, y)
}

/// Sum and difference.
#[inline(always)]
fn both<S: Simd>(simd: S, a: S::Vector, b: S::Vector) -> [S::Vector; 2] {
    [simd.add(a, b), simd.sub(a, b)]
}

#[inline(always)]
fn scale<S: Simd>(simd: S, a: f32, x: S::Vector) -> S::Vector {
    simd.mul(simd.splat(a), x)
}

impl Tile for Three {
    const SIZE: usize = 6;
    const FILTER: usize = 3;
    const FILTERS: [[f32; TAPS]; LARGEST] = [
        [1.0 / 4.0, 0.0, 0.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, 0.0, 0.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 0.0, 0.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 0.0, 0.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0; TAPS],
        [0.0; TAPS],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, x: [S::Vector; LARGEST]) -> [S::Vector; LARGEST] {
        let mut y = x;
        y[0] = axpy(simd, 4.0, x[0], axpy(simd, -5.0, x[2], x[4]));
        let (even, odd) = (axpy(simd, -4.0, x[2], x[4]), axpy(simd, -4.0, x[1], x[3]));
        [y[1], y[2]] = both(simd, even, odd);
        let (even, odd) = (simd.sub(x[4], x[2]), simd.sub(x[3], x[1]));
        [y[3], y[4]] = both(simd, even, scale(simd, 2.0, odd));
        y[5] = axpy(simd, 4.0, x[1], axpy(simd, -5.0, x[3], x[5]));
        y
    }

    #[inline(always)]
    fn input_gradient<S: Simd>(simd: S, y: [S::Vector; LARGEST]) -> [S::Vector; LARGEST] {
        let [s1, d1] = both(simd, y[1], y[2]);
        let [s2, d2] = both(simd, y[3], y[4]);
        let mut x = y;
        x[0] = scale(simd, 4.0, y[0]);
        let inner = axpy(simd, -4.0, d1, scale(simd, 4.0, y[5]));
        x[1] = axpy(simd, -2.0, d2, inner);
        x[2] = simd.sub(axpy(simd, -4.0, s1, scale(simd, -5.0, y[0])), s2);
        x[3] = axpy(simd, 2.0, d2, axpy(simd, -5.0, y[5], d1));
        x[4] = simd.add(y[0], simd.add(s1, s2));
        x[5] = y[5];
        x
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::Vector; LARGEST]) -> [S::Vector; OUTPUTS] {
        let [s1, d1] = both(simd, m[1], m[2]);
        let [s2, d2] = both(simd, m[3], m[4]);
        [
            simd.add(m[0], simd.add(s1, s2)),
            axpy(simd, 2.0, d2, d1),
            axpy(simd, 4.0, s2, s1),
            axpy(simd, 8.0, d2, simd.add(d1, m[5])),
        ]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(
        simd: S,
        y: [S::Vector; OUTPUTS],
    ) -> [S::Vector; LARGEST] {
        let mut m = [simd.splat(0.0); LARGEST];
        m[0] = y[0];
        [m[1], m[2]] = both(simd, simd.add(y[0], y[2]), simd.add(y[1], y[3]));
        let odd = axpy(simd, 8.0, y[3], scale(simd, 2.0, y[1]));
        [m[3], m[4]] = both(simd, axpy(simd, 4.0, y[2], y[0]), odd);
        m[5] = y[3];
        m
    }
}

const NINTHS: f32 = 2.0 / 9.0;
const BY_90: f32 = 1.0 / 90.0;
const BY_45: f32 = 32.0 / 45.0;

impl Tile for Five {
    const SIZE: usize = 8;
    const FILTER: usize = 5;
    const FILTERS: [[f32; TAPS]; LARGEST] = [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [-NINTHS, -NINTHS, -NINTHS, -NINTHS, -NINTHS],
        [-NINTHS, NINTHS, -NINTHS, NINTHS, -NINTHS],
        [BY_90, 2.0 * BY_90, 4.0 * BY_90, 8.0 * BY_90, 16.0 * BY_90],
        [BY_90, -2.0 * BY_90, 4.0 * BY_90, -8.0 * BY_90, 16.0 * BY_90],
        [BY_45, BY_45 / 2.0, BY_45 / 4.0, BY_45 / 8.0, BY_45 / 16.0],
        [BY_45, -BY_45 / 2.0, BY_45 / 4.0, -BY_45 / 8.0, BY_45 / 16.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, x: [S::Vector; LARGEST]) -> [S::Vector; LARGEST] {
        let mut y = x;
        y[0] = axpy(simd, 5.25, simd.sub(x[4], x[2]), simd.sub(x[0], x[6]));
        let even = axpy(simd, -4.25, x[4], simd.add(x[2], x[6]));
        let odd = axpy(simd, -4.25, x[3], simd.add(x[1], x[5]));
        [y[1], y[2]] = both(simd, even, odd);
        let middle = scale(simd, -2.5, x[3]);
        let even = axpy(simd, 0.25, x[2], axpy(simd, -1.25, x[4], x[6]));
        let odd = axpy(simd, 0.5, x[1], axpy(simd, 2.0, x[5], middle));
        [y[3], y[4]] = both(simd, even, odd);
        let even = axpy(simd, 4.0, x[2], axpy(simd, -5.0, x[4], x[6]));
        let odd = axpy(simd, 2.0, x[1], axpy(simd, 0.5, x[5], middle));
        [y[5], y[6]] = both(simd, even, odd);
        y[7] = axpy(simd, 5.25, simd.sub(x[3], x[5]), simd.sub(x[7], x[1]));
        y
    }

    #[inline(always)]
    fn input_gradient<S: Simd>(simd: S, y: [S::Vector; LARGEST]) -> [S::Vector; LARGEST] {
        let [s1, d1] = both(simd, y[1], y[2]);
        let [s2, d2] = both(simd, y[3], y[4]);
        let [s3, d3] = both(simd, y[5], y[6]);
        let mut x = y;
        x[0] = y[0];
        x[1] = axpy(simd, 2.0, d3, axpy(simd, 0.5, d2, simd.sub(d1, y[7])));
        let inner = axpy(simd, 0.25, s2, axpy(simd, -5.25, y[0], s1));
        x[2] = axpy(simd, 4.0, s3, inner);
        let inner = axpy(simd, -4.25, d1, scale(simd, 5.25, y[7]));
        x[3] = axpy(simd, -2.5, simd.add(d2, d3), inner);
        let inner = axpy(simd, -4.25, s1, scale(simd, 5.25, y[0]));
        x[4] = axpy(simd, -5.0, s3, axpy(simd, -1.25, s2, inner));
        let inner = axpy(simd, 0.5, d3, axpy(simd, -5.25, y[7], d1));
        x[5] = axpy(simd, 2.0, d2, inner);
        x[6] = simd.add(simd.sub(s1, y[0]), simd.add(s2, s3));
        x[7] = y[7];
        x
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::Vector; LARGEST]) -> [S::Vector; OUTPUTS] {
        let [s1, d1] = both(simd, m[1], m[2]);
        let [s2, d2] = both(simd, m[3], m[4]);
        let [s3, d3] = both(simd, m[5], m[6]);
        [
            simd.add(simd.add(m[0], s1), simd.add(s2, s3)),
            axpy(simd, 2.0, d2, axpy(simd, 0.5, d3, d1)),
            axpy(simd, 4.0, s2, axpy(simd, 0.25, s3, s1)),
            axpy(simd, 8.0, d2, axpy(simd, 0.125, d3, simd.add(d1, m[7]))),
        ]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(
        simd: S,
        y: [S::Vector; OUTPUTS],
    ) -> [S::Vector; LARGEST] {
        let mut m = [simd.splat(0.0); LARGEST];
        m[0] = y[0];
        [m[1], m[2]] = both(simd, simd.add(y[0], y[2]), simd.add(y[1], y[3]));
        let odd = axpy(simd, 8.0, y[3], scale(simd, 2.0, y[1]));
        [m[3], m[4]] = both(simd, axpy(simd, 4.0, y[2], y[0]), odd);
        let odd = axpy(simd, 0.125, y[3], scale(simd, 0.5, y[1]));
        [m[5], m[6]] = both(simd, axpy(simd, 0.25, y[2], y[0]), odd);
        m[7] = y[3];
        m
    }
}
