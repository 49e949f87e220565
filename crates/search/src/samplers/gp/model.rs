//! What a Gaussian process expects of a point, given the trials so far.

use super::descent::minimize;
use super::kernel::Kernel;
use super::matrix::{Cholesky, dot};
use crate::Space;

/// A Gaussian process that has seen some points.
pub(super) struct Model {
    pub(super) kernel: Kernel,
    /// The points.
    pub(super) points: Vec<Vec<f64>>,
    /// Their values, the largest the best.
    pub(super) targets: Vec<f64>,
    factor: Cholesky,
    /// The inverse of the covariance times the values.
    weights: Vec<f64>,
}

/// Where a search for the kernel's parameters starts: all of them one.
fn default_logarithms(space: &Space) -> Vec<f64> {
    vec![0.0; space.dimensions().len() + 2]
}

impl Model {
    /// The model with the best kernel, and the logarithms of that kernel's parameters.
    pub(super) fn fit(
        space: &Space,
        points: Vec<Vec<f64>>,
        targets: Vec<f64>,
        start: Option<Vec<f64>>,
    ) -> (Self, Vec<f64>) {
        let loss = |logarithms: &[f64]| {
            let kernel = Kernel::new(space, logarithms);
            loss(&kernel, logarithms, &points, &targets)
        };
        let default = default_logarithms(space);
        let start = start.unwrap_or_else(|| default.clone());
        let mut best = minimize(&loss, start.clone(), None, 1e-2, 100);
        if !best.1.is_finite() && start != default {
            best = minimize(&loss, default, None, 1e-2, 100);
        }
        let kernel = Kernel::new(space, &best.0);
        (Self::new(kernel, points, targets), best.0)
    }

    fn new(mut kernel: Kernel, points: Vec<Vec<f64>>, targets: Vec<f64>) -> Self {
        // Rounding may leave a covariance of near points without a factor. Noise mends
        // that, at the latest when it is larger than a row of the matrix.
        let row = points.len() as f64 * kernel.scale;
        let noise = kernel.noise;
        let factor = [0.0, 1e-6 * row, 1e-3 * row, row]
            .into_iter()
            .find_map(|more| {
                kernel.noise = noise + more;
                Cholesky::new(covariance(&kernel, &points))
            });
        let factor = factor.unwrap_or_else(|| Cholesky::identity(points.len()));
        let weights = factor.solve(targets.clone());
        Self {
            kernel,
            points,
            targets,
            factor,
            weights,
        }
    }

    /// The model that has also seen what it expects at some points.
    pub(super) fn believing(self, points: Vec<Vec<f64>>) -> Self {
        if points.is_empty() {
            return self;
        }
        let expected: Vec<f64> =
            points.iter().map(|point| self.expects(point).0).collect();
        let all = [self.points.clone(), points].concat();
        let targets = [self.targets.clone(), expected].concat();
        Self::new(self.kernel, all, targets)
    }

    /// Mean and variance of the value at a point.
    pub(super) fn expects(&self, point: &[f64]) -> (f64, f64) {
        let shared = self
            .points
            .iter()
            .map(|seen| self.kernel.value(point, seen).0);
        let shared: Vec<f64> = shared.collect();
        let mean = dot(&shared, &self.weights);
        let explained = self.factor.lower(shared);
        let variance = self.kernel.scale - dot(&explained, &explained);
        (mean, variance.max(1e-12))
    }

    /// Mean and variance, and how both change with each coordinate.
    pub(super) fn slopes(&self, point: &[f64]) -> (f64, f64, Vec<f64>, Vec<f64>) {
        let values = self
            .points
            .iter()
            .map(|seen| self.kernel.value(point, seen));
        let (shared, slopes): (Vec<f64>, Vec<f64>) = values.unzip();
        let mean = dot(&shared, &self.weights);
        let explained = self.factor.lower(shared);
        let variance = (self.kernel.scale - dot(&explained, &explained)).max(1e-12);
        let solved = self.factor.upper(explained);
        let mut of_mean = vec![0.0; point.len()];
        let mut of_variance = vec![0.0; point.len()];
        for (n, seen) in self.points.iter().enumerate() {
            for k in 0..point.len() {
                let difference = 2.0 * (point[k] - seen[k]);
                let slope = slopes[n] * self.kernel.inverse_squares[k] * difference;
                of_mean[k] += slope * self.weights[n];
                of_variance[k] -= 2.0 * slope * solved[n];
            }
        }
        (mean, variance, of_mean, of_variance)
    }
}

/// The lower half of the covariance of points, with noise.
fn covariance(kernel: &Kernel, points: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let rows = points.iter().enumerate().map(|(i, a)| {
        let row = points[..i].iter().map(|b| kernel.value(a, b).0);
        row.chain([kernel.scale + kernel.noise]).collect()
    });
    rows.collect()
}

