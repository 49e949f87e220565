//! Convolutions and pooling along a series: steps in order, with channels at each step.

use super::{Flow, Layer, Pass};
use crate::architecture::{ActivationShape, Padding};
use crate::kernels::{Buffer, Matrix, Sum, add_rows, fill_rows, multiply};

/// How windows lie along a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Steps that come in.
    pub(crate) input: usize,
    /// Windows, of which each is a step that goes out.
    pub(crate) output: usize,
    /// Steps of a window.
    pub(crate) size: usize,
    pub(crate) stride: usize,
    /// Zeros before the first step.
    pub(crate) before: usize,
}

impl Steps {
    /// The windows of a layer over a series of `input` steps, if one fits.
    pub(crate) fn new(
        input: usize,
        (size, stride): (usize, usize),
        padding: Padding,
    ) -> Option<Self> {
        let (output, before) = match padding {
            Padding::Same => {
                let output = input.div_ceil(stride);
                let needed =
                    (output.saturating_sub(1) * stride + size).saturating_sub(input);
                (output, needed / 2)
            }
            Padding::Valid => (input.checked_sub(size)? / stride + 1, 0),
        };
        Some(Self {
            input,
            output,
            size,
            stride,
            before,
        })
    }

    /// Zeros after the last step.
    pub(crate) fn after(&self) -> usize {
        let end = (self.output - 1) * self.stride + self.size;
        end.saturating_sub(self.input + self.before)
    }

    /// Calls `visit` with the place in a row of windows, and that in the input, of each step of
    /// each window; with none for a zero.
    fn each(&self, channels: usize, mut visit: impl FnMut(usize, Option<usize>)) {
        for window in 0..self.output {
            for place in 0..self.size {
                let at = (window * self.size + place) * channels;
                let step = self.step(window, place);
                visit(at, step.map(|step| step * channels));
            }
        }
    }

    /// The step at a place of a window; none where there is a zero.
    fn step(&self, window: usize, place: usize) -> Option<usize> {
        let step = (window * self.stride + place).checked_sub(self.before)?;
        (step < self.input).then_some(step)
    }
}

/// The steps and channels of what is given to a layer for series: a list of numbers has one
/// channel.
pub(crate) fn series(shape: ActivationShape) -> Option<(usize, usize)> {
    match shape {
        ActivationShape { flat: true, .. } => Some((shape.channels, 1)),
        ActivationShape { height: 1, .. } => Some((shape.width, shape.channels)),
        _ => None,
    }
}

/// A convolution along a series, as one product of matrices. Its weights are a matrix of
/// (place in the window, channel) by filter, then one bias per filter.
pub(crate) struct Conv1d {
    steps: Steps,
    channels: usize,
    filters: usize,
    /// The windows of a mini-batch, a row for each.
    windows: Buffer,
    /// Their gradients.
    slopes: Buffer,
}

impl Conv1d {
    pub(crate) fn new(
        steps: Steps,
        channels: usize,
        filters: usize,
        rows: usize,
    ) -> Self {
        let size = rows * steps.output * steps.size * channels;
        Self {
            steps,
            channels,
            filters,
            windows: Buffer::zeros(size),
            slopes: Buffer::zeros(size),
        }
    }

    /// Numbers of a window.
    fn width(&self) -> usize {
        self.steps.size * self.channels
    }
}

