//! Which trials went on at which rung of a pruner.

use std::collections::BTreeMap;

use super::learning_rate::objective_axis;
use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Weight, thin};
use crate::draw::Ink;
use crate::format::count;
use crate::study::{Objective, Status, Study, Trial};

/// Trials drawn; those that came furthest are first.
const MOST_TRIALS: usize = 300;
const FURTHEST: usize = 30;

/// The epochs after which trials were compared.
struct Rung {
    number: u32,
    epochs: u32,
}

/// How a trial fared: its value at each rung that it reached, by the place of the rung.
struct Climb<'a> {
    trial: &'a Trial,
    points: Vec<(f64, f64)>,
    /// Whether it reached the last rung.
    is_whole: bool,
}

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let objective = study.objective();
    let rungs = rungs(study);
    if rungs.len() < 2 {
        return Err("no pruner compared its trials at several rungs".to_string());
    }
    let climbs = climbs(study, objective, &rungs);
    let table = table(&climbs, objective, &rungs);
    let drawn = thin(climbs, FURTHEST, MOST_TRIALS);
    let values = drawn.iter().flat_map(|climb| &climb.points);
    let names = rungs.iter().enumerate();
    let names = names.map(|(place, rung)| {
        let epochs = usize::try_from(rung.epochs).unwrap_or(usize::MAX);
        (place as f64, count(epochs, "epoch"))
    });
    let x = Axis {
        low: -0.3,
        high: rungs.len() as f64 - 0.7,
        ..Axis::named("rung", names.collect())
    };
    Ok(Chart {
        kind: Kind::Rungs,
        title: "Rungs".to_string(),
        description: description(study, &table),
        legend: legend(&drawn),
        panels: vec![Panel {
            x,
            y: objective_axis(objective, values.map(|point| point.1)),
            marks: marks(&drawn),
        }],
        table,
    })
}

/// The rungs at which trials ended. The epochs of one are those that pruned trials had
/// there; the last one is a whole trial.
fn rungs(study: &Study) -> Vec<Rung> {
    let mut found: BTreeMap<u32, u32> = BTreeMap::new();
    for trial in &study.trials {
        let ended = matches!(trial.status, Status::Succeeded | Status::Pruned);
        let last = trial.history.last().map(|epoch| epoch.epoch);
        if let (true, Some(rung), Some(epochs)) = (ended, trial.rung, last) {
            let most = found.entry(rung).or_insert(epochs);
            *most = epochs.max(*most);
        }
    }
    let rungs = found.into_iter();
    rungs
        .map(|(number, epochs)| Rung { number, epochs })
        .collect()
}

/// The trials with a value at a rung, those that came furthest first.
fn climbs<'a>(study: &'a Study, objective: Objective, rungs: &[Rung]) -> Vec<Climb<'a>> {
    let highest = rungs.last().map_or(0, |rung| rung.number);
    let climbs = study.trials.iter().filter_map(|trial| {
        let reached = trial.rung?;
        let places = rungs.iter().enumerate();
        let places = places.filter(|(_, rung)| rung.number <= reached);
        let points = places.filter_map(|(place, rung)| {
            Some((place as f64, at(trial, objective, rung.epochs)?))
        });
        Some(Climb {
            trial,
            points: points.collect(),
            is_whole: reached == highest,
        })
    });
    let mut climbs: Vec<Climb<'_>> =
        climbs.filter(|climb| !climb.points.is_empty()).collect();
    let last = |climb: &Climb<'_>| climb.points.last().map_or(0.0, |point| point.1);
    climbs.sort_by(|a, b| {
        let furthest = b.points.len().cmp(&a.points.len());
        furthest.then(last(a).total_cmp(&last(b)))
    });
    climbs
}

/// What a trial came to within so many epochs: as `train` does, of its best epoch.
fn at(trial: &Trial, objective: Objective, epochs: u32) -> Option<f64> {
    let history = trial.history.iter().filter(|epoch| epoch.epoch <= epochs);
    history
        .filter_map(|epoch| objective.of_epoch(epoch))
        .min_by(f64::total_cmp)
}

/// How a trial ended at the last rung that it reached.
fn ending(climb: &Climb<'_>) -> (&'static str, Ink, Shape) {
    match climb.trial.status {
        Status::Pruned => ("pruned", Ink::Series(3), Shape::Triangle),
        Status::Succeeded if climb.is_whole => {
            ("whole trial", Ink::Series(0), Shape::Circle)
        }
        Status::Succeeded => ("stopped early", Ink::Muted, Shape::Ring),
        _ => ("failed", Ink::Series(1), Shape::Cross),
    }
}

