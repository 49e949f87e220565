//! `atoll --version`, and with `--verbose` what the program is made of and runs with.

use std::env::consts::{ARCH, OS};
use std::io::{self, Write};

use clap::Args;
use datafusion::arrow::ARROW_VERSION;

use crate::errors::Failure;
use crate::exit::Ending;

/// Print the version instead of running SQL.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print the version; with --verbose, also what it is made of and runs with
    #[arg(short = 'V', long)]
    pub(crate) version: bool,

    /// With --version: say what belongs into the report of a bug
    #[arg(long, requires = "version")]
    pub(crate) verbose: bool,
}

/// Prints the version.
pub(crate) fn print(args: &VersionArgs) -> Result<Ending, Failure> {
    let mut text = format!("atoll {}\n", atoll_session::VERSION);
    if args.verbose {
        for (name, value) in details() {
            text.push_str(&format!("{name:13} {value}\n"));
        }
    }
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Ending::Finished)
}

/// What a bug may depend on.
fn details() -> Vec<(&'static str, String)> {
    let profile = match cfg!(debug_assertions) {
        true => "with assertions",
        false => "release",
    };
    let onnx_runtime = match atoll_onnx::runtime() {
        Ok(info) => format!("{} at {}", info.version, info.path.display()),
        Err(_) => "not found; atoll doctor says where it was looked for".to_string(),
    };
    let mut details = vec![
        ("build", format!("{ARCH} {OS}, {profile}")),
        ("training", atoll_nn::engine()),
        ("ONNX Runtime", onnx_runtime),
        ("DataFusion", datafusion::DATAFUSION_VERSION.to_string()),
        ("Arrow", ARROW_VERSION.to_string()),
        (
            "storage",
            format!("layout {} and earlier", atoll_session::STORAGE_VERSION),
        ),
    ];
    // `cargo xtask package` says it; a build from a checkout has no one commit.
    if let Some(commit) = option_env!("ATOLL_COMMIT") {
        details.insert(0, ("commit", commit.to_string()));
    }
    details
}
