//! Installs ONNX Runtime, and OpenVINO for those who ask for it.
//!
//! It comes out of its PyPI wheel: one file, built by its makers, whose hash is known
//! here. The wheel's Python version does not matter, since no Python ever loads it; it
//! is fixed so that one hash a platform is enough. An `ORT_DYLIB_PATH` that is set wins.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command::{cache, output, say, status};

mod openvino;

pub(crate) use openvino::run as openvino;

const VERSION: &str = "1.32.0";

/// What one platform installs.
struct Platform {
    os: &'static str,
    arch: &'static str,
    /// The wheel's platform tag.
    tag: &'static str,
    wheel_sha256: &'static str,
    /// The library's name, in the wheel and in the cache folder.
    library: &'static str,
    library_sha256: &'static str,
}

const PLATFORMS: [Platform; 3] = [
    Platform {
        os: "linux",
        arch: "x86_64",
        tag: "manylinux_2_28_x86_64",
        wheel_sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        library: "libonnxruntime.so.1.32.0",
        library_sha256: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        tag: "manylinux_2_28_aarch64",
        wheel_sha256: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        library: "libonnxruntime.so.1.32.0",
        library_sha256: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        tag: "macosx_14_0_arm64",
        wheel_sha256: "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
        library: "libonnxruntime.1.32.0.dylib",
        library_sha256: "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7",
    },
];

/// The files of the wheel that say under which terms the library may be used.
const NOTICES: [&str; 2] = ["LICENSE", "ThirdPartyNotices.txt"];

/// Copies one member of a zip file: the wheel, the member, the target.
const EXTRACT: &str = "\
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as source, open(sys.argv[3], 'wb') as target:
    shutil.copyfileobj(source, target)
";

/// Installs the library unless it is there.
pub(crate) fn run() -> Result<()> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "ORT_DYLIB_PATH names no file: {}; correct or unset it",
                path.display()
            );
        }
        say(&format!(
            "ONNX Runtime: {} (ORT_DYLIB_PATH)",
            path.display()
        ));
        return Ok(());
    }
    let platform = platform()?;
    let folder = folder()?;
    let library = folder.join(platform.library);
    if library.is_file() && sha256(&library)? == platform.library_sha256 {
        say(&format!("ONNX Runtime: {}", library.display()));
        return Ok(());
    }
    staged(&folder, |staging| install(platform, staging, &library))?;
    say(&format!("ONNX Runtime: {} (new)", library.display()));
    Ok(())
}

/// ONNX Runtime as a package ships it.
pub(crate) struct Library {
    /// The file's name.
    pub(crate) name: &'static str,
    /// Its release.
    pub(crate) version: &'static str,
    /// The SHA-256 of the file.
    pub(crate) sha256: &'static str,
    /// The file.
    pub(crate) path: PathBuf,
    /// Its licence, and those of what it was built from.
    pub(crate) notices: Vec<PathBuf>,
}

/// Installs the library unless it is there, and its licences.
pub(crate) fn library_with_notices() -> Result<Library> {
    let platform = platform()?;
    let folder = folder()?;
    let path = folder.join(platform.library);
    let notices: Vec<PathBuf> = NOTICES.iter().map(|name| folder.join(name)).collect();
    let is_there = path.is_file() && sha256(&path)? == platform.library_sha256;
    if !is_there || !notices.iter().all(|notice| notice.is_file()) {
        staged(&folder, |staging| {
            let wheel = install(platform, staging, &path)?;
            for (name, notice) in NOTICES.iter().zip(&notices) {
                extract(&wheel, &format!("onnxruntime/{name}"), notice)?;
            }
            Ok(wheel)
        })?;
    }
    Ok(Library {
        name: platform.library,
        version: VERSION,
        sha256: platform.library_sha256,
        path,
        notices,
    })
}

