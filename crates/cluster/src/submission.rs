//! One submission of a job to Ballista: waits until its tasks have ended, has slow ones run
//! a second time, and passes the results on in the order of the tasks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use atoll_session::{Job, TaskOutput};
use ballista_core::serde::protobuf::{PartitionLocation, job_status::Status};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::client::{Client, PATIENCE};
use crate::protocol::{BEAT, JobName, JobState};
use crate::task::outputs;
use crate::{Address, Error};

/// How long the scheduler may be away before a job is given up.
const SCHEDULER_SILENCE: Duration = Duration::from_secs(20);

/// How long a job waits for the first executor.
const NO_EXECUTORS: Duration = Duration::from_secs(30);

/// A job of which no executor says anything for so long, while slots are free, has lost
/// a message of Ballista's.
const JOB_SILENCE_SECONDS: u64 = 30;

/// How often Ballista is asked for the state of a job, at first and at last.
const FIRST_POLL: Duration = Duration::from_millis(4);
const SLOWEST_POLL: Duration = Duration::from_millis(100);

/// How often a client that fetches results says that it is there.
const STAY: Duration = Duration::from_secs(2);

/// Why a submission came to nothing.
pub(crate) enum Failure {
    /// The statement fails.
    Final(DataFusionError),
    /// The cluster lost something; finished trials are kept, so trying again is cheap.
    Lost(String),
    /// Slots are free, but nothing runs: Ballista may count them as taken.
    Stalled(String),
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self::Final(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error.into())
    }
}

/// A submission of a job.
pub(crate) struct Submission<'a> {
    client: &'a Client,
    key: &'a str,
    job: &'a Job,
    /// What Ballista calls the submission.
    id: String,
    /// What Ballista calls the second attempts at slow tasks.
    second: BTreeMap<u32, String>,
}

impl<'a> Submission<'a> {
    /// Submits all tasks of a job.
    pub(crate) async fn start(
        client: &'a Client,
        key: &'a str,
        job: &'a Job,
    ) -> Result<Self, Failure> {
        let name = JobName {
            key: key.to_string(),
            task: None,
        };
        Ok(Self {
            client,
            key,
            job,
            id: client.execute(&name, (0..).zip(&job.tasks)).await?,
            second: BTreeMap::new(),
        })
    }

    /// Runs it to its end; passes on the results of the tasks from `next_task` on, and
    /// counts them there.
    pub(crate) async fn run(
        mut self,
        next_task: &mut u32,
        results: &mpsc::Sender<Result<TaskOutput>>,
    ) -> Result<(), Failure> {
        let ended = match self.wait().await {
            Ok(locations) => tokio::select! {
                delivered = self.deliver(locations, next_task, results) => delivered,
                () = self.stay() => Ok(()),
            },
            Err(failure) => Err(failure),
        };
        if let Err(Failure::Lost(_) | Failure::Stalled(_)) = &ended {
            // Another submission follows, and must not compete with this one.
            for id in self.second.values().chain([&self.id]) {
                self.client.cancel(id).await;
            }
        }
        ended
    }

    /// Says for ever that this client is still there: who takes long to use the rows
    /// must not lose the rest of them.
    async fn stay(&self) {
        loop {
            tokio::time::sleep(STAY).await;
            // A scheduler that is away cannot miss this client either.
            let _ = self.client.ask(self.key, &self.id).await;
        }
    }

