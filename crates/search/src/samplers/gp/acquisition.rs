//! The point that improves most, as far as a model can tell.

use super::descent::minimize;
use super::model::Model;
use crate::Space;
use crate::draw::{Stream, sobol};
use crate::normal::{self, LN_SQRT_TAU};

/// Points that are looked at before any search.
const PRELIMINARY: u32 = 2048;

/// Searches, each from a point of its own.
const SEARCHES: usize = 10;

/// Up to so many values of a coordinate are all tried.
const ALL_TRIED: u128 = 16;

/// The logarithm of expected improvement over the best value so far.
pub(super) struct Acquisition<'a> {
    space: &'a Space,
    model: &'a Model,
    best: f64,
}

/// What the coordinates of a dimension are.
enum Coordinate {
    /// Any number from 0 to 1.
    Continuous,
    /// One of these.
    Discrete(Vec<f64>),
    /// Shares of the axis near to values, too many to try all.
    Stepped(f64),
}

impl<'a> Acquisition<'a> {
    pub(super) fn new(space: &'a Space, model: &'a Model) -> Self {
        let targets = model.targets.iter().copied();
        Self {
            space,
            model,
            best: targets.fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// The best point that is found.
    pub(super) fn best(&self, random: &mut Stream) -> Vec<f64> {
        let scrambling = random.bits();
        let points = (0..PRELIMINARY).map(|n| {
            let point = self.snapped(n, scrambling);
            let value = self.value(&point);
            (point, value)
        });
        let mut points: Vec<(Vec<f64>, f64)> = points.collect();
        let mut starts = vec![];
        if let Some(seen) = self.best_seen() {
            starts.push((seen.clone(), self.value(&seen)));
        }
        // The best one, and others by chance: the better, the likelier.
        let most = |points: &[(Vec<f64>, f64)]| {
            let values = points.iter().enumerate();
            let best = values.max_by(|(n, a), (m, b)| a.1.total_cmp(&b.1).then(m.cmp(n)));
            best.map_or(0, |(n, _)| n)
        };
        starts.push(points.swap_remove(most(&points)));
        let top = starts
            .iter()
            .map(|(_, value)| *value)
            .fold(f64::MIN, f64::max);
        while starts.len() < SEARCHES {
            let weights = points
                .iter()
                .map(|(_, v)| normal::fast_exp((v - top).min(0.0)));
            let weights: Vec<f64> = weights.collect();
            let mut left = random.unit() * weights.iter().sum::<f64>();
            let chosen = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            starts.push(points.swap_remove(chosen.unwrap_or_default()));
        }
        let coordinates: Vec<Coordinate> = self.coordinates();
        let mut best: Option<(Vec<f64>, f64)> = None;
        for (start, value) in starts {
            let found = self.climb(start, value, &coordinates);
            if best.as_ref().is_none_or(|(_, most)| found.1 > *most) {
                best = Some(found);
            }
        }
        best.map(|(point, _)| point).unwrap_or_default()
    }

    fn best_seen(&self) -> Option<Vec<f64>> {
        let seen = self.model.targets.iter().zip(&self.model.points);
        let best = seen.max_by(|a, b| a.0.total_cmp(b.0))?;
        // What the point did not have is given a value, so that it can be searched.
        let dimensions = self.space.dimensions().iter().zip(best.1);
        let whole = dimensions.map(|(dimension, at)| match dimension.choices() {
            Some(_) => at.max(0.0),
            None => *at,
        });
        Some(whole.collect())
    }

    /// A point of the Sobol sequence, on values that there are.
    fn snapped(&self, n: u32, scrambling: u32) -> Vec<f64> {
        let dimensions = self.space.dimensions().iter().enumerate();
        let coordinates = dimensions.map(|(index, dimension)| {
            let unit = sobol(n, u32::try_from(index).unwrap_or(u32::MAX), scrambling);
            match dimension.choices() {
                Some(choices) => libm::floor(unit * choices as f64),
                None => dimension.unit(dimension.at(unit)),
            }
        });
        coordinates.collect()
    }

    fn coordinates(&self) -> Vec<Coordinate> {
        let of =
            |dimension: &crate::Dimension| match (dimension.choices(), dimension.count())
            {
                (Some(choices), _) => {
                    Coordinate::Discrete((0..choices).map(|n| n as f64).collect())
                }
                (None, Some(count @ ..=ALL_TRIED)) => {
                    let units = (0..count).map(|n| dimension.unit(dimension.nth(n)));
                    Coordinate::Discrete(units.collect())
                }
                (None, Some(count)) => Coordinate::Stepped(1.0 / count as f64),
                (None, None) => Coordinate::Continuous,
            };
        self.space.dimensions().iter().map(of).collect()
    }

    /// Climbs along slopes, and from value to value where there are none, until neither
    /// leads higher.
    fn climb(
        &self,
        mut point: Vec<f64>,
        mut value: f64,
        coordinates: &[Coordinate],
    ) -> (Vec<f64>, f64) {
        for _ in 0..20 {
            let before = value;
            (point, value) = self.along_slopes(point, value, coordinates);
            for (k, coordinate) in coordinates.iter().enumerate() {
                match coordinate {
                    Coordinate::Continuous => {}
                    Coordinate::Discrete(values) => {
                        for to in values {
                            (point, value) = self.tried(point, value, k, *to);
                        }
                    }
                    Coordinate::Stepped(least) => {
                        // Longer and shorter steps to both sides, down to one value.
                        let mut step = 0.25;
                        while step >= 0.5 * least {
                            for to in [point[k] - step, point[k] + step] {
                                let dimension = &self.space.dimensions()[k];
                                let to = dimension.unit(dimension.at(to.clamp(0.0, 1.0)));
                                (point, value) = self.tried(point, value, k, to);
                            }
                            step *= 0.5;
                        }
                    }
                }
            }
            if value <= before + 1e-4 {
                break;
            }
        }
        (point, value)
    }

    fn tried(&self, point: Vec<f64>, value: f64, k: usize, to: f64) -> (Vec<f64>, f64) {
        if point[k] == to {
            return (point, value);
        }
        let mut other = point.clone();
        other[k] = to;
        let there = self.value(&other);
        match there > value {
            true => (other, there),
            false => (point, value),
        }
    }

    fn along_slopes(
        &self,
        point: Vec<f64>,
        value: f64,
        coordinates: &[Coordinate],
    ) -> (Vec<f64>, f64) {
        let is_continuous = |k: &usize| matches!(coordinates[*k], Coordinate::Continuous);
        let continuous: Vec<usize> = (0..point.len()).filter(is_continuous).collect();
        if continuous.is_empty() {
            return (point, value);
        }
        let whole = |part: &[f64]| {
            let mut whole = point.clone();
            for (k, x) in continuous.iter().zip(part) {
                whole[*k] = *x;
            }
            whole
        };
        let down = |part: &[f64]| {
            let (value, slopes) = self.slopes(&whole(part));
            (-value, continuous.iter().map(|k| -slopes[*k]).collect())
        };
        let start = continuous.iter().map(|k| point[*k]).collect();
        let (found, reached) = minimize(&down, start, Some((0.0, 1.0)), 1e-4, 50);
        match -reached > value {
            true => (whole(&found), -reached),
            false => (point, value),
        }
    }

    fn value(&self, point: &[f64]) -> f64 {
        let (mean, variance) = self.model.expects(point);
        let deviation = libm::sqrt(variance);
        ln_improvement((mean - self.best) / deviation).0 + libm::log(deviation)
    }

    fn slopes(&self, point: &[f64]) -> (f64, Vec<f64>) {
        let (mean, variance, of_mean, of_variance) = self.model.slopes(point);
        let deviation = libm::sqrt(variance);
        let z = (mean - self.best) / deviation;
        let (value, slope) = ln_improvement(z);
        let slopes = of_mean.iter().zip(&of_variance).map(|(mean, variance)| {
            let of_deviation = variance / (2.0 * deviation);
            slope * (mean - z * of_deviation) / deviation + of_deviation / deviation
        });
        (value + libm::log(deviation), slopes.collect())
    }
}

/// The logarithm of the expected part above zero of a normal distribution with mean `z` and
/// deviation 1, and its slope.
fn ln_improvement(z: f64) -> (f64, f64) {
    if z > -25.0 {
        let expected = z * normal::below(z) + normal::density(z);
        return (libm::log(expected), normal::below(z) / expected);
    }
    // Asymptotically density(z) / z^2 * (1 - 3/z^2 + 15/z^4 - 105/z^6): the difference of
    // two numbers that are nearly equal would have no digits left.
    let inverse = 1.0 / (z * z);
    let series =
        1.0 - inverse * (3.0 - inverse * (15.0 - inverse * (105.0 - 945.0 * inverse)));
    let value = -0.5 * z * z - LN_SQRT_TAU - 2.0 * libm::log(-z) + libm::log(series);
    // The derivative of the expectation is the share above zero, density(z) / -z * (...).
    let share =
        1.0 - inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse)));
    (value, -z * share / series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draw;
    use crate::samplers::gp::model::tests::some;

    // numpy.log(z * scipy.stats.norm.cdf(z) + scipy.stats.norm.pdf(z)), and with erfcx for
    // the last one.
    #[test]
    fn improvements_are_those_of_scipy() {
        let all = [
            (1.0, 0.080_026_22),
            (0.0, -0.918_938_53),
            (-2.0, -4.768_783_52),
            (-8.0, -37.122_364),
            (-30.0, -457.724_654),
        ];
        for (z, expected) in all {
            let (value, _) = ln_improvement(z);
            assert!((value - expected).abs() < 1e-3, "{z}: {value}");
        }
    }

    #[test]
    fn slopes_of_the_improvement_are_those_of_its_differences() {
        for z in [2.0, 0.0, -3.0, -9.0, -24.99, -25.01, -40.0] {
            let slope = (ln_improvement(z + 1e-6).0 - ln_improvement(z - 1e-6).0) / 2e-6;
            let found = ln_improvement(z).1;
            assert!((found / slope - 1.0).abs() < 1e-3, "{z}: {found} {slope}");
        }
    }

    #[test]
    fn the_point_found_is_better_than_any_of_a_fine_grid() {
        let (space, points, targets) = some();
        let (model, _) = Model::fit(&space, points, targets, None);
        let acquisition = Acquisition::new(&space, &model);
        let draw = Draw {
            seed: 1,
            trial: 1,
            name: "test",
        };
        let found = acquisition.best(&mut draw.stream());
        let most = acquisition.value(&found);
        for n in 0..50 {
            for m in 0..50 {
                for c in 0..3 {
                    let point = [f64::from(n) / 49.0, f64::from(m) / 49.0, f64::from(c)];
                    assert!(acquisition.value(&point) <= most + 1e-3, "{point:?}");
                }
            }
        }
    }
}
