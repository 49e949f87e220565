//! SQL functions that train and evaluate networks.
//!
//! `train` trains one network per row and keeps every trial it finished under the
//! session's storage, so that no row is ever trained twice. `evaluate` scores a model
//! file on labelled rows, and `explain` says which columns its score depends on. All read their
//! rows from a table, a view or a file.
//!
//! Arrows point one way: `sql` reads arguments and writes results, `trial` names and runs
//! trials, `dataset` reads rows, `store` keeps records and files, and `score` compares
//! answers with labels. `backbone` makes rows of features from rows of images. So `sql` uses
//! `trial`, `backbone` and `score`, `trial` uses `dataset`, `backbone` and `store`, `backbone`
//! uses `dataset`, and none of those knows who uses it. `check` looks
//! at a data set and uses none of them.
//!
//! Nothing here multiplies a matrix: `atoll-nn` trains, `atoll-onnx` infers. Test
//! rows never reach `train`.

mod backbone;
mod check;
mod dataset;
mod files;
mod record;
mod score;
mod shared;
mod single_flight;
mod sql;
mod store;
mod trial;

use atoll_udf_common::expensive;
use datafusion::logical_expr::ScalarUDF;

pub use atoll_nn::engine;
pub use shared::TrainShared;
pub use sql::{Evaluate, Explain, Train, hyperparameters, table_functions};

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![expensive(Train), expensive(Evaluate), expensive(Explain)]
}
