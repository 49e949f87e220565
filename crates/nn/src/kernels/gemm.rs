//! The product of matrices of any size, safe and checked, over [`Product`].
//!
//! It starts no thread, allocates nothing, and cuts its operands the same way on every
//! machine, so that its bits depend on nothing but the CPU feature level.
#![expect(unsafe_code, reason = "panels are packed through raw pointers")]

use std::mem::MaybeUninit;

use super::Team;
use super::level::dispatch;
use super::product::Product;
use super::simd::{Kernel, Simd};

/// A view of a matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The whole slice, row after row.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(
            values.len(),
            rows * columns,
            "a matrix needs all its values"
        );
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// Columns of a wider matrix, whose rows are `row_stride` values apart.
    pub(crate) fn strided(
        values: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert!(
            columns <= row_stride && (rows - 1) * row_stride + columns <= values.len(),
            "a matrix needs all its values"
        );
        Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The same values with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// `count` rows from `first` on.
    fn rows_from(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "only rows that there are");
        Self {
            values: &self.values[first * self.row_stride..],
            rows: count,
            ..self
        }
    }
}

/// Each thread gets a multiple of this many rows.
const ROWS: usize = 8;

/// What becomes of the values that the result already has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    /// They are overwritten.
    Overwrite,
    /// The product is added to them.
    Add,
}

/// `out = left * right`, or `out += left * right`; `out` is stored row after row.
///
/// Threads share the rows, which changes no bit of the result.
pub(crate) fn multiply(
    out: &mut [f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
    sum: Sum,
    team: &Team,
) {
    assert_eq!(left.columns, right.rows, "inner dimensions must agree");
    assert_eq!(
        out.len(),
        left.rows * right.columns,
        "the result must have room for all values"
    );
    if out.is_empty() {
        return;
    }
    let rows = left.rows.div_ceil(team.threads()).next_multiple_of(ROWS);
    let parts = out.chunks_mut(rows * right.columns).enumerate();
    team.share(parts, |(part, out)| {
        dispatch(Multiply {
            left: left.rows_from(part * rows, out.len() / right.columns),
            out,
            out_row: right.columns,
            right,
            sum,
        });
    });
}

/// `out = left * right` on this thread alone; rows of `out` are `out_row` values apart.
pub(crate) fn multiply_alone(
    out: &mut [f32],
    out_row: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert_eq!(left.columns, right.rows, "inner dimensions must agree");
    assert!(
        right.columns <= out_row
            && (left.rows - 1) * out_row + right.columns <= out.len(),
        "the result must have room for all values"
    );
    dispatch(Multiply {
        left,
        out,
        out_row,
        right,
        sum: Sum::Overwrite,
    });
}

/// One product of matrices, or the rows of it that a thread computes.
struct Multiply<'a> {
    out: &'a mut [f32],
    /// From one row of it to the next.
    out_row: usize,
    left: Matrix<'a>,
    right: Matrix<'a>,
    sum: Sum,
}

/// The inner dimension of a packed panel: with the widest panel it fills half of a
/// first-level cache of 48 KiB.
const DEPTH: usize = 128;

/// The columns of the widest panel of any level.
const WIDTH: usize = 48;

/// A panel of columns of the right matrix, copied so that its rows are contiguous.
#[repr(align(64))]
struct Panel([MaybeUninit<f32>; DEPTH * WIDTH]);

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (left, right) = (self.left, self.right);
        let widest = S::TILE_VECTORS * S::LANES;
        let mut panel = Panel([MaybeUninit::uninit(); DEPTH * WIDTH]);
        let to = panel.0.as_mut_ptr().cast::<f32>();
        let mut first = 0;
        while first < right.columns {
            // No panel of one vector is left over if two of two could be made.
            let left_over = (right.columns - first).div_ceil(S::LANES);
            let vectors = if left_over == 4 && S::TILE_VECTORS == 3 {
                2
            } else {
                left_over.min(S::TILE_VECTORS)
            };
            let columns = (vectors * S::LANES).min(right.columns - first);
            debug_assert!(columns <= widest, "a panel fits its memory");
            for start in (0..left.columns).step_by(DEPTH) {
                let length = DEPTH.min(left.columns - start);
                // SAFETY: `length` rows of `vectors` vectors fit the panel. All operands
                // were checked in `Matrix::new` and `multiply`: the left one is read in
                // its rows from column `start` on, the result in its columns from
                // `first` on, and the borrow checker keeps it apart from the others.
                unsafe {
                    pack(simd, &right, start..start + length, first, columns, to);
                    simd.product(&Product {
                        rows: left.rows,
                        columns,
                        segments: 1,
                        length,
                        a: left.values.as_ptr().add(start * left.column_stride),
                        a_row: left.row_stride,
                        a_step: left.column_stride,
                        a_segment: 0,
                        b: to,
                        b_row: vectors * S::LANES,
                        c: self.out.as_mut_ptr().add(first),
                        c_row: self.out_row,
                        add: self.sum == Sum::Add || start > 0,
                    });
                }
            }
            first += columns;
        }
    }
}

