//! Checkpoints of trials: written while they train, found by whoever goes on with them.
//!
//! `checkpoints/<sha256>.ckpt` is a checkpoint, `checkpoints/<trial_id>.latest` the
//! digest of the latest one of a trial that has not finished, so that a trial whose
//! process was killed goes on where it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll_nn::Checkpoint;
use atoll_udf_common::{CallContext, Location};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use object_store::{ObjectStoreExt, PutMode};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::store::{TrialStore, put, put_if_absent};

/// Making checkpoints may take this share of a trial's time, one in so many parts.
const SHARE: u32 = 20;

/// Decides on the training thread which epochs get a checkpoint, and hands them on.
pub(crate) struct Maker {
    sender: Sender<Checkpoint>,
    /// When the last one was made, and how long that took.
    made: Option<(Instant, Duration)>,
    asked: Instant,
    is_last: bool,
    /// The one at the end of the trial.
    pub(crate) last: Option<Checkpoint>,
}

impl Maker {
    /// A maker, and where its checkpoints arrive while the trial runs.
    pub(crate) fn new() -> (Self, Receiver<Checkpoint>) {
        let (sender, receiver) = channel(1);
        let maker = Self {
            sender,
            made: None,
            asked: Instant::now(),
            is_last: false,
            last: None,
        };
        (maker, receiver)
    }

    /// Whether an epoch gets one: the last does, the others where that costs little and
    /// the one before is written. It changes nothing of the trial.
    pub(crate) fn wants(&mut self, is_last: bool) -> bool {
        self.asked = Instant::now();
        self.is_last = is_last;
        let cheap = self
            .made
            .is_none_or(|(when, cost)| when.elapsed() >= cost * SHARE);
        is_last || (cheap && self.sender.capacity() > 0)
    }

    /// Takes the checkpoint that was asked for.
    pub(crate) fn take(&mut self, checkpoint: Checkpoint) {
        let now = Instant::now();
        self.made = Some((now, now - self.asked));
        if self.is_last {
            self.last = Some(checkpoint);
        } else {
            // There was room, and nobody else sends. If the receiver is gone, the
            // statement is too.
            let _ = self.sender.try_send(checkpoint);
        }
    }
}

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
            put(&pointer, sha256.clone().into_bytes(), PutMode::Overwrite).await?;
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

    /// Removes what only an unfinished trial needs.
    pub(crate) async fn finish(
        &self,
        trial_id: &str,
        passing: Option<&str>,
    ) -> Result<()> {
        if let Some(sha256) = passing {
            self.forget_checkpoint(sha256).await;
        }
        let pointer = self.latest(trial_id)?;
        // It is not there when the trial had one epoch. Left over, it does no harm.
        let _ = pointer.store.delete(&pointer.path).await;
        Ok(())
    }

    /// What a query calls the checkpoint with this digest: a path or URL.
    pub(crate) fn checkpoint(&self, sha256: &str) -> Result<Location> {
        self.root().join(&format!("checkpoints/{sha256}.ckpt"))
    }

    async fn forget_checkpoint(&self, sha256: &str) {
        if let Ok(location) = self.checkpoint(sha256) {
            // Left over, it costs room and nothing else.
            let _ = location.store.delete(&location.path).await;
        }
    }

    fn latest(&self, trial_id: &str) -> Result<Location> {
        self.root().join(&format!("checkpoints/{trial_id}.latest"))
    }
}

/// The checkpoint that a query names.
pub(crate) async fn load(name: &str, context: &CallContext) -> Result<Arc<Checkpoint>> {
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
