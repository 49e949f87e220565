//! Hashes that differ in few bits, without comparing each with each.
//!
//! Of `within + 1` bands of the 64 bits, two hashes that differ in at most `within` bits
//! have one in common. So a hash is compared with those that share a band with it, which
//! of 100,000 are some hundreds.

use crate::Bands;

/// Where more bits may differ, bands are so narrow that most hashes share one.
const WIDEST: u32 = 7;

/// In how many bits two hashes differ.
fn hamming(a: u64, b: u64) -> u32 {
    (a ^ b).count_ones()
}

/// Hashes that were seen, by their bands.
#[derive(Debug)]
pub struct Hashes {
    within: u32,
    /// The bits of each band; none where all hashes are compared.
    masks: Vec<u64>,
    bands: Bands,
    hashes: Vec<u64>,
}

impl Hashes {
    /// Finds what differs in at most `within` bits.
    pub fn new(within: u32) -> Self {
        Self::at_most(within, usize::MAX)
    }

    /// The same, which compares a hash with `most` others of each band.
    pub fn at_most(within: u32, most: usize) -> Self {
        let count = within + 1;
        let edge = |band: u32| 64 * band / count;
        let mask = |band: u32| {
            let (from, to) = (edge(band), edge(band + 1));
            (u64::MAX >> (64 - (to - from))) << from
        };
        let masks: Vec<u64> = match within <= WIDEST {
            true => (0..count).map(mask).collect(),
            false => vec![],
        };
        Self {
            within,
            bands: Bands::new(masks.len(), most),
            masks,
            hashes: Vec::new(),
        }
    }

    /// The earlier hashes that are near one, by their numbers, with the distance; one may
    /// come several times.
    pub fn find(&self, hash: u64) -> impl Iterator<Item = (u32, u32)> {
        let parts = self.masks.iter().map(move |mask| hash & mask);
        let all = match self.masks.is_empty() {
            true => 0..self.hashes.len() as u32,
            false => 0..0,
        };
        let candidates = self.bands.candidates(parts).chain(all);
        candidates.filter_map(move |number| {
            let distance = hamming(hash, self.hashes[number as usize]);
            (distance <= self.within).then_some((number, distance))
        })
    }

    /// Adds a hash, and gives its number.
    pub fn add(&mut self, hash: u64) -> u32 {
        // Four thousand million hashes would take more memory than there is.
        let number = self.hashes.len() as u32;
        self.hashes.push(hash);
        let parts = self.masks.iter().map(|mask| hash & mask);
        self.bands.add(parts, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Numbers without a pattern (SplitMix64).
    fn random(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    #[test]
    fn all_that_are_near_are_found_and_no_others() {
        // Each tenth one is a copy of an earlier one with some bits changed.
        let mut hashes: Vec<u64> = Vec::new();
        for n in 0..3_000 {
            let fresh = random(n);
            let hash = match n % 10 {
                9 => {
                    let flips =
                        (0..random(n + 7) % 9).map(|k| 1 << (random(n * 31 + k) % 64));
                    flips.fold(hashes[(n / 2) as usize], |hash, flip: u64| hash ^ flip)
                }
                _ => fresh,
            };
            hashes.push(hash);
        }
        for within in [0, 1, 4, 7, 8, 16, 64] {
            let mut near = Hashes::new(within);
            for (n, hash) in hashes.iter().enumerate() {
                let found: BTreeSet<_> = near.find(*hash).collect();
                let all = hashes[..n].iter().zip(0..);
                let expected: BTreeSet<_> = all
                    .map(|(other, number)| (number, hamming(*hash, *other)))
                    .filter(|(_, distance)| *distance <= within)
                    .collect();
                assert_eq!(found, expected, "within {within}");
                near.add(*hash);
            }
        }
    }
}
