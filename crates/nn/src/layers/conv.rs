//! Convolution, together with the ReLU and the pooling that follow it.

use super::{Flow, Layer, Pass};
use crate::kernels::{ConvFlow, Direct, Finish, Window, Winograd};

/// A convolution with a bias.
///
/// Its weights are a matrix of (row, column, channel) of the window by filter, then one
/// bias per filter.
pub(crate) struct Conv {
    kernel: Convolution,
    /// Which value of its square each output is, if it pools: all that the backward pass
    /// needs of what the convolution gave.
    winners: Vec<u8>,
    /// The values of an image after it.
    outputs: usize,
}

/// The two ways to compute a convolution. Winograd's is faster where it can be used.
enum Convolution {
    Direct(Direct),
    Winograd(Winograd),
}

impl Conv {
    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(
        window: Window,
        filters: usize,
        finish: Finish,
        rows: usize,
        threads: usize,
    ) -> Self {
        let kernel = if Winograd::suits(&window, filters) {
            Convolution::Winograd(Winograd::new(window, filters, finish, rows, threads))
        } else {
            Convolution::Direct(Direct::new(window, filters, finish, rows, threads))
        };
        let outputs = finish.positions(&window) * filters;
        let winners = match finish {
            Finish::ReluPool => vec![0; rows * outputs],
            Finish::Plain | Finish::Relu => Vec::new(),
        };
        Self {
            kernel,
            winners,
            outputs,
        }
    }
}

