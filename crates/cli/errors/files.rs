//! Suggestions for files that are not there.

use std::ops::Range;
use std::path::Path;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::TokenizedStatement;
use super::{Failure, suggest};

/// More files than this in a folder are not looked at.
const FILES: usize = 10_000;
/// What a file is called that can be read as a table.
const FORMATS: [&str; 5] = ["arrow", "csv", "json", "ndjson", "parquet"];

/// Where a statement has the text that names a file; errors know the whole path.
pub(super) fn written(
    statement: &TokenizedStatement<'_>,
    path: &str,
) -> Option<Range<usize>> {
    let found = statement.tokens.iter().find(|(token, _)| match token {
        Token::SingleQuotedString(text) => {
            !text.is_empty() && Path::new(path).ends_with(text.trim_start_matches("./"))
        }
        _ => false,
    });
    found.map(|(_, range)| range.clone())
}

/// The file in the same folder that may have been meant.
pub(super) fn near(path: &str) -> Option<String> {
    if path.contains("://") {
        return None;
    }
    let path = Path::new(path);
    let name = path.file_name()?.to_str()?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let folder = folder.display();
        return Some(format!("there is no folder {folder}; check the path"));
    }
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries
        .take(FILES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    suggest(name, &names).map(|near| format!("did you mean {near}?"))
}

/// What is wrong with a file that was named where a table can be; none where the name
/// is not one of a file.
pub(super) fn as_table(name: &str, failure: &mut Failure) -> Option<String> {
    let path = Path::new(name);
    let extension = path.extension().and_then(|extension| extension.to_str());
    if name.contains("://") {
        failure.message = format!("cannot read '{name}' as a table");
        return Some(
            "check the URL; names of tables end in .parquet, .csv or .json".into(),
        );
    }
    if path.exists() && (path.is_dir() || name.contains(['/', '.'])) {
        failure.message = format!("cannot read '{name}' as a table");
        return Some(if path.is_dir() {
            "there is no file of a known format in the folder".to_string()
        } else {
            format!("files that are tables end in .{}", FORMATS.join(", ."))
        });
    }
    if name.contains('/') || extension.is_some_and(|e| FORMATS.contains(&e)) {
        failure.message = format!("no file or table named '{name}'");
        return near(name).or_else(|| Some("check the path".to_string()));
    }
    None
}
