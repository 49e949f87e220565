//! Files behind names: what a name means, which files it stands for, their table.

mod data;
mod entry;
mod filter;
mod format;
mod keys;
mod known;
mod list;
mod logs;
mod name;
mod parquet;
pub mod partitions;
mod scan;
mod table;
mod walk;

pub use data::partition_names;
pub use entry::{FileEntry, Opened, open};
pub use filter::{is_decided_by, keep_where, where_true};
pub use format::is_file_name;
pub use keys::KeyRange;
pub use list::{Found, Order, list};
pub use logs::refuse_delta_table;
pub use name::{Kind, Named, Place};
pub use parquet::{Parquet, ParquetFactory, footer, parquet_scan, without_bounds};
pub use scan::{FileScan, is_about_partitions, of_partitions};
pub use table::{Declared, FileTable};
