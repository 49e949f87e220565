//! Writing files of the storage, whole or not at all.

use atoll_udf_common::{Location, StoreError};
use datafusion::common::{DataFusionError, Result};
use object_store::{PutMode, PutPayload};
use sha2::{Digest, Sha256};

/// Writes a file unless it is there; whether it was written.
pub(crate) async fn put_if_absent(location: &Location, bytes: Vec<u8>) -> Result<bool> {
    if location.exists().await? {
        return Ok(false);
    }
    let created = location.create(bytes.into()).await;
    created.map_err(|error| unwritable(location, error))
}

/// Writes a file, whether it is there or not.
pub(crate) async fn overwrite(location: &Location, bytes: Vec<u8>) -> Result<()> {
    let payload = PutPayload::from(bytes);
    let written = location
        .store
        .put_opts(&location.path, payload, PutMode::Overwrite.into())
        .await;
    written.map_err(|error| unwritable(location, error))?;
    Ok(())
}

/// The name of something by its content: the SHA-256 in hexadecimal.
pub(crate) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn unwritable(location: &Location, error: object_store::Error) -> DataFusionError {
    StoreError::new(&format!("cannot write {location}"), location, error)
        .advise("choose another folder with SET atoll.storage")
        .into()
}
