//! What is running in this process, for whoever draws it.
//!
//! Work reports here without knowing whether anyone looks; a terminal polls
//! [`snapshot`]. Everything is process-wide, like the pool.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What is running now.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Trials, when any were started since the last [`reset`].
    pub trials: Option<Trials>,
    /// Rows of other expensive functions, by label.
    pub rows: Vec<Rows>,
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
pub struct Rows {
    /// The function, such as `classify`.
    pub label: String,
    /// Rows known so far; grows while the input is still being read.
    pub total: u64,
    /// Rows that ended.
    pub done: u64,
    /// When the first row was announced.
    pub since: Instant,
}

#[derive(Default)]
struct State {
    trials: Trials,
    running: BTreeMap<u64, RunningTrial>,
    next_id: u64,
    rows: Vec<Rows>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

fn state() -> MutexGuard<'static, State> {
    // Progress is worth drawing even after another thread panicked over it.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is running now.
pub fn snapshot() -> Snapshot {
    let state = state();
    let trials = (state.trials.total > 0).then(|| Trials {
        running: state.running.values().cloned().collect(),
        ..state.trials
    });
    Snapshot {
        trials,
        rows: state.rows.clone(),
    }
}

/// Forgets what ended, before a new statement. Trials still running keep their place.
pub fn reset() {
    let mut state = state();
    let running = state.running.len() as u64;
    state.trials = Trials {
        total: running,
        ..Trials::default()
    };
    state.rows.clear();
}

/// Announces `count` trials, before any of them starts.
pub fn expect_trials(count: u64) {
    state().trials.total += count;
}

/// Says that an announced trial ended without training, such as a finished one that
/// was looked up.
pub fn trial_done() {
    state().trials.done += 1;
}

/// Says that an announced trial starts to train.
pub fn trial(name: impl Into<String>, epochs: u32) -> TrialProgress {
    let mut state = state();
    let id = state.next_id;
    state.next_id += 1;
    let trial = RunningTrial {
        name: name.into(),
        epochs,
        ..RunningTrial::default()
    };
    state.running.insert(id, trial);
    TrialProgress { id }
}

/// The progress of one trial in training; dropping it ends the trial.
#[derive(Debug)]
pub struct TrialProgress {
    id: u64,
}

impl TrialProgress {
    /// An epoch ended with this training loss.
    pub fn epoch(&self, epoch: u32, loss: f64) {
        if let Some(trial) = state().running.get_mut(&self.id) {
            trial.epoch = epoch;
            trial.loss = Some(loss);
        }
    }
}

impl Drop for TrialProgress {
    fn drop(&mut self) {
        let mut state = state();
        state.running.remove(&self.id);
        state.trials.done += 1;
    }
}

/// The rows of an expensive function, under its name.
pub fn rows(label: &str) -> RowProgress {
    let mut state = state();
    if !state.rows.iter().any(|rows| rows.label == label) {
        let since = Instant::now();
        state.rows.push(Rows {
            label: label.to_string(),
            total: 0,
            done: 0,
            since,
        });
    }
    RowProgress {
        label: label.to_string(),
    }
}

/// The progress of one function's rows, shared by all its record batches.
#[derive(Debug, Clone)]
pub struct RowProgress {
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

    fn update(&self, change: impl FnOnce(&mut Rows)) {
        let mut state = state();
        // Absent after a reset: the statement that counted these rows is over.
        if let Some(rows) = state.rows.iter_mut().find(|rows| rows.label == self.label) {
            change(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the state is the process's.
    #[test]
    fn counts_trials_and_rows() {
        expect_trials(3);
        trial_done();
        let first = trial("learning_rate 0.1", 5);
        first.epoch(2, 0.7);
        let trials = snapshot().trials.unwrap();
        assert_eq!((trials.total, trials.done), (3, 1));
        assert_eq!(trials.running[0].epoch, 2);
        drop(first);
        assert_eq!(snapshot().trials.unwrap().done, 2);

        let progress = rows("classify");
        progress.add_total(10);
        rows("classify").advance(4);
        assert_eq!(snapshot().rows[0].done, 4);
        reset();
        progress.advance(1);
        assert!(snapshot().rows.is_empty());
    }
}
