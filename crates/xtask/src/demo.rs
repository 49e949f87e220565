//! The demo: tunes networks on handwritten digits, then labels photos.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::command::{atoll, build, line, output, say, status};
use crate::setup;

const OUTPUT: &str = "out/demo";
const STORAGE: &str = "out/demo/storage";

pub(crate) fn run() -> Result<()> {
    setup::run()?;
    build()?;
    let start = Instant::now();
    say("tuning networks on 1,797 handwritten digits; a second run finds them trained");
    job("sql/jobs/digits_search.sql", &["output=out/demo/digits"])?;
    say("labelling nine photos with a pretrained network");
    job(
        "sql/jobs/label_images.sql",
        &["images=sql/data/photos", "output=out/demo/labels"],
    )?;
    say(&format!(
        "done in {:.0} s; it wrote",
        start.elapsed().as_secs_f64()
    ));
    for (what, path) in [
        (
            "every trial, with its curve and its model",
            "digits/trials.parquet",
        ),
        (
            "the best network, on digits it never saw",
            "digits/best.parquet",
        ),
        ("the labels of the photos, and what failed", "labels"),
    ] {
        eprintln!("  {OUTPUT}/{path}  {what}");
    }
    eprintln!("  {}  the best network itself", best_model()?.trim());
    say("two queries to try next");
    for sql in [
        format!(
            "SELECT learning_rate, hidden, validation_accuracy FROM '{OUTPUT}/digits/trials.parquet' \
             ORDER BY validation_accuracy DESC LIMIT 5"
        ),
        "SELECT filename, classify('sql/data/efficientnet-lite0.onnx', content, 3) AS labels \
         FROM read_blob('sql/data/photos/*.png')"
            .to_string(),
    ] {
        eprintln!("\n  {}", line(&query(&atoll()?, &sql)));
    }
    Ok(())
}

fn job(script: &str, parameters: &[&str]) -> Result<()> {
    let mut run = Command::new(atoll()?);
    run.args(["--storage", STORAGE, "run", script]);
    for parameter in parameters {
        run.args(["--set", parameter]);
    }
    say(&line(&run));
    status(&mut run)
}

fn query(atoll: &Path, sql: &str) -> Command {
    let mut command = Command::new(atoll);
    command.args(["-c", sql]);
    command
}

/// Where the script left the network that it found best.
fn best_model() -> Result<String> {
    let sql = format!("SELECT model FROM '{OUTPUT}/digits/best.parquet'");
    let mut command = query(&atoll()?, &sql);
    let csv = output(command.args(["-q", "--format", "csv"]))?;
    Ok(csv.lines().last().unwrap_or_default().to_string())
}
