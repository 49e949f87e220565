//! Rows by the parts of their hashes, so that what has no part in common is not compared.

use std::collections::HashMap;

/// Rows that were added, by each part of their hashes.
#[derive(Debug)]
pub struct Bands {
    rows: Vec<HashMap<u64, Vec<u32>>>,
    most: usize,
}

impl Bands {
    /// For hashes of so many parts. Of rows that have a part in common the first `most` are
    /// kept: blank images all agree.
    pub fn new(parts: usize, most: usize) -> Self {
        Self {
            rows: vec![HashMap::new(); parts],
            most,
        }
    }

    /// Adds a row with the parts of its hash.
    pub fn add(&mut self, parts: impl IntoIterator<Item = u64>, row: u32) {
        for (band, part) in self.rows.iter_mut().zip(parts) {
            let rows = band.entry(part).or_default();
            if rows.len() < self.most {
                rows.push(row);
            }
        }
    }

    /// The rows that have a part of a hash in common; one of them may come several times.
    pub fn candidates(
        &self,
        parts: impl IntoIterator<Item = u64>,
    ) -> impl Iterator<Item = u32> {
        let found = self.rows.iter().zip(parts);
        let found = found.filter_map(|(band, part)| band.get(&part));
        found.flatten().copied()
    }
}
