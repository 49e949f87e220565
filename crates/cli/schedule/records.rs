//! Which intervals have succeeded, as the records of runs in the storage say.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use atoll_jobs::Interval;
use atoll_jobs::RunStore;
use atoll_session::{Session, SessionOptions, run_store};

use crate::errors::Failure;

/// The records of runs, read once a job: intervals that close later can only have been
/// run by the schedule, or by others whose locks it meets.
pub(super) struct Records {
    store: RunStore,
    known: RefCell<HashMap<String, HashSet<Interval>>>,
}

impl Records {
    /// Opens the records in a storage.
    pub(super) async fn open(storage: Option<String>) -> Result<Self, Failure> {
        let options = SessionOptions {
            storage,
            ..SessionOptions::default()
        };
        // Knows which storage is meant when none is named.
        let session = Session::new(options).await?;
        Ok(Self {
            store: run_store(&session.storage())?,
            known: RefCell::default(),
        })
    }

    /// Whether a run of the job has succeeded for the interval.
    pub(super) async fn has(
        &self,
        job: &str,
        interval: Interval,
    ) -> Result<bool, String> {
        if let Some(known) = self.known.borrow().get(job) {
            return Ok(known.contains(&interval));
        }
        let succeeded = self.store.succeeded(job).await.map_err(|error| {
            format!("cannot tell whether an earlier run succeeded: {error}")
        })?;
        let known: HashSet<_> = succeeded.into_iter().collect();
        let has = known.contains(&interval);
        self.known.borrow_mut().insert(job.to_string(), known);
        Ok(has)
    }

    /// Reads the records of a job again next time.
    pub(super) fn forget(&self, job: &str) {
        self.known.borrow_mut().remove(job);
    }
}
