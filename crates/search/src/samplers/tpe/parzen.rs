//! A density made of kernels, one around each trial and a wide one for the prior.

use crate::draw::Stream;
use crate::normal::{self, LN_SQRT_TAU, between, ln_between, ln_sum_exp};
use crate::observation::Observation;
use crate::{Space, Value};

/// How much the prior counts beside a trial.
const PRIOR: f64 = 1.0;

/// Below this width of a value in standard deviations, its share of a kernel is its width
/// times the density in its middle: within 2 % of the exact share, at a tenth of the cost.
const NARROW: f64 = 0.7;

/// A mixture of products of kernels over some dimensions of a space.
pub(super) struct Parzen<'a> {
    group: &'a [usize],
    /// The logarithm of each kernel's weight, the prior's last.
    ln_weights: Vec<f64>,
    /// The sums of the weights up to each kernel.
    sums: Vec<f64>,
    /// The kernels in each dimension.
    marginals: Vec<Marginal>,
}

enum Marginal {
    Numbers(Vec<Bell>),
    /// The choice that each trial made; none for the prior.
    Choices {
        made: Vec<Option<usize>>,
        /// The logarithms of the share of the choice made, and of each other one.
        same: f64,
        other: f64,
        /// That of each choice in the prior.
        even: f64,
    },
}

/// A normal distribution, cut to the axis.
struct Bell {
    middle: f64,
    deviation: f64,
    /// The share of the whole one that is below the axis, and on it.
    below: f64,
    inside: f64,
    ln_inside: f64,
    ln_deviation: f64,
}

impl<'a> Parzen<'a> {
    pub(super) fn new(
        space: &Space,
        group: &'a [usize],
        seen: &[Observation],
        trials: &[(usize, f64)],
    ) -> Self {
        let weights = trials.iter().map(|(_, weight)| *weight).chain([PRIOR]);
        let total: f64 = weights.clone().sum();
        let ln_weights = weights.clone().map(|weight| libm::log(weight / total));
        let mut sum = 0.0;
        let sums = weights.map(|weight| {
            sum += weight / total;
            sum
        });
        let marginals = group.iter().map(|dimension| {
            let values = trials.iter().map(|(n, _)| seen[*n].point[*dimension]);
            Marginal::new(space, *dimension, values)
        });
        Self {
            group,
            ln_weights: ln_weights.collect(),
            sums: sums.collect(),
            marginals: marginals.collect(),
        }
    }

    /// A random point of the density.
    pub(super) fn draw(&self, space: &Space, random: &mut Stream) -> Vec<Value> {
        let unit = random.unit();
        let last = self.sums.len() - 1;
        let kernel = self.sums.partition_point(|sum| *sum <= unit).min(last);
        let dimensions = self.group.iter().zip(&self.marginals);
        let values = dimensions.map(|(dimension, marginal)| {
            let dimension = &space.dimensions()[*dimension];
            let unit = random.unit();
            match marginal {
                Marginal::Numbers(bells) => {
                    let bell = &bells[kernel];
                    let share = bell.below + unit * bell.inside;
                    let position = bell.middle + bell.deviation * normal::quantile(share);
                    dimension.on_axis(position)
                }
                Marginal::Choices { made, same, .. } => {
                    let choices = dimension.choices().unwrap_or(1);
                    let even = |unit: f64, choices: usize| {
                        ((unit * choices as f64) as usize).min(choices.saturating_sub(1))
                    };
                    Value::Choice(match made[kernel] {
                        None => even(unit, choices),
                        Some(made) => {
                            let same = libm::exp(*same);
                            match unit < same || choices < 2 {
                                true => made,
                                false => {
                                    let rest = (unit - same) / (1.0 - same);
                                    let other = even(rest, choices - 1);
                                    other + usize::from(other >= made)
                                }
                            }
                        }
                    })
                }
            }
        });
        values.collect()
    }

    /// The logarithm of the density at a point, or of its share where values have a
    /// distance.
    pub(super) fn ln_density(&self, space: &Space, values: &[Value]) -> f64 {
        let mut terms = self.ln_weights.clone();
        for ((dimension, marginal), value) in
            self.group.iter().zip(&self.marginals).zip(values)
        {
            match marginal {
                Marginal::Numbers(bells) => {
                    let Some(axis) = space.dimensions()[*dimension].axis() else {
                        continue;
                    };
                    match axis.part(*value) {
                        None => {
                            let position = axis.position(*value);
                            for (term, bell) in terms.iter_mut().zip(bells) {
                                *term += bell.ln_density(position);
                            }
                        }
                        Some(part) => {
                            for (term, bell) in terms.iter_mut().zip(bells) {
                                *term += bell.ln_share(part);
                            }
                        }
                    }
                }
                Marginal::Choices {
                    made,
                    same,
                    other,
                    even,
                } => {
                    for (term, made) in terms.iter_mut().zip(made) {
                        *term += match (made, value) {
                            (None, _) => *even,
                            (Some(made), Value::Choice(choice)) if made == choice => {
                                *same
                            }
                            _ => *other,
                        };
                    }
                }
            }
        }
        ln_sum_exp(&terms)
    }
}

