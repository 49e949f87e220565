//! A Gaussian process with expected improvement.
//!
//! Matern 5/2 with a length for each dimension (Rasmussen 2006), of which unequal choices
//! are one apart; lengths, scale and noise maximize the marginal likelihood with the priors
//! of Optuna 5. The next point has the largest logarithm of expected improvement (Ament
//! 2023) that a local search finds from the best of 2,048 points of a Sobol sequence.
//! Dimensions that a point does not have lie in the middle of their axis.

mod acquisition;
mod descent;
mod kernel;
mod matrix;
mod model;

use super::{Sampler, number, sobol_point};
use crate::observation::{Observation, State, at_one_rung};
use crate::{Draw, Point, Space, Value};
use acquisition::Acquisition;
use model::Model;

/// Trials that must have ended before a model is worth anything.
const STARTUP: usize = 10;

/// The most trials that a model is made of: its cost grows with their third power.
const MOST: usize = 200;

pub(super) struct Gp {
    seed: i64,
    /// The logarithms of the kernel's parameters that were found last: a good start for
    /// the next search.
    found: Option<Vec<f64>>,
}

impl Gp {
    pub(super) fn new(seed: i64) -> Self {
        Self { seed, found: None }
    }
}

impl Sampler for Gp {
    fn suggest(
        &mut self,
        space: &Space,
        seen: &[Observation],
        trial: u64,
    ) -> Option<Point> {
        let (values, running) = data(space, seen);
        if values.len() < STARTUP {
            return Some(sobol_point(space, self.seed, trial));
        }
        let (points, targets): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let targets = standardized(&targets);
        let (model, found) = Model::fit(space, points, targets, self.found.take());
        self.found = Some(found);
        // What runs is taken to come to what the model expects, so that the next point
        // keeps away from it (the "kriging believer" of Ginsbourger 2010).
        let model = model.believing(running);
        let draw = Draw {
            seed: self.seed,
            trial: number(trial),
            name: "gp",
        };
        let coordinates = Acquisition::new(space, &model).best(&mut draw.stream());
        Some(space.point(|index, dimension| match dimension.choices() {
            Some(_) => Value::Choice(coordinates[index] as usize),
            None => dimension.at(coordinates[index]),
        }))
    }
}

/// The trials that have a value, and the points of those that run.
type Data = (Vec<(Vec<f64>, f64)>, Vec<Vec<f64>>);

fn data(space: &Space, seen: &[Observation]) -> Data {
    let mut values: Vec<(Vec<f64>, f64)> = at_one_rung(seen, STARTUP)
        .into_iter()
        .map(|(n, value)| (coordinates(space, &seen[n].point), value))
        .collect();
    let worst = values
        .iter()
        .map(|(_, value)| *value)
        .fold(f64::MIN, f64::max);
    if !values.is_empty() {
        let failed = seen.iter().filter(|seen| seen.state == State::Failed);
        values.extend(failed.map(|seen| (coordinates(space, &seen.point), worst)));
    }
    if values.len() > MOST {
        // The best half, and the newest of the others.
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*a].1.total_cmp(&values[*b].1).then(a.cmp(b)));
        order[MOST / 2..].sort_by(|a, b| b.cmp(a));
        order.truncate(MOST);
        order.sort_unstable();
        values = order.into_iter().map(|n| values[n].clone()).collect();
    }
    let running = seen.iter().filter(|seen| seen.state == State::Running);
    let running = running.map(|seen| coordinates(space, &seen.point));
    (values, running.collect())
}

/// A point as the model sees it: shares of the axes, and numbers of choices.
fn coordinates(space: &Space, point: &Point) -> Vec<f64> {
    let dimensions = space.dimensions().iter().zip(point);
    let coordinates = dimensions.map(|(dimension, value)| match value {
        Some(Value::Choice(choice)) => *choice as f64,
        Some(value) => dimension.unit(*value),
        None if dimension.choices().is_some() => -1.0,
        None => 0.5,
    });
    coordinates.collect()
}

/// Targets with mean 0 and variance 1, the largest the best.
fn standardized(values: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    // Infinite values would leave nothing of the others.
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let values: Vec<f64> = values.iter().map(|v| v.clamp(low, high.max(low))).collect();
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
    let deviation = libm::sqrt(variance);
    let deviation = if deviation > 0.0 { deviation } else { 1.0 };
    values.iter().map(|v| -(v - mean) / deviation).collect()
}
