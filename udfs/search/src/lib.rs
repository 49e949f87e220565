//! SQL functions that span a search space.
//!
//! A grid is a cross join of lists, some of them from [`logspace`](Logspace). A
//! random search draws each hyperparameter with a function such as
//! [`hp_uniform`](HpUniform). `tune` is a search that learns from its trials: the same
//! functions, without what names a draw, are domains that it searches.
//!
//! Draws keep no state: a value follows from the seed, the trial and the name
//! alone, through SHA-256 and arithmetic that is the same on every platform. So the
//! planner may fold, move or repeat a call, and any node of a cluster draws the same
//! value for the same row.

mod domain;
mod hp_choice;
mod hp_int;
mod hp_logint;
mod hp_loguniform;
mod hp_normal;
mod hp_sobol;
mod hp_uniform;
mod importance;
mod logspace;
mod numbers;
mod sampler;
mod tune;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

pub use hp_choice::HpChoice;
pub use hp_int::HpInt;
pub use hp_loguniform::HpLoguniform;
pub use hp_uniform::HpUniform;
pub use logspace::Logspace;

/// Where the function reference lists this family.
const SECTION: DocSection = DocSection {
    include: true,
    label: "Search Functions",
    description: Some("Functions that span a search space of hyperparameters."),
};

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::new_from_impl(HpChoice::default()),
        ScalarUDF::new_from_impl(HpInt::default()),
        ScalarUDF::new_from_impl(hp_logint::hp_logint()),
        ScalarUDF::new_from_impl(HpLoguniform::default()),
        ScalarUDF::new_from_impl(hp_normal::hp_normal()),
        ScalarUDF::new_from_impl(hp_sobol::hp_sobol()),
        ScalarUDF::new_from_impl(HpUniform::default()),
        ScalarUDF::new_from_impl(Logspace::default()),
    ]
}

/// The table functions of this family, with their documentation.
pub fn table_functions() -> Vec<(String, Arc<dyn TableFunctionImpl>, Documentation)> {
    vec![
        (
            "importance".to_string(),
            Arc::new(importance::Importance),
            importance::documentation(),
        ),
        (
            "tune".to_string(),
            Arc::new(tune::Tune),
            tune::documentation(),
        ),
    ]
}
