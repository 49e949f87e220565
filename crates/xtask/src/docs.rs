//! The function reference, generated from the functions' own documentation, and the book
//! that it is a page of.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::book;
use crate::command::{atoll, build, output, say};

const PAGE: &str = "docs/book/src/reference/functions.md";

/// Writes the page, then checks the book.
pub(crate) fn write() -> Result<()> {
    let page = page()?;
    fs::write(PAGE, page).with_context(|| format!("cannot write {PAGE}"))?;
    say(&format!("wrote {PAGE}"));
    book::check()
}

/// Fails if the page is not what [`write`] would write, or the book is broken.
pub(crate) fn check() -> Result<()> {
    book::check()?;
    // A checkout on Windows may have other line ends.
    let found = fs::read_to_string(PAGE)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    if found != page()? {
        bail!("{PAGE} is stale; run cargo xtask docs and commit it");
    }
    say(&format!("{PAGE} is up to date"));
    Ok(())
}

fn page() -> Result<String> {
    build()?;
    output(Command::new(atoll()?).args(["functions", "--markdown"]))
}
