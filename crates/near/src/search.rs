//! The comparison of each vector with each.
//!
//! A block of vectors is multiplied with a block of others in 32 bits. From a product
//! follows the distance but for an error that is bounded (N. Higham, Accuracy and Stability
//! of Numerical Algorithms, 2002, section 3.1); where the bound leaves open whether a pair
//! is near enough, its distance is measured in 64 bits. Of Euclidean distances the mean of
//! all vectors is taken away first, so that the bound is small beside them.

use std::ops::Range;

use crate::{Metric, Vectors};

/// How many of the vectors that are searched are multiplied at once: with as many searchers
/// their products fit into a second-level cache.
const BLOCK: usize = 512;

/// The most searchers of one piece of work.
const MOST_SEARCHERS: usize = 1024;

/// The rounding of 32 bits.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// Beside lengths of 1 all products that underflow are less than this.
const UNDERFLOW: f64 = 1e-35;

/// A vector and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Which one, from 0.
    pub row: u32,
    /// Its distance.
    pub distance: f64,
}

/// Two vectors: the number of one, and the other with its distance.
pub type Pair = (u32, Neighbour);

/// Vectors that are searched, and those that search.
#[derive(Debug)]
pub struct Search {
    metric: Metric,
    vectors: Vectors,
    /// `None` where each vector searches among the others.
    searchers: Option<Vectors>,
    /// What is taken away from each vector before products, and a power of two that all are
    /// multiplied with, so that no length is above 1.
    mean: Option<Vec<f32>>,
    scale: f32,
    /// The lengths of the vectors that are searched, in products.
    lengths: Vec<f32>,
}

impl Search {
    /// Prepares a search. Where there are searchers, they have the width of the vectors.
    pub fn new(vectors: Vectors, searchers: Option<Vectors>, metric: Metric) -> Self {
        let mut search = Self {
            metric,
            mean: (metric == Metric::Euclidean).then(|| vectors.mean()),
            scale: 1.0,
            lengths: vec![],
            vectors,
            searchers,
        };
        if metric != Metric::Cosine {
            let lengths = search.measure(&search.vectors);
            let others = search.searchers.as_ref();
            let others = others.map(|others| search.measure(others));
            let longest = lengths.iter().chain(others.iter().flatten());
            let longest = longest.copied().fold(0.0, f64::max);
            if longest > 0.0 {
                // Between what a number of 32 bits can be.
                let exponent = (-longest.log2().ceil()).clamp(-126.0, 126.0);
                search.scale = exponent.exp2() as f32;
            }
            let scale = f64::from(search.scale);
            let lengths = lengths.iter().map(|length| (length * scale) as f32);
            search.lengths = lengths.map(f32::next_up).collect();
        }
        search
    }

    /// How many vectors search.
    pub fn searchers(&self) -> usize {
        self.searching().len()
    }

    /// How many searchers one piece of work has, for so many threads.
    pub fn piece(&self, threads: usize) -> usize {
        let pieces = 4 * threads.max(1);
        self.searchers()
            .div_ceil(pieces)
            .next_multiple_of(64)
            .min(MOST_SEARCHERS)
    }

