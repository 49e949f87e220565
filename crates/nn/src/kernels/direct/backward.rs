//! The backward pass of a direct convolution over one image.
#![expect(unsafe_code, reason = "images are read through strides")]

use super::{ConvShape, DirectScratch, Flow};
use crate::kernels::finish::{Finish, through_relu, unpool};
use crate::kernels::product::{Product, load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// One padded image and the gradient of its output in; the gradients added up.
pub(super) struct Backward<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) filters_across: Option<&'a [f32]>,
    pub(super) flow: Flow<'a>,
    pub(super) scratch: &'a mut DirectScratch,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let shape = *self.shape;
        let window = shape.window;
        assert_eq!(self.flow.output.len(), shape.output_values());
        assert_eq!(self.flow.output_gradient.len(), shape.output_values());
        let values = shape.span * window.channels;
        // Pixels that fill up a row or are in no square have no gradient, but the forward
        // pass may have left sums there.
        self.scratch.rows.fill(0.0);
        for (y, count) in shape.pairs() {
            if shape.finish == Finish::ReluPool {
                if count < 2 {
                    continue;
                }
                self.unpool(simd, y);
            } else {
                for row in 0..count {
                    self.copy(simd, y, row);
                }
            }
            for row in 0..window.size {
                let start = (y * window.stride + row) * shape.padded_row();
                let product = Product {
                    rows: values,
                    columns: shape.columns(S::LANES),
                    segments: count,
                    length: shape.width / shape.group,
                    a: self.scratch.padded[start..].as_ptr(),
                    a_row: 1,
                    a_step: shape.group * window.stride * window.channels,
                    a_segment: window.stride * shape.padded_row(),
                    b: self.scratch.rows.as_ptr(),
                    b_row: shape.group * shape.pixel,
                    c: self.scratch.sums[row * values * shape.units..].as_mut_ptr(),
                    c_row: shape.units,
                    add: true,
                };
                // SAFETY: as in the forward pass; the gradient of the filters has a row
                // for each value under the window.
                unsafe { simd.product(&product) };
            }
            if let Some(filters) = self.filters_across {
                for row in 0..count {
                    self.spread(simd, filters, y, row);
                }
            }
        }
    }
}

impl Backward<'_> {
    /// The gradient of two rows of sums from that of the row that was pooled from them.
    #[inline(always)]
    fn unpool<S: Simd>(&mut self, simd: S, y: usize) {
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
            let mut total = simd.splat(0.0);
            for x in 0..width {
                let at = (y / 2 * width + x) * filters + filter;
                // SAFETY: the position lies in the output, which has `filters` values and
                // winners for each; the rows have `pixel` values for each of its pixels
                // and a vector more.
                unsafe {
                    let output =
                        load_up_to(simd, self.flow.output.as_ptr().add(at), count);
                    let dy = load_up_to(
                        simd,
                        self.flow.output_gradient.as_ptr().add(at),
                        count,
                    );
                    let winner =
                        simd.load_bytes(self.flow.winners.as_ptr().add(at), count);
                    let dy = through_relu(simd, output, dy);
                    total = simd.add(total, dy);
                    let [a, b, c, d] = unpool(simd, dy, winner);
                    let to = self.scratch.rows.as_mut_ptr().add(2 * x * pixel + filter);
                    store_up_to(simd, to, a, count);
                    store_up_to(simd, to.add(pixel), b, count);
                    store_up_to(simd, to.add(below), c, count);
                    store_up_to(simd, to.add(below + pixel), d, count);
                }
            }
            self.add_bias(simd, total, filter);
        }
    }

    /// The gradient of one of two rows of sums.
    #[inline(always)]
    fn copy<S: Simd>(&mut self, simd: S, y: usize, row: usize) {
        let ConvShape {
            window,
            filters,
            pixel,
            finish,
            ..
        } = *self.shape;
        for filter in (0..filters).step_by(S::LANES) {
            let count = (filters - filter).min(S::LANES);
            let mut total = simd.splat(0.0);
            for x in 0..window.out_width {
                let at = ((y + row) * window.out_width + x) * filters + filter;
                let to = row * self.shape.row() + x * pixel + filter;
                // SAFETY: the position lies in the output, which has `filters` values for
                // each; the rows have `pixel` values for each of its pixels and a vector
                // more.
                unsafe {
                    let mut dy = load_up_to(
                        simd,
                        self.flow.output_gradient.as_ptr().add(at),
                        count,
                    );
                    if finish == Finish::Relu {
                        let output =
                            load_up_to(simd, self.flow.output.as_ptr().add(at), count);
                        dy = through_relu(simd, output, dy);
                    }
                    total = simd.add(total, dy);
                    let to = self.scratch.rows.as_mut_ptr().add(to);
                    store_up_to(simd, to, dy, count);
                }
            }
            self.add_bias(simd, total, filter);
        }
    }

    #[inline(always)]
    fn add_bias<S: Simd>(&mut self, simd: S, total: S::Vector, filter: usize) {
        let at = self.shape.values() * self.shape.units + filter;
        // SAFETY: the biases follow the filters and are filled up to whole vectors.
        unsafe {
            let bias = self.scratch.sums.as_mut_ptr().add(at);
            simd.store(bias, simd.add(simd.load(bias), total));
        }
    }

    /// Adds the gradient of what lies under the windows of one of two rows.
    #[inline(always)]
    fn spread<S: Simd>(&mut self, simd: S, filters: &[f32], y: usize, row: usize) {
        let shape = *self.shape;
        let window = shape.window;
        let values = window.size * window.channels;
        for line in 0..window.size {
            let product = Product {
                rows: window.out_width,
                columns: values,
                segments: 1,
                length: shape.filters,
                a: self.scratch.rows[row * shape.row()..].as_ptr(),
                a_row: shape.pixel,
                a_step: 1,
                a_segment: 0,
                b: filters[line * shape.filters * shape.line..].as_ptr(),
                b_row: shape.line,
                c: self.scratch.lines.as_mut_ptr(),
                c_row: shape.line,
                add: false,
            };
            // SAFETY: `lines` has a line for each position of a row, and the filters one
            // for each filter, filled up to whole vectors; see `Direct::new`.
            unsafe { simd.product(&product) };
            let start = ((y + row) * window.stride + line) * shape.padded_row();
            let sources = self.scratch.lines.chunks_exact(shape.line);
            for (x, from) in sources.enumerate() {
                let start = start + x * window.stride * window.channels;
                let to = &mut self.scratch.padded_gradient[start..start + values];
                for (sum, value) in to.iter_mut().zip(from) {
                    *sum += value;
                }
            }
        }
    }
}
