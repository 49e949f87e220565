//! The wheel: the program as a script of a Python environment, with a small module.
//!
//! It is made for no version of Python (`py3-none`): the program links none, and the module
//! is source. ONNX Runtime is a requirement and not a part, because its own wheel is what
//! the program looks for beside itself. The format is that of
//! <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{Arguments, Package, VERSION};
use super::{
    check_version, commit, crates, glibc, licences, read, sbom, stripped, tracked, write,
};
use crate::command::{cargo_with, output, say, status, target};

/// The glibc that cargo-zigbuild links against, that of ONNX Runtime's own wheel.
const GLIBC: (u32, u32) = (2, 28);

/// What the wheel asks of its environment. Of ONNX Runtime, releases since the one that
/// the tests run with.
const REQUIREMENTS: &str = "\
Requires-Python: >=3.11
Requires-Dist: onnxruntime<2,>=1.32
Provides-Extra: python
Requires-Dist: adbc-driver-flightsql>=1.7; extra == \"python\"
Requires-Dist: adbc-driver-manager>=1.7; extra == \"python\"
Requires-Dist: pyarrow>=20; extra == \"python\"
Provides-Extra: notebook
Requires-Dist: atoll[python]; extra == \"notebook\"
Requires-Dist: pandas>=2.2; extra == \"notebook\"
Requires-Dist: ipython>=8; extra == \"notebook\"
Requires-Dist: ipykernel>=6; extra == \"notebook\"
";

/// The folder of the module's source.
const MODULE: &str = "python/atoll";

/// Packs the files of a folder into a zip file: the target, the folder, the list of them with
/// their modes. The same files give the same bytes.
const PACK: &str = "\
import shutil, sys, zipfile
target, folder, files = sys.argv[1:]
with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as wheel:
    for line in open(files, encoding='utf-8').read().splitlines():
        mode, path = line.split(' ', 1)
        info = zipfile.ZipInfo(path)
        info.create_system = 3
        info.external_attr = (0o100000 | int(mode, 8)) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        with open(f'{folder}/{path}', 'rb') as source, wheel.open(info, 'w') as member:
            shutil.copyfileobj(source, member)
";

/// Makes the wheel.
pub(super) fn run(package: &Package, arguments: &Arguments) -> Result<()> {
    let target = arguments.target.as_ref().unwrap_or(&package.target);
    let built = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build(target)?,
    };
    let staging = arguments
        .output
        .join(format!(".staging-{}", std::process::id()));
    fs::create_dir_all(&staging)?;
    let made = make(
        target,
        target == &package.target,
        &built,
        arguments,
        &staging,
    );
    let _ = fs::remove_dir_all(&staging);
    made
}

fn make(
    target: &str,
    is_ours: bool,
    built: &Path,
    arguments: &Arguments,
    staging: &Path,
) -> Result<()> {
    let program = if is_ours {
        let binary = stripped(built, staging)?;
        check_version(&binary)?;
        read(&binary)?
    } else {
        // This machine's tools neither run nor strip it; the build left the tables of
        // lines away.
        say("this program was not run: it is for another processor");
        read(built)?
    };
    let platform = platform(&program)?;
    if arguments.binary.is_none() && glibc(&program) > Some(GLIBC) {
        bail!(
            "the binary needs a later glibc than {}.{}",
            GLIBC.0,
            GLIBC.1
        );
    }
    let wheel = wheel(target, &platform, program)?;
    let name = format!("atoll-{VERSION}-py3-none-{platform}.whl");
    let packed = staging.join(&name);
    wheel.pack(&staging.join("files"), &packed)?;
    write(&arguments.output.join(name), &read(&packed)?)
}

