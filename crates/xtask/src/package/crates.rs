//! The crates that the binary is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::cargo_output;

/// A crate's name and version, by which it is known in one build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    /// Its name on crates.io.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
}

/// A crate that is linked into the binary.
#[derive(Debug)]
pub(crate) struct Crate {
    /// Name and version.
    pub(crate) id: Id,
    /// Its licence, as an SPDX expression, where its manifest has one.
    pub(crate) licence: Option<String>,
    /// Its repository, where its manifest has one.
    pub(crate) repository: Option<String>,
    /// Its authors, where its manifest has some.
    pub(crate) authors: Vec<String>,
    /// Where its source lies on this machine.
    pub(crate) folder: PathBuf,
    /// The SHA-256 of its file on crates.io; none for a crate of this workspace.
    pub(crate) checksum: Option<String>,
    /// What it links.
    pub(crate) dependencies: BTreeSet<Id>,
}

/// What `cargo metadata` prints.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Manifest>,
}

/// A package of it.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    authors: Vec<String>,
    manifest_path: PathBuf,
}

/// Cargo.lock.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

/// A package of it.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates of the binary on this platform, in the order of their names. Macros and
/// what only build scripts use are no part of it.
pub(crate) fn linked(target: &str) -> Result<Vec<Crate>> {
    // `cargo metadata` has the features of the whole workspace, tests included; `cargo
    // tree` has those of the binary.
    let tree = cargo_output(&[
        "tree",
        "--locked",
        "--package",
        "atoll",
        "--edges",
        "normal,no-proc-macro",
        "--target",
        target,
        "--prefix",
        "depth",
    ])?;
    let mut graph = graph(&tree)?;
    let metadata = cargo_output(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        target,
    ])?;
    let metadata: Metadata = serde_json::from_str(&metadata)?;
    let lock = fs::read_to_string("Cargo.lock").context("cannot read Cargo.lock")?;
    let lock: Lock = toml::from_str(&lock).context("cannot read Cargo.lock")?;
    let checksums: BTreeMap<Id, Option<String>> = lock
        .package
        .into_iter()
        .map(|package| (Id::new(package.name, package.version), package.checksum))
        .collect();
    let mut crates: Vec<Crate> = metadata
        .packages
        .into_iter()
        .filter_map(|manifest| {
            let id = Id::new(manifest.name, manifest.version);
            let dependencies = graph.remove(&id)?;
            Some(Crate {
                checksum: checksums.get(&id).cloned().flatten(),
                id,
                licence: manifest.license,
                repository: manifest.repository,
                authors: manifest.authors,
                folder: manifest.manifest_path.with_file_name(""),
                dependencies,
            })
        })
        .collect();
    crates.sort_by(|a, b| a.id.cmp(&b.id));
    match graph.first_key_value() {
        None => Ok(crates),
        Some((id, _)) => {
            anyhow::bail!("cargo metadata does not know {} {}", id.name, id.version)
        }
    }
}

/// Each crate with what it links, from lines such as `2serde v1.0.0 (*)`, whose number is
/// the depth.
fn graph(tree: &str) -> Result<BTreeMap<Id, BTreeSet<Id>>> {
    let mut graph: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let depth: usize = line[..line.len() - name.len()]
            .parse()
            .with_context(|| format!("cargo tree prints no depth: {line}"))?;
        let mut words = name.split(' ');
        let (name, version) = (words.next(), words.next());
        let version = version.and_then(|version| version.strip_prefix('v'));
        let (Some(name), Some(version)) = (name, version) else {
            anyhow::bail!("cargo tree prints no version: {line}");
        };
        let id = Id::new(name.to_string(), version.to_string());
        graph.entry(id.clone()).or_default();
        above.truncate(depth);
        if let Some(parent) = above.last() {
            graph.entry(parent.clone()).or_default().insert(id.clone());
        }
        above.push(id);
    }
    Ok(graph)
}

impl Id {
    fn new(name: String, version: String) -> Self {
        Self { name, version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_a_graph() {
        let tree = "0atoll v0.1.0 (/src)\n1serde v1.0.0\n2core v1.1.0\n1toml v2.0.0\n\
                    2serde v1.0.0 (*)\n";
        let graph = graph(tree).unwrap();
        let id = |name: &str, version: &str| Id::new(name.into(), version.into());
        let (serde, toml) = (id("serde", "1.0.0"), id("toml", "2.0.0"));
        assert_eq!(graph.len(), 4);
        let top = BTreeSet::from([serde.clone(), toml.clone()]);
        assert_eq!(graph[&id("atoll", "0.1.0")], top);
        assert_eq!(graph[&toml], BTreeSet::from([serde.clone()]));
        assert_eq!(graph[&serde], BTreeSet::from([id("core", "1.1.0")]));
    }

    #[test]
    fn lines_of_another_form_are_an_error() {
        assert!(graph("atoll v0.1.0").is_err());
        assert!(graph("0atoll").is_err());
    }
}
