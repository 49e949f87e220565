//! What other engines promise of a table and this one does not keep.
//!
//! Such a table can be read. Rows that are written to it would break the promise without a
//! word, so they are refused.

use datafusion::common::{Result, plan_err};
use deltalake_core::kernel::transaction::{PROTOCOL, TransactionError};

use crate::error::listed;
use crate::open::Table;
use crate::table::{has_renamed_columns, is_plain};

/// Properties of a table that ask something of every writer when they are `true`.
const PROPERTIES: [(&str, &str); 4] = [
    ("delta.enableRowTracking", "row tracking"),
    ("delta.enableIcebergCompatV1", "compatibility with Iceberg"),
    ("delta.enableIcebergCompatV2", "compatibility with Iceberg"),
    ("delta.enableIcebergCompatV3", "compatibility with Iceberg"),
];

/// Metadata of a column that asks something of its values.
const COLUMNS: [(&str, &str); 3] = [
    ("delta.generationExpression", "generated columns"),
    ("delta.invariants", "constraints"),
    ("delta.identity.start", "identity columns"),
];

/// Refuses to add rows to a table that demands more of them.
pub(crate) fn refuse_to_add(table: &Table) -> Result<()> {
    let snapshot = table.snapshot()?;
    let properties = snapshot.metadata().configuration();
    let is_on = |name: &str| properties.get(name).is_some_and(|value| value == "true");
    let mut demands = PROPERTIES
        .iter()
        .filter(|(name, _)| is_on(name))
        .map(|(_, what)| *what)
        .next();
    if properties
        .keys()
        .any(|name| name.starts_with("delta.constraints."))
    {
        demands = Some("constraints");
    }
    if has_renamed_columns(table)? {
        demands = Some("renamed columns");
    }
    for field in table.kept_schema()?.fields() {
        let found = COLUMNS
            .iter()
            .find(|(key, _)| field.metadata().contains_key(*key));
        demands = found.map(|(_, what)| *what).or(demands);
    }
    // A protocol can name what no column has; the log takes no commit of ours then.
    let features = match PROTOCOL.can_write_to(snapshot) {
        Err(TransactionError::UnsupportedTableFeatures(features)) => listed(&features),
        _ => String::new(),
    };
    let unknown = (!features.is_empty()).then_some(features.as_str());
    refuse(table, demands.or(unknown))
}

/// The same for a statement that changes rows.
pub(crate) fn refuse_to_change(table: &Table) -> Result<()> {
    refuse_to_add(table)?;
    let snapshot = table.snapshot()?;
    let properties = snapshot.metadata().configuration();
    let has_feed = properties.get("delta.enableChangeDataFeed");
    if has_feed.is_some_and(|value| value == "true") {
        return refuse(table, Some("a feed of changes"));
    }
    match is_plain(table)? {
        true => Ok(()),
        false => refuse(table, Some("deletion vectors")),
    }
}

fn refuse(table: &Table, demands: Option<&str>) -> Result<()> {
    match demands {
        None => Ok(()),
        Some(what) => plan_err!(
            "the table {} has {what}, which another engine gave it: Atoll reads it and does \
             not change it; change it with that engine, or copy it with CREATE TABLE .. AS",
            table.location()
        ),
    }
}
