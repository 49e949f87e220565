//! What the trials of a session share while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::execution::SessionState;

use crate::dataset::{SharedSnapshot, Snapshot};
use crate::record::TrialRecord;
use crate::single_flight::SingleFlight;

/// Work of a session that is under way, so that nothing is read, held or trained twice.
///
/// It is an extension of the session's settings, and belongs to whoever opened the session:
/// the sessions of a server's clients have one together, and so have the tasks of a worker
/// of a cluster. A session without one shares work within each call only.
#[derive(Debug, Default)]
pub struct TrainShared {
    /// Datasets that running statements read, so that two calls in one statement read a
    /// table once and train on the same rows.
    pub(crate) scans: SingleFlight<SharedSnapshot>,
    /// Snapshots in use, so that each is in memory once.
    pub(crate) snapshots: SingleFlight<Arc<Snapshot>>,
    /// Trials that are running now, so that equal ones run once.
    pub(crate) running: SingleFlight<TrialRecord>,
    /// Trainings so far.
    started: AtomicU64,
    /// Images so far whose features were computed.
    computed: AtomicU64,
    /// Statements so far that have no time of their own.
    unnamed: AtomicU64,
}

impl TrainShared {
    /// What the calls of this session share.
    pub(crate) fn of(session: &SessionState) -> Arc<Self> {
        session.config().get_extension().unwrap_or_default()
    }

    /// How many trainings began. A trial that was looked up does not count, so a test can
    /// tell that nothing was trained twice.
    pub fn trainings_started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// How many images a backbone saw. Features that were kept do not count.
    pub fn features_computed(&self) -> u64 {
        self.computed.load(Ordering::SeqCst)
    }

    /// Counts images that a backbone saw.
    pub(crate) fn count_features(&self, images: usize) {
        self.computed.fetch_add(images as u64, Ordering::SeqCst);
    }

    /// A number that no other statement has.
    pub(crate) fn number(&self) -> u64 {
        self.unnamed.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a training.
    pub(crate) fn start_training(&self) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }
}
