//! `atoll demo`: tunes networks on digits, labels photos and writes a page about both.
//!
//! The program carries the data and the scripts, so the demo fetches nothing and works
//! wherever the program does. Each step is a command that the user could have typed: it is
//! shown, parsed and run as such, so the demo cannot do what the command line does not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser};
use tokio::runtime::Handle;

use crate::args::Cli;
use crate::dispatch;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::note;
use crate::session_args::SessionArgs;

/// Arguments of `atoll demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Write the data, the scripts and the results into this folder
    ///
    /// Files that an earlier demo left there stay as they are, scripts that you changed
    /// too; what was trained and labelled is found again.
    #[arg(value_name = "FOLDER", default_value = "atoll-demo")]
    pub(crate) folder: PathBuf,
}

const DIGITS: &str = "digits.parquet";
const TUNE: &str = "digits_search.sql";
const LABEL: &str = "label_images.sql";
const MODEL: &str = "efficientnet-lite0.onnx";

/// What the program carries, by its name in the folder.
const FILES: [(&str, &[u8]); 14] = [
    (DIGITS, include_bytes!("../../sql/data/digits.parquet")),
    (
        MODEL,
        include_bytes!("../../sql/data/efficientnet-lite0.onnx"),
    ),
    ("CREDITS.md", include_bytes!("../../sql/data/CREDITS.md")),
    (TUNE, include_bytes!("../../sql/jobs/digits_search.sql")),
    (LABEL, include_bytes!("../../sql/jobs/label_images.sql")),
    (
        "photos/astronaut.png",
        include_bytes!("../../sql/data/photos/astronaut.png"),
    ),
    (
        "photos/camera.png",
        include_bytes!("../../sql/data/photos/camera.png"),
    ),
    (
        "photos/chelsea.png",
        include_bytes!("../../sql/data/photos/chelsea.png"),
    ),
    (
        "photos/clock_motion.png",
        include_bytes!("../../sql/data/photos/clock_motion.png"),
    ),
    (
        "photos/coffee.png",
        include_bytes!("../../sql/data/photos/coffee.png"),
    ),
    (
        "photos/horse.png",
        include_bytes!("../../sql/data/photos/horse.png"),
    ),
    (
        "photos/hubble_deep_field.jpg",
        include_bytes!("../../sql/data/photos/hubble_deep_field.jpg"),
    ),
    (
        "photos/retina.jpg",
        include_bytes!("../../sql/data/photos/retina.jpg"),
    ),
    (
        "photos/rocket.jpg",
        include_bytes!("../../sql/data/photos/rocket.jpg"),
    ),
];

/// Runs the demo.
pub(crate) async fn demo(
    args: &DemoArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    // Without the library that applies models the second step would fail, after the first
    // one took its time.
    atoll_onnx::runtime().map_err(|error| Failure::new(error.to_string()))?;
    let folder = args.folder.as_path();
    unpack(folder)?;
    let started = Instant::now();
    for (title, line) in steps(folder, session.storage.as_deref()) {
        note(&format!("\n{title}\n$ {}\n", shown(&line)));
        let ending = run(&line, session, work).await?;
        if ending != Ending::Finished {
            return Ok(ending);
        }
    }
    note(&farewell(
        folder,
        session.storage.as_deref(),
        started.elapsed().as_secs_f64(),
    ));
    Ok(Ending::Finished)
}

