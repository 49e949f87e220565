//! Learning curves: the objective after each epoch, a line a trial.

use super::learning_rate::{capital, objective_axis};
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Ticks, Weight, thin};
use crate::draw::Ink;
use crate::format::count;
use crate::parameter::Parameter;
use crate::study::{Objective, Status, Study, Trial, Value};

/// Lines in colour; the rest is context.
const HIGHLIGHTED: usize = 5;
/// More lines than this are a grey area, and a large file.
const MOST_CURVES: usize = 150;
/// Epochs that a table has room for.
const MOST_EPOCHS: usize = 20;

/// A trial with its points.
struct Curve<'a> {
    trial: &'a Trial,
    name: String,
    points: Vec<(f64, f64)>,
    /// The place among the best trials, from 0.
    rank: Option<usize>,
}

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let curves = curves(study, objective);
    if curves.is_empty() {
        return Err("no trial has a history of its epochs".to_string());
    }
    let all = curves.len();
    let longest = longest(&curves);
    let table = table(&curves, objective);
    let drawn = thin(curves, HIGHLIGHTED, MOST_CURVES);
    let values = || drawn.iter().flat_map(|curve| &curve.points);
    let epochs = values().map(|point| point.0);
    let x = Axis {
        low: 0.5_f64.min(longest - 0.5),
        ..Axis::over("epoch", epochs, false, Ticks::Whole)
    };
    let y = objective_axis(objective, values().map(|point| point.1));
    let marks = marks(&drawn, longest);
    let legend = legend(&drawn, longest);
    let mut description = format!(
        "{} after each epoch of {}. The best {} are in colour.",
        capital(objective),
        count(all, "trial"),
        drawn.iter().filter(|curve| curve.rank.is_some()).count()
    );
    description += &endings(study, &drawn, longest);
    if drawn.len() < all {
        description += &format!(" {} of them are drawn.", drawn.len());
    }
    Ok(Chart {
        kind: Kind::Curves,
        title: "Learning curves".to_string(),
        description,
        table,
        legend,
        panels: vec![Panel { x, y, marks }],
    })
}

