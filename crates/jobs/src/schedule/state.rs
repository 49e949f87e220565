//! What a schedule remembers, so that a crash loses nothing.
//!
//! A job's state is one small file that is replaced as a whole, and flushed to the disk
//! before anything that it records happens: a run is written down before it is started.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::RunOutcome;
use crate::interval::{as_optional_text, as_text};
use crate::{Error, Interval};

/// The layout of the files.
const VERSION: u32 = 1;

/// Where a job is in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    version: u32,
    /// Where the first interval begins that was neither started nor left out.
    pub next: DateTime<Utc>,
    /// The interval that was started and has not finished, as far as is known.
    #[serde(default, with = "as_optional_text")]
    pub running: Option<Interval>,
    /// The run that ended last, for people who look.
    pub last: Option<LastRun>,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// What it was for.
    #[serde(with = "as_text")]
    pub interval: Interval,
    /// How it ended.
    pub outcome: RunOutcome,
    /// When it ended.
    pub at: DateTime<Utc>,
}

impl JobState {
    /// The state of a job whose intervals before `next` need nothing more.
    pub fn new(
        next: DateTime<Utc>,
        running: Option<Interval>,
        last: Option<LastRun>,
    ) -> Self {
        Self {
            version: VERSION,
            next,
            running,
            last,
        }
    }
}

/// Keeps the states of jobs.
pub trait StateStore {
    /// The state that was saved last; `None` for a job that was never seen.
    fn load(&self, job: &str) -> Result<Option<JobState>, Error>;

    /// Keeps a state. Once this returns, it survives a crash.
    fn save(&mut self, job: &str, state: &JobState) -> Result<(), Error>;
}

/// A folder with a file a job, which belongs to one process at a time.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// The operating system unlocks it when the process ends, however it ends.
    _lock: File,
}

impl StateFolder {
    /// Opens the folder, which is made if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process has opened it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let wrong = |source| Error::State {
            path: path.to_path_buf(),
            source,
        };
        fs::create_dir_all(path).map_err(wrong)?;
        let lock = File::create(path.join("lock")).map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: path.to_path_buf(),
            }),
            Err(TryLockError::Error(source)) => Err(wrong(source)),
        }
    }

    fn file(&self, job: &str) -> PathBuf {
        self.path.join(format!("{job}.json"))
    }

    fn write(&self, job: &str, text: &[u8]) -> io::Result<()> {
        let staged = self.path.join(format!("{job}.json.new"));
        let mut file = File::create(&staged)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&staged, self.file(job))?;
        // The new name is in the folder, which needs flushing of its own.
        File::open(&self.path)?.sync_all()
    }
}

impl StateStore for StateFolder {
    fn load(&self, job: &str) -> Result<Option<JobState>, Error> {
        let path = self.file(job);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::State { path, source }),
        };
        let damaged = |message| Error::Damaged {
            path: path.clone(),
            message,
        };
        let state: JobState = serde_json::from_slice(&text)
            .map_err(|error: serde_json::Error| damaged(error.to_string()))?;
        match state.version {
            VERSION => Ok(Some(state)),
            other => Err(damaged(format!("its version is {other}, not {VERSION}"))),
        }
    }

    fn save(&mut self, job: &str, state: &JobState) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::from);
        let written = text.and_then(|text| self.write(job, &text));
        written.map_err(|source| Error::State {
            path: self.file(job),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> JobState {
        let interval: Interval =
            "2026-11-24T00:00:00Z/2026-11-25T00:00:00Z".parse().unwrap();
        let last = LastRun {
            interval,
            outcome: RunOutcome::Failed("no".to_string()),
            at: interval.end,
        };
        JobState::new(interval.end, Some(interval), Some(last))
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = StateFolder::open(folder.path()).unwrap();
        assert_eq!(store.load("digits").unwrap(), None);
        store.save("digits", &state()).unwrap();
        let mut other = state();
        other.running = None;
        store.save("labels", &other).unwrap();
        drop(store);
        let store = StateFolder::open(folder.path()).unwrap();
        assert_eq!(store.load("digits").unwrap(), Some(state()));
        assert_eq!(store.load("labels").unwrap(), Some(other));
    }

    /// States that an earlier version wrote must stay readable, so their text is fixed.
    #[test]
    fn the_text_of_a_state_stays_as_it_is() {
        let text = serde_json::to_string(&state()).unwrap();
        assert_eq!(
            text,
            "{\"version\":1,\"next\":\"2026-11-25T00:00:00Z\",\
             \"running\":\"2026-11-24T00:00:00Z/2026-11-25T00:00:00Z\",\
             \"last\":{\"interval\":\"2026-11-24T00:00:00Z/2026-11-25T00:00:00Z\",\
             \"outcome\":{\"failed\":\"no\"},\"at\":\"2026-11-25T00:00:00Z\"}}"
        );
        assert_eq!(serde_json::from_str::<JobState>(&text).unwrap(), state());
    }

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let store = StateFolder::open(folder.path()).unwrap();
        let error = StateFolder::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        drop(store);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_torn_write_leaves_the_state_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = StateFolder::open(folder.path()).unwrap();
        store.save("digits", &state()).unwrap();
        fs::write(folder.path().join("digits.json.new"), "{\"ver").unwrap();
        assert_eq!(store.load("digits").unwrap(), Some(state()));
        store.save("digits", &state()).unwrap();
        assert_eq!(store.load("digits").unwrap(), Some(state()));
    }

    #[test]
    fn a_damaged_file_is_never_taken_for_a_new_job() {
        let folder = tempfile::tempdir().unwrap();
        let store = StateFolder::open(folder.path()).unwrap();
        for text in ["", "{", "{\"version\": 1}"] {
            fs::write(folder.path().join("digits.json"), text).unwrap();
            let error = store.load("digits").unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{text}: {error}");
        }
        let next = serde_json::to_string(&state()).unwrap();
        let next = next.replace("\"version\":1", "\"version\":2");
        fs::write(folder.path().join("digits.json"), next).unwrap();
        let error = store.load("digits").unwrap_err().to_string();
        assert!(error.contains("its version is 2, not 1"), "{error}");
    }
}
