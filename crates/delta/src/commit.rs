//! What makes written files visible: one commit of a statement, whoever else commits.
//!
//! A commit is a file that a store makes only if it is not there yet. Who comes second
//! looks at the table again: rows that are added go in beside whatever came between, a
//! table that is replaced is replaced as it is then, and a statement that changes rows
//! starts anew, because it read rows that may be others now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use atoll_udf_common::Location;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, LogicalFileView, MetadataExt, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use serde_json::Value;

use crate::error::is_conflict;
use crate::open::Table;
use crate::standing::{Mark, Standing, are_there, forget};
use crate::table::numbered_files;
use crate::write::Written;

/// How often a commit is tried again after it lost against another one.
const TRIES: u32 = 60;

/// The wait before another try, at most.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The names under which a commit says which program and which statement made it.
pub(crate) const ENGINE: &str = "atoll";
pub(crate) const STATEMENT: &str = "statement";
const MARK: &str = "commit";

/// What a commit says of the statement that made it.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// Its text, for `DESCRIBE HISTORY`.
    pub sql: Option<String>,
    /// Whoever runs the statement again gives the same name, and the rows are added once.
    pub id: Option<String>,
    /// A property of the table, by its name, that the commit sets.
    pub property: Option<(&'static str, String)>,
}

impl Statement {
    /// What a commit says, `mark` included, by which it is known again.
    pub(crate) fn properties(&self, retries: usize, mark: &Mark) -> CommitProperties {
        let engine = format!("atoll/{}", env!("CARGO_PKG_VERSION"));
        let mut said = HashMap::from([
            (ENGINE.to_string(), Value::from(engine)),
            (MARK.to_string(), Value::from(mark.text())),
        ]);
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

    /// The action that sets the property, if the table has another value.
    fn metadata(&self, table: &Table) -> Result<Option<Action>> {
        let Some((name, value)) = &self.property else {
            return Ok(None);
        };
        if table.property(name)?.as_ref() == Some(value) {
            return Ok(None);
        }
        let metadata = table.snapshot()?.metadata().clone();
        let metadata = metadata
            .add_config_key((*name).to_string(), value.clone())
            .map_err(|error| table.error("change", DeltaTableError::from(error)))?;
        Ok(Some(Action::Metadata(metadata)))
    }

    /// Whether the statement has committed to the table before.
    pub async fn is_done(&self, table: &Table) -> Result<bool> {
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
    let operation = |mode| DeltaOperation::Write {
        mode,
        partition_by: (!partition_by.is_empty()).then(|| partition_by.clone()),
        predicate: None,
    };
    if written.is_empty() && replaced != Replaced::All {
        remember(table, &operation(SaveMode::Append), statement).await?;
        return Ok(true);
    }
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
        let tried = attempt(&table, actions, retries, operation(mode), statement);
        let Some(lost) = tried.await? else {
            return Ok(true);
        };
        tries += 1;
        let location = table.location().clone();
        let may_try_again = lost.may_try_again(tries);
        let (newest, error) = match lost {
            Lost::Dropped => (None, None),
            Lost::Failed { newest, error } => (newest, Some(error)),
        };
        // A table of the same name may have been made since, without the files.
        let is_replaced = match &newest {
            Some(newest) if newest.id()? != table.id()? => {
                !are_there(&location, &written.adds).await?
            }
            newest => newest.is_none(),
        };
        let (Some(newest), Some(error), false) = (newest, error, is_replaced) else {
            written.discard(&location).await;
            return exec_err!("the table {location} was dropped meanwhile");
        };
        if !may_try_again {
            written.discard(&location).await;
            return Err(table.error("write to", error));
        }
        if newest.kept_schema()? != columns || newest.partition_columns()? != partition_by
        {
            written.discard(&location).await;
            return exec_err!(
                "the table {location} was replaced by one with other columns meanwhile; \
                 run the statement again"
            );
        }
        table = *newest;
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
pub(crate) enum Lost {
    /// The log did not take it.
    Failed {
        error: DeltaTableError,
        /// The table as it is now.
        newest: Option<Box<Table>>,
    },
    /// The table that was read is not there any more.
    Dropped,
}

impl Lost {
    /// Whether the statement may try again, with a fresh look at the table.
    pub(crate) fn may_try_again(&self, tries: u32) -> bool {
        match self {
            Self::Failed { error, .. } => may_try_again(error, tries),
            // Another one of its name is not what the statement was about.
            Self::Dropped => false,
        }
    }

    pub(crate) fn explain(self, table: &Table, doing: &str) -> DataFusionError {
        match self {
            Self::Failed { error, .. } => table.error(doing, error),
            Self::Dropped => {
                exec_datafusion_err!(
                    "the table {} was dropped meanwhile",
                    table.location()
                )
            }
        }
    }
}

/// One try of a commit, based on the version that was read.
pub(crate) async fn attempt(
    table: &Table,
    mut actions: Vec<Action>,
    retries: usize,
    operation: DeltaOperation,
    statement: &Statement,
) -> Result<Option<Lost>> {
    actions.extend(statement.metadata(table)?);
    let standing = Standing::of(table)?;
    let location = table.location();
    if !standing.is_met(location).await? {
        return Ok(Some(Lost::Dropped));
    }
    let snapshot = table.delta().snapshot();
    let snapshot = snapshot.map_err(|error| table.error("read", error))?;
    let mark = Mark::new();
    let committed = CommitBuilder::from(statement.properties(retries, &mark))
        .with_actions(actions)
        .build(
            Some(snapshot.snapshot()),
            table.delta().log_store(),
            operation,
        )
        .await;
    let committed = committed.map(|made| made.version());
    let stands = standing.is_met(location).await?;
    let versions = table.version() + 1..=u64::MAX;
    outcome(location, committed, &mark, versions, stands).await
}

/// What became of a commit: `None` if it was made.
///
/// A store may not have got to say that it made the commit, or what comes after a commit
/// failed. Only when the log says that it was not made, its files may be deleted; `versions`
/// are those that it could have become. A log takes a commit also when DROP
/// TABLE has deleted what came before, and then the rows would be in no table, or in one
/// that was made anew: so `stands` says whether what it was based on is there afterwards.
pub(crate) async fn outcome(
    location: &Location,
    committed: Result<u64, DeltaTableError>,
    mark: &Mark,
    versions: RangeInclusive<u64>,
    stands: bool,
) -> Result<Option<Lost>> {
    let error = match committed {
        Ok(_) if stands => return Ok(None),
        Ok(version) => {
            forget(location, version, mark).await;
            return Ok(Some(Lost::Dropped));
        }
        // Whatever the error is, nothing else can come of it.
        Err(_) if !stands => return Ok(Some(Lost::Dropped)),
        Err(error) => error,
    };
    let newest = Table::open(location).await?;
    if let Some(newest) = &newest {
        // A log loses versions only when it is deleted.
        let is_being_dropped = newest.version() + 1 < *versions.start();
        if is_being_dropped && !may_try_again(&error, 0) {
            return Ok(Some(Lost::Dropped));
        }
        let last = newest.version().min(*versions.end());
        for version in *versions.start()..=last {
            if mark.is_on(location, version).await? {
                return Ok(None);
            }
        }
    }
    let newest = newest.map(Box::new);
    Ok(Some(Lost::Failed { error, newest }))
}

/// Has a table remember a statement that had nothing to change. It may find something when
/// it is run again, such as the rows that a statement after it has added, which then does
/// nothing because it is remembered.
pub(crate) async fn remember(
    mut table: Table,
    operation: &DeltaOperation,
    statement: &Statement,
) -> Result<()> {
    let mut tries = 0;
    while statement.id.is_some() && !statement.is_done(&table).await? {
        let tried = attempt(&table, vec![], 10, operation.clone(), statement).await?;
        let Some(lost) = tried else { break };
        if !lost.may_try_again(tries) {
            return Err(lost.explain(&table, "change"));
        }
        let Some(newest) = Table::open(table.location()).await? else {
            return Err(Lost::Dropped.explain(&table, "change"));
        };
        table = newest;
        tries += 1;
        pause(tries).await;
    }
    Ok(())
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
    // DROP TABLE deletes the newest versions first, also one that was just seen.
    let is_gone = matches!(error, DeltaTableError::InvalidVersion(_));
    (is_conflict(error) || is_gone) && tries < TRIES
}
