//! How long each layer of a network takes, for benches.

use std::time::Duration;

use crate::dataset::scale;
use crate::kernels;
use crate::layers::PassMode;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::{Error, Hyperparameters, ImageShape};

/// What a layer costs.
#[derive(Clone, Debug)]
pub struct LayerTime {
    /// The layer, and those that it computes in the same pass.
    pub name: String,
    /// The multiplications that its definition needs for one image.
    pub multiplications: usize,
    /// The shortest forward pass over the mini-batch, in seconds.
    pub forward: f64,
    /// The shortest backward pass; zero if there is none.
    pub backward: f64,
}

/// What a training step costs.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// In the order in which they run.
    pub layers: Vec<LayerTime>,
    /// The shortest update of the weights, in seconds.
    pub update: f64,
}

/// Runs `steps` training steps over the same mini-batch, whose pixels are given, and takes
/// the shortest time of each part by `clock`.
///
/// The gradient of the logits is made up: the time does not depend on it.
pub fn profile(
    hyperparameters: &Hyperparameters,
    (shape, classes): (ImageShape, usize),
    pixels: &[u8],
    steps: usize,
    clock: &dyn Fn() -> Duration,
) -> Result<StepTime, Error> {
    let plan = hyperparameters.plan(shape, classes)?;
    let rows = pixels.len() / shape.values();
    let mut optimizer = Optimizer::new(hyperparameters, plan.weights);
    let mut network = Network::with_threads(plan, rows, hyperparameters.seed, 1)?;
    let layer = |(name, multiplications)| LayerTime {
        name,
        multiplications,
        forward: f64::INFINITY,
        backward: f64::INFINITY,
    };
    let parts = network.layer_names().zip(network.multiplications());
    let mut layers: Vec<_> = parts.map(layer).collect();
    let mut update = f64::INFINITY;
    for _ in 0..steps {
        scale(pixels, network.images_mut(rows));
        for (index, time) in layers.iter_mut().enumerate() {
            let start = clock();
            network.forward_layer(index, rows, PassMode::Training);
            time.forward = time.forward.min((clock() - start).as_secs_f64());
        }
        let (_, slopes) = network.logits_and_slopes(rows);
        for (index, slope) in slopes.iter_mut().enumerate() {
            *slope = if index % classes == 0 { -1e-3 } else { 1e-4 };
        }
        let first = network.first_learning();
        for (index, time) in layers.iter_mut().enumerate().skip(first).rev() {
            let start = clock();
            network.backward_layer(index, rows);
            time.backward = time.backward.min((clock() - start).as_secs_f64());
        }
        let start = clock();
        let (parameters, weights, gradients) = network.learn();
        optimizer.step(parameters, weights, gradients, 1e-3);
        update = update.min((clock() - start).as_secs_f64());
    }
    for time in &mut layers {
        if time.backward.is_infinite() {
            time.backward = 0.0;
        }
    }
    Ok(StepTime { layers, update })
}

/// The floating-point operations per second of one core when it does nothing but multiply
/// and add in registers, at the level that [`engine`](crate::engine) names.
pub fn peak(clock: &dyn Fn() -> Duration) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..20 {
        let start = clock();
        let operations = kernels::saturate();
        best = best.max(operations / (clock() - start).as_secs_f64());
    }
    best
}
