//! The best value of 60 trials, for each function, sampler and seed, as lines of JSON:
//! `cargo run --release -p atoll-search --example functions -- SEEDS [SAMPLER ...]`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its results"
)]

#[path = "../tests/functions/mod.rs"]
mod functions;

use std::time::Instant;

use atoll_search::{Observation, SamplerKind, State};

use functions::functions;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seeds: i64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(30);
    let named: Vec<String> = arguments.collect();
    let kinds = SamplerKind::NAMES
        .iter()
        .filter(|(name, kind)| match named.is_empty() {
            true => *kind != SamplerKind::Grid,
            false => named.iter().any(|wanted| wanted == name),
        });
    for (sampler, kind) in kinds {
        for function in functions() {
            for seed in 0..seeds {
                let started = Instant::now();
                let Ok(mut sampling) = kind.build(&function.space, 1, seed) else {
                    continue;
                };
                let mut seen: Vec<Observation> = vec![];
                let mut best = (f64::INFINITY, f64::INFINITY);
                for trial in 0..60 {
                    let Some(point) = sampling.suggest(&function.space, &seen, trial)
                    else {
                        break;
                    };
                    let measured = function.measured(&point, seed, trial);
                    if measured < best.0 {
                        best = (measured, function.value(&point));
                    }
                    let state = State::Complete(vec![measured]);
                    seen.push(Observation { point, state });
                }
                println!(
                    "{{\"sampler\": \"{sampler}\", \"function\": \"{}\", \"seed\": {seed}, \
                     \"best\": {}, \"seconds\": {}}}",
                    function.name,
                    best.1,
                    started.elapsed().as_secs_f64()
                );
            }
        }
    }
}
