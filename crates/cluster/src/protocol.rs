//! What clients, executors and the scheduler tell each other beside Ballista: who runs
//! which task, how far it is, and what went wrong. JSON over the scheduler's own port.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use atoll_compute::progress::{FunctionRows, ProgressView, RunningTrial, Tasks, Trials};
use serde::{Deserialize, Serialize};

/// Answers [`Hello`].
pub(crate) const VERSION: &str = "/version";
/// A client announces a [`NewJob`]; `/jobs/<key>/<submission>` answers [`JobState`], where
/// the submission is what Ballista calls the job.
pub(crate) const JOBS: &str = "/jobs";
/// An executor starts a task: [`TaskId`], answered by [`Attempt`].
pub(crate) const START: &str = "/work/start";
/// An executor starts a row of a task that failed before: [`RowsId`], likewise.
pub(crate) const START_ROWS: &str = "/work/row";
/// An executor says what its tasks do: [`Report`], answered by [`Wanted`].
pub(crate) const REPORT: &str = "/work/report";
/// An executor's supervisor says that it is gone: its name.
pub(crate) const GONE: &str = "/work/gone";
/// A client orders a run: `NewRun`; `/runs` lists all, `/runs/<id>` shows one, and DELETE
/// ends it.
pub(crate) const RUNS: &str = "/runs";
/// An executor asks for a run to start: its name, answered by `TakenRun` or nothing.
pub(crate) const TAKE_RUN: &str = "/work/run/take";
/// An executor says what a run does: `RunReport`, answered by whether it is to go on.
pub(crate) const REPORT_RUN: &str = "/work/run/report";
/// How many tasks run at once: [`Slots`].
pub(crate) const SLOTS: &str = "/slots";
/// Whether an executor is connected: `/executors/<id>`.
pub(crate) const EXECUTORS: &str = "/executors";
/// A client's job stands still although slots are free.
pub(crate) const STALLED: &str = "/stalled";
/// Everything, for people and for programs.
pub(crate) const STATUS: &str = "/status";
pub(crate) const STATUS_JSON: &str = "/status.json";

/// How often executors report and clients ask.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// Who answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Always `atoll`, so that another server's answer is not mistaken for one.
    pub(crate) name: String,
    pub(crate) version: String,
}

/// A job, before its tasks are submitted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewJob {
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) tasks: u64,
    pub(crate) rows: u64,
    /// What the client calls itself: user, host and process.
    pub(crate) client: String,
    /// Tells the client from all others, with which it shares the slots.
    pub(crate) session: String,
    /// Whether slow tasks are to be found, so that they can be run a second time.
    pub(crate) speculates: bool,
}

/// What Ballista is given as the name of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobName {
    /// The job's own name.
    pub(crate) key: String,
    /// The task, where Ballista's job is a second attempt at that one; nothing where it is
    /// all tasks of the job.
    pub(crate) task: Option<u32>,
}

impl JobName {
    /// Reads what `Display` wrote.
    pub(crate) fn parse(name: &str) -> Self {
        let second = name.rsplit_once('/');
        let second = second.and_then(|(key, task)| Some((key, task.parse().ok()?)));
        let (key, task) = second.map_or((name, None), |(key, task)| (key, Some(task)));
        Self {
            key: key.to_string(),
            task,
        }
    }
}

impl Display for JobName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.task {
            Some(task) => write!(f, "{}/{task}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct JobState {
    pub(crate) pending: u64,
    pub(crate) running: u64,
    pub(crate) done: u64,
    pub(crate) progress: WireProgress,
    /// The first error of a task, as the user should read it.
    pub(crate) error: Option<String>,
    /// Seconds since an executor last said anything about the job.
    pub(crate) silent_seconds: u64,
    /// Slots of the executors that are connected.
    pub(crate) slots: usize,
    /// Slots without a task.
    pub(crate) free: usize,
    /// Tasks that take far longer than the others did.
    pub(crate) slow: Vec<u32>,
}

/// Slots of the executors that are connected, and those without a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Slots {
    pub(crate) all: usize,
    pub(crate) free: usize,
}

