//! Everything that CI runs, in the order in which it fails fastest.

use anyhow::Result;

use crate::command::{cargo, say};
use crate::{docs, layers, setup};

pub(crate) fn run() -> Result<()> {
    setup::run()?;
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
