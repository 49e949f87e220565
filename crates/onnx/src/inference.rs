//! What computes the answers of a model: an engine, with a device or a precision.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Provider, onnxruntime_library, openvino};

/// What computes the answers of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inference {
    /// ONNX Runtime, in float32, on one of its execution providers.
    OnnxRuntime(Provider),
    /// OpenVINO, on the processor.
    OpenVino(Precision),
}

impl Default for Inference {
    fn default() -> Self {
        Self::OnnxRuntime(Provider::Cpu)
    }
}

impl From<Provider> for Inference {
    fn from(provider: Provider) -> Self {
        Self::OnnxRuntime(provider)
    }
}

/// A library that runs models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InferenceEngine {
    /// ONNX Runtime.
    #[default]
    OnnxRuntime,
    /// OpenVINO of Intel.
    OpenVino,
}

/// The numbers that a model is computed in, whatever its file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    Float32,
    /// Sums of 32 bits of products of 16 bits, which have the range of float32 and 8
    /// significant bits. Processors with AVX512-BF16 or AMX multiply them in one step.
    Bfloat16,
}

/// How a processor computes in bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bfloat16 {
    /// With instructions of its own.
    Native,
    /// By instructions for float32, so that it costs accuracy and gains little.
    Emulated,
    /// Not at all: OpenVINO computes in float32.
    Absent,
}

impl InferenceEngine {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::OnnxRuntime, Self::OpenVino];

    /// The name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::OpenVino => "openvino",
        }
    }
}

impl Precision {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Float32, Self::Bfloat16];

    /// The name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
        }
    }
}

impl Bfloat16 {
    /// What this processor does. Starts OpenVINO.
    pub fn of_this_processor() -> Result<Self, Error> {
        Ok(match openvino::computes_bfloat16()? {
            false => Self::Absent,
            true if has_instructions() => Self::Native,
            true => Self::Emulated,
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    // Every processor with AMX has it, too.
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_instructions() -> bool {
    // OpenVINO lists it for these only where the processor has it.
    true
}

/// Why three settings make no [`Inference`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceConflict {
    /// ONNX Runtime computes on processors in float32 only.
    #[error(
        "atoll.precision = 'bfloat16' needs OpenVINO, and atoll.inference is \
         'onnxruntime'; SET atoll.inference = 'openvino', or SET atoll.precision = \
         'float32'"
    )]
    Precision,
    /// Execution providers are those of ONNX Runtime.
    #[error(
        "atoll.execution_provider = '{0}' needs ONNX Runtime, and atoll.inference is \
         'openvino', which runs on the processor; SET atoll.execution_provider = 'cpu', \
         or SET atoll.inference = 'onnxruntime'"
    )]
    Provider(Provider),
}

impl Inference {
    /// What three settings mean together.
    pub fn of(
        engine: InferenceEngine,
        provider: Provider,
        precision: Precision,
    ) -> Result<Self, InferenceConflict> {
        match (engine, provider, precision) {
            (InferenceEngine::OnnxRuntime, _, Precision::Bfloat16) => {
                Err(InferenceConflict::Precision)
            }
            (InferenceEngine::OnnxRuntime, provider, Precision::Float32) => {
                Ok(Self::OnnxRuntime(provider))
            }
            (InferenceEngine::OpenVino, Provider::Cpu, precision) => {
                Ok(Self::OpenVino(precision))
            }
            (InferenceEngine::OpenVino, provider, _) => {
                Err(InferenceConflict::Provider(provider))
            }
        }
    }

    /// The program and the release of the engine, the device, and the precision where that
    /// is OpenVINO's. Starts the engine.
    ///
    /// It belongs beside stored answers, because another one may round differently. The
    /// precision is the one that is computed in: a processor without bfloat16 takes
    /// float32.
    pub fn describe(self) -> Result<String, Error> {
        let program = env!("CARGO_PKG_VERSION");
        match self {
            Self::OnnxRuntime(provider) => {
                let version = onnxruntime_library::runtime()?.version;
                Ok(format!("atoll {program} onnxruntime {version} {provider}"))
            }
            Self::OpenVino(precision) => {
                let version = openvino::library()?.version;
                let precision = match Bfloat16::of_this_processor()? {
                    Bfloat16::Absent => Precision::Float32,
                    _ => precision,
                };
                Ok(format!(
                    "atoll {program} openvino {version} cpu {precision}"
                ))
            }
        }
    }
}

impl fmt::Display for Inference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnnxRuntime(provider) => write!(f, "onnxruntime {provider}"),
            Self::OpenVino(precision) => write!(f, "openvino {precision}"),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is no value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {valid}, got '{given}'")]
pub struct UnknownValue {
    /// What the setting takes, with "or" in between.
    valid: String,
    /// What was given.
    given: String,
}

fn find<T: Copy>(
    all: &[T],
    name: fn(T) -> &'static str,
    given: &str,
) -> Result<T, UnknownValue> {
    let found = all
        .iter()
        .find(|one| name(**one).eq_ignore_ascii_case(given));
    found.copied().ok_or_else(|| {
        let names: Vec<String> =
            all.iter().map(|one| format!("'{}'", name(*one))).collect();
        UnknownValue {
            valid: names.join(" or "),
            given: given.to_string(),
        }
    })
}

impl FromStr for InferenceEngine {
    type Err = UnknownValue;

    /// Reads a name in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        find(&Self::ALL, Self::name, name)
    }
}

impl FromStr for Precision {
    type Err = UnknownValue;

    /// Reads a name in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        find(&Self::ALL, Self::name, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_others_are_answered_with_all() {
        assert_eq!("OpenVINO".parse(), Ok(InferenceEngine::OpenVino));
        assert_eq!("BFLOAT16".parse(), Ok(Precision::Bfloat16));
        let error = "tensorflow".parse::<InferenceEngine>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "must be 'onnxruntime' or 'openvino', got 'tensorflow'"
        );
        let error = "int8".parse::<Precision>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "must be 'float32' or 'bfloat16', got 'int8'"
        );
    }

    #[test]
    fn settings_that_contradict_each_other_say_what_to_set() {
        let of = Inference::of;
        let (ort, openvino) = (InferenceEngine::OnnxRuntime, InferenceEngine::OpenVino);
        let (single, half) = (Precision::Float32, Precision::Bfloat16);
        let cuda = Provider::Cuda;
        assert_eq!(of(ort, cuda, single), Ok(Inference::OnnxRuntime(cuda)));
        assert_eq!(
            of(openvino, Provider::Cpu, half),
            Ok(Inference::OpenVino(half))
        );
        let error = of(ort, Provider::Cpu, half).unwrap_err().to_string();
        assert!(
            error.contains("SET atoll.inference = 'openvino'"),
            "{error}"
        );
        let error = of(openvino, cuda, single).unwrap_err().to_string();
        assert!(
            error.contains("SET atoll.execution_provider = 'cpu'"),
            "{error}"
        );
    }
}
