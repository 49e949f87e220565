//! The version of a storage's layout, so that an older Atoll says so when it meets a
//! newer one, instead of not finding what is there.

use atoll_udf_common::{Location, StoreError};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

/// Storages of this and of all lower versions are understood. The first version of Atoll
/// wrote none; 2 has tables on Delta Lake.
pub const VERSION: u32 = 2;

/// The file that says it.
const FILE: &str = "version.json";

#[derive(Serialize, Deserialize)]
struct Format {
    /// The version of the layout.
    storage: u32,
    /// The Atoll that wrote it.
    atoll: String,
}

async fn read(storage: &Location) -> Result<Option<Format>> {
    let file = storage.join(FILE)?;
    let bytes = match file.store.get(&file.path).await {
        Ok(found) => found.bytes().await,
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            exec_datafusion_err!(
                "{file} is damaged: {error}; delete it if no newer Atoll wrote the storage"
            )
        }),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(StoreError::new(
            &format!("cannot open the storage {storage}"),
            storage,
            error,
        )
        .advise("choose another with --storage or SET atoll.storage")
        .into()),
    }
}

/// Refuses a storage that a newer Atoll wrote.
pub(super) async fn check(storage: &Location) -> Result<()> {
    match read(storage).await? {
        Some(format) if format.storage > VERSION => exec_err!(
            "the storage {storage} was written by Atoll {}, whose layout {} this Atoll {} \
             does not know; use that version or a newer one",
            format.atoll,
            format.storage,
            crate::VERSION
        ),
        _ => Ok(()),
    }
}

/// Notes the version before the first table of it is written.
pub(super) async fn mark(storage: &Location) -> Result<()> {
    if read(storage)
        .await?
        .is_some_and(|format| format.storage == VERSION)
    {
        return Ok(());
    }
    let format = Format {
        storage: VERSION,
        atoll: crate::VERSION.to_string(),
    };
    let text = serde_json::to_vec(&format)
        .map_err(|error| exec_datafusion_err!("cannot write {FILE}: {error}"))?;
    let file = storage.join(FILE)?;
    let put = file.store.put(&file.path, PutPayload::from(text)).await;
    put.map(drop).map_err(|error| {
        StoreError::new(&format!("cannot write {file}"), &file, error).into()
    })
}
