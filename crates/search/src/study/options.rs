//! The options of a study.

use crate::{Error, SamplerKind};

/// Which trials go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrunerKind {
    /// All of them.
    None,
    /// Those that are not worse than the median of the trials before at up to ten rungs.
    Median {
        /// Trials before that a rung needs to prune.
        startup: usize,
        /// The least budget to be judged by.
        least: u32,
    },
    /// One in `eta`, at each rung (asynchronous successive halving).
    Halving {
        /// One in how many goes on.
        eta: u32,
        /// The lowest rung.
        least: u32,
    },
    /// The same in brackets that start at different rungs.
    Hyperband {
        /// One in how many goes on.
        eta: u32,
        /// The lowest rung.
        least: u32,
    },
}

impl PrunerKind {
    /// The names that statements use.
    pub const NAMES: [&'static str; 4] = ["none", "median", "halving", "hyperband"];

    /// Its name in statements.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Median { .. } => "median",
            Self::Halving { .. } => "halving",
            Self::Hyperband { .. } => "hyperband",
        }
    }
}

/// The options of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudyOptions {
    /// What proposes points.
    pub sampler: SamplerKind,
    /// Which trials go on.
    pub pruner: PrunerKind,
    /// How many trials there are, if the sampler has that many points.
    pub trials: u64,
    /// Virtual slots: how many trials may be under way when one is proposed. Part of what
    /// decides a study, unlike the number of real slots.
    pub parallel: usize,
    /// Source of all randomness.
    pub seed: i64,
    /// How many values a trial has.
    pub objectives: usize,
    /// What a whole trial has, such as epochs.
    pub budget: u32,
}

/// More virtual slots than this are a slip.
const MOST_SLOTS: usize = 100_000;

impl StudyOptions {
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |name, expected: String, actual: String| {
            Err(Error::Option {
                name,
                expected,
                actual,
            })
        };
        if self.trials == 0 {
            return refuse("trials", "an integer from 1".to_string(), "0".to_string());
        }
        if !(1..=MOST_SLOTS).contains(&self.parallel) {
            let expected = format!("an integer from 1 to {MOST_SLOTS}");
            return refuse("parallel", expected, self.parallel.to_string());
        }
        let (eta, least) = match self.pruner {
            PrunerKind::None => return Ok(()),
            PrunerKind::Median { least, .. } => (2, least),
            PrunerKind::Halving { eta, least } | PrunerKind::Hyperband { eta, least } => {
                (eta, least)
            }
        };
        if eta < 2 {
            return refuse("eta", "an integer from 2".to_string(), eta.to_string());
        }
        if !(1..=self.budget).contains(&least) {
            let expected = format!("from 1 to epochs, which is {}", self.budget);
            return refuse("min_epochs", expected, least.to_string());
        }
        if self.objectives > 1 {
            return Err(Error::Sampler {
                sampler: self.sampler.name(),
                reason: format!(
                    "cannot prune by {} objectives; leave the pruner out",
                    self.objectives
                ),
            });
        }
        Ok(())
    }
}
