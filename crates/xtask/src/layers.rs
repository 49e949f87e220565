//! Which crate may depend on which: arrows point down, ARCHITECTURE.md lists all of them, and
//! some things exist once, and the words are those of GLOSSARY.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo_output, say};
use crate::{walks, words};

/// The crates from the top down. A crate may depend on those of later lines only, so
/// no family of functions depends on another.
const LAYERS: [&[&str]; 9] = [
    &["atoll"],
    &["atoll-cluster", "atoll-serve"],
    &["atoll-session"],
    &[
        "atoll-udf-blob",
        "atoll-udf-check",
        "atoll-udf-image",
        "atoll-udf-model",
        "atoll-udf-near",
        "atoll-udf-search",
        "atoll-udf-testing",
        "atoll-udf-train",
    ],
    &["atoll-delta"],
    &["atoll-report", "atoll-udf-common"],
    &["atoll-near"],
    &[
        "atoll-compute",
        "atoll-imaging",
        "atoll-jobs",
        "atoll-nn",
        "atoll-onnx",
        "atoll-search",
    ],
    &["atoll-suggest"],
];

/// The one arrow within a layer: inference preprocesses its images.
const SIDEWAYS: (&str, &str) = ("atoll-onnx", "atoll-imaging");

/// The first layer whose crates must not know SQL.
const FIRST_WITHOUT_SQL: usize = 6;

/// What the layers from there on must not know, so that its bugs can be found without SQL.
const NO_SQL: [&str; 2] = ["datafusion", "arrow"];

/// The page that lists every arrow.
const PAGE: &str = "ARCHITECTURE.md";

/// Two versions of these have types that do not fit together.
const ONCE: [&str; 3] = ["arrow", "datafusion", "object_store"];

pub(crate) fn run() -> Result<()> {
    let metadata = cargo_output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let crates = dependencies(&metadata)?;
    let mut problems = arrows(&crates);
    let page = fs::read_to_string(PAGE).context("cannot read ARCHITECTURE.md")?;
    problems.extend(undrawn(&crates, &page));
    problems.extend(walks::problems(&page, |file| fs::read_to_string(file).ok()));
    problems.extend(words::problems()?);
    let lock = fs::read_to_string("Cargo.lock").context("cannot read Cargo.lock")?;
    problems.extend(copies(&lock));
    if !problems.is_empty() {
        bail!("the layers are broken:\n  {}", problems.join("\n  "));
    }
    say("the layers are in order");
    Ok(())
}

/// What each crate of the workspace depends on, tests aside.
fn dependencies(metadata: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().into_iter().flatten();
        let normal = all.filter(|dependency| dependency["kind"].is_null());
        normal
            .filter_map(|dependency| dependency["name"].as_str().map(String::from))
            .collect()
    };
    let name = |package: &Value| package["name"].as_str().unwrap_or_default().to_string();
    Ok(packages
        .iter()
        .map(|package| (name(package), dependencies(package)))
        .collect())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn arrows(crates: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut problems = Vec::new();
    for (from, dependencies) in crates {
        let Some(above) = layer(from) else {
            if from != "xtask" {
                problems.push(format!("{from} is in no layer; add it in crates/xtask"));
            }
            continue;
        };
        for to in dependencies {
            let downward = layer(to).is_none_or(|below| above < below);
            if !downward && (from.as_str(), to.as_str()) != SIDEWAYS {
                problems.push(format!("{from} must not depend on {to}"));
            }
            let sql = NO_SQL
                .iter()
                .any(|sql| to == sql || to.starts_with(&format!("{sql}-")));
            if above >= FIRST_WITHOUT_SQL && sql {
                problems
                    .push(format!("{from} must not know SQL or Arrow, but uses {to}"));
            }
        }
    }
    problems
}

/// How ARCHITECTURE.md calls a crate of the workspace: as its folder below `crates/` is
/// called, and a family with `udfs/` in front.
fn short(name: &str) -> Option<String> {
    let name = match name.strip_prefix("atoll") {
        Some("") => return Some("cli".to_string()),
        other => other?.strip_prefix('-')?,
    };
    Some(match name.strip_prefix("udf-") {
        Some(family) => format!("udfs/{family}"),
        None => name.to_string(),
    })
}

