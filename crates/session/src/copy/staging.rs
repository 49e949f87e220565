//! The folder or prefix beside a target in which COPY writes.

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use atoll_udf_common::Location;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::SUCCESS;

/// Staging folders of killed processes are removed after this time.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Refuses a target that holds what COPY did not write.
pub(super) fn refuse_foreign_folder(folder: &FilePath) -> Result<()> {
    if folder.is_file() {
        return exec_err!(
            "{} is a file; end the target of COPY with an extension such as .parquet \
             to write one file",
            folder.display()
        );
    }
    let is_empty = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => true,
    };
    if is_empty || folder.join(SUCCESS).exists() {
        return Ok(());
    }
    exec_err!(
        "{} holds files that COPY did not write; choose an empty or new folder",
        folder.display()
    )
}

/// A folder of this machine that becomes the target, or goes away.
pub(super) struct Staging {
    staging: PathBuf,
    target: PathBuf,
}

impl Staging {
    pub(super) fn beside(target: &FilePath) -> Result<Self> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return exec_err!("COPY cannot replace {}", target.display());
        };
        let prefix = format!(".{}.atoll-", name.to_string_lossy());
        create(parent)?;
        remove_stale(parent, &prefix);
        let staging = parent.join(format!("{prefix}{}", crate::unique_id()));
        create(&staging)?;
        Ok(Self {
            staging,
            target: target.to_path_buf(),
        })
    }

    pub(super) fn path(&self) -> String {
        self.staging.to_string_lossy().into_owned()
    }

    /// Their files were moved out of them.
    pub(super) fn remove_folders_of_writers(&self) -> Result<()> {
        let folders = std::fs::read_dir(&self.staging).map_err(|e| self.failed(&e))?;
        for folder in folders.flatten() {
            let path = folder.path();
            if path.is_dir() && folder.file_name().to_string_lossy().starts_with("part-")
            {
                std::fs::remove_dir_all(path).map_err(|error| self.failed(&error))?;
            }
        }
        Ok(())
    }

    /// Has a file of the target in the staging folder too, which costs no copy where
    /// links can be made.
    pub(super) fn keep(&self, name: &str) -> Result<()> {
        let (from, to) = (self.target.join(name), self.staging.join(name));
        if let Some(folder) = to.parent() {
            create(folder)?;
        }
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> DataFusionError {
        exec_datafusion_err!("cannot publish {}: {error}", self.target.display())
    }

    pub(super) fn publish(self) -> Result<()> {
        let failed = |error: std::io::Error| self.failed(&error);
        std::fs::write(self.staging.join(SUCCESS), b"").map_err(failed)?;
        if !self.target.exists() {
            return std::fs::rename(&self.staging, &self.target).map_err(failed);
        }
        swap(&self.staging, &self.target).map_err(failed)
        // The old files, now in the staging folder, go with `self`.
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.staging.exists() {
            let _ = std::fs::remove_dir_all(&self.staging);
        }
    }
}

/// Exchanges two folders in one step, so that a reader never finds none.
#[cfg(target_os = "linux")]
fn swap(a: &FilePath, b: &FilePath) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// Exchanges two folders by way of a third name: other systems have no single step.
#[cfg(not(target_os = "linux"))]
fn swap(a: &FilePath, b: &FilePath) -> std::io::Result<()> {
    let aside = a.with_extension("old");
    std::fs::rename(b, &aside)?;
    std::fs::rename(a, b)?;
    std::fs::rename(&aside, a)
}

fn create(folder: &FilePath) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        exec_datafusion_err!("cannot create the folder {}: {error}", folder.display())
    })
}

/// Removes what processes left that were killed during a COPY to the same target.
fn remove_stale(parent: &FilePath, prefix: &str) {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified
            .ok()
            .and_then(|modified| now.duration_since(modified).ok());
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && age.is_some_and(|age| age > STALE)
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Deletes what processes left in a store that were killed during a COPY to the same
/// target: prefixes beside it that begin with `prefix` and got nothing new for a day. What
/// cannot be listed or deleted stays, and the next COPY tries again.
pub(super) async fn delete_stale(target: &Location, prefix: &str) {
    let parent: Vec<_> = target.path.parts().collect();
    let parent: Path = parent.into_iter().rev().skip(1).rev().collect();
    let beside = target.store.list_with_delimiter(Some(&parent)).await;
    for staging in beside.into_iter().flat_map(|found| found.common_prefixes) {
        if !staging.as_ref().starts_with(prefix) {
            continue;
        }
        let objects = target.store.list(Some(&staging));
        let Ok(objects) = objects.try_collect::<Vec<_>>().await else {
            continue;
        };
        let now = SystemTime::now();
        let is_stale = |object: &ObjectMeta| {
            let age = now.duration_since(object.last_modified.into());
            age.is_ok_and(|age| age > STALE)
        };
        if objects.iter().all(is_stale) {
            let paths = objects.into_iter().map(|object| Ok(object.location));
            let paths = futures::stream::iter(paths).boxed();
            let deleted = target.store.delete_stream(paths);
            let _ = deleted.try_collect::<Vec<_>>().await;
        }
    }
}
