//! A function's documentation in a terminal: lines that fit, and what is long in brief.

use std::fmt::Write as _;

use atoll_session::hyperparameters;
use datafusion::logical_expr::Documentation;

use super::bare;
use crate::terminal::{text_width, wrap};

/// Documentation with more text than this is shown in brief, unless all is asked for.
const LONG: usize = 1_500;
/// What is left of a text in brief, where its first sentence is longer.
const BRIEF: usize = 280;
/// Lines of prose are no longer than this, however wide the terminal.
const WIDEST: usize = 100;
/// The functions whose second argument is a struct of hyperparameters.
const TRAINS: [&str; 2] = ["train", "tune"];

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Detail {
    /// What is long in brief, for `\df`.
    Brief,
    /// All there is, for `\df+`.
    All,
}

/// The documentation of a function, `width` characters a line.
pub(super) fn text(
    name: &str,
    doc: &Documentation,
    detail: Detail,
    width: usize,
) -> String {
    let width = width.min(WIDEST);
    let arguments = doc.arguments.as_deref().unwrap_or_default();
    let long = arguments.iter().map(|(_, text)| text.len()).sum::<usize>();
    let is_brief = detail == Detail::Brief && doc.description.len() + long > LONG;
    let shown = |text: &str| match is_brief {
        true => brief(text),
        false => text.trim().to_string(),
    };
    let mut text = format!("{name}\n\n  {}\n", doc.syntax_example);
    for syntax in doc.alternative_syntax.iter().flatten() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "  {syntax}");
    }
    text.push('\n');
    prose(&shown(&doc.description), "", width, &mut text);
    if !arguments.is_empty() {
        text.push_str("\nArguments\n");
        for (name, description) in arguments {
            let description = format!("{name}: {}", shown(description));
            prose(&description, "  ", width, &mut text);
        }
    }
    if TRAINS.contains(&name) {
        text.push_str("\nHyperparameters\n");
        text.push_str(&table(&hyperparameter_rows(), width));
    }
    if let Some(example) = &doc.sql_example {
        text.push_str("\nExample\n");
        for line in bare(example).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    if let Some(related) = doc.related_udfs.as_ref().filter(|list| !list.is_empty()) {
        let _ = writeln!(text, "\nSee also: {}", related.join(", "));
    }
    if is_brief {
        let _ = writeln!(text, "\n\\df+ {name} says all of it.");
    }
    text
}

/// Paragraphs, wrapped. The lines of one after its first are indented a little more.
fn prose(paragraphs: &str, indent: &str, width: usize, text: &mut String) {
    let hanging = format!("{indent}{indent}");
    let room = width.saturating_sub(hanging.len()).max(20);
    for line in paragraphs.lines() {
        for (n, piece) in wrap(line, room).into_iter().enumerate() {
            let indent = if n == 0 { indent } else { &hanging };
            let _ = writeln!(text, "{}", format!("{indent}{piece}").trim_end());
        }
    }
}

/// The first sentence, or its beginning.
fn brief(text: &str) -> String {
    let text = text.trim().split("\n\n").next().unwrap_or_default();
    let text = text.replace('\n', " ");
    let sentence = text.find(". ").map_or(text.len(), |end| end + 1);
    if sentence <= BRIEF {
        return text[..sentence].to_string();
    }
    let fits = text.char_indices().map(|(at, _)| at);
    let end = fits.take_while(|at| *at <= BRIEF).last().unwrap_or(0);
    // At the end of a part of the sentence, so that no word is cut.
    let end = text[..end].rfind([',', ';', ' ']).unwrap_or(end);
    format!("{} …", text[..end].trim_end_matches([',', ';', ' ', '(']))
}

/// Every hyperparameter with its default and its domain, below a header.
fn hyperparameter_rows() -> Vec<[String; 3]> {
    let header = ["name", "default", "values"].map(String::from);
    let rows = hyperparameters()
        .into_iter()
        .map(|row| [row.key.to_string(), row.default, row.domain]);
    std::iter::once(header).chain(rows).collect()
}

