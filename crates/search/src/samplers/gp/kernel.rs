//! How much the values of two points have to do with each other: Matern 5/2.

use crate::Space;

/// The kernel's parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kernel {
    /// One over the square of each dimension's length.
    pub(super) inverse_squares: Vec<f64>,
    /// The variance of values.
    pub(super) scale: f64,
    /// The variance of the noise on top.
    pub(super) noise: f64,
    is_choice: Vec<bool>,
}

/// The least noise, which keeps the matrix positive definite.
const LEAST_NOISE: f64 = 1e-6;

impl Kernel {
    /// From the logarithms of lengths, scale and noise.
    pub(super) fn new(space: &Space, logarithms: &[f64]) -> Self {
        let dimensions = space.dimensions();
        let (lengths, rest) = logarithms.split_at(dimensions.len());
        Self {
            inverse_squares: lengths.iter().map(|x| libm::exp(*x)).collect(),
            scale: libm::exp(rest[0]),
            noise: libm::exp(rest[1]) + LEAST_NOISE,
            is_choice: dimensions.iter().map(|d| d.choices().is_some()).collect(),
        }
    }

    /// The squared distance in one dimension, before its length.
    pub(super) fn square(&self, dimension: usize, a: &[f64], b: &[f64]) -> f64 {
        let difference = a[dimension] - b[dimension];
        match self.is_choice[dimension] {
            true => f64::from(u8::from(difference != 0.0)),
            false => difference * difference,
        }
    }

    fn distance(&self, a: &[f64], b: &[f64]) -> f64 {
        let squares = self.inverse_squares.iter().enumerate();
        squares
            .map(|(k, inverse)| inverse * self.square(k, a, b))
            .sum()
    }

    /// The covariance of two points, and its derivative by their squared distance.
    pub(super) fn value(&self, a: &[f64], b: &[f64]) -> (f64, f64) {
        let squared = self.distance(a, b);
        let x = libm::sqrt(5.0 * squared);
        let fading = self.scale * crate::normal::fast_exp(-x);
        (
            fading * (1.0 + x + 5.0 / 3.0 * squared),
            fading * (-5.0 / 6.0) * (1.0 + x),
        )
    }
}
