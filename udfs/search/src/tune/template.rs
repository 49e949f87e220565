//! The plan of one row of `train`, which every training of a study runs with values of its
//! own.
//!
//! It is a plan of the session like any other, so that a training is a task of a cluster
//! where there is one, is found in the trial store, and is tried again when an executor
//! dies. It is made once: only the rows at its bottom change.

use std::sync::Arc;

use atoll_search::Job;
use atoll_udf_common::{Call, CallContext, Erased, PreparedCall, Price, as_expensive};
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::common::DFSchema;
use datafusion::common::{
    Result, ScalarValue, exec_datafusion_err, internal_datafusion_err, internal_err,
};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::functions::core::named_struct;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ident, lit,
};
use datafusion::physical_plan::{
    ExecutionPlan, execute_stream, replace_children_if_necessary,
};
use futures::TryStreamExt;
use serde_json::{Map, Value};

use super::{RESULT, Search};

/// The column of the rows at the bottom that numbers their training.
pub(super) const TRIAL_COLUMN: &str = "__trial";

/// The plans of a study's trainings.
#[derive(Debug)]
pub(super) struct Template {
    /// For rungs after which a trial may go on: it leaves a checkpoint.
    passing: Arc<dyn ExecutionPlan>,
    /// For the last rung.
    last: Arc<dyn ExecutionPlan>,
    /// The rows at the bottom of both.
    rows: SchemaRef,
    /// The call by itself, which knows what rows cost.
    priced: Arc<dyn PreparedCall>,
}

impl Template {
    pub(super) async fn plan(
        search: &Search,
        state: &Erased<SessionState>,
    ) -> Result<Self> {
        let mut fields = vec![Field::new(TRIAL_COLUMN, DataType::Int64, false)];
        let varying = search.tree.varying.iter();
        fields.extend(varying.map(|(name, found)| Field::new(name, found.clone(), true)));
        fields.push(Field::new("stop_after", DataType::Int64, true));
        fields.push(Field::new("resume_from", DataType::Utf8, true));
        let rows = Arc::new(Schema::new(fields));
        let args = |checkpoint: bool| -> Result<Vec<Expr>> {
            Ok(vec![
                lit(search.dataset.clone()),
                hyperparameters(search),
                Expr::Literal(options(search, checkpoint)?, None),
            ])
        };
        let plan = async |checkpoint: bool| {
            let train = state.scalar_functions().get("train").cloned();
            let train = train.ok_or_else(|| internal_datafusion_err!("no train"))?;
            let table = MemTable::try_new(Arc::clone(&rows), vec![vec![]])?;
            let source = provider_as_source(Arc::new(table));
            let call = train.call(args(checkpoint)?).alias(RESULT);
            let plan = LogicalPlanBuilder::scan("trials", source, None)?
                .project(vec![ident(TRIAL_COLUMN), call])?
                .build()?;
            physical(state, plan).await
        };
        check_choices(search, state)?;
        let (passing, last) = (plan(true).await?, plan(false).await?);
        let priced = prepare(&args(false)?, &rows, state).await?;
        Ok(Self {
            passing,
            last,
            rows,
            priced,
        })
    }

    /// What a unit of budget of a trial costs.
    pub(super) async fn price(
        &self,
        dataset: &str,
        context: &CallContext,
    ) -> Result<Option<Price>> {
        self.priced.price(dataset, context).await
    }

    /// Trains a job's trial up to its rung, from a checkpoint if it left one; returns what
    /// `train` did.
    pub(super) async fn run(
        &self,
        job: &Job,
        mut row: Map<String, Value>,
        checkpoint: Option<String>,
        context: Arc<TaskContext>,
    ) -> Result<StructArray> {
        row.insert(TRIAL_COLUMN.to_string(), job.trial.into());
        if !job.is_last {
            row.insert("stop_after".to_string(), job.to.into());
        }
        if let Some(checkpoint) = checkpoint {
            row.insert("resume_from".to_string(), checkpoint.into());
        }
        let plan = match job.is_last {
            true => &self.last,
            false => &self.passing,
        };
        let plan = over(plan, &batch(&self.rows, &[row])?)?;
        let rows: Vec<RecordBatch> = execute_stream(plan, context)?.try_collect().await?;
        let found = rows.iter().find(|batch| batch.num_rows() == 1);
        let Some(result) = found.and_then(|batch| batch.column_by_name(RESULT)) else {
            return internal_err!("a training without a row");
        };
        Ok(result.as_struct().clone())
    }
}

/// Rows of JSON as a record batch.
pub(super) fn batch(
    schema: &SchemaRef,
    rows: &[Map<String, Value>],
) -> Result<RecordBatch> {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(rows.len().max(1))
        .with_coerce_primitive(true)
        .build_decoder()?;
    decoder.serialize(rows)?;
    match decoder.flush()? {
        Some(batch) => Ok(batch),
        None => Ok(RecordBatch::new_empty(Arc::clone(schema))),
    }
}

