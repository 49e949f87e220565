//! Runs the jobs of a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atoll_session::{Job, Shuffle, TaskOutput, TaskRunner};
use ballista_core::client::BallistaClient;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair,
    PartitionLocation, execute_query_params::Query, execute_query_result, job_status,
};
use ballista_core::version::insert_version_header;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};

use crate::http::Http;
use crate::protocol::{BEAT, JOBS, JobState, NewJob, SLOTS, STALLED, Slots};
use crate::scheduler::MESSAGE_BYTES;
use crate::stages::Stages;
use crate::task::{TaskCodec, job_plan, outputs};
use crate::{Address, Error, Token};

/// How long the scheduler may be away before a job is given up.
const SCHEDULER_SILENCE: Duration = Duration::from_secs(20);

/// How long a job waits for the first executor.
const NO_EXECUTORS: Duration = Duration::from_secs(30);

/// A job of which no executor says anything for so long, while slots are free, has lost
/// a message of Ballista's.
const JOB_SILENCE_SECONDS: u64 = 30;

/// How often a job is submitted before its last failure is the user's.
const SUBMISSIONS: u32 = 5;

/// The pause before the second submission; it doubles.
const RESUBMIT_PAUSE: Duration = Duration::from_secs(1);

/// How often Ballista is asked for the state of a job, at first and at last.
const FIRST_POLL: Duration = Duration::from_millis(4);
const SLOWEST_POLL: Duration = Duration::from_millis(100);

/// How often a client that fetches results says that it is there.
const STAY: Duration = Duration::from_secs(2);

/// How long the scheduler may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection for results is tried, and the milliseconds between.
const FETCH_TRIES: u8 = 3;
const FETCH_PAUSE_MS: u64 = 500;

/// The name that Ballista gives the setting with a job's name.
const JOB_NAME: &str = "ballista.job.name";

/// A connection to a cluster.
#[derive(Debug, Clone)]
pub struct Client {
    shown: String,
    http: Http,
    grpc: SchedulerGrpcClient<Channel>,
    token: Token,
    session: String,
    /// Jobs, and cancellations under way.
    farewells: TaskTracker,
}

/// Why a submission came to nothing.
enum Failure {
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

impl Client {
    /// Connects to a scheduler and checks that it is one of this version.
    pub async fn connect(address: Address, token: Token) -> Result<Self, Error> {
        let http = Http::new(address.clone(), &token)?;
        http.check_version().await?;
        let unreachable = |error: tonic::transport::Error| Error::Unreachable {
            address: address.clone(),
            reason: error.to_string(),
        };
        let channel = Endpoint::from_shared(address.http(""))
            .and_then(|endpoint| endpoint.user_agent(token.user_agent()))
            .map_err(unreachable)?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .tcp_nodelay(true)
            .connect_lazy();
        let grpc = SchedulerGrpcClient::new(channel)
            .max_encoding_message_size(MESSAGE_BYTES as usize)
            .max_decoding_message_size(MESSAGE_BYTES as usize);
        Ok(Self {
            shown: address.to_string(),
            http,
            grpc,
            token,
            session: unique_id(),
            farewells: TaskTracker::new(),
        })
    }

    async fn run_job(
        &self,
        job: Job,
        results: &mpsc::Sender<Result<TaskOutput>>,
    ) -> Result<()> {
        let key = unique_id();
        let mut farewell = Farewell {
            client: self,
            key: &key,
            over: false,
        };
        let mut next_task = 0;
        let mut pause = RESUBMIT_PAUSE;
        for submission in 1.. {
            let reason = match self.submit(&key, &job, &mut next_task, results).await {
                Ok(()) => break,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Lost(reason)) => reason,
                Err(Failure::Stalled(reason)) => {
                    // Another silence follows where it does not arrive.
                    let stalled = self.http.post::<serde_json::Value>(STALLED, &());
                    let _ = stalled.await;
                    reason
                }
            };
            if submission == SUBMISSIONS {
                let times = SUBMISSIONS;
                return Err(Error::Lost { times, reason }.into());
            }
            tracing::warn!("job {key} is submitted again: {reason}");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        farewell.over = true;
        // It only changes what the status page says.
        let done = format!("{JOBS}/{key}/done");
        let _ = self.http.post::<serde_json::Value>(&done, &()).await;
        Ok(())
    }