    /// Waits until the results are there.
    async fn wait(&mut self) -> Result<Vec<PartitionLocation>, Failure> {
        let mut watch = Watch::new();
        let mut pause = FIRST_POLL;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_POLL);
            let Ok(status) = self.client.status_of(&self.id).await else {
                watch.check_scheduler(self.client.address())?;
                continue;
            };
            watch.scheduler_seen = Instant::now();
            watch.check_status(status.is_some())?;
            let ended = matches!(status, Some(Status::Successful(_) | Status::Failed(_)));
            if ended || watch.asked.elapsed() >= BEAT {
                watch.asked = Instant::now();
                match self.client.ask(self.key, &self.id).await {
                    Ok(state) => {
                        self.job.progress.set_remote(self.key, state.snapshot());
                        watch.check_job(&state, self.client.address())?;
                        self.try_again(&state.slow).await;
                    }
                    Err(Error::Unknown(_)) => {
                        let reason = "the scheduler was restarted".to_string();
                        return Err(Failure::Lost(reason));
                    }
                    Err(_) => {}
                }
            }
            match status {
                Some(Status::Successful(job)) => return Ok(job.partition_location),
                Some(Status::Failed(failed)) => return Err(Failure::Lost(failed.error)),
                _ => {}
            }
        }
    }

    /// Starts second attempts at slow tasks. Whichever attempt ends first counts, and the
    /// scheduler stops the other one.
    async fn try_again(&mut self, slow: &[u32]) {
        for number in slow {
            let task = self.job.tasks.get(*number as usize);
            let (Some(task), false) = (task, self.second.contains_key(number)) else {
                continue;
            };
            let name = JobName {
                key: self.key.to_string(),
                task: Some(*number),
            };
            // The first attempt goes on in any case.
            if let Ok(id) = self.client.execute(&name, [(*number, task)]).await {
                tracing::info!("task {number} of job {} runs a second time", self.key);
                self.second.insert(*number, id);
            }
        }
    }

    /// The results at a location; without them the submission is lost.
    async fn fetch(
        &self,
        location: PartitionLocation,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Failure>>, Failure> {
        let lost = |error: DataFusionError| {
            Failure::Lost(format!("results are gone: {}", error.strip_backtrace()))
        };
        let batches = self.client.fetch(location).await.map_err(lost)?;
        Ok(batches.map_err(lost).boxed())
    }

    /// Fetches the results and passes them on.
    async fn deliver(
        &self,
        locations: Vec<PartitionLocation>,
        next_task: &mut u32,
        results: &mpsc::Sender<Result<TaskOutput>>,
    ) -> Result<(), Failure> {
        for location in locations {
            let mut batches = self.fetch(location).await?;
            let mut parts: Vec<TaskOutput> = Vec::new();
            while let Some(batch) = batches.try_next().await? {
                for output in outputs(&batch)? {
                    let (task, is_last) = (output.task, output.rows_in.is_some());
                    // An earlier submission delivered it.
                    if task < *next_task {
                        continue;
                    }
                    // An attempt that was stopped leaves the beginning of a result.
                    parts.retain(|part| part.task == task);
                    parts.push(output);
                    if !is_last {
                        continue;
                    }
                    while *next_task < task {
                        self.deliver_second(next_task, results).await?;
                    }
                    pass(&mut parts, next_task, results).await?;
                }
            }
        }
        while (*next_task as usize) < self.job.tasks.len() {
            self.deliver_second(next_task, results).await?;
        }
        Ok(())
    }

    /// Passes on the result of the next task, of which the second attempt was the first to
    /// end.
    async fn deliver_second(
        &self,
        next_task: &mut u32,
        results: &mpsc::Sender<Result<TaskOutput>>,
    ) -> Result<(), Failure> {
        let task = *next_task;
        let gone = |reason: &str| Failure::Lost(format!("task {task} {reason}"));
        let id = self.second.get(&task);
        let id = id.ok_or_else(|| gone("left no result"))?;
        let since = Instant::now();
        let locations = loop {
            match self.client.status_of(id).await {
                Ok(Some(Status::Successful(job))) => break job.partition_location,
                Ok(Some(Status::Failed(failed))) => return Err(gone(&failed.error)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) if since.elapsed() > SCHEDULER_SILENCE => {
                    return Err(gone("is not known to the scheduler any more"));
                }
                Ok(None) | Err(_) => {}
            }
            tokio::time::sleep(SLOWEST_POLL).await;
        };
        let mut parts = Vec::new();
        for location in locations {
            let mut batches = self.fetch(location).await?;
            while let Some(batch) = batches.try_next().await? {
                parts.extend(outputs(&batch)?);
            }
        }
        match parts.last() {
            Some(TaskOutput {
                rows_in: Some(_), ..
            }) => pass(&mut parts, next_task, results).await,
            _ => Err(gone("has an incomplete result")),
        }
    }
}

/// Passes the complete result of the next task on.
async fn pass(
    parts: &mut Vec<TaskOutput>,
    next_task: &mut u32,
    results: &mpsc::Sender<Result<TaskOutput>>,
) -> Result<(), Failure> {
    *next_task += 1;
    for part in parts.drain(..) {
        if results.send(Ok(part)).await.is_err() {
            return Err(exec_datafusion_err!("cancelled").into());
        }
    }
    Ok(())
}

/// Notices what never says that it failed.
struct Watch {
    scheduler_seen: Instant,
    /// When Ballista last knew the job.
    job_known: Instant,
    executors_seen: Instant,
    asked: Instant,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            scheduler_seen: now,
            job_known: now,
            executors_seen: now,
            asked: now,
        }
    }

    fn check_scheduler(&self, address: &Address) -> Result<(), Error> {
        if self.scheduler_seen.elapsed() < SCHEDULER_SILENCE {
            return Ok(());
        }
        Err(Error::Silent {
            address: address.clone(),
            seconds: SCHEDULER_SILENCE.as_secs(),
        })
    }

    /// Ballista does not know a job before it has queued it, and no more once it is
    /// forgotten, as one whose client was silent for long.
    fn check_status(&mut self, is_known: bool) -> Result<(), Failure> {
        if is_known {
            self.job_known = Instant::now();
        } else if self.job_known.elapsed() > PATIENCE {
            let reason = "the scheduler has forgotten it".to_string();
            return Err(Failure::Lost(reason));
        }
        Ok(())
    }

    fn check_job(&mut self, state: &JobState, address: &Address) -> Result<(), Failure> {
        if let Some(error) = &state.error {
            return Err(exec_datafusion_err!("{error}").into());
        }
        if state.slots > 0 {
            self.executors_seen = Instant::now();
        } else if self.executors_seen.elapsed() > NO_EXECUTORS {
            return Err(Error::NoExecutors(address.clone()).into());
        }
        if state.free > 0 && state.silent_seconds > JOB_SILENCE_SECONDS {
            let seconds = state.silent_seconds;
            let reason = format!("no executor has said anything of it for {seconds} s");
            return Err(Failure::Stalled(reason));
        }
        Ok(())
    }
}
