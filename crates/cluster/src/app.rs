//! What a scheduler's routes share: Ballista's server, the board, and what is to be done
//! when executors and clients come and go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ballista_core::JobId;
use ballista_core::serde::protobuf::ExecutorStoppedParams;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::cluster::JobState;
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::executor_manager::ExecutorManager;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};

use crate::Token;
use crate::board::Board;
use crate::protocol::{JobName, Slots};
use crate::runs::Runs;
use crate::scheduler::{EXECUTOR_SILENCE_SECONDS, ROUND};
use crate::status::{Executor, Status};

/// After these times executors are asked again to remove what a job left: a task that was
/// told to stop may write its result after it was removed, and a part of a job may have been
/// on its way to the scheduler when its client left.
const AGAIN: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(30)];

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// What the routes share.
pub(crate) struct App {
    pub(crate) server: Server,
    /// Where Ballista keeps jobs that ended.
    pub(crate) jobs: Arc<dyn JobState>,
    pub(crate) board: Arc<Board>,
    pub(crate) runs: Runs,
    pub(crate) token: Token,
    pub(crate) since: SystemTime,
}

impl App {
    pub(crate) async fn status(&self) -> Status {
        let executors = self.executors().await;
        Status::new(self.since, executors, &self.board, self.runs.all())
    }

    /// Has Ballista forget an executor, whose tasks then start elsewhere.
    pub(crate) async fn remove(&self, executor: String, reason: &str) {
        let stopped = tonic::Request::new(ExecutorStoppedParams {
            executor_id: executor,
            reason: reason.to_string(),
        });
        if let Err(error) = SchedulerGrpc::executor_stopped(&self.server, stopped).await {
            tracing::warn!("cannot remove an executor: {error}");
        }
    }

    /// What Ballista knows of the executors that are connected, and for how long each has
    /// been silent.
    async fn connected(&self) -> Vec<(ExecutorMetadata, Duration)> {
        let known = self
            .server
            .state
            .executor_manager
            .get_executors_state()
            .await;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let limit = Duration::from_secs(EXECUTOR_SILENCE_SECONDS);
        let known = known.unwrap_or_default().into_iter();
        let known = known.filter_map(|(metadata, seen, _)| {
            let silent = now.saturating_sub(seen?);
            (silent <= limit).then_some((metadata, silent))
        });
        known.collect()
    }

    /// The executors that are connected.
    pub(crate) async fn executors(&self) -> Vec<Executor> {
        let busy = self.board.busy();
        let connected = self.connected().await.into_iter();
        let mut executors: Vec<Executor> = connected
            .map(|(metadata, silent)| Executor {
                address: format!("{}:{}", metadata.host, metadata.port),
                slots: metadata.specification.vcores as usize,
                running: busy.get(&metadata.id).copied().unwrap_or_default(),
                silent_seconds: silent.as_secs(),
                id: metadata.id,
            })
            .collect();
        executors.sort_by(|a, b| a.id.cmp(&b.id));
        executors
    }

    pub(crate) async fn slots(&self) -> Slots {
        let busy: HashMap<String, usize> = self.board.busy();
        let mut sum = Slots::default();
        for (metadata, _) in self.connected().await {
            let all = metadata.specification.vcores as usize;
            let taken = busy.get(&metadata.id).copied().unwrap_or_default();
            sum.all += all;
            sum.free += all.saturating_sub(taken);
        }
        sum
    }

    pub(crate) async fn knows(&self, executor: &str) -> bool {
        let executors = &self.server.state.executor_manager;
        executors.get_executor_hearbeat(executor).is_some()
            && executors.get_executor_metadata(executor).await.is_ok()
    }

    /// Ends a job here and in Ballista, where it goes by another name, and where second
    /// attempts that nobody needs any more may still run.
    pub(crate) async fn cancel(&self, key: &str, how: &'static str) {
        if !self.board.end(key, how) {
            return;
        }
        let jobs = self.server.state.task_manager.get_running_job_cache();
        for (id, job) in jobs.iter() {
            let runs = {
                let graph = job.execution_graph.read().await;
                JobName::parse(graph.job_name()).key == key && !graph.is_successful()
            };
            if runs && let Err(error) = self.server.cancel_job(id.clone()).await {
                tracing::warn!("cannot cancel a job: {error}");
            }
        }
        self.forget(key).await;
    }

    /// Lets go of what is left of a job that ended: its results on executors, and its
    /// plan, which holds every row that was sent with it.
    pub(crate) async fn forget(&self, key: &str) {
        let told = self.board.take_submissions(key);
        let mut ids: HashSet<JobId> = told.into_iter().map(JobId::from).collect();
        let executors = self.server.state.executor_manager.clone();
        let (jobs, key) = (Arc::clone(&self.jobs), key.to_string());
        let_go(&executors, jobs.as_ref(), &key, &mut ids).await;
        tokio::spawn(async move {
            for wait in AGAIN {
                tokio::time::sleep(wait).await;
                let_go(&executors, jobs.as_ref(), &key, &mut ids).await;
            }
        });
    }

    /// Looks for clients and executors that went away without a word.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut known: HashSet<String> = HashSet::new();
        loop {
            tokio::time::sleep(ROUND).await;
            self.runs.look_for_lost();
            for key in self.board.forsaken() {
                self.cancel(&key, "abandoned").await;
            }
            let connected = self.connected().await.into_iter();
            let now: HashSet<String> = connected.map(|(one, _)| one.id).collect();
            for lost in known.difference(&now) {
                self.board.lose(lost);
            }
            known = now;
        }
    }
}

/// Has executors remove the results of the Ballista jobs that a job consists of, and forgets
/// these. `ids` are those that are known, to which those come that say whose they are.
async fn let_go(
    executors: &ExecutorManager,
    jobs: &dyn JobState,
    key: &str,
    ids: &mut HashSet<JobId>,
) {
    // A client that left early has not told its job's name.
    for id in jobs.get_jobs().await.unwrap_or_default() {
        let status = jobs.get_job_status(&id).await;
        let name = status
            .ok()
            .flatten()
            .map(|job| JobName::parse(&job.job_name));
        if name.is_some_and(|name| name.key == key) {
            ids.insert(id);
        }
    }
    for id in ids.iter() {
        executors.clean_up_job_data(id.clone());
        if let Err(error) = jobs.remove_job(id).await {
            tracing::warn!("cannot forget a job: {error}");
        }
    }
}
