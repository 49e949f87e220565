//! Dropout, scaled during training so that inference does nothing.

use super::{Flow, Layer, Pass, PassMode};
use crate::random::Stream;

/// Drops each value with a probability and enlarges the others to keep the sum.
pub(crate) struct Dropout {
    /// A value whose random bits are below this is dropped.
    threshold: u64,
    scale: f32,
    /// What each value of the last mini-batch was multiplied by.
    mask: Vec<f32>,
    stream: Stream,
}

impl Dropout {
    pub(crate) fn new(probability: f32, values: usize, stream: Stream) -> Self {
        Self {
            threshold: (f64::from(probability) * 4_294_967_296.0) as u64,
            scale: 1.0 / (1.0 - probability),
            mask: vec![0.0; values],
            stream,
        }
    }
}

impl Layer for Dropout {
    fn forward(&mut self, _: &[f32], input: &[f32], output: &mut [f32], pass: Pass<'_>) {
        if pass.mode == PassMode::Inference {
            output.copy_from_slice(input);
            return;
        }
        for ((y, x), factor) in output.iter_mut().zip(input).zip(&mut self.mask) {
            let drops = u64::from(self.stream.bits()) < self.threshold;
            *factor = if drops { 0.0 } else { self.scale };
            *y = x * *factor;
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        _: &mut [f32],
    ) {
        let Some(target) = input_gradient else { return };
        let values = flow.output_gradient.iter().zip(&self.mask);
        for (dx, (dy, factor)) in target.iter_mut().zip(values) {
            *dx = dy * factor;
        }
    }

    fn streams(&mut self) -> Vec<&mut Stream> {
        vec![&mut self.stream]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Team;

    #[test]
    fn the_gradient_takes_the_way_of_the_values() {
        let team = Team::new(1);
        let mut dropout = Dropout::new(0.25, 8_000, Stream::new(1, "test"));
        let input = vec![3.0; 8_000];
        let mut output = vec![0.0; 8_000];
        dropout.forward(
            &[],
            &input,
            &mut output,
            Pass::alone(PassMode::Training, &team),
        );
        let dropped = output.iter().filter(|y| **y == 0.0).count();
        assert!((1_900..2_100).contains(&dropped), "{dropped}");
        assert!(output.iter().all(|y| *y == 0.0 || *y == 4.0));
        let flow = Flow {
            weights: &[],
            input: &input,
            output: &output,
            output_gradient: &input,
            team: &team,
        };
        let mut gradient = vec![9.0; 8_000];
        dropout.backward(flow, Some(&mut gradient), &mut []);
        assert_eq!(gradient, output);
    }

    #[test]
    fn inference_changes_nothing() {
        let team = Team::new(1);
        let mut dropout = Dropout::new(0.9, 3, Stream::new(1, "test"));
        let mut output = [0.0; 3];
        dropout.forward(
            &[],
            &[1.0, 2.0, 3.0],
            &mut output,
            Pass::alone(PassMode::Inference, &team),
        );
        assert_eq!(output, [1.0, 2.0, 3.0]);
    }
}
