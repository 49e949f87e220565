//! Which crate may depend on which: arrows point down, and some things exist once.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo_output, say};

/// The crates from the top down. A crate may depend on those of later lines only, so
/// no family of functions depends on another.
const LAYERS: [&[&str]; 7] = [
    &["atoll"],
    &["atoll-cluster", "atoll-serve"],
    &["atoll-session"],
    &[
        "atoll-udf-blob",
        "atoll-udf-check",
        "atoll-udf-image",
        "atoll-udf-model",
        "atoll-udf-search",
        "atoll-udf-testing",
        "atoll-udf-train",
    ],
    &["atoll-delta"],
    &["atoll-report", "atoll-udf-common"],
    &[
        "atoll-compute",
        "atoll-imaging",
        "atoll-jobs",
        "atoll-nn",
        "atoll-onnx",
        "atoll-schedule",
        "atoll-search",
    ],
];

/// The one arrow within a layer: inference preprocesses its images.
const SIDEWAYS: (&str, &str) = ("atoll-onnx", "atoll-imaging");

/// What the bottom layer must not know, so that its bugs can be found without SQL.
const NO_SQL: [&str; 2] = ["datafusion", "arrow"];

/// Two versions of these have types that do not fit together.
const ONCE: [&str; 3] = ["arrow", "datafusion", "object_store"];

pub(crate) fn run() -> Result<()> {
    let metadata = cargo_output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let mut problems = arrows(&dependencies(&metadata)?);
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
            if above == LAYERS.len() - 1 && sql {
                problems
                    .push(format!("{from} must not know SQL or Arrow, but uses {to}"));
            }
        }
    }
    problems
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
    fn copies_are_found() {
        let lock = "name = \"arrow\"\nname = \"arrow\"\nname = \"arrow-array\"\n";
        assert_eq!(copies(lock), ["Cargo.lock has several versions of arrow"]);
    }
}
