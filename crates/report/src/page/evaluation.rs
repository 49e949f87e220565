//! The scores of a test: each class, and whether the network is as often right as it says.

use maud::{Markup, html};

use super::figure::table;
use crate::chart::Table;
use crate::format::percent;
use crate::study::{ClassScores, Evaluation};

/// Classes in the table.
const MOST_CLASSES: usize = 100;

/// Precision and recall of each class, the worst first.
pub(super) fn classes(scores: &[ClassScores]) -> Markup {
    let mut worst: Vec<&ClassScores> = scores.iter().collect();
    worst.sort_by(|a, b| a.f1.total_cmp(&b.f1));
    let mut found = Table::new(["class", "precision", "recall", "F1", "rows"]);
    for class in worst.iter().take(MOST_CLASSES) {
        found.push(vec![
            class.class.clone(),
            percent(class.precision),
            percent(class.recall),
            percent(class.f1),
            class.support.to_string(),
        ]);
    }
    found.left_out = worst.len().saturating_sub(MOST_CLASSES);
    html! {
        div .block {
            h3 { "Classes" }
            p .quiet {
                "Precision is how many of the rows given a class are of it, recall how many of "
                "its rows were given it, F1 is between both. The worst class is first."
            }
            (table(&found, &format!("Scores of {} classes", scores.len())))
        }
    }
}

/// The calibration curve: on the diagonal a network is as often right as it says.
pub(super) fn calibration(test: &Evaluation) -> Markup {
    let mut found = Table::new(["probability", "right", "rows"]);
    for bin in &test.calibration {
        found.push(vec![
            percent(bin.confidence),
            percent(bin.accuracy),
            bin.rows.to_string(),
        ]);
    }
    let place = |confidence: f64, accuracy: f64| {
        format!(
            "{:.1},{:.1}",
            10.0 + 200.0 * confidence,
            210.0 - 200.0 * accuracy
        )
    };
    let curve: Vec<String> = test
        .calibration
        .iter()
        .map(|bin| place(bin.confidence, bin.accuracy))
        .collect();
    let diagonal = format!("{} {}", place(0.0, 0.0), place(1.0, 1.0));
    html! {
        div .block {
            h3 { "Calibration" }
            p .quiet {
                "How sure the network is of its answer, and how often that is right. Below the "
                "diagonal it is surer than it should be."
                @if let Some(error) = test.calibration_error {
                    " The mean distance is " (percent(error)) "."
                }
            }
            // The table below says the same to those who do not see it.
            svg viewBox="0 0 220 220" width="260" height="260" aria-hidden="true" {
                rect x="10" y="10" width="200" height="200" fill="none"
                    stroke="currentColor" stroke-opacity="0.4" {}
                polyline points=(diagonal) fill="none" stroke="currentColor"
                    stroke-dasharray="4 4" stroke-opacity="0.5" {}
                polyline points=(curve.join(" ")) fill="none" stroke="currentColor"
                    stroke-width="2" {}
            }
            (table(&found, "Right answers by probability"))
        }
    }
}
