//! Charts of labelled images.

use super::importance::bar_panel;
use super::{Axis, Chart, Kind, Mark, Panel, Shape, Table, Ticks, Weight};
use crate::draw::Ink;
use crate::format::{count, duration, moment, number, percent};
use crate::labels::Labelling;

/// Bars of a histogram.
const BINS: usize = 20;
/// Bars of codes.
const MOST_CODES: usize = 20;
/// Stops of a line over time.
const MOST_STOPS: usize = 200;

pub(super) fn scores(labels: &Labelling) -> Result<Chart, String> {
    let scores: Vec<f64> = labels
        .scores
        .iter()
        .copied()
        .filter(|score| score.is_finite())
        .collect();
    if scores.is_empty() {
        return Err("no image has a label with a score".to_string());
    }
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Probabilities get their whole domain, whatever occurs.
    let are_probabilities = low >= 0.0 && high <= 1.0;
    let (low, high) = match are_probabilities {
        true => (0.0, 1.0),
        false if low == high => (low - 0.5, high + 0.5),
        false => (low, high),
    };
    let width = (high - low) / BINS as f64;
    let mut bins = [0_usize; BINS];
    for score in &scores {
        let bin = ((score - low) / width) as usize;
        bins[bin.min(BINS - 1)] += 1;
    }
    let end = |bin: usize| low + width * bin as f64;
    let mut table = Table::new(["score from", "to", "images"]);
    for (bin, images) in bins.iter().enumerate() {
        table.push(vec![
            number(end(bin)),
            number(end(bin + 1)),
            images.to_string(),
        ]);
    }
    let gap = width * 0.06;
    let bars = bins.iter().enumerate().filter(|(_, images)| **images > 0);
    let marks = bars.map(|(bin, images)| Mark::Bar {
        from: (end(bin) + gap, 0.0),
        to: (end(bin + 1) - gap, *images as f64),
        ink: Ink::Series(0),
    });
    Ok(Chart {
        kind: Kind::Scores,
        title: "Scores of the likeliest label".to_string(),
        description: about_scores(scores, are_probabilities),
        table,
        legend: Vec::new(),
        panels: vec![Panel {
            x: Axis {
                title: "score".to_string(),
                low,
                high,
                log: false,
                ticks: Ticks::Numbers,
            },
            y: Axis::from_zero("images", bins.iter().map(|n| *n as f64), Ticks::Whole),
            marks: marks.collect(),
        }],
    })
}

fn about_scores(mut scores: Vec<f64>, are_probabilities: bool) -> String {
    scores.sort_by(f64::total_cmp);
    let median = scores[scores.len() / 2];
    let unsure = scores.iter().filter(|score| **score < 0.5).count();
    let mut description = format!(
        "How sure the network is of the likeliest label of {}. Half of the scores are \
         above {}.",
        count(scores.len(), "image"),
        number(median)
    );
    if are_probabilities {
        let share = percent(unsure as f64 / scores.len() as f64);
        description += &format!(" {share} of the images have a score below 0.5.");
    }
    description
}

pub(super) fn errors(labels: &Labelling) -> Result<Chart, String> {
    if labels.errors.is_empty() {
        return Err("no image failed".to_string());
    }
    let failed: usize = labels.errors.iter().map(|error| error.count).sum();
    let mut table = Table::new(["error code", "images", "share of all"]);
    let share = |n: usize| percent(n as f64 / labels.images.max(1) as f64);
    for error in &labels.errors {
        table.push(vec![
            error.code.clone(),
            error.count.to_string(),
            share(error.count),
        ]);
    }
    let shown = labels.errors.iter().take(MOST_CODES);
    let bars =
        shown.map(|error| (error.code.clone(), error.count as f64, Ink::Series(1)));
    Ok(Chart {
        kind: Kind::Errors,
        title: "Errors by code".to_string(),
        description: format!(
            "{} of {} have no label ({}). {} is the most frequent code.",
            failed,
            count(labels.images, "image"),
            share(failed),
            labels.errors[0].code
        ),
        table,
        legend: Vec::new(),
        panels: vec![bar_panel("images", Ticks::Whole, bars.collect())],
    })
}

