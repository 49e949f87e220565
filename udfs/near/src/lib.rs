//! SQL functions that find what lies near what in a table.
//!
//! Both are tables over another table, whose name they are given: they read its rows once,
//! in order, and compare all with all.

mod columns;
mod documentation;
mod near_duplicates;
mod nearest;
mod read;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{DocSection, Documentation};

/// Where the function reference lists this family.
const SECTION: DocSection = DocSection {
    include: true,
    label: "Neighbour Functions",
    description: Some("Functions that find neighbours and duplicates."),
};

/// The table functions of this family, with their documentation.
pub fn table_functions() -> Vec<(String, Arc<dyn TableFunctionImpl>, Documentation)> {
    vec![
        (
            near_duplicates::NAME.to_string(),
            Arc::new(near_duplicates::NearDuplicates),
            documentation::near_duplicates(),
        ),
        (
            nearest::NAME.to_string(),
            Arc::new(nearest::Nearest),
            documentation::nearest(),
        ),
    ]
}
