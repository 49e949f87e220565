//! Regression trees, and how the variance of their predictions is shared out.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

/// Deeper than any tree over a few hundred trials.
const MAX_DEPTH: usize = 64;

/// A part of the unit cube with one prediction.
#[derive(Debug, Clone)]
struct Leaf {
    /// Lower and upper end, a feature.
    bounds: Vec<(f64, f64)>,
    value: f64,
}

/// A fully grown tree over a bootstrap sample, as the parts that it cuts the unit cube
/// into.
#[derive(Debug)]
pub(super) struct Tree {
    leaves: Vec<Leaf>,
    /// Of the prediction over the cube.
    mean: f64,
    variance: f64,
}

/// Rows that a part of the tree still has to cut.
struct Node {
    rows: Vec<usize>,
    bounds: Vec<(f64, f64)>,
    depth: usize,
}

/// Where a node is cut.
struct Split {
    feature: usize,
    threshold: f64,
    /// What the cut leaves of the rows' spread, negated; larger is better.
    gain: f64,
}

impl Tree {
    /// Grows a tree. Each column is a feature with values from 0 to 1.
    pub(super) fn grow(columns: &[Vec<f64>], target: &[f64], rng: &mut Pcg64) -> Self {
        let count = target.len();
        let rows = (0..count).map(|_| rng.random_range(0..count)).collect();
        let mut open = vec![Node {
            rows,
            bounds: vec![(0.0, 1.0); columns.len()],
            depth: 0,
        }];
        let mut leaves = Vec::new();
        while let Some(mut node) = open.pop() {
            let split = match node.depth < MAX_DEPTH {
                true => best_split(&mut node.rows, columns, target, rng),
                false => None,
            };
            let Some(Split {
                feature, threshold, ..
            }) = split
            else {
                let sum: f64 = node.rows.iter().map(|row| target[*row]).sum();
                leaves.push(Leaf {
                    bounds: node.bounds,
                    value: sum / node.rows.len() as f64,
                });
                continue;
            };
            let (below, above) = node
                .rows
                .into_iter()
                .partition(|row| columns[feature][*row] <= threshold);
            let mut lower = node.bounds.clone();
            lower[feature].1 = threshold;
            let mut upper = node.bounds;
            upper[feature].0 = threshold;
            for (rows, bounds) in [(below, lower), (above, upper)] {
                open.push(Node {
                    rows,
                    bounds,
                    depth: node.depth + 1,
                });
            }
        }
        Self::of(leaves)
    }

    fn of(leaves: Vec<Leaf>) -> Self {
        let weighted = |value: fn(&Leaf) -> f64| -> f64 {
            leaves
                .iter()
                .map(|leaf| leaf.volume(&[]) * value(leaf))
                .sum()
        };
        let mean = weighted(|leaf| leaf.value);
        let square = weighted(|leaf| leaf.value * leaf.value);
        Self {
            leaves,
            mean,
            variance: square - mean * mean,
        }
    }

    /// Whether the prediction differs anywhere. A sample may have seen no difference.
    pub(super) fn differs(&self) -> bool {
        self.variance > 1e-12 * self.mean * self.mean && self.variance > 0.0
    }

    /// The share of the variance that comes from a feature by itself.
    pub(super) fn main(&self, feature: usize) -> f64 {
        let ends = self.ends(feature);
        let mut steps = vec![0.0; ends.len()];
        for leaf in &self.leaves {
            let height = (leaf.value - self.mean) * leaf.volume(&[feature]);
            let (from, to) = leaf.span(feature, &ends);
            steps[from] += height;
            steps[to] -= height;
        }
        let mut height = 0.0;
        let mut variance = 0.0;
        for (cell, step) in steps.iter().enumerate().take(ends.len() - 1) {
            height += step;
            variance += height * height * (ends[cell + 1] - ends[cell]);
        }
        variance / self.variance
    }

    /// The share of the variance that comes from two features together, theirs by
    /// themselves included.
    pub(super) fn joint(&self, one: usize, other: usize) -> f64 {
        let (rows, columns) = (self.ends(one), self.ends(other));
        let width = columns.len();
        // Steps at the corners of each leaf; summed up both ways they are its height.
        let mut cells = vec![0.0; rows.len() * width];
        for leaf in &self.leaves {
            let height = (leaf.value - self.mean) * leaf.volume(&[one, other]);
            let ((top, bottom), (left, right)) =
                (leaf.span(one, &rows), leaf.span(other, &columns));
            cells[top * width + left] += height;
            cells[top * width + right] -= height;
            cells[bottom * width + left] -= height;
            cells[bottom * width + right] += height;
        }
        let mut variance = 0.0;
        for row in 0..rows.len() - 1 {
            let mut sum = 0.0;
            for column in 0..width {
                sum += cells[row * width + column];
                let above = match row {
                    0 => 0.0,
                    row => cells[(row - 1) * width + column],
                };
                cells[row * width + column] = sum + above;
            }
            for column in 0..width - 1 {
                let height = cells[row * width + column];
                let area =
                    (rows[row + 1] - rows[row]) * (columns[column + 1] - columns[column]);
                variance += height * height * area;
            }
        }
        variance / self.variance
    }

