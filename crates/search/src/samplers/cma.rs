//! Covariance matrix adaptation (Hansen 2016, "The CMA Evolution Strategy: A Tutorial"),
//! with the numbers of its table 1.
//!
//! Numbers that every point has are adapted; choices, and what depends on them, are drawn.
//! A generation is judged as soon as as many of its trials have ended as a generation has;
//! what ends later tells nothing, so that parallel trials never wait for each other.

use super::eigen::eigen;
use super::{Sampler, number};
use crate::observation::{Observation, State, order};
use crate::{Draw, Error, Point, Space};

/// The first standard deviation, as a share of an axis.
const SIGMA: f64 = 1.0 / 6.0;

/// Draws outside of the axes before one is put on their ends.
const DRAWS: usize = 100;

pub(super) struct CmaEs {
    seed: i64,
    /// The dimensions that are adapted.
    dimensions: Vec<usize>,
    strategy: Strategy,
    /// Of each trial of this generation its number and where it was drawn.
    drawn: Vec<(u64, Vec<f64>)>,
}

impl CmaEs {
    pub(super) fn new(space: &Space, seed: i64) -> Result<Self, Error> {
        let root = space.groups().first().into_iter().flatten().copied();
        let is_number = |n: &usize| space.dimensions()[*n].choices().is_none();
        let dimensions: Vec<usize> = root.filter(is_number).collect();
        if dimensions.is_empty() {
            return Err(Error::Sampler {
                sampler: "cma_es",
                reason: "needs a hyperparameter that is a number, got choices only; use \
                         sampler 'tpe'"
                    .to_string(),
            });
        }
        Ok(Self {
            seed,
            strategy: Strategy::new(dimensions.len()),
            dimensions,
            drawn: vec![],
        })
    }

    /// Judges generations as long as enough of their trials have ended.
    fn learn(&mut self, seen: &[Observation], earlier: usize) {
        let state = |trial: u64| {
            let index = usize::try_from(trial).ok()? + earlier;
            seen.get(index).map(|seen| &seen.state)
        };
        let ended = self
            .drawn
            .iter()
            .filter_map(|(trial, x)| match state(*trial) {
                None | Some(State::Running) => None,
                Some(state) => Some((state, x.clone())),
            });
        let mut ended: Vec<(&State, Vec<f64>)> = ended.take(self.strategy.size).collect();
        if ended.len() == self.strategy.size {
            ended.sort_by(|(a, _), (b, _)| order(a, b));
            let best_first: Vec<_> = ended.into_iter().map(|(_, x)| x).collect();
            self.strategy.adapt(&best_first);
            self.drawn.clear();
        }
    }

    /// Starts where the best trial of an earlier study is.
    fn start(&mut self, space: &Space, seen: &[Observation], earlier: usize) {
        let best = seen[..earlier]
            .iter()
            .min_by(|a, b| order(&a.state, &b.state));
        let Some(best) = best else { return };
        for (k, dimension) in self.dimensions.iter().enumerate() {
            if let Some(value) = best.point[*dimension] {
                self.strategy.mean[k] = space.dimensions()[*dimension].unit(value);
            }
        }
    }
}

impl Sampler for CmaEs {
    fn suggest(
        &mut self,
        space: &Space,
        seen: &[Observation],
        trial: u64,
    ) -> Option<Point> {
        // The trials of this study come last, and there are as many as their numbers say.
        let earlier = seen.len() - usize::try_from(trial).unwrap_or(0).min(seen.len());
        if trial == 0 {
            self.start(space, seen, earlier);
        }
        self.learn(seen, earlier);
        let draw = Draw {
            seed: self.seed,
            trial: number(trial),
            name: "cma_es",
        };
        let mut random = draw.stream();
        let inside = |x: &Vec<f64>| x.iter().all(|x| (0.0..=1.0).contains(x));
        let mut x = self.strategy.draw(&mut || random.normal());
        for _ in 0..DRAWS {
            if inside(&x) {
                break;
            }
            x = self.strategy.draw(&mut || random.normal());
        }
        x.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        let others = space.draw(self.seed, number(trial));
        let point = space.point(|index, dimension| {
            match self.dimensions.iter().position(|n| *n == index) {
                Some(k) => dimension.at(x[k]),
                None => others[index].unwrap_or_else(|| dimension.at(random.unit())),
            }
        });
        self.drawn.push((trial, x));
        Some(point)
    }
}

