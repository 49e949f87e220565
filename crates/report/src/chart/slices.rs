//! Slice plots: the objective against each hyperparameter by itself.

use super::learning_rate::{capital, objective_axis};
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Ticks, thin};
use crate::draw::Ink;
use crate::format::count;
use crate::parameter::{Domain, Parameter};
use crate::study::{Status, Study, Trial};

/// Trials drawn; the best come first.
const MOST_TRIALS: usize = 400;
const BEST: usize = 50;
/// Panels that a page has room for.
const MOST_PANELS: usize = 12;

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let (varying, trials) = ranked(study)?;
    let all = trials.len();
    let best = trials[0];
    let is_pruned = |trial: &Trial| trial.status == Status::Pruned;
    let pruned = trials.iter().filter(|(trial, _)| is_pruned(trial)).count();
    let table = trials_table(study, &varying, &trials);
    let trials = thin(trials, BEST, MOST_TRIALS);
    let y = objective_axis(objective, trials.iter().map(|(_, value)| *value));
    let panels = varying.iter().take(MOST_PANELS);
    let panels = panels.map(|parameter| panel(parameter, &y, &trials, &best));
    Ok(Chart {
        kind: Kind::Slices,
        title: format!("{} by hyperparameter", capital(objective)),
        description: format!(
            "A panel a hyperparameter: each point is a trial, {} in all{}. The best trial \
             is marked in every panel.{}",
            count(all, "trial"),
            match trials.len() < all {
                true => format!(", {} of them drawn", trials.len()),
                false => String::new(),
            },
            match pruned {
                0 => String::new(),
                pruned => format!(
                    " {pruned} have the value of the epoch after which a pruner ended them."
                ),
            }
        ),
        table,
        panels: panels.collect(),
        legend: legend(pruned > 0),
    })
}

fn legend(has_pruned: bool) -> Vec<Entry> {
    let entry = |text: &str, ink, shape| Entry {
        text: text.to_string(),
        ink,
        shape: Some(shape),
        line: false,
    };
    let mut legend = vec![entry("best trial", Ink::Series(1), Shape::Diamond)];
    if has_pruned {
        legend.push(entry("trial", Ink::Series(0), Shape::Dot));
        legend.push(entry("pruned", Ink::Muted, Shape::Dot));
    }
    legend
}

fn panel(
    parameter: &Parameter,
    y: &Axis,
    trials: &[(&Trial, f64)],
    best: &(&Trial, f64),
) -> Panel {
    let points = |is_wanted: &dyn Fn(Status) -> bool| -> Vec<(f64, f64)> {
        let trials = trials.iter().filter(|(trial, _)| is_wanted(trial.status));
        trials.filter_map(|trial| point(parameter, trial)).collect()
    };
    let dots = |points, ink| Mark::Points {
        points,
        ink,
        shape: Shape::Dot,
    };
    Panel {
        x: axis(parameter, &points(&|_| true)),
        y: y.clone(),
        marks: vec![
            dots(points(&|status| status == Status::Pruned), Ink::Muted),
            dots(points(&|status| status != Status::Pruned), Ink::Series(0)),
            Mark::Points {
                points: point(parameter, best).into_iter().collect(),
                ink: Ink::Series(1),
                shape: Shape::Diamond,
            },
        ],
    }
}

fn point(parameter: &Parameter, (trial, value): &(&Trial, f64)) -> Option<(f64, f64)> {
    let place = parameter.place(trial.values.get(parameter.index)?)?;
    Some((place, *value))
}

pub(super) fn axis(parameter: &Parameter, points: &[(f64, f64)]) -> Axis {
    match &parameter.domain {
        Domain::Numbers { log, .. } => {
            let places = points.iter().map(|point| point.0);
            Axis::over(&parameter.name, places, *log, Ticks::Numbers)
        }
        Domain::Categories(categories) => {
            Axis::named(&parameter.name, Domain::labels(categories))
        }
    }
}

/// Trials with the hyperparameters that differ and their results.
/// Hyperparameters, and trials with their objective.
type Ranked<'a> = (Vec<Parameter>, Vec<(&'a Trial, f64)>);

/// The hyperparameters that differ among the trials, and the trials that have a result
/// with it, the best first.
pub(super) fn ranked(study: &Study) -> Result<Ranked<'_>, String> {
    let objective = study.objective();
    let varying = Parameter::measured(study);
    let mut trials: Vec<(&Trial, f64)> = study
        .trials
        .iter()
        .filter_map(|trial| Some((trial, objective.of_trial(trial)?)))
        .collect();
    if varying.is_empty() {
        return Err("no hyperparameter differs among the trials".to_string());
    }
    if trials.is_empty() {
        return Err("no trial has a result".to_string());
    }
    // What a pruner ended is no best trial, however good it was so early.
    let rank = |trial: &Trial| trial.status == Status::Pruned;
    trials.sort_by(|a, b| rank(a.0).cmp(&rank(b.0)).then(a.1.total_cmp(&b.1)));
    Ok((varying, trials))
}

pub(super) fn trials_table(
    study: &Study,
    varying: &[Parameter],
    trials: &[(&Trial, f64)],
) -> Table {
    let objective = study.objective();
    let mut table = Table {
        head: varying
            .iter()
            .map(|parameter| parameter.name.clone())
            .chain([objective.title().to_string()])
            .collect(),
        ..Table::default()
    };
    for (trial, result) in trials {
        let values = varying.iter().map(|parameter| parameter.text(trial));
        table.push(values.chain([objective.text(*result)]).collect());
    }
    table
}
