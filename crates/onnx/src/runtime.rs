//! Finds and starts ONNX Runtime, once in a process.
//!
//! The library named by `ORT_DYLIB_PATH` wins. Then comes one that lies beside the
//! program, then that of the Python package `onnxruntime` in the environment that the
//! program was installed into, then the cache folder that the set-up step fills. A path in
//! `ORT_DYLIB_PATH` that leads nowhere is an error: whoever set it meant it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use ort::environment::Environment;
use ort::logging::LogLevel;
use parking_lot::Mutex;

use crate::{Error, Provider};

/// The release that the set-up step installs.
const VERSION: &str = "1.32.0";

/// The ONNX Runtime in use.
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

/// The engine that computes a model's answers: ONNX Runtime's release and the device.
///
/// It belongs beside stored answers, because another release or device may round
/// differently.
pub fn engine(provider: Provider) -> Result<String, Error> {
    let runtime = start()?;
    Ok(format!(
        "atoll {} onnxruntime {} {provider}",
        env!("CARGO_PKG_VERSION"),
        version_of(&runtime.path)
    ))
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
    let runtime = load(find(&Surroundings::of_the_process())?)?;
    Ok(RUNTIME.get_or_init(|| runtime))
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

/// The variables and folders that the search for the library depends on, so that a test can
/// choose them.
struct Surroundings {
    dylib_path: Option<OsString>,
    program: Option<PathBuf>,
    cache: Option<PathBuf>,
}

impl Surroundings {
    fn of_the_process() -> Self {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env::home_dir().map(|home| home.join(".cache")));
        Self {
            dylib_path: env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()),
            program: env::current_exe().ok(),
            cache,
        }
    }
}

/// The library file to load, as an absolute path.
fn find(surroundings: &Surroundings) -> Result<PathBuf, Error> {
    if let Some(path) = &surroundings.dylib_path {
        let path = PathBuf::from(path);
        return fs::canonicalize(&path).map_err(|error| Error::RuntimeBroken {
            path,
            reason: format!("ORT_DYLIB_PATH leads to no file ({error})"),
        });
    }
    let mut searched = vec!["ORT_DYLIB_PATH".to_string()];
    let program = surroundings.program.as_deref();
    if let Some(prefix) = program.and_then(|program| program.parent()?.parent()) {
        let folder = prefix.join("lib");
        searched.push(folder.join(file_name("")).display().to_string());
        if let Some(path) = library_in(&folder).or_else(|| library_of_python(prefix)) {
            return Ok(path);
        }
        let packages = folder.join("python3*/site-packages").join(PYTHON_FOLDER);
        searched.push(packages.display().to_string());
    }
    if let Some(cache) = &surroundings.cache {
        let folder = cache.join(format!("atoll/onnxruntime-{VERSION}"));
        let path = folder.join(file_name(VERSION));
        searched.push(path.display().to_string());
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(Error::RuntimeMissing {
        searched: searched.join(", "),
    })
}

/// Where the Python package has the library, in the folder of all packages.
const PYTHON_FOLDER: &str = "onnxruntime/capi";

/// The library of the package `onnxruntime` in the Python environment `prefix`, into which
/// `pip install` put the program: the one of the latest Python, if there are several.
fn library_of_python(prefix: &Path) -> Option<PathBuf> {
    // Fedora keeps what is built for a processor apart.
    let folders = ["lib", "lib64"].map(|name| prefix.join(name));
    let mut pythons: Vec<(u32, PathBuf)> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let minor = name.to_str()?.strip_prefix("python3.")?.parse().ok()?;
            Some((minor, entry.path()))
        })
        .collect();
    pythons.sort();
    // Debian keeps the packages of its own Python elsewhere.
    let packages = pythons.iter().rev().flat_map(|(_, python)| {
        ["site-packages", "dist-packages"].map(|name| python.join(name))
    });
    packages
        .filter_map(|folder| library_in(&folder.join(PYTHON_FOLDER)))
        .next()
}

/// The name of the library file, with or without its release.
fn file_name(version: &str) -> String {
    match (cfg!(target_os = "macos"), version) {
        (true, "") => "libonnxruntime.dylib".to_string(),
        (true, version) => format!("libonnxruntime.{version}.dylib"),
        (false, "") => "libonnxruntime.so".to_string(),
        (false, version) => format!("libonnxruntime.so.{version}"),
    }
}

/// A library in `folder`, the one without a release in its name first.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(file_name(""));
    if plain.is_file() {
        return Some(plain);
    }
    let is_library = |name: &str| {
        if cfg!(target_os = "macos") {
            name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
        } else {
            name.starts_with("libonnxruntime.so.")
        }
    };
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|n| n.to_str())
                .is_some_and(is_library)
        })
        .collect();
    found.sort();
    found.pop()
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

    fn nowhere() -> Surroundings {
        Surroundings {
            dylib_path: None,
            program: None,
            cache: None,
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            env::temp_dir().join(format!("atoll-onnx-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_missing_library_names_the_command_that_installs_it() {
        let error = find(&nowhere()).unwrap_err();
        assert!(matches!(error, Error::RuntimeMissing { .. }));
        assert!(error.to_string().contains("cargo xtask setup"), "{error}");
        assert!(error.to_string().contains("ORT_DYLIB_PATH"), "{error}");
    }

    #[test]
    fn the_environment_variable_wins_and_must_lead_somewhere() {
        let root = folder("variable");
        let library = root.join("mine.so");
        fs::write(&library, "").unwrap();
        let mut surroundings = nowhere();
        surroundings.dylib_path = Some(library.clone().into());
        let expected = fs::canonicalize(&library).unwrap();
        assert_eq!(find(&surroundings), Ok(expected));
        fs::remove_dir_all(&root).unwrap();
        let error = find(&surroundings).unwrap_err();
        assert!(error.to_string().contains("mine.so"), "{error}");
    }

    #[test]
    fn a_library_beside_the_program_comes_before_the_cache() {
        let root = folder("beside");
        fs::create_dir_all(root.join("lib")).unwrap();
        let cached = root.join(format!("atoll/onnxruntime-{VERSION}"));
        fs::create_dir_all(&cached).unwrap();
        fs::write(cached.join(file_name(VERSION)), "").unwrap();
        let surroundings = Surroundings {
            dylib_path: None,
            program: Some(root.join("bin/atoll")),
            cache: Some(root.clone()),
        };
        assert_eq!(find(&surroundings), Ok(cached.join(file_name(VERSION))));
        let beside = root.join("lib").join(file_name("1.33.0"));
        fs::write(&beside, "").unwrap();
        assert_eq!(find(&surroundings), Ok(beside));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_library_of_the_programs_python_is_found() {
        let root = folder("python");
        let surroundings = Surroundings {
            dylib_path: None,
            program: Some(root.join("bin/atoll")),
            cache: None,
        };
        let install = |python: &str| {
            let folder = root.join("lib").join(python).join(PYTHON_FOLDER);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("libonnxruntime_providers_shared.so"), "").unwrap();
            let library = folder.join(file_name(VERSION));
            fs::write(&library, "").unwrap();
            library
        };
        assert!(find(&surroundings).is_err());
        let older = install("python3.9/site-packages");
        assert_eq!(find(&surroundings), Ok(older));
        let newer = install("python3.12/dist-packages");
        assert_eq!(find(&surroundings), Ok(newer));
        fs::remove_dir_all(&root).unwrap();
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
