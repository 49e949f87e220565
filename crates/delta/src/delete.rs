//! DROP TABLE: a folder without what is a table's.

use std::path::{Path as FilePath, PathBuf};

use atoll_udf_common::{Location, StoreError};
use datafusion::common::Result;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// Deletes a table: the log before the rows, and of the log what is read last first, so
/// that a table that was deleted by half is none, and never an older one.
///
/// The log is deleted until there is nothing of it, because others may commit meanwhile
/// (see [`standing`](crate::standing)). Of the rows only those go that lay there before
/// the log went: another table may be made in the folder as soon as there is no log.
pub async fn delete(location: &Location) -> Result<()> {
    let deleted = async {
        let store: &dyn ObjectStore = location.store.as_ref();
        let files = list(store, &location.path).await?;
        let local = location.local_path().filter(|folder| folder.is_dir());
        let hidden = local
            .as_deref()
            .map(|folder| below(folder, |path| path.is_file()));
        let log = location.path.clone().join("_delta_log");
        loop {
            let mut commits = list(store, &log).await?;
            if commits.is_empty() {
                break;
            }
            // The name of the last checkpoint goes before that checkpoint, because a log
            // that names one which is not there cannot be read.
            commits.sort_by_key(|path| {
                let text = path.as_ref();
                let is_name = text.ends_with("_last_checkpoint");
                (!is_name, !text.contains("checkpoint"), text.to_string())
            });
            for file in &commits {
                remove(store, file).await?;
            }
        }
        for file in files.iter().filter(|file| !file.prefix_matches(&log)) {
            remove(store, file).await?;
        }
        // What the store does not list: files that a writer which was killed left.
        for path in hidden
            .into_iter()
            .flatten()
            .filter(|path| is_unfinished(path))
        {
            let _ = std::fs::remove_file(path);
        }
        Ok(local)
    };
    let local = deleted.await.map_err(|error: object_store::Error| {
        StoreError::new(&format!("cannot delete {location}"), location, error)
    })?;
    // Stores of objects have no folders; a file system keeps empty ones. One with a file in
    // it, of a table that was made anew, cannot be removed.
    if let Some(folder) = local {
        for folder in below(&folder, |path| path.is_dir()).iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

async fn list(
    store: &dyn ObjectStore,
    folder: &Path,
) -> Result<Vec<Path>, object_store::Error> {
    let files = store.list(Some(folder)).map_ok(|file| file.location);
    files.try_collect().await
}

async fn remove(store: &dyn ObjectStore, file: &Path) -> Result<(), object_store::Error> {
    match store.delete(file).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What lies below a folder and is wanted, each folder before what is in it.
fn below(folder: &FilePath, is_wanted: fn(&FilePath) -> bool) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if is_wanted(&path) {
                found.push(path.clone());
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Whether a file has a name that a local store gives to what it has not written to its
/// end, such as `part-0.parquet#1`.
pub(crate) fn is_unfinished(path: &FilePath) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| {
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    })
}
