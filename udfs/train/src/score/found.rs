//! What a model said of rows, and the scores of it.

use atoll_nn::Metric;
use atoll_nn::scores::{
    Bin, ClassAnswers, ClassScore, Confusion, Means, NumberAnswers, SetAnswers,
    calibration, calibration_error,
};

/// The quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Bins of the calibration curve.
const BINS: usize = 10;

/// The largest k of the top-k accuracies.
const MOST: usize = 5;

/// A share and its 95 % Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) share: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// None of no rows.
    fn of(part: u64, whole: u64) -> Option<Self> {
        let (low, high) = (whole > 0).then(|| wilson(part, whole))?;
        let share = part as f64 / whole as f64;
        Some(Self { share, low, high })
    }
}

/// What a model said of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Score {
    /// Rows.
    pub(crate) rows: usize,
    /// Whether labels are numbers that were predicted.
    pub(crate) is_regression: bool,
    /// The loss of each row, in any order: cross-entropy, or squared error.
    losses: Vec<f64>,
    classes: ClassAnswers,
    /// Where rows have lists of labels.
    sets: SetAnswers,
    numbers: NumberAnswers,
    /// What the model calls its classes; empty where it does not.
    pub(crate) names: Vec<String>,
}

/// The scores of one class.
#[derive(Debug)]
pub(crate) struct OfClass {
    pub(crate) name: String,
    pub(crate) score: ClassScore,
    /// Of the rows that were given the class.
    pub(crate) precision: Option<Interval>,
    /// Of the rows of the class.
    pub(crate) recall: Option<Interval>,
    pub(crate) roc_auc: Option<f64>,
}

/// The scores of a classifier.
#[derive(Debug)]
pub(crate) struct ClassScores {
    /// How many rows of each class were given each class.
    pub(crate) confusion: Option<Confusion>,
    pub(crate) accuracy: Option<Interval>,
    pub(crate) balanced_accuracy: Option<f64>,
    pub(crate) macro_means: Means,
    pub(crate) weighted_means: Means,
    pub(crate) classes: Vec<OfClass>,
    pub(crate) roc_auc: Option<f64>,
    /// The share of rows whose label is among the 1, 2, .. most probable classes.
    pub(crate) top_k: Vec<Interval>,
    pub(crate) log_loss: Option<f64>,
    pub(crate) brier_score: Option<f64>,
    pub(crate) calibration: Vec<Bin>,
    pub(crate) calibration_error: Option<f64>,
}

impl Score {
    /// The mean loss.
    pub(crate) fn mean_loss(&self) -> Option<f64> {
        // Summed in the order of their sizes, so that the order of rows, which a scan
        // may change, changes no bit of the mean.
        let mut losses = self.losses.clone();
        losses.sort_unstable_by(f64::total_cmp);
        let mean = losses.iter().sum::<f64>() / self.rows as f64;
        mean.is_finite().then_some(mean)
    }

    /// The scores of classes; none where numbers were predicted.
    pub(crate) fn of_classes(&self) -> Option<ClassScores> {
        if self.is_regression {
            return None;
        }
        if !self.sets.labels.is_empty() {
            return Some(self.of_sets());
        }
        let answers = &self.classes;
        let confusion = answers.confusion();
        let rows = confusion.rows();
        let of_class = |(class, score): (usize, ClassScore)| OfClass {
            roc_auc: answers.roc_auc_of(class),
            ..self.of_class(class, score)
        };
        let calibration = calibration(answers, BINS);
        let most = MOST.min(answers.classes);
        let top_k =
            (1..=most).filter_map(|k| Interval::of(answers.top_k(k) as u64, rows));
        Some(ClassScores {
            accuracy: Interval::of(confusion.right(), rows),
            balanced_accuracy: Some(confusion.balanced_accuracy()),
            macro_means: confusion.macro_means(),
            weighted_means: confusion.weighted_means(),
            classes: confusion
                .classes()
                .into_iter()
                .enumerate()
                .map(of_class)
                .collect(),
            roc_auc: answers.roc_auc_ovr(),
            top_k: top_k.collect(),
            log_loss: Some(answers.log_loss()),
            brier_score: Some(answers.brier_score()),
            calibration_error: Some(calibration_error(&calibration)),
            calibration,
            confusion: Some(confusion),
        })
    }

