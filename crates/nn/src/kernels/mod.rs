//! Plain functions over slices: the only code of this crate that knows about the CPU.

mod gemm;
mod window;

pub(crate) use gemm::{Matrix, Sum, multiply};
pub(crate) use window::{Window, col2im, im2col};

/// The CPU feature level that the matrix product dispatches on.
pub(crate) fn cpu_level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "fma";
        }
    }
    std::env::consts::ARCH
}

/// Adds each row of `rows` to `sum`.
pub(crate) fn add_rows(rows: &[f32], sum: &mut [f32]) {
    for row in rows.chunks_exact(sum.len()) {
        for (total, value) in sum.iter_mut().zip(row) {
            *total += value;
        }
    }
}

/// Writes `row` into each row of `rows`.
pub(crate) fn fill_rows(rows: &mut [f32], row: &[f32]) {
    for target in rows.chunks_exact_mut(row.len()) {
        target.copy_from_slice(row);
    }
}
