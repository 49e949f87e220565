//! The rows of an earlier study, as a search sees them.

use std::sync::Arc;

use atoll_search::{Dimension, Observation, Point, State};
use atoll_udf_common::Erased;
use atoll_udf_common::structs::row_to_json;
use datafusion::arrow::array::{Array, RecordBatch, StructArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;
use serde_json::{Map, Value};

use super::Search;
use super::run::values_of;

/// What errors call the option.
pub(super) const START: &str = "tune: option start";

/// Plans reading a table of trials.
pub(crate) async fn plan(
    what: &str,
    table: &str,
    state: &Erased<SessionState>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let name = table.replace('"', "\"\"");
    let plan = state
        .create_logical_plan(&format!("SELECT * FROM \"{name}\""))
        .await;
    let plan = plan.map_err(|error| {
        let reason = error.strip_backtrace();
        plan_datafusion_err!("{what} names a table that cannot be read: {reason}")
    })?;
    let fields = plan.schema().fields();
    let is_result = |name: &str| matches!(name, "status");
    let has_result = fields.iter().any(|field| match field.data_type() {
        DataType::Struct(fields) => fields.iter().any(|field| is_result(field.name())),
        _ => is_result(field.name()),
    });
    if !has_result {
        return plan_err!(
            "{what} must name a table with what train returned, and {table} has no column \
             status"
        );
    }
    state.create_physical_plan(&plan).await
}

/// Reads them; also how many say nothing about this space.
pub(super) async fn read(
    plan: Arc<dyn ExecutionPlan>,
    search: &Search,
    cost: &(dyn Fn(&Point) -> f64 + Sync),
    context: Arc<TaskContext>,
) -> Result<(Vec<Observation>, usize)> {
    let batches: Vec<RecordBatch> = execute_stream(plan, context)?.try_collect().await?;
    let (mut seen, mut left_out, mut number) = (vec![], 0, 0);
    for batch in batches {
        let rows = StructArray::from(batch);
        for row in 0..rows.len() {
            let row = flat(&row_of(&rows, row)?);
            let earlier = |dimension: &Dimension| search.tree.earlier(dimension, &row);
            let at = (search.options.study.seed, number);
            number += 1;
            match search.tree.space.translate(earlier, at) {
                Some(point) => seen.push(Observation {
                    state: state_of(search, &row, cost(&point)),
                    point,
                }),
                None => left_out += 1,
            }
        }
    }
    Ok((seen, left_out))
}

/// A row as JSON, without what is no hyperparameter and has none, such as times.
pub(crate) fn row_of(rows: &StructArray, row: usize) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for (field, column) in rows.fields().iter().zip(rows.columns()) {
        let one = vec![(Arc::clone(field), Arc::clone(column))];
        if let Some(inner) = column.as_any().downcast_ref::<StructArray>() {
            all.insert(field.name().clone(), Value::Object(row_of(inner, row)?));
        } else if let Ok(value) = row_to_json(&StructArray::from(one), row) {
            all.extend(value);
        }
    }
    Ok(all)
}

/// The row with the fields of what `train` returned beside its columns.
pub(crate) fn flat(row: &Map<String, Value>) -> Map<String, Value> {
    let mut all = row.clone();
    for value in row.values() {
        if let Value::Object(fields) = value
            && fields.contains_key("status")
        {
            for (name, value) in fields {
                all.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    all
}

fn state_of(search: &Search, row: &Map<String, Value>, cost: f64) -> State {
    let number = |name: &str| row.get(name).and_then(Value::as_f64);
    let status = row
        .get("status")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let values = values_of(&search.options.objectives, &number, Some(cost));
    match (status, values) {
        ("SUCCEEDED", Some(values)) => State::Complete(values),
        ("PRUNED", Some(values)) => State::Partial {
            rung: row.get("rung").and_then(Value::as_u64).unwrap_or(0) as usize,
            value: values[0],
        },
        _ => State::Failed,
    }
}