impl Marginal {
    fn new(
        space: &Space,
        dimension: usize,
        values: impl Iterator<Item = Option<Value>>,
    ) -> Self {
        let dimension = &space.dimensions()[dimension];
        let Some(axis) = dimension.axis() else {
            let made = values.map(|value| match value {
                Some(Value::Choice(choice)) => Some(choice),
                _ => None,
            });
            let made: Vec<_> = made.chain([None]).collect();
            let choices = dimension.choices().unwrap_or(1) as f64;
            // Each choice has a share of the prior, and the one made one more.
            let share = PRIOR / made.len() as f64;
            let total = 1.0 + choices * share;
            return Self::Choices {
                same: libm::log((1.0 + share) / total),
                other: libm::log(share / total),
                even: -libm::log(choices),
                made,
            };
        };
        let middles: Vec<f64> = values.flatten().map(|v| axis.position(v)).collect();
        let deviations = deviations(&middles, axis.low, axis.high);
        let width = axis.high - axis.low;
        let bells = middles.into_iter().zip(deviations);
        let prior = (axis.low + 0.5 * width, width);
        let bells = bells.chain([prior]).map(|(middle, deviation)| {
            Bell::new(middle, deviation, (axis.low, axis.high))
        });
        Self::Numbers(bells.collect())
    }
}

/// The standard deviation of each kernel: the distance to the farther neighbour, within
/// what the number of kernels makes sense of ("magic clip").
fn deviations(middles: &[f64], low: f64, high: f64) -> Vec<f64> {
    let count = middles.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| middles[*a].total_cmp(&middles[*b]).then(a.cmp(b)));
    let most = high - low;
    let least = most / (count as f64 + 2.0).min(100.0);
    let mut deviations = vec![most; count];
    for (rank, n) in order.iter().enumerate() {
        let before = rank.checked_sub(1).map(|rank| middles[order[rank]]);
        let after = order.get(rank + 1).map(|n| middles[*n]);
        let middle = middles[*n];
        let distance = match (before, after) {
            (Some(before), Some(after)) => (middle - before).max(after - middle),
            // The outermost have one neighbour, and the end of the axis is none.
            (Some(before), None) => middle - before,
            (None, Some(after)) => after - middle,
            (None, None) => (middle - low).max(high - middle),
        };
        deviations[*n] = distance.clamp(least, most);
    }
    deviations
}

impl Bell {
    fn new(middle: f64, deviation: f64, (low, high): (f64, f64)) -> Self {
        let (low, high) = ((low - middle) / deviation, (high - middle) / deviation);
        let inside = between(low, high);
        Self {
            middle,
            deviation,
            below: normal::below(low),
            inside,
            ln_inside: libm::log(inside),
            ln_deviation: libm::log(deviation),
        }
    }

    fn ln_density(&self, position: f64) -> f64 {
        let z = (position - self.middle) / self.deviation;
        -0.5 * z * z - LN_SQRT_TAU - self.ln_deviation - self.ln_inside
    }

