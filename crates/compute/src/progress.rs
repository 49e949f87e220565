//! How far running trials, rows and tasks are, for a terminal or a status page to draw.
//!
//! Work reports to the [`Progress`] it was given without knowing whether anyone looks;
//! a terminal polls [`Progress::view`]. Statements report to the one of the
//! process. A worker of a cluster gives each task a progress of its own, and the client adds
//! what it hears of them to its own with [`Progress::set_remote`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

/// What was running at the moment of the call of [`Progress::view`].
#[derive(Debug, Clone, Default)]
pub struct ProgressView {
    /// Trials, when any were started since the last [`Progress::reset`].
    pub trials: Option<Trials>,
    /// Rows of other expensive functions, by label.
    pub rows: Vec<FunctionRows>,
    /// Tasks of a cluster, when any were submitted.
    pub tasks: Option<Tasks>,
}

/// How far the tasks of a cluster are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Tasks that wait for a slot.
    pub pending: u64,
    /// Tasks that an executor runs.
    pub running: u64,
    /// Tasks that ended.
    pub done: u64,
}

/// How far the trials are.
#[derive(Debug, Clone, Default)]
pub struct Trials {
    /// Trials asked for, finished ones included.
    pub total: u64,
    /// Trials that ended, whatever their status.
    pub done: u64,
    /// Trials in training, the longest-running first.
    pub running: Vec<RunningTrial>,
}

/// A trial in training.
#[derive(Debug, Clone, Default)]
pub struct RunningTrial {
    /// What the user would call it, such as its hyperparameters.
    pub name: String,
    /// Epochs that ended.
    pub epoch: u32,
    /// Epochs asked for.
    pub epochs: u32,
    /// Training loss of the latest epoch, once one ended.
    pub loss: Option<f64>,
}

/// How far the rows of one function are.
#[derive(Debug, Clone)]
pub struct FunctionRows {
    /// The function, such as `classify`.
    pub label: String,
    /// Rows known so far; grows while the input is still being read.
    pub total: u64,
    /// Rows that ended.
    pub done: u64,
    /// When the first row was announced.
    pub since: Instant,
}

/// What was reported so far, here and by other processes.
#[derive(Debug, Default)]
struct ProgressState {
    trials: Trials,
    running: BTreeMap<u64, RunningTrial>,
    next_id: u64,
    rows: Vec<FunctionRows>,
    remote: BTreeMap<String, ProgressView>,
}

/// The place where work reports how far it is. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<ProgressState>>);

static PROCESS: LazyLock<Progress> = LazyLock::new(Progress::default);

impl Progress {
    /// The progress of this process's own statements.
    pub fn process() -> Self {
        PROCESS.clone()
    }

    fn state(&self) -> MutexGuard<'_, ProgressState> {
        // Progress is worth drawing even after another thread panicked over it.
        self.0.lock()
    }

    /// What is running now, here and elsewhere.
    pub fn view(&self) -> ProgressView {
        let state = self.state();
        let trials = (state.trials.total > 0).then(|| Trials {
            running: state.running.values().cloned().collect(),
            ..state.trials
        });
        let here = ProgressView {
            trials,
            rows: state.rows.clone(),
            tasks: None,
        };
        state.remote.values().fold(here, ProgressView::plus)
    }

    /// Forgets what ended, before a new statement. Trials still running keep their
    /// place.
    pub fn reset(&self) {
        let mut state = self.state();
        let running = state.running.len() as u64;
        state.trials = Trials {
            total: running,
            ..Trials::default()
        };
        state.rows.clear();
        state.remote.clear();
    }

    /// Replaces what was last heard of the work `name`, a job of a cluster, which runs in
    /// other processes.
    pub fn set_remote(&self, name: &str, view: ProgressView) {
        self.state().remote.insert(name.to_string(), view);
    }

    /// Announces `count` trials, before any of them starts.
    pub fn expect_trials(&self, count: u64) {
        self.state().trials.total += count;
    }

    /// Says that an announced trial ended without training, such as a finished one
    /// that was looked up.
    pub fn trial_done(&self) {
        self.state().trials.done += 1;
    }

    /// Says that an announced trial starts to train.
    pub fn trial(&self, name: impl Into<String>, epochs: u32) -> TrialProgress {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        let trial = RunningTrial {
            name: name.into(),
            epochs,
            ..RunningTrial::default()
        };
        state.running.insert(id, trial);
        TrialProgress {
            progress: self.clone(),
            id,
        }
    }

    /// The progress of the rows of one call; `label` is the name of its function.
    pub fn rows(&self, label: &str) -> RowProgress {
        let mut state = self.state();
        if !state.rows.iter().any(|rows| rows.label == label) {
            let since = Instant::now();
            state.rows.push(FunctionRows {
                label: label.to_string(),
                total: 0,
                done: 0,
                since,
            });
        }
        RowProgress {
            progress: self.clone(),
            label: label.to_string(),
        }
    }
}

