//! All trials of a storage, for who looks at them as a table.

use std::path::{Path, PathBuf};

use atoll_udf_common::Location;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::TrialStore;
use crate::record::TrialRecord;

/// How many records of a bucket are read at once.
const READS: usize = 64;

/// How many records of this machine one thread reads, one after the other: opening a file
/// costs less than handing it to another thread.
const GROUP: usize = 512;

impl TrialStore {
    /// The trials that were kept, in the order of their ids. A record that cannot be read,
    /// or that another version wrote, counts as absent.
    pub(crate) async fn all(&self) -> Result<Vec<TrialRecord>> {
        let folder = self.root().join("trials")?;
        let mut trials = match folder.local_path() {
            Some(path) => local(path).await?,
            None => remote(&folder).await?,
        };
        trials.sort_by(|a, b| a.trial_id.cmp(&b.trial_id));
        Ok(trials)
    }
}

async fn local(folder: PathBuf) -> Result<Vec<TrialRecord>> {
    let listed = match std::fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(unreadable(&folder, &error)),
    };
    let files = listed.map(|file| file.map(|file| file.path()));
    let files: Vec<PathBuf> = files
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&folder, &error))?;
    let groups: Vec<_> = files
        .chunks(GROUP)
        .map(|group| {
            let group = group.to_vec();
            tokio::task::spawn_blocking(move || {
                let read = |file: &PathBuf| {
                    // One that is gone was cleaned up meanwhile.
                    let bytes = std::fs::read(file).ok()?;
                    record(file.file_name()?.to_str()?, &bytes)
                };
                group.iter().filter_map(read).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut trials = Vec::with_capacity(files.len());
    for group in groups {
        let group = group.await;
        trials.extend(group.map_err(|error| {
            exec_datafusion_err!(
                "the trials of {} cannot be read: {error}",
                folder.display()
            )
        })?);
    }
    Ok(trials)
}

async fn remote(folder: &Location) -> Result<Vec<TrialRecord>> {
    let files = folder.store.list(Some(&folder.path));
    let trials = files
        .map_err(|error| folder.error(error))
        .map_ok(|file| async move {
            let found = async {
                let found = folder.store.get(&file.location).await?;
                found.bytes().await
            };
            match found.await {
                Ok(bytes) => {
                    let name = file.location.filename().unwrap_or_default();
                    Ok(record(name, &bytes))
                }
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(folder.at(file.location.clone()).error(error)),
            }
        });
    let trials: Vec<Option<TrialRecord>> =
        trials.try_buffer_unordered(READS).try_collect().await?;
    Ok(trials.into_iter().flatten().collect())
}

fn record(file: &str, bytes: &[u8]) -> Option<TrialRecord> {
    let trial_id = file.strip_suffix(".json")?;
    match TrialRecord::from_json(bytes, trial_id) {
        Ok(record) => Some(record),
        Err(reason) => {
            tracing::warn!("trials/{file} is left out: {reason}");
            None
        }
    }
}

fn unreadable(folder: &Path, error: &std::io::Error) -> DataFusionError {
    exec_datafusion_err!("cannot read {}: {error}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[tokio::test]
    async fn trials_are_listed_on_disk_as_in_a_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        let store = TrialStore::new(root);
        assert!(
            store.all().await.unwrap().is_empty(),
            "there is no folder yet"
        );
        let mut expected = Vec::new();
        for n in 0..GROUP + 3 {
            let record = record(&format!("{n:04}"));
            expected.push(store.keep(record, None).await.unwrap());
        }
        std::fs::write(folder.path().join("trials/damaged.json"), "{").unwrap();
        std::fs::write(folder.path().join("trials/README.md"), "x").unwrap();
        assert_eq!(store.all().await.unwrap(), expected);
        let below = store.root().join("trials").unwrap();
        let mut found = remote(&below).await.unwrap();
        found.sort_by(|a, b| a.trial_id.cmp(&b.trial_id));
        assert_eq!(found, expected);
    }
}
