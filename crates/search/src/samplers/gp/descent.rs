//! Minimization of smooth functions by L-BFGS (Nocedal 2006, algorithm 7.5), within a box
//! by projection.

use super::matrix::dot;

/// Pairs of steps and changes of slope that stand for the second derivatives.
const MEMORY: usize = 10;

/// A function's value at a point, and its slope.
pub(super) type Smooth<'a> = dyn Fn(&[f64]) -> (f64, Vec<f64>) + 'a;

/// The point and value where the slope is at most `tolerance`, or where `steps` lead.
///
/// Coordinates stay within `bounds`, if they are given.
pub(super) fn minimize(
    function: &Smooth<'_>,
    mut x: Vec<f64>,
    bounds: Option<(f64, f64)>,
    tolerance: f64,
    steps: usize,
) -> (Vec<f64>, f64) {
    let (mut value, mut slope) = function(&x);
    let mut memory: Vec<(Vec<f64>, Vec<f64>)> = vec![];
    for _ in 0..steps {
        let free = free(&x, &slope, bounds);
        let largest = slope.iter().zip(&free).filter(|(_, free)| **free);
        if largest.fold(0.0, |most: f64, (slope, _)| most.max(slope.abs())) <= tolerance {
            break;
        }
        let mut direction = direction(&slope, &free, &memory);
        if dot(&direction, &slope) >= 0.0 {
            memory.clear();
            direction = self::direction(&slope, &free, &memory);
        }
        // Without a memory the first step is as long as the slope, which may be anything.
        let mut length = match memory.is_empty() {
            true => 1.0 / dot(&slope, &slope).sqrt().max(1.0),
            false => 1.0,
        };
        let mut found = None;
        for _ in 0..30 {
            let step = x.iter().zip(&direction).map(|(x, d)| {
                let to = x + length * d;
                bounds.map_or(to, |(low, high)| to.clamp(low, high))
            });
            let to: Vec<f64> = step.collect();
            let way: Vec<f64> = to.iter().zip(&x).map(|(to, x)| to - x).collect();
            let (reached, slope_there) = function(&to);
            if reached.is_finite() && reached <= value + 1e-4 * dot(&way, &slope) {
                found = Some((to, way, reached, slope_there));
                break;
            }
            length *= 0.5;
        }
        let Some((to, way, reached, slope_there)) = found else {
            break;
        };
        let change: Vec<f64> = slope_there
            .iter()
            .zip(&slope)
            .map(|(there, here)| there - here)
            .collect();
        if dot(&way, &change) > 1e-10 * dot(&change, &change) {
            if memory.len() == MEMORY {
                memory.remove(0);
            }
            memory.push((way, change));
        }
        let gain = value - reached;
        (x, value, slope) = (to, reached, slope_there);
        if gain <= 1e-9 * value.abs().max(1.0) {
            break;
        }
    }
    (x, value)
}

/// Which coordinates may go down: those that do not press against a bound.
fn free(x: &[f64], slope: &[f64], bounds: Option<(f64, f64)>) -> Vec<bool> {
    let Some((low, high)) = bounds else {
        return vec![true; x.len()];
    };
    let pressed = |(x, slope): (&f64, &f64)| {
        (*x <= low && *slope > 0.0) || (*x >= high && *slope < 0.0)
    };
    x.iter().zip(slope).map(|pair| !pressed(pair)).collect()
}

/// Where the memory of earlier steps says that the minimum lies.
fn direction(slope: &[f64], free: &[bool], memory: &[(Vec<f64>, Vec<f64>)]) -> Vec<f64> {
    let masked = |values: &mut [f64]| {
        for (value, free) in values.iter_mut().zip(free) {
            if !free {
                *value = 0.0;
            }
        }
    };
    let mut q = slope.to_vec();
    masked(&mut q);
    let mut shares = vec![];
    for (step, change) in memory.iter().rev() {
        let share = dot(step, &q) / dot(step, change);
        for (q, change) in q.iter_mut().zip(change) {
            *q -= share * change;
        }
        shares.push(share);
    }
    if let Some((step, change)) = memory.last() {
        let scale = dot(step, change) / dot(change, change);
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((step, change), share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(change, &q) / dot(step, change);
        for (q, step) in q.iter_mut().zip(step) {
            *q += (share - back) * step;
        }
    }
    masked(&mut q);
    q.iter().map(|q| -q).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        let slope = vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b];
        (a * a + 100.0 * b * b, slope)
    }

    #[test]
    fn the_minimum_of_a_curved_valley_is_found() {
        let (x, value) = minimize(&rosenbrock, vec![-1.2, 1.0], None, 1e-6, 200);
        assert!((x[0] - 1.0).abs() < 1e-4 && value < 1e-8, "{x:?}");
    }

    #[test]
    fn a_box_holds_the_minimum_back() {
        let bounds = Some((0.0, 0.5));
        let (x, _) = minimize(&rosenbrock, vec![0.1, 0.4], bounds, 1e-6, 200);
        assert!(
            (x[0] - 0.5).abs() < 1e-6 && (x[1] - 0.25).abs() < 1e-4,
            "{x:?}"
        );
    }
}