/// The distribution that points are drawn from, and how it learns.
struct Strategy {
    /// Points of a generation.
    size: usize,
    /// The weights of the better half.
    weights: Vec<f64>,
    /// The variance-effective number of points that make the mean.
    effective: f64,
    mean: Vec<f64>,
    sigma: f64,
    covariance: Vec<Vec<f64>>,
    /// Standard deviations and directions of the covariance.
    deviations: Vec<f64>,
    directions: Vec<Vec<f64>>,
    path_of_sigma: Vec<f64>,
    path: Vec<f64>,
    generation: i32,
}

impl Strategy {
    fn new(n: usize) -> Self {
        let size = 4 + libm::floor(3.0 * libm::log(n as f64)) as usize;
        let better = size / 2;
        let raw =
            |i: usize| libm::log((size as f64 + 1.0) / 2.0) - libm::log(i as f64 + 1.0);
        let raw: Vec<f64> = (0..better).map(raw).collect();
        let sum: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|weight| weight / sum).collect();
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        let row = |i: usize| {
            (0..n)
                .map(move |j| if i == j { 1.0 } else { 0.0 })
                .collect()
        };
        let identity: Vec<Vec<f64>> = (0..n).map(row).collect();
        Self {
            size,
            weights,
            effective: 1.0 / squares,
            mean: vec![0.5; n],
            sigma: SIGMA,
            covariance: identity.clone(),
            deviations: vec![1.0; n],
            directions: identity,
            path_of_sigma: vec![0.0; n],
            path: vec![0.0; n],
            generation: 0,
        }
    }

    fn draw(&self, normal: &mut dyn FnMut() -> f64) -> Vec<f64> {
        let along: Vec<f64> = self.deviations.iter().map(|d| d * normal()).collect();
        let step =
            |row: &Vec<f64>| row.iter().zip(&along).map(|(v, a)| v * a).sum::<f64>();
        let means = self.mean.iter().zip(&self.directions);
        means
            .map(|(mean, row)| mean + self.sigma * step(row))
            .collect()
    }

    fn adapt(&mut self, best_first: &[Vec<f64>]) {
        let n = self.mean.len();
        let (dimensions, effective) = (n as f64, self.effective);
        self.generation += 1;
        let steps: Vec<Vec<f64>> = best_first[..self.weights.len()]
            .iter()
            .map(|x| {
                x.iter()
                    .zip(&self.mean)
                    .map(|(x, m)| (x - m) / self.sigma)
                    .collect()
            })
            .collect();
        let weighted = |k: usize| -> f64 {
            self.weights
                .iter()
                .zip(&steps)
                .map(|(weight, step)| weight * step[k])
                .sum()
        };
        let step: Vec<f64> = (0..n).map(weighted).collect();
        for (mean, step) in self.mean.iter_mut().zip(&step) {
            *mean += self.sigma * step;
        }

        // The length of the path that steps make together says whether they are too short.
        let share = (effective + 2.0) / (dimensions + effective + 5.0);
        let rate = libm::sqrt(share * (2.0 - share) * effective);
        let whitened = self.whitened(&step);
        for (path, step) in self.path_of_sigma.iter_mut().zip(&whitened) {
            *path = (1.0 - share) * *path + rate * step;
        }
        let length = libm::sqrt(self.path_of_sigma.iter().map(|x| x * x).sum());
        let usual = libm::sqrt(dimensions)
            * (1.0 - 1.0 / (4.0 * dimensions) + 1.0 / (21.0 * dimensions * dimensions));
        let beyond = (libm::sqrt((effective - 1.0) / (dimensions + 1.0)) - 1.0).max(0.0);
        let damping = 1.0 + 2.0 * beyond + share;
        self.sigma *= libm::exp((share / damping) * (length / usual - 1.0));
        self.sigma = self.sigma.clamp(1e-12, 1.0);

        let fading = libm::pow(1.0 - share, 2.0 * f64::from(self.generation));
        let is_usual =
            length / libm::sqrt(1.0 - fading) < (1.4 + 2.0 / (dimensions + 1.0)) * usual;
        self.adapt_covariance(&steps, &step, is_usual);
    }

    fn adapt_covariance(&mut self, steps: &[Vec<f64>], step: &[f64], is_usual: bool) {
        let n = step.len();
        let (dimensions, effective) = (n as f64, self.effective);
        let share = (4.0 + effective / dimensions)
            / (dimensions + 4.0 + 2.0 * effective / dimensions);
        let kept = if is_usual { 1.0 } else { 0.0 };
        let rate = libm::sqrt(share * (2.0 - share) * effective);
        for (path, step) in self.path.iter_mut().zip(step) {
            *path = (1.0 - share) * *path + kept * rate * step;
        }
        let one = 2.0 / ((dimensions + 1.3) * (dimensions + 1.3) + effective);
        let many = 2.0 * (effective - 2.0 + 1.0 / effective)
            / ((dimensions + 2.0) * (dimensions + 2.0) + effective);
        let many = many.min(1.0 - one);
        let lost = (1.0 - kept) * share * (2.0 - share);
        for i in 0..n {
            for j in 0..n {
                let of_steps: f64 = self
                    .weights
                    .iter()
                    .zip(steps)
                    .map(|(weight, step)| weight * step[i] * step[j])
                    .sum();
                let of_path = self.path[i] * self.path[j];
                self.covariance[i][j] = (1.0 - one - many + one * lost)
                    * self.covariance[i][j]
                    + one * of_path
                    + many * of_steps;
            }
        }
        let (values, vectors) = eigen(self.covariance.clone());
        self.deviations = values.iter().map(|v| libm::sqrt(v.max(1e-20))).collect();
        self.directions = vectors;
    }

    /// A step in units of the covariance.
    fn whitened(&self, step: &[f64]) -> Vec<f64> {
        let n = step.len();
        let along = |k: usize| -> f64 {
            let along = (0..n).map(|i| self.directions[i][k] * step[i]);
            along.sum::<f64>() / self.deviations[k]
        };
        let along: Vec<f64> = (0..n).map(along).collect();
        let back = |i: usize| (0..n).map(|k| self.directions[i][k] * along[k]).sum();
        (0..n).map(back).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that a strategy reaches by itself.
    fn reached(function: impl Fn(&[f64]) -> f64, n: usize, generations: usize) -> f64 {
        let mut strategy = Strategy::new(n);
        let draw = Draw {
            seed: 1,
            trial: 1,
            name: "test",
        };
        let mut random = draw.stream();
        for _ in 0..generations {
            let mut points: Vec<_> = (0..strategy.size)
                .map(|_| strategy.draw(&mut || random.normal()))
                .collect();
            points.sort_by(|a, b| function(a).total_cmp(&function(b)));
            strategy.adapt(&points);
        }
        function(&strategy.mean)
    }

    #[test]
    fn the_minimum_of_a_bowl_is_found_as_fast_as_the_tutorial_says() {
        let bowl = |x: &[f64]| x.iter().map(|x| (x - 0.3) * (x - 0.3)).sum::<f64>();
        assert!(reached(bowl, 5, 150) < 1e-10);
    }

    #[test]
    fn a_narrow_valley_is_followed() {
        let valley = |x: &[f64]| {
            let x: Vec<f64> = x.iter().map(|x| 4.0 * x - 2.0).collect();
            let pairs = x.windows(2);
            let terms = pairs.map(|w| {
                let (a, b) = (1.0 - w[0], w[1] - w[0] * w[0]);
                a * a + 100.0 * b * b
            });
            terms.sum::<f64>()
        };
        assert!(reached(valley, 4, 400) < 1e-8);
    }
}
