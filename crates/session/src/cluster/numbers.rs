//! What tasks did, for EXPLAIN ANALYZE.

use std::time::Duration;

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet, PruningMetrics,
    Time,
};

use super::notes::Notes;

/// The numbers of a job or stage; clones count together.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    set: ExecutionPlanMetricsSet,
    tasks: Gauge,
    rows: Count,
    bytes: Count,
    /// How long all tasks took together.
    sum: Time,
    /// How long the longest took.
    longest: Time,
    /// Row groups of Parquet that were not read, and those that were.
    row_groups: PruningMetrics,
}

impl Default for Numbers {
    fn default() -> Self {
        let set = ExecutionPlanMetricsSet::new();
        let builder = || MetricBuilder::new(&set);
        Self {
            tasks: builder().global_gauge("tasks_done"),
            rows: builder().output_rows(0),
            bytes: builder().output_bytes(0),
            sum: builder().subset_time("task_time_sum", 0),
            longest: builder().subset_time("task_time_max", 0),
            row_groups: builder().pruning_metrics("row_groups_skipped", 0),
            set,
        }
    }
}

impl Numbers {
    /// Rows that came of a task, as so many bytes.
    pub(super) fn enter(&self, rows: u64, bytes: u64) {
        self.rows.add(usize::try_from(rows).unwrap_or(usize::MAX));
        self.bytes.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// A task ended that says this of itself.
    pub(super) fn end(&self, notes: &Notes) {
        let Some(took) = notes.seconds else {
            return;
        };
        let took = Duration::try_from_secs_f64(took).unwrap_or_default();
        self.tasks.add(1);
        self.sum.add_duration(took);
        let longest = Duration::from_nanos(self.longest.value() as u64);
        self.longest.add_duration(took.saturating_sub(longest));
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        self.row_groups.add_pruned(count(notes.row_groups.skipped));
        self.row_groups.add_matched(count(notes.row_groups.read));
    }

    pub(super) fn metrics(&self) -> MetricsSet {
        self.set.clone_inner()
    }
}
