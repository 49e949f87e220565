//! What a sampler may know of the trials before.

use std::cmp::Ordering;

use crate::Point;

/// How far a trial is, and what it came to.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// It has no result yet.
    Running,
    /// It ended with a value for each objective; smaller is better.
    Complete(Vec<f64>),
    /// It was stopped, or waits, after a rung of a pruner.
    Partial {
        /// The rung, from 0.
        rung: usize,
        /// Its objective there.
        value: f64,
    },
    /// It has no value: it diverged, or its hyperparameters do not go together.
    Failed,
}

/// A trial as a sampler sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Its hyperparameters.
    pub point: Point,
    /// What is known of it.
    pub state: State,
}

impl Observation {
    /// Whether it has ended or has at least a rung behind it.
    pub(crate) fn has_ended(&self) -> bool {
        self.state != State::Running
    }
}

/// The better one first: those that ended, by their first objective; those with the most
/// rungs, by their value there; then those without a value.
pub(crate) fn order(a: &State, b: &State) -> Ordering {
    let key = |state: &State| match state {
        State::Complete(values) => {
            (0, 0, values.first().copied().unwrap_or(f64::INFINITY))
        }
        State::Partial { rung, value } => (1, usize::MAX - rung, *value),
        State::Failed => (2, 0, 0.0),
        State::Running => (3, 0, 0.0),
    };
    let (a, b) = (key(a), key(b));
    (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))
}

/// The value of each observation that a model of one fidelity can use: of the highest rung
/// that enough trials have reached, or of the whole trials.
///
/// As in BOHB (Falkner 2018), because values of different rungs are no measurements of the
/// same thing.
pub(crate) fn at_one_rung(seen: &[Observation], enough: usize) -> Vec<(usize, f64)> {
    let at = |wanted: Option<usize>| -> Vec<(usize, f64)> {
        let values = seen.iter().enumerate();
        let values = values.filter_map(|(n, seen)| match (&seen.state, wanted) {
            (State::Complete(values), None) => Some((n, *values.first()?)),
            (State::Partial { rung, value }, Some(wanted)) if *rung == wanted => {
                Some((n, *value))
            }
            _ => None,
        });
        values.collect()
    };
    let complete = at(None);
    let rungs = seen.iter().filter_map(|seen| match seen.state {
        State::Partial { rung, .. } => Some(rung),
        _ => None,
    });
    let Some(highest) = rungs.max() else {
        return complete;
    };
    if complete.len() >= enough {
        return complete;
    }
    let found = (0..=highest).rev().map(|rung| at(Some(rung)));
    let mut found: Vec<_> = found.collect();
    found.push(complete);
    match found.iter().position(|values| values.len() >= enough) {
        Some(first) => found.swap_remove(first),
        None => found
            .into_iter()
            .max_by_key(|values| values.len())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: State) -> Observation {
        Observation {
            point: vec![],
            state,
        }
    }

    #[test]
    fn the_highest_rung_with_enough_trials_counts() {
        let partial = |rung, value| seen(State::Partial { rung, value });
        let all = [
            partial(0, 1.0),
            partial(0, 2.0),
            partial(0, 3.0),
            partial(1, 4.0),
            partial(1, 5.0),
            seen(State::Complete(vec![6.0])),
            seen(State::Failed),
        ];
        assert_eq!(at_one_rung(&all, 1), [(5, 6.0)]);
        assert_eq!(at_one_rung(&all, 2), [(3, 4.0), (4, 5.0)]);
        assert_eq!(at_one_rung(&all, 3).len(), 3);
        assert_eq!(at_one_rung(&all, 9).len(), 3);
    }

    #[test]
    fn whole_trials_come_before_stopped_ones() {
        let mut states = [
            State::Failed,
            State::Partial {
                rung: 0,
                value: 0.1,
            },
            State::Complete(vec![0.9]),
            State::Partial {
                rung: 1,
                value: 0.5,
            },
        ];
        states.sort_by(order);
        assert_eq!(states[0], State::Complete(vec![0.9]));
        assert!(matches!(states[1], State::Partial { rung: 1, .. }));
        assert_eq!(states[3], State::Failed);
    }
}
