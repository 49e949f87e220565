//! What keeps a table fast and small, and what it says of itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use atoll_udf_common::{Location, StoreError};
use chrono::{DateTime, Duration, Utc};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Action, LogicalFileView, MetadataExt, StructType};
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::protocol::DeltaOperation;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use crate::commit::{
    ENGINE, STATEMENT, Statement, commit, exchange, files_of, lost, may_try_again, pause,
};
use crate::guard::refuse_to_change;
use crate::open::{At, Table};
use crate::rewrite::Rewrite;
use crate::table::{Source, numbered_files};
use crate::types;
use crate::write::{Sink, columns_with_bounds};

/// What the log says of CREATE TABLE beside how it was done.
const DEFINITION: [&str; 3] = ["location", "metadata", "protocol"];

/// OPTIMIZE puts files together that are smaller than this many bytes.
const SMALL_FILE: i64 = 64 << 20;

/// Files of versions that are no longer the newest are kept for so long.
pub const RETENTION_HOURS: i64 = 7 * 24;

/// What OPTIMIZE did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Optimized {
    /// Files that were put together.
    pub files_removed: u64,
    /// The files that they are now.
    pub files_added: u64,
    /// The bytes of both.
    pub bytes_removed: u64,
    /// See above.
    pub bytes_added: u64,
}

/// What VACUUM deleted, or would.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Vacuumed {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A commit of a table.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its number.
    pub version: u64,
    /// When it was made.
    pub time: Option<DateTime<Utc>>,
    /// Such as `WRITE` or `MERGE`.
    pub operation: String,
    /// What the log says of the operation, as JSON.
    pub parameters: String,
    /// The text of the statement, if Atoll ran it.
    pub statement: Option<String>,
    /// The program that made it.
    pub engine: Option<String>,
}

/// What a version of a table is.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The folder.
    pub location: String,
    /// The number of the version.
    pub version: u64,
    /// Its rows, if every file says how many it has.
    pub rows: Option<u64>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The columns that it is partitioned by.
    pub partition_columns: Vec<String>,
}

impl Table {
    /// What this version is.
    pub fn detail(&self) -> Result<Detail> {
        let views: Vec<_> = self.snapshot()?.log_data().into_iter().collect();
        let rows: Option<Vec<usize>> =
            views.iter().map(LogicalFileView::num_records).collect();
        let bytes: i64 = views.iter().map(LogicalFileView::size).sum();
        Ok(Detail {
            location: self.location().to_string(),
            version: self.version(),
            rows: rows.map(|rows| rows.iter().sum::<usize>() as u64),
            files: views.len() as u64,
            bytes: u64::try_from(bytes).unwrap_or_default(),
            partition_columns: self.partition_columns()?,
        })
    }

    /// How many files OPTIMIZE would put together.
    pub fn small_files(&self) -> Result<u64> {
        let groups = small_files(self, |_| true)?;
        Ok(groups.iter().map(|files| files.len() as u64).sum())
    }

    /// The commits that the log keeps, the newest first.
    pub async fn history(&self) -> Result<Vec<Commit>> {
        let error = |error| self.error("read", error);
        let commits: Vec<_> = self
            .delta()
            .history(None)
            .try_collect()
            .await
            .map_err(error)?;
        let newest = self.version();
        let commits = commits.into_iter().enumerate().map(|(age, mut info)| {
            let parameters = info.operation_parameters.unwrap_or_default().into_iter();
            // In the order of their names, which the log has in none, and without the
            // whole definition of a table.
            let parameters: BTreeMap<_, _> = parameters
                .filter(|(name, _)| !DEFINITION.contains(&name.as_str()))
                .collect();
            let mut said = |name| {
                let text: Option<Value> = info.info.remove(name);
                text.and_then(|text| text.as_str().map(String::from))
            };
            let statement = said(STATEMENT);
            let atoll = said(ENGINE);
            Commit {
                version: newest.saturating_sub(age as u64),
                time: info.timestamp.and_then(DateTime::from_timestamp_millis),
                operation: info.operation.unwrap_or_default(),
                parameters: serde_json::to_string(&parameters).unwrap_or_default(),
                statement,
                engine: atoll.or(info.engine_info),
            }
        });
        Ok(commits.collect())
    }

    /// Makes the rows of an older version the newest.
    pub async fn restore(self, at: &At, statement: &Statement) -> Result<u64> {
        let location = self.location().clone();
        let Some(old) = Table::open_at(&location, at).await? else {
            return plan_err!("there is no table {location}");
        };
        let error = |error| self.error("restore", error);
        let builder = self.delta().clone().restore();
        let restored = builder
            .with_version_to_restore(old.version())
            .with_commit_properties(statement.properties(0))
            .await;
        let (table, _) = restored.map_err(error)?;
        Ok(table.version().unwrap_or_default())
    }