/// A task on an executor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TaskId {
    pub(crate) job: String,
    pub(crate) task: u32,
    pub(crate) executor: String,
}

/// Rows of a task that are evaluated together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RowsId {
    pub(crate) task: TaskId,
    /// Which operator of the task evaluates them; 0 for rows that go into the task.
    pub(crate) operator: u32,
    /// The first of them.
    pub(crate) row: u64,
    /// How many there are.
    pub(crate) rows: u64,
}

/// How often something was started without coming to an end, this time included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) attempt: u32,
    /// How many of the attempts before came to no row that could have been what ended
    /// them.
    pub(crate) unexplained: u32,
    /// Whether another executor has completed the task, whose result counts.
    pub(crate) superseded: bool,
}

/// What an executor's tasks do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) executor: String,
    pub(crate) tasks: Vec<TaskReport>,
}

/// What a task does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskReport {
    pub(crate) id: TaskId,
    pub(crate) progress: WireProgress,
    /// Nothing while it runs.
    pub(crate) end: Option<End>,
}

/// How a task ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum End {
    Done,
    Failed(String),
    Cancelled,
}

/// What an executor that reports should stop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Jobs that nobody waits for any more.
    pub(crate) over: Vec<String>,
    /// Tasks that another executor has completed, with their jobs.
    pub(crate) superseded: Vec<(String, u32)>,
}

/// A [`ProgressView`] on its way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WireProgress {
    pub(crate) trials: Option<WireTrials>,
    pub(crate) rows: Vec<WireRows>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WireTrials {
    pub(crate) total: u64,
    pub(crate) done: u64,
    pub(crate) running: Vec<WireTrial>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WireTrial {
    pub(crate) name: String,
    pub(crate) epoch: u32,
    pub(crate) epochs: u32,
    pub(crate) loss: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WireRows {
    pub(crate) label: String,
    pub(crate) total: u64,
    pub(crate) done: u64,
    pub(crate) seconds: f64,
}

impl From<ProgressView> for WireProgress {
    fn from(snapshot: ProgressView) -> Self {
        let trial = |trial: RunningTrial| WireTrial {
            name: trial.name,
            epoch: trial.epoch,
            epochs: trial.epochs,
            loss: trial.loss.filter(|loss| loss.is_finite()),
        };
        let rows = |rows: FunctionRows| WireRows {
            seconds: rows.since.elapsed().as_secs_f64(),
            label: rows.label,
            total: rows.total,
            done: rows.done,
        };
        Self {
            trials: snapshot.trials.map(|trials| WireTrials {
                total: trials.total,
                done: trials.done,
                running: trials.running.into_iter().map(trial).collect(),
            }),
            rows: snapshot.rows.into_iter().map(rows).collect(),
        }
    }
}

impl From<WireProgress> for ProgressView {
    fn from(wire: WireProgress) -> Self {
        let trial = |trial: WireTrial| RunningTrial {
            name: trial.name,
            epoch: trial.epoch,
            epochs: trial.epochs,
            loss: trial.loss,
        };
        let now = Instant::now();
        let rows = |rows: WireRows| {
            let ago = Duration::try_from_secs_f64(rows.seconds).unwrap_or_default();
            FunctionRows {
                label: rows.label,
                total: rows.total,
                done: rows.done,
                since: now.checked_sub(ago).unwrap_or(now),
            }
        };
        Self {
            trials: wire.trials.map(|trials| Trials {
                total: trials.total,
                done: trials.done,
                running: trials.running.into_iter().map(trial).collect(),
            }),
            rows: wire.rows.into_iter().map(rows).collect(),
            tasks: None,
        }
    }
}

impl JobState {
    /// The progress of the job, for the bars of a client.
    pub(crate) fn snapshot(&self) -> ProgressView {
        ProgressView {
            tasks: Some(Tasks {
                pending: self.pending,
                running: self.running,
                done: self.done,
            }),
            ..self.progress.clone().into()
        }
    }
}
