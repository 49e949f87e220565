//! What a job leaves behind beside its rows: a record of each run, and while it runs a
//! lock.
//!
//! Both live in the storage under `runs/<job>/`, so that every machine that may start a
//! job sees the runs of the others. A record is one JSON file; [`Run`] is its schema. A
//! lock covers one job and interval and is given up when its process ends, however that
//! happens.
//!
//! Nothing here knows SQL or runs anything.

mod interval;
mod lock;
mod record;
mod store;

use std::sync::Arc;

use object_store::path::Path;

pub use interval::{Interval, rfc3339};
pub use lock::Lock;
pub use record::{Run, RunError, StatementRun, Status, WrittenFile};
pub use store::RunStore;

/// Why a run cannot start or be recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An interval that is none.
    #[error(
        "'{text}' is not an interval: {reason}\nhint: write START/END, such as 2026-11-24T00:00:00Z/2026-11-25T00:00:00Z or 2026-11-24/2026-11-25"
    )]
    Interval {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that cannot be a folder's.
    #[error(
        "a job's name consists of letters, digits, '.', '_' and '-', got '{0}'\nhint: name the job with --job NAME"
    )]
    Name(String),
    /// Another run of the job and interval holds the lock.
    #[error("{job} is already running: {holder}")]
    AlreadyRunning {
        /// The job, with its interval.
        job: String,
        /// Who runs it, since when.
        holder: String,
    },
    /// The lock could not be renewed in time and may belong to another run by now.
    #[error(
        "the lock of {0} was lost\nhint: another run may have taken over; see job_runs()"
    )]
    LockLost(String),
    /// The storage does not work.
    #[error("cannot {what} {path}: {source}")]
    Storage {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: Path,
        /// Why not.
        source: Arc<object_store::Error>,
    },
    /// A file of the local storage cannot be locked.
    #[error("cannot lock {path}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    fn storage(what: &'static str, path: &Path, source: object_store::Error) -> Self {
        Self::Storage {
            what,
            path: path.clone(),
            source: Arc::new(source),
        }
    }
}
