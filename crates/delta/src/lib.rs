//! Tables on Delta Lake.
//!
//! A table is a folder: Parquet files, and a log that says which of them belong to it. A
//! statement writes files that nobody sees, then makes them visible in one commit, which
//! is a file of the log that a store makes only once. So many may write at a time, a
//! statement that fails leaves the table as it was, and older versions can be read.
//!
//! The log is read and written by `deltalake-core`. The rows are read and written by
//! DataFusion's own operators, as those of any Parquet file are, so that every function
//! may stand in every statement: that library's own readers and writers know fewer types,
//! trust bounds that are not exact, and plan by themselves.
//!
//! This crate knows nothing of names: a table is where its folder is.

mod bounds;
mod clock;
mod commit;
mod create;
mod delete;
mod detail;
mod error;
mod guard;
mod maintain;
mod merge;
mod open;
mod optimize;
mod restore;
mod rewrite;
mod row_number;
mod standing;
mod table;
mod types;
mod write;

pub use clock::Clock;
pub use commit::{Replaced, Statement, add};
pub use create::{Definition, create};
pub use delete::delete;
pub use detail::{Commit, Detail};
pub use maintain::{RETENTION_HOURS, Vacuumed};
pub use merge::{as_source, to_copy};
pub use open::{At, Table};
pub use optimize::Optimized;
pub use rewrite::{Change, Changed, Rewrite, is_reserved};
pub use row_number::row_number;
pub use table::{Source, location_of};
pub use write::{DataFile, Provenance, Sink, Writer, Written};
