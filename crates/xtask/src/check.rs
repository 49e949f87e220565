//! Everything that CI runs, in the order in which it fails fastest.

use anyhow::Result;

use crate::command::{cargo, say};
use crate::{docs, layers, setup};

pub(crate) fn run() -> Result<()> {
    setup::run()?;
    // Tests of the second engine run where there is a wheel of it.
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        setup::openvino()?;
    }
    layers::run()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?;
    cargo(&["test", "--workspace"])?;
    docs::check()?;
    say("all checks passed");
    Ok(())
}
