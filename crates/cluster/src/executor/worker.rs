//! The process that runs tasks.

use std::collections::HashMap;
use std::fmt::{self, Debug, Display, Formatter};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_compute::progress::Progress;
use atoll_compute::warnings::{Noticed, Warnings};
use atoll_session::{SessionOptions, TaskOutput, TaskRuntime};
use atoll_udf_common::CallContext;
use ballista_core::JobId;
use ballista_core::execution_plans::{ShuffleReaderExec, ShuffleWriterExec};
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{
    DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor,
};
use ballista_executor::executor_process::{
    ExecutorProcessConfig, start_executor_process,
};
use ballista_executor::metrics::ExecutorMetricCollectionPolicy;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, internal_err,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc::Sender;

use super::{DRAIN, ExecutorOptions, WorkerId};
use crate::http::Http;
use crate::protocol::{
    Attempt, BEAT, EXECUTORS, End, REPORT, Report, RowsId, START, START_ROWS, TaskId,
    TaskReport, Wanted,
};
use crate::scheduler::{MESSAGE_BYTES, session_config};
use crate::stages::Stages;
use crate::task::{SignedTask, TaskCodec, TaskExec, output_batch, signed};
use crate::{Error, Token};

/// How often Ballista hears that the executor lives.
const HEARTBEAT_SECONDS: u64 = 2;

/// How often a row is started before it is given up.
const ATTEMPTS: u32 = 3;

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
    running: Mutex<HashMap<(String, u32), Running>>,
    /// Ends that the scheduler has not been told.
    ended: Mutex<Vec<TaskReport>>,
    draining: AtomicBool,
}

#[derive(Debug, Clone)]
struct Running {
    /// Cancelled when nobody waits for the job.
    token: CancellationToken,
    /// Cancelled when another executor has completed the task.
    superseded: CancellationToken,
    progress: Progress,
}

impl Debug for Worker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single call, so a panic elsewhere leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        running: Mutex::default(),
        ended: Mutex::default(),
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
    let codec = TaskCodec::for_worker(Arc::clone(state));
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
        override_execution_engine: Some(Arc::new(Engine {
            ballista: DefaultExecutionEngine::new(),
        })),
        override_config_producer: Some(Arc::new(session_config)),
        override_physical_codec: Some(Arc::new(codec)),
        override_create_grpc_client_endpoint: Some(Arc::new(move |endpoint| {
            Ok(endpoint.user_agent(agent.clone())?)
        })),
        ..ExecutorProcessConfig::default()
    }
}

