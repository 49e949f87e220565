//! Samplers that learn against random draws, on twelve functions.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod functions;

use atoll_search::{Observation, SamplerKind, State};

use functions::{Function, functions};

/// The value of the trial that seemed best of 60, without noise.
fn best(function: &Function, kind: SamplerKind, seed: i64) -> f64 {
    let mut sampler = kind.build(&function.space, 1, seed).unwrap();
    let mut seen: Vec<Observation> = vec![];
    let mut best = (f64::INFINITY, f64::NAN);
    for trial in 0..60 {
        let point = sampler.suggest(&function.space, &seen, trial).unwrap();
        let measured = function.measured(&point, seed, trial);
        if measured < best.0 {
            best = (measured, function.value(&point));
        }
        let state = State::Complete(vec![measured]);
        seen.push(Observation { point, state });
    }
    best.1
}

fn median(function: &Function, kind: SamplerKind, seeds: i64) -> f64 {
    let mut all: Vec<f64> = (0..seeds).map(|seed| best(function, kind, seed)).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// On how many functions the median over some seeds is better than that of random draws.
fn wins(kind: SamplerKind, seeds: i64) -> usize {
    let all = functions();
    let better = all.iter().filter(|function| {
        median(function, kind, seeds) < median(function, SamplerKind::Random, seeds)
    });
    better.count()
}

#[test]
fn tpe_beats_chance_on_ten_of_twelve_functions() {
    let wins = wins(SamplerKind::Tpe, 15);
    assert!(wins >= 10, "{wins}");
}

#[test]
fn a_gaussian_process_beats_chance_on_ten_of_twelve_functions() {
    let wins = wins(SamplerKind::Gp, 3);
    assert!(wins >= 10, "{wins}");
}

/// The known minima, so that a slip in a function does not decide a comparison.
#[test]
fn functions_have_the_minima_of_the_literature() {
    use atoll_search::Value::Float;
    let minima: [(&str, &[f64], f64); 7] = [
        ("branin", &[std::f64::consts::PI, 2.275], 0.397_887),
        ("hartmann_3", &[0.114_614, 0.555_649, 0.852_547], -3.862_78),
        (
            "hartmann_6",
            &[0.201_69, 0.150_011, 0.476_874, 0.275_332, 0.311_652, 0.6573],
            -3.322_37,
        ),
        ("ackley_5", &[0.0; 5], 0.0),
        ("rosenbrock_4", &[1.0; 4], 0.0),
        ("levy_5", &[1.0; 5], 0.0),
        ("styblinski_tang_4", &[-2.903_534; 4], -156.664_66),
    ];
    let all = functions();
    for (name, at, expected) in minima {
        let function = all.iter().find(|function| function.name == name).unwrap();
        let point = at.iter().map(|x| Some(Float(*x))).collect();
        let value = function.value(&point);
        assert!((value - expected).abs() < 1e-4, "{name}: {value}");
    }
}