impl ProgressView {
    /// Adds the counts of two views.
    pub fn plus(mut self, other: &Self) -> Self {
        if let Some(trials) = &other.trials {
            let sum = self.trials.get_or_insert_default();
            sum.total += trials.total;
            sum.done += trials.done;
            sum.running.extend(trials.running.iter().cloned());
        }
        for rows in &other.rows {
            match self.rows.iter_mut().find(|sum| sum.label == rows.label) {
                Some(sum) => {
                    sum.total += rows.total;
                    sum.done += rows.done;
                    sum.since = sum.since.min(rows.since);
                }
                None => self.rows.push(rows.clone()),
            }
        }
        if let Some(tasks) = &other.tasks {
            let sum = self.tasks.get_or_insert_default();
            sum.pending += tasks.pending;
            sum.running += tasks.running;
            sum.done += tasks.done;
        }
        self
    }
}

/// The progress of one trial in training; dropping it ends the trial.
#[derive(Debug)]
pub struct TrialProgress {
    progress: Progress,
    id: u64,
}

impl TrialProgress {
    /// Reports that an epoch ended with this training loss.
    pub fn epoch(&self, epoch: u32, loss: f64) {
        if let Some(trial) = self.progress.state().running.get_mut(&self.id) {
            trial.epoch = epoch;
            trial.loss = Some(loss);
        }
    }
}

impl Drop for TrialProgress {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        state.running.remove(&self.id);
        state.trials.done += 1;
    }
}

/// The progress of one function's rows, shared by all its record batches.
#[derive(Debug, Clone)]
pub struct RowProgress {
    progress: Progress,
    label: String,
}

impl RowProgress {
    /// Announces rows.
    pub fn add_total(&self, rows: u64) {
        self.update(|progress| progress.total += rows);
    }

    /// Says that announced rows ended.
    pub fn advance(&self, rows: u64) {
        self.update(|progress| progress.done += rows);
    }

    fn update(&self, change: impl FnOnce(&mut FunctionRows)) {
        let mut state = self.progress.state();
        // Absent after a reset: the statement that counted these rows is over.
        if let Some(rows) = state.rows.iter_mut().find(|rows| rows.label == self.label) {
            change(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_trials_and_rows() {
        let progress = Progress::default();
        progress.expect_trials(3);
        progress.trial_done();
        let first = progress.trial("learning_rate 0.1", 5);
        first.epoch(2, 0.7);
        let trials = progress.view().trials.unwrap();
        assert_eq!((trials.total, trials.done), (3, 1));
        assert_eq!(trials.running[0].epoch, 2);
        drop(first);
        assert_eq!(progress.view().trials.unwrap().done, 2);

        let rows = progress.rows("classify");
        rows.add_total(10);
        progress.rows("classify").advance(4);
        assert_eq!(progress.view().rows[0].done, 4);
        progress.reset();
        rows.advance(1);
        assert!(progress.view().rows.is_empty());
    }

    #[test]
    fn what_runs_elsewhere_is_added_once() {
        let (here, there) = (Progress::default(), Progress::default());
        here.expect_trials(1);
        there.expect_trials(2);
        there.trial_done();
        for _ in 0..2 {
            here.set_remote("job", there.view());
        }
        let trials = here.view().trials.unwrap();
        assert_eq!((trials.total, trials.done), (3, 1));
    }
}
