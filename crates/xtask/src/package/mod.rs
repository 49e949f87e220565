//! The packages: one archive that runs on a bare Linux, and beside it a bill of materials
//! and the hashes of both; or a wheel for `pip install`, which has its bill inside.
//!
//! The same commit, toolchain and binary give the same bytes. What is linked is asked of
//! cargo for this target, so tests and build scripts leave no trace in the licences.

mod archive;
mod crates;
mod licences;
mod sbom;
mod wheel;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use self::archive::Archive;
use crate::command::{cargo_with, git_output, output, say, status, target};
use crate::setup::{self, Library};

const USAGE: &str = "\
Usage: cargo xtask package [--wheel] [--target TARGET] [--binary PATH] [--output FOLDER]

  --wheel          Make a wheel for pip and uvx; cargo-zigbuild builds it for glibc 2.28
  --target TARGET  Make the wheel for this platform, such as aarch64-unknown-linux-gnu
  --binary PATH    Package this binary instead of building one with --release
  --output FOLDER  Write here [default: out/package]";

/// The version of everything in the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shell completions: the shell, and where its packages put scripts.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/atoll"),
    ("zsh", "share/zsh/site-functions/_atoll"),
    ("fish", "share/fish/vendor_completions.d/atoll.fish"),
];

/// Folders of the repository that come along, and where to.
const FOLDERS: [(&str, &str); 2] = [("sql", "sql"), ("docs/book/src", "share/doc/atoll")];

/// What the user chose.
struct Arguments {
    is_wheel: bool,
    target: Option<String>,
    binary: Option<PathBuf>,
    output: PathBuf,
}

/// What the files are about.
struct Package {
    /// Such as `atoll-0.1.0-x86_64-unknown-linux-gnu`.
    name: String,
    /// The platform as rustc calls it.
    target: String,
    /// Seconds since 1970 that all files carry.
    time: u64,
}

/// Makes the package.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let arguments = Arguments::parse(args)?;
    let package = Package::here()?;
    if arguments.is_wheel {
        return wheel::run(&package, &arguments);
    }
    let built = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let library = setup::library_with_notices()?;
    let crates = crates::linked(&package.target)?;
    say(&format!("{} crates are linked", crates.len()));

    fs::create_dir_all(&arguments.output)?;
    let staging = arguments
        .output
        .join(format!(".staging-{}", std::process::id()));
    fs::create_dir_all(&staging)?;
    let packed = package.pack(&built, &library, &crates, &staging);
    let _ = fs::remove_dir_all(&staging);
    let archive = packed?;
    let bill = sbom::render(&package.target, Some(&library), &crates)?;

    let files = [
        (format!("{}.tar.gz", package.name), archive),
        (format!("{}.cdx.json", package.name), bill),
    ];
    let mut sums = String::new();
    for (name, bytes) in &files {
        write(&arguments.output.join(name), bytes)?;
        sums.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))));
    }
    write(
        &arguments.output.join(format!("{}.sha256", package.name)),
        sums.as_bytes(),
    )
}

impl Arguments {
    fn parse(mut args: &[&str]) -> Result<Self> {
        let mut arguments = Self {
            is_wheel: false,
            target: None,
            binary: None,
            output: PathBuf::from("out/package"),
        };
        while let Some((option, rest)) = args.split_first() {
            match (*option, rest) {
                ("--wheel", rest) => {
                    arguments.is_wheel = true;
                    args = rest;
                }
                ("--target", [target, rest @ ..]) => {
                    arguments.target = Some((*target).to_string());
                    args = rest;
                }
                ("--binary", [path, rest @ ..]) => {
                    arguments.binary = Some(PathBuf::from(path));
                    args = rest;
                }
                ("--output", [path, rest @ ..]) => {
                    arguments.output = PathBuf::from(path);
                    args = rest;
                }
                _ => bail!("unknown or incomplete option '{option}'\n\n{USAGE}"),
            }
        }
        if arguments.target.is_some() && !arguments.is_wheel {
            bail!("--target goes with --wheel only\n\n{USAGE}");
        }
        Ok(arguments)
    }
}

