//! How far two vectors are from each other.

use std::str::FromStr;

/// A distance; the smaller, the nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// 1 less the cosine of their angle, from 0 to 2. From a vector of zeros all are 1 away.
    #[default]
    Cosine,
    /// The length of their difference.
    Euclidean,
    /// Their product, negative: the largest product is nearest.
    Dot,
}

impl Metric {
    /// The names in SQL, in the order of the variants.
    pub const NAMES: [&str; 3] = ["cosine", "l2", "dot"];

    /// The name in SQL.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The distance of two vectors of the same length whose squares are known.
    pub(crate) fn distance(self, a: (&[f32], f64), b: (&[f32], f64)) -> f64 {
        match self {
            Metric::Cosine => {
                let lengths = a.1 * b.1;
                if lengths == 0.0 {
                    return 1.0;
                }
                (1.0 - product(a.0, b.0) / lengths.sqrt()).clamp(0.0, 2.0)
            }
            Metric::Euclidean => sum(a.0, b.0, |a, b| (a - b) * (a - b)).sqrt(),
            // Zero has no sign here, as it has none in SQL.
            Metric::Dot => 0.0 - product(a.0, b.0),
        }
    }
}

impl FromStr for Metric {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let all = [Metric::Cosine, Metric::Euclidean, Metric::Dot];
        let found = all.into_iter().find(|metric| metric.name() == name);
        found.ok_or(())
    }
}

/// The product of two vectors.
pub(crate) fn product(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |a, b| a * b)
}

/// A sum over both vectors, in lanes that compilers turn into vectors. Its order is the
/// same everywhere, and nothing is fused: so are its bits.
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let term = |a: &f32, b: &f32| term(f64::from(*a), f64::from(*b));
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(a, b)| term(a, b)).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += term(a, b);
        }
    }
    sums.iter().sum::<f64>() + rest
}
