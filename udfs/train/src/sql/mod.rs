//! The functions as SQL sees them: Arrow in, Arrow out, and nothing of how networks train.

mod arguments;
mod backbones;
mod documentation;
mod evaluate;
mod evaluation;
mod explain;
mod given;
mod hyperparameters;
mod judged;
mod literals;
mod options;
mod result_struct;
mod train;
mod trials;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::Documentation;

use crate::check;

pub(crate) use arguments::SECTION;
pub use evaluate::Evaluate;
pub use explain::Explain;
pub use hyperparameters::hyperparameters;
pub use train::Train;

/// The table functions of this family, with their names and documentation.
pub fn table_functions() -> Vec<(String, Arc<dyn TableFunctionImpl>, Documentation)> {
    vec![
        (
            "hyperparameters".to_string(),
            Arc::new(hyperparameters::HyperparametersFunction),
            hyperparameters::documentation(),
        ),
        (
            "check_dataset".to_string(),
            Arc::new(check::CheckDataset),
            check::documentation(),
        ),
        (
            "trials".to_string(),
            Arc::new(trials::TrialsFunction),
            trials::documentation(),
        ),
    ]
}
