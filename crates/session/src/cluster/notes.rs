//! What a task noticed, on its way to the client.
//!
//! It is in the metadata of the schema of the task's last record batch, so that it comes
//! with the rows that it is about: once, and not at all if they do not count.

use std::sync::Arc;

use atoll_compute::warnings::Noticed;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use serde_json::{Value, json};

/// The key in the metadata.
const NOTICED: &str = "atoll.noticed";

/// Adds what was noticed, if anything was.
pub(super) fn annotate(last: RecordBatch, noticed: &Noticed) -> Result<RecordBatch> {
    if noticed.is_empty() {
        return Ok(last);
    }
    let json = json!({
        "sentences": noticed.sentences,
        "left_out": noticed.left_out,
        "trials": noticed.trials,
        "succeeded": noticed.succeeded,
        "first_failure": noticed.first_failure,
    });
    let mut schema = last.schema().as_ref().clone();
    schema
        .metadata
        .insert(NOTICED.to_string(), json.to_string());
    Ok(last.with_schema(Arc::new(schema))?)
}

/// What comes with a part of a task.
pub(super) fn noticed(part: &RecordBatch) -> Noticed {
    let schema = part.schema_ref();
    let json = schema.metadata().get(NOTICED);
    let Some(json) = json.and_then(|json| serde_json::from_str::<Value>(json).ok())
    else {
        return Noticed::default();
    };
    let text = |value: &Value| value.as_str().map(ToString::to_string);
    let count = |key: &str| json[key].as_u64().unwrap_or_default();
    let sentences = json["sentences"].as_array();
    Noticed {
        sentences: sentences.into_iter().flatten().filter_map(text).collect(),
        left_out: count("left_out"),
        trials: count("trials"),
        succeeded: count("succeeded"),
        first_failure: text(&json["first_failure"]),
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
        assert!(
            noticed(&annotate(part.clone(), &Noticed::default()).unwrap()).is_empty()
        );
        let written = Noticed {
            sentences: vec!["odd \"one\"".to_string()],
            trials: 3,
            succeeded: 1,
            first_failure: Some("FAILED: why".to_string()),
            ..Noticed::default()
        };
        let sent = to_ipc(&annotate(part, &written).unwrap()).unwrap();
        let came = from_ipc(&sent).unwrap();
        assert_eq!((noticed(&came), came.num_rows()), (written, 2));
    }
}
