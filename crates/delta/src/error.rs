//! Errors of the log in words, with what a store said kept for whoever retries.

use atoll_udf_common::{Location, StoreError};
use datafusion::common::{DataFusionError, exec_datafusion_err};
use datafusion::parquet::errors::ParquetError;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;

/// `doing` is what could not be done to the table, such as `read`.
pub(crate) fn explain(
    location: &Location,
    doing: &str,
    error: DeltaTableError,
) -> DataFusionError {
    let what = format!("cannot {doing} the table {location}");
    let error = match error {
        DeltaTableError::Parquet { source } => match refused(source) {
            Ok(refused) => return StoreError::new(&what, location, refused).into(),
            Err(source) => DeltaTableError::Parquet { source },
        },
        error => error,
    };
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

/// What a store said to a writer of Parquet, if it was that which failed.
fn refused(error: ParquetError) -> Result<object_store::Error, ParquetError> {
    let ParquetError::External(error) = error else {
        return Err(error);
    };
    let error = match error.downcast::<object_store::Error>() {
        Ok(refused) => return Ok(*refused),
        Err(error) => error,
    };
    // An upload is also a file that is written to, whose errors are those of files.
    let error = match error.downcast::<std::io::Error>() {
        Ok(error) => error,
        Err(error) => return Err(ParquetError::External(error)),
    };
    match error.downcast::<object_store::Error>() {
        Ok(refused) => Ok(refused),
        Err(error) => Err(ParquetError::External(Box::new(error))),
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