    /// Adds columns, which are NULL in the rows that are there.
    pub async fn add_columns(
        self,
        columns: &[FieldRef],
        statement: &Statement,
    ) -> Result<()> {
        let location = self.location().clone();
        let mut table = self;
        let mut tries = 0;
        loop {
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
            let done = commit(&table, actions, 0, operation, statement).await;
            match done {
                Ok(()) => return Ok(()),
                Err(lost) if may_try_again(&lost, tries) => {
                    tries += 1;
                    pause(tries).await;
                    table = match Table::open(&location).await? {
                        Some(table) => table,
                        None => return plan_err!("there is no table {location}"),
                    };
                }
                Err(failed) => return Err(error(failed)),
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
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.rsplit_once('#').map(|(_, number)| number);
            let is_unfinished = number.is_some_and(|number| {
                !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
            });
            let age = known.modified().ok();
            let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
            if is_unfinished && age.is_some_and(|age| age >= oldest) {
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

/// The small ones among some files, of each partition that has two or more of them.
fn small_files(
    table: &Table,
    is_chosen: impl Fn(usize) -> bool,
) -> Result<Vec<HashSet<usize>>> {
    let mut partitions: BTreeMap<_, HashSet<usize>> = BTreeMap::new();
    for (number, (_, view)) in numbered_files(table)?.iter().enumerate() {
        if view.size() < SMALL_FILE && is_chosen(number) {
            let values: BTreeMap<_, _> =
                view.partition_values_map().into_iter().collect();
            partitions.entry(values).or_default().insert(number);
        }
    }
    let groups = partitions.into_values();
    Ok(groups.filter(|files| files.len() > 1).collect())
}

impl Rewrite<'_> {
    /// Puts small files together, each partition's by themselves and in the order of their
    /// rows; `filters` are about partition columns and choose which.
    pub async fn optimize(&self, filters: &[Expr]) -> Result<Optimized> {
        let mut tries = 0;
        loop {
            let Some(table) = Table::open(self.location).await? else {
                return plan_err!("there is no table {}", self.location);
            };
            refuse_to_change(&table)?;
            let source = Source::with_file_numbers(table.clone(), None)?;
            let chosen = source.chosen(&self.context.state(), filters)?;
            let groups = small_files(&table, |number| chosen.contains(&number))?;
            let mut actions = vec![];
            let mut written = vec![];
            let mut optimized = Optimized::default();
            for files in groups {
                let old = files_of(&table, &files)?;
                let new = self.put_together(&table, files).await?;
                optimized.files_removed += old.len() as u64;
                optimized.files_added += new.adds.len() as u64;
                let bytes: i64 = old.iter().map(LogicalFileView::size).sum();
                optimized.bytes_removed += u64::try_from(bytes).unwrap_or_default();
                optimized.bytes_added +=
                    new.files().iter().map(|file| file.bytes).sum::<u64>();
                actions.extend(exchange(old, &new.adds, false));
                written.push(new);
            }
            if actions.is_empty() {
                return Ok(optimized);
            }
            let operation = DeltaOperation::Optimize {
                predicate: None,
                target_size: SMALL_FILE,
            };
            let done = commit(&table, actions, 10, operation, self.statement).await;
            let adds = written.first().map_or(&[][..], |first| &first.adds);
            let Some(lost) = lost(&table, adds, done).await? else {
                return Ok(optimized);
            };
            for written in written {
                written.discard(self.location).await;
            }
            if !may_try_again(&lost.error, tries) {
                return Err(table.error("optimize", lost.error));
            }
            tries += 1;
            pause(tries).await;
        }
    }

    async fn put_together(
        &self,
        table: &Table,
        files: HashSet<usize>,
    ) -> Result<crate::write::Written> {
        let source = Source::with_file_numbers(table.clone(), Some(files))?;
        let columns: Vec<usize> = (0..source.schema().fields().len() - 1).collect();
        // One after the other, so that rows stay in their order.
        let config = self.context.copied_config().with_target_partitions(1);
        let state = SessionStateBuilder::new_from_existing(self.context.state())
            .with_config(config)
            .build();
        let rows = source.scan(&state, Some(&columns), &[], None).await?;
        let provenance = (self.provenance.clone(), self.warnings.clone());
        let sink = Sink::of(table, provenance)?;
        sink.write(rows, self.context.task_ctx()).await
    }
}

/// Deletes a table: the log before the rows, and of the log what is read last first, so
/// that a table that was deleted by half is none, and never an older one.
pub async fn delete(location: &Location) -> Result<()> {
    let deleted = async {
        let store: &dyn ObjectStore = location.store.as_ref();
        let files: Vec<_> = store.list(Some(&location.path)).try_collect().await?;
        let mut files: Vec<_> = files.into_iter().map(|file| file.location).collect();
        files.sort_by_key(|path| {
            let text = path.as_ref();
            let is_log = text.contains("/_delta_log/");
            let is_checkpoint = text.contains("checkpoint");
            (!is_log, !is_checkpoint, text.to_string())
        });
        for file in &files {
            match store.delete(file).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    deleted.await.map_err(|error: object_store::Error| {
        StoreError::new(&format!("cannot delete {location}"), location, error)
    })?;
    // Stores of objects have no folders; a file system keeps empty ones.
    if let Some(folder) = location.local_path().filter(|folder| folder.is_dir()) {
        let _ = std::fs::remove_dir_all(folder);
    }
    Ok(())
}
