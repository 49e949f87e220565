//! Whether a classifier is as often right as it says.

use super::{ClassAnswers, mean, ratio};

/// Rows whose most probable class has about the same probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Rows.
    pub rows: u64,
    /// The mean of those probabilities.
    pub confidence: f64,
    /// The share of the rows that were labelled right.
    pub accuracy: f64,
}

/// Bins of equal width over the probability of the most probable class, those without rows
/// left out: what scikit-learn's `calibration_curve` gives.
pub fn calibration(answers: &ClassAnswers, bins: usize) -> Vec<Bin> {
    let mut found: Vec<(Vec<f64>, u64)> = vec![(Vec::new(), 0); bins];
    let rows = answers.rows().zip(&answers.labels).zip(answers.answers());
    for ((row, label), answer) in rows {
        let Some(answer) = answer else { continue };
        let confidence = row[answer as usize];
        // A bin ends with its upper edge; edges are those of NumPy's linspace.
        let width = 1.0 / bins as f64;
        let above = (1..bins).filter(|edge| confidence > *edge as f64 * width);
        let (confidences, right) = &mut found[above.count()];
        confidences.push(confidence);
        *right += u64::from(answer == *label);
    }
    found.retain(|(confidences, _)| !confidences.is_empty());
    let bin = |(confidences, right): (Vec<f64>, u64)| Bin {
        rows: confidences.len() as u64,
        accuracy: right as f64 / confidences.len() as f64,
        confidence: mean(confidences),
    };
    found.into_iter().map(bin).collect()
}

/// The expected calibration error (Guo and others 2017): the mean distance of confidence and
/// accuracy over the rows of the bins.
pub fn calibration_error(bins: &[Bin]) -> f64 {
    let rows = bins.iter().map(|bin| bin.rows).sum::<u64>() as f64;
    let distances = bins
        .iter()
        .map(|bin| bin.rows as f64 * (bin.confidence - bin.accuracy).abs());
    ratio(distances.sum(), rows)
}
