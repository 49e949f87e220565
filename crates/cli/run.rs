//! Runs statements and writes their rows.
//!
//! A statement runs in a task of its own, so that Ctrl-C returns at once even while a
//! long computation holds its thread: dropping the task's stream cancels the rest,
//! training included.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll_session::{Session, TaskRunner};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::args::{SessionArgs, Source};
use crate::errors::{Failure, suggest};
use crate::output::{Format, Room, RowWriter, row_writer};
use crate::progress::Progress;
use crate::repl::commands;
use crate::script::{self, Script, Statement};
use crate::terminal;

/// Record batches that may wait to be written.
const BATCHES_AHEAD: usize = 4;
/// How long cancelled work may take to clean up before the prompt returns without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// The width of a terminal that does not say.
const USUAL_WIDTH: usize = 80;
/// How often progress is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How a run ended, other than by an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Finished,
    /// It ran, and what it found is wrong.
    Wrong,
    /// Ctrl-C.
    Cancelled,
}

/// Where a text comes from, for its errors.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The prompt, where the text is on the screen.
    Prompt,
    /// One of several `-c`, by its number.
    Command(usize),
    /// A pipe that is read as it comes.
    Pipe { lines_before: usize },
    /// A script.
    File(String),
}

impl Place {
    /// What stands in front of an error of the statement with this number and line.
    fn of(&self, number: usize, line: usize, alone: bool) -> String {
        match self {
            Self::Prompt if alone => String::new(),
            Self::Prompt => format!("statement {number}"),
            Self::Command(n) if alone => format!("-c {n}"),
            Self::Command(n) => format!("-c {n}: statement {number}"),
            Self::Pipe { lines_before } => format!("<stdin>:{}", lines_before + line),
            Self::File(file) => format!("{file}:{line}: statement {number}"),
        }
    }
}

/// A session with a place for its rows.
pub(crate) struct Runner {
    pub(crate) session: Arc<Session>,
    cluster: Option<Arc<dyn TaskRunner>>,
    /// Where statements run; never the thread that listens to the user.
    work: Handle,
    pub(crate) format: Format,
    pub(crate) room: Room,
    /// Say how long each statement took.
    pub(crate) timing: bool,
    out: Box<dyn Write + Send>,
    /// Rows go to a file instead of standard output.
    redirected: bool,
    progress: Progress,
    interrupts: watch::Receiver<()>,
}

/// A text that is ready to run.
struct Prepared {
    place: Place,
    script: Script,
    statements: Vec<Statement>,
}

impl Runner {
    pub(crate) async fn new(args: &SessionArgs, work: &Handle) -> Result<Self, Failure> {
        let options = args.options().await?;
        let cluster = options.cluster.clone();
        let session = Session::new(options).await?;
        Ok(Self {
            session: Arc::new(session),
            cluster,
            work: work.clone(),
            format: args.format,
            room: Room::All,
            timing: false,
            out: stdout(),
            redirected: false,
            progress: Progress::new(args.quiet),
            interrupts: watch_interrupts(),
        })
    }

    /// Runs everything in order, up to the first error.
    ///
    /// All of it is read and filled in before any of it runs: a typing error in the
    /// last script must not cost the hours that the first one takes.
    pub(crate) async fn run_all(
        &mut self,
        sources: &[Source],
        set: &[(String, String)],
    ) -> Result<Ending, Failure> {
        let mut prepared = Vec::new();
        for source in sources {
            prepared.push(match source {
                Source::Command(_, sql) if sql.trim_start().starts_with('\\') => None,
                source => Some(prepare(source, sources.len(), set)?),
            });
        }
        check_used(set, prepared.iter().flatten())?;
        for (source, prepared) in sources.iter().zip(&prepared) {
            let ending = match (source, prepared) {
                (_, Some(prepared)) => self.run_prepared(prepared).await?,
                (Source::Command(_, line), None) => {
                    match commands::run(self, line).await? {
                        commands::Next::Continue(ending) => ending,
                        commands::Next::Quit => return Ok(Ending::Finished),
                    }
                }
                (Source::File(_), None) => Ending::Finished,
            };
            if ending != Ending::Finished {
                return Ok(ending);
            }
        }
        Ok(Ending::Finished)
    }

