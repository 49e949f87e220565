//! SQL functions that read files, from this machine or from an object store.
//!
//! [`ReadBlob`] lists files and hands out their bytes, [`ReadIdx`] reads the files
//! that MNIST comes in, and [`UrlDownload`] and [`TryUrlDownload`] fetch the URL in
//! each row.
//!
//! What the bytes mean is no concern of this crate: nothing is decoded but IDX, whose
//! rows are plain pixels.

mod blob_table;
mod download;
mod fetch;
mod http;
mod idx;
mod list;
mod measures;
mod read_blob;
mod read_files;
mod read_idx;
mod scan;
mod try_url_download;
mod url_download;

use std::sync::Arc;

use atoll_udf_common::expensive;
use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

pub use list::{Known, ListExec, ListedFiles, Listings, MakesTables};
pub use measures::MeasureFunction;
pub use read_blob::{ReadBlob, decode_scan, encode_scan, file_sizes, scan_piece};
pub use read_files::{Part, PartColumn, ReadFilesExec};
pub use read_idx::ReadIdx;
pub use try_url_download::TryUrlDownload;
pub use url_download::UrlDownload;

/// Where the function reference lists this family.
const SECTION: DocSection = DocSection {
    include: true,
    label: "Blob Functions",
    description: Some("Functions that read files from disk, object stores and URLs."),
};

/// The scalar functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let mut functions = vec![expensive(TryUrlDownload), expensive(UrlDownload)];
    functions.extend(measures::functions());
    functions
}

/// The table functions of this family, with their names and documentation.
pub fn table_functions() -> Vec<(String, Arc<dyn TableFunctionImpl>, Documentation)> {
    vec![
        (
            "read_blob".to_string(),
            Arc::new(ReadBlob),
            read_blob::documentation(),
        ),
        (
            "read_idx".to_string(),
            Arc::new(ReadIdx),
            read_idx::documentation(),
        ),
    ]
}
