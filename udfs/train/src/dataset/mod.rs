//! Datasets: from the name in a statement to rows that networks learn from.
//!
//! [`DatasetSource`] finds a table, view or file and checks its columns, [`Reader`] turns
//! its record batches into a [`Table`], and a [`Snapshot`] is the table as all trials see
//! it: fixed, and named by its content. Nothing here knows of trials or of models.

mod columns;
mod metadata;
mod near;
mod options;
mod photos;
mod reader;
mod snapshot;
mod source;
mod split;
mod table;

pub(crate) use columns::{Holds, TableColumn};
pub(crate) use options::ColumnOptions;
pub(crate) use snapshot::{GROUP, SharedSnapshot, Snapshot, WEIGHT};
pub(crate) use source::{DatasetSource, Wanted, column_expr};
pub(crate) use split::Drawing;
pub(crate) use table::{Features, Labels, Split, Table};

#[cfg(test)]
pub(crate) use table::tests::images;

use reader::Reader;

/// Who reads which dataset: how error messages begin.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The SQL function.
    pub(crate) function: &'static str,
    /// The dataset, as the statement names it.
    pub(crate) dataset: String,
}
