//! The options that a session carries into every function.

use std::any::Any;
use std::fmt::Display;
use std::str::FromStr;

use atoll_compute::warnings::Warnings;
use atoll_onnx::{Bfloat16, Inference, InferenceEngine, Precision, Provider};
use datafusion::common::config::{
    ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions,
};
use datafusion::common::{
    Result, config_datafusion_err, config_err, plan_datafusion_err,
};

const STORAGE: &str = "Folder or URL that keeps snapshots, trials, models and tables";
const INFER_ROWS: &str =
    "How many rows of a CSV or JSON file decide the types of its columns";
const WRITE_ID: &str = "Names what is written: a table takes the rows of the same statement once under one id";
const DISTRIBUTE_BYTES: &str =
    "On a cluster, what reads or writes up to so many bytes is done by the client";
const DISTRIBUTE_FILES: &str = "Beyond so many files a listing is not kept: rows come while it goes on, and on a cluster its executors make a table of it";
const CLUSTER_FALLBACK: &str = "What becomes of a statement that a cluster cannot run: 'client' runs it, 'error' refuses it";
const SPECULATION: &str = "On a cluster, start a task that takes far longer than the others of its job on a \
    second executor too; the first to end counts.";
const EXECUTION_PROVIDER: &str = "What ONNX models run on: cpu, or cuda, tensorrt, coreml or directml if built with it";

const INFERENCE: &str =
    "The engine that runs ONNX models: onnxruntime, or openvino if it is installed";
const PRECISION: &str = "The numbers that ONNX models are computed in: float32, or with openvino bfloat16, which is faster on processors with AVX512-BF16 or AMX and less accurate";

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
    /// The engine that runs ONNX models.
    pub inference: InferenceEngine,
    /// The numbers that ONNX models are computed in.
    pub precision: Precision,
    /// How many rows of a CSV or JSON file decide the types of its columns.
    pub infer_rows: usize,
    /// Under one id, a table takes the rows of a statement once; none if it is empty.
    pub write_id: String,
    /// On a cluster, what reads or writes up to so many bytes is done by the client.
    pub distribute_bytes: u64,
    /// Beyond so many files a listing is not kept, but passed on or made a table.
    pub distribute_files: usize,
    /// What becomes of a statement that a cluster cannot run.
    pub cluster_fallback: Fallback,
    /// On a cluster, whether a task that takes far longer than the others of its job is
    /// started on a second executor too.
    pub speculation: bool,
}

/// What becomes of a statement that reads much and that a cluster cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// The client runs it alone, with a warning.
    #[default]
    Client,
    /// It fails.
    Error,
}

impl Fallback {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Error => "error",
        }
    }
}

impl Default for AtollOptions {
    /// The current folder's `atoll-storage`; a session sets the user's own folder.
    fn default() -> Self {
        Self {
            storage: "atoll-storage".to_string(),
            execution_provider: Provider::default(),
            inference: InferenceEngine::default(),
            precision: Precision::default(),
            infer_rows: 1000,
            write_id: String::new(),
            distribute_bytes: 256 << 20,
            distribute_files: 100_000,
            cluster_fallback: Fallback::default(),
            speculation: true,
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

    /// What computes the answers of models, or why the settings contradict each other. A
    /// processor that does not compute in what was asked for is a warning.
    pub fn inference(options: &ConfigOptions, warnings: &Warnings) -> Result<Inference> {
        let options = Self::get(options);
        let Self {
            execution_provider,
            inference,
            precision,
            ..
        } = options;
        let inference = Inference::of(inference, execution_provider, precision)
            .map_err(|error| plan_datafusion_err!("{error}"))?;
        if inference == Inference::OpenVino(Precision::Bfloat16) {
            // A library that is missing is an error where the model is loaded.
            match Bfloat16::of_this_processor() {
                Ok(Bfloat16::Absent) => warnings.add(
                    "atoll.precision = 'bfloat16' has no effect: this processor has no \
                     instructions for it, and OpenVINO computes in float32",
                ),
                Ok(Bfloat16::Emulated) => warnings.add(
                    "atoll.precision = 'bfloat16' may be slower than 'float32': this \
                     processor has neither AVX512-BF16 nor AMX, and OpenVINO emulates it",
                ),
                Ok(Bfloat16::Native) | Err(_) => {}
            }
        }
        Ok(inference)
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
            "inference" => read(&mut self.inference, key, value),
            "precision" => read(&mut self.precision, key, value),
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
            "distribute_bytes" => match value.parse() {
                Ok(bytes) => {
                    self.distribute_bytes = bytes;
                    Ok(())
                }
                Err(_) => config_err!(
                    "atoll.distribute_bytes must be a number of bytes, got '{value}'"
                ),
            },
            "distribute_files" => match value.parse() {
                Ok(files) => {
                    self.distribute_files = files;
                    Ok(())
                }
                Err(_) => config_err!(
                    "atoll.distribute_files must be a number of files, got '{value}'"
                ),
            },
            "cluster_fallback" => {
                let all = [Fallback::Client, Fallback::Error];
                match all.into_iter().find(|one| one.name() == value) {
                    Some(fallback) => {
                        self.cluster_fallback = fallback;
                        Ok(())
                    }
                    None => config_err!(
                        "atoll.cluster_fallback must be client or error, got '{value}'"
                    ),
                }
            }
            "speculation" => match value.parse() {
                Ok(speculation) => {
                    self.speculation = speculation;
                    Ok(())
                }
                Err(_) => {
                    config_err!("atoll.speculation must be true or false, got '{value}'")
                }
            },
            _ => config_err!(
                "unknown option atoll.{key}; valid: atoll.storage, \
                 atoll.execution_provider, atoll.inference, atoll.precision, atoll.infer_rows, atoll.write_id, \
                 atoll.distribute_bytes, atoll.distribute_files, atoll.cluster_fallback, \
                 atoll.speculation"
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
            entry("inference", self.inference.name(), INFERENCE),
            entry("precision", self.precision.name(), PRECISION),
            entry("infer_rows", &self.infer_rows.to_string(), INFER_ROWS),
            entry("write_id", &self.write_id, WRITE_ID),
            entry(
                "distribute_bytes",
                &self.distribute_bytes.to_string(),
                DISTRIBUTE_BYTES,
            ),
            entry(
                "distribute_files",
                &self.distribute_files.to_string(),
                DISTRIBUTE_FILES,
            ),
            entry(
                "cluster_fallback",
                self.cluster_fallback.name(),
                CLUSTER_FALLBACK,
            ),
            entry("speculation", &self.speculation.to_string(), SPECULATION),
        ]
    }
}

/// Reads a value whose error follows the name of its option.
fn read<T>(option: &mut T, key: &str, value: &str) -> Result<()>
where
    T: FromStr<Err: Display>,
{
    let parsed = value.parse::<T>();
    *option = parsed.map_err(|error| config_datafusion_err!("atoll.{key} {error}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_among_the_entries() {
        let mut options = AtollOptions::default();
        options.set("storage", "s3://bucket/atoll").unwrap();
        options.set("execution_provider", "CPU").unwrap();
        options.set("precision", "bfloat16").unwrap();
        options.set("inference", "OpenVINO").unwrap();
        options.set("infer_rows", "100000").unwrap();
        options.set("write_id", "labels-2026-11-30").unwrap();
        options.set("distribute_bytes", "0").unwrap();
        options.set("distribute_files", "7").unwrap();
        options.set("cluster_fallback", "error").unwrap();
        options.set("speculation", "false").unwrap();
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
