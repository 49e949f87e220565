//! The process that runs tasks.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_session::{RunningTask, SessionOptions, TaskRuntime};
use atoll_udf_common::CallContext;
use ballista_executor::executor_process::{
    ExecutorProcessConfig, start_executor_process,
};
use ballista_executor::metrics::ExecutorMetricCollectionPolicy;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc::Sender;

use super::engine::Engine;
use super::entry::{Entry, Running};
use super::parts::Parts;
use super::rescue::TaskRescue;
use super::{ATTEMPTS, DRAIN, ExecutorOptions, WorkerId};
use crate::http::Http;
use crate::protocol::{
    Attempt, BEAT, EXECUTORS, End, REPORT, Report, RowsId, START, START_ROWS, TaskId,
    Wanted,
};
use crate::scheduler::{MESSAGE_BYTES, session_config};
use crate::stages::Stages;
use crate::task::{RunTask, SignedTask, TaskCodec, signed};
use crate::{Error, Token};

/// How often Ballista hears that the executor lives.
const HEARTBEAT_SECONDS: u64 = 2;

/// How often a task is started in which rows are found that bring executors down: each
/// such row costs three executors.
const MOST_STARTS: u32 = 32;

/// How often and how long apart the scheduler is asked before a task fails for it.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Results that nobody fetched are removed after this time.
const RESULTS_KEPT_SECONDS: u64 = 24 * 60 * 60;

/// Runs the tasks of an executor.
pub(crate) struct Worker {
    id: String,
    http: Http,
    token: Token,
    runtime: TaskRuntime,
    running: Running,
    draining: AtomicBool,
}

impl Debug for Worker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Runs an executor's worker until standard input says to drain or ends.
///
/// Calls `ready` once the scheduler knows it; the process then has to say [`super::READY`] on
/// standard output, for [`super::supervise`].
pub async fn work(
    options: &ExecutorOptions,
    worker: &WorkerId,
    ready: impl FnOnce() + Send + 'static,
) -> Result<ExitCode, Error> {
    let session = SessionOptions {
        threads: Some(options.slots),
        memory_limit: options.memory_limit,
        ..SessionOptions::default()
    };
    let runtime = TaskRuntime::new(&session, Arc::new(Stages))
        .map_err(|error| Error::Start(error.to_string()))?;
    let state = Arc::new(Worker {
        id: worker.id.clone(),
        http: Http::new(options.scheduler.clone(), &options.token)?,
        token: options.token.clone(),
        runtime,
        running: Running::default(),
        draining: AtomicBool::new(false),
    });
    let process = start_executor_process(Arc::new(config(options, worker, &state)));
    tokio::spawn(Arc::clone(&state).report_for_ever());
    let known = Arc::clone(&state);
    tokio::spawn(async move {
        known.become_known().await;
        ready();
    });
    tokio::select! {
        ended = process => {
            let reason = ended.err().map_or_else(|| "it stopped".to_string(), |e| e.to_string());
            Err(Error::Start(format!("the executor ended: {reason}")))
        }
        code = state.listen() => Ok(code),
    }
}

fn config(
    options: &ExecutorOptions,
    worker: &WorkerId,
    state: &Arc<Worker>,
) -> ExecutorProcessConfig {
    let agent = options.token.user_agent();
    let runner: Arc<dyn RunTask> = Arc::clone(state) as _;
    let codec = TaskCodec::for_runner(runner);
    let advertise = match (&options.advertise, options.bind.is_unspecified()) {
        (Some(name), _) => Some(name.clone()),
        (None, false) => Some(options.bind.to_string()),
        // The scheduler then takes the address that the connection comes from.
        (None, true) => None,
    };
    ExecutorProcessConfig {
        executor_id: worker.id.clone(),
        bind_host: options.bind.to_string(),
        external_host: advertise,
        port: worker.port,
        grpc_port: worker.grpc_port,
        scheduler_host: options.scheduler.host().to_string(),
        scheduler_port: options.scheduler.port(),
        vcores: options.slots.get(),
        work_dir: Some(options.work_dir.to_string_lossy().into_owned()),
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        // Reading them walks all processes of the machine at each heartbeat.
        metric_collection_policy: ExecutorMetricCollectionPolicy::Off,
        grpc_max_decoding_message_size: MESSAGE_BYTES,
        grpc_max_encoding_message_size: MESSAGE_BYTES,
        job_data_clean_up_interval_seconds: RESULTS_KEPT_SECONDS / 24,
        job_data_ttl_seconds: RESULTS_KEPT_SECONDS,
        // Tasks bring their own limit.
        memory_pool_size: Some(0),
        override_execution_engine: Some(Arc::new(Engine::default())),
        override_config_producer: Some(Arc::new(session_config)),
        override_physical_codec: Some(Arc::new(codec)),
        override_create_grpc_client_endpoint: Some(Arc::new(move |endpoint| {
            Ok(endpoint.user_agent(agent.clone())?)
        })),
        ..ExecutorProcessConfig::default()
    }
}