fn platform() -> Result<&'static Platform> {
    let here = |platform: &&Platform| {
        platform.os == env::consts::OS && platform.arch == env::consts::ARCH
    };
    PLATFORMS.iter().find(here).with_context(|| {
        format!(
            "no ONNX Runtime wheel is known for {} on {}; install ONNX Runtime {VERSION} \
             and set ORT_DYLIB_PATH to its library",
            env::consts::OS,
            env::consts::ARCH
        )
    })
}

/// Where `atoll` looks for the library.
fn folder() -> Result<PathBuf> {
    Ok(cache()?
        .join("atoll")
        .join(format!("onnxruntime-{VERSION}")))
}

/// Does something with a folder that goes away: whatever happened, the wheel in it is of
/// no more use.
fn staged(folder: &Path, work: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    let staging = folder.join(format!(".download-{}", std::process::id()));
    fs::create_dir_all(&staging)
        .with_context(|| format!("cannot create the folder {}", staging.display()))?;
    let done = work(&staging);
    let _ = fs::remove_dir_all(&staging);
    done.map(drop)
}

/// Downloads the wheel, which it returns, and takes the library out of it.
fn install(platform: &Platform, staging: &Path, library: &Path) -> Result<PathBuf> {
    let wheel = download(platform, staging)?;
    let extracted = staging.join(platform.library);
    let member = format!("onnxruntime/capi/{}", platform.library);
    extract(&wheel, &member, &extracted)?;
    let found = sha256(&extracted)?;
    if found != platform.library_sha256 {
        bail!("{} has the wrong SHA-256, {found}", platform.library);
    }
    // One step, so that a reader finds the whole library or none.
    fs::rename(&extracted, library)
        .with_context(|| format!("cannot write {}", library.display()))?;
    Ok(wheel)
}

fn extract(wheel: &Path, member: &str, target: &Path) -> Result<()> {
    let mut extract = Command::new("python3");
    extract.arg("-c").arg(EXTRACT).arg(wheel);
    status(extract.arg(member).arg(target))
}

fn download(platform: &Platform, staging: &Path) -> Result<PathBuf> {
    let requirement = format!(
        "onnxruntime=={VERSION} --hash=sha256:{}",
        platform.wheel_sha256
    );
    say(&format!(
        "downloading ONNX Runtime {VERSION} for {}",
        platform.tag
    ));
    wheel(&requirement, platform.tag, staging).context(
        "cannot download ONNX Runtime; check the network, or install it and set \
         ORT_DYLIB_PATH to its library",
    )
}

/// Downloads the one wheel that a requirement with its hash means.
fn wheel(requirement: &str, tag: &str, staging: &Path) -> Result<PathBuf> {
    require_pip()?;
    let requirements = staging.join("requirements.txt");
    fs::write(&requirements, format!("{requirement}\n"))?;
    let mut pip = Command::new("python3");
    // `download` works where `install` refuses: it touches no environment.
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.args([
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--abi",
        "cp311",
    ]);
    pip.args(["--platform", tag, "--dest"]).arg(staging);
    pip.arg("--requirement").arg(&requirements);
    status(&mut pip)?;
    let wheels =
        fs::read_dir(staging)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut wheels =
        wheels.filter(|path| path.extension().is_some_and(|ext| ext == "whl"));
    wheels.next().context("pip downloaded no wheel")
}

fn require_pip() -> Result<()> {
    output(Command::new("python3").args(["-m", "pip", "--version"])).map(drop).context(
        "python3 with pip is needed once, to download the library; install it (Debian and \
         Ubuntu: apt install python3-pip), or set ORT_DYLIB_PATH to an ONNX Runtime library",
    )
}

fn sha256(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut file =
        File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    io::copy(&mut file, &mut HashWriter(&mut digest))?;
    Ok(hex::encode(digest.finalize()))
}

/// Feeds a hash from [`io::copy`].
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_hashed() {
        let path = env::temp_dir().join(format!("atoll-xtask-{}", std::process::id()));
        fs::write(&path, "abc").unwrap();
        let hash = sha256(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
