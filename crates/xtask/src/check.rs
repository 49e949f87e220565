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
    let clock = ["-p", "atoll-schedule", "--features", "simulated-clock"];
    let all = ["clippy", "--all-targets"].iter().chain(&clock);
    cargo(
        &all.chain(&["--", "-D", "warnings"])
            .copied()
            .collect::<Vec<_>>(),
    )?;
    cargo(&["test", "--workspace"])?;
    cargo(&[&["test"], &clock[..]].concat())?;
    docs::check()?;
    say("all checks passed");
    Ok(())
}
