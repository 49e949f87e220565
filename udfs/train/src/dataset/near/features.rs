//! Photos whose features are nearly the same: one was copied, resized or encoded anew.
//!
//! Candidates have a part of a hash in common: the signs of the features' products with random
//! vectors, which agree as often as the features point in the same direction (M. Charikar,
//! Similarity estimation techniques from rounding algorithms, STOC 2002). They are then
//! compared by their correlation.

use atoll_near::Bands;
use atoll_nn::{Dataset, Features, Split};

use super::COMPARED;

/// The least correlation of copies. Of 201 photos behind EfficientNet-Lite0 the two that are
/// most alike have 0.50, and a photo with itself as JPEG more than 0.91.
const CORRELATION: f32 = 0.9;

/// Parts of a hash, each of 16 bits: two photos with a correlation of 0.95 have one in common
/// in 96 of 100 cases, and with 0.99 in all.
const PARTS: usize = 16;

type Hash = [u16; PARTS];

/// The features of all rows, each centred and of length 1, with its hash.
pub(super) struct Rows {
    values: Vec<f32>,
    width: usize,
    hashes: Vec<Hash>,
}

impl Rows {
    /// `None` if the dataset has images and no features.
    pub(super) fn new(dataset: &Dataset) -> Option<Self> {
        let Features::Numbers(numbers) = &dataset.features else {
            return None;
        };
        let width = dataset.shape.values();
        let mut values: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
        values.chunks_exact_mut(width).for_each(normalize);
        let signs = signs(width);
        let hashes = values.chunks_exact(width).map(|row| hash(row, &signs));
        Some(Self {
            hashes: hashes.collect(),
            values,
            width,
        })
    }

    fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.width..][..self.width]
    }

    fn parts(&self, row: u32) -> impl Iterator<Item = u64> {
        self.hashes[row as usize].into_iter().map(u64::from)
    }

    /// How many rows that validate have a copy among those that are trained on.
    pub(super) fn copies(&self, split: &Split) -> usize {
        let mut trained = Bands::new(PARTS, COMPARED);
        for row in &split.train {
            trained.add(self.parts(*row), *row);
        }
        let has_copy = |row: u32| {
            let mut others = trained.candidates(self.parts(row));
            others.any(|other| dot(self.row(row), self.row(other)) >= CORRELATION)
        };
        let validation = split.validation.iter();
        validation.filter(|row| has_copy(**row)).count()
    }
}

fn normalize(row: &mut [f32]) {
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    row.iter_mut().for_each(|value| *value -= mean);
    let length = dot(row, row).sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|value| *value /= length);
    }
}

/// In lanes, which compilers turn into vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Vectors of plus and minus one, a row of `width` for each bit of a hash: the bits of
/// SplitMix64 from a seed that never changes.
fn signs(width: usize) -> Vec<f32> {
    let mut state = 0_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let bits = PARTS * 16 * width;
    let words = (0..bits.div_ceil(64)).map(|_| next());
    let signs = words.flat_map(|word| {
        (0..64).map(move |bit| match word >> bit & 1 {
            0 => -1.0,
            _ => 1.0,
        })
    });
    signs.take(bits).collect()
}

fn hash(row: &[f32], signs: &[f32]) -> Hash {
    let mut hash = [0; PARTS];
    for (bit, signs) in signs.chunks_exact(row.len()).enumerate() {
        let is_set = dot(row, signs) > 0.0;
        hash[bit / 16] |= u16::from(is_set) << (bit % 16);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 64 numbers; one with the same `kind` is the same but for some noise.
    fn rows(kinds: &[u32], noise: f32) -> Rows {
        let width = 64;
        let signs = signs(width);
        let value = |(row, kind): (usize, &u32)| {
            let base = &signs[*kind as usize * width..][..width];
            let other = &signs[(200 + row) * width..][..width];
            let both = base.iter().zip(other);
            both.map(|(base, other)| base + noise * other)
                .collect::<Vec<_>>()
        };
        let mut values: Vec<f32> = kinds.iter().enumerate().flat_map(value).collect();
        values.chunks_exact_mut(width).for_each(normalize);
        let hashes = values.chunks_exact(width).map(|row| hash(row, &signs));
        Rows {
            hashes: hashes.collect(),
            values,
            width,
        }
    }

    fn split(train: &[u32], validation: &[u32]) -> Split {
        Split {
            train: train.to_vec(),
            validation: validation.to_vec(),
        }
    }

    #[test]
    fn copies_on_both_sides_are_counted() {
        let rows = rows(&[100, 101, 102, 103, 101, 102], 0.05);
        assert_eq!(rows.copies(&split(&[0, 1, 2], &[3, 4, 5])), 2);
        assert_eq!(rows.copies(&split(&[0, 1, 4], &[2, 3, 5])), 0);
    }

    #[test]
    fn what_is_only_alike_is_no_copy() {
        let rows = rows(&[100, 100], 0.9);
        assert_eq!(rows.copies(&split(&[0], &[1])), 0);
    }

    #[test]
    fn a_dot_product_has_all_values() {
        let ones = vec![1.0; 37];
        assert_eq!(dot(&ones, &ones), 37.0);
    }
}
