//! What completion can offer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datafusion::prelude::SessionContext;

use super::commands::COMMANDS;

/// A prompt that waits for a remote catalog is worse than a missing completion.
const PATIENCE: Duration = Duration::from_millis(200);

/// The words that start clauses, and those that highlighting shows.
pub(super) const KEYWORDS: [&str; 86] = [
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COPY",
    "CREATE",
    "CROSS",
    "CURRENT",
    "DATABASE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXPLAIN",
    "EXTERNAL",
    "FALSE",
    "FETCH",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LAST",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NATURAL",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PARTITIONED",
    "PRECEDING",
    "RECURSIVE",
    "REPLACE",
    "RIGHT",
    "ROWS",
    "SELECT",
    "SET",
    "SHOW",
    "STORED",
    "TABLE",
    "TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
];
const MORE_KEYWORDS: [&str; 2] = ["WHERE", "WITH"];

/// Whether highlighting shows a word as a keyword.
pub(super) fn is_keyword(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    KEYWORDS
        .iter()
        .chain(&MORE_KEYWORDS)
        .any(|keyword| *keyword == upper)
}

/// The names a session knows.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Tables with their columns.
    pub(super) tables: BTreeMap<String, Vec<String>>,
    pub(super) functions: BTreeSet<String>,
}

impl Names {
    /// Everything the session knows now, or as much as answers at once.
    pub(super) async fn collect(context: &SessionContext) -> Self {
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
        names
            .functions
            .extend(state.table_functions().keys().cloned());
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
                    let columns = columns.map(|field| field.name().clone()).collect();
                    self.tables.insert(name, columns);
                }
            }
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
        // Nothing typed matches everything, which helps no one.
        if word.is_empty() {
            return (start, Vec::new());
        }
        let mut found = matching(self.columns().into_iter(), word);
        found.extend(matching(self.tables.keys().map(String::as_str), word));
        let functions = matching(self.functions.iter().map(String::as_str), word);
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
    fn keywords_are_known_in_any_case() {
        assert!(is_keyword("select") && is_keyword("WITH") && !is_keyword("label"));
    }
}