fn longest(curves: &[Curve<'_>]) -> f64 {
    let ends = curves.iter().filter_map(|curve| curve.points.last());
    ends.map(|point| point.0).fold(1.0, f64::max)
}

/// The best trials first, then the others in the order of the table.
fn curves(study: &Study, objective: Objective) -> Vec<Curve<'_>> {
    let best: Vec<&Trial> = study.ranked().into_iter().take(HIGHLIGHTED).collect();
    let varying = Parameter::varying(study);
    let rank = |trial: &Trial| best.iter().position(|best| std::ptr::eq(*best, trial));
    let mut curves: Vec<Curve<'_>> = study
        .trials
        .iter()
        .enumerate()
        .map(|(index, trial)| {
            let epochs = trial.history.iter();
            let points = epochs
                .filter_map(|epoch| {
                    Some((f64::from(epoch.epoch), objective.of_epoch(epoch)?))
                })
                .collect();
            Curve {
                trial,
                name: name(study, &varying, index),
                points,
                rank: rank(trial),
            }
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    curves.sort_by_key(|curve| curve.rank.unwrap_or(usize::MAX));
    curves
}

/// What tells a trial from the others: its number, and the hyperparameters that differ.
fn name(study: &Study, varying: &[Parameter], index: usize) -> String {
    let parts = if study.is_numbered() { 2 } else { 3 };
    let trial = &study.trials[index];
    // What another choice brings is no part of this one.
    let given = varying.iter().filter_map(|parameter| {
        let value = trial.values.get(parameter.index)?;
        (*value != Value::Null).then_some((parameter, value))
    });
    let parts = given.take(parts).map(|(parameter, value)| {
        let value = crate::format::clip(&value.text(), 16);
        format!("{} {value}", parameter.name)
    });
    let parts = parts.collect::<Vec<_>>().join(", ");
    let number = format!("trial {:.0}", study.place(index));
    match (parts.is_empty(), study.is_numbered()) {
        (true, _) => number,
        (false, true) => format!("{number}: {parts}"),
        (false, false) => parts,
    }
}

/// How a curve ends, if not at the last epoch with a network.
fn ending(curve: &Curve<'_>, longest: f64) -> Option<(&'static str, Ink, Shape)> {
    let last = curve.points.last().map_or(0.0, |point| point.0);
    match curve.trial.status {
        Status::Succeeded if last < longest => {
            Some(("stopped early", Ink::Muted, Shape::Ring))
        }
        Status::Succeeded => None,
        Status::Pruned => Some(("pruned", Ink::Series(3), Shape::Triangle)),
        Status::Diverged => Some(("diverged", Ink::Series(1), Shape::Cross)),
        Status::TimedOut => Some(("timed out", Ink::Series(5), Shape::Square)),
        Status::Infeasible | Status::Failed | Status::Unknown => {
            Some(("failed", Ink::Series(4), Shape::Diamond))
        }
    }
}

fn marks(curves: &[Curve<'_>], longest: f64) -> Vec<Mark> {
    let mut marks = Vec::new();
    // The best are drawn last, above the others.
    for curve in curves.iter().rev() {
        let (ink, weight) = match curve.rank {
            Some(rank) => (Ink::Series(rank), Weight::Bold),
            None if curves.len() > 40 => (Ink::Muted, Weight::Faint),
            None => (Ink::Muted, Weight::Thin),
        };
        if let [point] = curve.points[..] {
            marks.push(Mark::Points {
                points: vec![point],
                ink,
                shape: Shape::Dot,
            });
        }
        marks.push(Mark::Line {
            points: curve.points.clone(),
            ink,
            weight,
        });
        if let Some(rank) = curve.rank {
            marks.push(Mark::Points {
                points: some_points(&curve.points),
                ink,
                shape: Shape::of(rank),
            });
        }
        if let (Some((_, ink, shape)), Some(last)) =
            (ending(curve, longest), curve.points.last())
        {
            marks.push(Mark::Points {
                points: vec![*last],
                ink,
                shape,
            });
        }
    }
    marks
}

/// Few enough that shapes do not touch each other.
fn some_points(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const MARKED: usize = 8;
    let step = points.len().div_ceil(MARKED).max(1);
    let last = points.len().saturating_sub(1);
    let marked = points.iter().enumerate();
    marked
        .filter(|(index, _)| index.is_multiple_of(step) || *index == last)
        .map(|(_, point)| *point)
        .collect()
}

fn legend(curves: &[Curve<'_>], longest: f64) -> Vec<Entry> {
    let best = curves.iter().filter_map(|curve| {
        let rank = curve.rank?;
        Some(Entry {
            text: curve.name.clone(),
            ink: Ink::Series(rank),
            shape: Some(Shape::of(rank)),
            line: true,
        })
    });
    let mut legend: Vec<Entry> = best.collect();
    for (text, ink, shape) in curves.iter().filter_map(|curve| ending(curve, longest)) {
        if legend.iter().all(|entry| entry.text != text) {
            legend.push(Entry {
                text: text.to_string(),
                ink,
                shape: Some(shape),
                line: false,
            });
        }
    }
    legend
}

fn endings(study: &Study, curves: &[Curve<'_>], longest: f64) -> String {
    let early = curves
        .iter()
        .filter(|curve| {
            ending(curve, longest).is_some_and(|(text, ..)| text == "stopped early")
        })
        .count();
    let mut parts = Vec::new();
    for (status, verb) in [(Status::Pruned, "pruned"), (Status::Diverged, "diverged")] {
        let ended = study.trials.iter().filter(|trial| trial.status == status);
        let n = ended.clone().count();
        let without = ended.filter(|trial| trial.history.is_empty()).count();
        if n > 0 {
            let mut part = format!("{n} {verb}");
            if without > 0 {
                part +=
                    &format!(" ({without} before the end of an epoch, without a curve)");
            }
            parts.push(part);
        }
    }
    if early > 0 {
        parts.push(format!("{early} stopped early"));
    }
    match parts.is_empty() {
        true => String::new(),
        false => format!(" Marks show where curves end: {}.", parts.join(", ")),
    }
}

fn table(curves: &[Curve<'_>], objective: Objective) -> Table {
    let longest = longest(curves) as usize;
    let step = longest.div_ceil(MOST_EPOCHS).max(1);
    let epochs: Vec<usize> = (1..=longest)
        .filter(|epoch| epoch % step == 0 || *epoch == longest)
        .collect();
    let mut table = Table::new(["trial", "status"]);
    table
        .head
        .extend(epochs.iter().map(|epoch| format!("epoch {epoch}")));
    for curve in curves {
        let value = |epoch: &usize| {
            let at = curve.points.iter().find(|point| point.0 as usize == *epoch);
            at.map_or_else(String::new, |point| objective.text(point.1))
        };
        let row = [curve.name.clone(), curve.trial.status.name().to_string()];
        table.push(row.into_iter().chain(epochs.iter().map(value)).collect());
    }
    table
}
