//! The files of a COPY to a folder.

use atoll_jobs::WrittenFile;
use atoll_udf_common::Location;
use datafusion::common::{Result, internal_err};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::{Path, PathPart};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::parts;

/// A complete file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CopyFile {
    /// Where it is now.
    #[serde(with = "path_as_text")]
    pub(super) at: Path,
    /// What it is called below the target.
    #[serde(with = "path_as_text")]
    pub(super) name: Path,
    pub(super) bytes: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

impl CopyFile {
    /// A file of the target.
    pub(super) async fn of(target: &Location, name: &Path) -> Result<Self> {
        let at = below(target, name);
        let (bytes, sha256) = digest(target, &at).await?;
        Ok(Self {
            at,
            name: name.clone(),
            bytes,
            sha256,
        })
    }

    /// The same, once it is in the target.
    pub(super) fn published(self, target: &Location) -> WrittenFile {
        let target = target.to_string();
        WrittenFile {
            path: format!("{}/{}", target.trim_end_matches('/'), self.name),
            bytes: self.bytes,
            sha256: self.sha256,
        }
    }
}

/// Paths on their way from an executor.
mod path_as_text {
    use object_store::path::Path;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        path: &Path,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(path.as_ref())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Path, D::Error> {
        Path::parse(String::deserialize(from)?).map_err(Error::custom)
    }
}

/// Where a file with this name lies below a folder.
pub(super) fn below(folder: &Location, name: &Path) -> Path {
    folder.path.parts().chain(name.parts()).collect()
}

/// The files in a folder of a writer, below a staging folder.
pub(super) async fn written(
    staging: &Location,
    folder: &Location,
) -> Result<Vec<CopyFile>> {
    let mut files = vec![];
    for at in list(folder).await? {
        let below: Vec<PathPart<'_>> = at
            .prefix_match(&staging.path)
            .into_iter()
            .flatten()
            .collect();
        let (bytes, sha256) = digest(staging, &at).await?;
        let Some(name) = parts::published(&below, &sha256) else {
            return internal_err!("a writer of COPY left {at}");
        };
        files.push(CopyFile {
            name,
            bytes,
            sha256,
            at,
        });
    }
    Ok(files)
}

/// The length and the SHA-256 of a file.
pub(crate) async fn digest(folder: &Location, at: &Path) -> Result<(u64, String)> {
    let read = async {
        let mut pieces = folder.store.get(at).await?.into_stream();
        let (mut bytes, mut sha256) = (0, Sha256::new());
        while let Some(piece) = pieces.try_next().await? {
            bytes += piece.len() as u64;
            sha256.update(&piece);
        }
        Ok((bytes, hex::encode(sha256.finalize())))
    };
    read.await.map_err(|error| folder.error(error))
}

/// Everything below a folder or prefix; nothing, if there is none.
pub(super) async fn list(folder: &Location) -> Result<Vec<Path>> {
    let files = folder
        .store
        .list(Some(&folder.path))
        .map_ok(|file| file.location);
    files
        .try_collect()
        .await
        .map_err(|error| folder.error(error))
}
