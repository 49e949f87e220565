//! Convolution of each channel alone, together with the ReLU that follows it.

use super::{Flow, Layer, Pass};
use crate::kernels::{ConvFlow, Depthwise, Window};

/// A depthwise convolution with a bias.
///
/// Its weights are a matrix of (row, column) of the window by channel, then one bias per
/// channel.
pub(crate) struct DepthwiseConv {
    kernel: Depthwise,
}

impl DepthwiseConv {
    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(window: Window, relu: bool, rows: usize, threads: usize) -> Self {
        Self {
            kernel: Depthwise::new(window, relu, rows, threads),
        }
    }
}

impl Layer for DepthwiseConv {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        self.kernel.forward(weights, input, output, pass.team);
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let conv_flow = ConvFlow {
            input: flow.input,
            output: flow.output,
            output_gradient: flow.output_gradient,
            winners: &[],
        };
        let (weights, team) = (flow.weights, flow.team);
        self.kernel
            .backward(weights, gradients, conv_flow, input_gradient, team);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;
    use crate::kernels::{Finish, Guarded, Team, at_each_level};
    use crate::layers::PassMode;
    use crate::layers::grouped_conv::GroupedConv;
    use crate::random::Stream;
    use proptest::prelude::*;

    #[test]
    fn gradients() {
        check_layer("depthwise_conv(3)", (4, 5, 2));
        check_layer("depthwise_conv(3, padding: valid)", (5, 4, 3));
        check_layer("depthwise_conv(3, stride: 2)", (5, 6, 2));
        check_layer("depthwise_conv(2, stride: 3, padding: valid)", (7, 5, 1));
        check_layer("depthwise_conv(5)", (2, 2, 1));
        check_layer("depthwise_conv(1, stride: 2)", (3, 3, 2));
        check_layer("depthwise_conv(4)", (1, 6, 2));
    }

    /// What a layer makes of random numbers: outputs, gradients of weights, of inputs.
    fn passes(
        layer: &mut dyn Layer,
        [inputs, outputs, weights]: [usize; 3],
    ) -> [Vec<f32>; 3] {
        let team = Team::new(1);
        let mut stream = Stream::new(7, "passes");
        let mut random = |count: usize| -> Guarded<f32> {
            let values: Vec<f32> =
                (0..count).map(|_| 2.0 * stream.unit() - 1.0).collect();
            values.into()
        };
        let weights = random(weights);
        let (input, gradient) = (random(inputs), random(outputs));
        let mut output = Guarded::new(9.0, outputs);
        let pass = Pass::alone(PassMode::Training, &team);
        layer.forward(&weights, &input, &mut output, pass);
        let mut gradients = Guarded::new(9.0, weights.len());
        let mut input_gradient = Guarded::new(9.0, inputs);
        let flow = Flow {
            weights: &weights,
            input: &input,
            output: &output,
            output_gradient: &gradient,
            team: &team,
        };
        layer.backward(flow, Some(&mut input_gradient), &mut gradients);
        [output.to_vec(), gradients.to_vec(), input_gradient.to_vec()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        /// A convolution with as many groups as channels, made of whole convolutions.
        #[test]
        fn every_shape_agrees_with_groups_of_one_channel(
            [in_height, in_width, channels] in [1..12_usize, 1..20_usize, 1..36_usize],
            [size, stride] in [1..6_usize, 1..4_usize],
            (rows, relu, pad) in (1..4_usize, any::<bool>(), 0..3_usize),
        ) {
            let pad = pad.min(size - 1);
            prop_assume!(in_height + pad >= size && in_width + pad >= size);
            let steps = |length: usize| (length + pad - size) / stride + 1;
            let window = Window {
                in_height, in_width, channels, size, stride,
                pad_top: pad, pad_left: pad,
                out_height: steps(in_height), out_width: steps(in_width),
            };
            let sizes = [
                rows * in_height * in_width * channels,
                rows * window.positions() * channels,
                (size * size + 1) * channels,
            ];
            let finish = if relu { Finish::Relu } else { Finish::Plain };
            at_each_level(|level| {
                let mut groups = GroupedConv::new(window, (channels, channels), finish, rows, 1);
                let expected = passes(&mut groups, sizes);
                let mut layer = DepthwiseConv::new(window, relu, rows, 1);
                let actual = passes(&mut layer, sizes);
                for (actual, expected) in actual.iter().flatten().zip(expected.iter().flatten()) {
                    let error = (actual - expected).abs();
                    assert!(error < 1e-4 * (1.0 + expected.abs()), "{level:?} {actual} {expected}");
                }
            });
        }
    }

    #[test]
    fn nan_is_never_hidden() {
        let window = Window {
            in_height: 3,
            in_width: 3,
            channels: 2,
            size: 3,
            stride: 1,
            pad_top: 1,
            pad_left: 1,
            out_height: 3,
            out_width: 3,
        };
        let mut layer = DepthwiseConv::new(window, true, 1, 1);
        let (mut input, mut output) = ([1.0; 18], [0.0; 18]);
        input[8] = f32::NAN;
        let team = Team::new(1);
        let pass = Pass::alone(PassMode::Inference, &team);
        layer.forward(&[0.1; 20], &input, &mut output, pass);
        assert!(output.iter().step_by(2).all(|y| y.is_nan()), "{output:?}");
        assert!(!output.iter().skip(1).step_by(2).any(|y| y.is_nan()));
    }
}
