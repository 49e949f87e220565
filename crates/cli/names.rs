//! The names that a session knows, for completion and for the suggestions of errors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_session::function_docs;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
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
    /// The fields of columns and fields that are structs or lists of them, by name.
    pub(crate) nested: BTreeMap<String, BTreeSet<String>>,
    /// Named models with the aliases of their versions.
    pub(crate) models: BTreeMap<String, BTreeSet<String>>,
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
        let _ = tokio::time::timeout(PATIENCE, names.add_models(context)).await;
        names
    }

    async fn add_models(&mut self, context: &SessionContext) -> Result<()> {
        let rows = context.sql("SELECT name, aliases FROM models()").await?;
        for batch in rows.collect().await? {
            let names = batch.column(0).as_string::<i32>();
            let aliases = batch.column(1).as_list::<i32>();
            for (name, aliases) in names.iter().zip(aliases.iter()) {
                let known = self.models.entry(name.unwrap_or_default().to_string());
                let aliases = aliases.iter().flat_map(|list| {
                    let list = list.as_string::<i32>();
                    list.iter()
                        .flatten()
                        .map(str::to_string)
                        .collect::<Vec<_>>()
                });
                known.or_default().extend(aliases);
            }
        }
        Ok(())
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
                        self.add_nested(column);
                    }
                    let columns = columns.iter().map(|field| field.name().clone());
                    self.tables.insert(name, columns.collect());
                }
            }
        }
    }

    /// Adds the fields of structs, in lists too.
    fn add_nested(&mut self, column: &Field) {
        let mut data_type = column.data_type();
        while let DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _) = data_type
        {
            data_type = field.data_type();
        }
        if let DataType::Struct(fields) = data_type {
            for field in fields {
                self.fields.insert(field.name().clone());
                let of = self.nested.entry(column.name().clone()).or_default();
                of.insert(field.name().clone());
                self.add_nested(field);
            }
        }
    }

    /// Adds the fields that a function is said to give: `struct<width, height>`, or the
    /// names between backticks in the sentence that begins the documentation of `train`.
    fn add_documented(&mut self, description: &str) {
        if let Some((_, list)) = description.split_once("returns a struct: ") {
            let sentence = list.split(". ").next().unwrap_or_default();
            let quoted = sentence.split('`').skip(1).step_by(2);
            let is_name =
                |word: &&str| word.chars().all(|c| c.is_alphanumeric() || c == '_');
            self.fields
                .extend(quoted.filter(is_name).map(str::to_string));
        }
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
        let mut names = Names::default();
        names.add_documented("Trains, and returns a struct: `a`, `b_c` (as `x y`). `d`.");
        let fields: Vec<&str> = names.fields.iter().map(String::as_str).collect();
        assert_eq!(fields, ["a", "b_c"]);
    }

    #[test]
    fn fields_are_known_by_what_has_them() {
        let mut names = Names::default();
        let leaf = |name: &str| Field::new(name, DataType::Int32, true);
        let inner = DataType::Struct(vec![leaf("epoch"), leaf("loss")].into());
        let list = DataType::List(Field::new_list_field(inner, true).into());
        let outer = DataType::Struct(
            vec![leaf("status"), Field::new("history", list, true)].into(),
        );
        names.add_nested(&Field::new("t", outer, true));
        let of = |name: &str| names.nested[name].iter().cloned().collect::<Vec<_>>();
        assert_eq!(of("t"), ["history", "status"]);
        assert_eq!(of("history"), ["epoch", "loss"]);
    }
}
