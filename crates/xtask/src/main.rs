//! Set-up, demo, checks and generated pages: `cargo xtask <task>`.
//!
//! Every task does its own set-up, so each works on a machine with Rust and Python 3
//! and nothing else. CI runs `check` and nothing that a developer cannot run.

mod book;
mod check;
mod command;
mod demo;
mod docs;
mod layers;
mod package;
mod setup;
mod walks;
mod words;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
Usage: cargo xtask <task>

Tasks:
  setup         Install ONNX Runtime into the cache folder
  setup --openvino  Install OpenVINO beside it, for SET atoll.inference = 'openvino'
  demo          Tune networks on digits, then label photos
  check         Run everything that CI runs
  docs          Write the function reference, a page of the book
  docs --check  Fail if the function reference is stale, or a link of the book is dead
  layers        Fail if a crate depends on one above it
  package       Make an archive that runs on a bare Linux, with a bill of materials
  package --wheel  Make a wheel for pip and uvx";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    // Paths in the tasks are relative to the workspace, wherever cargo was called.
    std::env::set_current_dir(command::workspace())?;
    match args {
        ["setup"] => setup::run(),
        ["setup", "--openvino"] => setup::openvino(),
        ["demo"] => demo::run(),
        ["check"] => check::run(),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["layers"] => layers::run(),
        ["package", args @ ..] => package::run(args),
        [] | ["help" | "--help" | "-h"] => {
            eprintln!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown task '{}'\n\n{USAGE}", other.join(" ")),
    }
}
