//! What can be wrong with a job, its runs or its schedule. A message may end with a line
//! `hint: ...` that says what its user should do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a run cannot start or be recorded, or a schedule not be read or followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text is not an interval.
    #[error(
        "'{text}' is not an interval: {reason}\nhint: write START/END, such as 2026-11-24T00:00:00Z/2026-11-25T00:00:00Z or 2026-11-24/2026-11-25"
    )]
    Interval {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A job's name cannot be the name of a folder.
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
    /// The storage that keeps records and locks failed.
    #[error("cannot {what} {path}: {source}")]
    Storage {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: object_store::path::Path,
        /// Why not.
        source: Arc<object_store::Error>,
    },
    /// A file of the local storage cannot be locked.
    #[error("cannot lock {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file of the jobs cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of the jobs is not TOML, or a key has a value of the wrong type.
    #[error("{place}: {message}")]
    Syntax {
        /// File and line.
        place: String,
        /// What is wrong there.
        message: String,
    },
    /// A key has a value that means nothing. The file must change.
    #[error("{place}: {message}")]
    Value {
        /// File, job and key.
        place: String,
        /// What is wrong with the value.
        message: String,
    },
    /// A text is not a time.
    #[error(
        "{0:?} is not a time\nhint: write a date such as 2026-11-24, or a time such as \
         2026-11-24T06:30 or 2026-11-24T06:30:00Z"
    )]
    Time(String),
    /// No job has this name.
    #[error("no job is called {name}\nhint: {hint}")]
    NoJob {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        hint: String,
    },
    /// Another schedule works with the same state.
    #[error(
        "another schedule uses the state in {}\nhint: stop it first, or name another \
         folder with --state", path.display()
    )]
    Locked {
        /// The state's folder.
        path: PathBuf,
    },
    /// The state cannot be read or written, so nothing more can be started: what is not
    /// remembered would run twice.
    #[error("cannot keep the state of the schedule in {}: {source}", path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state's file is not what was written there.
    #[error(
        "the state in {} is damaged: {message}\nhint: restore the file, or remove it: \
         the job then begins anew, at its `start` if it has one", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    pub(crate) fn storage(
        what: &'static str,
        path: &object_store::path::Path,
        source: object_store::Error,
    ) -> Self {
        Self::Storage {
            what,
            path: path.clone(),
            source: Arc::new(source),
        }
    }
}
