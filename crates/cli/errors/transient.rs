//! Which failures may pass by themselves.
//!
//! Operators wrap the errors of those below them, some of them in an [`Arc`] because
//! several wait for one. What an error is about is found behind all of that, as long as
//! nobody made text of it.

use std::error::Error;
use std::io;
use std::sync::Arc;

use atoll_session::StoreError;
use datafusion::common::DataFusionError;

/// Whether the same statement may succeed later: a storage, a server or a cluster did not
/// answer. A mistake in the statement or the data never passes.
pub(crate) fn is_transient(error: &DataFusionError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return may_pass(error);
        }
        if let Some(error) = error.downcast_ref::<StoreError>() {
            return may_pass(&error.cause);
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some(known) = io_may_pass(error.kind())
        {
            return known;
        }
        if let Some(error) = error.downcast_ref::<atoll_cluster::Error>() {
            return error.may_pass();
        }
        next = inner(error);
    }
    false
}

/// What an error is about; DataFusion keeps it in several ways.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(shared) = error.downcast_ref::<Arc<DataFusionError>>() {
        return Some(shared.as_ref());
    }
    // Its source is that of what it holds, and not what it holds.
    if let Some(held) = error.downcast_ref::<io::Error>() {
        return held.get_ref().map(|held| held as &(dyn Error + 'static));
    }
    match error.downcast_ref::<DataFusionError>() {
        Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
        Some(DataFusionError::ObjectStore(inner)) => Some(inner.as_ref()),
        Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
        Some(
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner),
        ) => Some(inner.as_ref()),
        Some(DataFusionError::Collection(inner)) => Some(inner.first()?),
        _ => error.source(),
    }
}

fn may_pass(error: &object_store::Error) -> bool {
    !matches!(
        error,
        object_store::Error::NotFound { .. }
            | object_store::Error::InvalidPath { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. }
            | object_store::Error::NotModified { .. }
            | object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::UnknownConfigurationKey { .. }
    )
}

/// None where another error below may know better.
fn io_may_pass(kind: io::ErrorKind) -> Option<bool> {
    use io::ErrorKind as Kind;
    match kind {
        Kind::ConnectionRefused
        | Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::NetworkUnreachable
        | Kind::HostUnreachable
        | Kind::NotConnected
        | Kind::TimedOut
        | Kind::Interrupted
        | Kind::UnexpectedEof => Some(true),
        Kind::NotFound | Kind::PermissionDenied | Kind::StorageFull => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::error::ArrowError;
    use datafusion::parquet::errors::ParquetError;

    use super::*;

    #[track_caller]
    fn check(error: &DataFusionError, expected: bool) {
        assert_eq!(is_transient(error), expected, "{error}");
    }

    fn store(source: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: source.into(),
        }
    }

    #[test]
    fn a_store_that_does_not_answer_may_answer_later() {
        let error = DataFusionError::ObjectStore(Box::new(store("503")));
        check(
            &DataFusionError::Shared(Arc::new(error)).context("COPY"),
            true,
        );
        check(&DataFusionError::External(Box::new(store("503"))), true);
        let place = atoll_session::Location::parse("s3://bucket/a").unwrap();
        check(&place.error(store("503")).context("COPY"), true);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        check(&DataFusionError::IoError(reset), true);
    }

    #[test]
    fn a_lost_scheduler_is_found_behind_every_wrapper() {
        let lost = || {
            DataFusionError::from(atoll_cluster::Error::Lost {
                times: 5,
                reason: "it was restarted".to_string(),
            })
        };
        check(&lost(), true);
        check(&lost().context("COPY"), true);
        check(&DataFusionError::Shared(Arc::new(lost())), true);
        check(&DataFusionError::External(Box::new(Arc::new(lost()))), true);
        check(&DataFusionError::Collection(vec![lost()]), true);
        let arrow = ArrowError::ExternalError(Box::new(lost()));
        check(&DataFusionError::from(arrow), true);
        let parquet = ParquetError::External(Box::new(lost()));
        check(&DataFusionError::ParquetError(Box::new(parquet)), true);
        let io = io::Error::other(lost());
        check(&DataFusionError::IoError(io), true);
        let store = object_store::Error::Generic {
            store: "S3",
            source: Box::new(lost()),
        };
        check(&DataFusionError::ObjectStore(Box::new(store)), true);
    }

    #[test]
    fn a_scheduler_that_refuses_will_do_so_again() {
        let token = atoll_cluster::Token::new("short").unwrap_err();
        check(&token.into(), false);
    }

    #[test]
    fn mistakes_stay_mistakes() {
        check(&DataFusionError::Plan("no column".to_string()), false);
        let missing = object_store::Error::NotFound {
            path: "a".to_string(),
            source: "404".into(),
        };
        check(&DataFusionError::ObjectStore(Box::new(missing)), false);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        check(&DataFusionError::IoError(full), false);
    }
}
