//! Bars that say how much each hyperparameter matters.

use super::{Axis, Chart, Entry, Kind, Mark, Panel, Table, Ticks};
use crate::draw::Ink;
use crate::format::{clip, count, percent};
use crate::importance::{Share, importance};
use crate::study::Study;

/// Bars of single hyperparameters and of pairs.
const MOST_MAIN: usize = 16;
const MOST_PAIRS: usize = 5;
/// With fewer trials the shares are rough.
const ENOUGH_TRIALS: usize = 20;
/// A pair that adds less than this is noise.
const NOTABLE: f64 = 0.01;

pub(super) fn chart(study: &Study) -> Result<Chart, String> {
    let importance = importance(study)?;
    let objective = study.objective().title();
    let mut table = Table::new(["hyperparameter", "share of the variance", "deviation"]);
    for share in importance.main.iter().chain(&importance.pairs) {
        table.push(vec![
            share.name.clone(),
            percent(share.mean),
            percent(share.deviation),
        ]);
    }
    let main = importance.main.iter().take(MOST_MAIN);
    let pairs = importance
        .pairs
        .iter()
        .filter(|share| share.mean >= NOTABLE);
    let bars: Vec<(&Share, Ink)> = main
        .map(|share| (share, Ink::Series(0)))
        .chain(pairs.take(MOST_PAIRS).map(|share| (share, Ink::Series(3))))
        .collect();
    let has_pairs = bars.iter().any(|(_, ink)| *ink == Ink::Series(3));
    let legend = match has_pairs {
        true => vec![
            entry("by itself", Ink::Series(0)),
            entry("two together", Ink::Series(3)),
        ],
        false => Vec::new(),
    };
    let mut description = format!(
        "How much of the variance of the {objective} comes from each hyperparameter by \
         itself, and from pairs beyond that: functional ANOVA over a random forest that \
         learned from {}.",
        count(importance.trials, "trial")
    );
    if let Some(first) = importance.main.first() {
        description += &format!(
            " {} matters most, with {}.",
            first.name,
            percent(first.mean)
        );
    }
    if importance.trials < ENOUGH_TRIALS {
        description += " With so few trials the shares are rough.";
    }
    let bars = bars
        .into_iter()
        .map(|(share, ink)| (share.name.clone(), share.mean, ink));
    Ok(Chart {
        kind: Kind::Importance,
        title: "Hyperparameter importance".to_string(),
        description,
        table,
        legend,
        panels: vec![bar_panel(
            "share of the variance",
            Ticks::Percent,
            bars.collect(),
        )],
    })
}

fn entry(text: &str, ink: Ink) -> Entry {
    Entry {
        text: text.to_string(),
        ink,
        shape: Some(super::Shape::Square),
        line: false,
    }
}

/// Horizontal bars with their values behind them, the first on top.
pub(super) fn bar_panel(
    title: &str,
    ticks: Ticks,
    bars: Vec<(String, f64, Ink)>,
) -> Panel {
    const HALF: f64 = 0.36;
    let last = bars.len().saturating_sub(1);
    let percentages = matches!(ticks, Ticks::Percent);
    let mut x = Axis::from_zero(title, bars.iter().map(|bar| bar.1), ticks);
    // Room for the text behind the longest bar.
    x.high *= 1.12;
    let mut names: Vec<(f64, String)> = Vec::new();
    let mut marks = Vec::new();
    for (index, (name, value, ink)) in bars.into_iter().enumerate() {
        let place = (last - index) as f64;
        names.push((place, clip(&name, 30)));
        marks.push(Mark::Bar {
            from: (0.0, place - HALF),
            to: (value, place + HALF),
            ink,
        });
        marks.push(Mark::Text {
            at: (value, place),
            text: match percentages {
                true => percent(value),
                false => crate::format::number(value),
            },
        });
    }
    Panel {
        x,
        y: Axis::named("", names),
        marks,
    }
}
