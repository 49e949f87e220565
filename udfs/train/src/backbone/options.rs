//! What a statement says of backbones.

use std::collections::BTreeMap;

use atoll_imaging::Preprocess;
use atoll_onnx::FEATURES;
use atoll_udf_common::OptionStruct;
use atoll_udf_common::structs::{metadata_text, suggest};
use datafusion::common::{Result, plan_err};
use serde_json::Value;

/// The key of a row's hyperparameters that names its backbone.
pub(crate) const BACKBONE: &str = "backbone";

/// The option that lists the backbones which rows name, where they are no literals.
pub(crate) const BACKBONES: &str = "backbones";

/// The option that says what is taken of a backbone, and how images are prepared for it.
pub(crate) const BACKBONE_OPTIONS: &str = "backbone_options";

/// The key of [`BACKBONE_OPTIONS`] that names a tensor.
const OUTPUT: &str = "output";

/// What is taken of a backbone, and how images are prepared for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BackboneOptions {
    output: Option<String>,
    preprocessing: BTreeMap<String, String>,
}

impl BackboneOptions {
    /// Reads the option [`BACKBONE_OPTIONS`] of a call.
    pub(crate) fn of(options: &OptionStruct) -> Result<Self> {
        let mut found = Self::default();
        let given = options.iter().find(|(key, _)| *key == BACKBONE_OPTIONS);
        let Some((_, given)) = given else {
            return Ok(found);
        };
        let Value::Object(given) = given else {
            return plan_err!(
                "train: option {BACKBONE_OPTIONS} must be a struct such as {{mean: [127, \
                 127, 127], std: [128, 128, 128]}}, got {given}"
            );
        };
        for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            let text = metadata_text(value);
            if key == OUTPUT {
                found.output = Some(text);
                continue;
            }
            if !Preprocess::KEYS.contains(&key.as_str()) {
                let keys = Preprocess::KEYS.into_iter().chain([OUTPUT]);
                let hint = suggest(key, keys.clone())
                    .map_or_else(String::new, |key| format!("; did you mean {key}?"));
                return plan_err!(
                    "train: unknown key {key} of option {BACKBONE_OPTIONS}{hint} Valid: {}",
                    keys.collect::<Vec<_>>().join(", ")
                );
            }
            found.preprocessing.insert(format!("image.{key}"), text);
        }
        Ok(found)
    }

    /// The tensor that is taken.
    pub(super) fn output(&self) -> &str {
        self.output.as_deref().unwrap_or(FEATURES)
    }

    /// Preprocessing, under the keys of a model's metadata.
    pub(super) fn preprocessing(&self) -> &BTreeMap<String, String> {
        &self.preprocessing
    }
}
