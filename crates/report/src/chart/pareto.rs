//! Several objectives: the trials that no other one beats in all of them.

use super::slices::trials_table;
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Ticks, Weight, thin};
use crate::draw::Ink;
use crate::format::{count, number, percent};
use crate::parameter::Parameter;
use crate::study::{Status, Study, Trial};

/// Trials drawn beside the front.
const MOST_TRIALS: usize = 500;
/// Values further apart than this belong on a logarithmic axis.
const FAR: f64 = 6.0;

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let names = &study.objectives;
    if names.len() < 2 {
        return Err("the study has one objective".to_string());
    }
    let trials: Vec<&Trial> = study
        .trials
        .iter()
        .filter(|trial| trial.status == Status::Succeeded)
        .filter(|trial| trial.objectives.len() == names.len())
        .filter(|trial| trial.objectives.iter().all(|value| value.is_finite()))
        .collect();
    if trials.is_empty() {
        return Err("no trial succeeded with a value for each objective".to_string());
    }
    let values: Vec<Vec<f64>> = trials.iter().map(|t| t.objectives.clone()).collect();
    let ranks = atoll_search::ranks(&values);
    let of_front = |wanted: bool| {
        let ranked = trials.iter().zip(&ranks);
        let ranked = ranked.filter(move |(_, rank)| (**rank == 0) == wanted);
        ranked.map(|(trial, _)| *trial).collect::<Vec<&Trial>>()
    };
    let (mut front, others) = (of_front(true), of_front(false));
    front.sort_by(|a, b| a.objectives[0].total_cmp(&b.objectives[0]));
    let drawn = thin(others, 0, MOST_TRIALS);
    let panels = (1..names.len()).map(|other| panel(names, (0, other), &front, &drawn));
    Ok(Chart {
        kind: Kind::Pareto,
        title: "Pareto front".to_string(),
        description: format!(
            "{} of {} that succeeded are on the front: no other trial is at least as good \
             in {} and better in one of them. Less is better on both axes.",
            front.len(),
            count(trials.len(), "trial"),
            names.join(" and ")
        ),
        table: table(study, &front),
        legend: vec![
            entry("front", Ink::Series(0), Shape::Circle, names.len() == 2),
            entry("other trials", Ink::Muted, Shape::Dot, false),
        ],
        panels: panels.collect(),
    })
}

fn entry(text: &str, ink: Ink, shape: Shape, line: bool) -> Entry {
    Entry {
        text: text.to_string(),
        ink,
        shape: Some(shape),
        line,
    }
}

fn panel(
    names: &[String],
    (x, y): (usize, usize),
    front: &[&Trial],
    others: &[&Trial],
) -> Panel {
    let places = |trials: &[&Trial]| -> Vec<(f64, f64)> {
        let trials = trials.iter();
        let places = trials.map(|trial| (trial.objectives[x], trial.objectives[y]));
        places.collect()
    };
    let (front, others) = (places(front), places(others));
    let all = || front.iter().chain(&others);
    let axes = (
        axis(&names[x], all().map(|place| place.0)),
        axis(&names[y], all().map(|place| place.1)),
    );
    let mut marks = vec![Mark::Points {
        points: others,
        ink: Ink::Muted,
        shape: Shape::Dot,
    }];
    // Of more than two objectives the front is a surface, and no line.
    if names.len() == 2 {
        marks.push(Mark::Line {
            points: stairs(&front),
            ink: Ink::Series(0),
            weight: Weight::Thin,
        });
    }
    marks.push(Mark::Points {
        points: front,
        ink: Ink::Series(0),
        shape: Shape::Circle,
    });
    Panel {
        x: axes.0,
        y: axes.1,
        marks,
    }
}

/// The edge of what the front is better than.
fn stairs(front: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (x, y) in front {
        if let Some((_, before)) = line.last() {
            line.push((*x, *before));
        }
        line.push((*x, *y));
    }
    line
}

fn is_share(name: &str) -> bool {
    name == "validation_error"
}

fn axis(name: &str, values: impl Iterator<Item = f64> + Clone) -> Axis {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let ticks = match is_share(name) {
        true => Ticks::Percent,
        false => Ticks::Numbers,
    };
    let title = name.replace('_', " ");
    Axis::over(title, values, low > 0.0 && high / low > FAR, ticks)
}

/// The trials of the front, with their hyperparameters.
fn table(study: &Study, front: &[&Trial]) -> Table {
    let varying = Parameter::measured(study);
    let values: Vec<(&Trial, f64)> =
        front.iter().map(|t| (*t, t.objectives[0])).collect();
    let mut table = trials_table(study, &varying, &values);
    // The objectives stand where one would.
    table.head.pop();
    table.head.extend(study.objectives.iter().cloned());
    for (row, trial) in table.rows.iter_mut().zip(front) {
        row.pop();
        let objectives = study.objectives.iter().zip(&trial.objectives);
        row.extend(objectives.map(|(name, value)| match is_share(name) {
            true => percent(*value),
            false => number(*value),
        }));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(error: f64, cost: f64) -> Trial {
        Trial {
            status: Status::Succeeded,
            objectives: vec![error, cost],
            ..Trial::default()
        }
    }

    fn study(trials: Vec<Trial>) -> Study {
        Study {
            objectives: vec!["validation_error".to_string(), "cost".to_string()],
            trials,
            ..Study::default()
        }
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let mut beaten = trial(0.3, 30.0);
        beaten.status = Status::Diverged;
        beaten.objectives = vec![0.0, 0.0];
        let trials = vec![
            trial(0.1, 40.0),
            trial(0.2, 20.0),
            trial(0.2, 30.0),
            trial(0.5, 10.0),
            beaten,
        ];
        let chart = chart(&study(trials)).unwrap();
        let rows = [["10 %", "40"], ["20 %", "20"], ["50 %", "10"]];
        assert_eq!(chart.table.rows, rows);
        assert_eq!(chart.table.head, ["validation_error", "cost"]);
        assert!(chart.description.starts_with("3 of 4 trials"), "{chart:?}");
    }

    #[test]
    fn one_objective_has_no_front() {
        let mut study = study(vec![trial(0.1, 1.0)]);
        study.objectives.pop();
        assert!(chart(&study).is_err());
    }
}
