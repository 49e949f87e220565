//! Runs tasks whose rows nobody knows before, in jobs of a bounded number.

use std::collections::VecDeque;
use std::sync::Arc;

use atoll_udf_common::{AtollOptions, CallContext};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::config::SessionConfig;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::ledger::Ledger;
use super::notes::Notes;
use super::numbers::Numbers;
use super::pace::TASKS_PER_JOB;
use super::wire::from_ipc;
use super::{Job, Task, TaskOutput, TaskRunner};

/// What tasks give, in their order. A job starts when the one before has ended.
pub(super) struct Outputs {
    cluster: Arc<dyn TaskRunner>,
    label: String,
    context: CallContext,
    speculates: bool,
    numbers: Numbers,
    /// Jobs that were not started yet.
    jobs: VecDeque<Vec<Task>>,
    /// The one under way: the number of its first task, what comes of it, and what must.
    running: Option<(usize, BoxStream<'static, Result<TaskOutput>>, Ledger)>,
    /// How many tasks were in the jobs so far.
    started: usize,
}

impl Outputs {
    pub(super) fn new(
        cluster: Arc<dyn TaskRunner>,
        label: String,
        config: &SessionConfig,
        numbers: Numbers,
        tasks: &[Task],
    ) -> Self {
        let jobs = tasks.chunks(TASKS_PER_JOB).map(<[Task]>::to_vec);
        Self {
            cluster,
            label,
            context: CallContext::of(config),
            speculates: AtollOptions::get(config.options()).speculation,
            numbers,
            jobs: jobs.collect(),
            running: None,
            started: 0,
        }
    }

    /// The next rows, the number of the task that gave them, and their bytes.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, RecordBatch, u64)>> {
        loop {
            let Some((first, outputs, ledger)) = &mut self.running else {
                let Some(tasks) = self.jobs.pop_front() else {
                    return Ok(None);
                };
                let ledger = Ledger::new(vec![0; tasks.len()], false);
                let first = self.started;
                self.started += tasks.len();
                let outputs = self.cluster.run(Job {
                    label: self.label.clone(),
                    tasks,
                    progress: self.context.progress.clone(),
                    speculates: self.speculates,
                });
                self.running = Some((first, outputs, ledger));
                continue;
            };
            let Some(output) = outputs.try_next().await? else {
                ledger.finish()?;
                self.running = None;
                continue;
            };
            let batch = from_ipc(&output.data)?;
            ledger.enter(&output, batch.num_rows())?;
            let notes = Notes::of(&batch);
            self.numbers.end(&notes);
            self.context.warnings.merge(notes.noticed);
            let (task, bytes) = (*first + output.task as usize, output.data.len() as u64);
            return Ok(Some((task, batch, bytes)));
        }
    }
}
