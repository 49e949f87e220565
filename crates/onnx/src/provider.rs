//! The devices that can run a model: the processor, or one that ONNX Runtime can drive.
//!
//! A provider is there when this program was built with it (a crate feature of the same
//! name) and the ONNX Runtime that was found was, too. One that was asked for and is not
//! there is an error: a job that quietly takes the processor instead looks like a slow
//! device, and its rows would say so of another engine.

use std::fmt;
use std::str::FromStr;

use ort::ep::ExecutionProviderDispatch;
#[cfg(any(feature = "cuda", feature = "coreml", feature = "directml"))]
use ort::ep::{self, ExecutionProvider as _};

use crate::Error;

/// What a model's operators run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// GPUs of NVIDIA.
    Cuda,
    /// GPUs of NVIDIA, with the network compiled for the GPU by TensorRT.
    TensorRt,
    /// GPUs and neural engines of Apple.
    CoreMl,
    /// GPUs on Windows.
    DirectMl,
}

/// Whether a provider can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// This program and ONNX Runtime have it. Whether there is a device shows only when
    /// a model is loaded.
    Ready,
    /// The ONNX Runtime in use was built without it.
    NotInRuntime,
    /// This program was built without it.
    NotInProgram,
}

impl Provider {
    /// All that there are, wherever this program runs.
    pub const ALL: [Self; 5] = [
        Self::Cpu,
        Self::Cuda,
        Self::TensorRt,
        Self::CoreMl,
        Self::DirectMl,
    ];

    /// The name in SQL, and of the crate feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::CoreMl => "coreml",
            Self::DirectMl => "directml",
        }
    }

    /// Whether this program was built with it.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::TensorRt => cfg!(feature = "tensorrt"),
            Self::CoreMl => cfg!(feature = "coreml"),
            Self::DirectMl => cfg!(feature = "directml"),
        }
    }

    /// Whether it can be asked for. Starts ONNX Runtime.
    pub fn availability(self) -> Result<Availability, Error> {
        if !self.is_compiled() {
            return Ok(Availability::NotInProgram);
        }
        let runtime = crate::runtime()?;
        let is_there: ort::Result<bool> = match self {
            Self::Cpu => Ok(true),
            #[cfg(feature = "cuda")]
            Self::Cuda => ep::CUDA::is_available(),
            #[cfg(feature = "tensorrt")]
            Self::TensorRt => ep::TensorRT::is_available(),
            #[cfg(feature = "coreml")]
            Self::CoreMl => ep::CoreML::is_available(),
            #[cfg(feature = "directml")]
            Self::DirectMl => ep::DirectML::is_available(),
            #[cfg(not(all(
                feature = "tensorrt",
                feature = "coreml",
                feature = "directml"
            )))]
            _ => Ok(false),
        };
        match is_there {
            Ok(true) => Ok(Availability::Ready),
            Ok(false) => Ok(Availability::NotInRuntime),
            Err(error) => Err(Error::RuntimeBroken {
                path: runtime.path,
                reason: error.to_string(),
            }),
        }
    }

    /// What a session registers; nothing for the processor, which every session has.
    pub(crate) fn dispatches(self) -> Vec<ExecutionProviderDispatch> {
        let providers: Vec<ExecutionProviderDispatch> = match self {
            #[cfg(feature = "cuda")]
            Self::Cuda => vec![ep::CUDA::default().build()],
            // What TensorRT cannot compile stays on the GPU.
            #[cfg(feature = "tensorrt")]
            Self::TensorRt => {
                vec![ep::TensorRT::default().build(), ep::CUDA::default().build()]
            }
            #[cfg(feature = "coreml")]
            Self::CoreMl => vec![ep::CoreML::default().build()],
            #[cfg(feature = "directml")]
            Self::DirectMl => vec![ep::DirectML::default().build()],
            _ => vec![],
        };
        providers
            .into_iter()
            .map(ExecutionProviderDispatch::error_on_failure)
            .collect()
    }

    /// Fails with the error that names what is missing, unless a session may ask for it.
    pub(crate) fn check(self) -> Result<(), Error> {
        let reason = match self.availability()? {
            Availability::Ready => return Ok(()),
            Availability::NotInProgram => not_compiled(self),
            Availability::NotInRuntime => {
                let path = crate::runtime()?.path;
                format!("the ONNX Runtime at {} has none", path.display())
            }
        };
        Err(Error::Provider {
            provider: self,
            reason,
        })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is not a provider that this program has: one sentence, and a hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseProviderError {
    /// No provider has this name.
    #[error("unknown execution provider '{name}'; there are {}", names(&Provider::ALL))]
    Unknown {
        /// What was given.
        name: String,
    },
    /// This program was built without it.
    #[error("execution provider {provider} cannot be used: {}", not_compiled(*provider))]
    NotCompiled {
        /// What was given.
        provider: Provider,
    },
}

impl FromStr for Provider {
    type Err = ParseProviderError;

    /// Reads a name in any case; only providers that this program has are valid.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let provider = Self::ALL
            .into_iter()
            .find(|provider| provider.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| ParseProviderError::Unknown {
                name: name.to_string(),
            })?;
        if provider.is_compiled() {
            Ok(provider)
        } else {
            Err(ParseProviderError::NotCompiled { provider })
        }
    }
}

fn not_compiled(provider: Provider) -> String {
    let compiled: Vec<Provider> = Provider::ALL
        .into_iter()
        .filter(|provider| provider.is_compiled())
        .collect();
    format!(
        "this build has {} only; build another with `cargo build --release --features \
         {provider}`",
        names(&compiled)
    )
}

fn names(providers: &[Provider]) -> String {
    let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("CPU".parse(), Ok(Provider::Cpu));
        for provider in Provider::ALL {
            let expected = if provider.is_compiled() {
                Ok(provider)
            } else {
                Err(ParseProviderError::NotCompiled { provider })
            };
            assert_eq!(provider.name().parse(), expected);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_there_are() {
        let error = "gpu".parse::<Provider>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown execution provider 'gpu'; there are cpu, cuda, tensorrt, coreml, \
             directml"
        );
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn one_that_was_left_out_is_answered_with_how_to_build_it() {
        let error = "cuda".parse::<Provider>().unwrap_err().to_string();
        assert!(error.contains("this build has cpu"), "{error}");
        assert!(
            error.contains("cargo build --release --features cuda"),
            "{error}"
        );
    }
}
