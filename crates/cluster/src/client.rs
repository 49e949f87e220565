//! Runs the jobs of a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atoll_session::{Job, Shuffle, Task, TaskOutput, TaskRunner};
use ballista_core::client::BallistaClient;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair,
    PartitionLocation, execute_query_params::Query, execute_query_result,
    job_status::Status,
};
use ballista_core::version::insert_version_header;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};

use crate::http::Http;
use crate::protocol::{
    BEAT, JOBS, JobName, JobState, NewJob, RUNS, SLOTS, STALLED, Slots,
};
use crate::runs::{self, NewRun, RunOrder, RunState, SignedOrder};
use crate::scheduler::MESSAGE_BYTES;
use crate::stages::Stages;
use crate::submission::{Failure, Submission};
use crate::task::{TaskCodec, job_plan};
use crate::{Address, Error, Token};

/// How long the scheduler may be away before a job is given up.
const SCHEDULER_SILENCE: Duration = Duration::from_secs(20);

/// How often a job is submitted before its last failure is the user's.
const SUBMISSIONS: u32 = 5;

/// The pause before the second submission; it doubles.
const RESUBMIT_PAUSE: Duration = Duration::from_secs(1);

/// How long the scheduler may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection for results is tried, and the milliseconds between.
const FETCH_TRIES: u8 = 3;
const FETCH_PAUSE_MS: u64 = 500;

/// The name that Ballista gives the setting with a job's name.
const JOB_NAME: &str = "ballista.job.name";

/// A connection to a cluster, over which a session runs its expensive calls.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use atoll_cluster::{Client, Token};
/// use atoll_session::{Session, SessionOptions};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("df://10.0.0.10:50050".parse()?, Token::find(None)?).await?;
/// let options = SessionOptions {
///     cluster: Some(Arc::new(client)),
///     ..SessionOptions::default()
/// };
/// let session = Session::new(options).await?;
/// # Ok(())
/// # }
/// ```
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

    /// Has the cluster run a script on its own.
    pub async fn order(&self, order: RunOrder) -> Result<(), Error> {
        let order = SignedOrder::new(order, &self.token);
        let running = None;
        self.http.post(RUNS, &NewRun { order, running }).await
    }

    /// The runs that the scheduler knows, the latest first, without what they printed.
    pub async fn runs(&self) -> Result<Vec<RunState>, Error> {
        self.http.get(RUNS).await
    }

    /// One run, with the last of what it printed.
    pub async fn show_run(&self, id: &str) -> Result<RunState, Error> {
        self.knows_run(id)?;
        let state = self.http.get(&format!("{RUNS}/{id}")).await;
        state.map_err(|error| runs::unknown(error, id))
    }

    /// Ends a run, as Ctrl-C would.
    pub async fn cancel_run(&self, id: &str) -> Result<(), Error> {
        self.knows_run(id)?;
        let ended = self.http.delete(&format!("{RUNS}/{id}")).await;
        ended.map_err(|error| runs::unknown(error, id))
    }

    /// Refuses what is the name of no run and would ask the scheduler something else.
    fn knows_run(&self, id: &str) -> Result<(), Error> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        match id.chars().all(is_plain) && id.starts_with(|c: char| c.is_ascii_digit()) {
            true => Ok(()),
            false => Err(Error::NoRun {
                id: id.to_string(),
                address: self.http.address().clone(),
            }),
        }
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
        let submission = Submission::start(self, key, job).await?;
        submission.run(next_task, results).await
    }

    async fn announce(&self, key: &str, job: &Job) -> Result<(), Failure> {
        let new = NewJob {
            key: key.to_string(),
            label: job.label.clone(),
            tasks: job.tasks.len() as u64,
            rows: job.tasks.iter().map(|task| task.rows).sum(),
            client: who(),
            session: self.session.clone(),
            speculates: job.speculates,
        };
        let new = &new;
        patiently(move || self.http.post::<()>(JOBS, new)).await?;
        Ok(())
    }

    /// Hands a job to Ballista, which names it anew.
    pub(crate) async fn execute<'a>(
        &self,
        name: &JobName,
        tasks: impl IntoIterator<Item = (u32, &'a Task)>,
    ) -> Result<String, Failure> {
        let plan = job_plan(&name.key, tasks, &self.token)?;
        let codec = TaskCodec::default();
        let plan = physical_plan_to_bytes_with_extension_codec(plan, &codec)?;
        let mut request = tonic::Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(plan.to_vec())),
            settings: vec![KeyValuePair {
                key: JOB_NAME.to_string(),
                value: Some(name.to_string()),
            }],
            session_id: self.session.clone(),
            operation_id: name.to_string(),
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

    /// What Ballista says of one of its jobs; nothing if it does not know it.
    pub(crate) async fn status_of(
        &self,
        id: &str,
    ) -> Result<Option<Status>, tonic::Status> {
        let params = GetJobStatusParams {
            job_id: id.to_string(),
        };
        let answer = self.grpc.clone().get_job_status(params).await?;
        Ok(answer.into_inner().status.and_then(|status| status.status))
    }

    /// Has Ballista stop one of its jobs, as far as it can be reached.
    pub(crate) async fn cancel(&self, id: &str) {
        let job_id = id.to_string();
        let _ = self
            .grpc
            .clone()
            .cancel_job(CancelJobParams { job_id })
            .await;
    }

    /// Asks the scheduler how far a job is, and says which job of Ballista's it is.
    pub(crate) async fn ask(&self, key: &str, id: &str) -> Result<JobState, Error> {
        self.http.get(&format!("{JOBS}/{key}/{id}")).await
    }

    pub(crate) fn address(&self) -> &Address {
        self.http.address()
    }

    pub(crate) async fn fetch(
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
pub fn who() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "someone".to_string());
    format!("{user}, process {}", std::process::id())
}