    /// The `k` nearest of some searchers, nearest first, at most `within` away; of those
    /// equally far the first ones. `None` if `stop` said so.
    pub fn nearest(
        &self,
        rows: Range<usize>,
        k: usize,
        within: f64,
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Vec<Neighbour>>> {
        let mut nearest = Nearest {
            k,
            within,
            found: vec![vec![]; rows.len()],
        };
        let all = 0..self.vectors.len();
        self.scan(rows, all, &mut nearest, stop)?;
        Some(nearest.found)
    }

    /// Shows `join` the pairs of some of the vectors with later ones that are at most `within`
    /// away, several pairs at a time. `None` if `stop` said so.
    pub fn pairs(
        &self,
        rows: Range<usize>,
        within: f64,
        join: &mut dyn FnMut(&[Pair]),
        stop: &dyn Fn() -> bool,
    ) -> Option<()> {
        let mut start = rows.start / BLOCK * BLOCK;
        let mut pairs = Pairs {
            within,
            first: rows.start,
            found: vec![],
        };
        while start < self.vectors.len() {
            let end = (start + BLOCK).min(self.vectors.len());
            self.scan(rows.clone(), start..end, &mut pairs, stop)?;
            if !pairs.found.is_empty() {
                join(&pairs.found);
                pairs.found.clear();
            }
            start = end;
        }
        Some(())
    }

    fn searching(&self) -> &Vectors {
        self.searchers.as_ref().unwrap_or(&self.vectors)
    }

    /// The lengths of vectors less the mean.
    fn measure(&self, vectors: &Vectors) -> Vec<f64> {
        let Some(mean) = &self.mean else {
            let squares = (0..vectors.len()).map(|row| vectors.square(row));
            return squares.map(f64::sqrt).collect();
        };
        let length = |row: usize| {
            let values = vectors.row(row).iter().zip(mean);
            let squares = values.map(|(value, mean)| {
                let value = f64::from(*value) - f64::from(*mean);
                value * value
            });
            squares.sum::<f64>().sqrt()
        };
        (0..vectors.len()).map(length).collect()
    }

    /// The width of products: one more where a column adds what depends on the searched.
    fn width(&self) -> usize {
        self.vectors.width() + usize::from(self.metric == Metric::Euclidean)
    }

    /// Writes vectors as products take them. `last` is the column that Euclidean distances
    /// have more, by the row.
    fn prepare(
        &self,
        vectors: &Vectors,
        rows: Range<usize>,
        last: impl Fn(usize) -> f32,
        to: &mut Vec<f32>,
    ) {
        to.clear();
        for row in rows {
            let values = vectors.row(row);
            match (&self.mean, self.metric) {
                (Some(mean), _) => {
                    let values = values.iter().zip(mean);
                    let scale = self.scale;
                    // Neither may large numbers overflow nor small ones lose bits.
                    match scale < 1.0 {
                        true => to.extend(values.map(|(v, m)| v * scale - m * scale)),
                        false => to.extend(values.map(|(v, m)| (v - m) * scale)),
                    }
                    to.push(last(row));
                }
                (None, Metric::Cosine) => {
                    let length = vectors.square(row).sqrt();
                    match 1.0 / length as f32 {
                        inverse if inverse.is_normal() => {
                            to.extend(values.iter().map(|value| value * inverse));
                        }
                        // Very short or very long, or of zeros.
                        _ => to.extend(values.iter().map(|value| match length {
                            0.0 => 0.0,
                            length => (f64::from(*value) / length) as f32,
                        })),
                    }
                }
                (None, _) => to.extend(values.iter().map(|value| value * self.scale)),
            }
        }
    }

    /// Shows `keep` all pairs that may be near enough.
    fn scan(
        &self,
        rows: Range<usize>,
        among: Range<usize>,
        keep: &mut impl Keep,
        stop: &dyn Fn() -> bool,
    ) -> Option<()> {
        let (searching, width) = (self.searching(), self.width());
        let mut left = Vec::with_capacity(rows.len() * width);
        self.prepare(searching, rows.clone(), |_| 1.0, &mut left);
        let lengths: Vec<f64> = match self.metric {
            Metric::Cosine => vec![1.0; rows.len()],
            _ => left
                .chunks_exact(width)
                .map(|row| self.length(row))
                .collect(),
        };
        let (mut right, mut products) = (vec![], vec![]);
        let mut start = among.start;
        while start < among.end {
            if stop() {
                return None;
            }
            let block = start..(start + BLOCK).min(among.end);
            let half = |row: usize| self.lengths[row] * self.lengths[row] * -0.5;
            self.prepare(&self.vectors, block.clone(), half, &mut right);
            products.resize(rows.len() * block.len(), 0.0);
            atoll_nn::products(&left, &right, width, &mut products);
            let longest = match self.metric {
                Metric::Cosine => 1.0,
                _ => self.lengths[block.clone()]
                    .iter()
                    .fold(0.0, |a, b| b.max(a)),
            };
            let all = products.chunks_exact(block.len()).zip(&lengths);
            for (at, (products, length)) in all.enumerate() {
                let line = Line {
                    row: rows.start + at,
                    at,
                    products,
                    first: block.start,
                    lengths: [*length, f64::from(longest)],
                };
                self.look(&line, keep);
            }
            start = block.end;
        }
        Some(())
    }

    /// The length of a row as products take it, without their last column.
    fn length(&self, row: &[f32]) -> f64 {
        let values = &row[..self.vectors.width()];
        crate::metric::product(values, values).sqrt()
    }

    /// Measures the pairs of a searcher whose products are large enough.
    fn look(&self, line: &Line<'_>, keep: &mut impl Keep) {
        const CHUNK: usize = 64;
        let Line {
            row,
            at,
            products,
            first,
            lengths,
        } = *line;
        let mut least = self.least(keep.limit(at), lengths);
        let itself = self.searchers.is_none().then_some(row);
        for (chunk, products) in products.chunks(CHUNK).enumerate() {
            // NaN is measured, too: it says nothing.
            let may_be_near = |product: &f32| *product >= least || product.is_nan();
            if !products.iter().any(may_be_near) {
                continue;
            }
            for (n, product) in products.iter().enumerate() {
                let other = first + chunk * CHUNK + n;
                if *product < least || itself == Some(other) || !keep.wants(row, other) {
                    continue;
                }
                let (a, b) = (self.searching(), &self.vectors);
                let distance = self.metric.distance(a.measured(row), b.measured(other));
                // Fits: there are not more vectors.
                let row = other as u32;
                if keep.offer(at, Neighbour { row, distance }) {
                    least = self.least(keep.limit(at), lengths);
                }
            }
        }
    }

    /// The least product that a pair may have which is not further apart than `limit`; with
    /// the length of the searcher and the longest of the block.
    fn least(&self, limit: f64, [length, longest]: [f64; 2]) -> f32 {
        // A few more roundings than a product has, for the operands themselves.
        let error = (self.width() + 16) as f64 * UNIT * 1.01;
        let least = match self.metric {
            Metric::Cosine => 1.0 - limit - error,
            Metric::Dot => {
                let scale = f64::from(self.scale);
                -limit * scale * scale - error * length * longest
            }
            Metric::Euclidean => {
                let limit = limit * f64::from(self.scale);
                let both = length + longest;
                (length * length - limit * limit) / 2.0 - error * both * both
            }
        };
        ((least - UNDERFLOW) as f32).next_down()
    }
}

/// The products of a searcher with the vectors of a block.
struct Line<'a> {
    /// Which searcher, among all and among those of this piece of work.
    row: usize,
    at: usize,
    products: &'a [f32],
    /// The first vector of the block.
    first: usize,
    /// The length of the searcher, and the longest of the block.
    lengths: [f64; 2],
}

