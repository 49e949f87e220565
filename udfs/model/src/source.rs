//! From the name of a model to the model.
//!
//! A file that was loaded is not read again while its size and time of modification
//! stay the same; a URL is asked again after a minute. So planning, which asks for the
//! same model dozens of times, costs one load.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use atoll_compute::panics::catch;
use atoll_compute::pool::{self, PoolError};
use atoll_onnx::{LoadedModel, Provider};
use atoll_udf_common::{CallContext, Location};
use bytes::Bytes;
use datafusion::common::DataFusionError;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// How long a model behind a URL counts as unchanged. A statement must see one model
/// from its planning to its last row, and a later one must see a new upload.
const FRESH: Duration = Duration::from_secs(60);

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
type Names = HashMap<(String, Provider), (Stamp, LoadedModel)>;

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

/// Loads a model at plan time, on the thread that plans.
pub(crate) fn load_now(name: &str) -> Result<LoadedModel, Failure> {
    let location = Location::parse(name).map_err(|error| not_found(name, &error))?;
    let key = (location.url.to_string(), Provider::Cpu);
    let stamp = stamp(name, &location)?;
    if let Some(model) = remembered(&key, stamp) {
        return Ok(model);
    }
    let read = || match location.local_path() {
        Some(path) => read_file(name, &path),
        None => read_and_wait(location).map_err(|error| not_found(name, &error)),
    };
    let load = || LoadedModel::load_from(Provider::Cpu, name, read);
    let model = catch(load).map_err(|panic| Failure::panicked(name, &panic))??;
    remember(key, stamp, &model);
    Ok(model)
}

/// Loads a model that a row names.
pub(crate) async fn load(
    name: &str,
    provider: Provider,
    context: &CallContext,
) -> Result<LoadedModel, Failure> {
    let location = context
        .locate(name)
        .map_err(|error| not_found(name, &error))?;
    let key = (location.url.to_string(), provider);
    let stamp = stamp(name, &location)?;
    if let Some(model) = remembered(&key, stamp) {
        return Ok(model);
    }
    let bytes = match location.local_path() {
        Some(path) => read_file(name, &path)?,
        None => location
            .read()
            .await
            .map_err(|error| not_found(name, &error))?,
    };
    // Opening a session takes a core for up to seconds, so it happens on the pool.
    let owned = name.to_string();
    let load = move || LoadedModel::load_on(provider, &owned, &bytes);
    let model =
        pool::run(&context.token, load)
            .await
            .map_err(|error| match error {
                PoolError::Panicked(panic) => Failure::panicked(name, &panic),
                error => Failure::new("MODEL_RUNTIME", error.to_string()),
            })??;
    remember(key, stamp, &model);
    Ok(model)
}

fn stamp(name: &str, location: &Location) -> Result<Stamp, Failure> {
    let Some(path) = location.local_path() else {
        return Ok(Stamp::Fetched(Instant::now()));
    };
    let metadata = std::fs::metadata(&path).map_err(|error| unreadable(name, &error))?;
    if metadata.is_dir() {
        let message = format!("model {name} is a folder; name the .onnx file in it");
        return Err(Failure::new("MODEL_NOT_FOUND", message));
    }
    Ok(Stamp::File {
        size: metadata.len(),
        modified: metadata.modified().ok(),
    })
}

fn remembered(key: &(String, Provider), now: Stamp) -> Option<LoadedModel> {
    let names = names();
    let (then, model) = names.get(key)?;
    let same = match (*then, now) {
        (
            Stamp::File {
                size: size_then,
                modified: then,
            },
            Stamp::File { size, modified },
        ) => size_then == size && then.is_some() && then == modified,
        (Stamp::Fetched(then), Stamp::Fetched(now)) => now.duration_since(then) < FRESH,
        _ => false,
    };
    same.then(|| model.clone())
}

fn remember(key: (String, Provider), stamp: Stamp, model: &LoadedModel) {
    let mut names = names();
    if names.len() >= REMEMBERED {
        names.clear();
    }
    names.insert(key, (stamp, model.clone()));
}

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_file(name: &str, path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|error| unreadable(name, &error))
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    let message = match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("model file not found: {name}; check the path")
        }
        _ => format!("model {name} cannot be read: {error}"),
    };
    Failure::new("MODEL_NOT_FOUND", message)
}

fn not_found(name: &str, error: &DataFusionError) -> Failure {
    let message = format!("model {name} cannot be read: {}", error.message());
    Failure::new("MODEL_NOT_FOUND", message)
}

/// Reads a URL from a thread that may itself drive a runtime, where blocking on a
/// future is not allowed. The reading runtime is never dropped, because connections
/// that other statements share live in it.
fn read_and_wait(location: Location) -> Result<Bytes, DataFusionError> {
    static READER: OnceLock<Runtime> = OnceLock::new();
    let runtime = match READER.get() {
        Some(runtime) => runtime,
        None => {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("model-reader")
                .enable_all()
                .build()?;
            READER.get_or_init(|| runtime)
        }
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // The receiver waits below for as long as this takes.
        let _ = sender.send(location.read().await);
    });
    receiver
        .recv()
        .map_err(|error| DataFusionError::External(Box::new(error)))?
}
