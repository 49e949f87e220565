//! What a task gives, in parts.

use std::time::Duration;

use atoll_compute::warnings::Noticed;
use atoll_session::{RunningTask, TaskOutput, TaskRuntime};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{Result, exec_datafusion_err};
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;

use crate::task::output_batch;

/// The parts of a task, numbered. The last one is held back until it is known to be the
/// last, because it says that the task is complete.
pub(super) struct Parts<'a> {
    task: u32,
    next: u32,
    held: Option<RecordBatch>,
    sender: &'a Sender<Result<RecordBatch>>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(task: u32, sender: &'a Sender<Result<RecordBatch>>) -> Self {
        Self {
            task,
            next: 0,
            held: None,
            sender,
        }
    }

    /// Passes rows on.
    pub(super) async fn pass(&mut self, task: &mut RunningTask) -> Result<()> {
        while let Some(batch) = task.rows.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            if let Some(held) = self.held.replace(batch) {
                self.send(&held, None).await?;
            }
        }
        Ok(())
    }

    /// Sends the last part, which also says what the task noticed and how long it took.
    pub(super) async fn finish(
        mut self,
        rows_in: u64,
        task: RunningTask,
        noticed: Noticed,
        took: Duration,
    ) -> Result<()> {
        let last = self.held.take();
        let last = last.unwrap_or_else(|| RecordBatch::new_empty(task.rows.schema()));
        let last = task.annotate(last, noticed, took)?;
        self.send(&last, Some(rows_in)).await
    }

    async fn send(&mut self, batch: &RecordBatch, rows_in: Option<u64>) -> Result<()> {
        let output = TaskOutput {
            task: self.task,
            part: self.next,
            rows_in,
            data: TaskRuntime::encode(batch)?,
        };
        self.next += 1;
        let batch = output_batch(&output)?;
        let sent = self.sender.send(Ok(batch)).await;
        sent.map_err(|_| exec_datafusion_err!("cancelled"))
    }
}
