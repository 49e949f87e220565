//! What a name stands for, as its file has it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Which;
use crate::model::ModelFailure;

/// The layout of a file. Files of another one are not read.
pub(super) const LAYOUT: u32 = 1;

/// A name, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedModel {
    pub(super) layout: u32,
    /// The name.
    pub name: String,
    /// From the oldest to the newest; none once the name is dropped.
    pub versions: Vec<Version>,
    /// Which number each alias stands for.
    pub aliases: BTreeMap<String, u64>,
    /// The number of the next version: that of a version that was dropped is not used again.
    pub(super) next: u64,
    /// What made it so, for whoever reads the file.
    pub(super) change: String,
    /// When, in microseconds since 1970, UTC.
    pub(super) changed_at: i64,
}

/// One of the models that had, or have, a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Counted from 1.
    pub number: u64,
    /// Of the ONNX file.
    pub sha256: String,
    /// How large that is.
    pub bytes: u64,
    /// When it got the name, in microseconds since 1970, UTC.
    pub created_at: i64,
    /// The trial that it came from, if that is known.
    pub trial_id: Option<String>,
    /// The path or URL that it came from.
    pub source: Option<String>,
    /// The statement that made it.
    pub statement: Option<String>,
}

impl NamedModel {
    pub(super) fn new(name: &str) -> Self {
        Self {
            layout: LAYOUT,
            name: name.to_string(),
            versions: vec![],
            aliases: BTreeMap::new(),
            next: 1,
            change: String::new(),
            changed_at: 0,
        }
    }

    /// The version that is meant, if there is one.
    pub fn get(&self, which: &Which) -> Option<&Version> {
        let number = match which {
            Which::Newest => return self.versions.last(),
            Which::Number(number) => number,
            Which::Alias(alias) => self.aliases.get(alias)?,
        };
        self.versions
            .iter()
            .find(|version| version.number == *number)
    }

    /// The version that is meant, or what there is instead.
    pub(super) fn expect(&self, which: &Which) -> Result<&Version, ModelFailure> {
        if let Some(version) = self.get(which) {
            return Ok(version);
        }
        let name = &self.name;
        let message = match which {
            Which::Alias(alias) => {
                let aliases: Vec<&str> =
                    self.aliases.keys().map(String::as_str).collect();
                let near = atoll_suggest::nearest(alias, aliases.iter().copied());
                match (near, aliases.is_empty()) {
                    (Some(near), _) => format!(
                        "model {name} has no alias {alias}; did you mean '{name}@{near}'?"
                    ),
                    (None, false) => format!(
                        "model {name} has no alias {alias}; it has {}",
                        aliases.join(", ")
                    ),
                    (None, true) => format!(
                        "model {name} has no alias {alias}; write ALTER MODEL {name} SET \
                         ALIAS {alias} = {}",
                        self.newest()
                    ),
                }
            }
            which => format!(
                "model {name} has no version {which}; DESCRIBE MODEL {name} lists those \
                 there are"
            ),
        };
        Err(ModelFailure::new("MODEL_NOT_FOUND", message))
    }

    /// The number of the newest version; 0 if there is none.
    pub(super) fn newest(&self) -> u64 {
        self.versions.last().map_or(0, |version| version.number)
    }
}

impl Version {
    /// A version that gets its number when it is added.
    pub fn new(sha256: String, bytes: usize) -> Self {
        Self {
            number: 0,
            sha256,
            bytes: bytes as u64,
            created_at: now(),
            trial_id: None,
            source: None,
            statement: None,
        }
    }
}

/// The time in microseconds since 1970, UTC.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    i64::try_from(micros).unwrap_or_default()
}
