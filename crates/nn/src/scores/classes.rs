//! Scores of classifiers that count rows, and those of their probabilities.

use super::{mean, ratio, sum};

/// What a classifier said of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassAnswers {
    /// How many classes the model knows.
    pub classes: usize,
    /// The true class of each row.
    pub labels: Vec<u32>,
    /// The probability of each class, row by row.
    pub probabilities: Vec<f64>,
}

/// How many rows of each class were given each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Rows by label (line) and by answer (column). A row whose probabilities are not
    /// numbers is in no column.
    pub counts: Vec<Vec<u64>>,
    /// Rows by label.
    pub support: Vec<u64>,
}

/// How well one class is told from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassScore {
    /// The share of the rows given this class that belong to it.
    pub precision: f64,
    /// The share of the rows of this class that were given it.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// Rows of this class.
    pub support: u64,
    /// Rows that were given it.
    pub given: u64,
    /// Rows of it that were given it.
    pub right: u64,
}

/// A mean over classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Means {
    /// Of the precision.
    pub precision: f64,
    /// Of the recall.
    pub recall: f64,
    /// Of F1.
    pub f1: f64,
}

impl ClassScore {
    /// The scores of a class that `right` of its `support` rows were given, and `given` rows
    /// in all. What would divide by zero is 0.
    pub(super) fn new(right: u64, given: u64, support: u64) -> Self {
        Self {
            precision: ratio(right as f64, given as f64),
            recall: ratio(right as f64, support as f64),
            f1: ratio(2.0 * right as f64, (given + support) as f64),
            support,
            given,
            right,
        }
    }
}

/// The mean over classes, each with its weight.
pub(super) fn means(classes: &[ClassScore], weight: fn(&ClassScore) -> f64) -> Means {
    let total = sum(classes.iter().map(weight).collect());
    let mean = |score: fn(&ClassScore) -> f64| {
        let weighted = classes.iter().map(|class| weight(class) * score(class));
        ratio(weighted.sum(), total)
    };
    Means {
        precision: mean(|class| class.precision),
        recall: mean(|class| class.recall),
        f1: mean(|class| class.f1),
    }
}

/// The scores of all classes together.
pub(super) fn micro_means(classes: &[ClassScore]) -> Means {
    let total =
        |count: fn(&ClassScore) -> u64| classes.iter().map(count).sum::<u64>() as f64;
    let right = total(|class| class.right);
    let (given, rows) = (total(|class| class.given), total(|class| class.support));
    Means {
        precision: ratio(right, given),
        recall: ratio(right, rows),
        f1: ratio(2.0 * right, given + rows),
    }
}

