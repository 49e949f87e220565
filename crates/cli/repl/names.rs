//! What completion can offer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_session::function_docs;
use datafusion::arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;

use super::commands::{self, COMMANDS};
use super::keywords::{KEYWORDS, MORE_KEYWORDS};
use super::structs;

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

    /// Where the word before the cursor starts, and what it may become.
    pub(super) fn complete(&self, line: &str, cursor: usize) -> (usize, Vec<String>) {
        let before = &line[..cursor];
        let start = before
            .rfind(|c: char| {
                !(c.is_alphanumeric() || matches!(c, '_' | '.' | '\\' | '?'))
            })
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        let word = &before[start..];
        if word.starts_with('\\') {
            let commands = COMMANDS.iter().map(|(name, ..)| (*name).to_string());
            return (
                start,
                commands.filter(|name| name.starts_with(word)).collect(),
            );
        }
        if let Some((owner, column)) = word.rsplit_once('.') {
            let start = cursor - column.len();
            let columns = self.tables.get(owner).map_or_else(
                || self.columns(),
                |columns| columns.iter().map(String::as_str).collect(),
            );
            return (start, matching(columns.into_iter(), column));
        }
        // A key of a struct can be nothing else, so all are offered.
        if let Some(keys) = structs::keys(&before[..start]) {
            let keys = matching(keys.iter().copied(), word).into_iter();
            return (start, keys.map(|key| format!("{key}: ")).collect());
        }
        if let Some(values) = commands::values(before) {
            return (start, matching(values.into_iter(), word));
        }
        // Nothing typed matches everything, which helps no one.
        if word.is_empty() {
            return (start, Vec::new());
        }
        let mut found = matching(self.columns().into_iter(), word);
        found.extend(matching(self.tables.keys().map(String::as_str), word));
        let functions = self.functions.iter().chain(&self.table_functions);
        let functions = matching(functions.map(String::as_str), word);
        found.extend(functions.into_iter().map(|name| format!("{name}(")));
        let lower = word.chars().all(|c| !c.is_ascii_uppercase());
        let keywords = matching(KEYWORDS.into_iter().chain(MORE_KEYWORDS), word);
        found.extend(keywords.into_iter().map(|keyword| match lower {
            true => keyword.to_ascii_lowercase(),
            false => keyword,
        }));
        let mut seen = BTreeSet::new();
        found.retain(|candidate| seen.insert(candidate.clone()));
        (start, found)
    }

    fn columns(&self) -> BTreeSet<&str> {
        self.tables.values().flatten().map(String::as_str).collect()
    }
}

fn matching<'a>(names: impl Iterator<Item = &'a str>, word: &str) -> Vec<String> {
    let starts = |name: &&str| {
        name.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    names.filter(starts).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            tables: [
                (
                    "digits".to_string(),
                    vec!["image".to_string(), "label".to_string()],
                ),
                ("photos".to_string(), vec!["content".to_string()]),
            ]
            .into(),
            functions: ["image_info".to_string(), "train".to_string()].into(),
            ..Names::default()
        }
    }

    #[track_caller]
    fn check(line: &str, start: usize, expected: &[&str]) {
        let (found_start, found) = names().complete(line, line.len());
        assert_eq!(
            (found_start, found),
            (start, expected.iter().map(ToString::to_string).collect())
        );
    }

    #[test]
    fn offers_columns_tables_functions_and_keywords() {
        check("SELECT im", 7, &["image", "image_info("]);
        check("SELECT label FROM dig", 18, &["digits"]);
        check("sel", 0, &["select"]);
        check("SEL", 0, &["SELECT"]);
        check("SELECT (tra", 8, &["train("]);
    }

    #[test]
    fn a_table_name_narrows_to_its_columns() {
        check("SELECT digits.", 14, &["image", "label"]);
        check("SELECT d.la", 9, &["label"]);
    }

    #[test]
    fn commands_complete_and_nothing_does_not() {
        check("\\ti", 0, &["\\timing"]);
        check("SELECT ", 7, &[]);
        check("SELECT 'ü", 8, &[]);
    }

    #[test]
    fn hyperparameters_complete_inside_train() {
        let line = "SELECT train('digits', {learning_rate: 0.1, nest";
        check(line, line.len() - 4, &["nesterov: "]);
        let (_, all) = names().complete("train('x', {", 12);
        assert_eq!(all.len(), atoll_nn::Hyperparameters::keys().len());
    }

    #[test]
    fn arguments_of_commands_complete() {
        check("\\format nd", 8, &["ndjson"]);
        check("\\x a", 3, &["auto"]);
    }

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
