//! Vectors of one length, row after row.

use crate::Error;
use crate::metric::product;

/// The vectors of a table.
#[derive(Debug, Default)]
pub struct Vectors {
    width: usize,
    values: Vec<f32>,
    /// The square of each one's length.
    squares: Vec<f64>,
}

impl Vectors {
    /// Adds a vector.
    pub fn push(&mut self, vector: &[f32]) -> Result<(), Error> {
        if vector.is_empty() {
            return Err(Error::Empty);
        }
        if !self.squares.is_empty() && vector.len() != self.width {
            return Err(Error::Length {
                expected: self.width,
                actual: vector.len(),
            });
        }
        if let Some(place) = vector.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                place: place + 1,
                value: vector[place],
            });
        }
        if self.squares.len() >= u32::MAX as usize {
            return Err(Error::TooMany);
        }
        self.width = vector.len();
        self.values.extend_from_slice(vector);
        self.squares.push(product(vector, vector));
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.squares.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.squares.is_empty()
    }

    /// How many numbers each has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The numbers of one.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    pub(crate) fn measured(&self, row: usize) -> (&[f32], f64) {
        (self.row(row), self.squares[row])
    }

    pub(crate) fn square(&self, row: usize) -> f64 {
        self.squares[row]
    }

    /// The mean of all, so that differences are taken between small numbers.
    pub(crate) fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.width];
        for row in 0..self.len() {
            for (sum, value) in sums.iter_mut().zip(self.row(row)) {
                *sum += f64::from(*value);
            }
        }
        let count = self.len().max(1) as f64;
        sums.iter().map(|sum| (sum / count) as f32).collect()
    }
}
