//! Hashes that differ in few bits, without comparing each with each.
//!
//! Of `within + 1` bands of the 64 bits, two hashes that differ in at most `within` bits
//! have one in common. So a hash is compared with those that share a band with it, which
//! of 100,000 are some hundreds.

use std::collections::HashMap;

use atoll_imaging::hamming;

/// Hashes that were seen, by their bands.
#[derive(Debug)]
pub(super) struct Near {
    within: u32,
    /// The bits of each band.
    bands: Vec<u64>,
    by_band: Vec<HashMap<u64, Vec<u32>>>,
    hashes: Vec<u64>,
}

impl Near {
    /// Finds what differs in at most `within` bits.
    pub(super) fn new(within: u32) -> Self {
        let count = within.min(63) + 1;
        let edge = |band: u32| 64 * band / count;
        let bits = |band: u32| {
            let (from, to) = (edge(band), edge(band + 1));
            (u64::MAX >> (64 - (to - from))) << from
        };
        let bands: Vec<u64> = (0..count).map(bits).collect();
        Self {
            within,
            by_band: vec![HashMap::new(); bands.len()],
            bands,
            hashes: Vec::new(),
        }
    }

    /// Shows a closure the earlier hashes that are near one, by their numbers, with the
    /// distance; one may be shown several times.
    pub(super) fn find(&self, hash: u64, mut found: impl FnMut(u32, u32)) {
        for (band, known) in self.bands.iter().zip(&self.by_band) {
            let Some(known) = known.get(&(hash & band)) else {
                continue;
            };
            for &number in known {
                let distance = hamming(hash, self.hashes[number as usize]);
                if distance <= self.within {
                    found(number, distance);
                }
            }
        }
    }

    /// Adds a hash, and gives its number.
    pub(super) fn add(&mut self, hash: u64) -> u32 {
        // Four thousand million hashes would take more memory than there is.
        let number = self.hashes.len() as u32;
        self.hashes.push(hash);
        for (band, known) in self.bands.iter().zip(&mut self.by_band) {
            known.entry(hash & band).or_default().push(number);
        }
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
        for within in [0, 1, 4, 7, 16] {
            let mut near = Near::new(within);
            for (n, hash) in hashes.iter().enumerate() {
                let mut found = BTreeSet::new();
                near.find(*hash, |number, distance| {
                    found.insert((number, distance));
                });
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
