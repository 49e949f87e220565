//! How well a model answered: the scores of classifiers and of predictions.
//!
//! The definitions are scikit-learn's, names included, so that a number here is the number
//! there; where scikit-learn refuses, the function says what is done instead. A sum over
//! rows does not depend on their order, not even in its last bit.

mod calibration;
mod classes;
mod metric;
mod numbers;
mod ranking;
mod sets;

pub use calibration::{Bin, calibration, calibration_error};
pub use classes::{ClassAnswers, ClassScore, Confusion, Means};
pub use metric::{Metric, Task};
pub use numbers::NumberAnswers;
pub use sets::SetAnswers;

/// The sum of numbers, the same for any order of them.
fn sum(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.iter().sum()
}

/// Their mean; NaN of nothing.
fn mean(numbers: Vec<f64>) -> f64 {
    let count = numbers.len() as f64;
    sum(numbers) / count
}

/// A quotient, or 0 where there is nothing to divide by, as scikit-learn's
/// `zero_division=0`.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}
