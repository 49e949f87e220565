//! One file: as it was listed, and as it is when it is opened by its name.

use std::fs::Metadata;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use datafusion::common::{Result, exec_datafusion_err};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::walk::micros;
use crate::stores::{local_path, without_dots};
use crate::{CallContext, Location};

/// A file as it was when it was listed.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// A path or URL that finds the file again.
    pub filename: String,
    /// Bytes in the file.
    pub size: u64,
    /// Microseconds since 1970, where the file's home knows.
    pub last_modified: Option<i64>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    // A local path is kept as the system gave it: it need not be valid Unicode.
    Local(PathBuf, SystemTime),
    Stored(Arc<dyn ObjectStore>, ObjectMeta),
}

impl FileEntry {
    /// A file of this machine.
    pub(super) fn local(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            filename: path.to_string_lossy().into_owned(),
            size: metadata.len(),
            last_modified: micros(metadata),
            source: Source::Local(path, metadata.modified().unwrap_or(UNIX_EPOCH)),
        }
    }

    /// An object of a store.
    pub(super) fn stored(
        store: &Arc<dyn ObjectStore>,
        filename: String,
        object: ObjectMeta,
    ) -> Self {
        Self {
            filename,
            size: object.size,
            last_modified: Some(object.last_modified.timestamp_micros()),
            source: Source::Stored(Arc::clone(store), object),
        }
    }

    /// Whether [`find_again`](Self::find_again) would find this file.
    pub fn is_found_by_name(&self) -> bool {
        match &self.source {
            // A path that is not valid Unicode has another name than its own.
            Source::Local(path, _) => path.to_str() == Some(self.filename.as_str()),
            Source::Stored(..) => true,
        }
    }

    /// A file that another process listed.
    pub fn find_again(
        filename: String,
        size: u64,
        last_modified: Option<i64>,
        context: &CallContext,
    ) -> Result<Self> {
        let source = match local_path(context.directory.as_deref(), &filename) {
            Some(path) => Source::Local(path, UNIX_EPOCH),
            None => {
                let Location { store, path, .. } = context.locate(&filename)?;
                let object = ObjectMeta {
                    location: path,
                    last_modified: UNIX_EPOCH.into(),
                    size,
                    e_tag: None,
                    version: None,
                };
                Source::Stored(store, object)
            }
        };
        Ok(Self {
            filename,
            size,
            last_modified,
            source,
        })
    }

    /// Which of the files of this name it is, where its store says so.
    pub fn e_tag(&self) -> Option<&str> {
        match &self.source {
            Source::Local(..) => None,
            Source::Stored(_, object) => object.e_tag.as_deref(),
        }
    }

    /// The file as an object of its store; `None` if its name cannot be one's.
    pub fn object(&self) -> Option<ObjectMeta> {
        match &self.source {
            Source::Stored(_, object) => Some(object.clone()),
            Source::Local(path, modified) => Some(ObjectMeta {
                location: object_path(path)?,
                last_modified: (*modified).into(),
                size: self.size,
                e_tag: None,
                version: None,
            }),
        }
    }

    /// The whole content.
    pub async fn read(&self) -> Result<Bytes> {
        let read = match &self.source {
            Source::Local(path, _) => tokio::fs::read(path)
                .await
                .map(Bytes::from)
                .map_err(|error| error.to_string()),
            Source::Stored(store, object) => {
                let read = async { store.get(&object.location).await?.bytes().await };
                read.await.map_err(|error| error.to_string())
            }
        };
        read.map_err(|reason| {
            exec_datafusion_err!(
                "cannot read {}, which was there when the statement began: {reason}",
                self.filename
            )
        })
    }
}

/// A file that a name was found to be.
#[derive(Debug)]
pub struct Opened {
    /// The whole content, if it was asked for.
    pub content: Option<Bytes>,
    /// Bytes in the file.
    pub size: u64,
    /// Microseconds since 1970, where the file's home knows.
    pub last_modified: Option<i64>,
}

/// Opens the file that a path or URL names. A file of more than `most` bytes is not read,
/// and so is nothing where only the rest is wanted.
pub async fn open(
    name: &str,
    most: Option<u64>,
    context: &CallContext,
) -> Result<Opened> {
    if let Some(path) = local_path(context.directory.as_deref(), name) {
        return open_local(&path, most).await.map_err(|error| {
            exec_datafusion_err!("cannot read {name}: {error}; check the name")
        });
    }
    let location = context.locate(name)?;
    let found = match (open_stored(&location, most).await, location.as_written()) {
        (Err(object_store::Error::NotFound { .. }), Some(written)) => {
            open_stored(&written, most).await
        }
        (found, _) => found,
    };
    found.map_err(|error| location.error(error))
}

async fn open_local(path: &FilePath, most: Option<u64>) -> std::io::Result<Opened> {
    let metadata = tokio::fs::metadata(path).await?;
    let is_read = most.is_some_and(|most| metadata.len() <= most);
    Ok(Opened {
        content: match is_read {
            true => Some(tokio::fs::read(path).await?.into()),
            false => None,
        },
        size: metadata.len(),
        last_modified: micros(&metadata),
    })
}

async fn open_stored(
    location: &Location,
    most: Option<u64>,
) -> object_store::Result<Opened> {
    let (store, path) = (&location.store, &location.path);
    let (object, content) = match most {
        None => (store.head(path).await?, None),
        Some(most) => {
            let found = store.get(path).await?;
            let object = found.meta.clone();
            let content = match object.size <= most {
                true => Some(found.bytes().await?),
                false => None,
            };
            (object, content)
        }
    };
    Ok(Opened {
        content,
        size: object.size,
        last_modified: Some(object.last_modified.timestamp_micros()),
    })
}

/// A path of this machine as its store of objects knows it; `None` if it cannot.
pub(super) fn object_path(path: &FilePath) -> Option<Path> {
    // A pattern without a folder looks where relative paths start.
    let path = match path.as_os_str().is_empty() {
        true => FilePath::new("."),
        false => path,
    };
    let absolute = std::path::absolute(path).ok()?;
    Path::from_absolute_path(without_dots(&absolute)).ok()
}
