//! Inference of ONNX models by ONNX Runtime, on the processor or on a device ([`Provider`]),
//! or by OpenVINO ([`Inference`]).
//!
//! A model file is loaded once in a process, whoever asks for it and under
//! whatever name: [`LoadedModel`] is a cheap handle that any number of threads
//! may run at the same time, one row per call and one thread per row.
//!
//! This is the only crate that names ONNX Runtime and OpenVINO, native libraries that are
//! found at run time (see [`runtime`] and [`openvino`]). It knows nothing about SQL, files
//! or URLs, and it never falls back to another engine.

mod cache;
mod classification;
mod compose;
mod data;
mod error;
mod file;
mod head;
mod inference;
mod inner;
mod library;
mod loaded;
mod message;
mod model;
mod names;
mod onnxruntime;
mod onnxruntime_library;
mod openvino;
mod proto;
mod provider;
mod session;
mod signature;
mod wire;

pub use classification::{NoClasses, OutputKind, scores, top_k};
pub use compose::{Backbone, with_head};
pub use data::Data;
pub use error::Error;
pub use file::weight_files;
pub use head::Head;
pub use inference::{
    Bfloat16, Inference, InferenceConflict, InferenceEngine, Precision, UnknownValue,
};
pub use inner::{FEATURES, Inner};
pub use loaded::ModelFiles;
pub use model::{LoadedModel, Output, WantedTensors};
pub use onnxruntime_library::{RuntimeInfo, runtime};
pub use openvino::library as openvino;
pub use provider::{Availability, ParseProviderError, Provider};
pub use signature::{ElementType, Port, Signature, TableInput, TableInputKind};
