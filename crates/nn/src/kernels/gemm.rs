//! The matrix product: a safe, checked wrapper of the `gemm` crate.
//!
//! It never starts a thread, so that a trial's bits do not depend on what runs beside it.
#![expect(unsafe_code, reason = "gemm takes raw pointers")]

use gemm::Parallelism;

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
}

/// What becomes of the values that the result already has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    /// They are overwritten.
    Overwrite,
    /// The product is added to them.
    Add,
}

/// `out = left * right`, or `out += left * right`; `out` is stored row after row.
pub(crate) fn multiply(out: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, sum: Sum) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!(k, right.rows, "inner dimensions must agree");
    assert_eq!(out.len(), m * n, "the result must have room for all values");
    #[cfg(test)]
    let _exempt = crate::allocations::Exempt::new();
    // SAFETY: `Matrix::new` checked that each slice holds rows x columns values, the
    // strides address exactly those, the result was checked above, and the borrow
    // checker keeps `out` apart from both operands.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            sum == Sum::Add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const RIGHT: [f32; 6] = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];

    #[test]
    fn overwrites_or_adds() {
        let mut out = [100.0; 4];
        let (left, right) = (Matrix::new(&LEFT, 2, 3), Matrix::new(&RIGHT, 3, 2));
        multiply(&mut out, left, right, Sum::Overwrite);
        assert_eq!(out, [4.0, 5.0, 10.0, 11.0]);
        multiply(&mut out, left, right, Sum::Add);
        assert_eq!(out, [8.0, 10.0, 20.0, 22.0]);
    }

    #[test]
    fn a_transposed_operand_is_read_across() {
        let mut out = [0.0; 9];
        let left = Matrix::new(&LEFT, 2, 3).transposed();
        multiply(&mut out, left, Matrix::new(&LEFT, 2, 3), Sum::Overwrite);
        assert_eq!(out, [17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0]);
    }

    #[test]
    #[should_panic(expected = "inner dimensions must agree")]
    fn mismatched_operands_never_reach_the_kernel() {
        let matrix = Matrix::new(&LEFT, 2, 3);
        multiply(&mut [0.0; 6], matrix, matrix, Sum::Overwrite);
    }
}
