//! Checkpoints of trials: written while they train, found by whoever goes on with them.
//!
//! A trial that has not finished leaves the digest of its latest checkpoint, so that a
//! trial whose process was killed goes on where it was.

use std::sync::Arc;

use atoll_nn::Checkpoint;
use atoll_udf_common::{CallContext, Location};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use object_store::ObjectStoreExt;
use tokio::sync::mpsc::Receiver;

use super::TrialStore;
use crate::files::{overwrite, put_if_absent};

impl TrialStore {
    /// Writes checkpoints of a trial as they come; returns the digest of the last one.
    ///
    /// A storage that fails ends the trial, because its user counts on checkpoints.
    pub(crate) async fn keep_coming(
        &self,
        trial_id: &str,
        mut coming: Receiver<Checkpoint>,
    ) -> Result<Option<String>> {
        let mut latest: Option<String> = None;
        while let Some(checkpoint) = coming.recv().await {
            let sha256 = self.keep_checkpoint(&checkpoint).await?;
            let pointer = self.latest(trial_id)?;
            overwrite(&pointer, sha256.clone().into_bytes()).await?;
            let before = latest.replace(sha256);
            if let Some(before) = before.filter(|before| latest.as_ref() != Some(before))
            {
                self.forget_checkpoint(&before).await;
            }
        }
        Ok(latest)
    }

    /// Writes a checkpoint unless it is there, and returns its digest.
    pub(crate) async fn keep_checkpoint(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<String> {
        let sha256 = checkpoint.sha256().to_string();
        let bytes = checkpoint.bytes().to_vec();
        put_if_absent(&self.checkpoint(&sha256)?, bytes).await?;
        Ok(sha256)
    }

    /// The latest checkpoint of a trial that has not finished. One that cannot be read
    /// counts as absent.
    pub(crate) async fn unfinished(&self, trial_id: &str) -> Result<Option<Checkpoint>> {
        let pointer = self.latest(trial_id)?;
        let sha256 = match pointer.store.get(&pointer.path).await {
            Ok(found) => found.bytes().await.map_err(|error| pointer.error(error))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(pointer.error(error)),
        };
        let location = self.checkpoint(&String::from_utf8_lossy(&sha256))?;
        match read(&location).await {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(error) => {
                let error = error.strip_backtrace();
                tracing::warn!(
                    "{location} cannot be used, its trial starts anew: {error}"
                );
                Ok(None)
            }
        }
    }

    /// Removes what only an unfinished trial needs: the pointer to its latest checkpoint,
    /// and that checkpoint if it is not the trial's last.
    pub(crate) async fn finish(
        &self,
        trial_id: &str,
        outdated: Option<&str>,
    ) -> Result<()> {
        if let Some(sha256) = outdated {
            self.forget_checkpoint(sha256).await;
        }
        let pointer = self.latest(trial_id)?;
        // It is not there when the trial had one epoch. Left over, it does no harm.
        let _ = pointer.store.delete(&pointer.path).await;
        Ok(())
    }

    async fn forget_checkpoint(&self, sha256: &str) {
        if let Ok(location) = self.checkpoint(sha256) {
            // Left over, it costs room and nothing else.
            let _ = location.store.delete(&location.path).await;
        }
    }
}

/// The checkpoint that a query names.
pub(crate) async fn load_checkpoint(
    name: &str,
    context: &CallContext,
) -> Result<Arc<Checkpoint>> {
    Ok(Arc::new(read(&context.locate(name)?).await?))
}

async fn read(location: &Location) -> Result<Checkpoint> {
    let bytes = location.read().await?;
    let checkpoint = Checkpoint::from_bytes(bytes.into())
        .map_err(|error| exec_datafusion_err!("{location}: {error}"))?;
    let name = location.path.filename().unwrap_or_default();
    let named = name.strip_suffix(".ckpt").filter(|name| name.len() == 64);
    if named.is_some_and(|named| named != checkpoint.sha256()) {
        return exec_err!(
            "{location}: checkpoint: its content has the digest {}",
            checkpoint.sha256()
        );
    }
    Ok(checkpoint)
}