/// What a search keeps.
trait Keep {
    /// How far a neighbour of the searcher with this place may be.
    fn limit(&self, at: usize) -> f64;

    /// Whether a pair is looked at.
    fn wants(&self, row: usize, other: usize) -> bool;

    /// Takes what may be near enough; true if the limit has changed.
    fn offer(&mut self, at: usize, other: Neighbour) -> bool;
}

/// The nearest ones of each searcher.
struct Nearest {
    k: usize,
    within: f64,
    found: Vec<Vec<Neighbour>>,
}

impl Keep for Nearest {
    fn limit(&self, at: usize) -> f64 {
        match self.found[at].last() {
            Some(last) if self.found[at].len() == self.k => last.distance,
            _ => self.within,
        }
    }

    fn wants(&self, _row: usize, _other: usize) -> bool {
        self.k > 0
    }

    fn offer(&mut self, at: usize, other: Neighbour) -> bool {
        let found = &mut self.found[at];
        let is_nearer =
            |known: &Neighbour| (known.distance, known.row) < (other.distance, other.row);
        let place = found.partition_point(is_nearer);
        if other.distance > self.within || place == self.k {
            return false;
        }
        found.truncate(self.k - 1);
        found.insert(place, other);
        found.len() == self.k
    }
}

/// All pairs, each once.
struct Pairs {
    within: f64,
    first: usize,
    found: Vec<Pair>,
}

impl Keep for Pairs {
    fn limit(&self, _at: usize) -> f64 {
        self.within
    }

    fn wants(&self, row: usize, other: usize) -> bool {
        other > row
    }

