//! Plain functions over slices: the only code of this crate that knows about the CPU.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod depthwise;
mod direct;
mod finish;
mod functions;
mod gemm;
#[cfg(all(test, unix, not(miri)))]
mod guard;
mod level;
mod norm;
mod peak;
mod product;
mod simd;
mod slices;
mod team;
mod window;
mod winograd;

pub(crate) use buffer::Buffer;
pub(crate) use depthwise::Depthwise;
pub(crate) use direct::Direct;
pub(crate) use finish::Finish;
pub(crate) use functions::{gelu, gelu_slope, softmax, softmax_slope};
pub(crate) use gemm::{Matrix, Sum, multiply, multiply_alone};
#[cfg(all(test, unix, not(miri)))]
pub(crate) use guard::Guarded;
#[cfg(test)]
pub(crate) use level::forced::at_each_level;
pub(crate) use level::{dispatch, level};
pub(crate) use norm::{
    Channels, NormFlow, NormPixels, add_up, measure, normalise, spread,
};
pub(crate) use peak::saturate;
pub(crate) use simd::{Kernel, Simd};
pub(crate) use slices::SLICE;
pub(crate) use team::Team;
pub(crate) use window::Window;
pub(crate) use winograd::{Flow as ConvFlow, Winograd};

/// The CPU feature level that kernels run at.
pub(crate) fn cpu_level() -> &'static str {
    level().name()
}

/// Writes the product of each row of `left` with each row of `right`, in the order of
/// `left`; all rows have `width` values. One thread does it.
pub fn products(left: &[f32], right: &[f32], width: usize, out: &mut [f32]) {
    let left = Matrix::new(left, left.len() / width, width);
    let right = Matrix::new(right, right.len() / width, width).transposed();
    multiply(out, left, right, Sum::Overwrite, &Team::new(1));
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
