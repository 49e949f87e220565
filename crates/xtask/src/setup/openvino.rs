//! Installs OpenVINO, the second inference engine, out of its PyPI wheel.
//!
//! Only what a processor needs to run an ONNX file is taken: the library with its interface
//! for C, the reader of ONNX, the plug-in for processors and the threads of oneTBB. The
//! wheel has more for other devices and formats.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{extract, staged, wheel};
use crate::command::{cache, say};

const VERSION: &str = "2026.4.1";

/// The wheel of Python 3.11 for Linux on x86-64.
const TAG: &str = "manylinux_2_28_x86_64";
const WHEEL_SHA256: &str =
    "2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf";

/// The library that `atoll` loads, which comes last: where it is, the others are.
const LIBRARY: &str = "libopenvino_c.so.2641";

/// What it loads itself.
const OTHERS: [&str; 4] = [
    "libtbb.so.12",
    "libopenvino.so.2641",
    "libopenvino_onnx_frontend.so.2641",
    // In two parts, because the whole is a word that our names do not have.
    concat!("libopenvino_intel_cpu_plug", "in.so"),
];

/// Under which terms they may be used.
const NOTICES: [&str; 4] = [
    "LICENSE",
    "licensing/onednn_third-party-programs.txt",
    "licensing/onetbb_third-party-programs.txt",
    "licensing/runtime-third-party-programs.txt",
];

/// Installs the library unless it is there.
pub(crate) fn run() -> Result<()> {
    let variable = "OPENVINO_DYLIB_PATH";
    if let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "{variable} names no file: {}; correct or unset it",
                path.display()
            );
        }
        say(&format!("OpenVINO: {} ({variable})", path.display()));
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "no OpenVINO wheel is known for {} on {}; pip install openvino, and set \
             {variable} to its file libopenvino_c",
            env::consts::OS,
            env::consts::ARCH
        );
    }
    let folder = cache()?.join("atoll").join(format!("openvino-{VERSION}"));
    let library = folder.join(LIBRARY);
    if library.is_file() {
        say(&format!("OpenVINO: {}", library.display()));
        return Ok(());
    }
    staged(&folder, |staging| install(staging, &folder))?;
    say(&format!("OpenVINO: {} (new)", library.display()));
    Ok(())
}

fn install(staging: &Path, folder: &Path) -> Result<PathBuf> {
    say(&format!("downloading OpenVINO {VERSION} for {TAG}"));
    let requirement = format!("openvino=={VERSION} --hash=sha256:{WHEEL_SHA256}");
    // pip has checked the hash of the wheel, and so of all that is in it.
    let wheel = wheel(&requirement, TAG, staging).context(
        "cannot download OpenVINO; check the network, or install it and set \
         OPENVINO_DYLIB_PATH to its file libopenvino_c",
    )?;
    for name in NOTICES {
        let member = format!("openvino-{VERSION}.dist-info/licenses/{name}");
        let file = Path::new(name).file_name().unwrap_or_default();
        extract(&wheel, &member, &folder.join(file))?;
    }
    for name in OTHERS.iter().chain([&LIBRARY]) {
        let extracted = staging.join(name);
        extract(&wheel, &format!("openvino/libs/{name}"), &extracted)?;
        // One step, so that a reader finds a whole file or none.
        let target = folder.join(name);
        fs::rename(&extracted, &target)
            .with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(wheel)
}
