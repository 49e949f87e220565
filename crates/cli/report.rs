//! `atoll report`, `atoll plot` and the prompt's `\plot`.
//!
//! What they show is gathered by SQL (`gather` and the files beside it) and drawn by
//! `atoll-report`, which knows no SQL.

mod again;
mod columns;
mod files;
mod gather;
mod labels;
mod study;
mod test;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atoll_report::{About, Chart, Kind, Subject, chart, page, png, svg, terminal};
use atoll_session::Session;
use clap::Args;
use clap::builder::PossibleValuesParser;
use tokio::runtime::Handle;

use self::gather::{Wanted, gather};
use crate::errors::{Failure, suggest};
use crate::exit::Ending;
use crate::progress::Progress;
use crate::session_args::SessionArgs;
use crate::terminal::color_allowed;

/// How often progress is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Arguments of `atoll report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Tables, Parquet files or folders with the trials of a study or labelled images
    #[arg(value_name = "STUDY", required = true)]
    pub(crate) studies: Vec<String>,

    /// Write the page here; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub(crate) output: PathBuf,

    /// Test the best network of each study on this table or file, and show what it gets
    /// wrong
    ///
    /// It has an image and a label column. If it has a split column with 'test' rows,
    /// only those count.
    #[arg(long, value_name = "DATASET")]
    pub(crate) test: Option<String>,

    /// Show this many images of each kind; 0 reads no image
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) images: usize,

    /// Draw the contour of these two hyperparameters, not of the two that matter most
    #[arg(long, value_name = "NAME,NAME", value_parser = two_names)]
    pub(crate) contour: Option<[String; 2]>,
}

/// Arguments of `atoll plot`.
#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// A table, Parquet file or folder with the trials of a study or labelled images
    #[arg(value_name = "STUDY")]
    pub(crate) study: String,

    /// Draw this [default: learning-rate, or scores of labelled images]
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    pub(crate) kind: Option<String>,

    /// Draw the contour of these two hyperparameters, not of the two that matter most
    #[arg(long, value_name = "NAME,NAME", value_parser = two_names)]
    pub(crate) contour: Option<[String; 2]>,

    /// Write the drawing here, as its name ends in .svg or .png
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

fn all_kinds() -> impl Iterator<Item = &'static str> {
    Kind::STUDY.into_iter().chain(Kind::LABELS).map(Kind::name)
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(all_kinds())
}

/// Two names with a comma between them.
fn two_names(text: &str) -> Result<[String; 2], String> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names[..] {
        [one, other] if !one.is_empty() && !other.is_empty() && one != other => {
            Ok([one, other].map(String::from))
        }
        _ => Err("name two hyperparameters, such as learning_rate,hidden".to_string()),
    }
}

/// Writes a page about studies and labelled images.
pub(crate) async fn report(
    args: &ReportArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let wanted = Wanted {
        test: args.test.clone(),
        images: args.images,
        contour: args.contour.clone(),
    };
    let studies = args.studies.clone();
    let opened = Arc::new(Session::new(session.options().await?).await?);
    let make = async move {
        let mut subjects = Vec::new();
        for study in &studies {
            subjects.push(gather(&opened, study, &wanted).await?);
        }
        if wanted.contour.is_some() {
            has_contour(&subjects)?;
        }
        let about = About {
            made_at: columns::now(&opened).await?,
            made_by: format!("Atoll {}", atoll_session::VERSION),
        };
        page(&subjects, &about).map_err(Failure::from)
    };
    match attended(make, session.quiet, work).await? {
        Some(html) => write(&args.output, html.as_bytes(), session.quiet),
        None => Ok(Ending::Cancelled),
    }
}

