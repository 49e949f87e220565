//! The options that a session carries into every function.

use std::any::Any;

use atoll_onnx::Provider;
use datafusion::common::config::{
    ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions,
};
use datafusion::common::{Result, config_datafusion_err, config_err};

const STORAGE: &str = "Folder or URL that keeps snapshots, trials, models and tables";
const INFER_ROWS: &str =
    "How many rows of a CSV or JSON file decide the types of its columns";
const WRITE_ID: &str = "Names what is written: a table takes the rows of the same statement once under one id";
const EXECUTION_PROVIDER: &str = "What ONNX models run on: cpu, or cuda, tensorrt, coreml or directml if built with it";

/// Options under the prefix `atoll`, set with `SET atoll.<name> = '...'`.
///
/// Written by hand because the entries must carry the prefix: a cluster sends them
/// as text, and an entry without it is ignored on the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtollOptions {
    /// Folder or URL that keeps snapshots, trials, models and tables.
    pub storage: String,
    /// What ONNX models run on.
    pub execution_provider: Provider,
    /// How many rows of a CSV or JSON file decide the types of its columns.
    pub infer_rows: usize,
    /// Under one id, a table takes the rows of a statement once; none if it is empty.
    pub write_id: String,
}

impl Default for AtollOptions {
    /// The current folder's `atoll-storage`; a session sets the user's own folder.
    fn default() -> Self {
        Self {
            storage: "atoll-storage".to_string(),
            execution_provider: Provider::default(),
            infer_rows: 1000,
            write_id: String::new(),
        }
    }
}

impl AtollOptions {
    /// The options of a session, or the defaults where none were set.
    pub fn get(options: &ConfigOptions) -> Self {
        options
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_default()
    }
}

impl ConfigExtension for AtollOptions {
    const PREFIX: &'static str = "atoll";
}

impl ExtensionOptions for AtollOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "storage" if value.is_empty() => {
                config_err!("atoll.storage must name a folder or URL, got ''")
            }
            "storage" => {
                self.storage = value.to_string();
                Ok(())
            }
            "execution_provider" => {
                self.execution_provider = value.parse().map_err(|error| {
                    config_datafusion_err!("atoll.execution_provider: {error}")
                })?;
                Ok(())
            }
            "infer_rows" => match value.parse() {
                Ok(rows) if rows > 0 => {
                    self.infer_rows = rows;
                    Ok(())
                }
                _ => config_err!(
                    "atoll.infer_rows must be a number of rows from 1, got '{value}'"
                ),
            },
            "write_id" => {
                self.write_id = value.to_string();
                Ok(())
            }
            _ => config_err!(
                "unknown option atoll.{key}; valid: atoll.storage, \
                 atoll.execution_provider, atoll.infer_rows, atoll.write_id"
            ),
        }
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: &str, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value.to_string()),
            description,
        };
        vec![
            entry("storage", &self.storage, STORAGE),
            entry(
                "execution_provider",
                self.execution_provider.name(),
                EXECUTION_PROVIDER,
            ),
            entry("infer_rows", &self.infer_rows.to_string(), INFER_ROWS),
            entry("write_id", &self.write_id, WRITE_ID),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_among_the_entries() {
        let mut options = AtollOptions::default();
        options.set("storage", "s3://bucket/atoll").unwrap();
        options.set("execution_provider", "CPU").unwrap();
        options.set("infer_rows", "100000").unwrap();
        options.set("write_id", "labels-2026-11-30").unwrap();
        let mut copy = AtollOptions::default();
        for entry in options.entries() {
            let key = entry.key.strip_prefix("atoll.").unwrap();
            copy.set(key, &entry.value.unwrap()).unwrap();
        }
        assert_eq!(copy, options);
    }

    #[test]
    fn an_unknown_provider_is_answered_with_those_there_are() {
        let mut options = AtollOptions::default();
        let error = options.set("execution_provider", "gpu").unwrap_err();
        let text = error.strip_backtrace();
        assert!(text.contains("unknown execution provider 'gpu'"), "{text}");
        assert!(text.contains("cpu, cuda"), "{text}");
        assert_eq!(options, AtollOptions::default());
    }
}
