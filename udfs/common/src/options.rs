//! The options that a session carries into every function.

use std::any::Any;

use datafusion::common::config::{
    ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions,
};
use datafusion::common::{Result, config_err};

const STORAGE: &str = "Folder or URL that keeps snapshots, trials, models and tables";

/// Options under the prefix `atoll`, set with `SET atoll.<name> = '...'`.
///
/// Written by hand because the entries must carry the prefix: a cluster sends them
/// as text, and an entry without it is ignored on the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtollOptions {
    /// Folder or URL that keeps snapshots, trials, models and tables.
    pub storage: String,
}

impl Default for AtollOptions {
    /// The current folder's `atoll-storage`; a session sets the user's own folder.
    fn default() -> Self {
        Self {
            storage: "atoll-storage".to_string(),
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
            _ => config_err!("unknown option atoll.{key}; valid: atoll.storage"),
        }
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![ConfigEntry {
            key: format!("{}.storage", Self::PREFIX),
            value: Some(self.storage.clone()),
            description: STORAGE,
        }]
    }
}
