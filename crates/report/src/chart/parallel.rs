//! Parallel coordinates: an upright axis a hyperparameter, a line a trial.

use super::learning_rate::objective_axis;
use super::slices::{ranked, trials_table};
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Ticks, Weight, thin};
use crate::draw::{Ink, STEPS};
use crate::format::{clip, number};
use crate::parameter::{Domain, Parameter};
use crate::study::{Study, Trial};

/// Lines drawn; the best come first.
const MOST_TRIALS: usize = 300;
const BEST: usize = 50;
/// Axes that fit beside each other.
const MOST_AXES: usize = 9;

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let (varying, trials) = ranked(study)?;
    let table = trials_table(study, &varying, &trials);
    let trials = thin(trials, BEST, MOST_TRIALS);
    let shown = &varying[..varying.len().min(MOST_AXES - 1)];
    let result = objective_axis(objective, trials.iter().map(|(_, value)| *value));
    let mut marks = lines(&trials, shown, &result);
    for (place, parameter) in shown.iter().enumerate() {
        marks.extend(upright(place, labels(parameter)));
    }
    marks.extend(upright(shown.len(), result_labels(study, &result)));
    let names = shown.iter().map(|parameter| clip(&parameter.name, 18));
    let names = names.chain([objective.title().to_string()]).enumerate();
    let names: Vec<(f64, String)> = names.map(|(at, name)| (at as f64, name)).collect();
    Ok(Chart {
        kind: Kind::Parallel,
        title: "Parallel coordinates".to_string(),
        description: format!(
            "Each line is a trial and crosses the axis of each hyperparameter at its \
             value; the last axis is the {}, lower is better. Colours run from the best \
             trial to the worst, and the best line is bold.",
            objective.title()
        ),
        table,
        legend: [("best", 0), ("middle", STEPS / 2), ("worst", STEPS - 1)]
            .map(|(text, step)| Entry {
                text: text.to_string(),
                ink: Ink::Step(step),
                shape: None,
                line: true,
            })
            .to_vec(),
        panels: vec![Panel {
            x: Axis {
                low: -0.2,
                high: shown.len() as f64 + 0.55,
                ..Axis::named("", names)
            },
            y: Axis {
                title: String::new(),
                low: -0.08,
                high: 1.04,
                log: false,
                ticks: Ticks::Named(Vec::new()),
            },
            marks,
        }],
    })
}

/// A line a trial, the best ones last, above the others.
fn lines(trials: &[(&Trial, f64)], shown: &[Parameter], result: &Axis) -> Vec<Mark> {
    let mut marks = Vec::new();
    let count = trials.len().max(2) - 1;
    for (rank, (trial, value)) in trials.iter().enumerate().rev() {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (place, parameter) in shown.iter().enumerate() {
            let value = trial.values.get(parameter.index);
            let position = value.and_then(|value| parameter.position(value));
            // What an axis of numbers cannot show runs below it.
            points.push((place as f64, position.unwrap_or(-0.07)));
        }
        points.push((
            shown.len() as f64,
            result.position(*value).unwrap_or_default(),
        ));
        marks.push(Mark::Line {
            points,
            ink: Ink::Step(rank * (STEPS - 1) / count),
            weight: if rank == 0 {
                Weight::Bold
            } else {
                Weight::Thin
            },
        });
    }
    marks
}

/// An axis with its texts.
fn upright(place: usize, labels: Vec<(f64, String)>) -> Vec<Mark> {
    let at = place as f64;
    let axis = Mark::Line {
        points: vec![(at, 0.0), (at, 1.0)],
        ink: Ink::Text,
        weight: Weight::Thin,
    };
    let labels = labels.into_iter().map(|(height, text)| Mark::Text {
        at: (at, height),
        text,
    });
    std::iter::once(axis).chain(labels).collect()
}

fn labels(parameter: &Parameter) -> Vec<(f64, String)> {
    match &parameter.domain {
        Domain::Categories(categories) => {
            let count = categories.len() as f64;
            let step = categories.len().div_ceil(10).max(1);
            let labels = Domain::labels(categories).into_iter().step_by(step);
            labels
                .map(|(place, text)| ((place + 0.5) / count, clip(&text, 14)))
                .collect()
        }
        Domain::Numbers { low, high, log, .. } => {
            let at = |share: f64| match log {
                true => low * (high / low).powf(share),
                false => low + (high - low) * share,
            };
            [0.0, 0.5, 1.0]
                .map(|share| (share, number(at(share))))
                .to_vec()
        }
    }
}

fn result_labels(study: &Study, axis: &Axis) -> Vec<(f64, String)> {
    let objective = study.objective();
    let at = |share: f64| match axis.log {
        true => axis.low * (axis.high / axis.low).powf(share),
        false => axis.low + (axis.high - axis.low) * share,
    };
    [0.0, 0.5, 1.0]
        .map(|share| (share, objective.text(at(share).max(0.0))))
        .to_vec()
}
