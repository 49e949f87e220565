//! Inference of ONNX models, on the processor or on a device ([`Provider`]).
//!
//! A model file is loaded once in a process, whoever asks for it and under
//! whatever name: [`LoadedModel`] is a cheap handle that any number of threads
//! may run at the same time, one row per call and one thread per row.
//!
//! This is the only crate that names ONNX Runtime, a native library that is
//! found at run time (see [`runtime`]). It knows nothing about SQL, files or
//! URLs, and it never falls back to another engine.

mod cache;
mod classification;
mod compose;
mod data;
mod error;
mod file;
mod head;
mod inner;
mod loaded;
mod message;
mod model;
mod names;
mod proto;
mod provider;
mod runtime;
mod session;
mod signature;
mod wire;

pub use classification::{NoClasses, OutputKind, scores, top_k};
pub use compose::{Backbone, with_head};
pub use data::Data;
pub use error::Error;
pub use file::weight_files;
pub use head::Head;
pub use inner::{FEATURES, Inner};
pub use loaded::ModelFiles;
pub use model::{LoadedModel, Output, WantedTensors};
pub use provider::{Availability, ParseProviderError, Provider};
pub use runtime::{RuntimeInfo, engine, runtime};
pub use signature::{ElementType, Port, Signature, TableInput, TableInputKind};