async fn physical(
    state: &Erased<SessionState>,
    plan: LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>> {
    state.create_physical_plan(&plan).await
}

/// The call outside of a plan.
async fn prepare(
    args: &[Expr],
    rows: &SchemaRef,
    state: &Erased<SessionState>,
) -> Result<Arc<dyn PreparedCall>> {
    let train = state.scalar_functions().get("train").cloned();
    let train = train.ok_or_else(|| internal_datafusion_err!("no train"))?;
    let Some(function) = as_expensive(&train) else {
        return internal_err!("train is not expensive");
    };
    let schema = DFSchema::try_from(Arc::clone(rows))?;
    let fields = args.iter().map(|arg| Ok(arg.to_field(&schema)?.1));
    let arg_fields = fields.collect::<Result<Vec<_>>>()?;
    let return_field = Arc::new(Field::new(RESULT, train.return_type(&[])?, true));
    let args = Erased::new(args.to_vec());
    let call = Call {
        args: &args,
        arg_fields: &arg_fields,
        return_field: &return_field,
        session: state,
    };
    function.prepare(&call).await
}

/// A choice that no network can have is the statement's mistake: it would be INFEASIBLE in
/// each trial that takes it.
fn check_choices(search: &Search, state: &Erased<SessionState>) -> Result<()> {
    let train = state.scalar_functions().get("train");
    let Some(function) = train.and_then(|train| as_expensive(train)) else {
        return internal_err!("train is not expensive");
    };
    for (name, value) in search.tree.choices() {
        let hyperparameters = hyperparameters_with(search, Some((&name, &value)));
        function.check(&[lit(search.dataset.clone()), hyperparameters])?;
    }
    Ok(())
}

fn hyperparameters(search: &Search) -> Expr {
    hyperparameters_with(search, None)
}

/// The struct of hyperparameters, in which one that varies may have a value.
fn hyperparameters_with(search: &Search, given: Option<(&str, &ScalarValue)>) -> Expr {
    let constants = search.tree.constants.iter();
    let constants = constants.map(|(name, value)| (name.as_str(), lit(value.clone())));
    let varying = search.tree.varying.iter().map(|(name, _)| name.as_str());
    let columns = varying.chain(["stop_after", "resume_from"]);
    let columns = columns.map(|name| match given {
        Some((other, value)) if other == name => (name, lit(value.clone())),
        _ => (name, ident(name)),
    });
    let pairs = constants.chain(columns);
    let args = pairs.flat_map(|(name, value)| [lit(name), value]);
    named_struct().call(args.collect())
}

/// The options of `train`, with a checkpoint where the trial may go on. A trial in folds
/// has none: it is trained anew up to its next rung.
fn options(search: &Search, checkpoint: bool) -> Result<ScalarValue> {
    let mut given = search.options.of_train.iter();
    let in_folds = given.any(|(name, value)| name == "folds" && !value.is_null());
    let checkpoint = checkpoint && !in_folds;
    let mut fields: Vec<(Arc<Field>, ArrayRef)> = vec![];
    let field = |name: &str, value: &ScalarValue| -> Result<(Arc<Field>, ArrayRef)> {
        let field = Field::new(name, value.data_type(), true);
        Ok((Arc::new(field), value.to_array()?))
    };
    for (name, value) in &search.options.of_train {
        if !(checkpoint && name == "checkpoint") {
            fields.push(field(name, value)?);
        }
    }
    if checkpoint {
        fields.push(field("checkpoint", &ScalarValue::from(true))?);
    }
    if !fields.iter().any(|(field, _)| field.name() == "backbones")
        && let Some(backbones) = backbones(search)
    {
        fields.push(field("backbones", &backbones)?);
    }
    if fields.is_empty() {
        fields.push(field("checkpoint", &ScalarValue::from(false))?);
    }
    Ok(ScalarValue::Struct(Arc::new(StructArray::from(fields))))
}

/// The backbones that a search may choose, which `train` loads before the first row.
fn backbones(search: &Search) -> Option<ScalarValue> {
    let choices = search.tree.choices().into_iter();
    let names = choices.filter(|(name, _)| name == "backbone");
    let mut names: Vec<ScalarValue> = names.map(|(_, value)| value).collect();
    names.dedup();
    let list = ScalarValue::new_list(&names, &DataType::Utf8, true);
    (!names.is_empty()).then_some(ScalarValue::List(list))
}

/// The plan with these rows at its bottom.
fn over(
    plan: &Arc<dyn ExecutionPlan>,
    rows: &RecordBatch,
) -> Result<Arc<dyn ExecutionPlan>> {
    let children = plan.children();
    if children.is_empty() {
        // The scan has the columns that the plan needs, in an order of its own.
        let schema = plan.schema();
        let columns = schema.fields().iter().map(|field| {
            let column = rows.column_by_name(field.name());
            column.cloned().ok_or_else(|| {
                exec_datafusion_err!("a training without {}", field.name())
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let exec = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?;
        return Ok(exec);
    }
    let children = children.into_iter().map(|child| over(child, rows));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(Arc::clone(plan), children)
}
