//! Completion: the words that the one before the cursor may become.

use std::collections::BTreeSet;

use super::commands::{self, COMMANDS};
use super::structs;
use crate::keywords::{KEYWORDS, MORE_KEYWORDS};
use crate::names::Names;

/// The byte where the word before the cursor starts, and the words that it may become.
pub(super) fn complete(names: &Names, line: &str, cursor: usize) -> (usize, Vec<String>) {
    let before = &line[..cursor];
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '\\' | '?')))
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
        let columns = names.tables.get(owner).map_or_else(
            || names.columns(),
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
    let mut found = matching(names.columns().into_iter(), word);
    found.extend(matching(names.tables.keys().map(String::as_str), word));
    let functions = names.functions.iter().chain(&names.table_functions);
    let functions = matching(functions.map(String::as_str), word);
    found.extend(functions.into_iter().map(|name| format!("{name}(")));
    let lower = word.chars().all(|c| !c.is_ascii_uppercase());
    let keywords = matching(KEYWORDS.into_iter().chain(MORE_KEYWORDS), word);
    found.extend(keywords.into_iter().map(|keyword| {
        if lower {
            keyword.to_ascii_lowercase()
        } else {
            keyword
        }
    }));
    let mut seen = BTreeSet::new();
    found.retain(|candidate| seen.insert(candidate.clone()));
    (start, found)
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
        let (found_start, found) = complete(&names(), line, line.len());
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
        let (_, all) = complete(&names(), "train('x', {", 12);
        assert_eq!(all.len(), atoll_nn::Hyperparameters::keys().len());
    }

    #[test]
    fn arguments_of_commands_complete() {
        check("\\format nd", 8, &["ndjson"]);
        check("\\x a", 3, &["auto"]);
    }
}
