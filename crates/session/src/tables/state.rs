//! What tables hold, and what cleaning them up would save.

use atoll_delta::{RETENTION_HOURS, Vacuumed};
use datafusion::common::Result;

use super::{Found, StoredTables};

/// A stored table as `atoll doctor` sees it.
#[derive(Debug, Clone)]
pub struct TableState {
    /// Its name.
    pub name: String,
    /// The files of its newest version, and their bytes.
    pub files: u64,
    /// See above.
    pub bytes: u64,
    /// How many of them OPTIMIZE would put together.
    pub small_files: u64,
    /// How many files VACUUM would delete, and their bytes.
    pub unused_files: u64,
    /// See above.
    pub unused_bytes: u64,
}

impl StoredTables {
    /// What each stored table holds.
    pub(crate) async fn states(&self) -> Result<Vec<TableState>> {
        let mut states = vec![];
        for name in self.stored_names() {
            let Found::Delta(table) = self.find(&name).await? else {
                continue;
            };
            let detail = table.detail()?;
            let small_files = table.small_files()?;
            let Vacuumed { files, bytes } = table.vacuum(RETENTION_HOURS, true).await?;
            states.push(TableState {
                name,
                files: detail.files,
                bytes: detail.bytes,
                small_files,
                unused_files: files,
                unused_bytes: bytes,
            });
        }
        Ok(states)
    }
}