/// The negative logarithm of the likelihood times the priors, and its slope by each
/// logarithm.
fn loss(
    kernel: &Kernel,
    logarithms: &[f64],
    points: &[Vec<f64>],
    targets: &[f64],
) -> (f64, Vec<f64>) {
    let dimensions = kernel.inverse_squares.len();
    let Some(factor) = Cholesky::new(covariance(kernel, points)) else {
        return (f64::INFINITY, vec![0.0; logarithms.len()]);
    };
    let weights = factor.solve(targets.to_vec());
    let mut loss = factor.half_ln_determinant() + 0.5 * dot(targets, &weights);
    let inverse = factor.inverse();
    let mut slopes = vec![0.0; logarithms.len()];
    for (i, a) in points.iter().enumerate() {
        for (j, b) in points[..=i].iter().enumerate() {
            // Of a pair both halves of the matrix count.
            let twice = if i == j { 0.5 } else { 1.0 };
            let pull = twice * (inverse[i][j] - weights[i] * weights[j]);
            let (value, slope) = kernel.value(a, b);
            for (k, inverse_square) in kernel.inverse_squares.iter().enumerate() {
                slopes[k] += pull * slope * inverse_square * kernel.square(k, a, b);
            }
            slopes[dimensions] += pull * value;
            if i == j {
                slopes[dimensions + 1] += pull * libm::exp(logarithms[dimensions + 1]);
            }
        }
    }
    // The priors of Optuna 5: lengths around one, a gamma distribution of the scale and
    // one of the noise that keeps it small.
    for (k, inverse) in kernel.inverse_squares.iter().enumerate() {
        loss += 0.1 / inverse + 0.1 * inverse;
        slopes[k] += -0.1 / inverse + 0.1 * inverse;
    }
    loss -= libm::log(kernel.scale) - kernel.scale;
    slopes[dimensions] -= 1.0 - kernel.scale;
    loss -= 0.1 * libm::log(kernel.noise) - 30.0 * kernel.noise;
    slopes[dimensions + 1] -=
        (0.1 / kernel.noise - 30.0) * libm::exp(logarithms[dimensions + 1]);
    (loss, slopes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::space::tests::{choice, float};

    pub(crate) fn some() -> (Space, Vec<Vec<f64>>, Vec<f64>) {
        let space = Space::new(&[
            float("x", 0.0, 1.0),
            float("y", 0.0, 1.0),
            choice("c", vec![vec![]; 3]),
        ]);
        let unit = |n: usize, axis: u32| crate::draw::sobol(n as u32, axis, 7);
        let points: Vec<Vec<f64>> = (0..24)
            .map(|n| vec![unit(n, 0), unit(n, 1), (n % 3) as f64])
            .collect();
        let value = |p: &Vec<f64>| libm::sin(6.0 * p[0]) + 0.3 * p[1] + 0.5 * p[2] - 0.5;
        let targets = points.iter().map(value).collect();
        (space.unwrap(), points, targets)
    }

    #[test]
    fn slopes_of_the_loss_are_those_of_its_differences() {
        let (space, points, targets) = some();
        let at = [0.3, -0.4, 0.1, 0.2, -3.0];
        let of = |logarithms: &[f64]| {
            loss(
                &Kernel::new(&space, logarithms),
                logarithms,
                &points,
                &targets,
            )
        };
        let (_, slopes) = of(&at);
        for k in 0..at.len() {
            let (mut above, mut below) = (at, at);
            above[k] += 1e-5;
            below[k] -= 1e-5;
            let slope = (of(&above).0 - of(&below).0) / 2e-5;
            assert!(
                (slope - slopes[k]).abs() < 1e-4 * (1.0 + slope.abs()),
                "{k}"
            );
        }
    }

    #[test]
    fn a_model_goes_through_what_it_saw_and_doubts_the_rest() {
        let (space, points, targets) = some();
        let (model, _) = Model::fit(&space, points.clone(), targets.clone(), None);
        for (point, target) in points.iter().zip(&targets) {
            let (mean, variance) = model.expects(point);
            assert!((mean - target).abs() < 0.1, "{mean} is not {target}");
            assert!(variance < 0.1);
        }
        let (mean, _) = model.expects(&[0.5, 0.5, 1.0]);
        assert!((mean - (libm::sin(3.0) + 0.15)).abs() < 0.15, "{mean}");
    }

    #[test]
    fn slopes_of_mean_and_variance_are_those_of_their_differences() {
        let (space, points, targets) = some();
        let (model, _) = Model::fit(&space, points, targets, None);
        let at = vec![0.31, 0.72, 1.0];
        let (_, _, of_mean, of_variance) = model.slopes(&at);
        for k in 0..2 {
            let (mut above, mut below) = (at.clone(), at.clone());
            above[k] += 1e-5;
            below[k] -= 1e-5;
            let (above, below) = (model.expects(&above), model.expects(&below));
            assert!(((above.0 - below.0) / 2e-5 - of_mean[k]).abs() < 1e-4);
            assert!(((above.1 - below.1) / 2e-5 - of_variance[k]).abs() < 1e-4);
        }
    }

    #[test]
    fn a_model_is_surer_where_it_believes() {
        let (space, points, targets) = some();
        let (model, _) = Model::fit(&space, points, targets, None);
        let point = vec![0.05, 0.95, 0.0];
        let before = model.expects(&point);
        let after = model.believing(vec![point.clone()]).expects(&point);
        assert!(after.1 < before.1 && (after.0 - before.0).abs() < 1e-6);
    }
}