/// Rows in three columns; what is too wide for its column goes on in the next line.
fn table(rows: &[[String; 3]], width: usize) -> String {
    let widest = |column: usize| {
        let widths = rows.iter().map(|row| text_width(&row[column]));
        widths.max().unwrap_or(0)
    };
    let name = widest(0);
    // Two columns share what the names leave.
    let room = width.saturating_sub(name + 6).max(20);
    let default = widest(1).min(room * 2 / 5).max(8);
    let widths = [name, default, room - default.min(room - 10)];
    let mut text = String::new();
    for row in rows {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| words(cell, width))
            .collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let parts = cells.iter().zip(widths).map(|(cell, width)| {
                let part = cell.get(line).map_or("", String::as_str);
                format!(
                    "  {part}{}",
                    " ".repeat(width - text_width(part).min(width))
                )
            });
            let _ = writeln!(text, "{}", parts.collect::<String>().trim_end());
        }
    }
    text
}

/// A text in lines of a narrow column, cut inside a word only where the word is longer.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').flat_map(|word| wrap(word, width)) {
        let taken = lines.last().map_or(0, |line| text_width(line));
        match lines.last_mut() {
            Some(line) if taken == 0 => line.push_str(word),
            Some(line) if taken + 1 + text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use atoll_session::function_docs;

    use super::*;

    fn shown(name: &str, detail: Detail, width: usize) -> String {
        let docs = function_docs();
        let doc = docs.iter().find(|doc| doc.name == name).unwrap();
        text(name, &doc.documentation, detail, width)
    }

    #[test]
    fn what_is_long_is_brief_unless_all_is_asked_for() {
        let brief = shown("train", Detail::Brief, 80);
        let all = shown("train", Detail::All, 80);
        assert!(brief.len() + 3_000 < all.len(), "{brief}");
        assert!(
            brief.ends_with("\n\\df+ train says all of it.\n"),
            "{brief}"
        );
        assert!(all.contains("threads_per_trial"), "{all}");
        let short = shown("image_info", Detail::Brief, 80);
        assert!(!short.contains("\\df+"), "{short}");
    }

    #[test]
    fn lines_fit_the_terminal() {
        for name in ["train", "tune", "classify"] {
            let text = shown(name, Detail::All, 80);
            // An example is shown as it is written.
            let (prose, _) = text.split_once("\nExample\n").unwrap();
            for line in prose.lines().skip(3) {
                assert!(text_width(line) <= 80, "{name}: {line}");
            }
        }
    }

    #[test]
    fn hyperparameters_are_a_table() {
        let text = shown("train", Detail::Brief, 100);
        let (_, table) = text.split_once("\nHyperparameters\n").unwrap();
        let line = |key: &str| {
            let key = format!("  {key} ");
            table.lines().find(|line| line.starts_with(&key)).unwrap()
        };
        let (name, momentum) = (line("name"), line("momentum"));
        assert_eq!(name.find("default"), momentum.find("0.9"), "{table}");
        assert_eq!(name.find("values"), momentum.find("a number"), "{table}");
        assert!(table.contains("  backbone "), "{table}");
    }

    #[test]
    fn words_stay_whole_in_a_column() {
        assert_eq!(
            words("0.95 for `exponential`", 13),
            ["0.95 for", "`exponential`"]
        );
        assert_eq!(words("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(words("", 4), [""]);
    }

    #[test]
    fn a_long_sentence_is_cut_between_its_parts() {
        assert_eq!(brief("One. Two."), "One.");
        assert_eq!(brief("One\ntwo.\n\nThree."), "One two.");
        let long = format!("It has {}, and more. End.", "words, ".repeat(60));
        assert!(brief(&long).ends_with("words …"), "{}", brief(&long));
        assert!(brief(&long).len() < BRIEF + 8);
    }
}