/// Everything that the wheel holds.
fn wheel(target: &str, platform: &str, program: Vec<u8>) -> Result<Wheel> {
    let crates = crates::linked(target)?;
    let info = format!("atoll-{VERSION}.dist-info");
    let mut wheel = Wheel::new(&info);
    wheel.program(&format!("atoll-{VERSION}.data/scripts/atoll"), program);
    for file in tracked(MODULE)? {
        let name = file.strip_prefix("python")?;
        wheel.file(&name.display().to_string(), read(&file)?);
    }
    wheel.file(&format!("{info}/METADATA"), metadata().into_bytes());
    wheel.file(&format!("{info}/WHEEL"), about(platform).into_bytes());
    let ours = read(Path::new("LICENSE"))?;
    wheel.file(&format!("{info}/licenses/LICENSE"), ours);
    let others = licences::render(&crates)?;
    wheel.file(&format!("{info}/licenses/rust.txt"), others.into_bytes());
    let credits = read(Path::new("sql/data/CREDITS.md"))?;
    wheel.file(&format!("{info}/licenses/CREDITS.md"), credits);
    let bill = sbom::render(target, None, &crates)?;
    wheel.file(&format!("{info}/sboms/atoll.cdx.json"), bill);
    Ok(wheel)
}

/// Builds the release for glibc 2.28 with cargo-zigbuild.
fn build(platform: &str) -> Result<PathBuf> {
    output(Command::new("cargo-zigbuild").arg("--version")).context(
        "cargo-zigbuild is needed to build for an older glibc: \
         pip install cargo-zigbuild ziglang; or name a binary with --binary",
    )?;
    let versioned = format!("{platform}.{}.{}", GLIBC.0, GLIBC.1);
    let args = [
        "zigbuild",
        "--release",
        "--locked",
        "--package",
        "atoll",
        "--target",
        &versioned,
        "--config",
        "profile.release.strip='debuginfo'",
    ];
    cargo_with(&args, &[("ATOLL_COMMIT", &commit()?)])?;
    Ok(target()?.join(platform).join("release/atoll"))
}

/// The tag of the systems that a program runs on, such as `manylinux_2_28_x86_64`: its
/// processor, and the later one of the versions of glibc that it and ONNX Runtime need.
fn platform(program: &[u8]) -> Result<String> {
    const LINUX: &[u8] = b"\x7fELF";
    // Where the header of an ELF file says for which processor it is.
    let machine = program.get(18..20).filter(|_| program.starts_with(LINUX));
    let processor = match machine {
        Some([62, 0]) => "x86_64",
        Some([183, 0]) => "aarch64",
        _ => bail!("wheels are made of Linux programs for x86_64 and aarch64"),
    };
    let needed = glibc(program).context("the binary names no version of glibc")?;
    let (major, minor) = needed.max(GLIBC);
    say(&format!("it needs glibc {major}.{minor} or later"));
    Ok(format!("manylinux_{major}_{minor}_{processor}"))
}

/// What `pip` reads about the package.
fn metadata() -> String {
    format!(
        "Metadata-Version: 2.4\n\
         Name: atoll\n\
         Version: {VERSION}\n\
         Summary: Deep learning in SQL on Arrow\n\
         Keywords: sql,deep learning,hyperparameters,images,arrow\n\
         License-Expression: Apache-2.0\n\
         License-File: LICENSE\n\
         License-File: rust.txt\n\
         License-File: CREDITS.md\n\
         {REQUIREMENTS}\
         Description-Content-Type: text/markdown\n\
         \n\
         {}",
        include_str!("WHEEL.md")
    )
}

fn about(platform: &str) -> String {
    format!(
        "Wheel-Version: 1.0\n\
         Generator: cargo xtask package ({VERSION})\n\
         Root-Is-Purelib: false\n\
         Tag: py3-none-{platform}\n"
    )
}

/// Files on their way into a wheel, and the list of their hashes.
struct Wheel {
    record: String,
    /// By path, which gives the wheel its order.
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Wheel {
    /// A wheel whose list is in the folder `info`.
    fn new(info: &str) -> Self {
        Self {
            record: format!("{info}/RECORD"),
            files: BTreeMap::new(),
        }
    }

    fn file(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_string(), (0o644, bytes));
    }

