//! Which task an executor gets next: the scheduler's free slots are shared by clients, and
//! not by jobs as Ballista shares them, where a client with 32 jobs gets 32 times the
//! slots of one with a single job.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::{AvailableVcores, job_status};
use ballista_core::serde::scheduler::TaskKey;
use ballista_scheduler::cluster::{BoundTask, DistributionPolicy};
use ballista_scheduler::state::execution_graph::{
    ExecutionGraphBox, TaskDescription, create_task_info,
};
use ballista_scheduler::state::execution_stage::RunningStage;
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion::common::Result;
use tokio::sync::RwLockWriteGuard;

use crate::board::Board;
use crate::protocol::JobName;

/// Deals tasks to free slots so that each client has about as many slots as any other that
/// wants more. Of one client's jobs the oldest comes first, and a second attempt at a task
/// before all others, because the rest of its job waits for it.
#[derive(Debug)]
pub(crate) struct FairShares {
    board: Arc<Board>,
    /// When each client was last dealt a task, as the number of the deal.
    turns: Mutex<HashMap<String, u64>>,
}

/// A job that may have tasks to deal.
struct Candidate<'a> {
    graph: RwLockWriteGuard<'a, ExecutionGraphBox>,
    id: &'a JobId,
    client: String,
    /// Ballista's own name of the session, which is a new one for each job.
    session: String,
    name: JobName,
    since: u64,
}

impl FairShares {
    pub(crate) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            turns: Mutex::default(),
        }
    }

    /// Gives one task of the job to the executor with the most free slots that may run it,
    /// and to a slow one only if no other has a slot;
    /// nothing if the job has no task to deal, or no executor has a slot for it.
    fn deal(
        &self,
        job: &mut Candidate<'_>,
        budgets: &mut [&mut AvailableVcores],
        slow: &BTreeSet<String>,
    ) -> Option<BoundTask> {
        let busy = match job.name.task {
            Some(task) => self.board.executors_of(&job.name.key, task),
            None => vec![],
        };
        let stage = job.graph.fetch_running_stage(&[])?;
        let free = budgets
            .iter_mut()
            .filter(|budget| budget.vcores > 0 && !busy.contains(&budget.executor_id))
            .max_by_key(|budget| (!slow.contains(&budget.executor_id), budget.vcores))?;
        bind(stage, job.id, &job.session, free)
    }
}

/// Takes the next task of a stage for a slot of an executor. This is `bind_one` of
/// Ballista's scheduler, which other crates cannot call, for the two kinds of stages that
/// jobs here have: one partition a task, or all of them in the one that merges results.
fn bind(
    stage: &mut RunningStage,
    job: &JobId,
    session: &str,
    budget: &mut AvailableVcores,
) -> Option<BoundTask> {
    let merges = stage.plan.children().iter().all(|child| {
        let partitioning = &child.properties().partitioning;
        partitioning.partition_count() == 1
    });
    let most = if merges { usize::MAX } else { 1 };
    let partitions = stage.pending.next_slice(most);
    if partitions.is_empty() {
        return None;
    }
    let task_id = stage.task_infos.len();
    let failures = partitions
        .iter()
        .map(|partition| stage.task_failure_numbers[*partition]);
    let task_attempt = failures.max().unwrap_or_default();
    let mut info = create_task_info(budget.executor_id.clone(), task_id);
    info.global_input_partition_ids.clone_from(&partitions);
    info.vcores_consumed = 1;
    stage.task_infos.push(info);
    budget.vcores -= 1;
    let task = TaskDescription {
        session_id: session.to_string(),
        key: TaskKey {
            job_id: job.clone(),
            stage_id: stage.stage_id,
            task_id,
        },
        stage_attempt_num: stage.stage_attempt_num,
        task_attempt,
        global_input_partition_ids: partitions,
        vcores_consumed: 1,
        plan: Arc::clone(&stage.plan),
        session_config: Arc::clone(&stage.session_config),
    };
    Some((budget.executor_id.clone(), task))
}

#[async_trait]
impl DistributionPolicy for FairShares {
    async fn bind_tasks(
        &self,
        mut budgets: Vec<&mut AvailableVcores>,
        jobs: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> Result<Vec<BoundTask>> {
        let mut dealt = Vec::new();
        if budgets.iter().all(|budget| budget.vcores == 0) {
            return Ok(dealt);
        }
        let slow = self.board.slow_executors();
        let mut slots: HashMap<String, usize> = HashMap::new();
        let mut candidates = Vec::new();
        for (id, job) in jobs.iter() {
            if !matches!(job.status, Some(job_status::Status::Running(_))) {
                continue;
            }
            let mut graph = job.execution_graph.write().await;
            let name = JobName::parse(graph.job_name());
            let client = self.board.client_of(&name.key);
            *slots.entry(client.clone()).or_default() += graph.running_tasks().len();
            // This also starts stages whose input is complete.
            if graph.fetch_running_stage(&[]).is_some() {
                candidates.push(Candidate {
                    id,
                    client,
                    session: graph.session_id().to_string(),
                    name,
                    since: graph.start_time(),
                    graph,
                });
            }
        }
        candidates.sort_by(|a, b| {
            let order = |job: &Candidate<'_>| (job.name.task.is_none(), job.since);
            order(a).cmp(&order(b)).then_with(|| a.id.cmp(b.id))
        });
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = self.board.clients();
        turns.retain(|client, _| clients.contains(client));
        let mut turn = turns.values().max().copied().unwrap_or_default();
        // Each round deals one task of the client with the fewest slots; of those with as
        // many, the one that was dealt a task longest ago.
        while let Some(next) = (0..candidates.len()).min_by_key(|place| {
            let client = &candidates[*place].client;
            (slots.get(client).copied(), turns.get(client).copied())
        }) {
            match self.deal(&mut candidates[next], &mut budgets, &slow) {
                Some(task) => {
                    turn += 1;
                    turns.insert(candidates[next].client.clone(), turn);
                    *slots.entry(candidates[next].client.clone()).or_default() += 1;
                    dealt.push(task);
                }
                None => {
                    candidates.remove(next);
                }
            }
        }
        Ok(dealt)
    }

    fn name(&self) -> &'static str {
        "fair shares of clients"
    }
}
