//! What a search found, trial by trial, and the best of it so far.

use super::learning_rate::{capital, objective_axis};
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Ticks, Weight, thin};
use crate::draw::Ink;
use crate::format::count;
use crate::study::{Status, Study};

/// More points than this are a grey area, and a large file.
const MOST_POINTS: usize = 1_000;

/// A trial with a result.
#[derive(Clone, Copy)]
struct Point {
    place: f64,
    value: f64,
    /// Whether a pruner ended it, so that its value is that of fewer epochs.
    is_pruned: bool,
}

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let points = points(study);
    let best = steps(&points);
    let Some(&(found_at, lowest)) = best.last() else {
        return Err("no trial succeeded".to_string());
    };
    let last = points.last().map_or(found_at, |point| point.place);
    let drawn = thin(points.clone(), 0, MOST_POINTS);
    let places = points.iter().map(|point| point.place);
    let values = drawn.iter().map(|point| point.value).chain([lowest]);
    let of_kind = |is_pruned: bool| -> Vec<(f64, f64)> {
        let points = drawn.iter().filter(|point| point.is_pruned == is_pruned);
        points.map(|point| (point.place, point.value)).collect()
    };
    let (pruned, whole) = (of_kind(true), of_kind(false));
    let mut legend = vec![
        entry("best so far", Ink::Series(1), None),
        entry("trial", Ink::Series(0), Some(Shape::Dot)),
    ];
    if !pruned.is_empty() {
        legend.push(entry("pruned", Ink::Muted, Some(Shape::Ring)));
    }
    let mut description = format!(
        "The {} of each trial in the order {}. The line is the best one so far: {} after {}.",
        objective.title(),
        match study.is_numbered() {
            true => "in which they were proposed",
            false => "of the table",
        },
        objective.text(lowest),
        count(
            points.iter().filter(|p| p.place <= found_at).count(),
            "trial"
        ),
    );
    if !pruned.is_empty() {
        description += " What a pruner ended has the value of its last epoch and does not \
                        count for the line.";
    }
    Ok(Chart {
        kind: Kind::History,
        title: "History of the best".to_string(),
        description,
        table: table(study, &points),
        legend,
        panels: vec![Panel {
            x: Axis::over("trial", places, false, Ticks::Whole),
            y: objective_axis(objective, values),
            marks: marks(pruned, whole, &best, last),
        }],
    })
}

fn marks(
    pruned: Vec<(f64, f64)>,
    whole: Vec<(f64, f64)>,
    best: &[(f64, f64)],
    last: f64,
) -> Vec<Mark> {
    let points = |points, ink, shape| Mark::Points { points, ink, shape };
    vec![
        points(pruned, Ink::Muted, Shape::Ring),
        points(whole, Ink::Series(0), Shape::Dot),
        Mark::Line {
            points: stairs(best, last),
            ink: Ink::Series(1),
            weight: Weight::Bold,
        },
    ]
}

fn entry(text: &str, ink: Ink, shape: Option<Shape>) -> Entry {
    Entry {
        text: text.to_string(),
        ink,
        shape,
        line: shape.is_none(),
    }
}

/// The trials with a result, in the order in which they were proposed.
fn points(study: &Study) -> Vec<Point> {
    let objective = study.objective();
    let trials = study.trials.iter().enumerate();
    let mut points: Vec<Point> = trials
        .filter_map(|(index, trial)| {
            Some(Point {
                place: study.place(index),
                value: objective.of_trial(trial)?,
                is_pruned: trial.status == Status::Pruned,
            })
        })
        .collect();
    points.sort_by(|a, b| a.place.total_cmp(&b.place));
    points
}

/// The trials that were better than all before.
fn steps(points: &[Point]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for point in points.iter().filter(|point| !point.is_pruned) {
        if steps.last().is_none_or(|(_, best)| point.value < *best) {
            steps.push((point.place, point.value));
        }
    }
    steps
}

/// A line that stays where it is until the next step.
fn stairs(steps: &[(f64, f64)], last: f64) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (place, value) in steps {
        if let Some((_, before)) = line.last() {
            line.push((*place, *before));
        }
        line.push((*place, *value));
    }
    if let Some((_, value)) = line.last() {
        line.push((last, *value));
    }
    line
}

fn table(study: &Study, points: &[Point]) -> Table {
    let objective = study.objective();
    let mut table = Table::new(["trial", capital(objective), "best so far"]);
    let mut best: Option<f64> = None;
    for point in points {
        if !point.is_pruned {
            best = Some(best.map_or(point.value, |best| best.min(point.value)));
        }
        let value = match point.is_pruned {
            true => format!("{} (pruned)", objective.text(point.value)),
            false => objective.text(point.value),
        };
        table.push(vec![
            format!("{:.0}", point.place),
            value,
            best.map(|best| objective.text(best)).unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(place: f64, value: f64, is_pruned: bool) -> Point {
        Point {
            place,
            value,
            is_pruned,
        }
    }

    #[test]
    fn only_whole_trials_are_the_best_so_far() {
        let points = [
            point(0.0, 0.5, false),
            point(1.0, 0.1, true),
            point(2.0, 0.6, false),
            point(3.0, 0.3, false),
        ];
        let steps = steps(&points);
        assert_eq!(steps, [(0.0, 0.5), (3.0, 0.3)]);
        let line = [(0.0, 0.5), (3.0, 0.5), (3.0, 0.3), (7.0, 0.3)];
        assert_eq!(stairs(&steps, 7.0), line);
    }
}