    fn ln_share(&self, (from, to): (f64, f64)) -> f64 {
        let width = to - from;
        if width < NARROW * self.deviation {
            // The width is that of the value in all kernels, good and bad, so that a
            // quotient of densities does not change with it; but other kernels add exact
            // shares to the same sum.
            return self.ln_density(0.5 * (from + to)) + libm::log(width);
        }
        let scaled = |x: f64| (x - self.middle) / self.deviation;
        ln_between(scaled(from), scaled(to)) - self.ln_inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::State;
    use crate::space::tests::{choice, float, int, numbers};
    use crate::{Draw, Parameter};

    /// A density around these values of one dimension.
    fn with<R>(
        parameter: Parameter,
        values: &[Value],
        check: impl FnOnce(&Space, &Parzen<'_>) -> R,
    ) -> R {
        let space = Space::new(&[parameter]).unwrap();
        let seen = values.iter().map(|value| Observation {
            point: vec![Some(*value)],
            state: State::Running,
        });
        let seen: Vec<_> = seen.collect();
        let trials: Vec<_> = (0..seen.len()).map(|n| (n, 1.0)).collect();
        check(&space, &Parzen::new(&space, &[0], &seen, &trials))
    }

    const FLOATS: [Value; 3] = [Value::Float(1.0), Value::Float(2.0), Value::Float(9.0)];
    const INTS: [Value; 3] = [Value::Int(1), Value::Int(2), Value::Int(9)];

    // _ParzenEstimator({"x": np.array([...])}, {"x": distribution}, parameters)
    // .log_pdf({"x": np.array([...])}) of Optuna 5.0.0, whose samplers use
    // prior_weight 1, consider_magic_clip and default_weights.
    #[test]
    fn densities_are_those_of_optuna() {
        let check = |parameter, values: &[Value], expected: &[(Value, f64)]| {
            with(parameter, values, |space, parzen| {
                for (value, expected) in expected {
                    let density = parzen.ln_density(space, &[*value]);
                    assert!((density - expected).abs() < 0.01, "{value}: {density}");
                }
            });
        };
        let float_at = |pairs: &[(f64, f64)]| -> Vec<(Value, f64)> {
            pairs.iter().map(|(x, y)| (Value::Float(*x), *y)).collect()
        };
        let linear = [
            (0.5, -1.987_815_06),
            (2.0, -1.989_558_97),
            (6.0, -2.496_183_8),
            (9.5, -2.643_316_23),
        ];
        check(float("x", 0.0, 10.0), &FLOATS, &float_at(&linear));
        let log = [
            (0.2, -2.237_136_87),
            (2.0, -1.222_909_15),
            (6.0, -1.381_264_7),
        ];
        let rate = numbers("x", 0.1, 10.0, true, None);
        check(rate, &FLOATS, &float_at(&log));
        let whole = [
            (Value::Int(0), -2.173_411_53),
            (Value::Int(2), -2.110_664_54),
            (Value::Int(6), -2.559_529_89),
            (Value::Int(10), -2.752_629_15),
        ];
        check(int("x", 0, 10, false, 1), &INTS, &whole);
        let chosen = [
            (Value::Choice(0), -1.658_228_08),
            (Value::Choice(1), -0.741_937_34),
            (Value::Choice(2), -1.098_612_29),
        ];
        let made = [Value::Choice(1), Value::Choice(1), Value::Choice(2)];
        check(choice("x", vec![vec![]; 3]), &made, &chosen);
    }

    #[test]
    fn a_density_sums_to_one() {
        with(float("x", 0.0, 10.0), &FLOATS, |space, parzen| {
            let at = |n: i32| [Value::Float(f64::from(n) / 100.0 + 0.005)];
            let sum: f64 = (0..1_000)
                .map(|n| libm::exp(parzen.ln_density(space, &at(n))))
                .sum();
            assert!((sum / 100.0 - 1.0).abs() < 1e-4, "{sum}");
        });
        with(int("x", 0, 100, false, 1), &INTS, |space, parzen| {
            let share = |n| libm::exp(parzen.ln_density(space, &[Value::Int(n)]));
            let sum: f64 = (0..=100).map(share).sum();
            assert!((sum - 1.0).abs() < 0.02, "{sum}");
        });
        let three = choice("x", vec![vec![]; 3]);
        with(three, &[Value::Choice(1); 4], |space, parzen| {
            let share = |n| libm::exp(parzen.ln_density(space, &[Value::Choice(n)]));
            assert!((share(0) + share(1) + share(2) - 1.0).abs() < 1e-12);
            assert!(share(1) > 0.6 && share(0) == share(2));
        });
    }

    #[test]
    fn draws_follow_the_density() {
        let draw = Draw {
            seed: 1,
            trial: 1,
            name: "test",
        };
        let mut random = draw.stream();
        with(float("x", 0.0, 10.0), &FLOATS, |space, parzen| {
            let mut seen = [0.0; 5];
            for _ in 0..10_000 {
                let Value::Float(x) = parzen.draw(space, &mut random)[0] else {
                    panic!("no number")
                };
                seen[((x / 2.0) as usize).min(4)] += 1e-4;
            }
            for (n, share) in seen.iter().enumerate() {
                let at = |k: usize| [Value::Float(2.0 * n as f64 + k as f64 / 100.0)];
                let sum: f64 = (0..200)
                    .map(|k| libm::exp(parzen.ln_density(space, &at(k))))
                    .sum();
                assert!((share - sum / 100.0).abs() < 0.025, "{n}: {share}");
            }
        });
        let three = choice("x", vec![vec![]; 3]);
        with(three, &[Value::Choice(1); 4], |space, parzen| {
            let drawn = (0..5_000).map(|_| parzen.draw(space, &mut random)[0]);
            let same = drawn.filter(|value| *value == Value::Choice(1)).count();
            let expected = libm::exp(parzen.ln_density(space, &[Value::Choice(1)]));
            assert!((same as f64 / 5_000.0 - expected).abs() < 0.03);
        });
    }

    #[test]
    fn many_kernels_on_a_log_axis_stay_on_it() {
        let values: Vec<_> = (0..200)
            .map(|n| Value::Float(1e-4 * 1.03f64.powi(n)))
            .collect();
        let rate = numbers("rate", 1e-4, 1.0, true, None);
        let draw = Draw {
            seed: 1,
            trial: 2,
            name: "test",
        };
        let mut random = draw.stream();
        with(rate, &values, |space, parzen| {
            for _ in 0..1_000 {
                let value = parzen.draw(space, &mut random)[0];
                assert!(space.dimensions()[0].contains(value), "{value}");
                assert!(parzen.ln_density(space, &[value]).is_finite());
            }
        });
    }
}
