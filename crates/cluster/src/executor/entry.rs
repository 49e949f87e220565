//! The tasks that an executor runs, as it tells the scheduler of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atoll_compute::CancellationToken;
use atoll_compute::progress::Progress;
use atoll_compute::warnings::Warnings;
use atoll_udf_common::CallContext;

use super::ATTEMPTS;
use crate::protocol::{End, TaskId, TaskReport, Wanted};

/// The tasks of an executor.
#[derive(Debug, Default)]
pub(super) struct Running {
    tasks: Mutex<HashMap<TaskId, Task>>,
    /// Ends that the scheduler has not been told.
    ended: Mutex<Vec<TaskReport>>,
}

#[derive(Debug)]
struct Task {
    /// Cancelled when nobody waits for the job.
    token: CancellationToken,
    /// Cancelled when another executor has completed the task.
    superseded: CancellationToken,
    progress: Progress,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single call, so a panic elsewhere leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.tasks).is_empty()
    }

    /// What the tasks do, and the ends that nobody was told; they count as told.
    pub(super) fn take_reports(&self) -> Vec<TaskReport> {
        let ended = std::mem::take(&mut *lock(&self.ended));
        let tasks = lock(&self.tasks);
        let running = tasks.iter().map(|(id, task)| TaskReport {
            id: id.clone(),
            progress: task.progress.view().into(),
            end: None,
        });
        running.chain(ended).collect()
    }

    /// The scheduler was not told after all.
    pub(super) fn put_back(&self, reports: Vec<TaskReport>) {
        let ended = reports.into_iter().filter(|report| report.end.is_some());
        lock(&self.ended).extend(ended);
    }

    /// Stops the tasks of jobs that nobody waits for, and those that another executor has
    /// completed.
    pub(super) fn stop(&self, wanted: &Wanted) {
        for (id, task) in lock(&self.tasks).iter() {
            if wanted.over.contains(&id.job) {
                task.token.cancel();
            }
            let superseded = &wanted.superseded;
            if superseded
                .iter()
                .any(|(job, task)| *job == id.job && *task == id.task)
            {
                task.superseded.cancel();
            }
        }
    }
}

/// A task in the list of those that run.
pub(super) struct Entry<'a> {
    running: &'a Running,
    pub(super) id: TaskId,
    token: &'a CancellationToken,
    pub(super) superseded: CancellationToken,
    progress: Progress,
    pub(super) warnings: Warnings,
    ended: bool,
}

impl<'a> Entry<'a> {
    pub(super) fn new(
        running: &'a Running,
        id: TaskId,
        token: &'a CancellationToken,
    ) -> Self {
        let progress = Progress::default();
        let superseded = CancellationToken::new();
        let task = Task {
            token: token.clone(),
            superseded: superseded.clone(),
            progress: progress.clone(),
        };
        lock(&running.tasks).insert(id.clone(), task);
        Self {
            running,
            id,
            token,
            superseded,
            progress,
            warnings: Warnings::default(),
            ended: false,
        }
    }

    /// What the calls of the task need to know of it.
    pub(super) fn context(&self, give_up: bool) -> CallContext {
        CallContext {
            token: self.token.child_token(),
            progress: self.progress.clone(),
            warnings: self.warnings.clone(),
            directory: None,
            storage: None,
            given_up: give_up.then(|| given_up().into()),
            rescue: None,
        }
    }

    pub(super) fn end(mut self, end: End) {
        self.leave(end);
    }

    fn leave(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        lock(&self.running.tasks).remove(&self.id);
        lock(&self.running.ended).push(TaskReport {
            id: self.id.clone(),
            progress: self.progress.view().into(),
            end: Some(end),
        });
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.leave(End::Cancelled);
    }
}

/// Why a row is not evaluated.
pub(super) fn given_up() -> String {
    format!(
        "the executor died each of the {ATTEMPTS} times that it evaluated this row; it \
         needs more memory than there is, or crashes a library"
    )
}
