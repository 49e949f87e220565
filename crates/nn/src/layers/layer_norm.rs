//! Layer normalisation: the numbers of each row, or of each pixel, have mean 0 and standard
//! deviation 1 before they are scaled and shifted (J. Ba and others, 2016).

use super::{Flow, Layer, Pass};

/// Keeps the divisor from zero; PyTorch's default.
pub(crate) const EPSILON: f32 = 1e-5;

/// Its weights are a factor and then a shift for each channel.
pub(crate) struct LayerNorm {
    channels: usize,
}

impl LayerNorm {
    pub(crate) fn new(channels: usize) -> Self {
        Self { channels }
    }
}

/// The mean of numbers, and one over their standard deviation.
fn moments(numbers: &[f32]) -> (f32, f32) {
    let count = numbers.len() as f32;
    let mean = numbers.iter().sum::<f32>() / count;
    let squares = numbers.iter().map(|x| (x - mean) * (x - mean));
    (
        mean,
        (squares.sum::<f32>() / count + EPSILON).sqrt().recip(),
    )
}

impl Layer for LayerNorm {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        _: Pass<'_>,
    ) {
        let (factors, shifts) = weights.split_at(self.channels);
        let places = input.chunks_exact(self.channels);
        for (input, output) in places.zip(output.chunks_exact_mut(self.channels)) {
            let (mean, inverse) = moments(input);
            for (n, (y, x)) in output.iter_mut().zip(input).enumerate() {
                *y = (x - mean) * inverse * factors[n] + shifts[n];
            }
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let channels = self.channels;
        let factors = &flow.weights[..channels];
        gradients.fill(0.0);
        let (of_factors, of_shifts) = gradients.split_at_mut(channels);
        let mut targets = input_gradient.map(|target| target.chunks_exact_mut(channels));
        let slopes = flow.output_gradient.chunks_exact(channels);
        for (input, slopes) in flow.input.chunks_exact(channels).zip(slopes) {
            let (mean, inverse) = moments(input);
            let (mut sum, mut product) = (0.0, 0.0);
            for n in 0..channels {
                let centred = (input[n] - mean) * inverse;
                of_factors[n] += slopes[n] * centred;
                of_shifts[n] += slopes[n];
                let slope = slopes[n] * factors[n];
                sum += slope;
                product += slope * centred;
            }
            let Some(target) = targets.as_mut().and_then(Iterator::next) else {
                continue;
            };
            let (sum, product) = (sum / channels as f32, product / channels as f32);
            for n in 0..channels {
                let centred = (input[n] - mean) * inverse;
                target[n] = inverse * (slopes[n] * factors[n] - sum - centred * product);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;
    use crate::kernels::Team;
    use crate::layers::PassMode;

    #[test]
    fn gradients() {
        check_layer("layer_norm", (2, 2, 5));
        check_layer("flatten, layer_norm", (2, 2, 2));
    }

    // >>> torch.nn.LayerNorm(3)(torch.tensor([[1.0, 2.0, 6.0]]))
    #[test]
    fn pytorch_agrees() {
        let (mut layer, mut output) = (LayerNorm::new(3), [0.0; 3]);
        let (weights, team) = ([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], Team::new(1));
        let pass = Pass::alone(PassMode::Inference, &team);
        layer.forward(&weights, &[1.0, 2.0, 6.0], &mut output, pass);
        for (actual, expected) in
            output.iter().zip([-0.925_819_2, -0.462_909_6, 1.388_728_8])
        {
            assert!((actual - expected).abs() < 1e-5, "{output:?}");
        }
    }
}
