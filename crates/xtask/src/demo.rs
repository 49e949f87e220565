//! Builds the program and runs its demo.

use std::process::Command;

use anyhow::Result;

use crate::command::{atoll, build, line, say, status};
use crate::setup;

pub(crate) fn run() -> Result<()> {
    setup::run()?;
    build()?;
    let mut demo = Command::new(atoll()?);
    demo.args(["demo", "out/demo"]);
    say(&line(&demo));
    status(&mut demo)
}
