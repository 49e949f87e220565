//! The folder `runs` of a storage: the records of all runs of all jobs, and their locks.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::lock::{self, Lock};
use super::record::{Run, RunStatus, VERSION};
use crate::{Error, Interval};

/// How many records are read at the same time.
const READS: usize = 32;

/// The folder `runs` of a storage.
#[derive(Clone, Debug)]
pub struct RunStore {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// The same on this machine, if it is there.
    folder: Option<PathBuf>,
}

impl RunStore {
    /// The runs kept at `root` of a store, which is `folder` of this machine if it is a
    /// local one.
    pub fn new(store: Arc<dyn ObjectStore>, root: Path, folder: Option<PathBuf>) -> Self {
        Self {
            store,
            root,
            folder,
        }
    }

    /// Takes the lock of a run's job and interval; `scope` tells runs of one job apart
    /// that may overlap.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] if another run has it.
    pub async fn lock(&self, run: &Run, scope: &str) -> Result<Lock, Error> {
        let interval = run.interval.map(|interval| interval.file_name());
        let parts = [interval.as_deref(), Some(scope).filter(|s| !s.is_empty())];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let name = if parts.is_empty() {
            "job.lock".to_string()
        } else {
            format!("{}.lock", parts.join("-"))
        };
        match &self.folder {
            Some(folder) => lock::local(&folder.join(&run.job), &name, run),
            None => {
                let path = self.root.clone().join(run.job.as_str()).join(name);
                lock::remote(&self.store, path, run).await
            }
        }
    }

    /// Keeps a record, in place of the one before of the same run.
    pub async fn keep(&self, run: &Run) -> Result<(), Error> {
        let name = format!("{}.json", run.run_id);
        let path = self.root.clone().join(run.job.as_str()).join(name);
        let put = self.store.put(&path, PutPayload::from(run.to_json())).await;
        put.map(|_| ())
            .map_err(|error| Error::storage("write", &path, error))
    }

    /// The record of a run, if there is one.
    pub async fn find(&self, job: &str, run_id: &str) -> Result<Option<Run>, Error> {
        let name = format!("{run_id}.json");
        self.read(self.root.clone().join(job).join(name)).await
    }

    /// The runs of one job or of all, oldest first. What is no record is passed over.
    pub async fn runs(&self, job: Option<&str>) -> Result<Vec<Run>, Error> {
        let root = match job {
            Some(job) => self.root.clone().join(job),
            None => self.root.clone(),
        };
        let list = |error| Error::storage("list", &root, error);
        let files = self.store.list(Some(&root));
        let files: Vec<Path> = files
            .map_ok(|file| file.location)
            .try_filter(|path| std::future::ready(path.extension() == Some("json")))
            .try_collect()
            .await
            .map_err(list)?;
        let mut runs: Vec<Run> = futures::stream::iter(files)
            .map(|path| self.read(path))
            .buffer_unordered(READS)
            .try_filter_map(|run| std::future::ready(Ok(run)))
            .try_collect()
            .await?;
        runs.sort_by(|a, b| (a.started_at, &a.run_id).cmp(&(b.started_at, &b.run_id)));
        Ok(runs)
    }

    async fn read(&self, path: Path) -> Result<Option<Run>, Error> {
        let bytes = match self.store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => {
                let run: Option<Run> = serde_json::from_slice(&bytes).ok();
                Ok(run.filter(|run| run.version == VERSION))
            }
            // Removed by a clean-up since it was listed.
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::storage("read", &path, error)),
        }
    }

    /// The intervals of which a run of the job succeeded.
    pub async fn succeeded(&self, job: &str) -> Result<Vec<Interval>, Error> {
        let runs = self.runs(Some(job)).await?;
        let succeeded = runs.iter().filter(|run| run.status == RunStatus::Succeeded);
        let mut intervals: Vec<Interval> =
            succeeded.filter_map(|run| run.interval).collect();
        intervals.sort_unstable();
        intervals.dedup();
        Ok(intervals)
    }

    /// Marks earlier runs of the job and interval as killed that still say they are running.
    ///
    /// `holder` has the lock, so none of them can be alive. `same` says which of them the lock
    /// covers.
    pub async fn bury(
        &self,
        holder: &Run,
        same: impl Fn(&Run) -> bool,
    ) -> Result<(), Error> {
        for mut run in self.runs(Some(&holder.job)).await? {
            let is_dead = run.status == RunStatus::Running
                && run.run_id != holder.run_id
                && run.interval == holder.interval
                && same(&run);
            if is_dead {
                run.status = RunStatus::Killed;
                for statement in &mut run.statements {
                    if statement.status == RunStatus::Running {
                        statement.status = RunStatus::Killed;
                    }
                }
                self.keep(&run).await?;
            }
        }
        Ok(())
    }
}

