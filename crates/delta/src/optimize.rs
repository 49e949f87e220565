//! OPTIMIZE: small files are put together.

use std::collections::{BTreeMap, HashSet};

use atoll_udf_common::files::is_decided_by;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use deltalake_core::kernel::LogicalFileView;
use deltalake_core::protocol::DeltaOperation;

use crate::commit::{attempt, exchange, files_of, pause};
use crate::guard::refuse_to_change;
use crate::open::Table;
use crate::rewrite::Rewrite;
use crate::table::{Source, numbered_files};
use crate::write::{Sink, Written};

/// OPTIMIZE puts files together that are smaller than this many bytes.
const SMALL_FILE: i64 = 64 << 20;

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

impl Table {
    /// How many files OPTIMIZE would put together.
    pub fn small_files(&self) -> Result<u64> {
        let groups = small_files(self, |_| true)?;
        Ok(groups.iter().map(|files| files.len() as u64).sum())
    }
}

/// Files are chosen by what the log says of them, which is one value of each partition
/// column; of other columns a file may have some rows that are meant and some that are not.
fn refuse_other_columns(table: &Table, filters: &[Expr]) -> Result<()> {
    let columns = table.partition_columns()?;
    let is_known = |name: &str| columns.iter().any(|column| column == name);
    let other = filters.iter().find(|filter| {
        filter.column_refs().is_empty() || !is_decided_by(filter, is_known)
    });
    let Some(other) = other else {
        return Ok(());
    };
    let location = table.location();
    if columns.is_empty() {
        return plan_err!(
            "OPTIMIZE .. WHERE compares partition columns with constants, and the table \
             {location} has no partitions; leave out WHERE, got {other}"
        );
    }
    plan_err!(
        "OPTIMIZE .. WHERE compares partition columns with constants, those of the table \
         {location} are {}; got {other}",
        columns.join(", ")
    )
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
    /// rows; `filters` are about partition columns and choose which. `None` says that the
    /// same statement had committed before.
    pub async fn optimize(&self, filters: &[Expr]) -> Result<Option<Optimized>> {
        let mut tries = 0;
        loop {
            let Some(table) = Table::open(self.location).await? else {
                return plan_err!("there is no table {}", self.location);
            };
            refuse_to_change(&table)?;
            refuse_other_columns(&table, filters)?;
            if self.statement.is_done(&table).await? {
                return Ok(None);
            }
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
                return Ok(Some(optimized));
            }
            let operation = DeltaOperation::Optimize {
                predicate: None,
                target_size: SMALL_FILE,
            };
            let tried = attempt(&table, actions, 10, operation, self.statement);
            let Some(lost) = tried.await? else {
                return Ok(Some(optimized));
            };
            for written in written {
                written.discard(self.location).await;
            }
            if !lost.may_try_again(tries) {
                return Err(lost.explain(&table, "optimize"));
            }
            tries += 1;
            pause(tries).await;
        }
    }

    async fn put_together(
        &self,
        table: &Table,
        files: HashSet<usize>,
    ) -> Result<Written> {
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
