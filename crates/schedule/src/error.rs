//! What can be wrong with a schedule. A `hint:` line at the end says what to do.

use std::io;
use std::path::PathBuf;

/// Why a schedule cannot be read or followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// A text is not an interval.
    #[error(
        "{0:?} is not an interval\nhint: write two times such as \
         2026-11-24T00:00:00Z/2026-11-25T00:00:00Z, the earlier one first"
    )]
    Interval(String),
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
