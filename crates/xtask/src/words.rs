//! Whether code and pages use the words of GLOSSARY.md: one word, one meaning.
//!
//! The last column of the glossary says what a thing is not called. A word there in
//! `backticks` is refused wherever it stands, as a part of an identifier or in a sentence;
//! `` `word` in `folder` `` is refused below that folder only. Words without backticks have
//! another meaning somewhere, so they are for people to heed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::git_output;

/// The page with the words.
const PAGE: &str = "GLOSSARY.md";

/// Where a refused word may stand, because somebody else chose it. A path stands for all
/// below it.
const FOREIGN: [(&str, &str); 7] = [
    // The protocol buffers of ONNX.
    ("dims", "crates/onnx/src"),
    ("dims", "crates/nn/src/onnx"),
    ("dims", "crates/imaging/tests"),
    // What databases with a catalog are called.
    ("warehouse", "docs/book/src/explanation/limits.md"),
    ("warehouse", "README.md"),
    // What BigQuery calls a domain.
    ("hparam", "docs/book/src/howto/coming_from.md"),
    // What Ballista calls a slot.
    ("vcore", "crates/cluster"),
];

/// A word that is not to be used.
#[derive(Debug, PartialEq)]
struct Refused {
    word: String,
    /// The folder in which it is not, or the empty path for everywhere.
    folder: String,
    /// What the glossary calls the thing.
    term: String,
}

/// Every place at which a word stands that the glossary refuses.
pub(crate) fn problems() -> Result<Vec<String>> {
    let page = fs::read_to_string(PAGE).context("cannot read GLOSSARY.md")?;
    let refused = refused(&page);
    if refused.is_empty() {
        bail!("{PAGE} refuses no word; its last column is to have some in backticks");
    }
    let list = git_output(&["ls-files", "-z", "--", "*.rs", "*.md", "*.sql"])?;
    let mut problems = Vec::new();
    for path in list.split('\0').filter(|path| is_checked(path)) {
        // A file that was removed stays listed until that is committed.
        if let Ok(text) = fs::read_to_string(path) {
            problems.extend(check(path, &text, &refused));
        }
    }
    Ok(problems)
}

/// Decisions and records of the past keep the words of their time.
fn is_checked(path: &str) -> bool {
    let past = ["benches/runs/", "docs/decisions/", "CHANGELOG.md", PAGE];
    // This file has to name the words.
    let own = "crates/xtask/src/words.rs";
    !path.is_empty() && path != own && !past.iter().any(|past| path.starts_with(past))
}

/// The words in backticks of the glossary's last column.
fn refused(page: &str) -> Vec<Refused> {
    let mut refused = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> =
            row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [term, _, _, not] = cells[..] else {
            continue;
        };
        for item in not.split(',').map(str::trim) {
            let mut parts = item.split('`');
            let (Some(""), Some(word)) = (parts.next(), parts.next()) else {
                continue;
            };
            let folder = match parts.next().map(str::trim) {
                Some("in") => parts.next(),
                Some("") => Some(""),
                _ => None,
            };
            if let Some(folder) = folder {
                refused.push(Refused {
                    word: word.to_ascii_lowercase(),
                    folder: folder.to_string(),
                    term: term.to_string(),
                });
            }
        }
    }
    refused
}

/// The lines of a file that use a refused word, one problem a word.
fn check(path: &str, text: &str, refused: &[Refused]) -> Vec<String> {
    let here: BTreeMap<&str, &Refused> = refused
        .iter()
        .filter(|refused| Path::new(path).starts_with(&refused.folder))
        .filter(|refused| {
            let foreign = |(word, folder): &(&str, &str)| {
                *word == refused.word && Path::new(path).starts_with(folder)
            };
            !FOREIGN.iter().any(foreign)
        })
        .map(|refused| (refused.word.as_str(), refused))
        .collect();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in words(line) {
            let singular = word.strip_suffix('s').unwrap_or(&word);
            let found = here.get(word.as_str()).or_else(|| here.get(singular));
            if let Some(refused) = found {
                problems.push(format!(
                    "{path}:{number}: {word} is not a word of the glossary, see {}",
                    refused.term
                ));
            }
        }
    }
    problems
}

/// The words of a line in lower case, those inside of identifiers too: `ReadKnob` and
/// `read_knob` both have the word `knob`.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in line.chars() {
        let starts = !c.is_ascii_alphabetic() || (c.is_ascii_uppercase() && was_lower);
        if starts && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphabetic() {
            word.push(c.to_ascii_lowercase());
        }
        was_lower = c.is_ascii_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOSSARY: &str = "\
        | Term | Meaning here | Write | Not |\n\
        |---|---|---|---|\n\
        | hyperparameter | a value | `Hyperparameters` | config, `knob`, `lr` in `udfs` |\n";

    #[track_caller]
    fn lines(path: &str, text: &str, expected: &[&str]) {
        let found = check(path, text, &refused(GLOSSARY));
        let places: Vec<&str> = found
            .iter()
            .filter_map(|problem| problem.split(": ").next())
            .collect();
        assert_eq!(places, expected, "{found:?}");
    }

    #[test]
    fn words_in_backticks_are_refused_and_others_are_not() {
        let words = refused(GLOSSARY);
        let words: Vec<(&str, &str)> = words
            .iter()
            .map(|refused| (refused.word.as_str(), refused.folder.as_str()))
            .collect();
        assert_eq!(words, [("knob", ""), ("lr", "udfs")]);
    }

    #[test]
    fn identifiers_and_sentences_are_read_alike() {
        lines("crates/a.rs", "let config = 1;", &[]);
        lines("crates/a.rs", "struct KnobReader;", &["crates/a.rs:1"]);
        lines(
            "crates/a.rs",
            "fn f() {}\n// Two knobs.",
            &["crates/a.rs:2"],
        );
        lines("crates/a.rs", "let knobbly = 1;", &[]);
    }

    #[test]
    fn a_folder_limits_a_word() {
        lines(
            "udfs/train/src/a.rs",
            "let lr = 0.1;",
            &["udfs/train/src/a.rs:1"],
        );
        lines("crates/nn/src/a.rs", "let lr = 0.1;", &[]);
    }
}
