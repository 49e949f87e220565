//! Scores of predicted numbers.

use super::{mean, sum};

/// Numbers that a model predicted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberAnswers {
    /// The true numbers.
    pub labels: Vec<f64>,
    /// What the model said.
    pub predictions: Vec<f64>,
}

impl NumberAnswers {
    fn errors(&self) -> impl Iterator<Item = f64> {
        let pairs = self.predictions.iter().zip(&self.labels);
        pairs.map(|(prediction, label)| prediction - label)
    }

    /// The mean squared error.
    pub fn mse(&self) -> f64 {
        mean(self.errors().map(|error| error.powi(2)).collect())
    }

    /// Its root.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// The mean absolute error.
    pub fn mae(&self) -> f64 {
        mean(self.errors().map(f64::abs).collect())
    }

    /// The share of the variance that is explained. Where the labels do not vary it is 1 if
    /// all were met and 0 if not; NaN of fewer than two rows.
    pub fn r2(&self) -> f64 {
        if self.labels.len() < 2 {
            return f64::NAN;
        }
        let middle = mean(self.labels.clone());
        let squares = self.labels.iter().map(|label| (label - middle).powi(2));
        let all = sum(squares.collect());
        let left = sum(self.errors().map(|error| error.powi(2)).collect());
        match (left == 0.0, all == 0.0) {
            (true, true) => 1.0,
            (false, true) => 0.0,
            _ => 1.0 - left / all,
        }
    }
}
