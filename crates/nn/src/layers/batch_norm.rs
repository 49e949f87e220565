//! Batch normalisation per channel, with PyTorch's constants and conventions, together
//! with the ReLU and the pooling that follow it.

use super::{Flow, Layer, Pass, PassMode};
use crate::kernels::{
    Channels, Finish, NormFlow, NormPixels, SLICE, Team, add_up, measure, normalise,
    spread,
};

/// Keeps the divisor from zero.
pub(crate) const EPSILON: f32 = 1e-5;

/// How fast the running statistics follow the mini-batches.
const MOMENTUM: f32 = 0.1;

/// Images are measured together until they have this many pixels, in single precision;
/// what was measured is put together in double precision.
const MEASURED: usize = 256;

/// Normalises each channel, then scales and shifts it.
///
/// Its weights are the scales followed by the shifts. Its statistics are the running
/// means followed by the running variances; the latter are unbiased, while the mini-batch
/// itself is normalised by the biased one.
pub(crate) struct BatchNorm {
    pixels: NormPixels,
    channels: Channels,
    statistics: Vec<f32>,
    /// Two numbers a channel for each group of images that is measured together.
    parts: Vec<f32>,
    /// Which value of its square each output is, if it pools.
    winners: Vec<u8>,
    sums: Vec<f64>,
}

impl BatchNorm {
    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(pixels: NormPixels, channels: usize, rows: usize) -> Self {
        let mut statistics = vec![0.0; channels];
        statistics.resize(2 * channels, 1.0);
        let winners = match pixels.finish {
            Finish::ReluPool => rows * pixels.finished() * channels,
            Finish::Plain | Finish::Relu => 0,
        };
        let parts = rows.div_ceil(together(pixels));
        Self {
            pixels,
            channels: Channels::new(channels),
            statistics,
            parts: vec![0.0; parts * 2 * channels],
            winners: vec![0; winners],
            sums: vec![0.0; 2 * channels],
        }
    }

    /// Mean and variance of the mini-batch.
    fn measure(&mut self, input: &[f32], team: &Team) {
        let channels = self.channels.count;
        let size = together(self.pixels) * self.pixels.count() * channels;
        let groups = input.chunks(size);
        let parts = groups.zip(self.parts.chunks_exact_mut(2 * channels));
        team.share(parts, |(group, part)| {
            let (means, squares) = part.split_at_mut(channels);
            measure(group, channels, means, squares);
        });
        self.combine(input, size);
        let count = (input.len() / channels) as f64;
        let (means, squares) = self.sums.split_at(channels);
        let (running_means, running_variances) = self.statistics.split_at_mut(channels);
        for (channel, (mean, square)) in means.iter().zip(squares).enumerate() {
            let (mean, variance) = (*mean as f32, (square / count) as f32);
            let unbiased = (square / (count - 1.0).max(1.0)) as f32;
            self.channels.mean[channel] = mean;
            self.channels.inverse[channel] = 1.0 / (variance + EPSILON).sqrt();
            let running = &mut running_means[channel];
            *running += MOMENTUM * (mean - *running);
            let running = &mut running_variances[channel];
            *running += MOMENTUM * (unbiased - *running);
        }
    }

    /// Puts together what was measured: means and sums of squared distances from them
    /// (Chan, Golub and LeVeque, "Updating formulae", 1979).
    fn combine(&mut self, input: &[f32], size: usize) {
        let channels = self.channels.count;
        self.sums.fill(0.0);
        let (means, squares) = self.sums.split_at_mut(channels);
        let mut before = 0.0;
        let parts = self.parts.chunks_exact(2 * channels);
        for (group, part) in input.chunks(size).zip(parts) {
            let count = (group.len() / channels) as f64;
            let share = count / (before + count);
            let (part_means, part_squares) = part.split_at(channels);
            let all = means.iter_mut().zip(&mut *squares);
            let parts = part_means.iter().zip(part_squares);
            for ((mean, square), (part_mean, part_square)) in all.zip(parts) {
                let distance = f64::from(*part_mean) - *mean;
                *mean += distance * share;
                *square += f64::from(*part_square) + distance * distance * before * share;
            }
            before += count;
        }
    }

    fn recall(&mut self) {
        let (means, variances) = self.statistics.split_at(self.channels.count);
        for (channel, (mean, variance)) in means.iter().zip(variances).enumerate() {
            self.channels.mean[channel] = *mean;
            self.channels.inverse[channel] = 1.0 / (variance + EPSILON).sqrt();
        }
    }

