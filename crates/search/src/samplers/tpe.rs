//! The tree-structured Parzen estimator.
//!
//! Bergstra 2011 for the method, Bergstra 2013 for the weights of old trials, Falkner 2018
//! for one joint density instead of one a hyperparameter, Ozaki 2022 for several
//! objectives. Numbers that the papers leave open are those of Optuna 5.

mod parzen;

use super::{Sampler, number};
use crate::observation::{Observation, State, order};
use crate::pareto;
use crate::{Draw, Point, Space};
use parzen::Parzen;

/// Trials that must have ended before densities are worth anything.
const STARTUP: usize = 10;

/// Candidates that are drawn from the density of the good trials.
const CANDIDATES: usize = 24;

/// Of one objective, the most trials that count as good.
const MOST_GOOD: usize = 25;

/// The most trials that make the density of the others: a proposal then costs the same
/// after a hundred thousand trials as after five hundred.
const MOST_KERNELS: usize = 500;

pub(super) struct Tpe {
    pub(super) seed: i64,
}

impl Sampler for Tpe {
    fn suggest(
        &mut self,
        space: &Space,
        seen: &[Observation],
        trial: u64,
    ) -> Option<Point> {
        let ended = seen.iter().filter(|seen| seen.has_ended()).count();
        if ended < STARTUP {
            return Some(space.draw(self.seed, number(trial)));
        }
        let (good, others) = split(seen);
        let draw = Draw {
            seed: self.seed,
            trial: number(trial),
            name: "tpe",
        };
        let mut random = draw.stream();
        let mut point: Point = vec![None; space.dimensions().len()];
        for group in space.groups() {
            if !group.iter().all(|n| space.is_active(*n, &point)) {
                continue;
            }
            let of_group = |trials: &[usize]| -> Vec<usize> {
                let has = |n: &usize| group.iter().all(|d| seen[*n].point[*d].is_some());
                trials.iter().copied().filter(has).collect()
            };
            let kernels =
                |trials: &[(usize, f64)]| Parzen::new(space, group, seen, trials);
            let better = kernels(&weighted(&of_group(&good), objectives(seen) > 1));
            let worse = kernels(&weighted(&of_group(&others), false));
            let mut best: Option<(f64, Vec<_>)> = None;
            for _ in 0..CANDIDATES {
                let candidate = better.draw(space, &mut random);
                let score = better.ln_density(space, &candidate)
                    - worse.ln_density(space, &candidate);
                if best.as_ref().is_none_or(|(most, _)| score > *most) {
                    best = Some((score, candidate));
                }
            }
            let (_, values) = best?;
            for (dimension, value) in group.iter().zip(values) {
                point[*dimension] = Some(value);
            }
        }
        Some(point)
    }
}

/// How many objectives the trials have.
fn objectives(seen: &[Observation]) -> usize {
    let values = seen.iter().find_map(|seen| match &seen.state {
        State::Complete(values) => Some(values.len()),
        _ => None,
    });
    values.unwrap_or(1)
}

/// Divides trials into good ones and others, each in the order of their numbers.
///
/// What still runs is among the others, so that parallel trials keep apart from it (the
/// constant liar), and so is what failed.
fn split(seen: &[Observation]) -> (Vec<usize>, Vec<usize>) {
    let ended = seen.iter().filter(|seen| seen.has_ended()).count();
    let share = ended.div_ceil(10);
    let mut is_good = vec![false; seen.len()];
    let good = match objectives(seen) {
        0 | 1 => best_of_one(seen, share.min(MOST_GOOD)),
        _ => best_of_several(seen, share),
    };
    for n in good {
        is_good[n] = true;
    }
    (0..seen.len()).partition(|n| is_good[*n])
}

fn best_of_one(seen: &[Observation], count: usize) -> Vec<usize> {
    let has_value =
        |n: &usize| matches!(seen[*n].state, State::Complete(_) | State::Partial { .. });
    let mut ranked: Vec<usize> = (0..seen.len()).filter(has_value).collect();
    let count = count.min(ranked.len());
    let better =
        |a: &usize, b: &usize| order(&seen[*a].state, &seen[*b].state).then(a.cmp(b));
    if count < ranked.len() && count > 0 {
        ranked.select_nth_unstable_by(count - 1, better);
    }
    ranked.truncate(count);
    ranked
}

/// Whole fronts as long as they fit, and of the next one those that spread out.
fn best_of_several(seen: &[Observation], count: usize) -> Vec<usize> {
    let complete = seen
        .iter()
        .enumerate()
        .filter_map(|(n, seen)| match &seen.state {
            State::Complete(values) => Some((n, values.clone())),
            _ => None,
        });
    let (numbers, values): (Vec<usize>, Vec<Vec<f64>>) = complete.unzip();
    let ranks = pareto::ranks(&values);
    let mut good = vec![];
    for rank in 0.. {
        let front: Vec<usize> = (0..ranks.len()).filter(|n| ranks[*n] == rank).collect();
        if front.is_empty() || good.len() >= count {
            break;
        }
        let room = count - good.len();
        if front.len() <= room {
            good.extend(front.iter().map(|n| numbers[*n]));
            continue;
        }
        let points: Vec<_> = front.iter().map(|n| values[*n].clone()).collect();
        let chosen = pareto::spread(&points, room);
        good.extend(chosen.into_iter().map(|n| numbers[front[n]]));
    }
    good
}

