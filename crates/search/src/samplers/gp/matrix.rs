//! The linear algebra of a Gaussian process: one factorization and its solutions.

/// The lower factor of a symmetric positive definite matrix, row by row.
#[derive(Debug, Clone)]
pub(super) struct Cholesky {
    rows: Vec<Vec<f64>>,
}

impl Cholesky {
    /// Factorizes the lower half of a matrix; `None` if it is not positive definite.
    pub(super) fn new(mut rows: Vec<Vec<f64>>) -> Option<Self> {
        for i in 0..rows.len() {
            let (above, below) = rows.split_at_mut(i);
            let row = &mut below[0];
            for j in 0..=i {
                let other: &[f64] = if j < i { &above[j] } else { &[] };
                let sum = match j < i {
                    true => row[j] - dot(&row[..j], &other[..j]),
                    false => row[j] - dot(&row[..j], &row[..j]),
                };
                row[j] = match j < i {
                    true => sum / other[j],
                    false if sum > 0.0 => libm::sqrt(sum),
                    false => return None,
                };
            }
            row.truncate(i + 1);
        }
        Some(Self { rows })
    }

    /// The factor of the matrix that changes nothing.
    pub(super) fn identity(n: usize) -> Self {
        let row = |i: usize| (0..=i).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        let rows = (0..n).map(row).collect();
        Self { rows }
    }

    /// Half the logarithm of the determinant.
    pub(super) fn half_ln_determinant(&self) -> f64 {
        let diagonal = self.rows.iter().enumerate();
        diagonal.map(|(i, row)| libm::log(row[i])).sum()
    }

    /// Solves `L x = b`.
    pub(super) fn lower(&self, mut b: Vec<f64>) -> Vec<f64> {
        for (i, row) in self.rows.iter().enumerate() {
            b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
        }
        b
    }

    /// Solves `L' x = b`.
    pub(super) fn upper(&self, mut b: Vec<f64>) -> Vec<f64> {
        for (i, row) in self.rows.iter().enumerate().rev() {
            b[i] /= row[i];
            let (before, from) = b.split_at_mut(i);
            for (value, factor) in before.iter_mut().zip(row) {
                *value -= factor * from[0];
            }
        }
        b
    }

    /// Solves `L L' x = b`.
    pub(super) fn solve(&self, b: Vec<f64>) -> Vec<f64> {
        self.upper(self.lower(b))
    }

    /// The inverse of the matrix.
    pub(super) fn inverse(&self) -> Vec<Vec<f64>> {
        let n = self.rows.len();
        let unit = |i: usize| {
            (0..n)
                .map(move |j| if i == j { 1.0 } else { 0.0 })
                .collect()
        };
        (0..n).map(|i| self.solve(unit(i))).collect()
    }
}

/// The sum of products, in four sums that are added in a fixed order.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for k in 0..4 {
            sums[k] += a[k] * b[k];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_solves_and_an_inverse_inverts() {
        let n = 9;
        let at = |i: usize, j: usize| {
            let distance = i.abs_diff(j) as f64;
            1.0 / (1.0 + distance) + if i == j { 0.1 } else { 0.0 }
        };
        let matrix: Vec<Vec<f64>> =
            (0..n).map(|i| (0..n).map(|j| at(i, j)).collect()).collect();
        let factor = Cholesky::new(matrix.clone()).unwrap();
        let b: Vec<f64> = (0..n).map(|i| i as f64 - 3.0).collect();
        let x = factor.solve(b.clone());
        for i in 0..n {
            assert!((dot(&matrix[i], &x) - b[i]).abs() < 1e-12);
        }
        let inverse = factor.inverse();
        assert!((dot(&matrix[2], &inverse[2]) - 1.0).abs() < 1e-12);
        assert!(dot(&matrix[2], &inverse[3]).abs() < 1e-12);
        let two = Cholesky::new(vec![vec![4.0], vec![2.0, 10.0]]).unwrap();
        assert!((two.half_ln_determinant() - libm::log(6.0)).abs() < 1e-15);
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert!(Cholesky::new(vec![vec![1.0], vec![2.0, 1.0]]).is_none());
    }
}