    /// Where leaves end along a feature, from 0 to 1.
    fn ends(&self, feature: usize) -> Vec<f64> {
        let bounds = self.leaves.iter().map(|leaf| leaf.bounds[feature]);
        let mut ends: Vec<f64> = bounds.flat_map(|(low, high)| [low, high]).collect();
        ends.sort_by(f64::total_cmp);
        ends.dedup();
        ends
    }
}

impl Leaf {
    /// The product of its sides, some left out.
    fn volume(&self, without: &[usize]) -> f64 {
        let sides = self.bounds.iter().enumerate();
        sides
            .filter(|(feature, _)| !without.contains(feature))
            .map(|(_, (low, high))| high - low)
            .product()
    }

    /// The places of its ends among all ends.
    fn span(&self, feature: usize, ends: &[f64]) -> (usize, usize) {
        let (low, high) = self.bounds[feature];
        let place = |end: f64| ends.partition_point(|other| *other < end);
        (place(low), place(high))
    }
}

/// The cut that leaves the least spread; none where nothing is left to tell apart.
fn best_split(
    rows: &mut [usize],
    columns: &[Vec<f64>],
    target: &[f64],
    rng: &mut Pcg64,
) -> Option<Split> {
    let first = target[*rows.first()?];
    if rows.iter().all(|row| target[*row] == first) {
        return None;
    }
    // Of equal cuts the first one wins, so the order must favour no feature.
    let mut features: Vec<usize> = (0..columns.len()).collect();
    features.shuffle(rng);
    let total: f64 = rows.iter().map(|row| target[*row]).sum();
    let mut best: Option<Split> = None;
    for feature in features {
        let column = &columns[feature];
        rows.sort_by(|a, b| column[*a].total_cmp(&column[*b]));
        let mut sum = 0.0;
        for (below, pair) in (1_usize..).zip(rows.windows(2)) {
            sum += target[pair[0]];
            let (left, right) = (column[pair[0]], column[pair[1]]);
            if left == right {
                continue;
            }
            let above = rows.len() - below;
            let rest = total - sum;
            let gain = sum * sum / below as f64 + rest * rest / above as f64;
            if best.as_ref().is_none_or(|best| gain > best.gain) {
                best = Some(Split {
                    feature,
                    threshold: f64::midpoint(left, right),
                    gain,
                });
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(x: (f64, f64), y: (f64, f64), value: f64) -> Leaf {
        Leaf {
            bounds: vec![x, y],
            value,
        }
    }

    /// Leaves that are 1 in two opposite quarters: neither feature matters by itself.
    #[test]
    fn a_chequerboard_is_all_interaction() {
        let (low, high) = ((0.0, 0.5), (0.5, 1.0));
        let tree = Tree::of(vec![
            leaf(low, low, 1.0),
            leaf(low, high, 0.0),
            leaf(high, low, 0.0),
            leaf(high, high, 1.0),
        ]);
        assert!((tree.variance - 0.25).abs() < 1e-12);
        assert!(tree.main(0).abs() < 1e-12 && tree.main(1).abs() < 1e-12);
        assert!((tree.joint(0, 1) - 1.0).abs() < 1e-12);
    }

    /// Leaves that span one feature and cut the other at different places.
    #[test]
    fn leaves_may_overlap_in_a_feature() {
        let tree = Tree::of(vec![
            leaf((0.0, 0.5), (0.0, 1.0), 0.0),
            leaf((0.5, 1.0), (0.0, 0.25), 4.0),
            leaf((0.5, 1.0), (0.25, 1.0), 0.0),
        ]);
        // Mean 0.5, variance 2 - 0.25; along x it is 0 and 1, along y 2 and 0.
        assert!((tree.variance - 1.75).abs() < 1e-12);
        assert!((tree.main(0) - 0.25 / 1.75).abs() < 1e-12);
        assert!((tree.main(1) - 0.75 / 1.75).abs() < 1e-12);
        assert!((tree.joint(0, 1) - 1.0).abs() < 1e-12);
    }
}