/// Writes some rows of a panel of columns, filled up with zeros to whole vectors.
///
/// # Safety
///
/// There must be room for all rows at `to`, and the matrix must have what is asked for.
#[inline(always)]
unsafe fn pack<S: Simd>(
    simd: S,
    matrix: &Matrix<'_>,
    rows: std::ops::Range<usize>,
    first: usize,
    columns: usize,
    to: *mut f32,
) {
    let width = columns.next_multiple_of(S::LANES);
    let offset = rows.start * matrix.row_stride + first * matrix.column_stride;
    let from = matrix.values.as_ptr().wrapping_add(offset);
    if matrix.column_stride == 1 {
        for row in 0..rows.len() {
            for column in (0..columns).step_by(S::LANES) {
                // SAFETY: only columns of the matrix are read; a row of the panel has
                // room for whole vectors.
                unsafe {
                    let from = from.add(row * matrix.row_stride + column);
                    let values = super::product::load_up_to(simd, from, columns - column);
                    simd.store(to.add(row * width + column), values);
                }
            }
        }
        return;
    }
    for column in (0..width).step_by(S::LANES) {
        for row in (0..rows.len()).step_by(S::LANES) {
            let whole = column + S::LANES <= columns && row + S::LANES <= rows.len();
            // SAFETY: a whole square lies in both, of another one only its part does.
            unsafe {
                let from = from.wrapping_add(
                    row * matrix.row_stride + column * matrix.column_stride,
                );
                let to = to.add(row * width + column);
                if whole && matrix.row_stride == 1 {
                    simd.transpose(from, matrix.column_stride, to, width);
                } else {
                    let height = S::LANES.min(rows.len() - row);
                    let columns = columns.saturating_sub(column).min(S::LANES);
                    part(matrix, from, [height, columns], to, width, S::LANES);
                }
            }
        }
    }
}

/// The part of a square that lies in the matrix, and zeros in each row beside it.
///
/// # Safety
///
/// The matrix must have `height` by `columns` values at `from`, and the panel rows of
/// `lanes` values at `to`.
#[inline(always)]
unsafe fn part(
    matrix: &Matrix<'_>,
    from: *const f32,
    [height, columns]: [usize; 2],
    to: *mut f32,
    width: usize,
    lanes: usize,
) {
    for row in 0..height {
        for column in 0..lanes {
            // SAFETY: the caller's promise.
            unsafe {
                let value = if column < columns {
                    *from.add(row * matrix.row_stride + column * matrix.column_stride)
                } else {
                    0.0
                };
                *to.add(row * width + column) = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Guarded;
    use super::super::level::forced::at_each_level;
    use super::*;
    use proptest::prelude::*;

    const LEFT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const RIGHT: [f32; 6] = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];

    #[test]
    fn overwrites_or_adds() {
        let mut out = [100.0; 4];
        let (left, right) = (Matrix::new(&LEFT, 2, 3), Matrix::new(&RIGHT, 3, 2));
        multiply(&mut out, left, right, Sum::Overwrite, &Team::new(1));
        assert_eq!(out, [4.0, 5.0, 10.0, 11.0]);
        multiply(&mut out, left, right, Sum::Add, &Team::new(1));
        assert_eq!(out, [8.0, 10.0, 20.0, 22.0]);
    }

    #[test]
    fn a_transposed_operand_is_read_across() {
        let mut out = [0.0; 9];
        let left = Matrix::new(&LEFT, 2, 3).transposed();
        multiply(
            &mut out,
            left,
            Matrix::new(&LEFT, 2, 3),
            Sum::Overwrite,
            &Team::new(1),
        );
        assert_eq!(out, [17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0]);
    }

    #[test]
    #[should_panic(expected = "inner dimensions must agree")]
    fn mismatched_operands_never_reach_the_kernel() {
        let matrix = Matrix::new(&LEFT, 2, 3);
        multiply(&mut [0.0; 6], matrix, matrix, Sum::Overwrite, &Team::new(1));
    }

    /// Small whole numbers, whose sums are exact in any order.
    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|n| ((n * 31 + seed * 17) % 13) as f32 - 6.0)
            .collect()
    }

    proptest! {
        #[test]
        fn every_level_agrees_with_the_definition(
            (m, k, n) in (1..40_usize, 1..300_usize, 1..120_usize),
            (left_across, right_across, add) in any::<(bool, bool, bool)>(),
        ) {
            let (a, b) = (Guarded::from(values(m * k, 1)), Guarded::from(values(k * n, 2)));
            let left = if left_across {
                Matrix::new(&a, k, m).transposed()
            } else {
                Matrix::new(&a, m, k)
            };
            let right = if right_across {
                Matrix::new(&b, n, k).transposed()
            } else {
                Matrix::new(&b, k, n)
            };
            let at = |x: &Matrix<'_>, row: usize, column: usize| {
                x.values[row * x.row_stride + column * x.column_stride]
            };
            let start = if add { 2.0 } else { 0.0 };
            let mut expected = vec![start; m * n];
            for row in 0..m {
                for column in 0..n {
                    for inner in 0..k {
                        expected[row * n + column] +=
                            at(&left, row, inner) * at(&right, inner, column);
                    }
                }
            }
            at_each_level(|level| {
                let mut out = Guarded::new(2.0, m * n);
                let sum = if add { Sum::Add } else { Sum::Overwrite };
                multiply(&mut out, left, right, sum, &Team::new(1));
                assert_eq!(&*out, &expected[..], "{level:?}");
            });
        }
    }
}
