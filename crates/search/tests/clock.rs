//! How busy real slots are under a study, against a scheduler that never waits.
//!
//! Trials have known costs; real times are the costs times a lognormal error of 20 %, and
//! half of the trials may end at a tenth to the whole of their time (patience, divergence)
//! while the virtual clock keeps the cost.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail by panicking, as tests do"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use atoll_search::{
    Domain, Draw, Job, Outcome, Parameter, Point, PrunerKind, SamplerKind, Space, Step,
    Study, StudyOptions, Value,
};

/// Uniform numbers of a trial, by name.
fn unit(seed: i64, trial: u64, name: &str) -> f64 {
    let trial = trial as i64;
    Draw { seed, trial, name }.unit()
}

/// A normally distributed number (Box 1958).
fn normal(seed: i64, trial: u64, name: &str) -> f64 {
    let radius = (-2.0 * (1.0 - unit(seed, trial, name)).ln()).sqrt();
    let angle = std::f64::consts::TAU * unit(seed, trial, &format!("{name} angle"));
    radius * angle.cos()
}

/// How costs are distributed: from a uniform number to a cost.
type Lengths = fn(f64) -> f64;

const LENGTHS: [(&str, Lengths); 5] = [
    ("equal", |_| 1.0),
    ("exponential", |u| -(1.0 - u).ln()),
    // A uniform number is the sum of two that make a normal one.
    ("lognormal", |u| {
        (1.4 * (u / (1.0 - u).max(1e-9)).max(1e-9).ln() / 2.4).exp()
    }),
    ("pareto", |u| (1.0 - u).powf(-1.0 / 1.5)),
    ("rungs", |u| {
        let rung = match u {
            u if u < 27.0 / 40.0 => 1.0,
            u if u < 36.0 / 40.0 => 2.0,
            u if u < 39.0 / 40.0 => 6.0,
            _ => 18.0,
        };
        rung * (0.5 + 1.5 * (u * 1_000.0).fract())
    }),
];

struct Simulation {
    slots: usize,
    trials: u64,
    lengths: Lengths,
    early: bool,
    seed: i64,
}

impl Simulation {
    fn cost(&self, point: &Point) -> f64 {
        match point[0] {
            Some(Value::Float(u)) => (self.lengths)(u),
            _ => panic!("{point:?}"),
        }
    }

    /// How long a job really takes.
    fn time(&self, job: &Job) -> f64 {
        let trial = job.trial;
        let error = (0.2 * normal(self.seed, trial, "error")).exp();
        let ends_early = self.early && unit(self.seed, trial, "early") < 0.5;
        let share = match ends_early {
            true => 0.1 + 0.9 * unit(self.seed, trial, "share"),
            false => 1.0,
        };
        self.cost(&job.point) * error * share
    }

    fn space() -> Space {
        let (low, high, log, step) = (0.0, 1.0, false, None);
        let domain = Domain::Float {
            low,
            high,
            log,
            step,
        };
        let name = "u".to_string();
        Space::new(&[Parameter { name, domain }]).expect("a space of one number")
    }

    /// The share that is busy when a slot takes the next trial as soon as it is free.
    fn never_waiting(&self) -> f64 {
        let space = Self::space();
        let mut free_from = vec![0.0f64; self.slots];
        let mut worked = 0.0;
        for trial in 0..self.trials {
            let point = space.draw(self.seed, trial as i64);
            let (id, rung, from, to, is_last) = (trial, 0, 0, 1, true);
            let time = self.time(&Job {
                id,
                trial,
                rung,
                from,
                to,
                is_last,
                point,
            });
            worked += time;
            let first =
                (0..self.slots).min_by(|a, b| free_from[*a].total_cmp(&free_from[*b]));
            free_from[first.expect("a slot")] += time;
        }
        let end = free_from.into_iter().fold(0.0, f64::max);
        worked / (self.slots as f64 * end)
    }

    /// The share of the slots that are busy, with so many virtual ones.
    fn busy(&self, virtual_slots: usize) -> f64 {
        let options = StudyOptions {
            sampler: SamplerKind::Random,
            pruner: PrunerKind::None,
            trials: self.trials,
            parallel: virtual_slots,
            seed: self.seed,
            objectives: 1,
            budget: 1,
        };
        let mut study = Study::new(Self::space(), options, vec![]).expect("a study");
        let mut cost = |point: &Point| self.cost(point);
        let mut waiting: VecDeque<Job> = VecDeque::new();
        // Ends in nanoseconds, so that they have an order.
        let mut running: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
        let (mut now, mut worked) = (0.0, 0.0);
        loop {
            match study.next(&mut cost) {
                Step::Start(job) => waiting.push_back(job),
                Step::Done => return worked / (self.slots as f64 * now),
                Step::Wait => {
                    while running.len() < self.slots
                        && let Some(job) = waiting.pop_front()
                    {
                        let time = self.time(&job);
                        worked += time;
                        running.push(Reverse((((now + time) * 1e9) as u64, job.id)));
                    }
                    let Reverse((end, job)) = running.pop().expect("something runs");
                    now = end as f64 / 1e9;
                    study.tell(job, Outcome::Values(vec![0.0]));
                }
            }
        }
    }
}

#[test]
fn twice_the_slots_are_as_busy_as_without_waiting() {
    for early in [false, true] {
        for (name, lengths) in LENGTHS {
            for slots in [2, 4, 13] {
                let (mut clock, mut free) = (0.0, 0.0);
                // Few slots have few trials, whose end weighs more.
                for seed in 0..104 / slots as i64 {
                    let simulation = Simulation {
                        slots,
                        trials: 50 * slots as u64,
                        lengths,
                        early,
                        seed,
                    };
                    clock += simulation.busy(2 * slots);
                    free += simulation.never_waiting();
                }
                let share = clock / free;
                assert!(
                    share >= 0.98,
                    "{name}, {slots} slots, early {early}: {share}"
                );
            }
        }
    }
}
