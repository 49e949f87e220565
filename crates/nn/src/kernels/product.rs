//! The matrix product in registers that dense layers and convolutions are made of.
#![expect(
    unsafe_code,
    reason = "the operands are addressed through raw pointers"
)]

use std::ops::Range;

use super::simd::Simd;

/// `c = a * b`, or `c += a * b`.
///
/// The left operand is read one number at a time, so its values may lie anywhere; rows of
/// the others are contiguous. The inner dimension is cut into `segments` parts of `length`:
/// between two parts the left operand jumps, the right one goes on. That is how a
/// convolution reads an image without unfolding it.
///
/// Each value of the result is summed in the order of the inner dimension.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// The rows of `a` and `c`.
    pub(crate) rows: usize,
    /// The columns of `b` and `c`.
    pub(crate) columns: usize,
    pub(crate) segments: usize,
    pub(crate) length: usize,
    pub(crate) a: *const f32,
    /// From one row of `a` to the next.
    pub(crate) a_row: usize,
    /// From one column of `a` to the next within a segment.
    pub(crate) a_step: usize,
    /// From the first column of a segment to that of the next.
    pub(crate) a_segment: usize,
    pub(crate) b: *const f32,
    /// From one row of `b` to the next.
    pub(crate) b_row: usize,
    pub(crate) c: *mut f32,
    /// From one row of `c` to the next.
    pub(crate) c_row: usize,
    /// Whether to add to what is in `c`.
    pub(crate) add: bool,
}

impl Product {
    /// Computes it.
    ///
    /// # Safety
    ///
    /// `a` must be readable at `row * a_row + segment * a_segment + column * a_step` for
    /// all of those, `b` in each of its `segments * length` rows for `columns` rounded up
    /// to whole vectors, and `c` writable for `columns` values in each row and apart from
    /// the others.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(&self, simd: S) {
        let vectors = self.columns.div_ceil(S::LANES);
        for panel in cut(vectors, S::TILE_VECTORS) {
            let first = panel.start * S::LANES;
            let tail = (self.columns - first).min(panel.len() * S::LANES)
                - (panel.len() - 1) * S::LANES;
            // SAFETY: the panel's columns are some of the product's.
            unsafe {
                let (b, c) = (self.b.add(first), self.c.add(first));
                match panel.len() {
                    1 => self.panel::<S, 1>(simd, b, c, tail),
                    2 => self.panel::<S, 2>(simd, b, c, tail),
                    _ => self.panel::<S, 3>(simd, b, c, tail),
                }
            }
        }
    }

    /// The columns of `N` vectors, of which the last has `tail` columns.
    ///
    /// # Safety
    ///
    /// That of [`Product::run`], for the columns from `b` and `c` on.
    #[inline(always)]
    unsafe fn panel<S: Simd, const N: usize>(
        &self,
        simd: S,
        b: *const f32,
        c: *mut f32,
        tail: usize,
    ) {
        if N > S::TILE_VECTORS {
            return;
        }
        for rows in cut(self.rows, S::TILE_ROWS) {
            // SAFETY: the rows are some of the product's.
            unsafe {
                let a = self.a.add(rows.start * self.a_row);
                let c = c.add(rows.start * self.c_row);
                match rows.len() {
                    1 => self.tile::<S, 1, N>(simd, a, b, c, tail),
                    2 => self.tile::<S, 2, N>(simd, a, b, c, tail),
                    3 => self.tile::<S, 3, N>(simd, a, b, c, tail),
                    4 => self.tile::<S, 4, N>(simd, a, b, c, tail),
                    5 => self.tile::<S, 5, N>(simd, a, b, c, tail),
                    6 => self.tile::<S, 6, N>(simd, a, b, c, tail),
                    7 => self.tile::<S, 7, N>(simd, a, b, c, tail),
                    _ => self.tile::<S, 8, N>(simd, a, b, c, tail),
                }
            }
        }
    }

    /// `M` rows of `N` vectors, which stay in registers.
    ///
    /// # Safety
    ///
    /// That of [`Product::run`], for the rows from `a` and `c` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        a: *const f32,
        mut b: *const f32,
        c: *mut f32,
        tail: usize,
    ) {
        if M > S::TILE_ROWS {
            return;
        }
        let mut sums = [[simd.splat(0.0); N]; M];
        if self.add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let count = if vector + 1 == N { tail } else { S::LANES };
                    // SAFETY: these are values of the result.
                    unsafe {
                        let from = c.add(row * self.c_row + vector * S::LANES);
                        *sum = load_up_to(simd, from, count);
                    }
                }
            }
        }
        for segment in 0..self.segments {
            let mut a = a.wrapping_add(segment * self.a_segment);
            for _ in 0..self.length {
                let mut right = [simd.splat(0.0); N];
                for (vector, right) in right.iter_mut().enumerate() {
                    // SAFETY: `b` is at one of the product's rows of it.
                    *right = unsafe { simd.load(b.add(vector * S::LANES)) };
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: `a` is at one of the product's columns of it.
                    let left = simd.splat(unsafe { *a.add(row * self.a_row) });
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = simd.fma(left, right, *sum);
                    }
                }
                a = a.wrapping_add(self.a_step);
                b = b.wrapping_add(self.b_row);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let count = if vector + 1 == N { tail } else { S::LANES };
                // SAFETY: these are values of the result.
                unsafe {
                    let to = c.add(row * self.c_row + vector * S::LANES);
                    store_up_to(simd, to, *sum, count);
                }
            }
        }
    }
}

/// Cuts `0..length` into as few parts of at most `limit` as there can be, all about as long.
#[inline(always)]
fn cut(length: usize, limit: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = length.div_ceil(limit).max(1);
    let step = length.div_ceil(parts).max(1);
    (0..length)
        .step_by(step)
        .map(move |start| start..length.min(start + step))
}

/// A load of `count` values, whole vectors in one go.
///
/// # Safety
///
/// `count` values, at most `LANES`, must be readable.
#[inline(always)]
pub(crate) unsafe fn load_up_to<S: Simd>(
    simd: S,
    from: *const f32,
    count: usize,
) -> S::Vector {
    // SAFETY: the caller's promise is the same.
    unsafe {
        if count >= S::LANES {
            simd.load(from)
        } else {
            simd.load_part(from, count)
        }
    }
}

/// A store of `count` values, whole vectors in one go.
///
/// # Safety
///
/// `count` values, at most `LANES`, must be writable.
#[inline(always)]
pub(crate) unsafe fn store_up_to<S: Simd>(
    simd: S,
    to: *mut f32,
    vector: S::Vector,
    count: usize,
) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        if count >= S::LANES {
            simd.store(to, vector);
        } else {
            simd.store_part(to, vector, count);
        }
    }
}
