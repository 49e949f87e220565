//! The licences of all crates in the binary, as one text.
//!
//! A text that several crates share stands there once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::crates::Crate;
use crate::command::output;

/// How the names of files begin that say under which terms a crate may be used.
const NAMES: [&str; 6] = [
    "license",
    "licence",
    "copying",
    "notice",
    "unlicense",
    "copyright",
];

/// Folders that hold what is not linked.
const ASIDE: [&str; 5] = ["tests", "test", "testdata", "benches", "examples"];

/// A heading in the text.
const RULE: &str = "================================================================";

/// The text.
pub(crate) fn render(crates: &[Crate]) -> Result<String> {
    let others: Vec<&Crate> =
        crates.iter().filter(|one| one.checksum.is_some()).collect();
    let mut list = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in &others {
        let name = format!("{} {}", one.id.name, one.id.version);
        let licence = one.licence.as_deref().unwrap_or("see its text below");
        let _ = write!(list, "{name}: {licence}");
        if let Some(repository) = &one.repository {
            let _ = write!(list, ", {repository}");
        }
        let found = files(&one.folder)?;
        if found.is_empty() {
            let by = one.authors.join(", ");
            let _ = write!(list, "; it brings no text of its licence (by {by})");
        }
        list.push('\n');
        for text in found {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    // Fonts and the like, with their licences beside them.
    let ours = crates.iter().filter(|one| one.checksum.is_none());
    for one in ours.filter(|one| one.id.name != "atoll") {
        for text in files(&one.folder)? {
            let name = format!("what {} embeds", one.id.name);
            texts.entry(text).or_default().insert(name);
        }
    }
    for text in standard_library()? {
        let name = "the standard library of Rust".to_string();
        texts.entry(text).or_default().insert(name);
    }
    let mut page = format!(
        "Atoll is linked with {} crates of others and the standard library of Rust (MIT OR \
         Apache-2.0).\nThe texts of their licences follow the list.\n\n{list}",
        others.len()
    );
    for (text, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        let _ = write!(page, "\n{RULE}\n{}\n{RULE}\n\n{text}\n", names.join("\n"));
    }
    Ok(page)
}

/// The texts in a crate, also of what it brings along in folders of its own.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_lowercase();
            if path.is_dir() {
                let aside = name.starts_with('.') || ASIDE.contains(&name.as_str());
                if !aside {
                    folders.push(path);
                }
            } else if is_licence(&name) {
                let bytes = fs::read(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                texts.push(normal(&String::from_utf8_lossy(&bytes)));
            }
        }
    }
    Ok(texts)
}

/// Whether a file's name, in lower case, says that it holds terms, and is no program.
fn is_licence(name: &str) -> bool {
    let source = [".rs", ".c", ".h", ".py", ".json", ".toml", ".html"];
    NAMES.iter().any(|begin| name.starts_with(begin))
        && !source.iter().any(|end| name.ends_with(end))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// The same text whatever its line ends and margins.
fn normal(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_string()
}

/// What the toolchain says about its library. A minimal toolchain may say nothing.
fn standard_library() -> Result<Vec<String>> {
    let root = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let folder = Path::new(root.trim()).join("share/doc/rust");
    let names = ["COPYRIGHT", "LICENSE-MIT", "LICENSE-APACHE"];
    let texts = names
        .iter()
        .map(|name| fs::read_to_string(folder.join(name)));
    Ok(texts.flatten().map(|text| normal(&text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_found_by_name() {
        for name in ["license-mit", "licence.txt", "copying", "notice.md"] {
            assert!(is_licence(name), "{name}");
        }
        for name in ["license.rs", "readme.md", "licenses.json", "src"] {
            assert!(!is_licence(name), "{name}");
        }
    }

    #[test]
    fn texts_of_folders_are_found_and_those_of_tests_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("LICENSE", "one\r\n"),
            ("zstd/COPYING", "two"),
            ("tests/LICENSE", "three"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(files(folder.path()).unwrap(), ["one", "two"]);
    }
}
