//! SQL functions that span a search space.
//!
//! A grid is a cross join of lists, some of them from [`logspace`](Logspace). A
//! random search draws each hyperparameter with a sampler such as
//! [`hp_uniform`](HpUniform).
//!
//! Samplers keep no state: a value follows from the seed, the trial and the name
//! alone, through SHA-256 and arithmetic that is the same on every platform. So the
//! planner may fold, move or repeat a call, and any node of a cluster draws the same
//! value for the same row.

mod draw;
mod hp_choice;
mod hp_int;
mod hp_loguniform;
mod hp_uniform;
mod logspace;
mod sampler;

use datafusion::logical_expr::{DocSection, ScalarUDF};

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
        ScalarUDF::new_from_impl(HpLoguniform::default()),
        ScalarUDF::new_from_impl(HpUniform::default()),
        ScalarUDF::new_from_impl(Logspace::default()),
    ]
}
