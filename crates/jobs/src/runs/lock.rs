//! The lock of a job and interval, which keeps two runs of them apart.
//!
//! On a file system it is the operating system's lock of a file, which ends with the
//! process that holds it. An object store has no such thing: there the lock is an object
//! that is created only if it is absent, renewed while the run goes on, and taken over,
//! with the store's compare-and-swap, once it was not renewed for a while.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::record::Run;
use super::store::check_name;
use crate::{Error, rfc3339};

/// How old the last renewal of a lock object may be. After that its process is taken for
/// dead, and another run may take the lock over.
const EXPIRY: Duration = Duration::from_secs(90);

/// How many renewals are tried before a lock expires, so that some of them may fail.
const RENEWALS: u32 = 4;

/// The content of a lock: who holds it, for people and for the message of a refused run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    run_id: String,
    host: String,
    pid: u32,
    started_at: DateTime<Utc>,
    renewed_at: DateTime<Utc>,
}

impl Holder {
    fn new(run: &Run) -> Self {
        Self {
            run_id: run.run_id.clone(),
            host: run.host.clone(),
            pid: run.pid,
            started_at: run.started_at,
            renewed_at: Utc::now(),
        }
    }

    fn text(&self) -> String {
        format!(
            "process {} on {} since {}",
            self.pid,
            self.host,
            rfc3339(self.started_at)
        )
    }

