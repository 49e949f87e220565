//! What makes written files visible: one commit of a statement, whoever else commits.
//!
//! A commit is a file that a store makes only if it is not there yet. Who comes second
//! looks at the table again: rows that are added go in beside whatever came between, a
//! table that is replaced is replaced as it is then, and a statement that changes rows
//! starts anew, because it read rows that may be others now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use atoll_udf_common::Location;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, LogicalFileView, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use serde_json::Value;

use crate::error::{explain, is_conflict};
use crate::open::{Table, log_of};
use crate::table::numbered_files;
use crate::types;
use crate::write::{Written, columns_with_bounds};

/// How often a commit is tried again after it lost against another one.
const TRIES: u32 = 60;

/// The wait before another try, at most.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A checkpoint of the log is written after so many commits; opening a table reads the
/// last one and what came after it.
const CHECKPOINT_INTERVAL: &str = "10";

/// The names under which a commit says which program and which statement made it.
pub(crate) const ENGINE: &str = "atoll";
pub(crate) const STATEMENT: &str = "statement";

/// What a commit says of the statement that made it.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// Its text, for `DESCRIBE HISTORY`.
    pub sql: Option<String>,
    /// Whoever runs the statement again gives the same name, and the rows are added once.
    pub id: Option<String>,
}

impl Statement {
    pub(crate) fn properties(&self, retries: usize) -> CommitProperties {
        let engine = format!("atoll/{}", env!("CARGO_PKG_VERSION"));
        let mut said = HashMap::from([(ENGINE.to_string(), Value::from(engine))]);
        if let Some(sql) = &self.sql {
            said.insert(STATEMENT.to_string(), Value::from(sql.as_str()));
        }
        let mut properties = CommitProperties::default()
            .with_max_retries(retries)
            .with_metadata(said);
        if let Some(id) = &self.id {
            properties = properties.with_application_transaction(Transaction::new(id, 1));
        }
        properties
    }

    /// Whether the statement has committed to the table before.
    pub(crate) async fn is_done(&self, table: &Table) -> Result<bool> {
        let Some(id) = &self.id else {
            return Ok(false);
        };
        let log = table.delta().log_store();
        let version = table
            .snapshot()?
            .transaction_version(log.as_ref(), id)
            .await;
        let version = version.map_err(|error| table.error("read", error))?;
        Ok(version.is_some_and(|version| version >= 1))
    }
}

/// What a new table is to be.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its columns in the types that it keeps, from [`types::kept`].
    pub(crate) kept: SchemaRef,
    /// Those that it is partitioned by.
    pub(crate) partition_by: Vec<String>,
    /// Whether it takes the place of a table that is there.
    pub(crate) replaces: bool,
}

impl Definition {
    /// A table for rows of these columns, if one can keep them.
    pub fn new(
        schema: &Schema,
        partition_by: Vec<String>,
        replaces: bool,
    ) -> Result<Self> {
        types::check_partition_columns(schema, &partition_by)?;
        Ok(Self {
            kept: types::kept(schema)?,
            partition_by,
            replaces,
        })
    }
}

/// Creates or replaces the table of a folder with rows that are written.
pub async fn create(
    location: &Location,
    definition: &Definition,
    written: Written,
    statement: &Statement,
) -> Result<()> {
    let mode = match definition.replaces {
        true => SaveMode::Overwrite,
        false => SaveMode::ErrorIfExists,
    };
    let fields = types::delta_fields(&definition.kept)?;
    let error = |error| explain(location, "create", error);
    let mut tries = 0;
    loop {
        let adds = written.adds.iter().cloned().map(Action::Add);
        let done = log_of(location)?
            .create()
            .with_columns(fields.clone())
            .with_partition_columns(definition.partition_by.clone())
            .with_configuration(properties(&definition.kept, &definition.partition_by))
            .with_actions(adds)
            .with_save_mode(mode)
            // Two that create a table at once must not both succeed, which is what the
            // log's own tries would let them.
            .with_commit_properties(statement.properties(0))
            .await;
        let Err(failed) = done else {
            return Ok(());
        };
        // The commit may have been made all the same, such as when what comes after it
        // failed.
        if let Some(table) = Table::open(location).await?
            && has(&table, &written.adds)?
        {
            return Ok(());
        }
        tries += 1;
        if definition.replaces && may_try_again(&failed, tries) {
            pause(tries).await;
            continue;
        }
        written.discard(location).await;
        if !definition.replaces && (is_conflict(&failed) || is_taken(&failed)) {
            return exec_err!(
                "the table {location} exists already: another statement created it meanwhile"
            );
        }
        return Err(error(failed));
    }
}

fn is_taken(error: &DeltaTableError) -> bool {
    error.to_string().contains("already exists")
}

/// The properties that a table is created with.
fn properties(kept: &Schema, partition_by: &[String]) -> HashMap<String, Option<String>> {
    let names = columns_with_bounds(kept, partition_by);
    let bounds = match names.is_empty() {
        true => ("delta.dataSkippingNumIndexedCols", "0".to_string()),
        false => ("delta.dataSkippingStatsColumns", names.join(",")),
    };
    let interval = ("delta.checkpointInterval", CHECKPOINT_INTERVAL.to_string());
    let properties = [bounds, interval].into_iter();
    properties
        .map(|(name, value)| (name.to_string(), Some(value)))
        .collect()
}

/// Whether a version has the files.
fn has(table: &Table, adds: &[Add]) -> Result<bool> {
    let Some(first) = adds.first() else {
        return Ok(false);
    };
    let log = table.snapshot()?.log_data();
    Ok(log.iter().any(|view| view.path() == first.path))
}

