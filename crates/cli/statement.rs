//! Runs one statement after the other and writes their rows.
//!
//! The prompt, scripts and jobs all run their statements here, and nothing here knows which
//! of them it is. A statement runs in a task of its own, so that Ctrl-C returns at once even while a
//! long computation holds its thread: dropping the task's stream cancels the rest,
//! training included.

use std::io::Write;
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
use tokio_util::task::AbortOnDropHandle;

use crate::errors::{Failure, is_transient};
use crate::exit::Ending;
use crate::notes::note;
use crate::output::{
    Expanded, Out, ReaderState, RowFormat, RowWriter, Screen, TableFit, row_writer,
};
use crate::prepared::{Place, PreparedScript, SqlSource};
use crate::progress::Progress;
use crate::script::Script;
use crate::session_args::SessionArgs;
use crate::terminal;

/// Record batches that may wait to be written.
const BATCHES_AHEAD: usize = 4;
/// How long cancelled work may take to clean up before the prompt returns without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines of the screen that a result leaves to the statement and the next prompt.
const PROMPT_LINES: usize = 2;
/// How often progress is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How rows, and what is said beside them, are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) format: RowFormat,
    /// Whether tables have a line for each column.
    pub(crate) expanded: Expanded,
    /// How much of a table is written.
    pub(crate) fit: TableFit,
    /// Say how long each statement took.
    pub(crate) timing: bool,
    /// Say what a statement warns of. A job with a log of its own says so there.
    pub(crate) warnings: bool,
}

/// Runs statements in one session and writes their rows to one place.
pub(crate) struct StatementRunner {
    pub(crate) session: Arc<Session>,
    cluster: Option<Arc<dyn TaskRunner>>,
    /// Where statements run; never the thread that listens to the user.
    work: Handle,
    pub(crate) shown: Shown,
    /// Where statements say which files they wrote, if anyone asks.
    pub(crate) writes: Option<WriteLog>,
    /// What is known of the statement that ran last.
    pub(crate) seen: StatementSummary,
    out: Out,
    progress: Progress,
    /// Changes at each Ctrl-C.
    interrupts: watch::Receiver<()>,
}

/// What a statement gave, for the records of jobs.
#[derive(Debug, Default)]
pub(crate) struct StatementSummary {
    /// Rows that were returned.
    rows: u64,
    /// The number that a statement which writes returns instead of its rows.
    count: Option<u64>,
    /// The failure may pass by itself, and nothing was written yet.
    pub(crate) transient: bool,
    /// What its user should know, though it may have gone well.
    pub(crate) warnings: Vec<String>,
}

impl StatementSummary {
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

impl StatementRunner {
    /// Makes the session that the options describe, and connects to its cluster.
    pub(crate) async fn new(args: &SessionArgs, work: &Handle) -> Result<Self, Failure> {
        let options = args.options().await?;
        let cluster = options.cluster.clone();
        let session = Session::new(options).await?;
        Ok(Self {
            session: Arc::new(session),
            cluster,
            work: work.clone(),
            shown: Shown {
                format: args.format,
                expanded: Expanded::Off,
                fit: TableFit::All,
                timing: false,
                warnings: true,
            },
            writes: None,
            seen: StatementSummary::default(),
            out: Out::stdout(),
            progress: Progress::new(args.quiet),
            interrupts: watch_interrupts(),
        })
    }

    /// Runs the statements of a text without parameters, up to the first error.
    pub(crate) async fn run_text(
        &mut self,
        text: &str,
        place: Place,
    ) -> Result<Ending, Failure> {
        let prepared = PreparedScript::new(place, Script::verbatim(text))?;
        self.run_prepared(&prepared).await
    }

    /// Runs a script of which only some of the parameters in `set` may be known.
    pub(crate) async fn run_script(
        &mut self,
        path: &Path,
        set: &[(String, String)],
    ) -> Result<Ending, Failure> {
        let prepared =
            PreparedScript::read(&SqlSource::File(path.to_path_buf()), 1, set)?;
        self.run_prepared(&prepared).await
    }

    /// Runs the statements of a text in their order, up to the first error or Ctrl-C.
    pub(crate) async fn run_prepared(
        &mut self,
        prepared: &PreparedScript,
    ) -> Result<Ending, Failure> {
        self.interrupts.mark_unchanged();
        for index in 0..prepared.statements.len() {
            let started = Instant::now();
            let ending = self.run_one(prepared, index).await?;
            if ending == Ending::Cancelled {
                note("cancelled");
                return Ok(ending);
            }
            if self.shown.timing {
                note(&format!("Time: {:.3} s", started.elapsed().as_secs_f64()));
            }
        }
        Ok(Ending::Finished)
    }

