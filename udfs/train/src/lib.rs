//! SQL functions that train and evaluate networks.
//!
//! `train` trains one network per row and keeps every trial it finished under the
//! session's storage, so that no row is ever trained twice. `evaluate` scores a model
//! file on labelled images. Both read their images from a table, a view or a file.
//!
//! Nothing here multiplies a matrix: `atoll-nn` trains, `atoll-onnx` infers. Test
//! rows never reach `train`.

mod arguments;
mod checkpoints;
mod evaluate;
mod options;
mod record;
mod rows;
mod score;
mod single_flight;
pub mod snapshot;
mod source;
mod store;
mod train;
mod trial;

use atoll_udf_common::expensive;
use datafusion::logical_expr::ScalarUDF;

pub use atoll_nn::engine;
pub use evaluate::Evaluate;
pub use train::Train;
pub use trial::trainings_started;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![expensive(Train), expensive(Evaluate)]
}
