//! Functions of each value alone.

use super::{Flow, Layer, Pass};
use crate::architecture::Activation;
use crate::kernels::{gelu, gelu_slope};

/// The slope of a leaky ReLU below zero, which is PyTorch's default.
const LEAK: f32 = 0.01;

/// Applies a function to each value.
pub(crate) struct Elementwise {
    function: Activation,
}

impl Elementwise {
    pub(crate) fn new(function: Activation) -> Self {
        Self { function }
    }
}

impl Layer for Elementwise {
    fn forward(&mut self, _: &[f32], input: &[f32], output: &mut [f32], _: Pass<'_>) {
        match self.function {
            Activation::Relu => map(input, output, relu),
            Activation::Tanh => map(input, output, f32::tanh),
            Activation::Sigmoid => map(input, output, sigmoid),
            Activation::Gelu => gelu(input, output),
            Activation::Silu => map(input, output, |x| x * sigmoid(x)),
            Activation::LeakyRelu => {
                map(input, output, |x| if x < 0.0 { LEAK * x } else { x });
            }
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        _: &mut [f32],
    ) {
        let Some(gradient) = input_gradient else {
            return;
        };
        match self.function {
            Activation::Relu => {
                chain(&flow, gradient, |_, y| f32::from(u8::from(y > 0.0)));
            }
            Activation::Tanh => chain(&flow, gradient, |_, y| 1.0 - y * y),
            Activation::Sigmoid => chain(&flow, gradient, |_, y| y * (1.0 - y)),
            Activation::Gelu => gelu_slope(flow.input, flow.output_gradient, gradient),
            Activation::Silu => chain(&flow, gradient, |x, y| {
                let share = sigmoid(x);
                share + y * (1.0 - share)
            }),
            Activation::LeakyRelu => {
                chain(&flow, gradient, |x, _| if x > 0.0 { 1.0 } else { LEAK });
            }
        }
    }
}

fn map(input: &[f32], output: &mut [f32], function: impl Fn(f32) -> f32) {
    for (y, &x) in output.iter_mut().zip(input) {
        *y = function(x);
    }
}

/// The chain rule; `slope` is given the function's input and output.
fn chain(flow: &Flow<'_>, gradient: &mut [f32], slope: impl Fn(f32, f32) -> f32) {
    let values = flow.input.iter().zip(flow.output).zip(flow.output_gradient);
    for (dx, ((&x, &y), &dy)) in gradient.iter_mut().zip(values) {
        *dx = dy * slope(x, y);
    }
}

/// NaN stays NaN, unlike with `f32::max`: a diverged network must not look alive.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::check_layer;
    use crate::kernels::Team;
    use crate::layers::PassMode;

    #[test]
    fn slopes() {
        for name in ["tanh", "sigmoid", "gelu", "relu", "silu", "leaky_relu"] {
            check_layer(name, (2, 3, 2));
        }
    }

    // >>> x = torch.tensor([-3.0, -0.5, 0.0, 1.0, 4.0])
    // >>> torch.nn.functional.gelu(x).tolist()
    #[test]
    fn gelu_is_the_exact_one() {
        let expected = [-0.004_050_225, -0.154_268_77, 0.0, 0.841_344_7, 3.999_873_6];
        let mut gelu = Elementwise::new(Activation::Gelu);
        let mut output = [0.0; 5];
        let input = [-3.0, -0.5, 0.0, 1.0, 4.0];
        gelu.forward(
            &[],
            &input,
            &mut output,
            Pass::alone(PassMode::Inference, &Team::new(1)),
        );
        for (actual, expected) in output.iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-6, "{actual} {expected}");
        }
    }

    #[test]
    fn nan_passes_through() {
        for function in [
            Activation::Relu,
            Activation::Tanh,
            Activation::Sigmoid,
            Activation::Gelu,
            Activation::Silu,
            Activation::LeakyRelu,
        ] {
            let mut output = [0.0];
            let mut layer = Elementwise::new(function);
            layer.forward(
                &[],
                &[f32::NAN],
                &mut output,
                Pass::alone(PassMode::Inference, &Team::new(1)),
            );
            assert!(output[0].is_nan(), "{function:?}");
        }
    }
}
