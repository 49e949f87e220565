//! CREATE TABLE and CREATE OR REPLACE TABLE: the first commit of a table, or one that puts
//! another table in its place.

use std::collections::HashMap;

use atoll_udf_common::Location;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use deltalake_core::kernel::Action;
use deltalake_core::protocol::SaveMode;

use crate::commit::{Lost, Statement, outcome, pause};
use crate::error::{explain, is_conflict};
use crate::open::{Table, log_of};
use crate::standing::{Mark, Standing, are_there};
use crate::types;
use crate::write::{Written, columns_with_bounds};

/// A checkpoint of the log is written after so many commits; opening a table reads the
/// last one and what came after it.
const CHECKPOINT_INTERVAL: &str = "10";

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
    let mut tries = 0;
    loop {
        // What it becomes: the first version, or one after those that it replaces.
        let versions = match definition.replaces {
            true => {
                // What is being dropped cannot be read, and is seen to below.
                let there = Table::open(location).await.unwrap_or_default();
                there.map_or(0, |table| table.version() + 1)..=u64::MAX
            }
            false => 0..=0,
        };
        let adds = written.adds.iter().cloned().map(Action::Add);
        let mark = Mark::new();
        let made = log_of(location)?
            .create()
            .with_columns(fields.clone())
            .with_partition_columns(definition.partition_by.clone())
            .with_configuration(properties(definition, statement))
            // The statement's property is one of ours.
            .with_raise_if_key_not_exists(false)
            .with_actions(adds)
            .with_save_mode(mode)
            // Two that create a table at once must not both succeed, which is what the
            // log's own tries would let them.
            .with_commit_properties(statement.properties(0, &mark))
            .await;
        let made = made.map(|table| table.version().unwrap_or_default());
        let stands = match &made {
            Ok(made) => is_whole(location, *made, &written).await?,
            // There may never have been a table.
            Err(_) => true,
        };
        let made = outcome(location, made, &mark, versions, stands);
        let Some(lost) = made.await? else {
            return Ok(());
        };
        tries += 1;
        if definition.replaces && lost.may_try_again(tries) {
            pause(tries).await;
            continue;
        }
        written.discard(location).await;
        return match lost {
            Lost::Dropped => exec_err!(
                "DROP TABLE deleted {location}, and files of this statement with it; run \
                 the statement again"
            ),
            Lost::Failed { error, .. }
                if !definition.replaces && (is_conflict(&error) || is_taken(&error)) =>
            {
                exec_err!(
                    "the table {location} exists already: another statement created it \
                     meanwhile"
                )
            }
            Lost::Failed { error, .. } => Err(explain(location, "create", error)),
        };
    }
}

/// Whether the commit stands on the one before it and has its files: DROP TABLE deletes
/// what lies in the folder, also what is not committed yet.
async fn is_whole(location: &Location, made: u64, written: &Written) -> Result<bool> {
    let has_start = match made.checked_sub(1) {
        Some(before) => Standing::on(before).is_met(location).await?,
        None => true,
    };
    Ok(has_start && are_there(location, &written.adds).await?)
}

fn is_taken(error: &deltalake_core::DeltaTableError) -> bool {
    error.to_string().contains("already exists")
}

/// The properties that a table is created with.
fn properties(
    definition: &Definition,
    statement: &Statement,
) -> HashMap<String, Option<String>> {
    let names = columns_with_bounds(&definition.kept, &definition.partition_by);
    let bounds = match names.is_empty() {
        true => ("delta.dataSkippingNumIndexedCols", "0".to_string()),
        false => ("delta.dataSkippingStatsColumns", names.join(",")),
    };
    let interval = ("delta.checkpointInterval", CHECKPOINT_INTERVAL.to_string());
    let own = statement.property.clone();
    let properties = [bounds, interval].into_iter().chain(own);
    properties
        .map(|(name, value)| (name.to_string(), Some(value)))
        .collect()
}