impl Layer for Conv1d {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        let (matrix, bias) = weights.split_at(self.width() * self.filters);
        let (series, width) = (self.steps.input * self.channels, self.width());
        let rows = input.len() / series;
        let (steps, channels) = (self.steps, self.channels);
        let cut = self.windows.chunks_exact_mut(self.steps.output * width);
        for (windows, input) in cut.zip(input.chunks_exact(series)) {
            steps.each(channels, |at, from| {
                let target = &mut windows[at..at + channels];
                match from {
                    Some(from) => {
                        target.copy_from_slice(&input[from..from + channels]);
                    }
                    None => target.fill(0.0),
                }
            });
        }
        fill_rows(output, bias);
        let count = rows * self.steps.output;
        let windows = Matrix::new(&self.windows[..count * width], count, width);
        let matrix = Matrix::new(matrix, width, self.filters);
        multiply(output, windows, matrix, Sum::Add, pass.team);
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let width = self.width();
        let (matrix, _) = flow.weights.split_at(width * self.filters);
        let (of_matrix, of_bias) = gradients.split_at_mut(width * self.filters);
        let series = self.steps.input * self.channels;
        let count = flow.input.len() / series * self.steps.output;
        of_bias.fill(0.0);
        add_rows(flow.output_gradient, of_bias);
        let windows = Matrix::new(&self.windows[..count * width], count, width);
        let slope = Matrix::new(flow.output_gradient, count, self.filters);
        multiply(
            of_matrix,
            windows.transposed(),
            slope,
            Sum::Overwrite,
            flow.team,
        );
        let Some(target) = input_gradient else {
            return;
        };
        let matrix = Matrix::new(matrix, width, self.filters);
        let (steps, channels) = (self.steps, self.channels);
        let all = &mut self.slopes[..count * width];
        multiply(all, slope, matrix.transposed(), Sum::Overwrite, flow.team);
        target.fill(0.0);
        let cut = all.chunks_exact(self.steps.output * width);
        for (slopes, target) in cut.zip(target.chunks_exact_mut(series)) {
            steps.each(channels, |at, to| {
                let Some(to) = to else { return };
                let target = &mut target[to..to + channels];
                for (target, slope) in target.iter_mut().zip(&slopes[at..]) {
                    *target += slope;
                }
            });
        }
    }
}

/// The largest number of each channel in each window of a series.
pub(crate) struct MaxPool1d {
    steps: Steps,
    channels: usize,
}

impl MaxPool1d {
    pub(crate) fn new(steps: Steps, channels: usize) -> Self {
        Self { steps, channels }
    }

    /// The step of the first largest number of a window; NaN wins, so that a network that has
    /// diverged does not look alive.
    fn largest(&self, input: &[f32], window: usize, channel: usize) -> usize {
        let start = window * self.steps.stride;
        let at = |step: usize| input[step * self.channels + channel];
        let mut best = start;
        for step in start + 1..start + self.steps.size {
            if at(step) > at(best) || (at(step).is_nan() && !at(best).is_nan()) {
                best = step;
            }
        }
        best
    }
}

impl Layer for MaxPool1d {
    fn forward(&mut self, _: &[f32], input: &[f32], output: &mut [f32], _: Pass<'_>) {
        let series = self.steps.input * self.channels;
        let pooled = output.chunks_exact_mut(self.steps.output * self.channels);
        for (input, output) in input.chunks_exact(series).zip(pooled) {
            for (place, y) in output.iter_mut().enumerate() {
                let (window, channel) = (place / self.channels, place % self.channels);
                let step = self.largest(input, window, channel);
                *y = input[step * self.channels + channel];
            }
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        _: &mut [f32],
    ) {
        let Some(target) = input_gradient else {
            return;
        };
        target.fill(0.0);
        let series = self.steps.input * self.channels;
        let slopes = flow
            .output_gradient
            .chunks_exact(self.steps.output * self.channels);
        let rows = flow.input.chunks_exact(series).zip(slopes);
        for ((input, slopes), target) in rows.zip(target.chunks_exact_mut(series)) {
            for (place, slope) in slopes.iter().enumerate() {
                let (window, channel) = (place / self.channels, place % self.channels);
                let step = self.largest(input, window, channel);
                target[step * self.channels + channel] += slope;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;

    #[test]
    fn gradients() {
        check_layer("conv1d(2, 3)", (1, 6, 2));
        check_layer("conv1d(3, 4, stride: 2)", (1, 7, 1));
        check_layer("conv1d(2, 3, padding: valid)", (1, 6, 2));
        check_layer("flatten, conv1d(2, 3)", (1, 6, 1));
        check_layer("max_pool1d(2)", (1, 7, 2));
        check_layer("max_pool1d(3, stride: 2)", (1, 8, 1));
    }

    // >>> keras.layers.Conv1D(1, 4, strides=2, padding='same')(numpy.zeros((1, 7, 1))).shape
    #[test]
    fn windows_are_those_of_keras() {
        let steps = Steps::new(7, (4, 2), Padding::Same).unwrap();
        assert_eq!((steps.output, steps.before, steps.after()), (4, 1, 2));
        let steps = Steps::new(7, (4, 2), Padding::Valid).unwrap();
        assert_eq!((steps.output, steps.before, steps.after()), (2, 0, 0));
        assert_eq!(Steps::new(3, (4, 1), Padding::Valid), None);
    }
}
