//! Errors as clients of gRPC know them: a code and one plain sentence.

use std::error::Error;

use datafusion::common::DataFusionError;
use tonic::{Code, Status};

use crate::Explain;

/// The longest message in bytes. It travels in a header, and clients refuse headers of more
/// than 8 to 16 KiB.
const MESSAGE_BYTES: usize = 4000;

/// The error for a client whose statement panicked.
pub(crate) fn panicked() -> Status {
    Status::internal(
        "internal error: the statement was given up\nhint: this is a bug, please report \
         it with the statement that caused it",
    )
}

pub(crate) fn cancelled() -> Status {
    Status::cancelled("the statement was cancelled")
}

/// Turns the error of a statement into a status with one plain sentence.
pub(crate) fn of(error: DataFusionError, explain: Explain) -> Status {
    let code = code(&error);
    Status::new(code, short(explain(error)))
}

fn code(error: &DataFusionError) -> Code {
    match error.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::SchemaError(..) => Code::InvalidArgument,
        DataFusionError::NotImplemented(_) => Code::Unimplemented,
        DataFusionError::ResourcesExhausted(_) => Code::ResourceExhausted,
        DataFusionError::Internal(_) => Code::Internal,
        DataFusionError::ExecutionJoin(error) if error.is_panic() => Code::Internal,
        // What it found is not what it needs: a file, a folder, an image, a value.
        _ => Code::FailedPrecondition,
    }
}

fn short(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let mut end = MESSAGE_BYTES;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" ..");
    }
    message
}

/// An error with all that caused it.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use datafusion::common::{exec_datafusion_err, plan_datafusion_err};

    use super::*;

    #[track_caller]
    fn check(error: DataFusionError, expected: Code) {
        let status = of(error, |error| error.to_string());
        assert_eq!(status.code(), expected, "{}", status.message());
    }

    #[test]
    fn a_wrong_statement_is_the_clients_mistake() {
        check(plan_datafusion_err!("no"), Code::InvalidArgument);
        let wrapped = plan_datafusion_err!("no").context("type_coercion");
        check(wrapped, Code::InvalidArgument);
    }

    #[test]
    fn what_a_statement_meets_is_not() {
        check(exec_datafusion_err!("no file"), Code::FailedPrecondition);
        let full = DataFusionError::ResourcesExhausted("full".to_string());
        check(full, Code::ResourceExhausted);
        check(DataFusionError::Internal("bug".to_string()), Code::Internal);
    }

    #[test]
    fn messages_fit_a_header() {
        let long = exec_datafusion_err!("{}", "ä".repeat(9000));
        let status = of(long, |error| error.to_string());
        assert!(status.message().len() < MESSAGE_BYTES + 10);
    }
}
