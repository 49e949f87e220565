//! `trials()`: the trials of the storage, a row for each.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::storage_root;
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::{Documentation, Expr};
use datafusion::physical_plan::ExecutionPlan;

use super::arguments::SECTION;
use super::result_struct::{TrialRow, trial_array, trial_fields};
use crate::record::TrialRecord;
use crate::store::TrialStore;

/// How many trials a record batch has.
const BATCH: usize = 4096;

pub(super) fn documentation() -> Documentation {
    Documentation::builder(
        SECTION,
        "Returns the trials that the storage keeps, whoever trained them, a row each: the \
         fields of what `train` returns as columns, and `snapshot` (the data set, by its \
         hash), `hyperparameters` (all of them, JSON) and `warnings` (JSON). Trials that \
         have not ended are not among them.",
        "trials()",
    )
    .with_sql_example(
        "SELECT train('sql/data/digits.parquet', {epochs: 1})['status'] AS status;\n\
         SELECT trial_id, validation_accuracy FROM trials()\n\
         WHERE status = 'SUCCEEDED' ORDER BY validation_accuracy DESC LIMIT 5;",
    )
    .with_related_udf("train")
    .build()
}

/// The table function.
#[derive(Debug)]
pub(super) struct TrialsFunction;

impl TableFunctionImpl for TrialsFunction {
    fn call(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if !args.is_empty() {
            return plan_err!(
                "trials takes no arguments; filter with WHERE trial_id = '...'"
            );
        }
        Ok(Arc::new(Trials))
    }
}

/// The trials of the storage that the session has when it reads them.
#[derive(Debug)]
struct Trials;

#[async_trait]
impl TableProvider for Trials {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = TrialStore::new(storage_root(session.config_options())?);
        let mut trials = store.all().await?.into_iter();
        let mut batches = Vec::new();
        loop {
            let some: Vec<TrialRecord> = trials.by_ref().take(BATCH).collect();
            if some.is_empty() {
                break;
            }
            batches.push(rows(&store, some)?);
        }
        let table = MemTable::try_new(self.schema(), vec![batches])?;
        table.scan(session, projection, filters, limit).await
    }
}

fn rows(store: &TrialStore, trials: Vec<TrialRecord>) -> Result<RecordBatch> {
    let snapshots = trials.iter().map(|trial| trial.snapshot.clone());
    let snapshots: ArrayRef = Arc::new(snapshots.collect::<StringArray>());
    let json = |value: serde_json::Result<String>| value.ok();
    let hyperparameters = trials
        .iter()
        .map(|trial| json(serde_json::to_string(&trial.hyperparameters)));
    let hyperparameters: ArrayRef = Arc::new(hyperparameters.collect::<StringArray>());
    let warnings = trials
        .iter()
        .map(|trial| json(serde_json::to_string(&trial.warnings)));
    let warnings: ArrayRef = Arc::new(warnings.collect::<StringArray>());
    let path = |sha256: Option<&String>, checkpoint: bool| {
        let location = sha256.map(|sha256| match checkpoint {
            true => store.checkpoint(sha256),
            false => store.model(sha256),
        });
        location.transpose().map(|at| at.map(|at| at.to_string()))
    };
    let rows = trials.into_iter().map(|record| {
        Ok(Some(TrialRow {
            model: path(record.model_sha256.as_ref(), false)?,
            checkpoint: path(record.checkpoint_sha256.as_ref(), true)?,
            record,
        }))
    });
    let rows: Vec<Option<TrialRow>> = rows.collect::<Result<_>>()?;
    let trials = trial_array(&rows)?;
    let mut columns = trials.as_struct().columns().to_vec();
    columns.extend([snapshots, hyperparameters, warnings]);
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields: Vec<FieldRef> = trial_fields().iter().cloned().collect();
    for name in ["snapshot", "hyperparameters", "warnings"] {
        fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
    }
    Arc::new(Schema::new(fields))
});
