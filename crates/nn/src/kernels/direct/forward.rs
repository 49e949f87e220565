//! The forward pass of a direct convolution over one image.
#![expect(unsafe_code, reason = "images are read through strides")]

use super::{ConvShape, DirectScratch};
use crate::kernels::finish::{Finish, pool};
use crate::kernels::product::{Product, load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// One padded image in, its finished output out.
pub(super) struct Forward<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) filters: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) output: &'a mut [f32],
    pub(super) winners: &'a mut [u8],
    pub(super) scratch: &'a mut DirectScratch,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let shape = *self.shape;
        let window = shape.window;
        assert_eq!(self.bias.len(), shape.filters);
        assert_eq!(self.output.len(), shape.output_values());
        for (y, count) in shape.pairs() {
            for row in 0..count {
                let start = (y + row) * window.stride * shape.padded_row();
                let product = Product {
                    rows: shape.width / shape.group,
                    columns: shape.columns(S::LANES),
                    segments: window.size,
                    length: shape.span * window.channels,
                    a: self.scratch.padded[start..].as_ptr(),
                    a_row: shape.group * window.stride * window.channels,
                    a_step: 1,
                    a_segment: shape.padded_row(),
                    b: self.filters.as_ptr(),
                    b_row: shape.units,
                    c: self.scratch.rows[row * shape.row()..].as_mut_ptr(),
                    c_row: shape.group * shape.pixel,
                    add: false,
                };
                // SAFETY: the padded image has room for the windows of all positions,
                // `rows` for two rows of the output, and `filters` a row for each value
                // under the window; see `Direct::new`.
                unsafe { simd.product(&product) };
            }
            if shape.finish == Finish::ReluPool {
                if count == 2 {
                    self.pool(simd, y);
                }
            } else {
                for row in 0..count {
                    self.copy(simd, y, row);
                }
            }
        }
    }
}

impl Forward<'_> {
    /// Pools two rows of the output.
    #[inline(always)]
    fn pool<S: Simd>(&mut self, simd: S, y: usize) {
        let ConvShape {
            window,
            filters,
            pixel,
            ..
        } = *self.shape;
        let width = window.out_width / 2;
        let below = self.shape.row();
        for filter in (0..filters).step_by(S::LANES) {
            let count = (filters - filter).min(S::LANES);
            for x in 0..width {
                let at = (y / 2 * width + x) * filters + filter;
                // SAFETY: the position lies in the output, which has `filters` values and
                // winners for each; the rows have `pixel` values for each of its pixels
                // and a vector more.
                unsafe {
                    let bias = load_up_to(simd, self.bias.as_ptr().add(filter), count);
                    let from = self.scratch.rows.as_ptr().add(2 * x * pixel + filter);
                    let square = [
                        simd.add(simd.load(from), bias),
                        simd.add(simd.load(from.add(pixel)), bias),
                        simd.add(simd.load(from.add(below)), bias),
                        simd.add(simd.load(from.add(below + pixel)), bias),
                    ];
                    let (best, winner) = pool(simd, square);
                    store_up_to(simd, self.output.as_mut_ptr().add(at), best, count);
                    simd.store_bytes(self.winners.as_mut_ptr().add(at), winner, count);
                }
            }
        }
    }

    /// Copies one of two rows of the output.
    #[inline(always)]
    fn copy<S: Simd>(&mut self, simd: S, y: usize, row: usize) {
        let ConvShape {
            window,
            filters,
            pixel,
            finish,
            ..
        } = *self.shape;
        for x in 0..window.out_width {
            for filter in (0..filters).step_by(S::LANES) {
                let count = (filters - filter).min(S::LANES);
                let from = row * self.shape.row() + x * pixel + filter;
                let at = ((y + row) * window.out_width + x) * filters + filter;
                // SAFETY: the position lies in the output, which has `filters` values for
                // each; the rows have `pixel` values for each of its pixels and a vector
                // more.
                unsafe {
                    let bias = load_up_to(simd, self.bias.as_ptr().add(filter), count);
                    let sum = simd.load(self.scratch.rows.as_ptr().add(from));
                    let mut value = simd.add(sum, bias);
                    if finish == Finish::Relu {
                        value = simd.relu(value);
                    }
                    store_up_to(simd, self.output.as_mut_ptr().add(at), value, count);
                }
            }
        }
    }
}