    /// Submits a job and passes on the results of its tasks from `next_task` on.
    async fn submit(
        &self,
        key: &str,
        job: &Job,
        next_task: &mut u32,
        results: &mpsc::Sender<Result<TaskOutput>>,
    ) -> Result<(), Failure> {
        self.announce(key, job).await?;
        let id = self.execute(key, job).await?;
        let waited = self.wait(key, &id, job).await;
        if let Err(Failure::Lost(_) | Failure::Stalled(_)) = &waited {
            // Another submission follows, and must not compete with this one.
            let cancel = CancelJobParams { job_id: id.clone() };
            let _ = self.grpc.clone().cancel_job(cancel).await;
        }
        tokio::select! {
            delivered = self.deliver(waited?, next_task, results) => delivered,
            () = self.stay(key, &id) => Ok(()),
        }
    }

    /// Says for ever that this client is still there: who takes long to use the rows
    /// must not lose the rest of them.
    async fn stay(&self, key: &str, id: &str) {
        loop {
            tokio::time::sleep(STAY).await;
            // A scheduler that is away cannot miss this client either.
            let _ = self.ask(key, id).await;
        }
    }

    async fn ask(&self, key: &str, id: &str) -> Result<JobState, Error> {
        self.http.get(&format!("{JOBS}/{key}/{id}")).await
    }

    /// Fetches the results of a job and passes them on.
    async fn deliver(
        &self,
        locations: Vec<PartitionLocation>,
        next_task: &mut u32,
        results: &mpsc::Sender<Result<TaskOutput>>,
    ) -> Result<(), Failure> {
        let lost = |error: DataFusionError| {
            Failure::Lost(format!("results are gone: {}", error.strip_backtrace()))
        };
        for location in locations {
            let mut batches = self.fetch(location).await.map_err(lost)?;
            let mut parts = Vec::new();
            while let Some(batch) = batches.try_next().await.map_err(lost)? {
                for output in outputs(&batch)? {
                    let (task, is_last) = (output.task, output.rows_in.is_some());
                    // An earlier submission delivered it.
                    if task < *next_task {
                        continue;
                    }
                    parts.push(output);
                    if !is_last {
                        continue;
                    }
                    *next_task = task + 1;
                    for part in parts.drain(..) {
                        if results.send(Ok(part)).await.is_err() {
                            return Err(exec_datafusion_err!("cancelled").into());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn announce(&self, key: &str, job: &Job) -> Result<(), Failure> {
        let new = NewJob {
            key: key.to_string(),
            label: job.label.clone(),
            tasks: job.tasks.len() as u64,
            rows: job.tasks.iter().map(|task| task.rows).sum(),
            client: who(),
        };
        let new = &new;
        patiently(move || self.http.post::<()>(JOBS, new)).await?;
        Ok(())
    }

    /// Hands a job to Ballista, which names it anew.
    async fn execute(&self, key: &str, job: &Job) -> Result<String, Failure> {
        let plan = job_plan(key, &job.tasks, &self.token)?;
        let codec = TaskCodec::default();
        let plan = physical_plan_to_bytes_with_extension_codec(plan, &codec)?;
        let mut request = tonic::Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(plan.to_vec())),
            settings: vec![KeyValuePair {
                key: JOB_NAME.to_string(),
                value: Some(key.to_string()),
            }],
            session_id: self.session.clone(),
            operation_id: key.to_string(),
        });
        insert_version_header(request.metadata_mut());
        let answer = self.grpc.clone().execute_query(request).await;
        let answer = answer.map_err(|status| Failure::Lost(status.message().to_string()));
        match answer?.into_inner().result {
            Some(execute_query_result::Result::Success(success)) => Ok(success.job_id),
            Some(execute_query_result::Result::Failure(failure)) => Err(
                exec_datafusion_err!("the scheduler refused a job: {failure:?}").into(),
            ),
            None => Err(Failure::Lost("the scheduler gave no answer".to_string())),
        }
    }

    /// Waits until a job's results are there.
    async fn wait(
        &self,
        key: &str,
        id: &str,
        job: &Job,
    ) -> Result<Vec<PartitionLocation>, Failure> {
        let mut watch = Watch::new();
        let mut pause = FIRST_POLL;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_POLL);
            let params = GetJobStatusParams {
                job_id: id.to_string(),
            };
            let answer = self.grpc.clone().get_job_status(params).await;
            let status = match answer {
                Ok(answer) => answer.into_inner().status.and_then(|status| status.status),
                Err(_) => {
                    watch.check_scheduler(self.http.address())?;
                    continue;
                }
            };
            watch.scheduler_seen = Instant::now();
            watch.check_status(status.is_some())?;
            let ended = matches!(
                status,
                Some(job_status::Status::Successful(_) | job_status::Status::Failed(_))
            );
            if ended || watch.asked.elapsed() >= BEAT {
                watch.asked = Instant::now();
                match self.ask(key, id).await {
                    Ok(state) => {
                        job.progress.set_remote(key, state.snapshot());
                        watch.check_job(&state, self.http.address())?;
                    }
                    Err(Error::Unknown(_)) => {
                        let reason = "the scheduler was restarted".to_string();
                        return Err(Failure::Lost(reason));
                    }
                    Err(_) => {}
                }
            }
            match status {
                Some(job_status::Status::Successful(job)) => {
                    return Ok(job.partition_location);
                }
                Some(job_status::Status::Failed(failed)) => {
                    return Err(Failure::Lost(failed.error));
                }
                _ => {}
            }
        }
    }

    async fn fetch(
        &self,
        location: PartitionLocation,
    ) -> Result<SendableRecordBatchStream> {
        let layout = location.layout();
        let (Some(executor), Some(partition)) =
            (location.executor_meta, location.partition_id)
        else {
            return exec_err!("the scheduler did not say where");
        };
        let agent = self.token.user_agent();
        let endpoint = BallistaConfigGrpcEndpoint::new(Arc::new(move |endpoint| {
            let endpoint = endpoint.connect_timeout(PATIENCE).tcp_nodelay(true);
            let endpoint = endpoint
                .http2_keep_alive_interval(PATIENCE)
                .keep_alive_timeout(PATIENCE);
            Ok(endpoint.user_agent(agent.clone())?)
        }));
        let port = u16::try_from(executor.port).unwrap_or_default();
        let mut client = BallistaClient::try_new(
            &executor.host,
            port,
            MESSAGE_BYTES as usize,
            false,
            Some(Arc::new(endpoint)),
            FETCH_TRIES,
            FETCH_PAUSE_MS,
            0,
            0,
        )
        .await
        .map_err(|error| exec_datafusion_err!("{error}"))?;
        // Not as Flight data, which cannot cut a large value into messages.
        let rows = client
            .fetch_partition(
                &executor.id,
                &partition.into(),
                location.file_id,
                layout,
                false,
            )
            .await;
        rows.map_err(|error| exec_datafusion_err!("{error}"))
    }
}

impl TaskRunner for Client {
    fn address(&self) -> &str {
        &self.shown
    }

