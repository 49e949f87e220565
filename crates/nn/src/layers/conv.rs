//! Convolution as a matrix product per image.
//!
//! The unfolded image is rebuilt in the backward pass instead of kept: one image's fits
//! the second-level cache, a mini-batch's does not fit any.

use super::{Flow, Layer, Mode};
use crate::kernels::{
    Matrix, Sum, Window, add_rows, col2im, fill_rows, im2col, multiply,
};

/// A convolution with a bias.
///
/// Its weights are a matrix of (row, column, channel) of the window by filter, then one
/// bias per filter.
pub(crate) struct Conv {
    window: Window,
    filters: usize,
    /// The unfolded image: one row per window position.
    columns: Vec<f32>,
}

impl Conv {
    pub(crate) fn new(window: Window, filters: usize) -> Self {
        let unfolded = if window.is_pointwise() {
            0
        } else {
            window.positions() * window.values()
        };
        Self {
            window,
            filters,
            columns: vec![0.0; unfolded],
        }
    }

    fn image_values(&self) -> usize {
        self.window.in_height * self.window.in_width * self.window.channels
    }

    fn output_values(&self) -> usize {
        self.window.positions() * self.filters
    }

    fn split<'a>(&self, weights: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        weights.split_at(self.window.values() * self.filters)
    }
}

impl Layer for Conv {
    fn forward(&mut self, weights: &[f32], input: &[f32], output: &mut [f32], _: Mode) {
        let (filters, bias) = self.split(weights);
        let filters = Matrix::new(filters, self.window.values(), self.filters);
        let (positions, values) = (self.window.positions(), self.window.values());
        let images = input.chunks_exact(self.image_values());
        for (image, output) in images.zip(output.chunks_exact_mut(self.output_values())) {
            let patches = unfold(&self.window, image, &mut self.columns);
            fill_rows(output, bias);
            multiply(
                output,
                Matrix::new(patches, positions, values),
                filters,
                Sum::Add,
            );
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        mut input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let (positions, values) = (self.window.positions(), self.window.values());
        let (filters, _) = self.split(flow.weights);
        let filters = Matrix::new(filters, values, self.filters);
        gradients.fill(0.0);
        let (filter_gradient, bias_gradient) =
            gradients.split_at_mut(values * self.filters);
        let size = self.image_values();
        let images = flow.input.chunks_exact(size);
        let output_gradients = flow.output_gradient.chunks_exact(self.output_values());
        for (row, (image, gradient)) in images.zip(output_gradients).enumerate() {
            add_rows(gradient, bias_gradient);
            let gradient = Matrix::new(gradient, positions, self.filters);
            let patches = unfold(&self.window, image, &mut self.columns);
            let patches = Matrix::new(patches, positions, values).transposed();
            multiply(filter_gradient, patches, gradient, Sum::Add);
            let Some(targets) = input_gradient.as_deref_mut() else {
                continue;
            };
            let target = &mut targets[row * size..(row + 1) * size];
            if self.window.is_pointwise() {
                multiply(target, gradient, filters.transposed(), Sum::Overwrite);
                continue;
            }
            multiply(
                &mut self.columns,
                gradient,
                filters.transposed(),
                Sum::Overwrite,
            );
            target.fill(0.0);
            col2im(&self.window, &self.columns, target);
        }
    }
}

/// The values under each window position; those of a 1x1 convolution need no copy.
fn unfold<'a>(window: &Window, image: &'a [f32], columns: &'a mut [f32]) -> &'a [f32] {
    if window.is_pointwise() {
        return image;
    }
    im2col(window, image, columns);
    columns
}

#[cfg(test)]
mod tests {
    use crate::gradients::check_layer;

    #[test]
    fn gradients() {
        check_layer("conv(3, 3)", (4, 5, 2));
        check_layer("conv(2, 4)", (5, 4, 1));
        check_layer("conv(2, 3, padding: valid)", (5, 4, 2));
        check_layer("conv(2, 3, stride: 2)", (5, 6, 2));
        check_layer("conv(2, 2, stride: 3, padding: valid)", (7, 5, 1));
        check_layer("conv(2, 5)", (2, 2, 1));
        check_layer("conv(4, 1)", (2, 3, 3));
        check_layer("conv(4, 1, stride: 2)", (3, 3, 2));
    }
}