/// Which of the files that are there rows take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// None: the rows are added.
    None,
    /// All.
    All,
    /// Those of the partitions that have new rows.
    Partitions,
}

/// Commits rows that are written to a table. `Ok(false)` says that the same statement had
/// committed before and that nothing was added.
pub async fn add(
    mut table: Table,
    written: Written,
    replaced: Replaced,
    statement: &Statement,
) -> Result<bool> {
    let columns = table.kept_schema()?;
    let partition_by = table.partition_columns()?;
    let mut tries = 0;
    loop {
        if statement.is_done(&table).await? {
            written.discard(table.location()).await;
            return Ok(false);
        }
        let gone = replaced_files(&table, &written.adds, replaced)?;
        let actions = exchange(gone, &written.adds, true);
        let (mode, retries) = match replaced {
            // Others that add rows are no conflict, which the log sees for itself.
            Replaced::None => (SaveMode::Append, 10),
            _ => (SaveMode::Overwrite, 0),
        };
        let operation = DeltaOperation::Write {
            mode,
            partition_by: (!partition_by.is_empty()).then(|| partition_by.clone()),
            predicate: None,
        };
        let committed = commit(&table, actions, retries, operation, statement).await;
        let Some(lost) = lost(&table, &written.adds, committed).await? else {
            return Ok(true);
        };
        tries += 1;
        let location = table.location().clone();
        let Some(newest) = lost.newest else {
            written.discard(&location).await;
            return exec_err!("the table {location} was dropped meanwhile");
        };
        if !may_try_again(&lost.error, tries) {
            written.discard(&location).await;
            return Err(table.error("write to", lost.error));
        }
        if newest.kept_schema()? != columns || newest.partition_columns()? != partition_by
        {
            written.discard(&location).await;
            return exec_err!(
                "the table {location} was replaced by one with other columns meanwhile; \
                 run the statement again"
            );
        }
        table = newest;
        pause(tries).await;
    }
}

/// The files that go when others come.
fn replaced_files(
    table: &Table,
    adds: &[Add],
    replaced: Replaced,
) -> Result<Vec<LogicalFileView>> {
    if replaced == Replaced::None {
        return Ok(vec![]);
    }
    let key = |values: &HashMap<String, Option<String>>| -> BTreeMap<_, _> {
        values.clone().into_iter().collect()
    };
    let partitions: HashSet<_> =
        adds.iter().map(|add| key(&add.partition_values)).collect();
    let views = table.snapshot()?.log_data().into_iter();
    let gone = views.filter(|view| {
        replaced == Replaced::All
            || partitions.contains(&key(&view.partition_values_map()))
    });
    Ok(gone.collect())
}

/// A commit that was not made.
pub(crate) struct Lost {
    /// Why.
    pub(crate) error: DeltaTableError,
    /// The table as it is now.
    pub(crate) newest: Option<Table>,
}

/// Looks whether a commit was made though it seems to have failed: a store may not have
/// got to say so, or what comes after a commit failed. Only when the table says that it was
/// not made, its files may be deleted.
pub(crate) async fn lost(
    table: &Table,
    adds: &[Add],
    committed: Result<(), DeltaTableError>,
) -> Result<Option<Lost>> {
    let Err(error) = committed else {
        return Ok(None);
    };
    let newest = Table::open(table.location()).await?;
    match &newest {
        Some(newest) if has(newest, adds)? => Ok(None),
        _ => Ok(Some(Lost { error, newest })),
    }
}

/// One try of a commit, based on the version that was read.
pub(crate) async fn commit(
    table: &Table,
    actions: Vec<Action>,
    retries: usize,
    operation: DeltaOperation,
    statement: &Statement,
) -> Result<(), DeltaTableError> {
    let snapshot = table.delta().snapshot()?.snapshot();
    CommitBuilder::from(statement.properties(retries))
        .with_actions(actions)
        .build(Some(snapshot), table.delta().log_store(), operation)
        .await
        .map(drop)
}

/// The actions that put written files in the place of others.
pub(crate) fn exchange(
    old: impl IntoIterator<Item = LogicalFileView>,
    new: &[Add],
    changes_rows: bool,
) -> Vec<Action> {
    let old = old.into_iter();
    let mut actions: Vec<Action> = old
        .map(|view| Action::Remove(view.remove_action(changes_rows)))
        .collect();
    actions.extend(new.iter().cloned().map(|mut add| {
        add.data_change = changes_rows;
        Action::Add(add)
    }));
    actions
}

/// The files of a table with these numbers.
pub(crate) fn files_of(
    table: &Table,
    numbers: &HashSet<usize>,
) -> Result<Vec<LogicalFileView>> {
    let files = numbered_files(table)?.into_iter().enumerate();
    let chosen = files.filter(|(number, _)| numbers.contains(number));
    Ok(chosen.map(|(_, (_, view))| view).collect())
}

/// Waits longer from try to try, and each time a little more or less, so that those who
/// met do not meet again.
pub(crate) async fn pause(tries: u32) {
    let longest = Duration::from_millis(10) * 2_u32.pow(tries.min(6));
    let wait = longest
        .min(LONGEST_WAIT)
        .mul_f64(rand::random_range(0.5..1.0));
    tokio::time::sleep(wait).await;
}

/// Whether a failed commit may be tried again so often.
pub(crate) fn may_try_again(error: &DeltaTableError, tries: u32) -> bool {
    is_conflict(error) && tries < TRIES
}
