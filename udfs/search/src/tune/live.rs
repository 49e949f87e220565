//! A study under way, as the storage shows it to whoever watches.
//!
//! `live/<study>.json` says how far it is, and `live/<study>.parquet` has the rows of the
//! trials that have ended. Both are written anew as the study goes on, and stay when it is
//! over. `live/<study>.stop` asks it to start nothing any more. No result needs any of the
//! three, so a storage that does not take them is no reason to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atoll_udf_common::{Location, storage_root};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::runtime::SpawnedTask;
use datafusion::parquet::arrow::ArrowWriter;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Search;
use super::cut::now;

/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// The rows are written at most this often, and the more seldom the longer it takes.
const PAUSE: Duration = Duration::from_secs(1);
/// How many times as long as a write the pause after it is.
const SHARE: u32 = 20;
/// Without anything new it says so often that the study is alive.
const PULSE: Duration = Duration::from_secs(10);

/// How a study is going.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum State {
    Running,
    /// Nothing is started any more, because somebody asked for that.
    Stopping,
    Stopped,
    Finished,
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// What is shown of a study.
pub(super) struct Live {
    /// The files; none where the storage is no place for them.
    files: Option<Files>,
    dataset: String,
    description: String,
    /// How many trials there will be, if that is known.
    wanted: Option<u64>,
    started_at: String,
    rows: Vec<RecordBatch>,
    /// Rows that are not written yet.
    unwritten: usize,
    running: usize,
    /// Trainings that have begun; a trial that goes on has several.
    begun: u64,
    state: State,
    /// Whether the state is not written yet.
    is_new: bool,
    next_write: Instant,
    /// Whether somebody wants the study to stop.
    asked: Arc<AtomicBool>,
    /// Looks for that. A training that ends must not interrupt it, and it ends with this.
    _looking: Option<SpawnedTask<()>>,
}

struct Files {
    state: Location,
    rows: Location,
    stop: Location,
}

impl Live {
    /// Begins. What asked an earlier run of the same study to stop is forgotten.
    pub(super) async fn begin(search: &Search, options: &ConfigOptions) -> Self {
        let files = Files::of(&search.id, options).ok();
        if let Some(files) = &files {
            let _ = files.stop.store.delete(&files.stop.path).await;
        }
        let trials = search.options.study.trials;
        let asked = Arc::new(AtomicBool::new(false));
        let looking = files.as_ref().map(|files| {
            SpawnedTask::spawn(look(files.stop.clone(), Arc::clone(&asked)))
        });
        let mut live = Self {
            files,
            dataset: search.dataset.clone(),
            description: search.describe(),
            wanted: (trials != u64::MAX).then_some(trials),
            started_at: now(),
            rows: vec![],
            unwritten: 0,
            running: 0,
            begun: 0,
            state: State::Running,
            is_new: true,
            next_write: Instant::now(),
            asked,
            _looking: looking,
        };
        live.write().await;
        live
    }

    /// Adds the row of a trial that has ended.
    pub(super) fn add(&mut self, row: RecordBatch) {
        self.rows.push(row);
        self.unwritten += 1;
    }

    /// Says how many trainings run now and have begun so far, and writes if it is time for
    /// that.
    pub(super) async fn show(&mut self, running: usize, begun: u64) {
        self.running = running;
        self.begun = begun;
        let is_due = self.unwritten > 0 && Instant::now() >= self.next_write;
        if self.is_new || is_due || Instant::now() >= self.next_write + PULSE {
            self.write().await;
        }
    }

    /// Waits until there may be something to show or to do, though no training has ended.
    pub(super) async fn pause(&self) {
        sleep(LOOK).await;
    }

    /// Whether somebody wants the study to stop now; true once.
    pub(super) fn takes_stop(&mut self) -> bool {
        if self.state != State::Running || !self.asked.load(Ordering::Acquire) {
            return false;
        }
        self.state = State::Stopping;
        self.is_new = true;
        true
    }

    /// Whether somebody stopped the study.
    pub(super) fn is_stopped(&self) -> bool {
        self.state == State::Stopping
    }

    /// Says how it ended.
    pub(super) async fn end(&mut self, is_well: bool) {
        self.running = 0;
        self.state = match (self.state, is_well) {
            (State::Stopping, true) => State::Stopped,
            (_, true) => State::Finished,
            (_, false) => State::Failed,
        };
        self.write().await;
    }

    async fn write(&mut self) {
        let Some(files) = &self.files else { return };
        let began = Instant::now();
        if self.unwritten > 0
            && let Some(bytes) = parquet(&self.rows)
        {
            let payload = PutPayload::from(bytes);
            let _ = files.rows.store.put(&files.rows.path, payload).await;
        }
        let state = json!({
            "dataset": self.dataset,
            "study": self.description,
            "state": self.state.name(),
            "trials": self.wanted,
            "ended": self.rows.len(),
            "running": self.running,
            "trainings": self.begun,
            "started_at": self.started_at,
            "updated_at": now(),
        });
        // After the rows, so that whoever reads this finds as many.
        let payload = PutPayload::from(state.to_string());
        let _ = files.state.store.put(&files.state.path, payload).await;
        self.unwritten = 0;
        self.is_new = false;
        self.next_write = Instant::now() + PAUSE.max(began.elapsed() * SHARE);
    }
}

impl Files {
    fn of(study: &str, options: &ConfigOptions) -> Result<Self> {
        let root = storage_root(options)?;
        let file = |ending: &str| root.join(&format!("live/{study}.{ending}"));
        Ok(Self {
            state: file("json")?,
            rows: file("parquet")?,
            stop: file("stop")?,
        })
    }
}

/// Looks for a request to stop until there is one.
async fn look(stop: Location, asked: Arc<AtomicBool>) {
    // A store that does not answer is asked again.
    while stop.store.head(&stop.path).await.is_err() {
        sleep(LOOK).await;
    }
    asked.store(true, Ordering::Release);
}

/// The rows as a file; none if they cannot be one.
fn parquet(rows: &[RecordBatch]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, rows.first()?.schema(), None).ok()?;
    for batch in rows {
        writer.write(batch).ok()?;
    }
    writer.close().ok()?;
    Some(bytes)
}
