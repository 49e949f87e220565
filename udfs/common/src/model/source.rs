//! From the name of a model to the model.
//!
//! A file that was loaded is not read again while its size and time of modification
//! stay the same, and those of the files beside it that hold its weights; a URL is asked
//! again after a minute. So planning, which asks for the same model dozens of times,
//! costs one load.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use atoll_compute::panics::catch;
use atoll_compute::pool::{self, PoolError};
use atoll_onnx::{Inference, LoadedModel, ModelFiles, WantedTensors};
use bytes::Bytes;
use datafusion::common::DataFusionError;
use tokio::runtime::{Builder, Runtime};

use super::{ModelFailure, names};
use crate::{CallContext, Location, read_local_beside};

/// How long a model behind a URL counts as unchanged. A statement must see one model
/// from its planning to its last row, and a later one must see a new upload.
const FRESH: Duration = Duration::from_secs(60);

/// What error messages call a model that has no name.
pub const BYTES: &str = "given as bytes";

/// How many names are remembered; the models themselves are kept by their content.
const REMEMBERED: usize = 256;

/// What tells whether a name still stands for the same bytes.
#[derive(Debug, Clone, Copy)]
enum Stamp {
    File {
        size: u64,
        modified: Option<SystemTime>,
    },
    Fetched(Instant),
}

/// By URL, since a relative path means another file for another client.
type Names = HashMap<Key, Known>;

type Key = (String, Inference, WantedTensors);

/// A model that was loaded, and what tells whether it is still the same.
struct Known {
    stamp: Stamp,
    /// Files beside it that hold its weights.
    weights: Vec<(PathBuf, Stamp)>,
    model: LoadedModel,
}

/// What was read for a model.
type Files = ModelFiles<Bytes>;

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

/// Loads a model with the tensors that are wanted at plan time, on the thread that plans.
pub fn load_now(name: &str, wanted: &WantedTensors) -> Result<LoadedModel, ModelFailure> {
    let location = Location::parse(name).map_err(|error| not_found(name, &error))?;
    let inference = Inference::default();
    let key = (location.url.to_string(), inference, wanted.clone());
    let stamp = stamp(name, &location)?;
    if let Some(model) = remembered(&key, stamp) {
        return Ok(model);
    }
    let mut weights = Vec::new();
    let read = || match location.local_path() {
        Some(path) => read_local(name, &path, &mut weights),
        None => read_and_wait(name, &location),
    };
    let load = || LoadedModel::load_from(inference, name, wanted, read);
    let model = catch(load).map_err(|panic| ModelFailure::panicked(name, &panic))??;
    remember(key, stamp, weights, &model);
    Ok(model)
}

/// Loads a model that a row names, with the tensors that are wanted.
pub async fn load(
    name: &str,
    wanted: &WantedTensors,
    inference: Inference,
    context: &CallContext,
) -> Result<LoadedModel, ModelFailure> {
    let location = match named(name, context).await? {
        Some(location) => location,
        None => locate(name, context)?,
    };
    let key = (location.url.to_string(), inference, wanted.clone());
    let stamp = stamp(name, &location)?;
    if let Some(model) = remembered(&key, stamp) {
        return Ok(model);
    }
    let mut weights = Vec::new();
    let files = read(name, &location, &mut weights).await?;
    let model = open(name, wanted, files, inference, context).await?;
    remember(key, stamp, weights, &model);
    Ok(model)
}

/// Reads the files of a model that is not run but written into another one.
pub async fn files(
    name: &str,
    context: &CallContext,
) -> Result<ModelFiles<Bytes>, ModelFailure> {
    read(name, &locate(name, context)?, &mut Vec::new()).await
}

fn locate(name: &str, context: &CallContext) -> Result<Location, ModelFailure> {
    let location = context.locate(name);
    location.map_err(|error| not_found(name, &error))
}

/// Where the model with a name is, if the text is one. What a literal names is a path by the
/// time it comes here; a column and a struct may hold the names of models.
pub async fn named(
    text: &str,
    context: &CallContext,
) -> Result<Option<Location>, ModelFailure> {
    let Some(storage) = &context.storage else {
        return Ok(None);
    };
    let named = names::resolve(text, storage, context).await?;
    Ok(named.map(|named| named.location))
}

/// Reads a model with the files beside it, and notes what tells whether those of this
/// machine are the same.
async fn read(
    name: &str,
    location: &Location,
    stamps: &mut Vec<(PathBuf, Stamp)>,
) -> Result<Files, ModelFailure> {
    match location.local_path() {
        Some(path) => read_local(name, &path, stamps),
        None => read_remote(name, location).await,
    }
}

/// Loads a model whose file is a value: it has no name, and no weights beside it.
pub async fn load_bytes(
    bytes: &[u8],
    inference: Inference,
    context: &CallContext,
) -> Result<LoadedModel, ModelFailure> {
    let files = Files::alone(Bytes::copy_from_slice(bytes));
    open(BYTES, &WantedTensors::Outputs, files, inference, context).await
}

/// Reads the file of a model whole and checks that it can be loaded; its SHA-256 is given
/// too. Weights in files beside it would be lost to whoever keeps the bytes.
pub async fn checked(
    name: &str,
    bytes: Bytes,
    context: &CallContext,
) -> Result<LoadedModel, ModelFailure> {
    if let Some(beside) = atoll_onnx::weight_files(name, &bytes)?.first() {
        return Err(ModelFailure::argument(format!(
            "model {name} keeps weights in a file beside it, {beside}; save it as one file, \
             as onnx.save(onnx.load(path), new) does"
        )));
    }
    let files = Files::alone(bytes);
    let inference = Inference::default();
    open(name, &WantedTensors::Outputs, files, inference, context).await
}

