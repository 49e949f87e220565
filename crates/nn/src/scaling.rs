//! Numbers with mean 0 and standard deviation 1, and the way back.

use crate::columns::{Encoding, Layout};
use crate::dataset::{Features, Labels};
use crate::precision::narrowed;
use crate::{Dataset, Hyperparameters, LossKind, Split};

/// How one column of numbers is standardised: a network sees `(x - mean) * inverse`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    pub(crate) mean: f64,
    /// One over the standard deviation; 1 where all numbers are the same, as in
    /// scikit-learn's `StandardScaler`.
    pub(crate) inverse: f64,
    /// Whether that is computed with 64 bits. If not, all of these are 32-bit numbers.
    pub(crate) wide: bool,
}

/// The means and standard deviations of the training split. They become a part of the ONNX
/// file, so that whoever applies the network gives it the numbers as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scaling {
    /// For each feature; empty for images and for mixed columns.
    pub(crate) features: Vec<Scale>,
    /// For mixed columns.
    pub(crate) encoding: Option<Encoding>,
    /// For the number to predict, if there is one.
    pub(crate) target: Option<Scale>,
}

impl Scale {
    pub(crate) fn of(numbers: impl Iterator<Item = f64> + Clone, wide: bool) -> Self {
        // Numbers that are the same differ by their rounding.
        const SAME: f64 = 1e-6;
        const SAME_WIDE: f64 = 1e-13;
        let count = numbers.clone().count().max(1) as f64;
        let mean = numbers.clone().sum::<f64>() / count;
        let squares = numbers.map(|number| (number - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        let same = if wide { SAME_WIDE } else { SAME };
        let inverse = if deviation <= mean.abs() * same {
            1.0
        } else {
            1.0 / deviation
        };
        Self {
            mean: if wide { mean } else { narrowed(mean) },
            inverse: if wide { inverse } else { narrowed(inverse) },
            wide,
        }
    }

    /// The same for counts, which are divided by their mean: the network gives the logarithm
    /// of that share.
    fn of_counts(self) -> Self {
        let inverse = if self.mean > 0.0 {
            self.mean.recip()
        } else {
            1.0
        };
        Self {
            mean: 0.0,
            inverse: if self.wide {
                inverse
            } else {
                narrowed(inverse)
            },
            wide: self.wide,
        }
    }

    /// Standardises one number.
    pub(crate) fn apply(&self, number: f64) -> f32 {
        if self.wide {
            ((number - self.mean) * self.inverse) as f32
        } else {
            (number as f32 - self.mean as f32) * self.inverse as f32
        }
    }
}

impl Scaling {
    /// Measures the training split and no other row, because the others stand for data that
    /// nobody has seen.
    pub(crate) fn new(
        dataset: &Dataset,
        split: &Split,
        loss: LossKind,
        hyperparameters: &Hyperparameters,
    ) -> Self {
        let mut encoding = None;
        let features = match &dataset.features {
            Features::Pixels(_) => Vec::new(),
            Features::Numbers(numbers) if !dataset.columns.is_empty() => {
                let layout = Layout::new(&dataset.columns, hyperparameters.embedding);
                let width = dataset.shape.values();
                encoding = Some(Encoding::new(layout, numbers, width, &split.train));
                Vec::new()
            }
            Features::Numbers(numbers) => {
                let width = dataset.shape.values();
                let feature = |n: usize| {
                    let rows = split.train.iter();
                    let rows = rows.map(move |&row| numbers[row as usize * width + n]);
                    Scale::of(rows, dataset.wide.features)
                };
                (0..width).map(feature).collect()
            }
        };
        let rows = split.train.iter();
        let target = loss.is_of_numbers().then(|| match &dataset.labels {
            Labels::Numbers(numbers) => {
                let rows = rows.map(|&row| numbers[row as usize]);
                Scale::of(rows, dataset.wide.labels)
            }
            // Their loss is another.
            Labels::Sets { .. } => Scale::of(std::iter::empty(), false),
            Labels::Classes { indices, .. } => {
                Scale::of(rows.map(|&row| f64::from(indices[row as usize])), false)
            }
        });
        let target = match (loss, target) {
            (LossKind::Poisson, Some(scale)) => Some(scale.of_counts()),
            (_, target) => target,
        };
        Self {
            features,
            encoding,
            target,
        }
    }

    /// The factor that turns the loss of standardised numbers into one of the data's units,
    /// or into their square.
    pub(crate) fn units(&self, loss: LossKind) -> f64 {
        let inverse = self.target.as_ref().map_or(1.0, |scale| scale.inverse);
        match loss {
            LossKind::Mae | LossKind::Quantile | LossKind::Poisson => inverse.recip(),
            _ => inverse.powi(-2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(dataset: &Dataset, split: &Split, loss: LossKind) -> Scaling {
        Scaling::new(dataset, split, loss, &Hyperparameters::default())
    }

    // >>> sklearn.preprocessing.StandardScaler().fit([[1], [2], [6]])  # mean_ 3, scale_ 2.16
    #[test]
    fn the_training_split_decides() {
        let numbers = vec![1.0, 7.0, 2.0, 7.0, 6.0, 7.0, 1e9, -1e9];
        let labels = Labels::Numbers(vec![10.0, 20.0, 30.0, 1e9]);
        let dataset = Dataset::of_numbers(2, numbers, labels).unwrap();
        let split = Split {
            train: vec![0, 1, 2],
            validation: vec![3],
        };
        let scaling = measured(&dataset, &split, LossKind::Mse);
        let deviation = (14.0_f64 / 3.0).sqrt();
        assert_eq!(scaling.features[0].mean, 3.0);
        assert!((scaling.features[0].inverse - 1.0 / deviation).abs() < 1e-6);
        // A feature that never changes is not divided by zero.
        assert_eq!(
            scaling.features[1],
            Scale {
                mean: 7.0,
                inverse: 1.0,
                wide: false
            }
        );
        assert_eq!(scaling.features[1].apply(7.0), 0.0);
        assert!((scaling.units(LossKind::Mse) - 200.0 / 3.0).abs() < 1e-4);
        let classes = measured(&dataset, &split, LossKind::CrossEntropy);
        assert_eq!(
            (
                classes.target.as_ref(),
                classes.units(LossKind::CrossEntropy)
            ),
            (None, 1.0)
        );
    }

    #[test]
    fn what_32_bits_would_swallow_is_centred_first() {
        let numbers = (0..100).map(|n| 1_700_000_000.0 + 60.0 * f64::from(n));
        let labels = (0..100).map(|n| 1e9 + 3.0 * f64::from(n));
        let labels = Labels::Numbers(labels.collect());
        let dataset = Dataset::of_numbers(1, numbers.collect(), labels).unwrap();
        let split = Split {
            train: (0..100).collect(),
            validation: vec![0],
        };
        let scaling = measured(&dataset, &split, LossKind::Mse);
        let mut inputs = [0.0; 2];
        dataset.gather(&[0, 1], &scaling, &mut inputs);
        // >>> x = numpy.arange(100); ((x - x.mean()) / x.std())[:2]
        for (input, expected) in inputs.iter().zip([-1.714_816, -1.680_173]) {
            assert!((input - expected).abs() < 1e-6, "{inputs:?}");
        }
        let target = scaling.target.as_ref().unwrap();
        let mut targets = [0.0; 2];
        dataset.gather_numbers(&[0, 1], target, &mut targets);
        assert_eq!(targets, inputs);
        assert!((scaling.units(LossKind::Mse) - 9.0 * 9_999.0 / 12.0).abs() < 1e-6);
    }
}
