//! Eigenvalues and eigenvectors of a small symmetric matrix.

/// By Jacobi's rotations (Golub 2013, 8.5): the values, and the vectors as columns.
///
/// Slower than other ways beyond some tens of rows and exact to the last digits; a search
/// has as many rows as hyperparameters.
pub(super) fn eigen(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = a.len();
    let row = |i: usize| {
        (0..n)
            .map(move |j| if i == j { 1.0 } else { 0.0 })
            .collect()
    };
    let mut vectors: Vec<Vec<f64>> = (0..n).map(row).collect();
    for _ in 0..60 {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i][j] * a[i][j])
            .sum();
        let on: f64 = (0..n).map(|i| a[i][i] * a[i][i]).sum();
        if off <= 1e-30 * on {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] != 0.0 {
                    rotate(&mut a, &mut vectors, p, q);
                }
            }
        }
    }
    ((0..n).map(|i| a[i][i]).collect(), vectors)
}

/// Makes the element at row `p` and column `q` zero.
fn rotate(a: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let sign = if theta < 0.0 { -1.0 } else { 1.0 };
    let tangent = sign / (theta.abs() + libm::sqrt(theta * theta + 1.0));
    let cosine = 1.0 / libm::sqrt(tangent * tangent + 1.0);
    let sine = tangent * cosine;
    for row in a.iter_mut() {
        let (x, y) = (row[p], row[q]);
        row[p] = cosine * x - sine * y;
        row[q] = sine * x + cosine * y;
    }
    let (above, below) = a.split_at_mut(q);
    for (x, y) in above[p].iter_mut().zip(below[0].iter_mut()) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
    for row in vectors {
        let (x, y) = (row[p], row[q]);
        row[p] = cosine * x - sine * y;
        row[q] = sine * x + cosine * y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_times_values_make_the_matrix() {
        let n = 6;
        let at = |i: usize, j: usize| 1.0 / (1.0 + i as f64 + j as f64);
        let matrix: Vec<Vec<f64>> =
            (0..n).map(|i| (0..n).map(|j| at(i, j)).collect()).collect();
        let (values, vectors) = eigen(matrix.clone());
        for i in 0..n {
            for j in 0..n {
                let sum: f64 = (0..n)
                    .map(|k| vectors[i][k] * values[k] * vectors[j][k])
                    .sum();
                assert!((sum - matrix[i][j]).abs() < 1e-14);
            }
        }
        // numpy.linalg.eigvalsh(scipy.linalg.hilbert(6))[-1]
        let most = values.iter().copied().fold(0.0, f64::max);
        assert!((most - 1.618_899_858_924_339).abs() < 1e-13, "{most}");
    }
}
