//! Finished trials: what was trained is never trained again.

use datafusion::common::{Result, exec_datafusion_err};
use object_store::ObjectStoreExt;

use super::TrialStore;
use crate::files::{overwrite, put_if_absent};
use crate::record::TrialRecord;

impl TrialStore {
    /// The trial with this id, if it was kept.
    ///
    /// A record that cannot be read counts as absent: training again repairs it.
    pub(crate) async fn find(&self, trial_id: &str) -> Result<Option<TrialRecord>> {
        let location = self.trial(trial_id)?;
        let bytes = match location.store.get(&location.path).await {
            Ok(found) => found.bytes().await.map_err(|error| location.error(error))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(location.error(error)),
        };
        match TrialRecord::from_json(&bytes, trial_id) {
            Ok(record) => Ok(Some(record)),
            Err(reason) => {
                tracing::warn!(
                    "{location} is damaged and its trial runs again: {reason}"
                );
                Ok(None)
            }
        }
    }

    /// Keeps a trial and its network, and returns the trial as it is kept.
    ///
    /// When another process finished the same trial first, that one stays and is
    /// returned, so that both processes show the same row.
    pub(crate) async fn keep(
        &self,
        mut record: TrialRecord,
        network: Option<Vec<u8>>,
    ) -> Result<TrialRecord> {
        if let Some(network) = network {
            record.model_sha256 = Some(self.keep_network(network).await?);
        }
        let location = self.trial(&record.trial_id)?;
        let json = record.to_json()?;
        if !put_if_absent(&location, json.clone()).await? {
            match self.find(&record.trial_id).await? {
                Some(mut other) if other.status.is_final() => {
                    if other.checkpoint_sha256.is_none()
                        && record.checkpoint_sha256.is_some()
                    {
                        other.checkpoint_sha256 = record.checkpoint_sha256;
                        overwrite(&location, other.to_json()?).await?;
                    }
                    return Ok(other);
                }
                // A damaged record, or an attempt that came to nothing.
                _ => overwrite(&location, json.clone()).await?,
            }
        }
        TrialRecord::from_json(&json, &record.trial_id)
            .map_err(|reason| exec_datafusion_err!("a trial cannot be kept: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use atoll_udf_common::Location;

    use super::*;
    use crate::record::{Status, tests::record};

    fn store() -> (tempfile::TempDir, TrialStore) {
        let folder = tempfile::tempdir().unwrap();
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        (folder, TrialStore::new(root))
    }

    fn names(folder: &tempfile::TempDir, below: &str) -> Vec<String> {
        std::fs::read_dir(folder.path().join(below))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn what_is_kept_is_found() {
        let (_folder, store) = store();
        assert_eq!(store.find("a1").await.unwrap(), None);
        let kept = store.keep(record("a1"), Some(vec![1, 2, 3])).await.unwrap();
        assert_eq!(store.find("a1").await.unwrap().as_ref(), Some(&kept));
        let model = store.model(&kept.model_sha256.unwrap()).unwrap();
        assert_eq!(std::fs::read(model.to_string()).unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn the_first_to_finish_wins() {
        let (folder, store) = store();
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = store.clone();
                let seconds = f64::from(n);
                let record = TrialRecord {
                    seconds,
                    ..record("a1")
                };
                tokio::spawn(async move { store.keep(record, Some(vec![9])).await })
            })
            .collect();
        let mut seconds = Vec::new();
        for task in tasks {
            seconds.push(task.await.unwrap().unwrap().seconds);
        }
        let found = store.find("a1").await.unwrap().unwrap().seconds;
        assert!(
            seconds.iter().all(|one| *one == found),
            "{seconds:?} but {found}"
        );
        assert_eq!(names(&folder, "trials"), ["a1.json"]);
        assert_eq!(names(&folder, "models").len(), 1);
    }

    #[tokio::test]
    async fn a_checkpoint_is_added_to_the_first() {
        let (_folder, store) = store();
        let first = store.keep(record("a1"), None).await.unwrap();
        let second = TrialRecord {
            seconds: 9.0,
            checkpoint_sha256: Some("c".to_string()),
            ..record("a1")
        };
        let kept = store.keep(second, None).await.unwrap();
        assert_eq!(kept.checkpoint_sha256.as_deref(), Some("c"));
        assert_eq!(kept.seconds, first.seconds);
        assert_eq!(store.find("a1").await.unwrap(), Some(kept));
    }

    #[tokio::test]
    async fn a_failed_attempt_gives_way() {
        let (_folder, store) = store();
        let failed = TrialRecord {
            status: Status::Failed,
            ..record("a1")
        };
        store.keep(failed, None).await.unwrap();
        store.keep(record("a1"), None).await.unwrap();
        let found = store.find("a1").await.unwrap().unwrap();
        assert_eq!(found.status, Status::Succeeded);
    }

    #[tokio::test]
    async fn a_damaged_record_counts_as_absent_and_is_repaired() {
        let (folder, store) = store();
        let kept = store.keep(record("a1"), None).await.unwrap();
        let path = folder.path().join("trials/a1.json");
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{}", b"\xff\xfe"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(store.find("a1").await.unwrap(), None);
        }
        assert_eq!(store.keep(record("a1"), None).await.unwrap(), kept);
        assert_eq!(store.find("a1").await.unwrap(), Some(kept));
    }

    #[tokio::test]
    async fn a_storage_that_cannot_be_written_says_so() {
        let (folder, store) = store();
        std::fs::write(folder.path().join("trials"), "a file").unwrap();
        let error = store
            .keep(record("a1"), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("trials/a1.json"), "{error}");
    }
}
