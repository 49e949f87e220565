//! The names that a session knows, for completion and for the suggestions of errors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_session::function_docs;
use datafusion::arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;

/// A prompt that waits for a remote catalog is worse than a missing completion.
const PATIENCE: Duration = Duration::from_millis(200);

/// The names a session knows.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Tables with their columns.
    pub(crate) tables: BTreeMap<String, Vec<String>>,
    /// Names of fields within columns.
    pub(crate) fields: BTreeSet<String>,
    /// Functions that give a value.
    pub(crate) functions: BTreeSet<String>,
    /// Functions that give rows.
    pub(crate) table_functions: BTreeSet<String>,
}

impl Names {
    /// Everything the session knows now, or as much as answers at once.
    pub(crate) async fn collect(context: &SessionContext) -> Self {
        let mut names = Self::default();
        let state = context.state();
        names
            .functions
            .extend(state.scalar_functions().keys().cloned());
        names
            .functions
            .extend(state.aggregate_functions().keys().cloned());
        names
            .functions
            .extend(state.window_functions().keys().cloned());
        let table_functions = state.table_functions().keys().cloned();
        names.table_functions.extend(table_functions);
        for doc in function_docs() {
            names.add_documented(&doc.documentation.description);
        }
        // What was found in time stays.
        let _ = tokio::time::timeout(PATIENCE, names.add_tables(context)).await;
        names
    }

    async fn add_tables(&mut self, context: &SessionContext) {
        let catalogs = context.catalog_names().into_iter();
        for catalog in catalogs.filter_map(|name| context.catalog(&name)) {
            let schemas = catalog.schema_names().into_iter();
            for schema in schemas.filter_map(|name| catalog.schema(&name)) {
                for name in schema.table_names() {
                    // A table that cannot be read still has a name.
                    let table = schema.table(&name).await.ok().flatten();
                    let fields = table.map(|table| table.schema());
                    let columns = fields.iter().flat_map(|schema| schema.fields().iter());
                    let columns: Vec<_> = columns.cloned().collect();
                    for column in &columns {
                        self.add_nested(column.data_type());
                    }
                    let columns = columns.iter().map(|field| field.name().clone());
                    self.tables.insert(name, columns.collect());
                }
            }
        }
    }

    /// Adds the fields of structs, in lists too.
    fn add_nested(&mut self, data_type: &DataType) {
        match data_type {
            DataType::Struct(fields) => {
                for field in fields {
                    self.fields.insert(field.name().clone());
                    self.add_nested(field.data_type());
                }
            }
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _) => self.add_nested(field.data_type()),
            _ => {}
        }
    }

    /// Adds the fields that a function is said to give: `struct<width, height>`.
    fn add_documented(&mut self, description: &str) {
        let lower = description.to_ascii_lowercase();
        for part in lower.split("struct<").skip(1) {
            let inner = part.split('>').next().unwrap_or_default();
            let words = inner.split([',', '<', ' ', '\n']).map(str::trim);
            let is_name = |word: &&str| {
                let mut chars = word.chars();
                chars.next().is_some_and(char::is_alphabetic)
                    && chars.all(|c| c.is_alphanumeric() || c == '_')
            };
            self.fields
                .extend(words.filter(is_name).map(str::to_string));
        }
    }

    /// The columns of all tables.
    pub(crate) fn columns(&self) -> BTreeSet<&str> {
        self.tables.values().flatten().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_fields_are_known() {
        let mut names = Names::default();
        names.add_documented(
            "Returns STRUCT<trial_id, history LIST<STRUCT<epoch,\n loss>>>.",
        );
        let fields: Vec<&str> = names.fields.iter().map(String::as_str).collect();
        assert_eq!(fields, ["epoch", "history", "list", "loss", "trial_id"]);
    }
}