    fn offer(&mut self, at: usize, other: Neighbour) -> bool {
        if other.distance <= self.within {
            self.found.push(((self.first + at) as u32, other));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::Dot];

    fn vectors(rows: &[Vec<f32>]) -> Vectors {
        let mut vectors = Vectors::default();
        rows.iter().for_each(|row| vectors.push(row).unwrap());
        vectors
    }

    /// By the definition: each pair is measured, and all are sorted.
    fn expected(
        rows: &[Vec<f32>],
        searchers: Option<&[Vec<f32>]>,
        metric: Metric,
        k: usize,
        within: f64,
    ) -> Vec<Vec<Neighbour>> {
        let (all, from) = (vectors(rows), vectors(searchers.unwrap_or(rows)));
        let nearest = |row: usize| {
            let others = (0..all.len()).filter(|n| searchers.is_some() || *n != row);
            let mut found: Vec<Neighbour> = others
                .map(|n| Neighbour {
                    row: n as u32,
                    distance: metric.distance(from.measured(row), all.measured(n)),
                })
                .filter(|other| other.distance <= within)
                .collect();
            found.sort_by(|a, b| {
                let by_distance = a.distance.total_cmp(&b.distance);
                by_distance.then(a.row.cmp(&b.row))
            });
            found.truncate(k);
            found
        };
        (0..from.len()).map(nearest).collect()
    }

    fn all(search: &Search, pieces: usize, k: usize, within: f64) -> Vec<Vec<Neighbour>> {
        let rows = search.searchers();
        let step = rows.div_ceil(pieces).max(1);
        let starts = (0..rows).step_by(step);
        let found = starts.flat_map(|start| {
            let rows = start..(start + step).min(rows);
            search.nearest(rows, k, within, &|| false).unwrap()
        });
        found.collect()
    }

    /// Numbers without a pattern, from -1 to 1 (SplitMix64).
    fn random(n: u64) -> f32 {
        let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn rows(count: u64, width: u64, seed: u64) -> Vec<Vec<f32>> {
        let row = |n: u64| {
            let values = (0..width).map(|m| random(seed + n * width + m));
            values.collect()
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn nearest_ones_are_those_of_the_definition_however_work_is_cut() {
        // More than a block, with copies and near copies.
        let mut data = rows(1_100, 33, 1);
        for n in 0..40 {
            data[700 + n] = data[n].clone();
            data[900 + n] = data[n].iter().map(|value| value * 1.000_001).collect();
        }
        let searchers = rows(70, 33, 1 << 40);
        for metric in METRICS {
            for (k, within) in [(1, f64::INFINITY), (7, f64::INFINITY), (50, 0.8)] {
                let search = Search::new(vectors(&data), None, metric);
                let wanted = expected(&data, None, metric, k, within);
                assert_eq!(all(&search, 1, k, within), wanted, "{metric:?}");
                assert_eq!(all(&search, 7, k, within), wanted, "{metric:?}");
                let from = Some(vectors(&searchers));
                let search = Search::new(vectors(&data), from, metric);
                let wanted = expected(&data, Some(&searchers), metric, k, within);
                assert_eq!(all(&search, 3, k, within), wanted, "{metric:?}");
            }
        }
    }

    #[test]
    fn sizes_beyond_products_of_32_bits_are_measured() {
        for size in [1e30_f32, 1e-30, 3e38, 1e-44] {
            let data: Vec<Vec<f32>> = rows(40, 5, 9)
                .iter()
                .map(|row| row.iter().map(|value| value * size).collect())
                .collect();
            for metric in METRICS {
                let search = Search::new(vectors(&data), None, metric);
                let wanted = expected(&data, None, metric, 3, f64::INFINITY);
                assert_eq!(
                    all(&search, 2, 3, f64::INFINITY),
                    wanted,
                    "{metric:?} {size}"
                );
            }
        }
    }

    #[test]
    fn what_lies_far_from_zero_is_compared_by_its_differences() {
        let data: Vec<Vec<f32>> = rows(200, 8, 5)
            .iter()
            .map(|row| row.iter().map(|value| value + 4_096.0).collect())
            .collect();
        let search = Search::new(vectors(&data), None, Metric::Euclidean);
        let wanted = expected(&data, None, Metric::Euclidean, 4, f64::INFINITY);
        assert_eq!(all(&search, 3, 4, f64::INFINITY), wanted);
    }

    #[test]
    fn vectors_of_zeros_are_1_away_from_all() {
        let data = [vec![0.0, 0.0], vec![1.0, 0.0], vec![2.0, 0.0]];
        let search = Search::new(vectors(&data), None, Metric::Cosine);
        let found = all(&search, 1, 2, f64::INFINITY);
        let near = |row, distance| Neighbour { row, distance };
        assert_eq!(found[0], [near(1, 1.0), near(2, 1.0)]);
        assert_eq!(found[1], [near(2, 0.0), near(0, 1.0)]);
    }

    #[test]
    fn groups_have_all_pairs() {
        let mut data = rows(1_200, 6, 3);
        data[1_150] = data[3].iter().map(|value| value + 1e-4).collect();
        data[600] = data[1_150].clone();
        let search = Search::new(vectors(&data), None, Metric::Euclidean);
        let mut groups = crate::Groups::new(data.len());
        for rows in [0..500, 500..1_200] {
            let mut join = |pairs: &[Pair]| {
                for (row, other) in pairs {
                    groups.join(*row, other.row, other.distance);
                }
            };
            search.pairs(rows, 0.001, &mut join, &|| false).unwrap();
        }
        let members = groups.members();
        let rows: Vec<_> = members.iter().map(|m| (m.first, m.row)).collect();
        assert_eq!(rows, [(3, 3), (3, 600), (3, 1_150)]);
        assert_eq!(members[1].distance, 0.0);
        assert!((members[0].distance - 1e-4 * 6_f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_search_stops_when_it_is_told_to() {
        let search = Search::new(vectors(&rows(10, 2, 1)), None, Metric::Dot);
        assert_eq!(search.nearest(0..10, 1, 1.0, &|| true), None);
    }

    proptest! {
        #[test]
        fn small_whole_numbers_tie_in_the_order_of_rows(
            data in prop::collection::vec(prop::collection::vec(-2_i8..3, 4), 1..40),
            k in 0..6_usize,
        ) {
            let data: Vec<Vec<f32>> = data
                .iter()
                .map(|row| row.iter().map(|value| f32::from(*value)).collect())
                .collect();
            for metric in METRICS {
                let search = Search::new(vectors(&data), None, metric);
                let wanted = expected(&data, None, metric, k, f64::INFINITY);
                prop_assert_eq!(all(&search, 2, k, f64::INFINITY), wanted);
            }
        }
    }
}
