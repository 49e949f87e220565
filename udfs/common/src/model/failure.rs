//! Why a row or a call has no answer, and how that reaches SQL.

use std::fmt::{self, Display, Formatter};

use atoll_compute::panics::Panic;
use datafusion::common::{DataFusionError, exec_datafusion_err, plan_datafusion_err};

use crate::REPORT;

/// Why a row or a call has no answer: what `error_code` and `error` hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFailure {
    /// A word that a query can compare with.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Display for ModelFailure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ModelFailure {}

impl ModelFailure {
    /// A failure with the word that names its kind.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The options or the arguments are wrong, whatever the row.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new("INVALID_ARGUMENT", message)
    }

    /// The model, or what is around it, panicked on a row.
    pub fn panicked(model: &str, panic: &Panic) -> Self {
        let message = format!("model {model} failed: {panic}; {REPORT}");
        Self::new("MODEL_RUNTIME", message)
    }

    /// The error of a call that no row can save.
    pub fn at_plan_time(self, function: &str) -> DataFusionError {
        plan_datafusion_err!("{function}: {self}")
    }

    /// The error of one row of a strict function.
    pub fn in_a_row(&self, function: &str) -> DataFusionError {
        match function {
            "classify" | "embed" | "predict" => exec_datafusion_err!(
                "{function}: {self}; try_{function} gives the error as a value instead"
            ),
            _ => exec_datafusion_err!("{function}: {self}"),
        }
    }
}

impl From<atoll_onnx::Error> for ModelFailure {
    fn from(error: atoll_onnx::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<atoll_imaging::Error> for ModelFailure {
    fn from(error: atoll_imaging::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
