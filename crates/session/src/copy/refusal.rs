//! Why a store did not take a file.

use atoll_udf_common::{Location, StoreError};
use datafusion::common::{DataFusionError, exec_datafusion_err};
use object_store::ObjectStoreExt;

/// What the engine says when a store refuses the last part of a file, whatever the reason.
const UNSAID: &str = "Error encountered while finalizing writes";

/// What a local store says before the reason, and without the name of a file.
const UNNAMED: &str = "Unable to copy data to file: ";

/// How many bytes a disk that was full a moment ago has no room for, mostly.
const PROBE: usize = 64 << 10;

/// The error of who writes files, with the reason that the engine leaves out: the store says it
/// when it is asked once more, for a small file beside the target.
pub(crate) async fn explain(
    target: &Location,
    error: DataFusionError,
) -> DataFusionError {
    // All of it: several writers may have failed, and what wraps their errors varies.
    let said = error.strip_backtrace();
    if let Some((_, reason)) = said.rsplit_once(UNNAMED) {
        let reason = reason.lines().next().unwrap_or(reason);
        return exec_datafusion_err!("cannot write {target}: {reason}");
    }
    if !said.contains(UNSAID) {
        return error;
    }
    let name = format!("{}.atoll-{}", target.path, crate::unique_id());
    let Ok(beside) = object_store::path::Path::parse(name) else {
        return error;
    };
    let put = target.store.put(&beside, vec![0; PROBE].into()).await;
    let what = format!("cannot write {target}");
    match put {
        Err(refusal) => StoreError::new(&what, target, refusal).into(),
        Ok(_) => {
            // It took this one, so it may take the next.
            let _ = target.store.delete(&beside).await;
            let cause = object_store::Error::Generic {
                store: "store",
                source: "the store, which may be full, did not take the last part of it"
                    .into(),
            };
            StoreError::new(&what, target, cause)
                .advise("run the statement again")
                .into()
        }
    }
}