impl Worker {
    /// Runs a task and sends its parts.
    pub(crate) async fn run(
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
        let entry = Entry::new(self, job, task.task, &stop);
        let superseded = entry.superseded.clone();
        let parts = Parts {
            task: task.task,
            next: 0,
            held: None,
            sender: parts,
        };
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

    async fn evaluate(
        &self,
        entry: &Entry<'_>,
        task: &SignedTask,
        mut parts: Parts<'_>,
    ) -> Result<Evaluated> {
        let Attempt {
            attempt,
            superseded,
        } = self.ask(START, &entry.id).await?;
        if superseded {
            return Ok(Evaluated::Superseded);
        }
        let started = Instant::now();
        if task.rows == 0 && attempt > ATTEMPTS {
            return exec_err!(
                "an executor died each of the {ATTEMPTS} times that it ran a part of this \
                 statement; it needs more memory than there is (see --memory-limit of atoll \
                 executor), or crashes a library"
            );
        }
        if attempt == 1 || task.rows <= 1 {
            let context = entry.context(attempt > ATTEMPTS);
            let rows = self.runtime.start(&task.plan, context).await?;
            let schema = parts.pass(rows).await?;
            let noticed = entry.warnings.take();
            parts
                .finish(task.rows, schema, noticed, started.elapsed())
                .await?;
            return Ok(Evaluated::Done);
        }
        // Some row of these brought an executor down, or the machine was lost. By groups,
        // and row by row in the group that did it, so that it is known which row it is
        // and the others come to an end.
        let mut schema = None;
        let step = task.rows.isqrt().max(1);
        for first in (0..task.rows).step_by(usize::try_from(step).unwrap_or(1)) {
            let group = first..(first + step).min(task.rows);
            let Attempt { attempt, .. } = self.start(entry, &group).await?;
            if attempt == 1 && step > 1 {
                let context = entry.context(false);
                schema = Some(self.pass(task, group, context, &mut parts).await?);
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
                schema = Some(self.pass(task, row..row + 1, context, &mut parts).await?);
            }
        }
        match schema {
            Some(schema) => {
                let noticed = entry.warnings.take();
                parts
                    .finish(task.rows, schema, noticed, started.elapsed())
                    .await?;
                Ok(Evaluated::Done)
            }
            None => internal_err!("a task without rows"),
        }
    }

    /// Tells the scheduler that rows of a task are started, and asks how often they were.
    async fn start(&self, entry: &Entry<'_>, rows: &Range<u64>) -> Result<Attempt> {
        let id = RowsId {
            task: entry.id.clone(),
            row: rows.start,
            rows: rows.end - rows.start,
        };
        self.ask(START_ROWS, &id).await
    }

    /// Evaluates rows of a task and passes what they give on.
    async fn pass(
        &self,
        task: &SignedTask,
        rows: Range<u64>,
        context: CallContext,
        parts: &mut Parts<'_>,
    ) -> Result<SchemaRef> {
        let index = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
        let rows = index(rows.start)..index(rows.end);
        let rows = self.runtime.start_rows(&task.plan, rows, context).await?;
        parts.pass(rows).await
    }

    /// Asks the scheduler, which may be away for a moment.
    async fn ask(
        &self,
        path: &str,
        body: &(impl serde::Serialize + Sync),
    ) -> Result<Attempt> {
        let mut tries = 0;
        loop {
            match self.http.post(path, body).await {
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

    async fn report_for_ever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BEAT).await;
            self.report().await;
        }
    }

    /// Tells the scheduler what the tasks do, and stops those that nobody waits for.
    async fn report(&self) {
        let ended = std::mem::take(&mut *lock(&self.ended));
        let running = lock(&self.running).clone();
        let running = running
            .into_iter()
            .map(|((job, task), running)| TaskReport {
                id: self.name(&job, task),
                progress: running.progress.snapshot().into(),
                end: None,
            });
        let mut tasks: Vec<TaskReport> = running.collect();
        tasks.extend(ended);
        if tasks.is_empty() {
            return;
        }
        let report = Report {
            executor: self.id.clone(),
            tasks,
        };
        match self.http.post::<Wanted>(REPORT, &report).await {
            Ok(wanted) => {
                let running = lock(&self.running);
                for (id, running) in running.iter() {
                    if wanted.over.contains(&id.0) {
                        running.token.cancel();
                    }
                    if wanted.superseded.contains(id) {
                        running.superseded.cancel();
                    }
                }
            }
            Err(error) => {
                tracing::warn!("cannot report to the scheduler: {error}");
                let ended = report.tasks.into_iter().filter(|task| task.end.is_some());
                lock(&self.ended).extend(ended);
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
                while !lock(&self.running).is_empty() {
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

/// A task in the list of those that run.
struct Entry<'a> {
    worker: &'a Worker,
    id: TaskId,
    token: &'a CancellationToken,
    superseded: CancellationToken,
    progress: Progress,
    warnings: Warnings,
    ended: bool,
}

impl<'a> Entry<'a> {
    fn new(
        worker: &'a Worker,
        job: &str,
        task: u32,
        token: &'a CancellationToken,
    ) -> Self {
        let progress = Progress::default();
        let superseded = CancellationToken::new();
        let running = Running {
            token: token.clone(),
            superseded: superseded.clone(),
            progress: progress.clone(),
        };
        lock(&worker.running).insert((job.to_string(), task), running);
        Self {
            worker,
            id: worker.name(job, task),
            token,
            superseded,
            progress,
            warnings: Warnings::default(),
            ended: false,
        }
    }

    fn context(&self, give_up: bool) -> CallContext {
        let reason = format!(
            "the executor died each of the {ATTEMPTS} times that it evaluated this row; it \
             needs more memory than there is, or crashes a library"
        );
        CallContext {
            token: self.token.child_token(),
            progress: self.progress.clone(),
            warnings: self.warnings.clone(),
            directory: None,
            given_up: give_up.then(|| reason.into()),
        }
    }

    fn end(mut self, end: End) {
        self.leave(end);
    }

    fn leave(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let key = (self.id.job.clone(), self.id.task);
        lock(&self.worker.running).remove(&key);
        lock(&self.worker.ended).push(TaskReport {
            id: self.id.clone(),
            progress: self.progress.snapshot().into(),
            end: Some(end),
        });
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.leave(End::Cancelled);
    }
}

/// The parts of a task, numbered. The last one is held back until it is known to be the
/// last, because it says that the task is complete.
struct Parts<'a> {
    task: u32,
    next: u32,
    held: Option<RecordBatch>,
    sender: &'a Sender<Result<RecordBatch>>,
}

impl Parts<'_> {
    /// Passes rows on; returns their schema.
    async fn pass(&mut self, mut rows: SendableRecordBatchStream) -> Result<SchemaRef> {
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            if let Some(held) = self.held.replace(batch) {
                self.send(&held, None).await?;
            }
        }
        Ok(rows.schema())
    }

    /// Sends the last part, which also says what the task noticed and how long it took.
    async fn finish(
        mut self,
        rows_in: u64,
        schema: SchemaRef,
        noticed: Noticed,
        took: Duration,
    ) -> Result<()> {
        let last = self.held.take();
        let last = last.unwrap_or_else(|| RecordBatch::new_empty(schema));
        let last = TaskRuntime::annotate(last, noticed, took)?;
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

/// Ballista's engine, which also stops what it gives up, and refuses what is no task.
struct Engine {
    ballista: DefaultExecutionEngine,
}

impl ExecutionEngine for Engine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let mut token = None;
        check(&plan, &mut token)?;
        let stage = self.ballista.create_query_stage_exec(
            job_id,
            stage_id,
            task_id,
            global_output_partition_ids,
            plan,
            work_dir,
            config,
        )?;
        Ok(Arc::new(Stage { stage, token }))
    }
}

/// Refuses operators that no job has: without this, whoever reaches the executor's port
/// could read and write files through it.
fn check(
    plan: &Arc<dyn ExecutionPlan>,
    token: &mut Option<CancellationToken>,
) -> Result<()> {
    if let Some(task) = plan.downcast_ref::<TaskExec>() {
        *token = Some(task.token.clone());
    }
    let in_memory = plan.downcast_ref::<DataSourceExec>().is_some_and(|exec| {
        let source: &dyn std::any::Any = exec.data_source().as_ref();
        source.is::<datafusion::datasource::memory::MemorySourceConfig>()
    });
    let known = in_memory
        || plan.is::<TaskExec>()
        || plan.is::<ShuffleReaderExec>()
        || plan.is::<ShuffleWriterExec>()
        || plan.is::<SortPreservingMergeExec>();
    if !known {
        return exec_err!("{} is no operator of a job", plan.name());
    }
    let children = plan.children();
    children
        .into_iter()
        .try_for_each(|child| check(child, token))
}

/// A task of Ballista, which stops when Ballista drops it.
#[derive(Debug)]
struct Stage {
    stage: Arc<dyn QueryStageExecutor>,
    token: Option<CancellationToken>,
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.stage, f)
    }
}

#[async_trait]
impl QueryStageExecutor for Stage {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        // Ballista cancels by dropping this future, which leaves the operators running.
        let _stop = self.token.clone().map(CancellationToken::drop_guard);
        self.stage.execute_query_stage(task_id, context).await
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.stage.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.stage.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.stage.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.stage.collect_column_stats()
    }
}