impl Layer for Conv {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        let winners = self.winners.len().min(output.len());
        let winners = &mut self.winners[..winners];
        match &mut self.kernel {
            Convolution::Direct(direct) => {
                direct.forward(weights, input, output, winners, pass.team);
            }
            Convolution::Winograd(winograd) => {
                winograd.forward(weights, input, output, winners, pass.team);
            }
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        debug_assert!(flow.output.len().is_multiple_of(self.outputs));
        let winners = self.winners.len().min(flow.output.len());
        let conv_flow = ConvFlow {
            input: flow.input,
            output: flow.output,
            output_gradient: flow.output_gradient,
            winners: &self.winners[..winners],
        };
        match &mut self.kernel {
            Convolution::Direct(direct) => {
                direct.backward(
                    flow.weights,
                    gradients,
                    conv_flow,
                    input_gradient,
                    flow.team,
                );
            }
            Convolution::Winograd(winograd) => {
                winograd.backward(gradients, conv_flow, input_gradient, flow.team);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;
    use crate::kernels::{Guarded, Team, at_each_level};
    use crate::layers::PassMode;
    use crate::random::Stream;
    use proptest::prelude::*;

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

    /// The definition, in double precision.
    struct Reference {
        window: Window,
        filters: usize,
    }

    impl Reference {
        /// Calls `visit` with the index of each output, weight and input that meet.
        fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
            let w = &self.window;
            for position in 0..w.positions() {
                let (y, x) = (position / w.out_width, position % w.out_width);
                for tap in 0..w.size * w.size {
                    let row = y * w.stride + tap / w.size;
                    let column = x * w.stride + tap % w.size;
                    if row < w.pad_top
                        || row >= w.pad_top + w.in_height
                        || column < w.pad_left
                        || column >= w.pad_left + w.in_width
                    {
                        continue;
                    }
                    let pixel = (row - w.pad_top) * w.in_width + column - w.pad_left;
                    for channel in 0..w.channels {
                        for filter in 0..self.filters {
                            visit(
                                position * self.filters + filter,
                                (tap * w.channels + channel) * self.filters + filter,
                                pixel * w.channels + channel,
                            );
                        }
                    }
                }
            }
        }

        fn sums(&self, weights: &[f32], image: &[f32]) -> Vec<f64> {
            let bias = &weights[weights.len() - self.filters..];
            let mut sums: Vec<f64> = (0..self.window.positions() * self.filters)
                .map(|index| f64::from(bias[index % self.filters]))
                .collect();
            self.each(|output, weight, input| {
                sums[output] += f64::from(weights[weight]) * f64::from(image[input]);
            });
            sums
        }
    }

    /// The largest difference, as a share of the largest value.
    fn error(actual: &[f32], expected: &[f64]) -> f64 {
        assert_eq!(actual.len(), expected.len());
        let largest = expected.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
        let differences = actual.iter().zip(expected);
        let worst = differences
            .map(|(a, e)| (f64::from(*a) - e).abs())
            .fold(0.0, |m: f64, x| if x.is_nan() { x } else { m.max(x) });
        worst / largest
    }

    /// The errors of outputs, gradients of weights and gradients of inputs.
    fn errors(window: Window, filters: usize, finish: Finish, rows: usize) -> [f64; 3] {
        let team = Team::new(1);
        let mut stream = Stream::new(7, "errors");
        let mut random = |count: usize| -> Guarded<f32> {
            let values: Vec<f32> =
                (0..count).map(|_| 2.0 * stream.unit() - 1.0).collect();
            values.into()
        };
        let reference = Reference { window, filters };
        let weights = random((window.values() + 1) * filters);
        let size = window.in_height * window.in_width * window.channels;
        let outputs = finish.positions(&window) * filters;
        let input = random(rows * size);
        let gradient = random(rows * outputs);
        let mut conv = Conv::new(window, filters, finish, rows, team.threads());
        let mut output = Guarded::new(9.0, rows * outputs);
        conv.forward(
            &weights,
            &input,
            &mut output,
            Pass::alone(PassMode::Training, &team),
        );
        let mut gradients = Guarded::new(9.0, weights.len());
        let mut input_gradient = Guarded::new(9.0, input.len());
        let flow = Flow {
            weights: &weights,
            input: &input,
            output: &output,
            output_gradient: &gradient,
            team: &team,
        };
        conv.backward(flow, Some(&mut input_gradient), &mut gradients);

        let mut expected_output = Vec::new();
        let mut expected_gradients = vec![0.0; weights.len()];
        let mut expected_input = vec![0.0; input.len()];
        for row in 0..rows {
            let image = &input[row * size..][..size];
            let sums = reference.sums(&weights, image);
            let mut slopes = vec![0.0; sums.len()];
            for index in 0..outputs {
                // A tie that rounding decides may be decided either way.
                let at = row * outputs + index;
                let places = places(&window, filters, finish, index);
                let relu = finish != Finish::Plain;
                let best = places.iter().fold(f64::MIN, |m, p| m.max(sums[*p]));
                expected_output.push(if relu { best.max(0.0) } else { best });
                let winner = conv.winners.get(at).map_or(0, |winner| *winner as usize);
                let chosen = sums[places[winner]];
                assert!((chosen.max(0.0) - best.max(0.0)).abs() < 1e-2, "{winner}");
                if !relu || output[at] > 0.0 {
                    slopes[places[winner]] += f64::from(gradient[at]);
                }
            }
            reference.each(|output, weight, input| {
                let slope = slopes[output];
                expected_gradients[weight] += slope * f64::from(image[input]);
                expected_input[row * size + input] += slope * f64::from(weights[weight]);
            });
            let bias = weights.len() - filters;
            for (index, slope) in slopes.iter().enumerate() {
                expected_gradients[bias + index % filters] += slope;
            }
        }
        [
            error(&output, &expected_output),
            error(&gradients, &expected_gradients),
            error(&input_gradient, &expected_input),
        ]
    }

    /// The sums that an output is made of.
    fn places(
        window: &Window,
        filters: usize,
        finish: Finish,
        index: usize,
    ) -> Vec<usize> {
        if finish != Finish::ReluPool {
            return vec![index];
        }
        let width = window.out_width / 2;
        let (position, filter) = (index / filters, index % filters);
        let (y, x) = (2 * (position / width), 2 * (position % width));
        [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(dy, dx)| ((y + dy) * window.out_width + x + dx) * filters + filter)
            .to_vec()
    }

    fn window(
        [height, width, channels]: [usize; 3],
        [size, stride]: [usize; 2],
        same: bool,
    ) -> Option<Window> {
        if !same && (size > height || size > width) {
            return None;
        }
        let steps = |length: usize| {
            if same {
                let steps = length.div_ceil(stride);
                let pad = ((steps - 1) * stride + size).saturating_sub(length);
                (steps, pad / 2)
            } else {
                ((length - size) / stride + 1, 0)
            }
        };
        let ((out_height, pad_top), (out_width, pad_left)) =
            (steps(height), steps(width));
        Some(Window {
            in_height: height,
            in_width: width,
            channels,
            size,
            stride,
            pad_top,
            pad_left,
            out_height,
            out_width,
        })
    }

    const FINISHES: [Finish; 3] = [Finish::Plain, Finish::Relu, Finish::ReluPool];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_shape_agrees_with_the_definition(
            image in [1..15_usize, 1..15_usize, 1..19_usize],
            steps in [1..7_usize, 1..4_usize],
            (filters, rows, finish) in (1..36_usize, 1..4_usize, 0..3_usize),
            same in any::<bool>(),
        ) {
            let Some(window) = window(image, steps, same) else { return Ok(()) };
            prop_assume!(FINISHES[finish].positions(&window) > 0);
            at_each_level(|level| {
                let errors = errors(window, filters, FINISHES[finish], rows);
                assert!(errors.iter().all(|e| *e < 1e-5), "{level:?} {errors:?}");
            });
        }

        #[test]
        fn winograd_agrees_with_the_definition(
            image in [4..21_usize, 4..21_usize, 4..35_usize],
            (filters, rows, finish) in (8..70_usize, 1..4_usize, 0..3_usize),
            (five, same) in any::<(bool, bool)>(),
        ) {
            let size = if five { 5 } else { 3 };
            let Some(window) = window(image, [size, 1], same) else { return Ok(()) };
            prop_assume!(FINISHES[finish].positions(&window) > 0);
            at_each_level(|level| {
                let errors = errors(window, filters, FINISHES[finish], rows);
                assert!(errors.iter().all(|e| *e < 1e-4), "{level:?} {errors:?}");
            });
        }
    }

    #[test]
    fn the_errors_of_common_layers_are_small() {
        for (image, size, filters) in [
            ([14, 14, 32], 5, 64),
            ([28, 28, 32], 3, 32),
            ([14, 14, 64], 3, 64),
        ] {
            let window = window(image, [size, 1], true).unwrap();
            let errors = errors(window, filters, Finish::ReluPool, 2);
            assert!(errors.iter().all(|e| *e < 1e-5), "{image:?} {errors:?}");
        }
    }

    #[test]
    fn nan_is_never_hidden() {
        for channels in [1, 8] {
            let window = window([8, 8, channels], [3, 1], true).unwrap();
            let mut conv = Conv::new(window, 8, Finish::ReluPool, 1, 1);
            let weights = vec![0.1; (window.values() + 1) * 8];
            let mut input = vec![1.0; 64 * channels];
            input[0] = f32::NAN;
            let mut output = vec![0.0; 16 * 8];
            conv.forward(
                &weights,
                &input,
                &mut output,
                Pass::alone(PassMode::Inference, &Team::new(1)),
            );
            assert!(output[..8].iter().all(|y| y.is_nan()), "{output:?}");
        }
    }
}
