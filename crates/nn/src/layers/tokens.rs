//! What attention is given: numbers as vectors, and where each vector stands.

use super::{Flow, Layer, Pass};

/// Adds a learned vector to each pixel or step, so that it can be told where it is (A. Dosovitskiy
/// and others, An image is worth 16x16 words, ICLR 2021). Its weights are one image.
pub(crate) struct Positions {
    values: usize,
}

impl Positions {
    /// For images of as many values.
    pub(crate) fn new(values: usize) -> Self {
        Self { values }
    }
}

impl Layer for Positions {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        _: Pass<'_>,
    ) {
        let images = output.chunks_exact_mut(self.values);
        for (output, input) in images.zip(input.chunks_exact(self.values)) {
            for (y, (x, weight)) in output.iter_mut().zip(input.iter().zip(weights)) {
                *y = x + weight;
            }
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        gradients.fill(0.0);
        for slopes in flow.output_gradient.chunks_exact(self.values) {
            for (gradient, slope) in gradients.iter_mut().zip(slopes) {
                *gradient += slope;
            }
        }
        if let Some(target) = input_gradient {
            target.copy_from_slice(flow.output_gradient);
        }
    }
}

/// Makes each number of a row a vector: the number times one learned vector, plus another, as the
/// feature tokenizer of Y. Gorishniy and others, Revisiting deep learning models for tabular data,
/// NeurIPS 2021. Its weights are the vectors to multiply with, then those to add.
pub(crate) struct Tokens {
    units: usize,
}

impl Tokens {
    /// For vectors of as many numbers.
    pub(crate) fn new(units: usize) -> Self {
        Self { units }
    }
}

impl Layer for Tokens {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        _: Pass<'_>,
    ) {
        let (factors, shifts) = weights.split_at(weights.len() / 2);
        let inputs = factors.len() / self.units;
        let rows = output.chunks_exact_mut(factors.len());
        for (output, input) in rows.zip(input.chunks_exact(inputs)) {
            let vectors = output.chunks_exact_mut(self.units).enumerate();
            for ((n, vector), x) in vectors.zip(input) {
                let place = n * self.units..(n + 1) * self.units;
                let pairs = factors[place.clone()].iter().zip(&shifts[place]);
                for (y, (factor, shift)) in vector.iter_mut().zip(pairs) {
                    *y = x * factor + shift;
                }
            }
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let units = self.units;
        let factors = &flow.weights[..flow.weights.len() / 2];
        gradients.fill(0.0);
        let (of_factors, of_shifts) = gradients.split_at_mut(factors.len());
        let inputs = factors.len() / units;
        let mut targets = input_gradient.map(|target| target.iter_mut());
        let rows = flow.output_gradient.chunks_exact(factors.len());
        for (slopes, input) in rows.zip(flow.input.chunks_exact(inputs)) {
            for (n, x) in input.iter().enumerate() {
                let mut sum = 0.0;
                for place in n * units..(n + 1) * units {
                    of_factors[place] += x * slopes[place];
                    of_shifts[place] += slopes[place];
                    sum += factors[place] * slopes[place];
                }
                if let Some(target) = targets.as_mut().and_then(Iterator::next) {
                    *target = sum;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::gradients::check_layer;

    #[test]
    fn gradients() {
        check_layer("positions", (2, 3, 2));
        check_layer("flatten, tokens(3)", (1, 2, 2));
        check_layer("patches(2, 3)", (4, 6, 2));
    }
}
