//! Why a row or a call has no answer, and how that reaches SQL.

use atoll_compute::panics::Panic;
use atoll_udf_common::REPORT;
use datafusion::common::{DataFusionError, exec_datafusion_err, plan_datafusion_err};

/// Why a row or a call has no answer: what `error_code` and `error` hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub(crate) struct Failure {
    /// A word that a query can compare with.
    pub(crate) code: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The options or the arguments are wrong, whatever the row.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new("INVALID_ARGUMENT", message)
    }

    /// The model, or what is around it, panicked on a row.
    pub(crate) fn panicked(model: &str, panic: &Panic) -> Self {
        let message = format!("model {model} failed: {panic}; {REPORT}");
        Self::new("MODEL_RUNTIME", message)
    }

    /// The error of a call that no row can save.
    pub(crate) fn at_plan_time(self, function: &str) -> DataFusionError {
        plan_datafusion_err!("{function}: {self}")
    }

    /// The error of one row of a strict function.
    pub(crate) fn in_a_row(&self, function: &str) -> DataFusionError {
        match function {
            "classify" => exec_datafusion_err!(
                "{function}: {self}; try_classify gives the error as a value instead"
            ),
            _ => exec_datafusion_err!("{function}: {self}"),
        }
    }
}

impl From<atoll_onnx::Error> for Failure {
    fn from(error: atoll_onnx::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<atoll_imaging::Error> for Failure {
    fn from(error: atoll_imaging::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
