//! Error against learning rate, one line a size of the network: the figure of "Deep
//! Learning with Apache Spark and TensorFlow" (Databricks, 2016), for any study.

use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Ticks, Weight};
use crate::draw::Ink;
use crate::format::{clip, number};
use crate::parameter::{Domain, Parameter};
use crate::study::{Objective, Study, Trial};

/// Lines that colours and shapes can still tell apart.
const MOST_LINES: usize = 6;
/// With more different places than this, a line goes through the best of each part of
/// the axis.
const MOST_STOPS: usize = 16;
/// How many parts those are.
const PARTS: usize = 10;

/// The trials of one line, as places on the x axis with their results.
struct Group {
    name: String,
    points: Vec<(f64, f64)>,
}

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let varying = Parameter::measured(study);
    let x = across(&varying)?;
    let by = lines(&varying, x);
    let groups = groups(study, objective, x, by)?;
    let points = || groups.iter().flat_map(|group| &group.points).copied();
    let log_x = matches!(x.domain, Domain::Numbers { log: true, .. });
    let x_axis = Axis::over(&x.name, points().map(|p| p.0), log_x, Ticks::Numbers);
    let y_axis = objective_axis(objective, points().map(|p| p.1));
    let mut marks = Vec::new();
    let mut legend = Vec::new();
    for (series, group) in groups.iter().enumerate() {
        let (ink, shape) = (Ink::Series(series), Shape::of(series));
        marks.push(Mark::Line {
            points: best_line(&group.points, &x_axis),
            ink,
            weight: Weight::Bold,
        });
        marks.push(Mark::Points {
            points: group.points.clone(),
            ink,
            shape,
        });
        if let Some(by) = by {
            legend.push(Entry {
                text: format!("{} {}", by.name, group.name),
                ink,
                shape: Some(shape),
                line: true,
            });
        }
    }
    let by_name = by.map(|by| by.name.as_str());
    Ok(Chart {
        kind: Kind::LearningRate,
        title: match by_name {
            Some(by) => format!("{} against {} by {by}", capital(objective), x.name),
            None => format!("{} against {}", capital(objective), x.name),
        },
        description: description(&groups, objective, (&x.name, by_name), log_x),
        table: table(&groups, objective, &x.name, by_name),
        legend,
        panels: vec![Panel {
            x: x_axis,
            y: y_axis,
            marks,
        }],
    })
}

pub(super) fn capital(objective: Objective) -> &'static str {
    match objective {
        Objective::Error => "Validation error",
        Objective::Loss => "Validation loss",
    }
}

/// The axis of the objective: a logarithm where the best and the worst are far apart.
pub(super) fn objective_axis(
    objective: Objective,
    values: impl Iterator<Item = f64> + Clone,
) -> Axis {
    const FAR: f64 = 6.0;
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.clone().fold(0.0, f64::max);
    let ticks = match objective {
        Objective::Error => Ticks::Percent,
        Objective::Loss => Ticks::Numbers,
    };
    Axis::over(
        objective.title(),
        values,
        low > 0.0 && high / low > FAR,
        ticks,
    )
}

/// The learning rate, or else the number whose values are the furthest apart.
fn across(varying: &[Parameter]) -> Result<&Parameter, String> {
    let numeric = || {
        let numbers = varying.iter().filter(|parameter| !parameter.is_seed());
        numbers.filter(|parameter| matches!(parameter.domain, Domain::Numbers { .. }))
    };
    let named = numeric().find(|parameter| parameter.name == "learning_rate");
    let widest = || numeric().max_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    named
        .or_else(widest)
        .ok_or_else(|| "no hyperparameter that is a number differs".to_string())
}

/// The hyperparameter that lines differ in: one with few values, a number before a text.
fn lines<'a>(varying: &'a [Parameter], x: &Parameter) -> Option<&'a Parameter> {
    let others = varying
        .iter()
        .filter(|parameter| parameter.index != x.index && !parameter.is_seed());
    let rank = |parameter: &&Parameter| {
        let few = parameter.distinct() <= MOST_LINES;
        let number = matches!(parameter.domain, Domain::Numbers { .. });
        (few, number, parameter.name.starts_with("hidden"))
    };
    // Of equals the first one, as the table has them.
    others.rev().max_by_key(rank)
}