/// Whether a job may have this name, which becomes a folder's.
pub(crate) fn check_name(job: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if job.chars().all(plain) && job.chars().any(|c| c.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(Error::Name(job.to_string()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::{TimeDelta, Utc};
    use object_store::memory::InMemory;

    use super::*;

    pub(crate) fn run(id: &str, minutes: i64) -> Run {
        Run {
            version: VERSION,
            run_id: id.to_string(),
            job: "labels".to_string(),
            script: "labels.sql".to_string(),
            script_sha256: String::new(),
            interval: None,
            status: RunStatus::Running,
            exit_code: None,
            started_at: Utc::now() + TimeDelta::minutes(minutes),
            finished_at: None,
            seconds: None,
            parameters: Default::default(),
            versions: Default::default(),
            host: "here".to_string(),
            pid: 7,
            statements: vec![],
            error: None,
        }
    }

    fn store() -> RunStore {
        RunStore::new(Arc::new(InMemory::new()), Path::from("s/runs"), None)
    }

    #[tokio::test]
    async fn runs_come_oldest_first_and_a_record_replaces_the_one_before() {
        let store = store();
        let (first, mut second) = (run("a", 0), run("b", 1));
        store.keep(&second).await.unwrap();
        store.keep(&first).await.unwrap();
        second.status = RunStatus::Succeeded;
        store.keep(&second).await.unwrap();
        assert_eq!(store.runs(None).await.unwrap(), [first, second]);
        assert!(store.runs(Some("other")).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_record_is_passed_over() {
        let store = store();
        let newer = Run {
            version: VERSION + 1,
            ..run("a", 0)
        };
        store.keep(&newer).await.unwrap();
        let path = Path::from("s/runs/labels/x.json");
        store.store.put(&path, "{".into()).await.unwrap();
        assert!(store.runs(None).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn succeeded_intervals_are_listed_once() {
        let store = store();
        let day = |day: &str| Some(day.parse::<Interval>().unwrap());
        for (n, interval, status) in [
            (0, day("2026-01-02/2026-01-03"), RunStatus::Succeeded),
            (1, day("2026-01-01/2026-01-02"), RunStatus::Succeeded),
            (2, day("2026-01-01/2026-01-02"), RunStatus::Succeeded),
            (3, day("2026-01-03/2026-01-04"), RunStatus::Failed),
            (4, None, RunStatus::Succeeded),
        ] {
            let run = Run {
                interval,
                status,
                ..run(&n.to_string(), n)
            };
            store.keep(&run).await.unwrap();
        }
        let found = store.succeeded("labels").await.unwrap();
        let starts: Vec<String> = found
            .iter()
            .map(|i| i.start.date_naive().to_string())
            .collect();
        assert_eq!(starts, ["2026-01-01", "2026-01-02"]);
    }

    #[tokio::test]
    async fn the_next_run_buries_the_killed_one() {
        let store = store();
        store.keep(&run("a", 0)).await.unwrap();
        store.bury(&run("b", 1), |_| true).await.unwrap();
        assert_eq!(store.runs(None).await.unwrap()[0].status, RunStatus::Killed);
    }

    #[test]
    fn names_are_those_of_folders() {
        assert!(check_name("tune-mnist_2.v1").is_ok());
        for name in ["", "..", "a/b", "a b", "ä"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
