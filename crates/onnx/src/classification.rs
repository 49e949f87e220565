//! From a classifier's output to its best classes.

use std::cmp::Ordering;

/// What a classifier's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Raw scores: softmax turns them into probabilities.
    Logits,
    /// Probabilities already.
    Probabilities,
    /// The model does not say. Values between 0 and 1 whose sum is 1 are taken for
    /// probabilities, all others for logits.
    Unknown,
}

impl OutputKind {
    /// Reads the name that a model's metadata or a query gives.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "logits" => Some(Self::Logits),
            "probabilities" => Some(Self::Probabilities),
            _ => None,
        }
    }
}

/// The probability of each class.
pub fn scores(output: Vec<f32>, kind: OutputKind) -> Vec<f32> {
    match kind {
        OutputKind::Probabilities => output,
        OutputKind::Unknown if are_probabilities(&output) => output,
        OutputKind::Logits | OutputKind::Unknown => softmax(&output),
    }
}

fn are_probabilities(output: &[f32]) -> bool {
    let sum: f32 = output.iter().sum();
    output.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() < 1e-3
}

/// The largest logit is subtracted first, so that none overflows. The sum is taken in
/// float64, or a thousand small classes would lose their last digits.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - largest).exp())
        .collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials
        .into_iter()
        .map(|value| narrow(value / sum))
        .collect()
}

/// A probability needs no more digits than the network gave.
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The `k` largest scores with their indices, best first.
///
/// Ties go to the lower index. NaN comes last: a diverged network must not look
/// confident.
pub fn top_k(scores: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k, best_first);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(best_first);
    ranked
}

fn best_first((m, a): &(usize, f32), (n, b): &(usize, f32)) -> Ordering {
    b.partial_cmp(a)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        .then(m.cmp(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[f32], k: usize, expected: &[usize]) {
        let indices: Vec<usize> =
            top_k(scores, k).into_iter().map(|(idx, _)| idx).collect();
        assert_eq!(indices, expected, "scores: {scores:?}");
    }

    #[test]
    fn the_largest_come_first() {
        check(&[0.1, 0.7, 0.2], 2, &[1, 2]);
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        check(&[0.5, 0.1, 0.5, 0.5], 3, &[0, 2, 3]);
    }

    #[test]
    fn nan_comes_last() {
        check(
            &[f32::NAN, 0.1, f32::NAN, f32::NEG_INFINITY],
            4,
            &[1, 3, 0, 2],
        );
    }

    #[test]
    fn k_may_be_zero_or_more_than_there_are() {
        check(&[0.1, 0.2], 0, &[]);
        check(&[0.1, 0.2], 5, &[1, 0]);
    }

    #[test]
    fn softmax_sums_to_one_and_does_not_overflow() {
        let probabilities = scores(vec![1000.0, 999.0], OutputKind::Logits);
        // 1 / (1 + exp(-1))
        assert!((probabilities[0] - 0.731_058_6).abs() < 1e-6);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn probabilities_stay_as_they_are() {
        let given = vec![0.25, 0.75];
        assert_eq!(scores(given.clone(), OutputKind::Probabilities), given);
        assert_eq!(scores(given.clone(), OutputKind::Unknown), given);
        assert_ne!(scores(given.clone(), OutputKind::Logits), given);
        assert_ne!(scores(vec![2.0, -1.0], OutputKind::Unknown), [2.0, -1.0]);
    }
}
