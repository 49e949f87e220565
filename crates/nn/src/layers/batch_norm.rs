//! Batch normalisation per channel, with PyTorch's constants and conventions.

use super::{Flow, Layer, Mode, Pass};

/// Keeps the divisor from zero.
pub(crate) const EPSILON: f32 = 1e-5;

/// How fast the running statistics follow the mini-batches.
const MOMENTUM: f32 = 0.1;

/// Normalises each channel, then scales and shifts it.
///
/// Its weights are the scales followed by the shifts. Its statistics are the running
/// means followed by the running variances; the latter are unbiased, while the mini-batch
/// itself is normalised by the biased one.
pub(crate) struct BatchNorm {
    channels: usize,
    statistics: Vec<f32>,
    mean: Vec<f32>,
    /// One over the standard deviation.
    inverse: Vec<f32>,
    sums: Vec<f64>,
}

impl BatchNorm {
    pub(crate) fn new(channels: usize) -> Self {
        let mut statistics = vec![0.0; channels];
        statistics.resize(2 * channels, 1.0);
        Self {
            channels,
            statistics,
            mean: vec![0.0; channels],
            inverse: vec![0.0; channels],
            sums: vec![0.0; 2 * channels],
        }
    }

    /// Mean and variance of the mini-batch, summed in double precision.
    fn measure(&mut self, input: &[f32]) {
        let count = (input.len() / self.channels) as f64;
        self.sums.fill(0.0);
        let (sums, squares) = self.sums.split_at_mut(self.channels);
        for row in input.chunks_exact(self.channels) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x);
            }
        }
        for (mean, sum) in self.mean.iter_mut().zip(&*sums) {
            *mean = (sum / count) as f32;
        }
        for row in input.chunks_exact(self.channels) {
            for ((square, &x), &mean) in squares.iter_mut().zip(row).zip(&self.mean) {
                *square += f64::from(x - mean).powi(2);
            }
        }
        let (means, variances) = self.statistics.split_at_mut(self.channels);
        for (channel, square) in squares.iter().enumerate() {
            let variance = (square / count) as f32;
            self.inverse[channel] = 1.0 / (variance + EPSILON).sqrt();
            let unbiased = (square / (count - 1.0).max(1.0)) as f32;
            means[channel] += MOMENTUM * (self.mean[channel] - means[channel]);
            variances[channel] += MOMENTUM * (unbiased - variances[channel]);
        }
    }

    fn recall(&mut self) {
        let (means, variances) = self.statistics.split_at(self.channels);
        self.mean.copy_from_slice(means);
        for (inverse, variance) in self.inverse.iter_mut().zip(variances) {
            *inverse = 1.0 / (variance + EPSILON).sqrt();
        }
    }
}

impl Layer for BatchNorm {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        match pass.mode {
            Mode::Training => self.measure(input),
            Mode::Inference => self.recall(),
        }
        let (scales, shifts) = weights.split_at(self.channels);
        let rows = input.chunks_exact(self.channels);
        for (row, target) in rows.zip(output.chunks_exact_mut(self.channels)) {
            for (channel, (y, x)) in target.iter_mut().zip(row).enumerate() {
                let normal = (x - self.mean[channel]) * self.inverse[channel];
                *y = normal * scales[channel] + shifts[channel];
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
        self.sums.fill(0.0);
        let (scale_sums, shift_sums) = self.sums.split_at_mut(channels);
        let rows = flow.input.chunks_exact(channels);
        for (row, dy) in rows
            .clone()
            .zip(flow.output_gradient.chunks_exact(channels))
        {
            for (channel, (x, &dy)) in row.iter().zip(dy).enumerate() {
                let normal = (x - self.mean[channel]) * self.inverse[channel];
                scale_sums[channel] += f64::from(dy * normal);
                shift_sums[channel] += f64::from(dy);
            }
        }
        for (gradient, sum) in gradients.iter_mut().zip(&self.sums) {
            *gradient = *sum as f32;
        }
        let Some(input_gradient) = input_gradient else {
            return;
        };
        let (scale_gradients, shift_gradients) = gradients.split_at(channels);
        let share = channels as f32 / flow.input.len() as f32;
        let output_rows = flow.output_gradient.chunks_exact(channels);
        let targets = input_gradient.chunks_exact_mut(channels);
        for ((row, dy), target) in rows.zip(output_rows).zip(targets) {
            for (channel, dx) in target.iter_mut().enumerate() {
                let inverse = self.inverse[channel];
                let normal = (row[channel] - self.mean[channel]) * inverse;
                let common = shift_gradients[channel] + normal * scale_gradients[channel];
                let centred = dy[channel] - share * common;
                *dx = flow.weights[channel] * inverse * centred;
            }
        }
    }

    fn statistics(&self) -> &[f32] {
        &self.statistics
    }

    fn statistics_mut(&mut self) -> &mut [f32] {
        &mut self.statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;
    use crate::kernels::Team;

    #[test]
    fn gradients() {
        check_layer("batch_norm", (3, 2, 3));
        check_layer("flatten, batch_norm", (2, 1, 2));
    }

    // >>> norm = torch.nn.BatchNorm1d(2)
    // >>> norm(torch.tensor([[1.0, 10.0], [3.0, 20.0], [8.0, 60.0]])).tolist()
    // >>> norm.running_mean, norm.running_var
    #[test]
    fn statistics_follow_pytorch() {
        let mut norm = BatchNorm::new(2);
        let weights = [1.0, 1.0, 0.0, 0.0];
        let input = [1.0, 10.0, 3.0, 20.0, 8.0, 60.0];
        let mut output = [0.0; 6];
        norm.forward(
            &weights,
            &input,
            &mut output,
            Pass::alone(Mode::Training, &Team::new(1)),
        );
        check(
            &output,
            &[
                -1.019_049, -0.925_82, -0.339_683, -0.462_91, 1.358_731, 1.388_73,
            ],
        );
        check(norm.statistics(), &[0.4, 3.0, 2.2, 70.9]);
    }

    #[track_caller]
    fn check(actual: &[f32], expected: &[f32]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 1e-4 * e.abs(), "{actual:?} {expected:?}");
        }
    }

    #[test]
    fn a_mini_batch_of_one_is_not_divided_by_zero() {
        let mut norm = BatchNorm::new(2);
        let mut output = [9.0; 2];
        norm.forward(
            &[1.0, 1.0, 0.5, 0.5],
            &[3.0, 4.0],
            &mut output,
            Pass::alone(Mode::Training, &Team::new(1)),
        );
        assert_eq!(output, [0.5, 0.5]);
        assert!(norm.statistics().iter().all(|x| x.is_finite()));
    }
}
