//! The manifest of a COPY to a folder: its files with sizes and hashes.

use atoll_udf_common::Location;
use datafusion::common::{Result, exec_datafusion_err};
use object_store::{ObjectStoreExt, PutPayload};
use serde::Serialize;

use super::files::CopyFile;

/// Readers of folders pass over names that start with an underscore.
const MANIFEST: &str = "_manifest.json";

/// What `_manifest.json` says.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    files: Vec<File<'a>>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    /// Relative to the folder.
    path: &'a str,
    bytes: u64,
    sha256: &'a str,
}

impl<'a> File<'a> {
    fn new(file: &'a CopyFile) -> Self {
        Self {
            path: file.name.as_ref(),
            bytes: file.bytes,
            sha256: &file.sha256,
        }
    }
}

/// Writes the manifest of complete files into a folder.
pub(super) async fn write(folder: &Location, files: &[CopyFile]) -> Result<()> {
    let mut manifest = Manifest {
        files: files.iter().map(File::new).collect(),
    };
    manifest.files.sort_by_key(|file| file.path);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| exec_datafusion_err!("cannot write {MANIFEST}: {error}"))?;
    let path = folder.path.clone().join(MANIFEST);
    let put = folder.store.put(&path, PutPayload::from(text)).await;
    put.map(|_| ()).map_err(|error| folder.error(error))
}
