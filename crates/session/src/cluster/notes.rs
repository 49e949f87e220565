//! What a task noticed, on its way to the client.
//!
//! It is in the metadata of the schema of the task's last record batch, so that it comes
//! with the rows that it is about: once, and not at all if they do not count.

use std::sync::Arc;

use atoll_compute::warnings::Noticed;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use serde_json::{Value, json};

/// The key in the metadata.
const NOTES: &str = "atoll.notes";

/// What DataFusion calls its count of row groups.
const SKIPPED: &str = "row_groups_pruned_statistics";

/// What a task says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Notes {
    /// What whoever ran the statement should know.
    pub(super) noticed: Noticed,
    /// How long the task took, on its last part only.
    pub(super) seconds: Option<f64>,
    /// What the task read of Parquet files.
    pub(super) row_groups: RowGroups,
}

/// Row groups of the Parquet files of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct RowGroups {
    /// Those that no row of can pass the statement's conditions, by their statistics.
    pub(super) skipped: u64,
    pub(super) read: u64,
}

impl RowGroups {
    /// Those of a plan that has run.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut all = Self::default();
        for metric in plan.metrics().iter().flat_map(MetricsSet::iter) {
            if let MetricValue::PruningMetrics {
                name,
                pruning_metrics,
            } = metric.value()
                && name == SKIPPED
            {
                all.skipped += pruning_metrics.pruned() as u64;
                all.read += pruning_metrics.matched() as u64;
            }
        }
        let below = plan.children().into_iter().map(Self::of);
        below.fold(all, |sum, below| Self {
            skipped: sum.skipped + below.skipped,
            read: sum.read + below.read,
        })
    }
}

impl Notes {
    /// Adds the notes to the last part of a task.
    pub(super) fn annotate(&self, last: RecordBatch) -> Result<RecordBatch> {
        let noticed = &self.noticed;
        let RowGroups { skipped, read } = self.row_groups;
        let mut json = json!({"seconds": self.seconds, "skipped": skipped, "read": read});
        if !noticed.is_empty() {
            json["sentences"] = json!(noticed.sentences);
            json["left_out"] = json!(noticed.left_out);
            json["trials"] = json!(noticed.trials);
            json["succeeded"] = json!(noticed.succeeded);
            json["first_failure"] = json!(noticed.first_failure);
        }
        let mut schema = last.schema().as_ref().clone();
        schema.metadata.insert(NOTES.to_string(), json.to_string());
        Ok(last.with_schema(Arc::new(schema))?)
    }

    /// What comes with a part of a task.
    pub(super) fn of(part: &RecordBatch) -> Self {
        let schema = part.schema_ref();
        let json = schema.metadata().get(NOTES);
        let Some(json) = json.and_then(|json| serde_json::from_str::<Value>(json).ok())
        else {
            return Self::default();
        };
        let text = |value: &Value| value.as_str().map(ToString::to_string);
        let count = |key: &str| json[key].as_u64().unwrap_or_default();
        let sentences = json["sentences"].as_array();
        Self {
            noticed: Noticed {
                sentences: sentences.into_iter().flatten().filter_map(text).collect(),
                left_out: count("left_out"),
                trials: count("trials"),
                succeeded: count("succeeded"),
                first_failure: text(&json["first_failure"]),
            },
            seconds: json["seconds"].as_f64(),
            row_groups: RowGroups {
                skipped: count("skipped"),
                read: count("read"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::cluster::wire::{from_ipc, to_ipc};

    #[test]
    fn what_is_noticed_travels_with_the_last_part() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let part = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let silent = Notes::default();
        assert_eq!(Notes::of(&silent.annotate(part.clone()).unwrap()), silent);
        let written = Notes {
            noticed: Noticed {
                sentences: vec!["odd \"one\"".to_string()],
                trials: 3,
                succeeded: 1,
                first_failure: Some("FAILED: why".to_string()),
                ..Noticed::default()
            },
            seconds: Some(0.25),
            row_groups: RowGroups {
                skipped: 2,
                read: 3,
            },
        };
        let sent = to_ipc(&written.annotate(part).unwrap()).unwrap();
        let came = from_ipc(&sent).unwrap();
        assert_eq!((Notes::of(&came), came.num_rows()), (written, 2));
    }
}
