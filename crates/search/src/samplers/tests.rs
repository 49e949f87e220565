//! What every sampler must do.

use super::*;
use crate::Value;
use crate::observation::State;
use crate::space::tests::{float, int, mixed};

/// The trials of a sampler that sees all results before each.
fn trials(
    kind: SamplerKind,
    space: &Space,
    count: u64,
    value: impl Fn(&Point) -> State,
) -> Vec<Observation> {
    let mut sampler = kind.build(space, 1, 7).unwrap();
    let mut seen = vec![];
    for trial in 0..count {
        let Some(point) = sampler.suggest(space, &seen, trial) else {
            break;
        };
        let state = value(&point);
        seen.push(Observation { point, state });
    }
    seen
}

const LEARNING: [SamplerKind; 3] =
    [SamplerKind::Tpe, SamplerKind::Gp, SamplerKind::CmaEs];
const FREE: [SamplerKind; 5] = [
    SamplerKind::Random,
    SamplerKind::Sobol,
    SamplerKind::Tpe,
    SamplerKind::Gp,
    SamplerKind::CmaEs,
];

#[test]
fn points_are_complete_and_in_their_domains() {
    let space = mixed();
    let value = |point: &Point| match point[0] {
        Some(Value::Float(rate)) if rate < 0.2 => State::Complete(vec![rate]),
        _ => State::Failed,
    };
    for kind in FREE {
        for seen in trials(kind, &space, 40, value) {
            for (index, dimension) in space.dimensions().iter().enumerate() {
                let value = seen.point[index];
                assert_eq!(value.is_some(), space.is_active(index, &seen.point));
                assert!(
                    value.is_none_or(|value| dimension.contains(value)),
                    "{kind:?}: {} {value:?}",
                    dimension.path
                );
            }
        }
    }
}

#[test]
fn the_same_results_give_the_same_points() {
    let space = mixed();
    let value = |point: &Point| match point[1] {
        Some(Value::Int(hidden)) => State::Complete(vec![hidden as f64]),
        _ => State::Failed,
    };
    for kind in FREE {
        assert_eq!(
            trials(kind, &space, 30, value),
            trials(kind, &space, 30, value),
            "{kind:?}"
        );
    }
}

#[test]
fn nothing_but_failures_or_equal_values_is_survived() {
    let space = mixed();
    for kind in FREE {
        assert_eq!(trials(kind, &space, 25, |_| State::Failed).len(), 25);
        let equal = |_: &Point| State::Complete(vec![1.0]);
        assert_eq!(trials(kind, &space, 25, equal).len(), 25);
        let infinite = |point: &Point| match point[4] {
            Some(Value::Choice(0)) => State::Complete(vec![f64::INFINITY]),
            _ => State::Complete(vec![1.0]),
        };
        assert_eq!(trials(kind, &space, 25, infinite).len(), 25);
        let waiting = |_: &Point| State::Running;
        assert_eq!(trials(kind, &space, 25, waiting).len(), 25);
    }
}

#[test]
fn what_learns_is_better_than_chance() {
    let space = Space::new(&[
        float("x", -5.0, 5.0),
        float("y", -5.0, 5.0),
        int("z", -50, 50, false, 1),
    ])
    .unwrap();
    let value = |point: &Point| {
        let (Some(Value::Float(x)), Some(Value::Float(y)), Some(Value::Int(z))) =
            (point[0], point[1], point[2])
        else {
            panic!("{point:?}")
        };
        let z = z as f64 / 10.0;
        (x - 1.0) * (x - 1.0) + (y + x) * (y + x) + (z - 2.0) * (z - 2.0)
    };
    let best = |kind| {
        let seen = trials(kind, &space, 60, |point| {
            State::Complete(vec![value(point)])
        });
        let values = seen.iter().map(|seen| value(&seen.point));
        values.fold(f64::INFINITY, f64::min)
    };
    let chance = best(SamplerKind::Random);
    for kind in LEARNING {
        assert!(
            best(kind) < chance / 2.0,
            "{kind:?}: {} {chance}",
            best(kind)
        );
    }
}

#[test]
fn random_points_are_the_draws_of_their_names() {
    let space = Space::new(&[int("hidden", 1, 1_000, false, 1)]).unwrap();
    let draw = Draw {
        seed: 7,
        trial: 3,
        name: "hidden",
    };
    let expected = 1 + draw.below(1_000) as i64;
    assert_eq!(space.draw(7, 3), [Some(Value::Int(expected))]);
}

#[test]
fn several_objectives_are_for_those_that_know_them() {
    let space = mixed();
    let error = SamplerKind::Gp
        .build(&space, 2, 0)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("takes one objective, got 2; use sampler 'tpe'"));
    assert!(SamplerKind::Tpe.build(&space, 2, 0).is_ok());
}