fn about_times(times: &[(f64, usize)], so_far: usize) -> String {
    let (began, first) = times.first().copied().unwrap_or_default();
    let span = times.last().map_or(0.0, |last| last.0 - began);
    match times.len() {
        1 => format!(
            "All {} were labelled by one run, at {}. A run gives its images one moment, \
             so there is no rate within it.",
            count(so_far, "image"),
            moment(began)
        ),
        runs => format!(
            "Images labelled so far: {} at {runs} moments over {}, {} images a second \
             over all. A run gives its images one moment.",
            so_far,
            duration(span),
            number((so_far - first) as f64 / span.max(1e-9))
        ),
    }
}

pub(super) fn throughput(labels: &Labelling) -> Result<Chart, String> {
    let (Some(first), Some(last)) = (labels.times.first(), labels.times.last()) else {
        return Err("the table has no labelled_at".to_string());
    };
    let began = first.0;
    let span = last.0 - began;
    let (unit, length) = match span {
        s if s > 3.0 * 86_400.0 => ("days", 86_400.0),
        s if s > 3.0 * 3_600.0 => ("hours", 3_600.0),
        s if s > 240.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    };
    let mut table = Table::new(["labelled at", "images", "images so far"]);
    let mut so_far = 0;
    let mut stairs = vec![(0.0, 0.0)];
    let mut stops = Vec::new();
    for (time, images) in &labels.times {
        let x = (time - began) / length;
        stairs.push((x, so_far as f64));
        so_far += images;
        stairs.push((x, so_far as f64));
        stops.push((x, so_far as f64));
        table.push(vec![moment(*time), images.to_string(), so_far.to_string()]);
    }
    if stops.len() > MOST_STOPS {
        stairs = super::thin(stairs, 2, 2 * MOST_STOPS);
        stops.clear();
    }
    Ok(Chart {
        kind: Kind::Throughput,
        title: "Images over time".to_string(),
        description: about_times(&labels.times, so_far),
        table,
        legend: Vec::new(),
        panels: vec![Panel {
            x: Axis::over(
                format!("{unit} since {}", moment(began)),
                stairs.iter().map(|point| point.0),
                false,
                Ticks::Numbers,
            ),
            y: Axis::from_zero("images", [so_far as f64].into_iter(), Ticks::Whole),
            marks: vec![
                Mark::Line {
                    points: stairs,
                    ink: Ink::Series(0),
                    weight: Weight::Bold,
                },
                Mark::Points {
                    points: stops,
                    ink: Ink::Series(0),
                    shape: Shape::Circle,
                },
            ],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::ErrorCode;

    fn images(table: &Table) -> usize {
        table
            .rows
            .iter()
            .map(|row| row[row.len() - 1].parse::<usize>().unwrap())
            .sum()
    }

    #[test]
    fn every_score_falls_into_one_bar() {
        let labels = Labelling {
            scores: vec![0.0, 0.049, 0.05, 0.5, 1.0, f64::NAN],
            ..Labelling::default()
        };
        let chart = scores(&labels).unwrap();
        assert_eq!(images(&chart.table), 5);
        assert_eq!(chart.table.rows[0][2], "2");
        assert_eq!(chart.table.rows[19], ["0.95", "1", "1"]);
    }

    #[test]
    fn scores_need_not_be_probabilities() {
        for scores_of in [vec![-3.0, 12.0], vec![7.0, 7.0]] {
            let labels = Labelling {
                scores: scores_of,
                ..Labelling::default()
            };
            assert_eq!(images(&scores(&labels).unwrap().table), 2);
        }
    }

    #[test]
    fn errors_are_shares_of_all_images() {
        let labels = Labelling {
            images: 200,
            errors: vec![ErrorCode {
                code: "NOT_AN_IMAGE".to_string(),
                count: 3,
                examples: Vec::new(),
            }],
            ..Labelling::default()
        };
        let chart = errors(&labels).unwrap();
        assert_eq!(chart.table.rows, [["NOT_AN_IMAGE", "3", "1.5 %"]]);
        assert_eq!(
            errors(&Labelling::default()).unwrap_err(),
            "no image failed"
        );
    }

    #[test]
    fn images_add_up_over_time() {
        let labels = Labelling {
            times: vec![(100.0, 5), (160.0, 15)],
            ..Labelling::default()
        };
        let chart = throughput(&labels).unwrap();
        assert_eq!(chart.table.rows[1][1..], ["15", "20"]);
        assert!(
            chart.description.contains("0.25 images a second"),
            "{chart:?}"
        );
    }
}