fn marks(climbs: &[Climb<'_>]) -> Vec<Mark> {
    let mut marks = Vec::new();
    // Those that came furthest are drawn last, above the others.
    for climb in climbs.iter().rev() {
        let (_, ink, shape) = ending(climb);
        let (line, weight) = match climb.is_whole {
            true => (Ink::Series(0), Weight::Thin),
            false => (Ink::Muted, Weight::Faint),
        };
        marks.push(Mark::Line {
            points: climb.points.clone(),
            ink: line,
            weight,
        });
        let Some((last, passed)) = climb.points.split_last() else {
            continue;
        };
        marks.push(Mark::Points {
            points: passed.to_vec(),
            ink: Ink::Series(2),
            shape: Shape::Dot,
        });
        marks.push(Mark::Points {
            points: vec![*last],
            ink,
            shape,
        });
    }
    marks
}

fn legend(climbs: &[Climb<'_>]) -> Vec<Entry> {
    let went_on = ("went on", Ink::Series(2), Shape::Dot);
    let mut found = vec![went_on];
    for ending in climbs.iter().map(ending) {
        if found.iter().all(|(text, ..)| *text != ending.0) {
            found.push(ending);
        }
    }
    let entries = found.into_iter().map(|(text, ink, shape)| Entry {
        text: text.to_string(),
        ink,
        shape: Some(shape),
        line: false,
    });
    entries.collect()
}

fn description(study: &Study, table: &Table) -> String {
    let words = table.rows.iter().map(|row| match row[2].as_str() {
        "" => format!("{} had {}", row[1], row[0]),
        went_on => format!("{} had {}, and {went_on} of them went on", row[1], row[0]),
    });
    format!(
        "The {} of each trial at the epochs after which a pruner compared them. Of {}: {}. \
         Where trials start at different rungs, as with Hyperband, some pass one without \
         being compared there.",
        study.objective().title(),
        count(study.trials.len(), "trial"),
        words.collect::<Vec<_>>().join("; ")
    )
}

/// A row a rung.
fn table(climbs: &[Climb<'_>], objective: Objective, rungs: &[Rung]) -> Table {
    let mut table = Table::new([
        "rung",
        "trials",
        "went on",
        "pruned",
        "best",
        "worst that went on",
    ]);
    for (place, rung) in rungs.iter().enumerate() {
        let is_here = |point: &&(f64, f64)| point.0 == place as f64;
        let here = climbs.iter().filter_map(|climb| {
            let value = climb.points.iter().find(is_here)?.1;
            Some((climb, value))
        });
        let here: Vec<(&Climb<'_>, f64)> = here.collect();
        let is_above =
            |climb: &Climb<'_>| climb.trial.rung.is_some_and(|r| r > rung.number);
        let above = here.iter().filter(|(climb, _)| is_above(climb));
        let pruned = here.iter().filter(|(climb, _)| {
            !is_above(climb) && climb.trial.status == Status::Pruned
        });
        let best = here.iter().map(|(_, value)| *value).min_by(f64::total_cmp);
        let worst = above
            .clone()
            .map(|(_, value)| *value)
            .max_by(f64::total_cmp);
        let value =
            |value: Option<f64>| value.map(|v| objective.text(v)).unwrap_or_default();
        let is_last = place + 1 == rungs.len();
        let epochs = usize::try_from(rung.epochs).unwrap_or(usize::MAX);
        table.push(vec![
            count(epochs, "epoch"),
            here.len().to_string(),
            match is_last {
                true => String::new(),
                false => above.count().to_string(),
            },
            pruned.count().to_string(),
            value(best),
            value(worst),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Epoch;

    /// A trial whose error after each epoch is given.
    fn trial(status: Status, rung: u32, errors: &[f64]) -> Trial {
        let history = errors.iter().zip(1..).map(|(error, epoch)| Epoch {
            epoch,
            accuracy: Some(1.0 - error),
            ..Epoch::default()
        });
        Trial {
            status,
            rung: Some(rung),
            history: history.collect(),
            accuracy: errors.last().map(|error| 1.0 - error),
            ..Trial::default()
        }
    }

    fn study() -> Study {
        Study {
            trials: vec![
                trial(Status::Pruned, 0, &[0.5]),
                trial(Status::Pruned, 0, &[0.6]),
                trial(Status::Pruned, 1, &[0.4, 0.25, 0.3]),
                trial(
                    Status::Succeeded,
                    2,
                    &[0.3, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.125],
                ),
                trial(Status::Diverged, 0, &[]),
            ],
            ..Study::default()
        }
    }

    #[test]
    fn a_rung_says_who_went_on() {
        let chart = chart(&study()).unwrap();
        let rows: Vec<Vec<&str>> = chart
            .table
            .rows
            .iter()
            .map(|row| row.iter().map(String::as_str).collect())
            .collect();
        assert_eq!(
            rows,
            [
                ["1 epoch", "4", "2", "2", "30 %", "40 %"],
                // The best of its epochs, as the pruner saw it.
                ["3 epochs", "2", "1", "1", "20 %", "20 %"],
                ["9 epochs", "1", "", "0", "10 %", ""],
            ]
        );
    }

    #[test]
    fn a_study_without_a_pruner_has_no_rungs() {
        let mut study = study();
        study.trials.retain(|trial| trial.rung == Some(0));
        assert!(chart(&study).is_err());
        study.trials.clear();
        assert!(chart(&study).is_err());
    }
}
