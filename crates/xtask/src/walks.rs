//! Whether the walks of ARCHITECTURE.md still lead through the code: every function that a
//! walk names is in its file, and no walk comes to a file twice.

use std::collections::BTreeSet;

/// The lines `file: function, function` of the section "Walks" that are not true.
///
/// `read` gives the text of a file, or `None` where there is none.
pub(crate) fn problems(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let section = page.split("\n## ").find(|text| text.starts_with("Walks\n"));
    let Some(section) = section else {
        return vec!["ARCHITECTURE.md has no section Walks".to_string()];
    };
    let mut problems = Vec::new();
    for walk in section.split("\n### ").skip(1) {
        let mut seen = BTreeSet::new();
        let steps = walk.lines().filter_map(|line| line.strip_prefix("    "));
        for (file, functions) in steps.filter_map(|step| step.split_once(": ")) {
            if !seen.insert(file) {
                problems.push(format!("a walk of ARCHITECTURE.md has {file} twice"));
            }
            let Some(text) = read(file) else {
                problems.push(format!("a walk of ARCHITECTURE.md names {file}, no file"));
                continue;
            };
            let missing = functions.split(", ").filter(|name| !defines(&text, name));
            problems.extend(missing.map(|name| {
                format!("a walk of ARCHITECTURE.md looks for {name} in {file}")
            }));
        }
    }
    problems
}

/// Whether a text has a function of this name.
fn defines(text: &str, name: &str) -> bool {
    let start = format!("fn {name}");
    text.match_indices(&start).any(|(at, _)| {
        let next = text[at + start.len()..].chars().next();
        matches!(next, Some('(' | '<'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(steps: &str, expected: &[&str]) {
        let page = format!("# A\n\n## Walks\n\nText: text.\n\n### One\n\n{steps}");
        let read = |file: &str| (file == "a.rs").then(|| "fn go(x: u8) {}".to_string());
        assert_eq!(problems(&page, read), expected);
    }

    #[test]
    fn a_walk_leads_through_functions_that_are_there() {
        check("    a.rs: go\n", &[]);
        check(
            "    a.rs: go, gone\n    a.rs: go\n    b.rs: go\n",
            &[
                "a walk of ARCHITECTURE.md looks for gone in a.rs",
                "a walk of ARCHITECTURE.md has a.rs twice",
                "a walk of ARCHITECTURE.md names b.rs, no file",
            ],
        );
    }
}
