//! SQL functions that apply ONNX models.
//!
//! A model is a path or URL, or a column with the bytes of the file. A model that the
//! statement names by a literal is loaded at plan time, so a missing file or a list of
//! the wrong length is an error before the first row is read. A row is decoded,
//! preprocessed and run in one task of the compute pool, once for all functions that ask a
//! model of the same image.
//!
//! Nothing is trained here, and no model is written. `models` lists those that have names.

mod argument;
mod classify;
mod embed;
mod input;
mod model_info;
mod models;
mod options;
mod pipeline;
mod predict;
mod together;
mod top_k;
mod try_classify;
mod try_embed;
mod try_predict;

use std::sync::Arc;

use atoll_udf_common::expensive;
use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

pub use classify::Classify;
pub use embed::Embed;
pub use model_info::ModelInfo;
pub use predict::Predict;
pub use top_k::TopK;
pub use try_classify::TryClassify;
pub use try_embed::TryEmbed;
pub use try_predict::TryPredict;

/// Where the function reference lists this family.
const SECTION: DocSection = DocSection {
    include: true,
    label: "Model Functions",
    description: Some("Functions that apply ONNX models."),
};

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        expensive(Classify),
        expensive(Embed),
        expensive(ModelInfo),
        expensive(Predict),
        ScalarUDF::new_from_impl(TopK::default()),
        expensive(TryClassify),
        expensive(TryEmbed),
        expensive(TryPredict),
    ]
}

/// The table functions of this family, with their names and documentation.
pub fn table_functions() -> Vec<(String, Arc<dyn TableFunctionImpl>, Documentation)> {
    vec![(
        "models".to_string(),
        Arc::new(models::ModelsFunction),
        models::documentation(),
    )]
}
