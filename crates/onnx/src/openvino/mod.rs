//! Finds and starts OpenVINO, once in a process, and runs models on it.
//!
//! [`library`](crate::library) says where it is looked for. The Python package has its file
//! under a name with a release, such as `libopenvino_c.so.2641`, so that it is found here
//! and not by the binding, which knows the plain name only.

mod model;

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use openvino::{Core, DeviceType, PropertyKey};
use parking_lot::Mutex;

use crate::library::{Library, NotFound, Surroundings};
use crate::{Error, RuntimeInfo};

pub(crate) use model::OpenVinoSession;

/// OpenVINO, of the release that the set-up step installs.
const LIBRARY: Library = Library {
    variable: "OPENVINO_DYLIB_PATH",
    stem: "libopenvino_c",
    python_folder: "openvino/libs",
    cache_folder: "atoll/openvino-2026.4.1",
};

/// OpenVINO once it is loaded.
struct Started {
    /// What reads and compiles models. It belongs to whoever does so, because settings of
    /// one model would come into another.
    core: Mutex<Core>,
    info: RuntimeInfo,
    computes_bfloat16: bool,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// Finds and starts OpenVINO, and says which one it is.
pub fn library() -> Result<RuntimeInfo, Error> {
    Ok(start()?.info.clone())
}

/// Whether a model that is asked for in bfloat16 is computed in it on this processor.
pub(crate) fn computes_bfloat16() -> Result<bool, Error> {
    Ok(start()?.computes_bfloat16)
}

/// Runs `work` while another thread loads the library, if the process has not done so yet.
///
/// An error of loading is dropped here: it comes again where a session is opened.
pub(crate) fn start_beside<T>(work: impl FnOnce() -> T) -> T {
    if STARTED.get().is_some() {
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

/// Only success is remembered: a library installed while the program runs is found
/// by the next call.
fn start() -> Result<&'static Started, Error> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(started) = STARTED.get() {
        return Ok(started);
    }
    let _guard = STARTING.lock();
    if let Some(started) = STARTED.get() {
        return Ok(started);
    }
    let surroundings = Surroundings::of_the_process(&LIBRARY);
    let path = LIBRARY.find(&surroundings).map_err(|error| match error {
        NotFound::Nowhere(searched) => Error::OpenVinoMissing { searched },
        NotFound::Variable { path, reason } => Error::OpenVinoBroken { path, reason },
    })?;
    let started = load(path)?;
    Ok(STARTED.get_or_init(|| started))
}

fn load(path: PathBuf) -> Result<Started, Error> {
    let broken = |reason: String| Error::OpenVinoBroken {
        path: path.clone(),
        reason,
    };
    // The binding panics on a library that is not OpenVINO's, whose functions are not there.
    let loaded = catch_unwind(|| {
        openvino_sys::library::load_from(path.clone())?;
        Ok(openvino::version().build_number)
    });
    let build = loaded
        .unwrap_or_else(|_| Err("it is not OpenVINO's library for C".to_string()))
        .map_err(broken)?;
    let core = Core::new().map_err(|error| broken(error.to_string()))?;
    let capabilities =
        core.get_property(&DeviceType::CPU, &PropertyKey::DeviceCapabilities);
    // What this machine lacks shows here: a processor that OpenVINO knows, its plug-in.
    let capabilities = capabilities.map_err(|error| broken(sentence(&error)))?;
    let version = build.split('-').next().unwrap_or(&build).to_string();
    Ok(Started {
        core: Mutex::new(core),
        info: RuntimeInfo { version, path },
        computes_bfloat16: capabilities.contains("BF16"),
    })
}

/// What OpenVINO says of an error, without the places in its sources.
fn sentence(error: &openvino::InferenceError) -> String {
    let Some(message) = &error.message else {
        return error.kind.to_string();
    };
    let is_place = |line: &&str| {
        let line = line.trim();
        line.is_empty()
            || line.starts_with("Exception from ")
            || line.starts_with("Check ")
    };
    let lines: Vec<&str> = message.lines().filter(|line| !is_place(line)).collect();
    let text = match lines.is_empty() {
        true => message.clone(),
        false => lines.join(" "),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use openvino::{InferenceError, InferenceErrorKind};

    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let error = InferenceError {
            kind: InferenceErrorKind::GeneralError,
            message: Some(message.to_string()),
        };
        assert_eq!(sentence(&error), expected);
    }

    #[test]
    fn places_in_sources_are_left_out() {
        check(
            "Exception from src/inference/src/cpp/core.cpp:117:\n\
             Exception from src/inference/src/dev/device.cpp:54:\n\
             Check '!shape.rank().is_dynamic()' failed at src/node.cpp:108:\n\
             Unexpected: dynamic rank. Operation name: x\n\n\n",
            "Unexpected: dynamic rank. Operation name: x",
        );
        check("Check 'x' failed\n", "Check 'x' failed");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let path =
            std::env::temp_dir().join(format!("no-openvino-{}", std::process::id()));
        std::fs::write(&path, "no library").unwrap();
        // A process keeps the first library it loads, so no other test of this file may
        // load a real one.
        let Err(error) = load(path.clone()) else {
            panic!("a text file was loaded as a library");
        };
        assert!(matches!(error, Error::OpenVinoBroken { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("cargo xtask setup --openvino"), "{text}");
        std::fs::remove_file(&path).unwrap();
    }
}
