//! The objective over two hyperparameters, as a map.
//!
//! A place has the mean of the trials near it, by a Gaussian kernel (Nadaraya 1964, Watson
//! 1964): smooth enough to see a valley, and it invents nothing where no trial is near,
//! which is left blank. Trials with other choices are never near.

use super::learning_rate::{capital, objective_axis};
use super::slices::{axis, ranked, trials_table};
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, thin};
use crate::draw::{Ink, STEPS};
use crate::format::count;
use crate::importance::importance;
use crate::parameter::{Domain, Parameter};
use crate::study::{Objective, Status, Study, Trial};

/// Places along the sides of the map, where a side has numbers.
const COLUMNS: usize = 92;
const ROWS: usize = 64;
/// How far a bar reaches below the next one, as a share of the side: where two only touch,
/// a line between them would be seen.
const OVERLAP: f64 = 0.002;
/// Trials drawn as points; the best come first.
const MOST_POINTS: usize = 300;
const BEST: usize = 50;
/// The width of the kernel over that of Scott's rule for evenly spread points, which
/// smooths over what a map of a dozen trials is to show.
const SHARPER: f64 = 0.8;
/// Beyond so many widths of the kernel a trial is not near.
const NEAR: f64 = 2.5;

/// A trial on the map: its place on each side from 0 to 1, and its result.
struct Point {
    at: (f64, f64),
    height: f64,
}

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let (across, upwards) = two(study)?;
    let (_, mut trials) = ranked(study)?;
    let value = |parameter: &Parameter, trial: &Trial| {
        parameter.place(trial.values.get(parameter.index)?)
    };
    trials.retain(|(trial, _)| {
        value(&across, trial).is_some() && value(&upwards, trial).is_some()
    });
    let places = trials
        .iter()
        .filter_map(|(trial, _)| Some((value(&across, trial)?, value(&upwards, trial)?)));
    let places: Vec<(f64, f64)> = places.collect();
    if places.is_empty() {
        let (across, upwards) = (across.name, upwards.name);
        return Err(format!("no trial has a result, {across} and {upwards}"));
    }
    let flipped: Vec<(f64, f64)> = places.iter().map(|(x, y)| (*y, *x)).collect();
    let (x, y) = (axis(&across, &places), axis(&upwards, &flipped));
    let scale = objective_axis(objective, trials.iter().map(|(_, value)| *value));
    let points = trials
        .iter()
        .zip(&places)
        .filter_map(|((_, value), place)| {
            Some(Point {
                at: (x.position(place.0)?, y.position(place.1)?),
                height: scale.position(*value)?,
            })
        });
    let map = Map::new(&points.collect::<Vec<_>>(), (&across, &upwards));
    let pruned = trials
        .iter()
        .filter(|(trial, _)| trial.status == Status::Pruned);
    let pruned = pruned.count();
    Ok(Chart {
        kind: Kind::Contour,
        title: format!(
            "{} over {} and {}",
            capital(objective),
            across.name,
            upwards.name
        ),
        description: description(objective, trials.len(), pruned),
        table: trials_table(study, &[across, upwards], &trials),
        legend: legend(objective, &map, &scale),
        panels: vec![Panel {
            marks: marks(&map, (&x, &y), &places),
            x,
            y,
        }],
    })
}

/// The hyperparameters that were asked for, or the two that matter most.
fn two(study: &Study) -> Result<(Parameter, Parameter), String> {
    let mut measured = Parameter::measured(study);
    measured.retain(|parameter| !parameter.is_seed());
    let mut take = |name: &str| {
        let place = measured
            .iter()
            .position(|parameter| parameter.name == name)?;
        Some(measured.remove(place))
    };
    if let Some([across, upwards]) = &study.contour {
        let mut find = |name: &str| {
            take(name).ok_or_else(|| {
                format!("no hyperparameter {name} differs among the trials with a result")
            })
        };
        return Ok((find(across)?, find(upwards)?));
    }
    let ranked = importance(study)
        .map(|found| found.main)
        .unwrap_or_default();
    let mut found: Vec<Parameter> = ranked
        .iter()
        .filter_map(|share| take(&share.name))
        .take(2)
        .collect();
    // Too few trials to rank them: the first ones of the table.
    found.extend(measured);
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(across), Some(upwards)) => Ok((across, upwards)),
        _ => Err("it takes two hyperparameters that differ".to_string()),
    }
}

/// The means over the map.
struct Map {
    columns: usize,
    rows: usize,
    /// The step of each place, row by row; none where no trial is near.
    steps: Vec<Option<usize>>,
    /// The lowest and the highest mean.
    range: (f64, f64),
}

