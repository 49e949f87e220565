//! What a study decides, whatever runs it.

use super::*;
use crate::space::tests::float;
use crate::{SamplerKind, Value};

fn options(pruner: PrunerKind) -> StudyOptions {
    StudyOptions {
        sampler: SamplerKind::Tpe,
        pruner,
        trials: 60,
        parallel: 6,
        seed: 5,
        objectives: 1,
        budget: 27,
    }
}

const HALVING: PrunerKind = PrunerKind::Halving { eta: 3, least: 1 };
const HYPERBAND: PrunerKind = PrunerKind::Hyperband { eta: 3, least: 1 };
const MEDIAN: PrunerKind = PrunerKind::Median {
    startup: 5,
    least: 1,
};

fn space() -> Space {
    Space::new(&[float("x", -5.0, 5.0), float("slow", 1.0, 4.0)]).unwrap()
}

fn number(point: &Point, n: usize) -> f64 {
    match point[n] {
        Some(Value::Float(x)) => x,
        _ => panic!("{point:?}"),
    }
}

/// What training would come to: better with more epochs, and to nothing at the edge.
fn outcome(job: &Job) -> Outcome {
    let x = number(&job.point, 0);
    if x < -4.5 {
        return Outcome::Failed;
    }
    Outcome::Values(vec![(x - 1.0) * (x - 1.0) + 5.0 / f64::from(job.to)])
}

/// Everything that was decided: jobs in the order of their starts, and ends.
type Decided = (Vec<Job>, Vec<TrialEnd>);

/// Runs a study on so many slots, whose jobs end in an order of their own.
fn run(options: StudyOptions, slots: usize, luck: i64) -> Decided {
    let mut study = Study::new(space(), options, vec![]).unwrap();
    let mut cost = |point: &Point| number(point, 1);
    let (mut jobs, mut ends) = (vec![], vec![]);
    let mut waiting: VecDeque<Job> = VecDeque::new();
    let mut busy: Vec<Job> = vec![];
    loop {
        match study.next(&mut cost) {
            Step::Start(job) => {
                jobs.push(job.clone());
                waiting.push_back(job);
                continue;
            }
            Step::Done => break,
            Step::Wait => {}
        }
        while busy.len() < slots
            && let Some(job) = waiting.pop_front()
        {
            busy.push(job);
        }
        let draw = crate::Draw {
            seed: luck,
            trial: jobs.len() as i64,
            name: "luck",
        };
        let job = busy.swap_remove(draw.below(busy.len() as u128) as usize);
        study.tell(job.id, outcome(&job));
        ends.extend(study.ended());
    }
    ends.extend(study.ended());
    (jobs, ends)
}

#[test]
fn decisions_are_the_same_on_any_number_of_slots() {
    for pruner in [PrunerKind::None, MEDIAN, HALVING, HYPERBAND] {
        for sampler in [SamplerKind::Tpe, SamplerKind::Gp, SamplerKind::CmaEs] {
            let options = StudyOptions {
                sampler,
                ..options(pruner)
            };
            let expected = run(options, 1, 0);
            for (slots, luck) in [(2, 1), (5, 2), (13, 3), (13, 4)] {
                let found = run(options, slots, luck);
                assert_eq!(found.0.len(), expected.0.len());
                assert_eq!(found, expected, "{pruner:?} {sampler:?} {slots}");
            }
        }
    }
}

#[test]
fn every_trial_ends_once_and_goes_through_its_rungs() {
    for pruner in [PrunerKind::None, MEDIAN, HALVING, HYPERBAND] {
        let (jobs, ends) = run(options(pruner), 3, 1);
        let mut trials: Vec<u64> = ends.iter().map(|end| end.trial).collect();
        trials.sort_unstable();
        assert_eq!(trials, (0..60).collect::<Vec<_>>(), "{pruner:?}");
        for end in &ends {
            let of_trial: Vec<&Job> =
                jobs.iter().filter(|job| job.trial == end.trial).collect();
            assert_eq!(of_trial[0].from, 0);
            for pair in of_trial.windows(2) {
                assert_eq!(pair[0].to, pair[1].from);
                assert!(pair[0].id < pair[1].id);
            }
            assert_eq!(of_trial[of_trial.len() - 1].id, end.job);
        }
        assert!(jobs.iter().any(|job| job.is_last), "{pruner:?}");
    }
}

#[test]
fn pruners_spend_less_and_find_as_much() {
    let spent = |jobs: &[Job]| -> u32 { jobs.iter().map(|job| job.to - job.from).sum() };
    let best = |jobs: &[Job]| {
        let values = jobs.iter().filter_map(|job| match outcome(job) {
            Outcome::Values(values) if job.is_last => Some(values[0]),
            _ => None,
        });
        values.fold(f64::INFINITY, f64::min)
    };
    let (all, _) = run(options(PrunerKind::None), 1, 0);
    for (pruner, most) in [(MEDIAN, 0.75), (HALVING, 0.25), (HYPERBAND, 0.45)] {
        let (jobs, ends) = run(options(pruner), 1, 0);
        let share = f64::from(spent(&jobs)) / f64::from(spent(&all));
        assert!(share < most, "{pruner:?} {share}");
        assert!(best(&jobs) < best(&all) + 0.1, "{pruner:?} {}", best(&jobs));
        assert!(ends.iter().any(|end| end.is_pruned));
    }
}

