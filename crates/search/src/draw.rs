//! Randomness by name: a draw is a hash of what names it, and a stream starts from one.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use sha2::{Digest, Sha256};

/// Keeps these draws apart from other uses of SHA-256, and names the way the bits are
/// made: change it if that ever changes.
const DOMAIN: &[u8] = b"atoll hp 1";

/// 2^-53, the distance between the values of [`Draw::unit`].
const UNIT: f64 = 1.0 / (1u64 << 53) as f64;

/// One random value, named by everything it depends on.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// Names the study.
    pub seed: i64,
    /// Names the trial within the study.
    pub trial: i64,
    /// Names the hyperparameter within the trial.
    pub name: &'a str,
}

impl Draw<'_> {
    fn digest(&self) -> [u8; 32] {
        // The numbers have a fixed width, so no two draws share a hash input.
        Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(self.seed.to_le_bytes())
            .chain_update(self.trial.to_le_bytes())
            .chain_update(self.name.as_bytes())
            .finalize()
            .into()
    }

    /// 64 uniform bits.
    fn bits(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.digest()[..8]);
        u64::from_le_bytes(bytes)
    }

    /// A number from 0 up to but not including 1, uniform in steps of 2^-53.
    pub fn unit(&self) -> f64 {
        (self.bits() >> 11) as f64 * UNIT
    }

    /// A whole number below `count`, which is at most 2^64.
    ///
    /// Multiply and shift: a value is favoured by less than count / 2^64, which no
    /// search can notice, and no draw has to be repeated.
    pub fn below(&self, count: u128) -> u128 {
        (u128::from(self.bits()) * count) >> 64
    }

    /// A number in `[0, 1)` that fills the positions of a Sobol sequence evenly: of trials
    /// that count from 0 or 1 any stretch of 2^k has one value in each 2^k-th of the axis.
    ///
    /// The axis and its scrambling follow from seed and name, so that names may come and
    /// go without moving the values of others.
    pub fn sobol(&self) -> f64 {
        let axis = Draw { trial: 0, ..*self }.bits();
        let position = u32::try_from(self.trial.rem_euclid(1 << 16)).unwrap_or_default();
        sobol(position, (axis >> 32) as u32 % AXES, axis as u32)
    }

    /// A stream of random numbers of its own.
    pub(crate) fn stream(&self) -> Stream {
        Stream(Pcg64::from_seed(self.digest()))
    }
}

/// Axes of the Sobol sequence that have direction numbers.
const AXES: u32 = 256;

/// A coordinate of an Owen-scrambled Sobol sequence (Burley 2020), which repeats after
/// 65,536 points and has 256 axes.
///
/// Beyond those an axis is used again with another scrambling, which is as good as a
/// random one.
pub(crate) fn sobol(position: u32, axis: u32, seed: u32) -> f64 {
    let seed = seed.wrapping_add((axis / AXES).wrapping_mul(0x9e37_79b9));
    let seed = seed.wrapping_add((position >> 16).wrapping_mul(0x85eb_ca6b));
    f64::from(sobol_burley::sample(position & 0xffff, axis % AXES, seed))
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Stream(Pcg64);

impl Stream {
    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * UNIT
    }

    /// 32 uniform bits.
    pub(crate) fn bits(&mut self) -> u32 {
        (self.0.next_u64() >> 32) as u32
    }

    /// A normally distributed number.
    pub(crate) fn normal(&mut self) -> f64 {
        crate::normal::quantile(self.unit() + UNIT / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: i64, trial: i64, name: &str) -> Draw<'_> {
        Draw { seed, trial, name }
    }

    // hashlib.sha256(b"atoll hp 1" + struct.pack("<qq", 1, 2) + b"x").digest()[:8]
    // read as "<Q"; the second likewise.
    #[test]
    fn the_bits_are_those_of_sha_256() {
        assert_eq!(draw(1, 2, "x").bits(), 15_666_758_333_142_679_397);
        assert_eq!(
            draw(-1, 2, "learning_rate").bits(),
            5_797_085_293_691_196_659
        );
    }

    #[test]
    fn every_part_of_the_name_counts() {
        let all = [
            draw(1, 2, "x").bits(),
            draw(2, 2, "x").bits(),
            draw(1, 3, "x").bits(),
            draw(1, 2, "y").bits(),
            draw(1, 2, "").bits(),
        ];
        for (i, bits) in all.iter().enumerate() {
            assert!(!all[..i].contains(bits), "{all:?}");
        }
    }

    #[test]
    fn units_fill_the_interval_evenly() {
        let mut tenths = [0; 10];
        let mut sum = 0.0;
        for trial in 0..10_000 {
            let unit = draw(7, trial, "rate").unit();
            assert!((0.0..1.0).contains(&unit));
            tenths[(unit * 10.0) as usize] += 1;
            sum += unit;
        }
        // Five standard deviations: 0.289 / 100 for the mean, 30 for a count.
        assert!(
            (sum / 10_000.0 - 0.5).abs() < 0.0145,
            "mean {}",
            sum / 10_000.0
        );
        assert!(
            tenths.iter().all(|&count| (850..=1150).contains(&count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut seen = [0; 7];
        for trial in 0..7_000 {
            seen[draw(7, trial, "n").below(7) as usize] += 1;
        }
        assert!(
            seen.iter().all(|&count| (850..=1150).contains(&count)),
            "{seen:?}"
        );
        assert!(draw(1, 1, "n").below(1 << 64) <= u128::from(u64::MAX));
    }

    #[test]
    fn a_sobol_axis_has_one_value_in_each_part() {
        for name in ["learning_rate", "hidden"] {
            let mut seen = [0; 64];
            for trial in 64..128 {
                seen[(draw(3, trial, name).sobol() * 64.0) as usize] += 1;
            }
            assert_eq!(seen, [1; 64], "{name}");
        }
        assert_ne!(draw(3, 1, "a").sobol(), draw(4, 1, "a").sobol());
    }
}