/// The weight of each trial: the last 25 count fully, those before less the older they are.
///
/// Of more trials than [`MOST_KERNELS`] evenly chosen older ones stand for their
/// neighbours too.
fn weighted(trials: &[usize], evenly: bool) -> Vec<(usize, f64)> {
    let count = trials.len();
    if evenly || count < MOST_GOOD {
        return trials.iter().map(|n| (*n, 1.0)).collect();
    }
    let old = count - MOST_GOOD;
    let weight = |n: usize| match n < old {
        true if old == 1 => 1.0 / count as f64,
        true => {
            let first = 1.0 / count as f64;
            first + (1.0 - first) * n as f64 / (old - 1) as f64
        }
        false => 1.0,
    };
    if count <= MOST_KERNELS {
        let all = trials.iter().enumerate();
        return all.map(|(n, trial)| (*trial, weight(n))).collect();
    }
    let kept = MOST_KERNELS - MOST_GOOD;
    let stands_for = old as f64 / kept as f64;
    let chosen = (0..kept).map(|k| {
        let n = ((k as f64 + 0.5) * stands_for) as usize;
        (trials[n], weight(n) * stands_for)
    });
    let new = trials[old..].iter().map(|trial| (*trial, 1.0));
    chosen.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::float;
    use crate::{Space, Value};

    fn complete(values: &[f64]) -> Observation {
        Observation {
            point: vec![Some(Value::Float(values[0]))],
            state: State::Complete(values.to_vec()),
        }
    }

    #[test]
    fn the_best_tenth_is_good_and_what_runs_is_not() {
        let mut seen: Vec<_> = (0..30).map(|n| complete(&[f64::from(n)])).collect();
        seen.push(Observation {
            point: vec![Some(Value::Float(0.0))],
            state: State::Running,
        });
        seen.push(Observation {
            point: vec![Some(Value::Float(0.0))],
            state: State::Failed,
        });
        let (good, others) = split(&seen);
        assert_eq!(good, [0, 1, 2, 3]);
        assert_eq!(others.len(), 28);
    }

    #[test]
    fn of_a_front_that_does_not_fit_those_are_good_that_spread_out() {
        let mut seen: Vec<_> = (0..20)
            .map(|n| complete(&[f64::from(n), f64::from((19 - n) * (19 - n))]))
            .collect();
        seen.extend((0..20).map(|n| complete(&[f64::from(n) + 30.0, 500.0])));
        let (good, _) = split(&seen);
        assert_eq!(good.len(), 4);
        assert!(good.iter().all(|n| *n < 20), "{good:?}");
        assert!(good[3] - good[0] > 8, "{good:?}");
    }

    // optuna.samplers._tpe.sampler.default_weights(30), 5.0.0
    #[test]
    fn old_trials_count_less() {
        let weights = weighted(&(0..30).collect::<Vec<_>>(), false);
        let expected = [0.033_333_333, 0.275, 0.516_666_667, 0.758_333_333, 1.0, 1.0];
        for ((_, weight), expected) in weights.iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-8, "{weights:?}");
        }
        assert_eq!(weights.len(), 30);
        assert_eq!(weighted(&[1, 2], false), [(1, 1.0), (2, 1.0)]);
    }

    #[test]
    fn kernels_stop_growing_and_keep_their_weight() {
        let all = weighted(&(0..10_000).collect::<Vec<_>>(), false);
        assert_eq!(all.len(), MOST_KERNELS);
        let sum: f64 = all.iter().map(|(_, weight)| weight).sum();
        // 9,975 old ones at one half each, and 25.
        assert!((sum / 5_012.5 - 1.0).abs() < 0.01, "{sum}");
    }

    #[test]
    fn proposals_gather_where_values_are_small() {
        let space = Space::new(&[float("x", -5.0, 5.0)]).unwrap();
        let mut tpe = Tpe { seed: 3 };
        let mut seen: Vec<Observation> = vec![];
        for trial in 0..60 {
            let point = tpe.suggest(&space, &seen, trial).unwrap();
            let Some(Value::Float(x)) = point[0] else {
                panic!("{point:?}")
            };
            let state = State::Complete(vec![(x - 2.0) * (x - 2.0)]);
            seen.push(Observation { point, state });
        }
        let near = seen[30..].iter().filter(|seen| match seen.point[0] {
            Some(Value::Float(x)) => (x - 2.0).abs() < 1.0,
            _ => false,
        });
        // Chance would put 6 of 30 there.
        assert!(near.count() > 12);
    }
}
