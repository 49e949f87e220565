//! Programs that the tasks run.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace, which cargo says when it runs this program: that of another
/// clone may have built it, if both build into one folder.
pub(crate) fn workspace() -> PathBuf {
    let built_in = || env!("CARGO_MANIFEST_DIR").into();
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(built_in);
    Path::new(&here).join("../..")
}

/// Says what happens now.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// The folder for what this machine may forget: `$XDG_CACHE_HOME` or `~/.cache`.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("XDG_CACHE_HOME") {
        return Ok(folder.into());
    }
    let home =
        set("HOME").context("HOME is not set; set it or XDG_CACHE_HOME to a folder")?;
    Ok(Path::new(&home).join(".cache"))
}

/// Where cargo builds. Outside the checkout by default, so that a fresh clone on the
/// same machine need not build everything again.
pub(crate) fn target() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(folder) => Ok(folder.into()),
        None => Ok(cache()?.join("atoll-target")),
    }
}

/// The binary that [`build`] makes.
pub(crate) fn atoll() -> Result<PathBuf> {
    Ok(target()?
        .join("debug")
        .join(format!("atoll{}", env::consts::EXE_SUFFIX)))
}

/// Builds the binary.
pub(crate) fn build() -> Result<()> {
    cargo(&["build", "--package", "atoll"])
}

/// Runs cargo, showing the command and all it says.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    cargo_with(args, &[])
}

/// As [`cargo`], with variables in its environment.
pub(crate) fn cargo_with(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    say(&format!("cargo {}", args.join(" ")));
    let mut command = cargo_command();
    command.args(args).env("CARGO_TARGET_DIR", target()?);
    status(command.envs(variables.iter().copied()))
}

/// What cargo prints to stdout.
pub(crate) fn cargo_output(args: &[&str]) -> Result<String> {
    output(cargo_command().args(args))
}

/// What git prints to stdout.
pub(crate) fn git_output(args: &[&str]) -> Result<String> {
    output(Command::new("git").args(args))
}

/// Cargo as the user would start it. What `cargo run` says about this program in the
/// environment would make build scripts that read it, and all that depends on them,
/// build again.
fn cargo_command() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end; its failure is ours.
pub(crate) fn status(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !status.success() {
        bail!("{} failed with {status}", line(command));
    }
    Ok(())
}

/// Runs a command to its end and returns its stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stderr(Stdio::inherit());
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !output.status.success() {
        bail!("{} failed with {}", line(command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = name(command);
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:".contains(c);
        line.push(' ');
        if arg.chars().all(plain) {
            line.push_str(&arg)
        } else {
            line.push_str(&format!("\"{arg}\""))
        }
    }
    line
}
