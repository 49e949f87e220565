//! `COPY .. TO 'folder/'`: all its files or none.
//!
//! The files are written to a staging folder beside the target. Only when all are
//! complete does the target change: on a file system by one rename, on an object store
//! file by file with `_SUCCESS` last. A target that an earlier COPY wrote is replaced;
//! a folder with anything else in it is refused, so that a mistyped path deletes
//! nothing. A single file is already atomic in every store.

mod manifest;
mod parts;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::parquet_files;
use atoll_udf_common::Location;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, internal_err, plan_err,
};
use datafusion::datasource::MemTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

/// Marks a folder that COPY completed, as Hadoop and Spark mark theirs.
const SUCCESS: &str = "_SUCCESS";

/// Staging folders of killed processes are removed after this time.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs COPY to its end and returns the row that counts the rows written.
pub(crate) async fn execute(
    context: &SessionContext,
    mut copy: CopyTo,
) -> Result<SendableRecordBatchStream> {
    let with_manifest = manifest::is_wanted(&mut copy.options)?;
    let counts = if is_folder(&copy) {
        let target = Location::parse(copy.output_url.trim_end_matches('/'))?;
        match target.local_path() {
            Some(folder) => copy_to_folder(context, copy, &folder, with_manifest).await?,
            None => copy_to_objects(context, copy, &target, with_manifest).await?,
        }
    } else if with_manifest {
        return plan_err!(
            "a manifest describes a folder; end the target with / instead of a file name"
        );
    } else {
        run(context, copy).await?
    };
    context.read_table(Arc::new(counts))?.execute_stream().await
}

async fn copy_to_folder(
    context: &SessionContext,
    copy: CopyTo,
    target: &FilePath,
    with_manifest: bool,
) -> Result<MemTable> {
    refuse_foreign_folder(target)?;
    let staging = Staging::beside(target)?;
    let folder = Location::parse(&staging.path())?;
    let counts = write(context, copy, &folder).await?;
    let mut files = vec![];
    for (from, name) in named(&folder).await? {
        let to = folder.path.parts().chain(name.parts()).collect::<Path>();
        let renamed = folder.store.rename(&from, &to).await;
        renamed.map_err(|error| folder.error(error))?;
        files.push((to, name));
    }
    staging.remove_folders_of_writers()?;
    if with_manifest {
        manifest::write(&folder, &files).await?;
    }
    staging.publish()?;
    Ok(counts)
}

/// Writes the files of a COPY to a staging folder or prefix.
async fn write(
    context: &SessionContext,
    copy: CopyTo,
    staging: &Location,
) -> Result<MemTable> {
    let schema = Arc::clone(copy.input.schema().inner());
    let carries_schema =
        copy.file_type.get_ext() == "parquet" && copy.partition_by.is_empty();
    let counts = parts::write(context, copy, staging).await?;
    if carries_schema && list(staging).await?.is_empty() {
        // Without rows no file was written, but readers want the columns.
        let nothing = context.read_batch(RecordBatch::new_empty(schema))?;
        parquet_files::write(nothing, &staging.join("part-00000")?).await?;
    }
    Ok(counts)
}

/// The files below a staging folder, each with its name below the target.
async fn named(staging: &Location) -> Result<Vec<(Path, Path)>> {
    let mut named = vec![];
    for from in list(staging).await? {
        let below: Vec<_> = from
            .prefix_match(&staging.path)
            .into_iter()
            .flatten()
            .collect();
        let Some(name) = parts::published(&below) else {
            return internal_err!("a writer of COPY left {from}");
        };
        named.push((from, name));
    }
    Ok(named)
}

/// A target with a file's extension is a file, anything else is a folder.
fn is_folder(copy: &CopyTo) -> bool {
    let name = copy.output_url.rsplit('/').next().unwrap_or_default();
    !copy.partition_by.is_empty() || !name.contains('.')
}

async fn run(context: &SessionContext, copy: CopyTo) -> Result<MemTable> {
    let frame = context
        .execute_logical_plan(LogicalPlan::Copy(copy))
        .await?;
    let schema = Arc::clone(frame.schema().inner());
    MemTable::try_new(schema, vec![frame.collect().await?])
}

fn refuse_foreign_folder(folder: &FilePath) -> Result<()> {
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
struct Staging {
    staging: PathBuf,
    target: PathBuf,
}

impl Staging {
    fn beside(target: &FilePath) -> Result<Self> {
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

    fn path(&self) -> String {
        self.staging.to_string_lossy().into_owned()
    }

    /// Their files were moved out of them.
    fn remove_folders_of_writers(&self) -> Result<()> {
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

    fn failed(&self, error: &std::io::Error) -> DataFusionError {
        exec_datafusion_err!("cannot publish {}: {error}", self.target.display())
    }

    fn publish(self) -> Result<()> {
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

/// Object stores cannot rename: the files are copied over, `_SUCCESS` last.
async fn copy_to_objects(
    context: &SessionContext,
    copy: CopyTo,
    target: &Location,
    with_manifest: bool,
) -> Result<MemTable> {
    let before = list(target).await?;
    if !before.is_empty() && !before.iter().any(|path| path.filename() == Some(SUCCESS)) {
        return exec_err!(
            "{target} holds files that COPY did not write; choose a new prefix"
        );
    }
    let staging =
        Location::parse(&format!("{}.atoll-{}", target.url, crate::unique_id()))?;
    let counts = write(context, copy, &staging).await;
    let published = match &counts {
        Ok(_) => publish_objects(&staging, target, &before, with_manifest).await,
        Err(_) => Ok(()),
    };
    for path in list(&staging).await? {
        let deleted = staging.store.delete(&path).await;
        deleted.map_err(|error| staging.error(error))?;
    }
    published?;
    counts
}

async fn publish_objects(
    staging: &Location,
    target: &Location,
    before: &[Path],
    with_manifest: bool,
) -> Result<()> {
    let store: &dyn ObjectStore = target.store.as_ref();
    let mut files = vec![];
    for (from, name) in named(staging).await? {
        let to = target.path.parts().chain(name.parts()).collect::<Path>();
        let copied = store.copy(&from, &to).await;
        copied.map_err(|error| target.error(error))?;
        files.push((to, name));
    }
    for old in before {
        if !files.iter().any(|(written, _)| written == old) {
            let deleted = store.delete(old).await;
            deleted.map_err(|error| target.error(error))?;
        }
    }
    if with_manifest {
        manifest::write(target, &files).await?;
    }
    let success = target.path.clone().join(SUCCESS);
    let put = store.put(&success, PutPayload::new()).await;
    put.map(|_| ()).map_err(|error| target.error(error))
}

async fn list(folder: &Location) -> Result<Vec<Path>> {
    let files = folder
        .store
        .list(Some(&folder.path))
        .map_ok(|file| file.location);
    files
        .try_collect()
        .await
        .map_err(|error| folder.error(error))
}