    fn program(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_string(), (0o755, bytes));
    }

    /// Writes the wheel to `target`, by way of the folder `staging`.
    fn pack(mut self, staging: &Path, target: &Path) -> Result<()> {
        let mut record = String::new();
        for (path, (_, bytes)) in &self.files {
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
            writeln!(record, "{path},sha256={hash},{}", bytes.len())?;
        }
        // The list cannot hold its own hash.
        writeln!(record, "{},,", self.record)?;
        let path = self.record.clone();
        self.file(&path, record.into_bytes());
        let mut list = String::new();
        for (path, (mode, bytes)) in &self.files {
            let file = staging.join(path);
            fs::create_dir_all(file.parent().context("a file has no folder")?)?;
            fs::write(&file, bytes)?;
            writeln!(list, "{mode:o} {path}")?;
        }
        let files = staging.join("files.txt");
        fs::write(&files, list)?;
        let mut pack = Command::new("python3");
        pack.arg("-c").arg(PACK);
        status(pack.arg(target).arg(staging).arg(&files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python finds in a wheel: modes, sizes and paths, and the text of the list.
    const READ: &str = "\
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
for info in wheel.infolist():
    print(f'{info.external_attr >> 16 & 0o777:o} {info.file_size} {info.filename}')
print(wheel.read('a.dist-info/RECORD').decode(), end='')
";

    fn packed(folder: &Path) -> Vec<u8> {
        let mut wheel = Wheel::new("a.dist-info");
        wheel.file("atoll/__init__.py", b"abc".to_vec());
        wheel.program("a.data/scripts/atoll", vec![0x7f; 1_000]);
        let target = folder.join("a.whl");
        wheel.pack(&folder.join("files"), &target).unwrap();
        read(&target).unwrap()
    }

    #[test]
    fn the_list_has_every_file_with_its_hash_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let first = packed(folder.path());
        let mut read = Command::new("python3");
        read.args(["-c", READ]).arg(folder.path().join("a.whl"));
        let found = output(&mut read).unwrap();
        // The hash is that of "abc" as the specification of wheels writes it.
        let expected = "755 1000 a.data/scripts/atoll\n\
            274 a.dist-info/RECORD\n\
            644 3 atoll/__init__.py\n";
        let record = found.lines().skip(3).collect::<Vec<_>>();
        assert_eq!(record.len(), 3, "{found}");
        let list = record.join("\n").len() + 1;
        let expected = expected.replace("274", &format!("644 {list}"));
        assert!(found.starts_with(&expected), "{found}");
        assert!(record[0].starts_with("a.data/scripts/atoll,sha256="));
        let hash = "sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0,3";
        assert_eq!(record[1], format!("atoll/__init__.py,{hash}"));
        assert_eq!(record[2], "a.dist-info/RECORD,,");
        let again = tempfile::tempdir().unwrap();
        assert_eq!(first, packed(again.path()), "the same files, other bytes");
    }

    #[test]
    fn the_tag_is_what_the_program_needs() {
        let program = |machine: u8, needs: &[u8]| {
            let mut bytes = vec![0; 20];
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[18] = machine;
            bytes.extend_from_slice(needs);
            bytes
        };
        let check = |program: Vec<u8>, expected: Option<&str>| {
            assert_eq!(platform(&program).ok().as_deref(), expected);
        };
        check(
            program(62, b"\0GLIBC_2.17\0"),
            Some("manylinux_2_28_x86_64"),
        );
        check(
            program(183, b"\0GLIBC_2.34\0"),
            Some("manylinux_2_34_aarch64"),
        );
        check(program(8, b"\0GLIBC_2.34\0"), None);
        check(program(62, b""), None);
        check(b"MZ".to_vec(), None);
    }

    #[test]
    fn headers_stand_before_the_description() {
        let metadata = metadata();
        let (headers, description) = metadata.split_once("\n\n").unwrap();
        assert!(headers.lines().all(|line| line.contains(": ")), "{headers}");
        assert!(description.starts_with('#'), "{description}");
    }
}
