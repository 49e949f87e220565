//! What a scheduler shows of itself, to programs as JSON and to people as a page.

mod page;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::board::{Board, Job, RunningTask};
use crate::protocol::{WireProgress, WireTrial};
use crate::runs::RunState;

pub(crate) use page::page;

/// Everything that a scheduler knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) up_seconds: u64,
    pub(crate) executors: Vec<Executor>,
    pub(crate) jobs: Vec<JobStatus>,
    /// Scripts that run without their client, the latest first.
    pub(crate) runs: Vec<RunState>,
}

/// An executor that is connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Executor {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) slots: usize,
    pub(crate) running: usize,
    pub(crate) silent_seconds: u64,
}

/// A job, with its two stages: the tasks, and the merge of their results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JobStatus {
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) client: String,
    pub(crate) state: String,
    pub(crate) seconds: f64,
    pub(crate) rows: u64,
    pub(crate) tasks: u64,
    pub(crate) pending: u64,
    pub(crate) running: Vec<TaskStatus>,
    pub(crate) done: u64,
    pub(crate) progress: WireProgress,
    pub(crate) error: Option<String>,
}

/// A task that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskStatus {
    pub(crate) task: u32,
    pub(crate) executor: String,
    pub(crate) seconds: f64,
    pub(crate) attempt: u32,
    pub(crate) trials: Vec<WireTrial>,
}

impl Status {
    pub(crate) fn new(
        since: SystemTime,
        executors: Vec<Executor>,
        board: &Board,
        runs: Vec<RunState>,
    ) -> Self {
        let mut jobs = Vec::new();
        board.each(|job| jobs.push(JobStatus::of(job)));
        Self {
            version: atoll_session::VERSION.to_string(),
            up_seconds: seconds(since, SystemTime::now()) as u64,
            executors,
            jobs,
            runs,
        }
    }
}

impl JobStatus {
    fn of(job: &Job) -> Self {
        let state = job.state();
        let (end, how) = match (job.ended, state.done == job.new.tasks) {
            (Some((end, how)), _) => (end, how),
            (None, true) => (SystemTime::now(), "merging"),
            (None, false) => (SystemTime::now(), "running"),
        };
        let running = |task: RunningTask| TaskStatus {
            task: task.task,
            executor: task.executor,
            seconds: task.seconds,
            attempt: task.attempt,
            trials: task.progress.trials.unwrap_or_default().running,
        };
        Self {
            key: job.new.key.clone(),
            label: job.new.label.clone(),
            client: job.new.client.clone(),
            state: how.to_string(),
            seconds: seconds(job.since, end),
            rows: job.new.rows,
            tasks: job.new.tasks,
            pending: state.pending,
            running: job.running().into_iter().map(running).collect(),
            done: state.done,
            progress: state.progress,
            error: state.error,
        }
    }
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;
    use crate::protocol::{NewJob, TaskId};
    use crate::runs::{NewRun, RunOrder, Runs, SignedOrder};

    #[test]
    fn the_page_shows_jobs_and_escapes_what_users_wrote() {
        let board = Board::default();
        board.announce(NewJob {
            key: "7f".to_string(),
            label: "<script>".to_string(),
            tasks: 2,
            rows: 2,
            session: "session".to_string(),
            speculates: true,
            client: "me & you".to_string(),
        });
        board.start(&TaskId {
            job: "7f".to_string(),
            task: 1,
            executor: "node1".to_string(),
        });
        let runs = Runs::default();
        let order = RunOrder {
            id: "20261130-1".to_string(),
            script: "<b>nightly</b>.sql".to_string(),
            text: "SELECT 1".to_string(),
            arguments: vec![],
            client: "me".to_string(),
        };
        runs.order(NewRun {
            order: SignedOrder::new(order, &Token::default()),
            running: None,
        });
        let status = Status::new(SystemTime::now(), vec![], &board, runs.all());
        let page = page(&status);
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("me &amp; you"), "{page}");
        assert!(page.contains("&lt;b&gt;nightly"), "{page}");
        assert!(page.contains("<td>waiting</td>"), "{page}");
        assert!(page.contains("<td>node1</td>"), "{page}");
        assert!(page.contains("0 done, 1 running, 1 pending"), "{page}");
    }
}
