//! Errors of the log in words, with what a store said kept for whoever retries.

use atoll_udf_common::{Location, StoreError};
use datafusion::common::{DataFusionError, exec_datafusion_err};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;

/// `doing` is what could not be done to the table, such as `read`.
pub(crate) fn explain(
    location: &Location,
    doing: &str,
    error: DeltaTableError,
) -> DataFusionError {
    let what = format!("cannot {doing} the table {location}");
    match error {
        DeltaTableError::ObjectStore { source }
        | DeltaTableError::Transaction {
            source: TransactionError::ObjectStore { source },
        } => StoreError::new(&what, location, source).into(),
        DeltaTableError::Transaction {
            source: TransactionError::UnsupportedTableFeatures(features),
        } => exec_datafusion_err!(
            "{what}: another engine gave it {}, which Atoll reads and does not keep; change \
             it with that engine, or copy it with CREATE TABLE .. AS",
            listed(&features)
        ),
        error => exec_datafusion_err!("{what}: {error}"),
    }
}

/// The names of features, as the log has them.
pub(crate) fn listed(features: &[impl ToString]) -> String {
    let mut names: Vec<_> = features.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}

/// Whether a commit lost against another one, and may win with a fresh look at the table.
pub(crate) fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(_)
                    | TransactionError::MaxCommitAttempts(_)
                    | TransactionError::VersionAlreadyExists(_),
            }
    )
}