#[async_trait]
impl RunTask for Worker {
    async fn run(
        &self,
        job: &str,
        task: SignedTask,
        token: &CancellationToken,
        parts: &Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        let message = signed(job, task.task, task.rows, &task.plan);
        if !self.token.verifies(&message, &task.signature) {
            return exec_err!(
                "a task was not signed with the cluster's token; set ATOLL_TOKEN to the \
                 same text for clients, executors and the scheduler"
            );
        }
        if self.draining.load(Ordering::Acquire) {
            // It was dealt to this executor too late, and starts elsewhere once this
            // process has ended.
            std::future::pending::<()>().await;
        }
        // Not Ballista's own, because a task that is superseded has not failed.
        let stop = token.child_token();
        let entry = Entry::new(&self.running, self.name(job, task.task), &stop);
        let superseded = entry.superseded.clone();
        let parts = Parts::new(task.task, parts);
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = superseded.cancelled() => Some(Ok(Evaluated::Superseded)),
            outcome = self.evaluate(&entry, &task, parts) => Some(outcome),
        };
        stop.cancel();
        let end = match &outcome {
            None | Some(Ok(Evaluated::Superseded)) => End::Cancelled,
            Some(Ok(Evaluated::Done)) => End::Done,
            Some(Err(error)) => End::Failed(message_of(error)),
        };
        entry.end(end);
        self.report().await;
        match outcome {
            Some(outcome) => outcome.map(|_| ()),
            None => exec_err!("cancelled"),
        }
    }
}

impl Worker {
    async fn evaluate(
        &self,
        entry: &Entry<'_>,
        task: &SignedTask,
        mut parts: Parts<'_>,
    ) -> Result<Evaluated> {
        let Attempt {
            attempt,
            unexplained,
            superseded,
        } = ask(&self.http, START, &entry.id).await?;
        if superseded {
            return Ok(Evaluated::Superseded);
        }
        let started = Instant::now();
        // A task of a stage makes its rows itself, so that nobody can give it some of them.
        let makes_rows = task.rows == 0;
        if makes_rows && (unexplained >= ATTEMPTS || attempt > MOST_STARTS) {
            let deaths = attempt - 1;
            return exec_err!(
                "an executor died each of the {deaths} times that it ran a part of this \
                 statement; it needs more memory than there is (see --memory-limit of atoll \
                 executor), or crashes a library"
            );
        }
        let last = if attempt == 1 || task.rows <= 1 {
            let mut context = entry.context(!makes_rows && attempt > ATTEMPTS);
            if makes_rows && attempt > 1 {
                let rescue = TaskRescue::new(self.http.clone(), entry.id.clone());
                context.rescue = Some(Arc::new(rescue));
            }
            let mut running = self.runtime.start(&task.plan, context).await?;
            parts.pass(&mut running).await?;
            running
        } else {
            self.evaluate_in_groups(entry, task, &mut parts).await?
        };
        let (noticed, took) = (entry.warnings.take(), started.elapsed());
        parts.finish(task.rows, last, noticed, took).await?;
        Ok(Evaluated::Done)
    }

    /// Evaluates a task of which some row brought an executor down, or whose machine was
    /// lost. By groups, and row by row in the group that did it, so that it is known which
    /// row it is and the others come to an end.
    async fn evaluate_in_groups(
        &self,
        entry: &Entry<'_>,
        task: &SignedTask,
        parts: &mut Parts<'_>,
    ) -> Result<RunningTask> {
        let mut last = None;
        let step = task.rows.isqrt().max(1);
        for first in (0..task.rows).step_by(usize::try_from(step).unwrap_or(1)) {
            let group = first..(first + step).min(task.rows);
            let Attempt { attempt, .. } = self.start(entry, &group).await?;
            if attempt == 1 && step > 1 {
                let context = entry.context(false);
                last = Some(self.pass(task, group, context, parts).await?);
                continue;
            }
            for row in group {
                // A group of one row was asked for above.
                let attempt = match step {
                    1 => attempt,
                    _ => self.start(entry, &(row..row + 1)).await?.attempt + 1,
                };
                // The first attempt was that of all rows together.
                let context = entry.context(attempt >= ATTEMPTS);
                last = Some(self.pass(task, row..row + 1, context, parts).await?);
            }
        }
        match last {
            Some(last) => Ok(last),
            None => internal_err!("a task without rows"),
        }
    }

    /// Tells the scheduler that rows of a task are started, and asks how often they were.
    async fn start(&self, entry: &Entry<'_>, rows: &Range<u64>) -> Result<Attempt> {
        let id = RowsId {
            task: entry.id.clone(),
            operator: 0,
            row: rows.start,
            rows: rows.end - rows.start,
        };
        ask(&self.http, START_ROWS, &id).await
    }