    /// Runs one statement of a text; a failure says which and where.
    pub(crate) async fn run_one(
        &mut self,
        prepared: &PreparedScript,
        index: usize,
    ) -> Result<Ending, Failure> {
        let statement = &prepared.statements[index];
        let ending = self.run_statement(&statement.sql).await;
        self.progress.clear();
        self.out.end().await?;
        self.seen.warnings = self.session.warnings();
        if self.shown.warnings {
            for warning in &self.seen.warnings {
                note(&format!("warning: {warning}"));
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
        self.seen = StatementSummary::default();
        let session = Arc::clone(&self.session);
        let task = produce(session, sql.to_string(), self.writes.clone(), sender);
        let mut task = AbortOnDropHandle::new(self.work.spawn(task));
        match self.consume(receiver).await? {
            (ending, ReaderState::Left) => {
                task.abort();
                let _ = tokio::time::timeout(PATIENCE, &mut task).await;
                if let Some(cluster) = &self.cluster {
                    cluster.settle().await;
                }
                Ok(ending)
            }
            (ending, ReaderState::Reads) => match task.await {
                Ok(()) => Ok(ending),
                // The panic hook has said what happened.
                Err(_) => Err(Failure::new("the statement was given up")),
            },
        }
    }

    /// Writes the rows, up to the last one or until nobody wants more.
    async fn consume(
        &mut self,
        mut events: mpsc::Receiver<StatementEvent>,
    ) -> Result<(Ending, ReaderState), Failure> {
        let mut frames = tokio::time::interval(FRAME);
        let mut writer: Option<Box<dyn RowWriter + Send>> = None;
        loop {
            let event = tokio::select! {
                biased;
                Ok(()) = self.interrupts.changed() => {
                    return Ok((Ending::Cancelled, ReaderState::Left));
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
                (Some(StatementEvent::Failed(error)), _) => {
                    // Rows that were written cannot be taken back, and would come twice.
                    self.seen.transient = is_transient(&error) && self.seen.rows == 0;
                    return Err(error.into());
                }
                (Some(StatementEvent::Schema(schema)), writer) => {
                    let Shown {
                        format,
                        expanded,
                        fit,
                        ..
                    } = self.shown;
                    *writer = Some(row_writer(format, expanded, fit, &schema));
                    continue;
                }
                (Some(StatementEvent::Rows(batch)), Some(writer)) => {
                    self.seen.add(&batch);
                    let out = &mut self.out;
                    self.progress.suspend(|| writer.write(&batch, out))?;
                }
                (None, Some(writer)) => {
                    let out = &mut self.out;
                    self.progress.suspend(|| writer.finish(out))?;
                }
                (Some(StatementEvent::Rows(_)) | None, None) => {}
            }
            if self.out.needs_pager() {
                self.progress.clear();
            }
            let reader = tokio::select! {
                biased;
                Ok(()) = self.interrupts.changed() => {
                    return Ok((Ending::Cancelled, ReaderState::Left));
                }
                reader = self.out.settle() => reader?,
            };
            if ended || reader == ReaderState::Left {
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
        self.shown.fit = TableFit::All;
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
        self.shown.fit = TableFit::Screen(Screen { width, page });
    }

    /// Waits; tells whether Ctrl-C ended it before its time.
    pub(crate) async fn pause(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.interrupts.changed())
            .await
            .is_ok()
    }
}

/// What the task of a statement sends to whoever writes its rows: the schema first, then the
/// rows, at the end perhaps an error.
enum StatementEvent {
    Schema(SchemaRef),
    Rows(RecordBatch),
    Failed(DataFusionError),
}

/// Runs one statement and sends its events. Ends early when the receiver is gone, because
/// nobody wants the rest then.
async fn produce(
    session: Arc<Session>,
    sql: String,
    writes: Option<WriteLog>,
    events: mpsc::Sender<StatementEvent>,
) {
    let stream = match &writes {
        Some(writes) => session.execute_logged(&sql, writes).await,
        None => session.execute(&sql).await,
    };
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            let _ = events.send(StatementEvent::Failed(error)).await;
            return;
        }
    };
    if events
        .send(StatementEvent::Schema(stream.schema()))
        .await
        .is_err()
    {
        return;
    }
    while let Some(batch) = stream.next().await {
        let event = batch.map_or_else(StatementEvent::Failed, StatementEvent::Rows);
        if events.send(event).await.is_err() {
            return;
        }
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