    /// The values of a slice of images, before and after.
    fn slice(&self) -> (usize, usize) {
        let values = |pixels: usize| SLICE * pixels * self.channels.count;
        (values(self.pixels.count()), values(self.pixels.finished()))
    }
}

/// How many images are measured together.
fn together(pixels: NormPixels) -> usize {
    MEASURED.div_ceil(pixels.count())
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
            PassMode::Training => self.measure(input, pass.team),
            PassMode::Inference => self.recall(),
        }
        let count = self.channels.count;
        let (scales, shifts) = weights.split_at(count);
        self.channels.shift[..count].copy_from_slice(shifts);
        for (channel, scale) in scales.iter().enumerate() {
            self.channels.factor[channel] = scale * self.channels.inverse[channel];
        }
        let (before, after) = self.slice();
        let (channels, pixels) = (&self.channels, self.pixels);
        let outputs = output.chunks_mut(after);
        let winners = self.winners.chunks_mut(after);
        let winners = winners.chain(std::iter::repeat_with(Default::default));
        let parts = input.chunks(before).zip(outputs).zip(winners);
        pass.team.share(parts, |((input, output), winners)| {
            let count = winners.len().min(output.len());
            normalise(channels, pixels, input, output, &mut winners[..count]);
        });
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let count = self.channels.count;
        let (pixels, channels) = (self.pixels, &self.channels);
        let group = together(pixels) * count;
        let sizes = (group * pixels.count(), group * pixels.finished());
        let parts = slices(&flow, &self.winners, sizes);
        let parts = parts.zip(self.parts.chunks_exact_mut(2 * count));
        flow.team.share(parts, |(flow, part)| {
            let (scales, shifts) = part.split_at_mut(count);
            add_up(channels, pixels, flow, shifts, scales);
        });
        self.sums.fill(0.0);
        let groups = flow.input.len().div_ceil(sizes.0);
        for part in self.parts.chunks_exact(2 * count).take(groups) {
            for (sum, part) in self.sums.iter_mut().zip(part) {
                *sum += f64::from(*part);
            }
        }
        for (gradient, sum) in gradients.iter_mut().zip(&self.sums) {
            *gradient = *sum as f32;
        }
        let Some(input_gradient) = input_gradient else {
            return;
        };
        let (scales, shifts) = gradients.split_at(count);
        let share = count as f32 / flow.input.len() as f32;
        for (channel, (scale, shift)) in scales.iter().zip(shifts).enumerate() {
            let inverse = self.channels.inverse[channel];
            self.channels.common[channel] = share * shift;
            self.channels.slope[channel] = -share * scale * inverse;
        }
        let sizes = self.slice();
        let (pixels, channels) = (self.pixels, &self.channels);
        let parts = slices(&flow, &self.winners, sizes);
        let parts = parts.zip(input_gradient.chunks_mut(sizes.0));
        flow.team.share(parts, |(flow, target)| {
            spread(channels, pixels, flow, target);
        });
    }

    fn statistics(&self) -> &[f32] {
        &self.statistics
    }

    fn statistics_mut(&mut self) -> &mut [f32] {
        &mut self.statistics
    }
}

