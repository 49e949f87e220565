//! Why a store did not take a file.

use atoll_udf_common::{Location, StoreError};
use datafusion::common::DataFusionError;
use object_store::{ObjectStoreExt, PutPayload};

/// What the engine says when a store refuses the last part of a file, whatever the reason.
const UNSAID: &str = "Error encountered while finalizing writes";

/// The error of a COPY, with the reason that the engine leaves out: the store says it
/// when it is asked once more, for a file of no bytes beside the target.
pub(super) async fn explain(
    target: &Location,
    error: DataFusionError,
) -> DataFusionError {
    if !error.find_root().message().contains(UNSAID) {
        return error;
    }
    let name = format!("{}.atoll-{}", target.path, crate::unique_id());
    let Ok(beside) = object_store::path::Path::parse(name) else {
        return error;
    };
    let put = target.store.put(&beside, PutPayload::new()).await;
    let what = format!("cannot write {target}");
    match put {
        Err(refusal) => StoreError::new(&what, target, refusal).into(),
        Ok(_) => {
            // It took this one, so it may take the next.
            let _ = target.store.delete(&beside).await;
            let cause = object_store::Error::Generic {
                store: "store",
                source: "the store did not take the last part of it".into(),
            };
            StoreError::new(&what, target, cause)
                .advise("run the statement again")
                .into()
        }
    }
}