    fn of_class(&self, class: usize, score: ClassScore) -> OfClass {
        OfClass {
            name: self
                .names
                .get(class)
                .cloned()
                .unwrap_or_else(|| class.to_string()),
            precision: Interval::of(score.right, score.given),
            recall: Interval::of(score.right, score.support),
            roc_auc: None,
            score,
        }
    }

    /// The scores of lists of labels; what needs classes that exclude each other has none.
    fn of_sets(&self) -> ClassScores {
        let answers = &self.sets;
        let of_class = |(class, score): (usize, ClassScore)| OfClass {
            roc_auc: answers.roc_auc_of(class),
            ..self.of_class(class, score)
        };
        ClassScores {
            confusion: None,
            accuracy: Interval::of(answers.right() as u64, self.rows as u64),
            balanced_accuracy: None,
            macro_means: answers.macro_means(),
            weighted_means: answers.weighted_means(),
            classes: answers
                .scores()
                .into_iter()
                .enumerate()
                .map(of_class)
                .collect(),
            roc_auc: answers.roc_auc(),
            top_k: vec![],
            log_loss: None,
            brier_score: None,
            calibration: vec![],
            calibration_error: None,
        }
    }

    /// What was predicted; none where there are classes.
    pub(crate) fn of_numbers(&self) -> Option<&NumberAnswers> {
        self.is_regression.then_some(&self.numbers)
    }

    /// The value of a metric, NaN where it is not defined; the error says which labels it
    /// is not for.
    pub(crate) fn metric(&self, metric: Metric) -> Result<f64, String> {
        let has_sets = !self.sets.labels.is_empty();
        let found = match (self.is_regression, has_sets) {
            (true, _) => metric.of_numbers(&self.numbers),
            (_, true) => metric.of_sets(&self.sets),
            _ => metric.of_classes(&self.classes),
        };
        found.ok_or_else(|| match (self.is_regression, has_sets) {
            (true, _) => "numbers to predict; take one such as 'r2'".to_string(),
            (_, true) => "lists; take one such as 'f1_macro'".to_string(),
            _ => format!(
                "{} classes; take one such as 'f1_macro' or 'roc_auc_ovr'",
                self.classes.classes
            ),
        })
    }

    pub(super) fn add(&mut self, label: usize, probabilities: &[f64], loss: f64) {
        self.rows += 1;
        self.losses.push(loss);
        self.classes.classes = probabilities.len();
        self.classes.labels.push(label as u32);
        self.classes.probabilities.extend_from_slice(probabilities);
    }

    pub(super) fn add_set(&mut self, set: &[u32], probabilities: &[f64], loss: f64) {
        self.rows += 1;
        self.losses.push(loss);
        self.sets.classes = probabilities.len();
        self.sets.labels.push(set.to_vec());
        self.sets.probabilities.extend_from_slice(probabilities);
    }

    pub(super) fn add_number(&mut self, label: f64, prediction: f64) {
        self.is_regression = true;
        self.rows += 1;
        self.losses.push((prediction - label).powi(2));
        self.numbers.labels.push(label);
        self.numbers.predictions.push(prediction);
    }

    pub(super) fn merge(mut self, other: Score) -> Score {
        if self.rows == 0 {
            return other;
        }
        self.rows += other.rows;
        self.losses.extend(other.losses);
        self.sets.labels.extend(other.sets.labels);
        self.sets.probabilities.extend(other.sets.probabilities);
        self.classes.labels.extend(other.classes.labels);
        self.classes
            .probabilities
            .extend(other.classes.probabilities);
        self.numbers.labels.extend(other.numbers.labels);
        self.numbers.predictions.extend(other.numbers.predictions);
        self
    }
}

