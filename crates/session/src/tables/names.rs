//! Which names tables and their columns may have.

use std::collections::BTreeSet;

use datafusion::common::{DFSchema, Result, TableReference, plan_err};

use super::SCHEMA;

/// The name of a table in the storage.
pub(super) fn stored_name(table: &TableReference) -> Result<&str> {
    if table.schema().is_some_and(|schema| schema != SCHEMA) {
        return plan_err!("tables are kept in the schema {SCHEMA} only, got {table}");
    }
    check_name(table.table())?;
    Ok(table.table())
}

/// A stored table's name is a folder's name too.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return plan_err!(
            "a table's name must consist of letters, digits, _ and -, got '{name}'"
        );
    }
    Ok(())
}

pub(super) fn unique_columns(table: &str, schema: &DFSchema) -> Result<()> {
    if schema.fields().is_empty() {
        return plan_err!(
            "table {table} would have no columns; name one, as in CREATE TABLE {table} (id \
             BIGINT)"
        );
    }
    let mut seen = BTreeSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name()) {
            return plan_err!(
                "table {table} would have two columns {}; name them with AS",
                field.name()
            );
        }
        if atoll_delta::is_reserved(field.name()) {
            return plan_err!(
                "a table cannot have a column {}, which statements use; name it with AS",
                field.name()
            );
        }
    }
    Ok(())
}
