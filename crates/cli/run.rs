//! Runs statements and writes their rows.
//!
//! A statement runs in a task of its own, so that Ctrl-C returns at once even while a
//! long computation holds its thread: dropping the task's stream cancels the rest,
//! training included.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll_session::{Session, TaskRunner, WriteLog};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::common::DataFusionError;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::args::{SessionArgs, Source};
use crate::errors::Failure;
use crate::job::is_transient;
use crate::output::{Format, Out, Reader, Room, RowWriter, Screen, row_writer};
use crate::prepared::{Place, Prepared, check_used};
use crate::progress::Progress;
use crate::repl::{Settings, commands};
use crate::script::Script;
use crate::terminal;

/// Record batches that may wait to be written.
const BATCHES_AHEAD: usize = 4;
/// How long cancelled work may take to clean up before the prompt returns without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines of the screen that a result leaves to the statement and the next prompt.
const PROMPT_LINES: usize = 2;
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
    /// Another exit code, which has been explained.
    Code(u8),
}

impl Ending {
    /// The exit code of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Wrong => 1,
            Self::Cancelled => 130,
            Self::Code(code) => code,
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
    /// Where statements say which files they wrote, if anyone asks.
    pub(crate) writes: Option<WriteLog>,
    /// What is known of the last statement.
    pub(crate) seen: Seen,
    /// Say what a statement warns of, unless whoever runs it does.
    pub(crate) notes_warnings: bool,
    /// What the prompt was told and remembers.
    pub(crate) settings: Settings,
    out: Out,
    progress: Progress,
    interrupts: watch::Receiver<()>,
}

/// What a statement gave, for records.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    rows: u64,
    /// The number that a statement which writes returns instead of its rows.
    count: Option<u64>,
    /// The failure may pass by itself, and nothing was written yet.
    pub(crate) transient: bool,
    /// What its user should know, though it may have gone well.
    pub(crate) warnings: Vec<String>,
}

impl Seen {
    /// Rows returned or written.
    pub(crate) fn rows(&self) -> u64 {
        self.count.unwrap_or(self.rows)
    }

    fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let counts = batch.schema_ref().fields().len() == 1
            && batch.schema_ref().field(0).name() == "count";
        let column = batch.columns().first();
        let column = column.and_then(|c| c.as_primitive_opt::<UInt64Type>());
        self.count = column
            .filter(|column| counts && column.len() == 1)
            .map(|column| column.value(0));
    }
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
            writes: None,
            seen: Seen::default(),
            notes_warnings: true,
            settings: Settings::default(),
            out: Out::stdout(),
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
                source => Some(Prepared::read(source, sources.len(), set)?),
            });
        }
        check_used(
            set,
            prepared.iter().flatten().map(|prepared| &prepared.script),
        )?;
        for (source, prepared) in sources.iter().zip(&prepared) {
            let ending = match (source, prepared) {
                (_, Some(prepared)) => {
                    self.settings.last = Some(prepared.script.text.clone());
                    self.run_prepared(prepared).await?
                }
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
        let prepared = Prepared::new(place, Script::verbatim(text))?;
        self.run_prepared(&prepared).await
    }

    /// Runs a script of which only some of the parameters in `set` may be known.
    pub(crate) async fn run_script(
        &mut self,
        path: &Path,
        set: &[(String, String)],
    ) -> Result<Ending, Failure> {
        let prepared = Prepared::read(&Source::File(path.to_path_buf()), 1, set)?;
        self.run_prepared(&prepared).await
    }

    async fn run_prepared(&mut self, prepared: &Prepared) -> Result<Ending, Failure> {
        self.interrupts.mark_unchanged();
        for index in 0..prepared.statements.len() {
            let started = Instant::now();
            let ending = self.run_one(prepared, index).await?;
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

    /// Runs one statement of a text; a failure says which and where.
    pub(crate) async fn run_one(
        &mut self,
        prepared: &Prepared,
        index: usize,
    ) -> Result<Ending, Failure> {
        let statement = &prepared.statements[index];
        let ending = self.run_statement(&statement.sql).await;
        self.progress.clear();
        self.out.end().await?;
        self.seen.warnings = self.session.warnings();
        if self.notes_warnings {
            for warning in &self.seen.warnings {
                self.note(&format!("warning: {warning}"));
            }
        }
        // Ctrl-C in a pager is for the pager.
        self.interrupts.mark_unchanged();
        match ending {
            Ok(ending) => Ok(ending),
            Err(failure) => {
                let context = self.session.context();
                let failure = failure.explain(&statement.sql, context).await;
                Err(prepared.locate(failure, statement))
            }
        }
    }

    /// Cleans up after a statement whose future was dropped.
    pub(crate) async fn give_up(&mut self) {
        self.progress.clear();
        if let Some(cluster) = &self.cluster {
            cluster.settle().await;
        }
    }

    async fn run_statement(&mut self, sql: &str) -> Result<Ending, Failure> {
        self.progress.start();
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        self.seen = Seen::default();
        let session = Arc::clone(&self.session);
        let task = produce(session, sql.to_string(), self.writes.clone(), sender);
        let mut task = AbortOnDrop(self.work.spawn(task));
        match self.consume(receiver).await? {
            (ending, Reader::Left) => {
                task.0.abort();
                let _ = tokio::time::timeout(PATIENCE, &mut task.0).await;
                if let Some(cluster) = &self.cluster {
                    cluster.settle().await;
                }
                Ok(ending)
            }
            (ending, Reader::Reads) => match (&mut task.0).await {
                Ok(()) => Ok(ending),
                // The panic hook has said what happened.
                Err(_) => Err(Failure::new("the statement was given up")),
            },
        }
    }

    /// Writes the rows, up to the last one or until nobody wants more.
    async fn consume(
        &mut self,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<(Ending, Reader), Failure> {
        let mut frames = tokio::time::interval(FRAME);
        let mut writer: Option<Box<dyn RowWriter + Send>> = None;
        loop {
            let event = tokio::select! {
                biased;
                Ok(()) = self.interrupts.changed() => {
                    return Ok((Ending::Cancelled, Reader::Left));
                }
                event = events.recv() => event,
                _ = frames.tick() => {
                    if !self.out.is_paging() {
                        self.progress.draw();
                    }
                    continue;
                }
            };
            let ended = event.is_none();
            match (event, &mut writer) {
                (Some(Event::Failed(error)), _) => {
                    // Rows that were written cannot be taken back, and would come twice.
                    self.seen.transient = is_transient(&error) && self.seen.rows == 0;
                    return Err(error.into());
                }
                (Some(Event::Schema(schema)), writer) => {
                    let expanded = self.settings.expanded;
                    let new = row_writer(self.format, expanded, self.room, &schema);
                    *writer = Some(new);
                    continue;
                }
                (Some(Event::Rows(batch)), Some(writer)) => {
                    self.seen.add(&batch);
                    let out = &mut self.out;
                    self.progress.suspend(|| writer.write(&batch, out))?;
                }
                (None, Some(writer)) => {
                    let out = &mut self.out;
                    self.progress.suspend(|| writer.finish(out))?;
                }
                (Some(Event::Rows(_)) | None, None) => {}
            }
            if self.out.needs_pager() {
                self.progress.clear();
            }
            let reader = tokio::select! {
                biased;
                Ok(()) = self.interrupts.changed() => {
                    return Ok((Ending::Cancelled, Reader::Left));
                }
                reader = self.out.settle() => reader?,
            };
            if ended || reader == Reader::Left {
                return Ok((Ending::Finished, reader));
            }
        }
    }

    /// Writes text among the rows.
    pub(crate) async fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        self.out.settle().await?;
        self.out.end().await
    }

    /// Sends the rows of later statements to a file, or back to standard output.
    pub(crate) fn redirect(&mut self, file: Option<&Path>) -> Result<(), Failure> {
        self.room = Room::All;
        self.out = file.map_or_else(|| Ok(Out::stdout()), Out::file)?;
        Ok(())
    }

    /// Makes tables fit the screen, if that is where they go, and gives what does not
    /// to `pager`.
    pub(crate) fn fit_screen(&mut self, pager: Option<&str>) {
        self.out.page(None);
        let size = terminal::stdout_size().filter(|_| !self.out.is_redirected());
        let Some((rows, width)) = size else { return };
        let page = rows.saturating_sub(PROMPT_LINES).max(1);
        self.out.page(pager.map(|command| (command, page, width)));
        let page = pager.map(|_| page);
        self.room = Room::Screen(Screen { width, page });
    }

    /// Waits; tells whether Ctrl-C ended it before its time.
    pub(crate) async fn pause(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.interrupts.changed())
            .await
            .is_ok()
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
async fn produce(
    session: Arc<Session>,
    sql: String,
    writes: Option<WriteLog>,
    events: mpsc::Sender<Event>,
) {
    let stream = match &writes {
        Some(writes) => session.execute_logged(&sql, writes).await,
        None => session.execute(&sql).await,
    };
    let mut stream = match stream {
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