/// A contour that was asked for and no study has is a mistake, and no gap in a page.
fn has_contour(subjects: &[Subject]) -> Result<(), Failure> {
    let mut reason = None;
    for subject in subjects {
        match chart(subject, Kind::Contour) {
            Ok(_) => return Ok(()),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    reason.map_or(Ok(()), |error| Err(error.into()))
}

/// Writes one chart.
pub(crate) async fn plot(
    args: &PlotArgs,
    session: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    let draw = drawn_as(&args.output)?;
    let kind = args.kind.as_deref().and_then(Kind::from_name);
    // Who names its hyperparameters wants a contour.
    let kind = kind.or(args.contour.as_ref().map(|_| Kind::Contour));
    let wanted = Wanted {
        contour: args.contour.clone(),
        ..Wanted::default()
    };
    let study = args.study.clone();
    let opened = Arc::new(Session::new(session.options().await?).await?);
    let make = async move {
        let subject = gather(&opened, &study, &wanted).await?;
        draw(&one_chart(&subject, kind)?)
    };
    match attended(make, session.quiet, work).await? {
        Some(bytes) => write(&args.output, &bytes, session.quiet),
        None => Ok(Ending::Cancelled),
    }
}

/// Reads a table, file or folder for a page.
pub(crate) async fn read(session: &Session, name: &str) -> Result<Subject, Failure> {
    gather(session, name, &Wanted::default()).await
}

/// The stored tables and views that a page can show.
pub(crate) async fn tables(session: &Session) -> Result<Vec<String>, Failure> {
    gather::tables(session).await
}

/// Draws in the terminal: `\plot [KIND] [TABLE]`, `width` characters a line.
///
/// Without a kind it is the first one that the table has; without a table, the only
/// stored table that has one.
pub(crate) async fn plot_terminal(
    session: &Session,
    argument: Option<&str>,
    width: usize,
) -> Result<String, Failure> {
    let words = argument.unwrap_or_default().trim();
    let (first, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    let kind = Kind::from_name(first);
    let table = match kind {
        Some(_) => rest.trim(),
        None => words,
    };
    if kind.is_none() && !rest.is_empty() {
        let kinds: Vec<&str> = all_kinds().collect();
        let failure = Failure::new(format!("unknown kind of chart {first}"));
        return Err(failure.hint(match suggest(first, &kinds) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("kinds are {}", kinds.join(", ")),
        }));
    }
    let table = match table {
        "" => gather::only_table(session).await?,
        // As it is written in SQL, or only its name.
        named => named.trim_matches('\'').to_string(),
    };
    let subject = gather(session, &table, &Wanted::default()).await?;
    let chart = one_chart(&subject, kind)?;
    let colors = color_allowed() && io::stdout().is_terminal();
    terminal(&chart, width, colors).map_err(Failure::from)
}

/// The chart that was asked for, or the first one that the data allow.
fn one_chart(subject: &Subject, kind: Option<Kind>) -> Result<Chart, Failure> {
    let kinds = Kind::of(subject);
    let names = || {
        kinds
            .iter()
            .map(|kind| kind.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(kind) = kind {
        return chart(subject, kind).map_err(|error| match kinds.contains(&kind) {
            true => error.into(),
            false => Failure::from(error).hint(format!("kinds are {}", names())),
        });
    }
    let mut reason = None;
    for kind in kinds {
        match chart(subject, *kind) {
            Ok(chart) => return Ok(chart),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    Err(reason.map_or_else(|| Failure::new("there is nothing to draw"), Failure::from))
}

impl From<atoll_report::Error> for Failure {
    fn from(error: atoll_report::Error) -> Self {
        Self::new(error.to_string())
    }
}

type Draw = fn(&Chart) -> Result<Vec<u8>, Failure>;

/// How a file of this name is drawn.
fn drawn_as(path: &Path) -> Result<Draw, Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let draw: Draw = match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("svg") => |chart| svg(chart).map(String::into_bytes).map_err(Failure::from),
        Some("png") => |chart| png(chart).map_err(Failure::from),
        _ => {
            let name = path.display();
            let failure = Failure::new(format!("cannot tell what to draw from {name}"));
            return Err(failure.hint("name a file that ends in .svg or .png"));
        }
    };
    Ok(draw)
}

/// Runs work where it keeps no one from hearing Ctrl-C, with its progress; none if the
/// user ended it.
async fn attended<T: Send + 'static>(
    future: impl Future<Output = Result<T, Failure>> + Send + 'static,
    quiet: bool,
    work: &Handle,
) -> Result<Option<T>, Failure> {
    let mut task = work.spawn(future);
    let mut progress = Progress::new(quiet);
    progress.start();
    let mut frames = tokio::time::interval(FRAME);
    let ended = loop {
        tokio::select! {
            biased;
            Ok(()) = tokio::signal::ctrl_c() => {
                task.abort();
                break None;
            }
            ended = &mut task => break Some(ended),
            _ = frames.tick() => progress.draw(),
        }
    };
    progress.clear();
    match ended {
        None => Ok(None),
        Some(Ok(made)) => made.map(Some),
        // The panic hook has said what happened.
        Some(Err(_)) => Err(Failure::new("the report was given up")),
    }
}

fn write(path: &Path, bytes: &[u8], quiet: bool) -> Result<Ending, Failure> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        return Ok(Ending::Finished);
    }
    std::fs::write(path, bytes).map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", path.display()))
    })?;
    if !quiet {
        let size = bytes.len().div_ceil(1024);
        // Standard error being closed leaves no one to tell.
        let _ = writeln!(io::stderr(), "wrote {} ({size} KiB)", path.display());
    }
    Ok(Ending::Finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_how_to_draw() {
        for name in ["a.svg", "a.PNG", "b.c/d.png"] {
            assert!(drawn_as(Path::new(name)).is_ok(), "{name}");
        }
        for name in ["a", "a.jpg", "svg", "-"] {
            let failure = drawn_as(Path::new(name)).unwrap_err();
            assert!(failure.message.ends_with(name), "{}", failure.message);
        }
    }
}