/// Cuts what flowed into parts of as many values, before and after.
fn slices<'a>(
    flow: &Flow<'a>,
    winners: &'a [u8],
    (before, after): (usize, usize),
) -> impl Iterator<Item = NormFlow<'a>> {
    let winners = winners.chunks(after);
    flow.input
        .chunks(before)
        .zip(flow.output.chunks(after))
        .zip(flow.output_gradient.chunks(after))
        .zip(winners.chain(std::iter::repeat_with(Default::default)))
        .map(|(((input, output), output_gradient), winners)| NormFlow {
            input,
            output,
            output_gradient,
            winners: &winners[..winners.len().min(output.len())],
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Activation;
    use crate::gradients::check_layer;
    use crate::kernels::{Guarded, Window, at_each_level};
    use crate::layers::activation::Elementwise;
    use crate::layers::pool::MaxPool;
    use crate::random::Stream;
    use proptest::prelude::*;

    const VECTOR: NormPixels = NormPixels {
        height: 1,
        width: 1,
        finish: Finish::Plain,
    };

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
        let mut norm = BatchNorm::new(VECTOR, 2, 3);
        let weights = [1.0, 1.0, 0.0, 0.0];
        let input = [1.0, 10.0, 3.0, 20.0, 8.0, 60.0];
        let mut output = [0.0; 6];
        norm.forward(
            &weights,
            &input,
            &mut output,
            Pass::alone(PassMode::Training, &Team::new(1)),
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

    /// The layer in one pass against the three layers that it stands for.
    fn compare(pixels: NormPixels, channels: usize, rows: usize) {
        let team = Team::new(1);
        let pass = Pass::alone(PassMode::Training, &team);
        let mut stream = Stream::new(5, "compare");
        let mut random = |count: usize| -> Guarded<f32> {
            let values: Vec<f32> =
                (0..count).map(|_| 2.0 * stream.unit() - 1.0).collect();
            values.into()
        };
        let size = rows * pixels.count() * channels;
        let (input, weights) = (random(size), random(2 * channels));
        let plain = NormPixels {
            finish: Finish::Plain,
            ..pixels
        };
        let window = Window {
            in_height: pixels.height,
            in_width: pixels.width,
            channels,
            size: 2,
            stride: 2,
            pad_top: 0,
            pad_left: 0,
            out_height: pixels.height / 2,
            out_width: pixels.width / 2,
        };
        let mut layers: Vec<Box<dyn Layer>> =
            vec![Box::new(BatchNorm::new(plain, channels, rows))];
        if pixels.finish != Finish::Plain {
            layers.push(Box::new(Elementwise::new(Activation::Relu)));
        }
        if pixels.finish == Finish::ReluPool {
            layers.push(Box::new(MaxPool::new(window, rows)));
        }
        let pooled = rows * pixels.finished() * channels;
        let mut values = vec![input.to_vec()];
        for (index, layer) in layers.iter_mut().enumerate() {
            let len = if index == 2 { pooled } else { size };
            let mut output = vec![9.0; len];
            layer.forward(&weights, &values[index], &mut output, pass);
            values.push(output);
        }
        let slope = random(pooled);
        let mut gradients = vec![9.0; 2 * channels];
        let mut gradient = slope.to_vec();
        for (index, layer) in layers.iter_mut().enumerate().rev() {
            let mut target = vec![9.0; values[index].len()];
            let flow = Flow {
                weights: &weights,
                input: &values[index],
                output: &values[index + 1],
                output_gradient: &gradient,
                team: &team,
            };
            layer.backward(flow, Some(&mut target), &mut gradients);
            gradient = target;
        }

        let mut norm = BatchNorm::new(pixels, channels, rows);
        let mut output = Guarded::new(9.0, pooled);
        norm.forward(&weights, &input, &mut output, pass);
        assert_eq!(Some(&*output), values.last().map(Vec::as_slice));
        let flow = Flow {
            weights: &weights,
            input: &input,
            output: &output,
            output_gradient: &slope,
            team: &team,
        };
        let mut target = Guarded::new(9.0, size);
        let mut actual = Guarded::new(9.0, 2 * channels);
        norm.backward(flow, Some(&mut target), &mut actual);
        let pairs = actual.iter().chain(&*target);
        for (a, e) in pairs.zip(gradients.iter().chain(&gradient)) {
            assert!((a - e).abs() < 1e-4 * (1.0 + e.abs()), "{a} {e} {pixels:?}");
        }
    }

    proptest! {
        #[test]
        fn one_pass_is_as_good_as_three(
            (height, width, finish) in (2..9_usize, 2..9_usize, 0..3_usize),
            (channels, rows) in (1..40_usize, 1..5_usize),
        ) {
            let finish = [Finish::Plain, Finish::Relu, Finish::ReluPool][finish];
            at_each_level(|_| compare(NormPixels { height, width, finish }, channels, rows));
        }
    }

    #[test]
    fn a_mini_batch_of_one_is_not_divided_by_zero() {
        let mut norm = BatchNorm::new(VECTOR, 2, 3);
        let mut output = [9.0; 2];
        norm.forward(
            &[1.0, 1.0, 0.5, 0.5],
            &[3.0, 4.0],
            &mut output,
            Pass::alone(PassMode::Training, &Team::new(1)),
        );
        assert_eq!(output, [0.5, 0.5]);
        assert!(norm.statistics().iter().all(|x| x.is_finite()));
    }
}
