//! ALTER TABLE ADD COLUMN and VACUUM.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use atoll_udf_common::Location;
use chrono::Duration;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::{Result, plan_err};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Action, MetadataExt, StructType};
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::protocol::DeltaOperation;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::commit::{Statement, attempt, pause};
use crate::delete::is_unfinished;
use crate::guard::refuse_to_add;
use crate::open::Table;
use crate::types;
use crate::write::columns_with_bounds;

/// Files of versions that are no longer the newest are kept for so long.
pub const RETENTION_HOURS: i64 = 7 * 24;

/// What VACUUM deleted, or would.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Vacuumed {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Table {
    /// Adds columns, which are NULL in the rows that are there. The caller has asked
    /// whether the same statement committed before.
    pub async fn add_columns(
        self,
        columns: &[FieldRef],
        statement: &Statement,
    ) -> Result<()> {
        let location = self.location().clone();
        let mut table = self;
        let mut tries = 0;
        loop {
            refuse_to_add(&table)?;
            let kept = table.kept_schema()?;
            let known = kept.fields().iter().cloned();
            let added = columns.iter().map(|field| types::kept_field(field));
            let added = added.collect::<Result<Vec<_>>>()?;
            let all: Vec<_> = known.chain(added.into_iter().map(Arc::new)).collect();
            // Checks the names too.
            types::kept(&Schema::new(all.clone()))?;
            let error = |error| table.error("change", error);
            let all = Schema::new(all);
            let fields = types::delta_fields(&all)?;
            let schema = StructType::try_new(fields.clone())
                .map_err(|failed| error(failed.into()))?;
            let by = table.partition_columns()?;
            let names = columns_with_bounds(&all, &by).join(",");
            let metadata = table.snapshot()?.metadata().clone();
            let of_kernel = |failed| error(DeltaTableError::from(failed));
            let metadata = metadata.with_schema(&schema).map_err(of_kernel)?;
            let metadata = match names.is_empty() {
                true => metadata,
                false => metadata
                    .add_config_key("delta.dataSkippingStatsColumns".to_string(), names)
                    .map_err(of_kernel)?,
            };
            let new = fields.into_iter().skip(kept.fields().len()).collect();
            let operation = DeltaOperation::AddColumn { fields: new };
            let actions = vec![Action::Metadata(metadata)];
            let tried = attempt(&table, actions, 0, operation, statement);
            let Some(lost) = tried.await? else {
                return Ok(());
            };
            if !lost.may_try_again(tries) {
                return Err(lost.explain(&table, "change"));
            }
            tries += 1;
            pause(tries).await;
            table = match Table::open(&location).await? {
                Some(table) => table,
                None => return plan_err!("there is no table {location}"),
            };
            if statement.is_done(&table).await? {
                return Ok(());
            }
        }
    }

    /// Deletes the files that no version of the last hours needs: those of older versions,
    /// and those of statements that were killed. With `dry_run` it only counts them.
    pub async fn vacuum(self, hours: i64, dry_run: bool) -> Result<Vacuumed> {
        let error = |error| self.error("vacuum", error);
        let builder = || {
            self.delta()
                .clone()
                .vacuum()
                .with_mode(VacuumMode::Full)
                .with_retention_period(Duration::hours(hours))
                .with_enforce_retention_duration(false)
        };
        let (_, found) = builder().with_dry_run(true).await.map_err(error)?;
        let mut vacuumed = Vacuumed::default();
        let there = self.files_there().await?;
        for path in &found.files_deleted {
            // The log names those too that were deleted before.
            if let Some(bytes) = there.get(&self.location().join(path)?.path) {
                vacuumed.files += 1;
                vacuumed.bytes += bytes;
            }
        }
        if !dry_run && vacuumed.files > 0 {
            builder().await.map_err(error)?;
        }
        let unfinished = unfinished(self.location(), hours, dry_run);
        vacuumed.files += unfinished.files;
        vacuumed.bytes += unfinished.bytes;
        Ok(vacuumed)
    }
}

impl Table {
    /// The files that lie in the folder, of whatever version, with their sizes.
    async fn files_there(&self) -> Result<HashMap<Path, u64>> {
        let location = self.location();
        let files = location.store.list(Some(&location.path));
        let files = files.map_ok(|file| (file.location, file.size));
        let files = files.try_collect().await;
        files.map_err(|error| location.error(error))
    }
}

/// Deletes what writers that were killed left in a local folder under names that the
/// store's listing hides, such as `part-0.parquet#1`.
fn unfinished(location: &Location, hours: i64, dry_run: bool) -> Vacuumed {
    let mut found = Vacuumed::default();
    let mut folders: Vec<_> = location.local_path().into_iter().collect();
    let oldest = std::time::Duration::from_secs(hours.unsigned_abs() * 3600);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(known) = entry.metadata() else {
                continue;
            };
            if known.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let age = known.modified().ok();
            let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
            if is_unfinished(&entry.path()) && age.is_some_and(|age| age >= oldest) {
                found.files += 1;
                found.bytes += known.len();
                if !dry_run {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
    found
}
