//! Ballista's engine, with what a task of ours needs of it.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use ballista_core::JobId;
use ballista_core::execution_plans::{ShuffleReaderExec, ShuffleWriterExec};
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{
    DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor,
};
use datafusion::common::{Result, exec_err};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::prelude::SessionConfig;

use crate::task::TaskExec;

/// Ballista's engine, which also stops what it gives up, and refuses what is no task.
pub(super) struct Engine {
    ballista: DefaultExecutionEngine,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            ballista: DefaultExecutionEngine::new(),
        }
    }
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

#[cfg(test)]
mod tests {
    use atoll_session::Task;
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::{displayable, replace_children_if_necessary};

    use super::*;
    use crate::Token;
    use crate::task::job_plan;

    #[test]
    fn plans_of_strangers_are_refused() {
        let task = Task {
            rows: 1,
            plan: bytes::Bytes::new(),
        };
        let job = job_plan("job", [(0, &task)], &Token::default()).unwrap();
        let mut token = None;
        check(&job, &mut token).unwrap();
        assert!(token.is_some(), "the task can be stopped");
        let nothing: Arc<dyn ExecutionPlan> =
            Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let above: Arc<dyn ExecutionPlan> =
            Arc::new(CoalescePartitionsExec::new(Arc::clone(&job)));
        // Below an operator that jobs have, as well.
        let [tasks] = job.children()[..] else {
            panic!("a job has one input");
        };
        let other: Arc<dyn ExecutionPlan> =
            Arc::new(CoalescePartitionsExec::new(Arc::clone(tasks)));
        let below = replace_children_if_necessary(Arc::clone(&job), vec![other]);
        for plan in [nothing, above, below.unwrap()] {
            let shown = displayable(plan.as_ref()).one_line().to_string();
            let refused = check(&plan, &mut None).unwrap_err().to_string();
            assert!(
                refused.contains("is no operator of a job"),
                "{shown} {refused}"
            );
        }
    }
}