/// Writes what the program carries, but for files that are there.
fn unpack(folder: &Path) -> Result<(), Failure> {
    if is_occupied(folder) {
        let text = format!("{} holds files that are no demo's", folder.display());
        return Err(Failure::new(text).hint("name a new folder: atoll demo FOLDER"));
    }
    let failed = |path: &Path, error: io::Error| {
        Failure::new(format!("cannot write {}: {error}", path.display()))
            .hint("name a folder that can be written: atoll demo FOLDER")
    };
    fs::create_dir_all(folder.join("photos")).map_err(|error| failed(folder, error))?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        if path.exists() {
            continue;
        }
        // A demo that is killed here leaves no half of a file for the next one.
        let part = folder.join(format!("{name}.part"));
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Whether there are files that no demo wrote: their names may be those of results, which
/// are replaced.
fn is_occupied(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else {
        return false;
    };
    // The first file that a demo writes; another may have been killed while writing it.
    let is_ours = [
        DIGITS.to_string(),
        format!("{DIGITS}.part"),
        "photos".into(),
    ]
    .iter()
    .any(|name| folder.join(name).exists());
    entries.next().is_some() && !is_ours
}

/// What is done, in order: a title, and the words of a command line.
fn steps(folder: &Path, storage: Option<&str>) -> [(&'static str, Vec<String>); 3] {
    let at = |name: &str| folder.join(name).display().to_string();
    let storage = storage.map_or_else(|| at("storage"), str::to_string);
    let line = |words: Vec<String>| {
        let mut line = vec!["atoll".into(), "--storage".into(), storage.clone()];
        line.extend(words);
        line
    };
    let set = |name: &str, value: String| ["--set".into(), format!("{name}={value}")];
    let mut tune = vec!["run".into(), at(TUNE)];
    tune.extend(set("data", at(DIGITS)));
    tune.extend(set("output", at("digits")));
    let mut label = vec!["run".into(), at(LABEL)];
    label.extend(set("images", at("photos")));
    label.extend(set("model", at(MODEL)));
    label.extend(set("output", at("labels")));
    let report = vec![
        "report".into(),
        at("digits/trials.parquet"),
        at("labels"),
        "--test".into(),
        at(DIGITS),
        "--output".into(),
        at("report.html"),
    ];
    [
        (
            "1 of 3: tune 27 networks on 1,797 handwritten digits",
            line(tune),
        ),
        (
            "2 of 3: label nine photos with a pretrained network",
            line(label),
        ),
        ("3 of 3: draw both on a page", line(report)),
    ]
}

/// Runs a command line, with the machine's options of this one.
async fn run(
    line: &[String],
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let mut cli = Cli::try_parse_from(line)
        .map_err(|error| Failure::new(format!("{}: {error}", shown(line))))?;
    cli.session.threads = session.threads;
    cli.session.memory_limit = session.memory_limit;
    cli.session.quiet = session.quiet;
    dispatch(&cli, &[], work).await
}

/// What there is now, and what to try with it.
fn farewell(folder: &Path, storage: Option<&str>, seconds: f64) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let page = folder.join("report.html");
    let page = fs::canonicalize(&page).unwrap_or(page);
    let queries = [
        format!(
            "SELECT learning_rate, hidden, validation_accuracy FROM '{}' \
             ORDER BY validation_accuracy DESC LIMIT 5",
            at("digits/trials.parquet"),
        ),
        format!(
            "SELECT filename, classify('{}', content, 3) AS labels FROM read_blob('{}')",
            at(MODEL),
            at("photos/*.png"),
        ),
    ];
    let storage = storage.map_or_else(|| at("storage"), str::to_string);
    let [tried, labelled] = queries.map(|sql| shown(&["atoll".into(), "-c".into(), sql]));
    let prompt = shown(&["atoll".into(), "--storage".into(), storage]);
    format!(
        "\ndone in {seconds:.0} s\n\n  \
         file://{}\n    the page about both; open it in a browser\n  \
         {}\n    every trial, with its curve and its model\n  \
         {}\n    the labels of the photos, and what failed\n\n\
         try next\n\n  {tried}\n  {labelled}\n  {prompt}",
        page.display(),
        at("digits/trials.parquet"),
        at("labels"),
    )
}

/// A command line as one would type it.
fn shown(words: &[String]) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,".contains(c);
    let words: Vec<String> = words
        .iter()
        .map(|word| match word.chars().all(is_plain) {
            true => word.clone(),
            // Inside double quotes these four mean something to a shell.
            false => {
                let mut quoted = String::from("\"");
                for c in word.chars() {
                    quoted.push_str(if "\"\\$`".contains(c) { "\\" } else { "" });
                    quoted.push(c);
                }
                quoted + "\""
            }
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_folder(name: &str) -> Vec<String> {
        let steps = steps(Path::new(name), None);
        steps.into_iter().map(|(_, line)| shown(&line)).collect()
    }

    #[test]
    fn every_step_is_a_command_line() {
        for (_, line) in steps(Path::new("my demo"), None) {
            assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
        }
    }

    #[test]
    fn steps_are_shown_as_one_would_type_them() {
        let lines = in_folder("d");
        assert_eq!(
            lines[0],
            "atoll --storage d/storage run d/digits_search.sql \
             --set data=d/digits.parquet --set output=d/digits"
        );
        assert!(in_folder("a b")[0].contains("\"a b/digits_search.sql\""));
        assert_eq!(shown(&["$1 \"x\"".to_string()]), "\"\\$1 \\\"x\\\"\"");
    }

    #[test]
    fn a_users_folder_is_no_demos() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_occupied(folder.path()));
        fs::write(folder.path().join("mine"), "").unwrap();
        assert!(is_occupied(folder.path()));
        assert!(unpack(folder.path()).is_err());
        let fresh = folder.path().join("new");
        unpack(&fresh).unwrap();
        fs::write(fresh.join(TUNE), "mine").unwrap();
        unpack(&fresh).unwrap();
        assert_eq!(fs::read(fresh.join(TUNE)).unwrap(), b"mine");
        assert_eq!(fs::read_dir(fresh.join("photos")).unwrap().count(), 9);
    }
}
