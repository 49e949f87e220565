//! Numbers with mean 0 and standard deviation 1, and the way back.

use crate::dataset::{Features, Labels};
use crate::{Dataset, LossKind, Split};

/// How numbers are moved and stretched: `(x - mean) * inverse`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    pub(crate) mean: f32,
    /// One over the standard deviation; 1 where all numbers are the same, as in
    /// scikit-learn's `StandardScaler`.
    pub(crate) inverse: f32,
}

/// What is learned about the numbers of the training split before any training.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scaling {
    /// For each feature; empty for images.
    pub(crate) features: Vec<Scale>,
    /// For the number to predict, if there is one.
    pub(crate) target: Option<Scale>,
}

impl Scale {
    fn of(numbers: impl Iterator<Item = f32> + Clone) -> Self {
        let count = numbers.clone().count().max(1) as f64;
        let mean = numbers.clone().map(f64::from).sum::<f64>() / count;
        let squares = numbers.map(|number| (f64::from(number) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        // Numbers that are the same differ by their rounding.
        let constant = deviation <= mean.abs() * 1e-6;
        Self {
            mean: mean as f32,
            inverse: if constant {
                1.0
            } else {
                (1.0 / deviation) as f32
            },
        }
    }

    /// From what the data has to what a network sees.
    pub(crate) fn apply(&self, number: f32) -> f32 {
        (number - self.mean) * self.inverse
    }
}

impl Scaling {
    /// Looks at the training split only: the rest is to be as unknown as new data.
    pub(crate) fn new(dataset: &Dataset, split: &Split, loss: LossKind) -> Self {
        let features = match &dataset.features {
            Features::Pixels(_) => Vec::new(),
            Features::Numbers(numbers) => {
                let width = dataset.shape.values();
                let feature = |n: usize| {
                    let rows = split.train.iter();
                    Scale::of(rows.map(move |&row| numbers[row as usize * width + n]))
                };
                (0..width).map(feature).collect()
            }
        };
        let rows = split.train.iter();
        let target = (loss == LossKind::Mse).then(|| match &dataset.labels {
            Labels::Numbers(numbers) => Scale::of(rows.map(|&row| numbers[row as usize])),
            Labels::Classes { indices, .. } => {
                Scale::of(rows.map(|&row| indices[row as usize] as f32))
            }
        });
        Self { features, target }
    }

    /// What a squared error is multiplied by to be in the units of the data.
    pub(crate) fn units(&self) -> f64 {
        let inverse = self.target.as_ref().map_or(1.0, |scale| scale.inverse);
        f64::from(inverse).powi(-2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let scaling = Scaling::new(&dataset, &split, LossKind::Mse);
        let deviation = (14.0_f32 / 3.0).sqrt();
        assert_eq!(scaling.features[0].mean, 3.0);
        assert!((scaling.features[0].inverse - 1.0 / deviation).abs() < 1e-6);
        // A feature that never changes is not divided by zero.
        assert_eq!(
            scaling.features[1],
            Scale {
                mean: 7.0,
                inverse: 1.0
            }
        );
        assert_eq!(scaling.features[1].apply(7.0), 0.0);
        assert!((scaling.units() - 200.0 / 3.0).abs() < 1e-4);
        let classes = Scaling::new(&dataset, &split, LossKind::CrossEntropy);
        assert_eq!((classes.target.as_ref(), classes.units()), (None, 1.0));
    }
}