fn groups(
    study: &Study,
    objective: Objective,
    x: &Parameter,
    by: Option<&Parameter>,
) -> Result<Vec<Group>, String> {
    let mut measured: Vec<(f64, f64, &Trial)> = Vec::new();
    for trial in &study.trials {
        let place = trial.values.get(x.index).and_then(|value| x.place(value));
        if let (Some(place), Some(value)) = (place, objective.of_trial(trial)) {
            measured.push((place, value, trial));
        }
    }
    if measured.is_empty() {
        return Err(format!("no trial has both {} and a result", x.name));
    }
    measured.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let names = by.map_or_else(|| vec![String::new()], |by| group_names(study, by));
    let mut groups: Vec<Group> = names
        .into_iter()
        .map(|name| Group {
            name,
            points: Vec::new(),
        })
        .collect();
    for (place, value, trial) in measured {
        let index = by.map_or(Some(0), |by| group_of(by, trial, &groups));
        if let Some(group) = index.and_then(|index| groups.get_mut(index)) {
            group.points.push((place, value));
        }
    }
    groups.retain(|group| !group.points.is_empty());
    Ok(groups)
}

/// One name a value where there are few, otherwise one a range of values.
fn group_names(study: &Study, by: &Parameter) -> Vec<String> {
    match &by.domain {
        Domain::Categories(categories) => {
            let mut names: Vec<String> = categories
                .iter()
                .take(MOST_LINES)
                .map(|name| clip(name, 24))
                .collect();
            if categories.len() > MOST_LINES {
                names[MOST_LINES - 1] = "(others)".to_string();
            }
            names
        }
        Domain::Numbers { distinct, .. } if *distinct <= MOST_LINES => {
            let mut values: Vec<f64> = study
                .column(by.index)
                .filter_map(|value| by.place(value))
                .collect();
            values.sort_by(f64::total_cmp);
            let mut names: Vec<String> = values.into_iter().map(number).collect();
            names.dedup();
            names
        }
        Domain::Numbers { low, high, log, .. } => {
            let end = |part: usize| {
                let share = part as f64 / RANGES as f64;
                match log {
                    true => low * (high / low).powf(share),
                    false => low + (high - low) * share,
                }
            };
            (0..RANGES)
                .map(|part| format!("{} to {}", number(end(part)), number(end(part + 1))))
                .collect()
        }
    }
}

/// Ranges that a hyperparameter with many values is cut into.
const RANGES: usize = 4;

fn group_of(by: &Parameter, trial: &Trial, groups: &[Group]) -> Option<usize> {
    let value = trial.values.get(by.index)?;
    let last = groups.len().checked_sub(1)?;
    match &by.domain {
        Domain::Categories(_) => Some((by.place(value)? as usize).min(last)),
        Domain::Numbers { distinct, .. } if *distinct <= MOST_LINES => {
            let name = number(by.place(value)?);
            groups.iter().position(|group| group.name == name)
        }
        Domain::Numbers { .. } => {
            let part = by.position(value)? * groups.len() as f64;
            Some((part as usize).min(last))
        }
    }
}

/// A line through the best result at each place, or of each part of the axis where
/// there are many places.
fn best_line(points: &[(f64, f64)], axis: &Axis) -> Vec<(f64, f64)> {
    let has_parts = has_parts(points);
    let part = |x: f64| match has_parts {
        true => (axis.position(x).unwrap_or_default() * PARTS as f64).floor(),
        false => x,
    };
    let mut line: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        match line.last_mut() {
            Some(last) if part(last.0) == part(x) => {
                if y < last.1 {
                    *last = (x, y);
                }
            }
            _ => line.push((x, y)),
        }
    }
    line
}

/// Points come in the order of their places.
fn has_parts(points: &[(f64, f64)]) -> bool {
    let changes = points.windows(2).filter(|pair| pair[0].0 != pair[1].0);
    changes.count() >= MOST_STOPS
}

fn description(
    groups: &[Group],
    objective: Objective,
    (x, by): (&str, Option<&str>),
    log: bool,
) -> String {
    let best = groups
        .iter()
        .flat_map(|group| group.points.iter().map(move |point| (point, &group.name)))
        .min_by(|(a, _), (b, _)| a.1.total_cmp(&b.1));
    let each = match groups.iter().any(|group| has_parts(&group.points)) {
        true => format!("{PARTS}th of the axis"),
        false => x.to_string(),
    };
    let mut text = format!(
        "Each point is a trial that succeeded; a line joins the best of each {each}{}.",
        if log { ", on a logarithmic scale" } else { "" }
    );
    if let Some(((place, value), group)) = best {
        let with = match by {
            Some(by) => format!(" with {by} {group}"),
            None => String::new(),
        };
        text += &format!(
            " The lowest {} is {}, at {x} {}{with}.",
            objective.title(),
            objective.text(*value),
            number(*place)
        );
    }
    text
}

fn table(groups: &[Group], objective: Objective, x: &str, by: Option<&str>) -> Table {
    let mut table = Table {
        head: by
            .into_iter()
            .chain([x, objective.title()])
            .map(String::from)
            .collect(),
        ..Table::default()
    };
    for group in groups {
        for (place, value) in &group.points {
            let name = by.map(|_| group.name.clone());
            let rest = [number(*place), objective.text(*value)];
            table.push(name.into_iter().chain(rest).collect());
        }
    }
    table
}
