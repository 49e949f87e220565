//! From what a call says of a model to the model.
//!
//! Every function that applies a model takes the path or URL of an ONNX file, or a BINARY
//! value that holds one. They load it here, so that all of them find the same files, keep
//! the same ones open and fail with the same words. Models with names ([`names`]) become
//! paths before they come here.

mod failure;
pub mod names;
mod preprocess;
mod source;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};

pub use failure::ModelFailure;
pub use preprocess::preprocess;
pub use source::{BYTES, checked, files, load, load_bytes, load_now, named};

use crate::args::is_text;

/// An argument that says which model to use, for a [`Usage`](crate::Usage).
pub fn model(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    let is_bytes = matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    );
    if is_text(data_type) || is_bytes || data_type.is_null() {
        return Ok(data_type.clone());
    }
    plan_err!(
        "{function}: {argument} must be the path or URL of an ONNX file, or a BINARY \
         column that holds one, got {data_type}"
    )
}