    /// Runs the statements of a text without parameters, up to the first error.
    pub(crate) async fn run_text(
        &mut self,
        text: &str,
        place: Place,
    ) -> Result<Ending, Failure> {
        let script = Script::verbatim(text);
        let statements = split(&script, &place)?;
        self.run_prepared(&Prepared {
            place,
            script,
            statements,
        })
        .await
    }

    async fn run_prepared(&mut self, prepared: &Prepared) -> Result<Ending, Failure> {
        self.interrupts.mark_unchanged();
        for statement in &prepared.statements {
            let started = Instant::now();
            let ending = self.run_statement(&statement.sql).await;
            self.progress.clear();
            let ending = ending.map_err(|failure| prepared.locate(failure, statement))?;
            if ending == Ending::Cancelled {
                self.note("cancelled");
                return Ok(ending);
            }
            if self.timing {
                self.note(&format!("Time: {:.3} s", started.elapsed().as_secs_f64()));
            }
        }
        Ok(Ending::Finished)
    }

    async fn run_statement(&mut self, sql: &str) -> Result<Ending, Failure> {
        self.progress.start();
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = produce(Arc::clone(&self.session), sql.to_string(), sender);
        let mut task = AbortOnDrop(self.work.spawn(task));
        match self.consume(receiver).await? {
            Ending::Cancelled => {
                task.0.abort();
                let _ = tokio::time::timeout(PATIENCE, &mut task.0).await;
                if let Some(cluster) = &self.cluster {
                    cluster.settle().await;
                }
                Ok(Ending::Cancelled)
            }
            ending => match (&mut task.0).await {
                Ok(()) => Ok(ending),
                // The panic hook has said what happened.
                Err(_) => Err(Failure::new("the statement was given up")),
            },
        }
    }

