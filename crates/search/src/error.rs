//! Why a search cannot be started.

/// What is wrong with a space or with the options of a study. The statement must change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The domain of a hyperparameter holds nothing, or only one value.
    #[error("{name}: {reason}")]
    Domain {
        /// The hyperparameter.
        name: String,
        /// What is wrong, with the value and the remedy.
        reason: String,
    },
    /// No hyperparameter varies.
    #[error(
        "the space has nothing to search; give a hyperparameter a domain such as \
             hp_uniform(0.1, 0.5)"
    )]
    NothingVaries,
    /// Two hyperparameters that a point may have at once share a name.
    #[error("the space gives {name} twice; leave one of them out")]
    Twice {
        /// The name.
        name: String,
    },
    /// An option is outside its domain.
    #[error("option {name} must be {expected}, got {actual}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its domain.
        expected: String,
        /// What was given.
        actual: String,
    },
    /// The sampler cannot search this space.
    #[error("sampler {sampler} {reason}")]
    Sampler {
        /// The sampler.
        sampler: &'static str,
        /// What it lacks, with the remedy.
        reason: String,
    },
}