/// Opens a session, which takes a core for up to seconds, on the compute pool.
async fn open(
    name: &str,
    wanted: &WantedTensors,
    files: Files,
    inference: Inference,
    context: &CallContext,
) -> Result<LoadedModel, ModelFailure> {
    let (owned, wanted) = (name.to_string(), wanted.clone());
    let read = || Ok::<_, ModelFailure>(files);
    let load = move || LoadedModel::load_from(inference, &owned, &wanted, read);
    let opened = pool::run(&context.token, load).await;
    let opened = opened.map_err(|error| match error {
        PoolError::Panicked(panic) => ModelFailure::panicked(name, &panic),
        error => ModelFailure::new("MODEL_RUNTIME", error.to_string()),
    });
    opened?
}

fn stamp(name: &str, location: &Location) -> Result<Stamp, ModelFailure> {
    let Some(path) = location.local_path() else {
        return Ok(Stamp::Fetched(Instant::now()));
    };
    let metadata = std::fs::metadata(&path).map_err(|error| unreadable(name, &error))?;
    if metadata.is_dir() {
        let message = format!("model {name} is a folder; name the .onnx file in it");
        return Err(ModelFailure::new("MODEL_NOT_FOUND", message));
    }
    Ok(Stamp::of(&metadata))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self::File {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }

    fn is_same(self, now: Self) -> bool {
        match (self, now) {
            (
                Self::File {
                    size: size_then,
                    modified: then,
                },
                Self::File { size, modified },
            ) => size_then == size && then.is_some() && then == modified,
            (Self::Fetched(then), Self::Fetched(now)) => now.duration_since(then) < FRESH,
            _ => false,
        }
    }
}

fn remembered(key: &Key, now: Stamp) -> Option<LoadedModel> {
    let names = names();
    let known = names.get(key)?;
    let is_same = known.stamp.is_same(now)
        && known.weights.iter().all(|(path, then)| {
            let now = std::fs::metadata(path);
            now.is_ok_and(|now| then.is_same(Stamp::of(&now)))
        });
    is_same.then(|| known.model.clone())
}

fn remember(key: Key, stamp: Stamp, weights: Vec<(PathBuf, Stamp)>, model: &LoadedModel) {
    let mut names = names();
    if names.len() >= REMEMBERED {
        names.clear();
    }
    let known = Known {
        stamp,
        weights,
        model: model.clone(),
    };
    names.insert(key, known);
}

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a model of this machine, with the files beside it that hold its weights, and
/// notes what tells whether those are the same.
fn read_local(
    name: &str,
    path: &Path,
    stamps: &mut Vec<(PathBuf, Stamp)>,
) -> Result<Files, ModelFailure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(name, &error))?;
    let mut files = Files::alone(Bytes::from(bytes));
    for file in atoll_onnx::weight_files(name, &files.bytes)? {
        // Before it is read: what changes meanwhile is read again the next time.
        let beside = path.with_file_name(&file);
        if let Ok(metadata) = std::fs::metadata(&beside) {
            stamps.push((beside, Stamp::of(&metadata)));
        }
        let weights = read_local_beside(path, &file);
        let weights = weights.map_err(|error| weights_not_found(name, &error))?;
        files.weights.insert(file, Arc::from(&*weights));
    }
    Ok(files)
}

/// The same from a URL.
async fn read_remote(name: &str, location: &Location) -> Result<Files, ModelFailure> {
    let bytes = location.read().await;
    let mut files = Files::alone(bytes.map_err(|error| not_found(name, &error))?);
    let wanted = atoll_onnx::weight_files(name, &files.bytes)?;
    let found = location.read_beside(&wanted).await;
    for (file, weights) in found.map_err(|error| weights_not_found(name, &error))? {
        files.weights.insert(file, Arc::from(&*weights));
    }
    Ok(files)
}

fn unreadable(name: &str, error: &std::io::Error) -> ModelFailure {
    let message = match error.kind() {
        std::io::ErrorKind::NotFound => {
            let hint = match names::Reference::parse(name) {
                Some(_) => "; a model's name stands in the call itself",
                None => "",
            };
            format!("model file not found: {name}; check the path{hint}")
        }
        _ => format!("model {name} cannot be read: {error}"),
    };
    ModelFailure::new("MODEL_NOT_FOUND", message)
}

fn weights_not_found(name: &str, error: &DataFusionError) -> ModelFailure {
    let message = format!(
        "model {name} keeps weights in a file beside it: {}",
        error.message()
    );
    ModelFailure::new("MODEL_NOT_FOUND", message)
}

fn not_found(name: &str, error: &DataFusionError) -> ModelFailure {
    let message = format!("model {name} cannot be read: {}", error.message());
    ModelFailure::new("MODEL_NOT_FOUND", message)
}

/// Reads a URL from a thread that may itself drive a runtime, where blocking on a
/// future is not allowed. The reading runtime is never dropped, because connections
/// that other statements share live in it.
fn read_and_wait(name: &str, location: &Location) -> Result<Files, ModelFailure> {
    static READER: OnceLock<Runtime> = OnceLock::new();
    let failed = |error: &dyn Display| {
        ModelFailure::new(
            "MODEL_NOT_FOUND",
            format!("model {name} cannot be read: {error}"),
        )
    };
    let runtime = match READER.get() {
        Some(runtime) => runtime,
        None => {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("model-reader")
                .enable_all()
                .build()
                .map_err(|error| failed(&error))?;
            READER.get_or_init(|| runtime)
        }
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let (name, location) = (name.to_string(), location.clone());
    runtime.spawn(async move {
        // The receiver waits below for as long as this takes.
        let _ = sender.send(read_remote(&name, &location).await);
    });
    receiver.recv().map_err(|error| failed(&error))?
}
