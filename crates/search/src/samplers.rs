//! Samplers: which point to try next.

mod cma;
mod eigen;
mod gp;
mod grid;
mod tpe;

use crate::observation::Observation;
use crate::{Draw, Error, Point, Space};

pub use grid::MAX_GRID;

/// What proposes points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// Every combination of values, the first hyperparameter slowest.
    Grid,
    /// Independent draws.
    Random,
    /// A scrambled Sobol sequence (Owen 1995, Burley 2020): random, and evenly spread.
    Sobol,
    /// A tree-structured Parzen estimator (Bergstra 2011), multivariate (Falkner 2018).
    Tpe,
    /// A Gaussian process with expected improvement (Jones 1998, Ament 2023).
    Gp,
    /// Covariance matrix adaptation (Hansen 2016).
    CmaEs,
}

impl SamplerKind {
    /// All of them, by the names that statements use.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("grid", Self::Grid),
        ("random", Self::Random),
        ("sobol", Self::Sobol),
        ("tpe", Self::Tpe),
        ("gp", Self::Gp),
        ("cma_es", Self::CmaEs),
    ];

    /// Its name in statements.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(name, _)| name)
    }

    /// The sampler for a space and so many objectives.
    ///
    /// # Errors
    ///
    /// If it cannot search the space, or not for that many objectives.
    pub fn build(
        self,
        space: &Space,
        objectives: usize,
        seed: i64,
    ) -> Result<Box<dyn Sampler>, Error> {
        if objectives > 1 && matches!(self, Self::Gp | Self::CmaEs) {
            return Err(Error::Sampler {
                sampler: self.name(),
                reason: format!(
                    "takes one objective, got {objectives}; use sampler 'tpe' for several"
                ),
            });
        }
        Ok(match self {
            Self::Grid => Box::new(grid::Grid::new(space)?),
            Self::Random => Box::new(Random { seed }),
            Self::Sobol => Box::new(Sobol { seed }),
            Self::Tpe => Box::new(tpe::Tpe { seed }),
            Self::Gp => Box::new(gp::Gp::new(seed)),
            Self::CmaEs => Box::new(cma::CmaEs::new(space, seed)?),
        })
    }
}

/// Proposes points one after the other.
///
/// What it proposes follows from the space, its seed and what it was shown, in the order
/// of the calls.
pub trait Sampler: Send {
    /// The point of a trial, where `seen` are earlier trials, those of studies before
    /// first; `None` when there is nothing left to try.
    fn suggest(
        &mut self,
        space: &Space,
        seen: &[Observation],
        trial: u64,
    ) -> Option<Point>;
}

/// A trial's number as draws take it.
fn number(trial: u64) -> i64 {
    i64::try_from(trial).unwrap_or(i64::MAX)
}

struct Random {
    seed: i64,
}

impl Sampler for Random {
    fn suggest(&mut self, space: &Space, _: &[Observation], trial: u64) -> Option<Point> {
        Some(space.draw(self.seed, number(trial)))
    }
}

struct Sobol {
    seed: i64,
}

impl Sampler for Sobol {
    fn suggest(&mut self, space: &Space, _: &[Observation], trial: u64) -> Option<Point> {
        Some(sobol_point(space, self.seed, trial))
    }
}

/// A point of the scrambled Sobol sequence of a seed.
fn sobol_point(space: &Space, seed: i64, position: u64) -> Point {
    let draw = Draw {
        seed,
        trial: 0,
        name: "sobol",
    };
    let scrambling = draw.stream().bits();
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    space.point(|index, dimension| {
        let axis = u32::try_from(index).unwrap_or(u32::MAX);
        dimension.at(crate::draw::sobol(position, axis, scrambling))
    })
}

#[cfg(test)]
mod tests;
