//! What can go wrong with a trial. A loss that diverges is not here: it is an outcome.

/// Why a trial could not be trained, or a dataset not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A hyperparameter has the wrong type or is outside its domain.
    #[error("{name} must be {expected}, got {actual}")]
    Hyperparameter {
        /// The hyperparameter.
        name: String,
        /// Its domain, as the rest of a sentence: `greater than 0`.
        expected: String,
        /// The value that was given.
        actual: String,
    },
    /// No hyperparameter has this name.
    #[error(
        "unknown hyperparameter '{key}'{}; valid: {}",
        did_you_mean(.suggestion.as_deref()),
        .valid.join(", ")
    )]
    UnknownHyperparameter {
        /// The name that was given.
        key: String,
        /// The nearest valid name, if one is near.
        suggestion: Option<String>,
        /// All valid names.
        valid: &'static [&'static str],
    },
    /// The architecture cannot be read, or does not fit the images or the classes.
    #[error("architecture: {problem}")]
    Architecture {
        /// What is wrong, where, and how to repair it.
        problem: String,
    },
    /// The dataset or its split is unusable.
    #[error("dataset: {problem}")]
    Dataset {
        /// What is wrong and how to repair it.
        problem: String,
    },
    /// A checkpoint cannot be read, or not be used here.
    #[error("checkpoint: {problem}")]
    Checkpoint {
        /// What is wrong.
        problem: String,
    },
    /// The observer asked to stop.
    #[error("the trial was cancelled")]
    Cancelled,
}

impl Error {
    /// Whether the trial's own hyperparameters are at fault.
    ///
    /// Such a trial fails the same way wherever it runs, and other trials of the same
    /// search are unaffected.
    pub fn is_infeasible(&self) -> bool {
        match self {
            Error::Hyperparameter { .. }
            | Error::UnknownHyperparameter { .. }
            | Error::Architecture { .. } => true,
            Error::Dataset { .. } | Error::Checkpoint { .. } | Error::Cancelled => false,
        }
    }
}

/// `, did you mean 'conv'?`, or nothing.
pub(crate) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean '{name}'?"))
}

/// The valid name nearest to `word`, if it is near enough to be a slip.
pub(crate) fn nearest(
    word: &str,
    valid: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    // All valid names are in lower case.
    atoll_suggest::nearest(&word.to_lowercase(), valid)
}

/// The name nearest to `word` among those of the data, if it is near enough to be a slip.
pub(crate) fn nearest_of<'a>(word: &str, valid: &'a [String]) -> Option<&'a str> {
    atoll_suggest::nearest(word, valid.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_different_word_is_not() {
        let layers = ["conv", "dense", "max_pool"];
        assert_eq!(nearest("cnov", layers), Some("conv"));
        assert_eq!(nearest("MaxPool", layers), Some("max_pool"));
        assert_eq!(nearest("attention", layers), None);
    }
}
