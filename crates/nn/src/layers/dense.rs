//! The fully connected layer: one matrix product per mini-batch.

use super::{Flow, Layer, Pass};
use crate::kernels::{Matrix, Sum, add_rows, fill_rows, multiply};

/// A dense layer. Its weights are a matrix of input by unit, then one bias per unit.
pub(crate) struct Dense {
    inputs: usize,
    units: usize,
}

impl Dense {
    pub(crate) fn new(inputs: usize, units: usize) -> Self {
        Self { inputs, units }
    }
}

impl Layer for Dense {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        let (matrix, bias) = weights.split_at(self.inputs * self.units);
        let rows = input.len() / self.inputs;
        fill_rows(output, bias);
        let input = Matrix::new(input, rows, self.inputs);
        multiply(
            output,
            input,
            Matrix::new(matrix, self.inputs, self.units),
            Sum::Add,
            pass.team,
        );
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let (matrix, _) = flow.weights.split_at(self.inputs * self.units);
        let (matrix_gradient, bias_gradient) =
            gradients.split_at_mut(self.inputs * self.units);
        let rows = flow.input.len() / self.inputs;
        bias_gradient.fill(0.0);
        add_rows(flow.output_gradient, bias_gradient);
        let input = Matrix::new(flow.input, rows, self.inputs);
        let gradient = Matrix::new(flow.output_gradient, rows, self.units);
        multiply(
            matrix_gradient,
            input.transposed(),
            gradient,
            Sum::Overwrite,
            flow.team,
        );
        if let Some(target) = input_gradient {
            let matrix = Matrix::new(matrix, self.inputs, self.units);
            multiply(
                target,
                gradient,
                matrix.transposed(),
                Sum::Overwrite,
                flow.team,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::gradients::check_layer;

    #[test]
    fn gradients() {
        check_layer("dense(4)", (2, 2, 3));
        check_layer("dense(1)", (1, 1, 5));
    }
}