    fn shuffle(&self) -> Arc<dyn Shuffle> {
        Arc::new(Stages)
    }

    fn slots(&self) -> BoxFuture<'_, Result<usize>> {
        async move {
            let slots = patiently(move || self.http.get::<Slots>(SLOTS));
            Ok(slots.await?.all)
        }
        .boxed()
    }

    fn run(&self, job: Job) -> BoxStream<'static, Result<TaskOutput>> {
        let (sender, receiver) = mpsc::channel(1);
        let client = self.clone();
        // Held until the job is dropped, and with it its farewell has begun: dropping
        // goes through several tasks, which end after the statement did.
        let settled = self.farewells.token();
        let running = SpawnedTask::spawn(async move {
            let _settled = settled;
            if let Err(error) = client.run_job(job, &sender).await {
                // Nobody is left to tell otherwise.
                let _ = sender.send(Err(error)).await;
            }
        });
        let results = (receiver, running);
        futures::stream::unfold(results, async |mut results| {
            let result = results.0.recv().await?;
            Some((result, results))
        })
        .boxed()
    }

    fn linger(&self, last: BoxFuture<'static, ()>) {
        // Without a runtime the process ends, and whoever comes later does it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.farewells.spawn_on(last, &runtime);
        }
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        async {
            self.farewells.close();
            // A scheduler that does not answer cancels when it misses this client.
            let _ = tokio::time::timeout(PATIENCE / 4, self.farewells.wait()).await;
            self.farewells.reopen();
        }
        .boxed()
    }
}

/// Tells the scheduler when a job is no longer waited for.
struct Farewell<'a> {
    client: &'a Client,
    key: &'a str,
    over: bool,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let http = self.client.http.clone();
        let path = format!("{JOBS}/{}", self.key);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let goodbye = async move {
            // The scheduler misses this client otherwise.
            let _ = http.delete(&path).await;
        };
        self.client.farewells.spawn_on(goodbye, &runtime);
    }
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

/// Asks again for a while when the scheduler does not answer: it may be started anew.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let since = Instant::now();
    loop {
        match ask().await {
            Err(error @ Error::Unreachable { .. })
                if since.elapsed() < SCHEDULER_SILENCE =>
            {
                tracing::warn!("{error}");
                tokio::time::sleep(BEAT).await;
            }
            answer => return answer,
        }
    }
}

/// A name that no other job or session has.
fn unique_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let time = time.map_or(0, |time| time.as_nanos());
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{time:x}-{:x}-{count:x}", std::process::id())
}

/// What this client is called on the status page.
fn who() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "someone".to_string());
    format!("{user}, process {}", std::process::id())
}
