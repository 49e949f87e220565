//! Finds the row that brings executors down, where rows are made by the task itself.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use atoll_udf_common::Rescue;
use datafusion::common::Result;

use super::ATTEMPTS;
use super::entry::given_up;
use super::worker::ask;
use crate::http::Http;
use crate::protocol::{Attempt, RowsId, START_ROWS, TaskId};

/// Asks the scheduler how often rows of a task were started.
#[derive(Debug)]
pub(super) struct TaskRescue {
    http: Http,
    task: TaskId,
    operators: AtomicU32,
}

impl TaskRescue {
    pub(super) fn new(http: Http, task: TaskId) -> Self {
        // 0 is for the rows that go into a task.
        let operators = AtomicU32::new(1);
        Self {
            http,
            task,
            operators,
        }
    }
}

#[async_trait]
impl Rescue for TaskRescue {
    fn operator(&self) -> u32 {
        self.operators.fetch_add(1, Ordering::Relaxed)
    }

    async fn start(&self, operator: u32, rows: Range<u64>) -> Result<u32> {
        let id = RowsId {
            task: self.task.clone(),
            operator,
            row: rows.start,
            rows: rows.end - rows.start,
        };
        let Attempt { attempt, .. } = ask(&self.http, START_ROWS, &id).await?;
        Ok(attempt - 1)
    }

    fn gives_up(&self, deaths: u32) -> Option<Arc<str>> {
        (deaths >= ATTEMPTS).then(|| given_up().into())
    }
}
