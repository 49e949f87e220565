//! The manifest of a COPY to a folder: its files with sizes and hashes.

use std::collections::HashMap;

use atoll_udf_common::Location;
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Readers of folders pass over names that start with an underscore.
pub(super) const MANIFEST: &str = "_manifest.json";

/// The key of the option, as the SQL parser completes it.
const OPTION: &str = "format.manifest";

/// What `_manifest.json` says.
#[derive(Debug, Serialize)]
struct Manifest {
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct File {
    /// Relative to the folder.
    path: String,
    bytes: usize,
    sha256: String,
}

/// Takes the option that asks for a manifest out of those of the file format.
pub(super) fn is_wanted(options: &mut HashMap<String, String>) -> Result<bool> {
    match options.remove(OPTION).as_deref() {
        None => Ok(false),
        Some(text) => text.parse().or_else(|_| {
            plan_err!("the option manifest must be true or false, got '{text}'")
        }),
    }
}

/// Writes the manifest of complete files: where each is, and what it is called below
/// `folder`.
pub(super) async fn write(folder: &Location, files: &[(Path, Path)]) -> Result<()> {
    let mut manifest = Manifest { files: vec![] };
    for (at, name) in files {
        let (bytes, sha256) = digest(folder, at)
            .await
            .map_err(|error| folder.error(error))?;
        manifest.files.push(File {
            path: name.to_string(),
            bytes,
            sha256,
        });
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| exec_datafusion_err!("cannot write {MANIFEST}: {error}"))?;
    let path = folder.path.clone().join(MANIFEST);
    let put = folder.store.put(&path, PutPayload::from(text)).await;
    put.map(|_| ()).map_err(|error| folder.error(error))
}

async fn digest(folder: &Location, at: &Path) -> object_store::Result<(usize, String)> {
    let mut pieces = folder.store.get(at).await?.into_stream();
    let (mut bytes, mut sha256) = (0, Sha256::new());
    while let Some(piece) = pieces.try_next().await? {
        bytes += piece.len();
        sha256.update(&piece);
    }
    Ok((bytes, hex::encode(sha256.finalize())))
}
