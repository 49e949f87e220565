//! Which hyperparameters decide: PED-ANOVA (Watanabe 2023).

use crate::normal::fast_exp;
use crate::observation::{Observation, State};
use crate::{Dimension, Space, Value};

/// The share of trials that count as good.
const GOOD: f64 = 0.1;

/// The parts of an axis whose densities are compared.
const PARTS: usize = 50;

/// The least deviation of a kernel, as a share of the axis.
const LEAST: f64 = 0.02;

/// How much of the difference between good trials and all of them each dimension makes,
/// as shares that add up to 1; all 0 if nothing differs.
///
/// The measure is Pearson's divergence between the density of the best tenth of the trials
/// and that of all, in one dimension at a time. Of a dimension below a choice only the
/// trials count that have it, by their share. Trials without a value are left out, and so
/// are those that were stopped if `whole` trials are enough.
pub fn importance(space: &Space, seen: &[Observation]) -> Vec<f64> {
    let ended = seen.iter().filter_map(|seen| match &seen.state {
        State::Complete(values) => Some((&seen.point, *values.first()?)),
        _ => None,
    });
    let mut ended: Vec<_> = ended.filter(|(_, value)| value.is_finite()).collect();
    ended.sort_by(|a, b| a.1.total_cmp(&b.1));
    let parts = |index: usize, dimension: &Dimension| {
        let values = ended.iter().map(|(point, _)| point[index]);
        let values: Vec<Value> = values.flatten().collect();
        // At least two, so that one lucky trial does not stand for all good ones.
        let good = (libm::ceil(GOOD * values.len() as f64) as usize).max(2);
        if values.len() <= good {
            return 0.0;
        }
        let (all, best) = (
            density(dimension, &values),
            density(dimension, &values[..good]),
        );
        let terms = all.iter().zip(&best);
        let divergence: f64 = terms
            .map(|(all, best)| (best / all - 1.0) * (best / all - 1.0) * all)
            .sum();
        divergence * values.len() as f64 / ended.len() as f64
    };
    let dimensions = space.dimensions().iter().enumerate();
    let found: Vec<f64> = dimensions
        .map(|(n, dimension)| parts(n, dimension))
        .collect();
    let sum: f64 = found.iter().sum();
    match sum > 0.0 {
        true => found.iter().map(|part| part / sum).collect(),
        false => found,
    }
}

/// The shares of parts of an axis, or of choices.
fn density(dimension: &Dimension, values: &[Value]) -> Vec<f64> {
    let count = values.len() as f64;
    let mut shares: Vec<f64> = match dimension.choices() {
        Some(choices) => {
            // A value that no good trial had may still be good: as if each was seen once.
            let mut shares = vec![1.0 / choices as f64; choices];
            for value in values {
                if let Value::Choice(choice) = value {
                    shares[*choice] += 1.0;
                }
            }
            shares
        }
        None => {
            let units: Vec<f64> = values.iter().map(|v| dimension.unit(*v)).collect();
            let mean = units.iter().sum::<f64>() / count;
            let squares: f64 = units.iter().map(|u| (u - mean) * (u - mean)).sum();
            // Scott's rule.
            let deviation = libm::sqrt(squares / (count - 1.0).max(1.0));
            let width = 1.06 * deviation * libm::pow(count, -0.2);
            let width = width.max(LEAST);
            let middle = |part: usize| (part as f64 + 0.5) / PARTS as f64;
            let bell = |at: f64, unit: f64| {
                let z = (at - unit) / width;
                fast_exp(-0.5 * z * z)
            };
            let parts = (0..PARTS).map(|part| {
                let at = middle(part);
                units.iter().map(|unit| bell(at, *unit)).sum::<f64>() + 1e-3
            });
            parts.collect()
        }
    };
    let sum: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::{choice, float};

    #[test]
    fn what_decides_is_important_and_what_does_not_is_not() {
        let space = Space::new(&[
            float("much", 0.0, 1.0),
            float("little", 0.0, 1.0),
            float("nothing", 0.0, 1.0),
            choice("kind", vec![vec![], vec![float("below", 0.0, 1.0)]]),
        ])
        .unwrap();
        let seen = (0..400).map(|trial| {
            let point = space.draw(1, trial);
            let number = |n: usize| match point[n] {
                Some(Value::Float(x)) => x,
                Some(Value::Choice(n)) => n as f64,
                _ => 0.0,
            };
            let value = 10.0 * (number(0) - 0.3).abs() + number(1) + 2.0 * number(3);
            Observation {
                state: State::Complete(vec![value]),
                point,
            }
        });
        let shares = importance(&space, &seen.collect::<Vec<_>>());
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(shares[0] > 0.5, "{shares:?}");
        assert!(shares[1] > shares[2], "{shares:?}");
        assert!(shares[3] > shares[2], "{shares:?}");
    }

    #[test]
    fn nothing_is_important_without_trials() {
        let space = Space::new(&[float("x", 0.0, 1.0)]).unwrap();
        assert_eq!(importance(&space, &[]), [0.0]);
    }
}