impl Package {
    fn here() -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let about = output(Command::new(rustc).args(["--version", "--verbose"]))?;
        let target = about
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc does not say for which host it compiles")?;
        Ok(Self {
            name: format!("atoll-{VERSION}-{target}"),
            target: target.to_string(),
            time: time()?,
        })
    }

    /// The bytes of the archive.
    fn pack(
        &self,
        built: &Path,
        library: &Library,
        crates: &[crates::Crate],
        staging: &Path,
    ) -> Result<Vec<u8>> {
        let binary = stripped(built, staging)?;
        check_version(&binary)?;
        let bytes = read(&binary)?;
        let mut archive = Archive::new(&self.name, self.time);
        archive.program("bin/atoll", bytes.clone());
        let name = format!("lib/{}", library.name);
        archive.program(&name, read(&library.path)?);
        for (shell, path) in COMPLETIONS {
            let script = output(Command::new(&binary).args(["completions", shell]))?;
            archive.file(path, script.into_bytes());
        }
        let manual = staging.join("man1");
        status(Command::new(&binary).arg("man").arg(&manual))?;
        archive.folder("share/man/man1", &manual)?;
        for (from, to) in FOLDERS {
            for file in tracked(from)? {
                let path = file.strip_prefix(from)?;
                let path = format!("{to}/{}", path.display());
                archive.file(&path, read(&file)?);
            }
        }
        archive.file("LICENSE", read(Path::new("LICENSE"))?);
        let third_party = licences::render(crates)?;
        archive.file("licences/rust.txt", third_party.into_bytes());
        for notice in &library.notices {
            let name = notice.file_name().context("a notice has no name")?;
            let path = format!("licences/onnxruntime/{}", name.display());
            archive.file(&path, read(notice)?);
        }
        archive.file("README.md", self.readme(&bytes, library)?.into_bytes());
        archive.finish()
    }

    /// How to use the archive, on which systems.
    fn readme(&self, binary: &[u8], library: &Library) -> Result<String> {
        let library_needs = glibc(&read(&library.path)?);
        let needs = glibc(binary).max(library_needs);
        let (major, minor) = needs.context("the binary names no version of glibc")?;
        say(&format!("it needs glibc {major}.{minor} or later"));
        Ok(include_str!("README.md.in")
            .replace("{version}", VERSION)
            .replace("{target}", &self.target)
            .replace("{name}", &self.name)
            .replace("{onnxruntime}", library.version)
            .replace("{glibc}", &format!("{major}.{minor}")))
    }
}

fn build() -> Result<PathBuf> {
    let args = ["build", "--release", "--locked", "--package", "atoll"];
    cargo_with(&args, &[("ATOLL_COMMIT", &commit()?)])?;
    Ok(target()?.join("release/atoll"))
}

/// A copy without the tables of lines, which are most of the file and serve debuggers
/// only. The names of functions stay, for the report of a crash.
fn stripped(built: &Path, staging: &Path) -> Result<PathBuf> {
    let copy = staging.join("atoll");
    let mut strip = Command::new("strip");
    strip
        .arg("--strip-debug")
        .arg("-o")
        .args([&copy])
        .arg(built);
    status(&mut strip).context(
        "cannot strip the binary; install binutils, which the linker comes with",
    )?;
    Ok(copy)
}

/// Fails unless the binary is of this version.
fn check_version(binary: &Path) -> Result<()> {
    let said = output(Command::new(binary).arg("--version"))?;
    if said.trim() != format!("atoll {VERSION}") {
        bail!(
            "{} says '{}', not atoll {VERSION}",
            binary.display(),
            said.trim()
        );
    }
    Ok(())
}

/// The commit that is built, which `atoll --version --verbose` says.
fn commit() -> Result<String> {
    let commit = git_output(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git_output(&["status", "--porcelain", "--untracked-files=no"])?;
    let changed = if changes.is_empty() {
        ""
    } else {
        " and changes"
    };
    Ok(format!("{}{changed}", commit.trim()))
}

/// The time of the commit, so that packing it twice gives the same bytes.
fn time() -> Result<u64> {
    let time = match env::var("SOURCE_DATE_EPOCH") {
        Ok(time) => time,
        Err(_) => git_output(&["log", "-1", "--format=%ct"])?,
    };
    time.trim()
        .parse()
        .with_context(|| format!("no time in seconds since 1970: '{}'", time.trim()))
}

/// The files of a folder that are part of the repository.
fn tracked(folder: &str) -> Result<Vec<PathBuf>> {
    let list = git_output(&["ls-files", "-z", "--", folder])?;
    let paths = list
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    Ok(paths.filter(|path| path.is_file()).collect())
}

/// The latest version of glibc that a file asks for, by the names of its symbols'
/// versions, such as `GLIBC_2.34`.
fn glibc(bytes: &[u8]) -> Option<(u32, u32)> {
    let name = b"GLIBC_";
    let places = bytes.windows(name.len()).enumerate();
    let places = places.filter(|(_, window)| window == name);
    places
        .filter_map(|(at, _)| {
            let rest = &bytes[at + name.len()..];
            let end = rest.iter().position(|byte| *byte == 0)?;
            let version = std::str::from_utf8(&rest[..end]).ok()?;
            let (major, minor) = version.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .max()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    let size = bytes.len() as f64 / f64::from(1 << 20);
    say(&format!("wrote {} ({size:.1} MiB)", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_glibc_counts() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(glibc(bytes), expected, "{}", bytes.escape_ascii());
        };
        check(b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0", Some((2, 34)));
        check(b"\0GLIBC_PRIVATE\0GLIBC_2.17\0", Some((2, 17)));
        check(b"\0GLIBCXX_3.4\0", None);
    }

    #[test]
    fn options_need_their_values() {
        let arguments = Arguments::parse(&["--binary", "a", "--output", "b"]).unwrap();
        assert_eq!(arguments.binary, Some(PathBuf::from("a")));
        assert_eq!(arguments.output, PathBuf::from("b"));
        assert!(!arguments.is_wheel);
        let wheel = Arguments::parse(&["--wheel", "--target", "t"]).unwrap();
        assert!(wheel.is_wheel && wheel.target.as_deref() == Some("t"));
        assert!(Arguments::parse(&["--target", "t"]).is_err());
        assert!(Arguments::parse(&["--binary"]).is_err());
        assert!(Arguments::parse(&["--nonsense"]).is_err());
    }
}
