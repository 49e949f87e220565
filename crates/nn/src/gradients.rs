//! Compares a layer's gradients with finite differences.

use crate::ImageShape;
use crate::architecture::{Plan, parse};
use crate::kernels::Team;
use crate::layers::{Flow, Layer, Pass, PassMode, build};
use crate::random::Stream;

const ROWS: usize = 3;

/// Half the distance of the two points of a difference.
///
/// A value's rounding error of about 1e-6 becomes 1e-4 in the slope, and the curvature of
/// the functions at hand adds about as much.
const STEP: f32 = 1e-2;

const TOLERANCE: f64 = 3e-3;

/// Checks the gradients of the last layer of `text` for images of (height, width,
/// channels), for its weights and for its input.
#[track_caller]
pub(crate) fn check_layer(text: &str, (height, width, channels): (usize, usize, usize)) {
    let image = ImageShape {
        height,
        width,
        channels,
    };
    let plan = Plan::of_layers(text, &parse(text).unwrap(), image).unwrap();
    let planned = plan.layers.last().unwrap();
    let last = std::slice::from_ref(planned);
    let mut stream = Stream::new(1, text);
    let first = stream.clone();
    let mut layer = build(last, ROWS, 1, &|_| first.clone()).0.unwrap();

    let mut random =
        |n: usize| -> Vec<f32> { (0..n).map(|_| 2.0 * stream.unit() - 1.0).collect() };
    let mut weights = random(plan.weights);
    let outputs = ROWS * planned.output.values();
    // The objective is a random weighting of the outputs.
    let objective = random(outputs);
    let mut input = spread(ROWS * planned.input.values());
    let mut output = vec![0.0; outputs];

    layer.forward(
        &weights,
        &input,
        &mut output,
        Pass::alone(PassMode::Training, &Team::new(1)),
    );
    // Both gradients must be overwritten, not added to.
    let mut input_gradient = vec![9.0; input.len()];
    let mut gradients = vec![9.0; weights.len()];
    let flow = Flow {
        weights: &weights,
        input: &input,
        output: &output,
        output_gradient: &objective,
        team: &Team::new(1),
    };
    layer.backward(flow, Some(&mut input_gradient), &mut gradients);
    let mut alone = vec![9.0; weights.len()];
    layer.backward(flow, None, &mut alone);
    assert_eq!(
        alone, gradients,
        "{text}: the input gradient changes the others"
    );

    let layer = layer.as_mut();
    for index in 0..weights.len() {
        let original = weights[index];
        let slope = difference(|delta| {
            weights[index] = original + delta;
            value(layer, &weights, &input, &objective)
        });
        weights[index] = original;
        compare(text, "weight", index, gradients[index], slope);
    }
    for index in 0..input.len() {
        let original = input[index];
        let slope = difference(|delta| {
            input[index] = original + delta;
            value(layer, &weights, &input, &objective)
        });
        input[index] = original;
        compare(text, "input", index, input_gradient[index], slope);
    }
}

/// Values in random order, none near another or zero, so that no step crosses a kink.
fn spread(count: usize) -> Vec<f32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    Stream::new(2, "spread").shuffle(&mut order);
    let middle = (count / 2) as f32 - 0.5;
    order
        .iter()
        .map(|&place| 0.04 * (place as f32 - middle))
        .collect()
}

fn value(
    layer: &mut dyn Layer,
    weights: &[f32],
    input: &[f32],
    objective: &[f32],
) -> f64 {
    let mut output = vec![0.0; objective.len()];
    layer.forward(
        weights,
        input,
        &mut output,
        Pass::alone(PassMode::Training, &Team::new(1)),
    );
    output
        .iter()
        .zip(objective)
        .map(|(&y, &o)| f64::from(y) * f64::from(o))
        .sum()
}

fn difference(mut value: impl FnMut(f32) -> f64) -> f64 {
    (value(STEP) - value(-STEP)) / (2.0 * f64::from(STEP))
}

#[track_caller]
fn compare(text: &str, what: &str, index: usize, actual: f32, expected: f64) {
    let error = (f64::from(actual) - expected).abs();
    assert!(
        error < TOLERANCE * (1.0 + expected.abs()),
        "{text}: {what} {index}: gradient {actual}, slope {expected}"
    );
}