impl ClassAnswers {
    /// The probabilities of each row.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.probabilities.chunks_exact(self.classes.max(1))
    }

    /// The most probable class of each row, the lowest of equals; none where nothing is a
    /// number.
    pub fn answers(&self) -> Vec<Option<u32>> {
        let best = |row: &[f64]| {
            let mut best: Option<(u32, f64)> = None;
            for (class, &probability) in (0_u32..).zip(row) {
                let beats = best.is_none_or(|(_, largest)| probability > largest);
                if beats && !probability.is_nan() {
                    best = Some((class, probability));
                }
            }
            best.map(|(class, _)| class)
        };
        self.rows().map(best).collect()
    }

    /// Counts the answers.
    pub fn confusion(&self) -> Confusion {
        let mut confusion = Confusion {
            counts: vec![vec![0; self.classes]; self.classes],
            support: vec![0; self.classes],
        };
        for (label, answer) in self.labels.iter().zip(self.answers()) {
            confusion.support[*label as usize] += 1;
            if let Some(answer) = answer {
                confusion.counts[*label as usize][answer as usize] += 1;
            }
        }
        confusion
    }

    /// The share of rows whose label is among the `k` most probable classes.
    ///
    /// scikit-learn's `top_k_accuracy_score`, but of equal probabilities the lowest class
    /// comes first, as everywhere here.
    pub fn top_k(&self, k: usize) -> usize {
        let is_among = |(row, label): &(&[f64], &u32)| {
            let label = **label as usize;
            let own = row[label];
            let before = row.iter().enumerate().filter(|(class, other)| {
                **other > own || (**other == own && *class < label)
            });
            !own.is_nan() && before.count() < k
        };
        self.rows().zip(&self.labels).filter(is_among).count()
    }

    /// The probability of each row's label.
    fn of_label(&self) -> impl Iterator<Item = f64> {
        let rows = self.rows().zip(&self.labels);
        rows.map(|(row, label)| row[*label as usize])
    }

    /// The mean of `-ln(p)` of the labels; a probability counts as at least 2^-52, as in
    /// scikit-learn's `log_loss`.
    pub fn log_loss(&self) -> f64 {
        let loss = |p: f64| -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
        mean(self.of_label().map(loss).collect())
    }

    /// The mean squared distance of the probabilities from the truth, summed over the
    /// classes, and half of that for two classes: scikit-learn's `brier_score_loss`.
    pub fn brier_score(&self) -> f64 {
        let distances = self.rows().zip(&self.labels).map(|(row, label)| {
            let truth = |class: usize| f64::from(u8::from(class == *label as usize));
            let classes = row.iter().enumerate();
            classes.map(|(class, p)| (p - truth(class)).powi(2)).sum()
        });
        let mean = mean(distances.collect());
        if self.classes == 2 { mean / 2.0 } else { mean }
    }
}

impl Confusion {
    /// The scores of each class. What would divide by zero is 0.
    pub fn classes(&self) -> Vec<ClassScore> {
        let score = |class: usize| {
            let right = self.counts[class][class];
            let given = self.counts.iter().map(|line| line[class]).sum::<u64>();
            ClassScore::new(right, given, self.support[class])
        };
        (0..self.support.len()).map(score).collect()
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        self.support.iter().sum()
    }

    /// Rows whose most probable class is their label.
    pub fn right(&self) -> u64 {
        (0..self.support.len())
            .map(|class| self.counts[class][class])
            .sum()
    }

    /// The share of rows that were given their label.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.rows() as f64
    }

    /// The mean recall of the classes that have rows.
    pub fn balanced_accuracy(&self) -> f64 {
        let classes = self.classes();
        let seen = classes.iter().filter(|class| class.support > 0);
        mean(seen.map(|class| class.recall).collect())
    }

    /// The mean over classes that have rows or were given to rows, each alike.
    pub fn macro_means(&self) -> Means {
        self.means(|_| 1.0)
    }

    /// The mean over classes, each by its rows.
    pub fn weighted_means(&self) -> Means {
        self.means(|class| class.support as f64)
    }

    /// The scores of all rows together. All three are the accuracy, unless some answers
    /// are no classes.
    pub fn micro_means(&self) -> Means {
        micro_means(&self.classes())
    }

    fn means(&self, weight: fn(&ClassScore) -> f64) -> Means {
        let mut classes = self.classes();
        classes.retain(|class| class.support > 0 || class.given > 0);
        means(&classes, weight)
    }

    /// Matthews' correlation coefficient of labels and answers (Gorodkin 2004); 0 where one
    /// of them is always the same.
    pub fn matthews(&self) -> f64 {
        let classes = self.classes();
        let rows = classes.iter().map(|class| class.given).sum::<u64>() as f64;
        let right = self.right() as f64;
        let total = |product: fn(&ClassScore) -> f64| -> f64 {
            classes.iter().map(product).sum()
        };
        let both = total(|class| class.given as f64 * class.support as f64);
        let given = total(|class| (class.given as f64).powi(2));
        let support = total(|class| (class.support as f64).powi(2));
        let (given, support) = (rows * rows - given, rows * rows - support);
        ratio(right * rows - both, (given * support).sqrt())
    }
}