/// The 95 % Wilson score interval of a share: unlike the normal approximation it stays
/// between 0 and 1 and is right for shares near them.
pub(crate) fn wilson(part: u64, whole: u64) -> (f64, f64) {
    let (n, p) = (whole as f64, part as f64 / whole as f64);
    let denominator = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / denominator;
    let half = Z / denominator * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Of all or none the share is an end of the interval, which rounding may miss.
    ((centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wilson(part: u64, whole: u64, expected: (f64, f64)) {
        let (low, high) = wilson(part, whole);
        // The paper prints four digits.
        let close = |a: f64, b: f64| (a - b).abs() <= 5e-5;
        assert!(
            close(low, expected.0) && close(high, expected.1),
            "{low} {high}"
        );
    }

    // R. G. Newcombe, Two-sided confidence intervals for the single proportion,
    // Statistics in Medicine 17 (1998), table I, method 3.
    #[test]
    fn the_interval_is_that_of_the_literature() {
        check_wilson(81, 263, (0.2553, 0.3662));
        check_wilson(15, 148, (0.0624, 0.1605));
        check_wilson(0, 20, (0.0, 0.1611));
        check_wilson(1, 29, (0.0061, 0.1718));
    }

    #[test]
    fn the_interval_stays_between_zero_and_one() {
        // For no success in n it is z^2 / (n + z^2), by hand: 3.8414588 / 13.8414588.
        check_wilson(0, 10, (0.0, 0.2775));
        check_wilson(10, 10, (0.7225, 1.0));
    }

    #[test]
    fn confusion_counts_labels_by_answers() {
        let mut score = Score::default();
        score.add(0, &[0.9, 0.1], 0.1);
        score.add(0, &[0.2, 0.8], 1.6);
        score.add(1, &[f64::NAN, f64::NAN], f64::NAN);
        let found = score.of_classes().unwrap();
        assert_eq!(
            (score.rows, found.confusion.as_ref().unwrap().right()),
            (3, 1)
        );
        assert_eq!(found.confusion.as_ref().unwrap().counts, [[1, 1], [0, 0]]);
        assert_eq!(score.mean_loss(), None);
        // The row without an answer counts as one of its class.
        assert_eq!(found.accuracy.unwrap().share, 1.0 / 3.0);
        assert_eq!(found.classes[1].score.support, 1);
        assert_eq!(found.classes[1].recall.unwrap().share, 0.0);
        assert!(found.classes[1].precision.is_some());
    }

    #[test]
    fn numbers_have_scores_of_their_own() {
        let mut score = Score::default();
        score.add_number(1.0, 3.0);
        let mut second = Score::default();
        second.add_number(5.0, 5.0);
        let both = score.merge(second);
        assert_eq!((both.rows, both.mean_loss()), (2, Some(2.0)));
        assert!(both.of_classes().is_none());
        assert_eq!(both.of_numbers().unwrap().mae(), 1.0);
        let metric = |name| both.metric(Metric::named(name).unwrap());
        assert_eq!(metric("neg_mean_squared_error"), Ok(-2.0));
        assert!(metric("accuracy").unwrap_err().contains("'r2'"));
    }

    #[test]
    fn pieces_add_up() {
        let mut first = Score::default();
        first.add(0, &[0.9, 0.1], 0.5);
        let mut second = Score::default();
        second.add(1, &[0.9, 0.1], 1.5);
        let both = Score::default().merge(first).merge(second);
        let found = both.of_classes().unwrap();
        assert_eq!((both.rows, both.mean_loss()), (2, Some(1.0)));
        assert_eq!(found.confusion.as_ref().unwrap().counts, [[1, 0], [1, 0]]);
        assert_eq!(found.top_k[1].share, 1.0);
    }
}
