//! Why a model gave no answer, and who has to act.

use std::path::PathBuf;

use crate::Provider;

/// Why a model gave no answer. [`Error::code`] is the word that rows carry for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// ONNX Runtime is not installed. Whoever runs the program must act.
    #[error(
        "ONNX Runtime was not found; install it with `cargo xtask setup`, or with \
         `pip install onnxruntime` where pip installed atoll, or set ORT_DYLIB_PATH to the \
         library file (looked for {searched})"
    )]
    RuntimeMissing {
        /// The places that were searched, best first.
        searched: String,
    },
    /// ONNX Runtime is there and cannot be used. Whoever runs the program must act.
    #[error(
        "ONNX Runtime at {} cannot be used: {reason}; install a good one with \
         `cargo xtask setup`, or set ORT_DYLIB_PATH to version 1.31 or later",
        path.display()
    )]
    RuntimeBroken {
        /// The library file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// OpenVINO is not installed. Whoever runs the program must act.
    #[error(
        "OpenVINO was not found; install it with `cargo xtask setup --openvino`, or with \
         `pip install openvino` where pip installed atoll, or set OPENVINO_DYLIB_PATH to \
         the file libopenvino_c, or run models with SET atoll.inference = 'onnxruntime' \
         (looked for {searched})"
    )]
    OpenVinoMissing {
        /// The places that were searched, best first.
        searched: String,
    },
    /// OpenVINO is there and cannot be used. Whoever runs the program must act.
    #[error(
        "OpenVINO at {} cannot be used: {reason}; install a good one with \
         `cargo xtask setup --openvino`, or set OPENVINO_DYLIB_PATH to the file \
         libopenvino_c of version 2025.1 or later, or run models with \
         SET atoll.inference = 'onnxruntime'",
        path.display()
    )]
    OpenVinoBroken {
        /// The library file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// OpenVINO does not have what the model needs. The query must change.
    #[error(
        "model {model} cannot be run by OpenVINO: {reason}; run it with \
         SET atoll.inference = 'onnxruntime'"
    )]
    Unsupported {
        /// The name the model was asked for by.
        model: String,
        /// What it needs.
        reason: String,
    },
    /// The device that should compute is not there. Whoever runs the program must act.
    #[error(
        "execution provider {provider} cannot be used: {reason}; use one that can with \
         SET atoll.execution_provider = 'cpu', or set ORT_DYLIB_PATH to an ONNX Runtime \
         that was built with {provider}"
    )]
    Provider {
        /// What was asked for.
        provider: Provider,
        /// What is missing.
        reason: String,
    },
    /// The file is no ONNX model that can be run. The query or the file must change.
    #[error("model {model} cannot be loaded: {reason}")]
    Invalid {
        /// The name the model was asked for by.
        model: String,
        /// What is wrong with it, and a remedy where there is one.
        reason: String,
    },
    /// The model is newer than ONNX Runtime. Whoever exported it or runs the program acts.
    #[error(
        "model {model} is too new: it uses {uses}, and ONNX Runtime {runtime} knows {known} \
         at most; export it for {known}, or set ORT_DYLIB_PATH to a newer ONNX Runtime"
    )]
    TooNew {
        /// The name the model was asked for by.
        model: String,
        /// The version that the model needs, and of what.
        uses: String,
        /// The newest that ONNX Runtime knows.
        known: String,
        /// The release of ONNX Runtime.
        runtime: String,
    },
    /// The input does not fit the model's signature. The query must change.
    #[error("model {model}: input {input} takes {expected}, got {given}")]
    InputMismatch {
        /// The name the model was asked for by.
        model: String,
        /// The input's name, and a remedy where there is one.
        input: String,
        /// Type and shape that the model expects.
        expected: String,
        /// What the row holds.
        given: String,
    },
    /// The model failed on this row although its input fits the signature.
    #[error("model {model} failed: {reason}")]
    Run {
        /// The name the model was asked for by.
        model: String,
        /// What the engine said.
        reason: String,
    },
}

impl Error {
    /// The error code that a row has, a word in capitals that a query can compare with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::TooNew { .. } | Self::Unsupported { .. } => {
                "MODEL_INVALID"
            }
            Self::InputMismatch { .. } => "MODEL_INPUT_MISMATCH",
            Self::RuntimeMissing { .. }
            | Self::RuntimeBroken { .. }
            | Self::OpenVinoMissing { .. }
            | Self::OpenVinoBroken { .. }
            | Self::Provider { .. }
            | Self::Run { .. } => "MODEL_RUNTIME",
        }
    }
}
