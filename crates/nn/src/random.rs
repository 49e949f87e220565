//! Random streams of a trial: all randomness comes from its seed and nowhere else.
//!
//! The bits are drawn here by hand rather than with `rand`'s distributions, whose
//! sequences may change between releases.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use sha2::{Digest, Sha256};

/// One independent stream of random numbers.
#[derive(Clone)]
pub(crate) struct Stream {
    generator: Pcg64,
    /// How many numbers were drawn.
    drawn: u64,
}

impl Stream {
    /// The stream of `seed` for one purpose.
    ///
    /// The purpose is hashed into the state, so that drawing more numbers for one purpose
    /// (a larger network) never changes those of another (the order of the images).
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(b"atoll-nn\0")
            .chain_update(seed.to_le_bytes())
            .chain_update(purpose.as_bytes())
            .finalize();
        Self {
            generator: Pcg64::from_seed(digest.into()),
            drawn: 0,
        }
    }

    /// How many numbers were drawn so far.
    pub(crate) fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Skips numbers of a new stream, as if they had been drawn.
    pub(crate) fn skip(&mut self, numbers: u64) {
        self.generator.advance(numbers.into());
        self.drawn += numbers;
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        self.generator.next_u64()
    }

    /// A number in `[0, 1)`, with 24 random bits.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    /// 32 random bits.
    pub(crate) fn bits(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// A whole number below `limit`, which is not 0. Its bias is about `limit / 2^32`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(limit)) >> 32) as u32
    }

    /// Puts the elements into a random order (Fisher and Yates).
    pub(crate) fn shuffle(&mut self, items: &mut [u32]) {
        for last in (1..items.len()).rev() {
            // A 64-bit draw makes the bias of the multiplication about 2^-32.
            let draw = u128::from(self.next()) * (last as u128 + 1);
            items.swap(last, (draw >> 64) as usize);
        }
    }
}

/// A random order of so many rows, which depends on the seed and the purpose alone; none of
/// more rows than 32 bits count.
pub fn permutation(rows: usize, seed: u64, purpose: &str) -> Option<Vec<u32>> {
    let mut order: Vec<u32> = (0..u32::try_from(rows).ok()?).collect();
    Stream::new(seed, purpose).shuffle(&mut order);
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_seeds_are_independent() {
        let first = |seed, purpose| Stream::new(seed, purpose).bits();
        assert_eq!(first(1, "shuffle"), first(1, "shuffle"));
        assert_ne!(first(1, "shuffle"), first(1, "dropout"));
        assert_ne!(first(1, "shuffle"), first(2, "shuffle"));
    }

    #[test]
    fn skipped_numbers_count_as_drawn() {
        let mut drawn = Stream::new(1, "test");
        drawn.shuffle(&mut [0; 100]);
        drawn.unit();
        let mut skipped = Stream::new(1, "test");
        skipped.skip(drawn.drawn());
        assert_eq!((drawn.drawn(), skipped.drawn()), (100, 100));
        assert_eq!(drawn.bits(), skipped.bits());
    }

    #[test]
    fn unit_covers_the_interval() {
        let mut stream = Stream::new(3, "test");
        let draws: Vec<f32> = (0..10_000).map(|_| stream.unit()).collect();
        let mean = draws.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
    }

    #[test]
    fn a_shuffle_keeps_every_element_and_each_place_is_equally_likely() {
        let mut stream = Stream::new(5, "test");
        let mut at_front = [0; 4];
        for _ in 0..4_000 {
            let mut items = [0, 1, 2, 3];
            stream.shuffle(&mut items);
            at_front[items[0] as usize] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3]);
        }
        assert!(
            at_front.iter().all(|n| (900..1100).contains(n)),
            "{at_front:?}"
        );
    }
}
