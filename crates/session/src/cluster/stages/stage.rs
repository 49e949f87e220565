//! A stage of a statement, for EXPLAIN.

use std::collections::BTreeSet;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

use super::Stage;
use super::size::FilesRead;
use crate::cluster::numbers::Numbers;

/// Shows a stage: how many tasks it has, what they read, and where their rows go.
#[derive(Debug)]
pub(super) struct StageExec {
    pub(super) id: usize,
    inputs: BTreeSet<usize>,
    /// By which values the rows are dealt to tasks of a later stage.
    partitioning: Option<Partitioning>,
    is_last: bool,
    files: FilesRead,
    plan: Arc<dyn ExecutionPlan>,
    pub(super) numbers: Numbers,
}

impl StageExec {
    /// The stages of a statement, the last of which gives its rows.
    pub(super) fn all(stages: &[Stage]) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let last = stages.last().map(|stage| stage.id);
        let show = |stage: &Stage| {
            // The operator that writes the rows is the stage's own.
            let [plan] = stage.plan.children()[..] else {
                return internal_err!("a stage writes the rows of one operator");
            };
            Ok(Arc::new(Self {
                id: stage.id,
                inputs: stage.inputs.clone(),
                partitioning: stage.partitioning.clone(),
                is_last: Some(stage.id) == last,
                files: FilesRead::of(plan)?,
                plan: Arc::clone(plan),
                numbers: Numbers::default(),
            }) as Arc<dyn ExecutionPlan>)
        };
        stages.iter().map(show).collect()
    }

    /// How many tasks it has.
    pub(super) fn tasks(&self) -> usize {
        self.plan.output_partitioning().partition_count().max(1)
    }
}

impl DisplayAs for StageExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "StageExec: stage={}, tasks={}", self.id, self.tasks())?;
        let mut reads = vec![];
        if self.files.files > 0 {
            reads.push(self.files.to_string());
        }
        if !self.inputs.is_empty() {
            let inputs: Vec<_> = self.inputs.iter().map(ToString::to_string).collect();
            reads.push(format!("rows of stage {}", inputs.join(", ")));
        }
        if !reads.is_empty() {
            write!(f, ", reads={}", reads.join(" and "))?;
        }
        match &self.partitioning {
            _ if self.is_last => write!(f, ", gives=the statement's rows"),
            Some(Partitioning::Hash(keys, tasks)) => {
                let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
                write!(f, ", gives=rows by [{}] to {tasks} tasks", keys.join(", "))
            }
            Some(other) => write!(f, ", gives=rows by {other}"),
            None => write!(f, ", gives=rows as they are"),
        }
    }
}

impl ExecutionPlan for StageExec {
    fn name(&self) -> &'static str {
        "StageExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.plan]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // What tasks run is cut from the statement's plan, not from what is shown here.
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.numbers.metrics())
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        internal_err!("a stage is run by the tasks of a cluster")
    }
}
