//! Pooling. Windows never leave the image.

use super::{Flow, Layer, Pass};
use crate::kernels::{Window, add_rows};

/// Where the values of a window position lie in an image.
fn offsets(window: &Window, y: usize, x: usize) -> impl Iterator<Item = usize> {
    let Window {
        in_width,
        channels,
        size,
        stride,
        ..
    } = *window;
    let start = (y * stride * in_width + x * stride) * channels;
    (0..size * size).map(move |n| start + ((n / size) * in_width + n % size) * channels)
}

/// Calls `visit` with the index and the coordinates of each window position.
fn each_position(window: &Window, mut visit: impl FnMut(usize, usize, usize)) {
    for y in 0..window.out_height {
        for x in 0..window.out_width {
            visit(y * window.out_width + x, y, x);
        }
    }
}

fn image_values(window: &Window) -> usize {
    window.in_height * window.in_width * window.channels
}

/// The largest value of each window; the first of equals.
pub(crate) struct MaxPool {
    window: Window,
    /// Which value of its window won: all that the backward pass needs.
    winners: Vec<u8>,
}

impl MaxPool {
    pub(crate) fn new(window: Window, rows: usize) -> Self {
        let winners = vec![0; rows * window.positions() * window.channels];
        Self { window, winners }
    }
}

impl Layer for MaxPool {
    fn forward(&mut self, _: &[f32], input: &[f32], output: &mut [f32], _: Pass<'_>) {
        let window = self.window;
        let channels = window.channels;
        let size = window.positions() * channels;
        let images = input.chunks_exact(image_values(&window));
        let targets = output
            .chunks_exact_mut(size)
            .zip(self.winners.chunks_exact_mut(size));
        for (image, (output, winners)) in images.zip(targets) {
            each_position(&window, |position, y, x| {
                let place = position * channels..(position + 1) * channels;
                let best = &mut output[place.clone()];
                let winner = &mut winners[place];
                winner.fill(0);
                for (index, offset) in (0_u8..=u8::MAX).zip(offsets(&window, y, x)) {
                    let values = &image[offset..offset + channels];
                    if index == 0 {
                        best.copy_from_slice(values);
                    } else {
                        keep_larger(values, index, best, winner);
                    }
                }
            });
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        _: &mut [f32],
    ) {
        let Some(input_gradient) = input_gradient else {
            return;
        };
        let window = self.window;
        let Window {
            in_width,
            channels,
            size,
            stride,
            ..
        } = window;
        let values = window.positions() * channels;
        input_gradient.fill(0.0);
        let targets = input_gradient.chunks_exact_mut(image_values(&window));
        let sources = flow.output_gradient.chunks_exact(values);
        let winners = self.winners.chunks_exact(values);
        for ((target, gradient), winners) in targets.zip(sources).zip(winners) {
            each_position(&window, |position, y, x| {
                let start = (y * stride * in_width + x * stride) * channels;
                let place = position * channels..(position + 1) * channels;
                let pairs = gradient[place.clone()].iter().zip(&winners[place]);
                for (channel, (dy, &winner)) in pairs.enumerate() {
                    let (row, column) = (winner as usize / size, winner as usize % size);
                    target[start + (row * in_width + column) * channels + channel] += dy;
                }
            });
        }
    }
}

/// Replaces what is smaller, and lets NaN win so that it is noticed in the loss.
fn keep_larger(values: &[f32], index: u8, best: &mut [f32], winner: &mut [u8]) {
    for ((best, winner), &value) in best.iter_mut().zip(winner).zip(values) {
        let wins = value > *best || value.is_nan();
        *best = if wins { value } else { *best };
        *winner = if wins { index } else { *winner };
    }
}

/// The mean of each window.
pub(crate) struct AvgPool {
    window: Window,
}

impl AvgPool {
    pub(crate) fn new(window: Window) -> Self {
        Self { window }
    }

    fn share(&self) -> f32 {
        1.0 / (self.window.size * self.window.size) as f32
    }
}

impl Layer for AvgPool {
    fn forward(&mut self, _: &[f32], input: &[f32], output: &mut [f32], _: Pass<'_>) {
        let window = self.window;
        let channels = window.channels;
        let share = self.share();
        let images = input.chunks_exact(image_values(&window));
        let targets = output.chunks_exact_mut(window.positions() * channels);
        for (image, output) in images.zip(targets) {
            each_position(&window, |position, y, x| {
                let mean = &mut output[position * channels..(position + 1) * channels];
                mean.fill(0.0);
                for offset in offsets(&window, y, x) {
                    add_rows(&image[offset..offset + channels], mean);
                }
                mean.iter_mut().for_each(|sum| *sum *= share);
            });
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        _: &mut [f32],
    ) {
        let Some(input_gradient) = input_gradient else {
            return;
        };
        let window = self.window;
        let channels = window.channels;
        let share = self.share();
        input_gradient.fill(0.0);
        let targets = input_gradient.chunks_exact_mut(image_values(&window));
        let sources = flow
            .output_gradient
            .chunks_exact(window.positions() * channels);
        for (target, gradient) in targets.zip(sources) {
            each_position(&window, |position, y, x| {
                let gradient = &gradient[position * channels..(position + 1) * channels];
                for offset in offsets(&window, y, x) {
                    let target = &mut target[offset..offset + channels];
                    for (dx, dy) in target.iter_mut().zip(gradient) {
                        *dx += dy * share;
                    }
                }
            });
        }
    }
}

/// The mean of each channel over the whole image.
pub(crate) struct GlobalAvgPool {
    channels: usize,
    values: usize,
}

impl GlobalAvgPool {
    pub(crate) fn new(channels: usize, values: usize) -> Self {
        Self { channels, values }
    }

    fn share(&self) -> f32 {
        self.channels as f32 / self.values as f32
    }
}

impl Layer for GlobalAvgPool {
    fn forward(&mut self, _: &[f32], input: &[f32], output: &mut [f32], _: Pass<'_>) {
        let share = self.share();
        let images = input.chunks_exact(self.values);
        for (image, mean) in images.zip(output.chunks_exact_mut(self.channels)) {
            mean.fill(0.0);
            add_rows(image, mean);
            mean.iter_mut().for_each(|sum| *sum *= share);
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        _: &mut [f32],
    ) {
        let Some(input_gradient) = input_gradient else {
            return;
        };
        let share = self.share();
        let gradients = flow.output_gradient.chunks_exact(self.channels);
        for (image, dy) in input_gradient.chunks_exact_mut(self.values).zip(gradients) {
            for pixel in image.chunks_exact_mut(self.channels) {
                for (dx, dy) in pixel.iter_mut().zip(dy) {
                    *dx = dy * share;
                }
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
        check_layer("max_pool(2)", (4, 5, 2));
        check_layer("max_pool(3, stride: 2)", (5, 7, 2));
        check_layer("max_pool(2, stride: 3)", (7, 5, 1));
        check_layer("avg_pool(2)", (5, 4, 2));
        check_layer("avg_pool(3, stride: 1)", (4, 4, 2));
        check_layer("global_avg_pool", (3, 4, 2));
    }

    #[test]
    fn the_first_of_equals_wins_and_nan_is_never_hidden() {
        let (mut best, mut winner) = ([1.0, 1.0, f32::NAN], [0; 3]);
        keep_larger(&[1.0, f32::NAN, 5.0], 1, &mut best, &mut winner);
        assert_eq!(winner, [0, 1, 0]);
        assert!(best[0] == 1.0 && best[1].is_nan() && best[2].is_nan());
    }
}