#[test]
fn more_trials_begin_with_the_same_ones() {
    let few = run(options(PrunerKind::None), 2, 0).0;
    let more = StudyOptions {
        trials: 100,
        ..options(PrunerKind::None)
    };
    let more = run(more, 2, 0).0;
    assert_eq!(more[..60], few);
}

#[test]
fn a_stopped_study_ends_what_it_started() {
    let mut study = Study::new(space(), options(HALVING), vec![]).unwrap();
    let mut cost = |point: &Point| number(point, 1);
    let mut jobs = vec![];
    while let Step::Start(job) = study.next(&mut cost) {
        jobs.push(job);
    }
    study.stop();
    for job in &jobs {
        study.tell(job.id, outcome(job));
    }
    assert_eq!(study.next(&mut cost), Step::Done);
    assert_eq!(study.ended().len(), jobs.len());
}

/// The ends of a study that starts so many jobs.
fn cut(options: StudyOptions, jobs: usize) -> Vec<(TrialEnd, Option<usize>)> {
    let mut study = Study::new(space(), options, vec![]).unwrap();
    let mut cost = |point: &Point| number(point, 1);
    let (mut started, mut waiting) = (vec![], VecDeque::new());
    loop {
        match study.next(&mut cost) {
            Step::Start(job) => {
                started.push(job.clone());
                waiting.push_back(job);
                if started.len() == jobs {
                    study.stop();
                }
            }
            Step::Wait => {
                let job: Job = waiting.pop_front().unwrap();
                study.tell(job.id, outcome(&job));
            }
            Step::Done => break,
        }
    }
    let rung = |end: &TrialEnd| {
        let jobs = started.iter().filter(|job| job.trial == end.trial);
        jobs.map(|job| job.rung).max()
    };
    let ends = study.ended();
    ends.into_iter()
        .map(|end| (end.clone(), rung(&end)))
        .collect()
}

#[test]
fn a_study_that_is_cut_says_which_trials_waited() {
    for pruner in [MEDIAN, HALVING, HYPERBAND] {
        for jobs in [1, 7, 20, 33] {
            let ends = cut(options(pruner), jobs);
            for (end, rung) in &ends {
                assert_eq!(Some(end.rung), *rung, "{pruner:?} {jobs} {end:?}");
                assert!(end.is_decided || end.is_pruned);
            }
            let waited = ends.iter().any(|(end, _)| !end.is_decided);
            assert!(waited || jobs == 1 || pruner == MEDIAN, "{pruner:?} {jobs}");
        }
        let whole = cut(options(pruner), usize::MAX);
        assert!(whole.iter().all(|(end, _)| end.is_decided));
    }
}

#[test]
fn an_earlier_study_is_learned_from() {
    let seen = (0..40).map(|n| {
        let point = space().draw(9, n);
        let x = number(&point, 0);
        Observation {
            state: State::Complete(vec![(x - 1.0) * (x - 1.0)]),
            point,
        }
    });
    let mut study =
        Study::new(space(), options(PrunerKind::None), seen.collect()).unwrap();
    let mut near = 0;
    for _ in 0..6 {
        let Step::Start(job) = study.next(&mut |_| 1.0) else {
            panic!("no job")
        };
        near += usize::from((number(&job.point, 0) - 1.0).abs() < 1.5);
    }
    assert!(near >= 4, "{near}");
}

#[test]
fn several_objectives_spread_along_their_front() {
    let options = StudyOptions {
        objectives: 2,
        trials: 100,
        ..options(PrunerKind::None)
    };
    let volume = |sampler| {
        let options = StudyOptions { sampler, ..options };
        let mut study = Study::new(space(), options, vec![]).unwrap();
        let mut found = vec![];
        loop {
            match study.next(&mut |_| 1.0) {
                Step::Start(job) => {
                    let (x, y) = (number(&job.point, 0), number(&job.point, 1));
                    let values = vec![x * x + y, (x - 2.0) * (x - 2.0) + y];
                    found.push(values.clone());
                    study.tell(job.id, Outcome::Values(values));
                }
                Step::Wait => panic!("everything was told"),
                Step::Done => break,
            }
        }
        crate::hypervolume(&found, &[10.0, 10.0])
    };
    let (learned, random) = (volume(SamplerKind::Tpe), volume(SamplerKind::Random));
    assert!(learned > random, "{learned} {random}");
}

#[test]
fn options_outside_their_domains_are_named() {
    let refused = |options: StudyOptions, expected: &str| {
        let error = Study::new(space(), options, vec![])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    let usual = options(HALVING);
    refused(
        StudyOptions { trials: 0, ..usual },
        "option trials must be an integer from 1, got 0",
    );
    refused(
        StudyOptions {
            parallel: 0,
            ..usual
        },
        "option parallel must be an integer from 1 to 100000, got 0",
    );
    let pruner = PrunerKind::Halving { eta: 1, least: 1 };
    refused(StudyOptions { pruner, ..usual }, "option eta must be");
    let pruner = PrunerKind::Halving { eta: 3, least: 28 };
    refused(
        StudyOptions { pruner, ..usual },
        "option min_epochs must be from 1 to epochs, which is 27, got 28",
    );
    refused(
        StudyOptions {
            objectives: 2,
            ..usual
        },
        "cannot prune by 2 objectives",
    );
}
