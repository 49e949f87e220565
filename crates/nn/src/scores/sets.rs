//! Scores of labels of which a row may have several: scikit-learn's for indicator matrices. A
//! label is given where its probability is above one half.

use super::classes::{ClassScore, Means, means, micro_means};
use super::mean;
use super::ranking::area;

/// What a model said of rows that may have several labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetAnswers {
    /// How many labels the model knows.
    pub classes: usize,
    /// The true labels of each row, each once and in their order.
    pub labels: Vec<Vec<u32>>,
    /// The probability of each label, row by row.
    pub probabilities: Vec<f64>,
}

impl SetAnswers {
    fn rows(&self) -> impl Iterator<Item = (&[f64], &Vec<u32>)> {
        self.probabilities
            .chunks_exact(self.classes.max(1))
            .zip(&self.labels)
    }

    /// Rows of which every label is right.
    pub fn right(&self) -> usize {
        let is_right = |(row, labels): &(&[f64], &Vec<u32>)| {
            let given = (0_u32..)
                .zip(*row)
                .filter(|(_, p)| **p > 0.5)
                .map(|(label, _)| label);
            given.eq(labels.iter().copied())
        };
        self.rows().filter(is_right).count()
    }

    /// The scores of each label.
    pub fn scores(&self) -> Vec<ClassScore> {
        let mut counts = vec![[0_u64; 3]; self.classes];
        for (row, labels) in self.rows() {
            for (label, (p, [right, given, support])) in
                (0_u32..).zip(row.iter().zip(&mut counts))
            {
                let (has, is_given) = (labels.binary_search(&label).is_ok(), *p > 0.5);
                *right += u64::from(has && is_given);
                *given += u64::from(is_given);
                *support += u64::from(has);
            }
        }
        let score =
            |[right, given, support]: [u64; 3]| ClassScore::new(right, given, support);
        counts.into_iter().map(score).collect()
    }

    /// The mean over labels, each alike.
    pub fn macro_means(&self) -> Means {
        means(&self.scores(), |_| 1.0)
    }

    /// The mean over labels, each by its rows.
    pub fn weighted_means(&self) -> Means {
        means(&self.scores(), |label| label.support as f64)
    }

    /// The scores of all labels together.
    pub fn micro_means(&self) -> Means {
        micro_means(&self.scores())
    }

    /// The area under the ROC curve of one label; none where all rows have it or none.
    pub fn roc_auc_of(&self, label: usize) -> Option<f64> {
        let scores = self.rows().map(|(row, labels)| {
            (row[label], labels.binary_search(&(label as u32)).is_ok())
        });
        area(scores.collect())
    }

    /// The mean area over labels that have one.
    pub fn roc_auc(&self) -> Option<f64> {
        let areas: Vec<f64> = (0..self.classes)
            .filter_map(|label| self.roc_auc_of(label))
            .collect();
        (!areas.is_empty()).then(|| mean(areas))
    }
}
