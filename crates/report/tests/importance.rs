//! Importance of functions whose decomposition is known, and next to Optuna's.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests fail by panicking, as tests do"
)]

use atoll_report::{Importance, Status, Study, Trial, Value, importance};
use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64;

/// A study whose loss is a function of numbers drawn evenly from 0 to 1.
fn study<const N: usize>(count: usize, f: impl Fn([f64; N]) -> f64) -> Study {
    let mut rng = Pcg64::seed_from_u64(1);
    let trials = (0..count).map(|_| {
        let x: [f64; N] = std::array::from_fn(|_| rng.random_range(0.0..1.0));
        Trial {
            values: x.map(Value::Number).to_vec(),
            status: Status::Succeeded,
            loss: Some(f(x)),
            ..Trial::default()
        }
    });
    Study {
        hyperparameters: (0..N).map(|n| format!("x{n}")).collect(),
        trials: trials.collect(),
        ..Study::default()
    }
}

fn share(importance: &Importance, name: &str) -> f64 {
    let all = importance.main.iter().chain(&importance.pairs);
    all.into_iter()
        .find(|share| share.name == name)
        .unwrap()
        .mean
}

#[track_caller]
fn check(importance: &Importance, name: &str, expected: f64, within: f64) {
    let share = share(importance, name);
    assert!(
        (share - expected).abs() <= within,
        "{name}: {share:.3}, expected {expected:.3}"
    );
}

#[test]
fn a_sum_has_no_interaction() {
    // Var(a x) = a^2 / 12, so the shares are 1, 4 and 16 of 21.
    let study = study(500, |[x, y, z]| x + 2.0 * y + 4.0 * z);
    let importance = importance(&study).unwrap();
    check(&importance, "x0", 1.0 / 21.0, 0.03);
    check(&importance, "x1", 4.0 / 21.0, 0.05);
    check(&importance, "x2", 16.0 / 21.0, 0.06);
    for pair in &importance.pairs {
        assert!(pair.mean < 0.05, "{pair:?}");
    }
    assert_eq!(importance.main[0].name, "x2");
}

#[test]
fn a_centred_product_is_all_interaction() {
    // With (x - 1/2)(y - 1/2) neither mean over the other one depends on anything.
    let study = study(500, |[x, y]| (x - 0.5) * (y - 0.5));
    let importance = importance(&study).unwrap();
    check(&importance, "x0", 0.0, 0.1);
    check(&importance, "x1", 0.0, 0.1);
    check(&importance, "x0 × x1", 1.0, 0.2);
}

#[test]
fn what_does_not_matter_has_no_share() {
    let study = study(300, |[x, _, _]| (6.0 * x).sin());
    let importance = importance(&study).unwrap();
    check(&importance, "x0", 1.0, 0.03);
    check(&importance, "x1", 0.0, 0.02);
    check(&importance, "x2", 0.0, 0.02);
}

#[test]
fn shares_are_reproducible_and_at_most_one() {
    let study = study(120, |[x, y, z, w]| x * y + z.powi(3) - w.sqrt());
    let first = importance(&study).unwrap();
    assert_eq!(first, importance(&study).unwrap());
    let sum: f64 = first
        .main
        .iter()
        .chain(&first.pairs)
        .map(|share| share.mean)
        .sum();
    assert!((0.9..=1.0 + 1e-9).contains(&sum), "{sum}");
}

/// Most results are equal, so that many trees see no difference at all.
#[test]
fn trees_that_see_no_difference_do_not_count() {
    let mut study = study(12, |[x, y]| x + y);
    for trial in &mut study.trials[1..] {
        trial.loss = Some(0.5);
    }
    let importance = importance(&study).unwrap();
    for share in importance.main.iter().chain(&importance.pairs) {
        assert!(
            share.mean.is_finite() && share.deviation.is_finite(),
            "{share:?}"
        );
    }
}

#[test]
fn too_little_is_said_so() {
    let few = importance(&study(3, |[x]| x)).unwrap_err();
    assert!(few.contains("at least 4 trials"), "{few}");
    let same = importance(&study(9, |[_]| 1.0)).unwrap_err();
    assert!(same.contains("same result"), "{same}");
    assert!(importance(&Study::default()).is_err());
}

/// optuna_shares.py made the trials and the figures of Optuna's `FanovaImportanceEvaluator`.
#[test]
fn optuna_gives_about_the_same_shares() {
    let text = include_str!("optuna.csv");
    let mut lines: Vec<&str> = text.lines().collect();
    let names: Vec<String> = lines[0].split(',').map(String::from).collect();
    let expected = lines.pop().unwrap();
    let numbers = |line: &str| -> Vec<f64> {
        line.split(',')
            .filter_map(|cell| cell.parse().ok())
            .collect()
    };
    let trials = lines[1..].iter().map(|line| {
        let row = numbers(line);
        Trial {
            values: row[..3].iter().map(|value| Value::Number(*value)).collect(),
            status: Status::Succeeded,
            loss: Some(row[3]),
            ..Trial::default()
        }
    });
    let study = Study {
        trials: trials.collect(),
        hyperparameters: names[..3].to_vec(),
        ..Study::default()
    };
    let importance = importance(&study).unwrap();
    for (name, expected) in names.iter().zip(numbers(expected)).take(3) {
        check(&importance, name, expected, 0.04);
    }
}
