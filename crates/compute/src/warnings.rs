//! What the user of a statement should know though the statement went well, such as rows
//! that were left out.
//!
//! Work adds to the [`Warnings`] that it was given and does not know who reads them. A
//! session has one, and takes from it what a statement left there; a task of a cluster has
//! its own, which travel with its rows. The same sentence counts once.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// How many sentences are kept for a statement. More than that nobody reads, so the rest is
/// only counted.
const MOST: usize = 20;

/// The place where work reports what it noticed. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Noticed>>);

/// What work noticed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Sentences, each once, in the order in which they came.
    pub sentences: Vec<String>,
    /// How many more there were.
    pub left_out: u64,
    /// Trials that ended.
    pub trials: u64,
    /// Those of them that have a network.
    pub succeeded: u64,
    /// Why the first of the others has none.
    pub first_failure: Option<String>,
}

impl Warnings {
    fn noticed(&self) -> MutexGuard<'_, Noticed> {
        // Every change leaves a value that can be read.
        self.0.lock()
    }

    /// Adds a sentence: lower case, without a full stop.
    pub fn add(&self, sentence: impl Into<String>) {
        self.noticed().add(sentence.into());
    }

    /// Notes a trial that ended, with the reason if it did not succeed.
    pub fn trial(&self, failure: Option<&str>) {
        let mut noticed = self.noticed();
        noticed.trials += 1;
        match failure {
            None => noticed.succeeded += 1,
            Some(reason) => {
                noticed
                    .first_failure
                    .get_or_insert_with(|| reason.to_string());
            }
        }
    }

    /// Adds what a task on another machine noticed.
    pub fn merge(&self, other: Noticed) {
        let mut noticed = self.noticed();
        for sentence in other.sentences {
            noticed.add(sentence);
        }
        noticed.left_out += other.left_out;
        noticed.trials += other.trials;
        noticed.succeeded += other.succeeded;
        if noticed.first_failure.is_none() {
            noticed.first_failure = other.first_failure;
        }
    }

    /// Returns what was noticed so far, and forgets it.
    pub fn take(&self) -> Noticed {
        std::mem::take(&mut *self.noticed())
    }
}

impl Noticed {
    fn add(&mut self, sentence: String) {
        if self.sentences.contains(&sentence) {
            return;
        }
        if self.sentences.len() < MOST {
            self.sentences.push(sentence)
        } else {
            self.left_out += 1
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The sentences to show to the user of a statement that is over.
    pub fn into_sentences(self) -> Vec<String> {
        let mut sentences = self.sentences;
        if self.left_out > 0 {
            sentences.push(format!("and {} more like these", self.left_out));
        }
        if self.trials > 0 && self.succeeded == 0 {
            let reason = self.first_failure.unwrap_or_default();
            sentences.push(match self.trials {
                1 => format!("the only trial did not succeed: {reason}"),
                trials => {
                    format!("none of the {trials} trials succeeded; the first: {reason}")
                }
            });
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_counts_once_and_a_flood_is_cut() {
        let warnings = Warnings::default();
        for n in [1, 1, 2] {
            warnings.clone().add(format!("number {n}"));
        }
        assert_eq!(warnings.take().into_sentences(), ["number 1", "number 2"]);
        assert!(warnings.take().is_empty());
        for n in 0..MOST + 3 {
            warnings.add(format!("number {n}"));
        }
        let sentences = warnings.take().into_sentences();
        assert_eq!(sentences.len(), MOST + 1);
        assert_eq!(sentences[MOST], "and 3 more like these");
    }

    #[test]
    fn trials_without_any_success_are_a_warning() {
        let (here, there) = (Warnings::default(), Warnings::default());
        there.trial(Some("INFEASIBLE: too many epochs"));
        here.merge(there.take());
        here.trial(Some("FAILED: no memory"));
        let expected =
            "none of the 2 trials succeeded; the first: INFEASIBLE: too many epochs";
        assert_eq!(here.clone().take().into_sentences(), [expected]);
        here.trial(Some("FAILED: no memory"));
        there.trial(None);
        here.merge(there.take());
        assert!(here.take().into_sentences().is_empty());
    }
}