/// The arrows that ARCHITECTURE.md lacks, and those that it has and the manifests do not.
fn undrawn(crates: &BTreeMap<String, Vec<String>>, page: &str) -> Vec<String> {
    let mut built = BTreeSet::new();
    for (from, dependencies) in crates {
        let to = dependencies.iter().filter_map(|to| short(to));
        let from = short(from);
        built.extend(to.filter_map(|to| Some((from.clone()?, to))));
    }
    let drawn = drawn(page);
    let arrow = |(from, to): &(String, String)| format!("{from} -> {to}");
    let missing = built.difference(&drawn).map(arrow);
    let missing = missing.map(|arrow| format!("{PAGE} lacks the arrow {arrow}"));
    let wrong = drawn.difference(&built).map(arrow);
    let wrong =
        wrong.map(|arrow| format!("{PAGE} has the arrow {arrow}, no manifest has"));
    missing.chain(wrong).collect()
}

/// The arrows of the section "Arrows": `from -> to, to`, which may go on in the next line.
fn drawn(page: &str) -> BTreeSet<(String, String)> {
    let section = page
        .split("\n## ")
        .find(|text| text.starts_with("Arrows\n"));
    let mut arrows = BTreeSet::new();
    let mut from = "";
    for line in section.unwrap_or_default().lines() {
        let Some(line) = line.strip_prefix("    ") else {
            continue;
        };
        let mut targets = line;
        if let Some((left, right)) = line.split_once("->") {
            (from, targets) = (left.trim(), right);
        }
        let names = targets.split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        arrows.extend(names.map(|to| (from.to_string(), to.to_string())));
    }
    arrows
}

fn copies(lock: &str) -> Vec<String> {
    let versions = |name: &str| {
        let entry = format!("name = \"{name}\"");
        lock.lines().filter(|line| *line == entry).count()
    };
    let several = ONCE.iter().filter(|name| versions(name) > 1);
    several
        .map(|name| format!("Cargo.lock has several versions of {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, expected: &[&str]) {
        let crates = BTreeMap::from([(from.to_string(), vec![to.to_string()])]);
        assert_eq!(arrows(&crates), expected);
    }

    #[test]
    fn arrows_point_down() {
        check("atoll-session", "atoll-udf-train", &[]);
        check("atoll-udf-train", "atoll-nn", &[]);
        check(
            "atoll-nn",
            "atoll-udf-train",
            &["atoll-nn must not depend on atoll-udf-train"],
        );
    }

    #[test]
    fn families_do_not_know_each_other() {
        check(
            "atoll-udf-train",
            "atoll-udf-model",
            &["atoll-udf-train must not depend on atoll-udf-model"],
        );
        check("atoll-onnx", "atoll-imaging", &[]);
    }

    #[test]
    fn the_bottom_knows_no_sql() {
        check(
            "atoll-nn",
            "arrow-array",
            &["atoll-nn must not know SQL or Arrow, but uses arrow-array"],
        );
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        check(
            "atoll-new",
            "serde",
            &["atoll-new is in no layer; add it in crates/xtask"],
        );
    }

    #[test]
    fn the_page_has_every_arrow_and_no_other() {
        let crates = BTreeMap::from([
            (
                "atoll".to_string(),
                vec!["atoll-nn".to_string(), "serde".to_string()],
            ),
            (
                "atoll-udf-train".to_string(),
                vec!["atoll-nn".to_string(), "atoll-onnx".to_string()],
            ),
        ]);
        let page = "# A\n\n## Arrows\n\nText -> text.\n\n    cli        -> nn\n    \
                    udfs/train -> nn,\n                  onnx\n\n## Other\n\n    a -> b\n";
        assert_eq!(undrawn(&crates, page), [""; 0]);
        let problems = undrawn(&crates, &page.replace("onnx", "report"));
        assert_eq!(
            problems,
            [
                "ARCHITECTURE.md lacks the arrow udfs/train -> onnx",
                "ARCHITECTURE.md has the arrow udfs/train -> report, no manifest has",
            ]
        );
    }

    #[test]
    fn copies_are_found() {
        let lock = "name = \"arrow\"\nname = \"arrow\"\nname = \"arrow-array\"\n";
        assert_eq!(copies(lock), ["Cargo.lock has several versions of arrow"]);
    }
}