    fn json(&self) -> Vec<u8> {
        // Text and numbers always are JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The right to run one job for one interval. Dropped, it is given up.
#[derive(Debug)]
pub struct Lock {
    /// Changes to true when the lock is lost.
    lost: watch::Receiver<bool>,
    _held: Held,
}

/// What holds a lock; dropping it gives the lock up.
#[derive(Debug)]
enum Held {
    /// The operating system unlocks it when it is closed.
    Local {
        _file: File,
    },
    Remote {
        _renewal: Renewal,
    },
}

/// Renews a lock until it is dropped, then removes it.
#[derive(Debug)]
struct Renewal {
    stop: watch::Sender<bool>,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Lock {
    /// Resolves when the lock is lost, which only a lock in an object store can be.
    pub async fn lost(&mut self) {
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Locks a file of this machine.
pub(crate) fn local(folder: &FilePath, name: &str, run: &Run) -> Result<Lock, Error> {
    check_name(&run.job)?;
    let path = folder.join(name);
    let failed = |source| Error::File {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Whoever holds it may be about to write who it is.
            let _ = file.read_to_string(&mut text);
            let holder = serde_json::from_str::<Holder>(&text);
            return Err(Error::AlreadyRunning {
                job: run.title(),
                holder: holder
                    .map_or_else(|_| "by another process".to_string(), |h| h.text()),
            });
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
    }
    let written = file.set_len(0).and_then(|()| {
        file.rewind()?;
        file.write_all(&Holder::new(run).json())
    });
    written.map_err(failed)?;
    // Its sender is gone: a lock of the system is never lost.
    let (_, lost) = watch::channel(false);
    Ok(Lock {
        lost,
        _held: Held::Local { _file: file },
    })
}

/// Creates a lock object, or takes over one that expired.
pub(crate) async fn remote(
    store: &Arc<dyn ObjectStore>,
    path: Path,
    run: &Run,
) -> Result<Lock, Error> {
    remote_for(store, path, run, EXPIRY).await
}

async fn remote_for(
    store: &Arc<dyn ObjectStore>,
    path: Path,
    run: &Run,
    expiry: Duration,
) -> Result<Lock, Error> {
    check_name(&run.job)?;
    let mut holder = Holder::new(run);
    let version = match put(store, &path, &holder, PutMode::Create).await {
        Ok(version) => version,
        Err(object_store::Error::AlreadyExists { .. }) => {
            let (before, version) = read(store, &path).await?;
            let age = (Utc::now() - before.renewed_at)
                .to_std()
                .unwrap_or_default();
            // A run that is begun again elsewhere, because nothing is heard of its process,
            // takes its own lock over; the process loses it, if there still is one.
            if age < expiry && before.run_id != run.run_id {
                return Err(already_running(run, &before));
            }
            match put(store, &path, &holder, PutMode::Update(version)).await {
                Ok(version) => version,
                // Another run was as quick.
                Err(object_store::Error::Precondition { .. }) => {
                    return Err(already_running(run, &read(store, &path).await?.0));
                }
                Err(error) => return Err(Error::storage("lock", &path, error)),
            }
        }
        Err(error) => return Err(Error::storage("lock", &path, error)),
    };
    let (stop, stopped) = watch::channel(false);
    let (told, lost) = watch::channel(false);
    let remote = Remote {
        store: Arc::clone(store),
        path,
        expiry,
    };
    tokio::spawn(async move {
        let kept = remote.renew(&mut holder, version, stopped).await;
        if kept {
            // Whoever comes next would otherwise wait for it to expire.
            let _ = remote.store.delete(&remote.path).await;
        } else {
            told.send_replace(true);
        }
    });
    Ok(Lock {
        lost,
        _held: Held::Remote {
            _renewal: Renewal { stop },
        },
    })
}

/// A lock object that is held.
struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    expiry: Duration,
}

impl Remote {
    /// Renews until told to stop; false when the lock is another's, or may be.
    async fn renew(
        &self,
        holder: &mut Holder,
        mut version: UpdateVersion,
        mut stopped: watch::Receiver<bool>,
    ) -> bool {
        let pause = self.expiry / RENEWALS;
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return true,
                () = tokio::time::sleep(pause) => {}
            }
            let now = Utc::now();
            let renewed = Holder {
                renewed_at: now,
                ..holder.clone()
            };
            let mode = PutMode::Update(version.clone());
            match put(&self.store, &self.path, &renewed, mode).await {
                Ok(next) => {
                    version = next;
                    *holder = renewed;
                }
                Err(object_store::Error::Precondition { .. }) => return false,
                Err(_) => {
                    let age = (now - holder.renewed_at).to_std().unwrap_or_default();
                    if age + pause >= self.expiry {
                        return false;
                    }
                }
            }
        }
    }
}

async fn put(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    holder: &Holder,
    mode: PutMode,
) -> object_store::Result<UpdateVersion> {
    let payload = PutPayload::from(holder.json());
    let options = PutOptions {
        mode,
        ..PutOptions::default()
    };
    Ok(store.put_opts(path, payload, options).await?.into())
}

async fn read(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<(Holder, UpdateVersion), Error> {
    let failed = |error| Error::storage("read", path, error);
    let found = store.get(path).await.map_err(failed)?;
    let version = UpdateVersion {
        e_tag: found.meta.e_tag.clone(),
        version: found.meta.version.clone(),
    };
    let modified = found.meta.last_modified;
    let bytes = found.bytes().await.map_err(failed)?;
    // A damaged lock expires like any other.
    let holder = serde_json::from_slice(&bytes).unwrap_or_else(|_| Holder {
        run_id: String::new(),
        host: "an unknown machine".to_string(),
        pid: 0,
        started_at: modified,
        renewed_at: modified,
    });
    Ok((holder, version))
}

fn already_running(run: &Run, holder: &Holder) -> Error {
    Error::AlreadyRunning {
        job: run.title(),
        holder: holder.text(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use object_store::memory::InMemory;

    use super::*;
    use crate::runs::store::tests::run;

    fn path() -> Path {
        Path::from("runs/labels/job.lock")
    }

    #[test]
    fn a_file_is_locked_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let held = local(folder.path(), "job.lock", &run("a", 0)).unwrap();
        let error = local(folder.path(), "job.lock", &run("b", 0)).unwrap_err();
        assert!(error.to_string().contains("process 7 on here"), "{error}");
        local(folder.path(), "other.lock", &run("b", 0)).unwrap();
        drop(held);
        local(folder.path(), "job.lock", &run("b", 0)).unwrap();
    }

    const SHORT: Duration = Duration::from_millis(400);

    /// Waits for a condition, and fails if it does not come for a long time.
    async fn until(holds: impl AsyncFn() -> bool) {
        let waited = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(100 * SHORT, waited).await.unwrap();
    }

    #[tokio::test]
    async fn an_object_is_locked_and_renewed_until_it_is_dropped() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let lock = |id| {
            let (store, run) = (Arc::clone(&store), run(id, 0));
            async move { remote_for(&store, path(), &run, SHORT).await }
        };
        let held = lock("a").await.unwrap();
        let error = lock("b").await.unwrap_err();
        assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
        let before = read(&store, &path()).await.unwrap().1;
        until(async || read(&store, &path()).await.unwrap().1 != before).await;
        drop(held);
        // Its renewal hears of it and removes it.
        until(async || store.head(&path()).await.is_err()).await;
        lock("b").await.unwrap();
    }

    #[tokio::test]
    async fn an_expired_lock_goes_to_one_of_those_who_want_it() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut dead = Holder::new(&run("dead", 0));
        dead.renewed_at -= TimeDelta::from_std(EXPIRY).unwrap();
        put(&store, &path(), &dead, PutMode::Create).await.unwrap();
        let (a, b) = (run("a", 0), run("b", 0));
        let (a, b) = tokio::join!(remote(&store, path(), &a), remote(&store, path(), &b));
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    }

    #[tokio::test]
    async fn a_run_takes_over_its_own_lock() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let taken = remote_for(&store, path(), &run("a", 0), SHORT).await;
        let mut first = taken.unwrap();
        remote(&store, path(), &run("b", 0)).await.unwrap_err();
        let second = remote(&store, path(), &run("a", 0)).await.unwrap();
        first.lost().await;
        drop(first);
        assert!(store.head(&path()).await.is_ok());
        drop(second);
    }

    #[tokio::test]
    async fn a_lock_that_another_took_is_lost() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let taken = remote_for(&store, path(), &run("a", 0), SHORT).await;
        let mut held = taken.unwrap();
        store.put(&path(), "{}".into()).await.unwrap();
        held.lost().await;
    }
}