    /// Evaluates rows of a task and passes what they give on.
    async fn pass(
        &self,
        task: &SignedTask,
        rows: Range<u64>,
        context: CallContext,
        parts: &mut Parts<'_>,
    ) -> Result<RunningTask> {
        let index = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
        let rows = index(rows.start)..index(rows.end);
        let plan = &task.plan;
        let mut running = self.runtime.start_rows(plan, rows, context).await?;
        parts.pass(&mut running).await?;
        Ok(running)
    }

    async fn report_for_ever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BEAT).await;
            self.report().await;
        }
    }

    /// Tells the scheduler what the tasks do, and stops those that nobody waits for.
    async fn report(&self) {
        let tasks = self.running.take_reports();
        if tasks.is_empty() {
            return;
        }
        let report = Report {
            executor: self.id.clone(),
            tasks,
        };
        match self.http.post::<Wanted>(REPORT, &report).await {
            Ok(wanted) => self.running.stop(&wanted),
            Err(error) => {
                tracing::warn!("cannot report to the scheduler: {error}");
                self.running.put_back(report.tasks);
            }
        }
    }

    fn name(&self, job: &str, task: u32) -> TaskId {
        TaskId {
            job: job.to_string(),
            task,
            executor: self.id.clone(),
        }
    }

    /// Waits until the scheduler lists this executor.
    async fn become_known(&self) {
        loop {
            let path = format!("{EXECUTORS}/{}", self.id);
            if self.http.get::<bool>(&path).await.unwrap_or_default() {
                return;
            }
            tokio::time::sleep(PAUSE / 2).await;
        }
    }

    /// Waits for the supervisor's word. Without a supervisor there is nobody who would
    /// tell the scheduler of this process's end, so it ends at once.
    async fn listen(&self) -> ExitCode {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == DRAIN {
                self.draining.store(true, Ordering::Release);
                while !self.running.is_empty() {
                    tokio::time::sleep(PAUSE / 4).await;
                }
                return ExitCode::SUCCESS;
            }
        }
        ExitCode::FAILURE
    }
}

/// How the evaluation of a task ended that did not fail.
enum Evaluated {
    /// All parts were sent.
    Done,
    /// Another executor was first; the parts that were sent, if any, are not all.
    Superseded,
}

/// Asks the scheduler, which may be away for a moment.
pub(super) async fn ask(
    http: &Http,
    path: &str,
    body: &(impl serde::Serialize + Sync),
) -> Result<Attempt> {
    let mut tries = 0;
    loop {
        match http.post(path, body).await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries == TRIES => {
                // The one kind of error after which Ballista tries a task again.
                return Err(DataFusionError::IoError(std::io::Error::other(error)));
            }
            Err(_) => {
                tokio::time::sleep(PAUSE * 2u32.pow(tries)).await;
                tries += 1;
            }
        }
    }
}

/// What a user should read of an error.
fn message_of(error: &DataFusionError) -> String {
    let message = error.strip_backtrace();
    ["Execution error: ", "External error: "]
        .iter()
        .fold(message.as_str(), |text, prefix| {
            text.trim_start_matches(prefix)
        })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(token: &Token) -> Worker {
        let options = SessionOptions::default();
        Worker {
            id: "worker".to_string(),
            http: Http::new("127.0.0.1:1".parse().unwrap(), token).unwrap(),
            token: token.clone(),
            runtime: TaskRuntime::new(&options, Arc::new(Stages)).unwrap(),
            running: Running::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// What a worker says to a task, of which it must not run anything.
    async fn refusal(worker: &Worker, job: &str, task: SignedTask) -> String {
        let (sender, mut parts) = tokio::sync::mpsc::channel(1);
        let token = CancellationToken::new();
        let ran = worker.run(job, task, &token, &sender).await;
        drop(sender);
        assert!(parts.recv().await.is_none());
        assert!(worker.running.take_reports().is_empty());
        ran.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn only_what_a_holder_of_the_token_signed_is_run() {
        let token = Token::new("0123456789abcdef").unwrap();
        let stranger = Token::new("another secret of ours").unwrap();
        let worker = worker(&token);
        let plan = bytes::Bytes::from_static(b"a plan");
        let task = |by: &Token, message: Vec<u8>| SignedTask {
            task: 1,
            rows: 2,
            signature: by.sign(&message).to_vec(),
            plan: plan.clone(),
        };
        let refused = [
            task(&stranger, signed("job", 1, 2, &plan)),
            task(&Token::default(), signed("job", 1, 2, &plan)),
            // Signed by the right one, as something else.
            task(&token, signed("another job", 1, 2, &plan)),
            task(&token, signed("job", 0, 2, &plan)),
            task(&token, signed("job", 1, 3, &plan)),
            task(&token, signed("job", 1, 2, b"another plan")),
        ];
        for task in refused {
            let said = refusal(&worker, "job", task).await;
            assert!(said.contains("was not signed"), "{said}");
        }
    }
}
