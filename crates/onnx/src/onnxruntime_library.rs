//! Finds and starts ONNX Runtime, once in a process.
//!
//! [`library`](crate::library) says where it is looked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use ort::environment::Environment;
use ort::logging::LogLevel;
use parking_lot::Mutex;

use crate::Error;
use crate::library::{Library, NotFound, Surroundings};

/// ONNX Runtime, of the release that the set-up step installs.
const LIBRARY: Library = Library {
    variable: "ORT_DYLIB_PATH",
    stem: "libonnxruntime",
    python_folder: "onnxruntime/capi",
    cache_folder: "atoll/onnxruntime-1.32.0",
};

/// An inference engine in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Its release, such as 1.32.0.
    pub version: String,
    /// The library file.
    pub path: PathBuf,
}

/// ONNX Runtime once it is loaded.
struct Runtime {
    environment: Environment,
    path: PathBuf,
}

/// Finds and starts ONNX Runtime, and says which one it is.
pub fn runtime() -> Result<RuntimeInfo, Error> {
    let runtime = start()?;
    Ok(RuntimeInfo {
        version: version_of(&runtime.path),
        path: runtime.path.clone(),
    })
}

/// Starts ONNX Runtime and its environment, which every session of the process shares.
pub(crate) fn environment() -> Result<&'static Environment, Error> {
    Ok(&start()?.environment)
}

/// Runs `work` while another thread loads the library, if the process has not done so yet.
///
/// An error of loading is dropped here: it comes again where a session is opened.
pub(crate) fn start_beside<T>(work: impl FnOnce() -> T) -> T {
    if RUNTIME.get().is_some() {
        return work();
    }
    thread::scope(|scope| {
        // It is loaded later when there is no thread for it.
        let loading = thread::Builder::new().spawn_scoped(scope, || start().is_ok());
        let out = work();
        if let Ok(loading) = loading {
            loading.join().ok();
        }
        out
    })
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Only success is remembered: a library installed while the program runs is found
/// by the next call.
fn start() -> Result<&'static Runtime, Error> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let _guard = STARTING.lock();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = load(find(&Surroundings::of_the_process(&LIBRARY))?)?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn find(surroundings: &Surroundings) -> Result<PathBuf, Error> {
    LIBRARY.find(surroundings).map_err(|error| match error {
        NotFound::Nowhere(searched) => Error::RuntimeMissing { searched },
        NotFound::Variable { path, reason } => Error::RuntimeBroken { path, reason },
    })
}

fn load(path: PathBuf) -> Result<Runtime, Error> {
    let broken = |reason: String| Error::RuntimeBroken {
        path: path.clone(),
        reason,
    };
    let environment = ort::init_from(&path)
        .map_err(|error| broken(error.to_string()))?
        .with_name("atoll")
        .with_telemetry(false)
        .build()
        .map_err(|error| broken(error.to_string()))?;
    // What goes wrong comes back as an error. The library's own log lines would
    // only repeat it on a terminal that belongs to the caller.
    environment.set_log_level(LogLevel::Fatal);
    Ok(Runtime { environment, path })
}

/// The release of a library that was loaded.
///
/// The build that ships with Python does not report it through the binding, so it is
/// read from the file: from its name, else from the version symbol in it.
fn version_of(path: &Path) -> String {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    version_in(name)
        .or_else(|| {
            let bytes = fs::read(path).ok()?;
            let symbol = b"VERS_1.";
            let start = bytes.windows(symbol.len()).position(|w| w == symbol)?;
            let text = bytes.get(start..start + 24)?;
            version_in(&String::from_utf8_lossy(text))
        })
        .unwrap_or_else(|| format!("1.{} or later", ort::MINOR_VERSION))
}

/// The first run of three numbers with dots between them.
fn version_in(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|run| run.trim_matches('.'))
        .find(|run| run.split('.').filter(|part| !part.is_empty()).count() == 3)
        .map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir()
            .join(format!("atoll-onnx-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_missing_library_names_the_command_that_installs_it() {
        let error = find(&Surroundings::default()).unwrap_err();
        assert!(matches!(error, Error::RuntimeMissing { .. }));
        assert!(error.to_string().contains("cargo xtask setup"), "{error}");
        assert!(error.to_string().contains("ORT_DYLIB_PATH"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let root = folder("broken");
        let path = root.join("libonnxruntime.so");
        fs::write(&path, "no library").unwrap();
        // A process keeps the first library it loads, so no other test of this file
        // may load a real one.
        let Err(error) = load(path.clone()) else {
            panic!("a text file was loaded as a library");
        };
        assert!(matches!(error, Error::RuntimeBroken { .. }));
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_release_is_read_from_a_file_name() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(version_in(text).as_deref(), expected, "{text}");
        };
        check("libonnxruntime.so.1.32.0", Some("1.32.0"));
        check("libonnxruntime.1.31.2.dylib", Some("1.31.2"));
        check("VERS_1.32.0\0libm.so.6", Some("1.32.0"));
        check("libonnxruntime.so", None);
    }
}
