//! The area under the ROC curve: how often a row of a class has a higher probability of it
//! than a row of another class.

use super::{ClassAnswers, mean, ratio};

impl ClassAnswers {
    /// The area for one class against the rest; none where it or the rest has no row, or
    /// a probability is not a number.
    pub fn roc_auc_of(&self, class: usize) -> Option<f64> {
        let scores = self.rows().map(|row| row[class]);
        let is_of_class = self.labels.iter().map(|label| *label as usize == class);
        area(scores.zip(is_of_class).collect())
    }

    /// The area for the second of two classes.
    pub fn roc_auc(&self) -> Option<f64> {
        (self.classes == 2).then(|| self.roc_auc_of(1)).flatten()
    }

    /// The mean area of one class against the rest (`multi_class='ovr'`,
    /// `average='macro'`); of two classes that of the second.
    ///
    /// scikit-learn refuses where a class has no row. Here such classes are left out.
    pub fn roc_auc_ovr(&self) -> Option<f64> {
        if self.classes == 2 {
            return self.roc_auc();
        }
        let areas = (0..self.classes).filter_map(|class| self.roc_auc_of(class));
        let areas: Vec<f64> = areas.collect();
        (!areas.is_empty()).then(|| mean(areas))
    }

    /// The same, each class by its rows.
    pub fn roc_auc_ovr_weighted(&self) -> Option<f64> {
        if self.classes == 2 {
            return self.roc_auc();
        }
        let (mut total, mut rows) = (0.0, 0.0);
        for (class, support) in self.confusion().support.into_iter().enumerate() {
            if let Some(area) = self.roc_auc_of(class) {
                total += area * support as f64;
                rows += support as f64;
            }
        }
        (rows > 0.0).then(|| ratio(total, rows))
    }
}

/// The statistic of Mann and Whitney: ranks are half-integers, whose sum is exact.
pub(super) fn area(mut scores: Vec<(f64, bool)>) -> Option<f64> {
    if scores.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scores
        .iter()
        .filter(|(_, is_of_class)| *is_of_class)
        .count() as f64;
    let negatives = scores.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut before, mut ranks) = (0.0, 0.0);
    for equal in scores.chunk_by(|a, b| a.0 == b.0) {
        let count = equal.len() as f64;
        let of_class = equal.iter().filter(|(_, is_of_class)| *is_of_class).count();
        // Rows with the same probability share the middle of their ranks.
        ranks += of_class as f64 * (before + (count + 1.0) / 2.0);
        before += count;
    }
    let least = positives * (positives + 1.0) / 2.0;
    Some((ranks - least) / (positives * negatives))
}
