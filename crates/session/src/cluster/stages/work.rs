//! The folder of the storage through which the tasks of a statement give each other rows.
//!
//! It goes when the statement ends, however that does. A client that is killed leaves it;
//! another statement in stages deletes it once its client has said nothing for an hour.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use atoll_udf_common::Location;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::common::Result;
use datafusion::common::runtime::SpawnedTask;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::cluster::TaskRunner;

/// The folder of the storage in which statements have theirs.
const WORK: &str = "work";

/// The object by which a client says that its statement runs.
const ALIVE: &str = "alive";

/// How often it does.
const BEAT: Duration = Duration::from_secs(5 * 60);

/// A client that said nothing for so many minutes is gone.
const SILENCE: TimeDelta = TimeDelta::minutes(60);

/// A statement's folder.
#[derive(Debug)]
pub(in crate::cluster) struct Work {
    storage: Location,
    pub(in crate::cluster) folder: Location,
    cluster: Arc<dyn TaskRunner>,
    /// Nothing once the folder is deleted.
    beat: Option<SpawnedTask<()>>,
}

impl Work {
    pub(in crate::cluster) fn open(
        storage: Location,
        cluster: Arc<dyn TaskRunner>,
    ) -> Result<Self> {
        let folder = storage.join(&format!("{WORK}/{}", crate::unique_id()))?;
        let alive = folder.join(ALIVE)?;
        Ok(Self {
            storage,
            folder,
            cluster,
            beat: Some(keep_alive(alive, BEAT)),
        })
    }

    /// Deletes the folder, also what tasks left that were given up, and those of clients
    /// that are gone. What stays is only wasted space.
    pub(in crate::cluster) async fn close(mut self) {
        self.beat = None;
        // The clock of the store, which the times of its objects are of.
        let now = now(&self.folder).await;
        delete(&self.folder).await;
        let (Some(now), Ok(work)) = (now, self.storage.join(WORK)) else {
            return;
        };
        for name in gone(&work, now).await {
            if let Ok(folder) = work.join(&name) {
                delete(&folder).await;
            }
        }
    }
}

impl Drop for Work {
    /// A statement that is dropped deletes at least what its tasks left until now.
    fn drop(&mut self) {
        if self.beat.take().is_some() {
            let folder = self.folder.clone();
            let last = async move { delete(&folder).await };
            self.cluster.linger(last.boxed());
        }
    }
}

/// Writes an empty object again and again, as long as the task is held.
pub(in crate::cluster) fn keep_alive(
    object: Location,
    every: Duration,
) -> SpawnedTask<()> {
    SpawnedTask::spawn(async move {
        loop {
            // One that fails is made up for by the next.
            let _ = object.store.put(&object.path, PutPayload::new()).await;
            tokio::time::sleep(every).await;
        }
    })
}

/// The time by the store's clock.
async fn now(folder: &Location) -> Option<DateTime<Utc>> {
    let alive = folder.join(ALIVE).ok()?;
    let put = alive.store.put(&alive.path, PutPayload::new());
    put.await.ok()?;
    let head = alive.store.head(&alive.path).await.ok()?;
    Some(head.last_modified)
}

/// The folders of clients that are gone.
async fn gone(work: &Location, now: DateTime<Utc>) -> Vec<String> {
    let mut latest: HashMap<String, DateTime<Utc>> = HashMap::new();
    let mut objects = work.store.list(Some(&work.path));
    while let Some(object) = objects.next().await {
        let Ok(object) = object else {
            // What is not seen may be what says that a client is there.
            return vec![];
        };
        let Some(name) = statement_of(&object.location, work) else {
            continue;
        };
        let time = latest.entry(name).or_insert(object.last_modified);
        *time = object.last_modified.max(*time);
    }
    let gone = latest.into_iter().filter(|(_, time)| now - *time > SILENCE);
    gone.map(|(name, _)| name).collect()
}

/// Whose object it is.
fn statement_of(object: &Path, work: &Location) -> Option<String> {
    let mut parts = object.prefix_match(&work.path)?;
    let statement = parts.next()?;
    parts.next().map(|_| statement.as_ref().to_string())
}

/// Deletes a folder with all that is in it, as far as the store lets it.
pub(in crate::cluster) async fn delete(folder: &Location) {
    let objects = folder.store.list(Some(&folder.path));
    let paths = objects.map_ok(|object| object.location).boxed();
    let deleted = folder.store.delete_stream(paths);
    let _ = deleted.try_collect::<Vec<_>>().await;
    if let Some(folder) = folder.local_path() {
        // With the names that the listing hides, of writes that did not end.
        let _ = std::fs::remove_dir_all(folder);
    }
}