    async fn consume(
        &mut self,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<Ending, Failure> {
        let mut frames = tokio::time::interval(FRAME);
        let mut writer: Option<Box<dyn RowWriter + Send>> = None;
        loop {
            let event = tokio::select! {
                biased;
                Ok(()) = self.interrupts.changed() => return Ok(Ending::Cancelled),
                event = events.recv() => event,
                _ = frames.tick() => {
                    self.progress.draw();
                    continue;
                }
            };
            let out = &mut self.out;
            match (event, &mut writer) {
                (Some(Event::Failed(error)), _) => return Err(error.into()),
                (Some(Event::Schema(schema)), writer) => {
                    *writer = Some(row_writer(self.format, self.room, &schema));
                }
                (Some(Event::Rows(batch)), Some(writer)) => {
                    self.progress.suspend(|| {
                        writer.write(&batch, out)?;
                        Ok::<(), Failure>(out.flush()?)
                    })?
                }
                (None, Some(writer)) => {
                    return self.progress.suspend(|| {
                        writer.finish(out)?;
                        out.flush()?;
                        Ok(Ending::Finished)
                    });
                }
                (Some(Event::Rows(_)) | None, None) => return Ok(Ending::Finished),
            }
        }
    }

    /// Writes text among the rows.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Sends the rows of later statements to a file, or back to standard output.
    pub(crate) fn redirect(&mut self, file: Option<&Path>) -> Result<(), Failure> {
        self.redirected = file.is_some();
        self.room = Room::All;
        self.out = match file {
            None => stdout(),
            Some(path) => {
                let file = File::create(path);
                let file = file.map_err(|error| {
                    Failure::new(format!("cannot write {}: {error}", path.display()))
                })?;
                Box::new(BufWriter::new(file))
            }
        };
        Ok(())
    }

    /// Makes tables fit the screen, if that is where they go.
    pub(crate) fn fit_screen(&mut self) {
        if !self.redirected && io::stdout().is_terminal() {
            let width = terminal::stdout_width().unwrap_or(USUAL_WIDTH);
            self.room = Room::Screen(width);
        }
    }

    /// Says something that is not data.
    pub(crate) fn note(&self, text: &str) {
        // Standard error being closed leaves no one to tell.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// What a statement's task reports, the schema first.
enum Event {
    Schema(SchemaRef),
    Rows(RecordBatch),
    Failed(DataFusionError),
}

/// Runs one statement. Nobody listening means that nobody wants the rest.
async fn produce(session: Arc<Session>, sql: String, events: mpsc::Sender<Event>) {
    let mut stream = match session.execute(&sql).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = events.send(Event::Failed(error)).await;
            return;
        }
    };
    if events.send(Event::Schema(stream.schema())).await.is_err() {
        return;
    }
    while let Some(batch) = stream.next().await {
        let event = batch.map_or_else(Event::Failed, Event::Rows);
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// A task that ends with whoever wanted it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Prepared {
    /// Says in front of a failure which statement failed, and where it is.
    fn locate(&self, failure: Failure, statement: &Statement) -> Failure {
        if failure.broken_pipe {
            return failure;
        }
        let inside = failure
            .position
            .map_or(0, |(line, _)| line.saturating_sub(1));
        let line = self.script.source_line(statement.line + inside);
        let alone = self.statements.len() == 1;
        failure.at(&self.place.of(statement.number, line, alone))
    }
}

/// Reads a source, fills it in and splits it.
fn prepare(
    source: &Source,
    sources: usize,
    set: &[(String, String)],
) -> Result<Prepared, Failure> {
    let (place, script) = match source {
        Source::Command(n, sql) => {
            let place = if sources > 1 {
                Place::Command(*n)
            } else {
                Place::Prompt
            };
            (place, Script::verbatim(sql))
        }
        Source::File(path) => {
            let (file, text) = read(path)?;
            let script = Script::new(&file, &text, set)?;
            (Place::File(file), script)
        }
    };
    let statements = split(&script, &place)?;
    Ok(Prepared {
        place,
        script,
        statements,
    })
}

/// The name and the content of a script; `-` is standard input.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let (file, text) = match path == Path::new("-") {
        true => ("<stdin>".to_string(), io::read_to_string(io::stdin())),
        false => (path.display().to_string(), std::fs::read_to_string(path)),
    };
    match text {
        Ok(text) => Ok((file, text)),
        Err(error) => Err(Failure::new(format!("cannot read {file}: {error}"))
            .hint("name a file with SQL statements, or pass a statement with -c")),
    }
}

fn split(script: &Script, place: &Place) -> Result<Vec<Statement>, Failure> {
    script::split(&script.text).map_err(|error| {
        let line = script.source_line(error.line);
        let alone = error.number == 1;
        Failure::new(format!("syntax error: {}", error.message)).at(&place.of(
            error.number,
            line,
            alone,
        ))
    })
}

/// A `--set` that nothing uses is a typing error.
fn check_used<'a>(
    set: &[(String, String)],
    prepared: impl Iterator<Item = &'a Prepared>,
) -> Result<(), Failure> {
    let known: Vec<&str> = prepared
        .flat_map(|p| &p.script.names)
        .map(String::as_str)
        .collect();
    for (name, _) in set {
        if known.contains(&name.as_str()) {
            continue;
        }
        let failure = Failure::new(format!("--set {name}: no script uses ${{{name}}}"));
        let hint = match (suggest(name, &known), known.is_empty()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, true) => "leave it out, there are no parameters".to_string(),
            (None, false) => format!("the parameters are {}", known.join(", ")),
        };
        return Err(failure.hint(hint));
    }
    Ok(())
}

fn stdout() -> Box<dyn Write + Send> {
    Box::new(BufWriter::new(io::stdout()))
}

/// Changes whenever Ctrl-C is pressed. From here on Ctrl-C no longer ends the process.
fn watch_interrupts() -> watch::Receiver<()> {
    let (sender, receiver) = watch::channel(());
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            sender.send_replace(());
        }
    });
    receiver
}
