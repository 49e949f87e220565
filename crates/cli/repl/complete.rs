//! Completion: the words that the one before the cursor may become.

use std::collections::BTreeSet;

use super::commands;
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
    if word.starts_with('\\') || (start == 0 && word.starts_with('.')) {
        let commands = commands::all().filter(|name| name.starts_with(word));
        return (start, commands.map(str::to_string).collect());
    }
    if let Some((owner, field)) = word.rsplit_once('.') {
        let start = cursor - field.len();
        return (start, matching(owned(names, owner).into_iter(), field));
    }
    if let Some(found) = models(names, &before[..start]) {
        return (start, matching(found.into_iter(), word));
    }
    // A key of a struct can be nothing else, so all are offered.
    if let Some(keys) = structs::keys(&before[..start]) {
        let keys = matching(keys.into_iter(), word).into_iter();
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

/// What may stand after the dot behind `owner`: the columns of a table, the fields of a
/// struct, or all of both where it is the name of something in the statement.
fn owned<'a>(names: &'a Names, owner: &str) -> BTreeSet<&'a str> {
    // Of `study.t` it is the last name that has the fields.
    let last = owner.rsplit('.').next().unwrap_or(owner);
    let fields = names.nested.get(last).into_iter().flatten();
    if let Some(columns) = names.tables.get(owner) {
        return columns.iter().chain(fields).map(String::as_str).collect();
    }
    if names.nested.contains_key(last) {
        return fields.map(String::as_str).collect();
    }
    let mut all = names.columns();
    all.extend(names.fields.iter().map(String::as_str));
    all
}

/// The names of models, or of aliases, where one of them comes next.
fn models<'a>(names: &'a Names, before: &str) -> Option<BTreeSet<&'a str>> {
    let upper = before.to_ascii_uppercase();
    let words: Vec<&str> = upper.split_whitespace().collect();
    match words[..] {
        ["DROP" | "ALTER" | "DESCRIBE" | "COPY", "MODEL"]
        | ["DROP", "MODEL", "IF", "EXISTS"]
        | ["CREATE", "OR", "REPLACE", "MODEL"] => {
            Some(names.models.keys().map(String::as_str).collect())
        }
        ["ALTER", "MODEL", model, "SET" | "DROP", "ALIAS"] => {
            let aliases = names
                .models
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(model));
            let aliases = aliases.flat_map(|(_, aliases)| aliases);
            Some(aliases.map(String::as_str).collect())
        }
        _ => None,
    }
}

/// The names of models, and of their versions with an alias, that a text may become.
pub(super) fn quoted_models(names: &Names, text: &str) -> Vec<String> {
    let all = names.models.iter().flat_map(|(name, aliases)| {
        let aliases = aliases.iter().map(move |alias| format!("{name}@{alias}"));
        std::iter::once(name.clone()).chain(aliases)
    });
    all.filter(|name| name.starts_with(text)).collect()
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
            fields: ["labels", "score", "status"].map(String::from).into(),
            nested: [("t".to_string(), ["status".to_string()].into())].into(),
            models: [("cats".to_string(), ["best".to_string()].into())].into(),
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
        check("SELECT d.la", 9, &["label", "labels"]);
    }

    #[test]
    fn fields_of_structs_complete() {
        check("SELECT t.", 9, &["status"]);
        check("SELECT s.t.st", 11, &["status"]);
        check("SELECT x.sc", 9, &["score"]);
    }

    #[test]
    fn models_and_aliases_complete_where_they_stand() {
        check("DROP MODEL ", 11, &["cats"]);
        check("alter model cats set alias b", 27, &["best"]);
        check("ALTER MODEL dogs SET ALIAS ", 27, &[]);
        check("ALTER MO", 6, &["MODEL", "MODELS"]);
        assert_eq!(quoted_models(&names(), "cats"), ["cats", "cats@best"]);
        assert!(quoted_models(&names(), "dogs").is_empty());
    }

    #[test]
    fn commands_complete_and_nothing_does_not() {
        check("\\ti", 0, &["\\timing"]);
        check(".ti", 0, &[".timer"]);
        check("SELECT ", 7, &[]);
        check("SELECT 'ü", 8, &[]);
    }

    #[test]
    fn hyperparameters_complete_inside_train() {
        let line = "SELECT train('digits', {learning_rate: 0.1, nest";
        check(line, line.len() - 4, &["nesterov: "]);
        let (_, all) = complete(&names(), "train('x', {", 12);
        // And the one that is read before networks are trained.
        assert_eq!(all.len(), atoll_nn::Hyperparameters::keys().len() + 1);
        assert!(all.contains(&"backbone: ".to_string()));
    }

    #[test]
    fn arguments_of_commands_complete() {
        check("\\format nd", 8, &["ndjson"]);
        check(".mode js", 6, &["json", "jsonlines"]);
        check("\\x a", 3, &["auto"]);
    }
}