impl Map {
    fn new(points: &[Point], (across, upwards): (&Parameter, &Parameter)) -> Self {
        // Choices have a column or a row each.
        let places = |parameter: &Parameter, usual: usize| match &parameter.domain {
            Domain::Numbers { .. } => usual,
            Domain::Categories(categories) => categories.len(),
        };
        let (columns, rows) = (places(across, COLUMNS), places(upwards, ROWS));
        let width = |parameter: &Parameter| match parameter.domain {
            Domain::Numbers { .. } => kernel_width(points.len()),
            Domain::Categories(_) => 0.0,
        };
        let widths = (width(across), width(upwards));
        let middle = |n: usize, all: usize| (n as f64 + 0.5) / all as f64;
        let cells =
            (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
        let means: Vec<Option<f64>> = cells
            .map(|(column, row)| {
                mean(points, (middle(column, columns), middle(row, rows)), widths)
            })
            .collect();
        let known = || means.iter().flatten().copied();
        let low = known().fold(f64::INFINITY, f64::min);
        let high = known().fold(f64::NEG_INFINITY, f64::max);
        let step = |mean: f64| match high > low {
            true => {
                (((mean - low) / (high - low) * STEPS as f64) as usize).min(STEPS - 1)
            }
            false => 0,
        };
        Self {
            columns,
            rows,
            steps: means.iter().map(|mean| mean.map(step)).collect(),
            range: (low, high),
        }
    }

    /// The upper end of a step.
    fn end(&self, step: usize) -> f64 {
        let (low, high) = self.range;
        low + (high - low) * (step + 1) as f64 / STEPS as f64
    }
}

/// Scott's rule in two dimensions, for points that are spread evenly from 0 to 1.
fn kernel_width(points: usize) -> f64 {
    let deviation = (1.0_f64 / 12.0).sqrt();
    SHARPER * deviation * (points as f64).powf(-1.0 / 6.0)
}

/// The mean of the points near a place, if there are any. Along a side of width 0 only the
/// same place is near.
fn mean(points: &[Point], (x, y): (f64, f64), (wide, high): (f64, f64)) -> Option<f64> {
    const SAME: f64 = 1e-6;
    let apart = |from: f64, to: f64, width: f64| match width {
        0.0 if (from - to).abs() < SAME => 0.0,
        0.0 => f64::INFINITY,
        width => (from - to) / width,
    };
    let (mut sum, mut weights) = (0.0, 0.0);
    for point in points {
        let (dx, dy) = (apart(point.at.0, x, wide), apart(point.at.1, y, high));
        let distance = dx * dx + dy * dy;
        if distance <= NEAR * NEAR {
            let weight = (-0.5 * distance).exp();
            sum += weight * point.height;
            weights += weight;
        }
    }
    (weights > 0.0).then(|| sum / weights)
}

/// The value at a share of an axis.
fn along(axis: &Axis, share: f64) -> f64 {
    match axis.log {
        true => axis.low * (axis.high / axis.low).powf(share),
        false => axis.low + (axis.high - axis.low) * share,
    }
}

fn marks(map: &Map, (x, y): (&Axis, &Axis), places: &[(f64, f64)]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (row, steps) in map.steps.chunks(map.columns).enumerate() {
        let edge = |n: usize, all: usize| n as f64 / all as f64;
        let end = |n: usize, all: usize| (edge(n, all) + OVERLAP).min(1.0);
        let (bottom, top) = (edge(row, map.rows), end(row + 1, map.rows));
        let (bottom, top) = (along(y, bottom), along(y, top));
        // Neighbours of one colour are one bar.
        let mut first = 0;
        for run in steps.chunk_by(|a, b| a == b) {
            let last = first + run.len();
            if let Some(step) = run[0] {
                marks.push(Mark::Bar {
                    from: (along(x, edge(first, map.columns)), bottom),
                    to: (along(x, end(last, map.columns)), top),
                    ink: Ink::Step(step),
                });
            }
            first = last;
        }
    }
    let best = places.first().copied();
    let points = thin(places.to_vec(), BEST, MOST_POINTS);
    let points = |ink, shape| Mark::Points {
        points: points.clone(),
        ink,
        shape,
    };
    // A dot on paper is seen on every colour of the map.
    marks.push(points(Ink::Paper, Shape::Circle));
    marks.push(points(Ink::Text, Shape::Dot));
    for (ink, shape) in [
        (Ink::Paper, Shape::Square),
        (Ink::Series(1), Shape::Diamond),
    ] {
        marks.push(Mark::Points {
            points: best.into_iter().collect(),
            ink,
            shape,
        });
    }
    marks
}

fn legend(objective: Objective, map: &Map, scale: &Axis) -> Vec<Entry> {
    let entry = |text: String, ink: Ink, shape: Shape| Entry {
        text,
        ink,
        shape: Some(shape),
        line: false,
    };
    let steps = (0..STEPS).filter(|step| map.steps.contains(&Some(*step)));
    let steps = steps.map(|step| {
        let end = objective.text(along(scale, map.end(step)).max(0.0));
        entry(format!("to {end}"), Ink::Step(step), Shape::Square)
    });
    let points = [
        entry("trial".to_string(), Ink::Text, Shape::Dot),
        entry("best trial".to_string(), Ink::Series(1), Shape::Diamond),
    ];
    steps.chain(points).collect()
}

fn description(objective: Objective, trials: usize, pruned: usize) -> String {
    let mut text = format!(
        "Each place has the mean {} of the trials near it, whatever their other \
         hyperparameters; it is blank where none is near. {} in all.",
        objective.title(),
        count(trials, "trial")
    );
    if pruned > 0 {
        text += &format!(
            " {pruned} of them counted with the value of the epoch after which a pruner \
             ended them.",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    /// Trials on a bowl whose lowest place is at 0.25 and 0.75, by two numbers and a
    /// hyperparameter that does nothing.
    fn bowl() -> Study {
        let trials = (0..100).map(|n| {
            let (x, y) = (f64::from(n % 10) / 9.0, f64::from(n / 10) / 9.0);
            let error = 0.1 + (x - 0.25).powi(2) + (y - 0.75).powi(2);
            Trial {
                values: vec![
                    Value::Number(f64::from(n * 37 % 101)),
                    Value::Number(x),
                    Value::Number(y),
                ],
                status: Status::Succeeded,
                accuracy: Some(1.0 - error),
                ..Trial::default()
            }
        });
        Study {
            hyperparameters: ["idle", "x", "y"].map(String::from).to_vec(),
            trials: trials.collect(),
            ..Study::default()
        }
    }

    fn names(study: &Study) -> [String; 2] {
        let (across, upwards) = two(study).unwrap();
        [across.name, upwards.name]
    }

    #[test]
    fn what_matters_most_is_shown_unless_other_is_asked_for() {
        let mut study = bowl();
        let mut found = names(&study);
        found.sort();
        assert_eq!(found, ["x", "y"]);
        let wanted = ["idle", "x"].map(String::from);
        study.contour = Some(wanted.clone());
        assert_eq!(names(&study), wanted);
        study.contour = Some(["x", "z"].map(String::from));
        let error = chart(&study).unwrap_err();
        assert_eq!(
            error,
            "no hyperparameter z differs among the trials with a result"
        );
    }

    #[test]
    fn the_best_step_is_where_the_bowl_is_lowest() {
        let mut study = bowl();
        study.contour = Some(["x", "y"].map(String::from));
        let chart = chart(&study).unwrap();
        let panel = &chart.panels[0];
        for mark in &panel.marks {
            if let Mark::Bar { from, to, ink } = mark
                && *ink == Ink::Step(0)
            {
                let middle = |a: f64, b: f64| f64::midpoint(a, b);
                let (x, y) = (middle(from.0, to.0), middle(from.1, to.1));
                let away = ((x - 0.25).powi(2) + (y - 0.75).powi(2)).sqrt();
                assert!(away < 0.45, "{x} {y}");
            }
        }
        let has = |step| {
            let mut bars = panel.marks.iter();
            bars.any(
                |mark| matches!(mark, Mark::Bar { ink, .. } if *ink == Ink::Step(step)),
            )
        };
        assert!(has(0) && has(STEPS - 1));
    }

    #[test]
    fn other_choices_and_far_places_are_not_near() {
        let points = [
            Point {
                at: (0.25, 0.5),
                height: 0.0,
            },
            Point {
                at: (0.75, 0.5),
                height: 1.0,
            },
        ];
        assert_eq!(mean(&points, (0.25, 0.5), (0.0, 0.1)), Some(0.0));
        assert_eq!(mean(&points, (0.75, 0.6), (0.0, 0.1)), Some(1.0));
        assert_eq!(mean(&points, (0.75, 0.9), (0.0, 0.1)), None);
        assert_eq!(mean(&points, (0.5, 0.5), (0.0, 0.1)), None);
    }
}
