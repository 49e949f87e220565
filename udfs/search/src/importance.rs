//! `importance`: which hyperparameters of a study decide, as a table.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_search::{Domain, Observation, Parameter, Space, State, Value as Drawn};
use atoll_udf_common::{Erased, RowsExec};
use datafusion::arrow::array::{
    Array, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, internal_datafusion_err, plan_err};
use datafusion::datasource::TableType;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Documentation, Expr};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, TryStreamExt};
use serde_json::{Map, Value};

use crate::tune::earlier::{flat, plan, row_of};

/// What errors call the argument.
const STUDY: &str = "importance: the study";

/// Columns of a study that are no hyperparameters, or only say how long a trial was.
const LEFT_OUT: [&str; 6] = ["trial", "rung", "trial_id", "epochs", "stop_after", "seed"];

/// More distinct texts than this are identifiers.
const MOST_TEXTS: usize = 50;

/// From the largest to the smallest value of a column that is searched by decades.
const DECADES: f64 = 100.0;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("hyperparameter", DataType::Utf8, false),
        Field::new("importance", DataType::Float64, false),
        Field::new("trials", DataType::Int64, false),
    ]))
});

pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        crate::SECTION,
        "Returns how much each hyperparameter of a study decides, largest first: \
         `hyperparameter`, `importance` (shares that add up to 1) and `trials` (how many \
         have it). It compares where the best tenth of the trials lies with where all lie, \
         in one hyperparameter at a time (PED-ANOVA, Watanabe 2023). Only trials that \
         SUCCEEDED count. Constants, identifiers, seeds and numbers of epochs are left out.",
        "importance(study)",
    )
    .with_argument(
        "study",
        "Name of a table or view with a column for each hyperparameter and a struct of \
         `train`, such as the rows of `tune`.",
    )
    .with_sql_example(
        "CREATE TABLE widths AS\n\
         SELECT * FROM tune('sql/data/digits.parquet', {\n\
         \x20   architecture: 'mlp', hidden: hp_int(2, 32),\n\
         \x20   learning_rate: hp_loguniform(0.001, 0.5), epochs: 1\n\
         }, {trials: 12, sampler: 'sobol'});\n\
         SELECT hyperparameter, round(importance, 2) AS importance\n\
         FROM importance('widths');",
    )
    .with_related_udf("tune")
    .build()
}

/// The table function `importance(study)`.
#[derive(Debug)]
pub(crate) struct Importance;

impl TableFunctionImpl for Importance {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let study = match args.exprs() {
            [Expr::Literal(value, _)] => value.try_as_str().flatten(),
            _ => None,
        };
        match study {
            Some(study) => Ok(Arc::new(ImportanceTable {
                study: study.to_string(),
            })),
            None => plan_err!(
                "importance takes the name of a study, importance('study'), got {} \
                 arguments",
                args.exprs().len()
            ),
        }
    }
}

#[derive(Debug)]
struct ImportanceTable {
    study: String,
}

#[async_trait]
impl TableProvider for ImportanceTable {
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
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return Err(internal_datafusion_err!("importance needs a session"));
        };
        let state = Erased::new(state.clone());
        let rows_of_study = plan(STUDY, &self.study, &state).await?;
        let start =
            move |context, rows: tokio::sync::mpsc::Sender<Result<RecordBatch>>| {
                let plan = Arc::clone(&rows_of_study);
                async move {
                    let batches: Vec<RecordBatch> =
                        execute_stream(plan, context)?.try_collect().await?;
                    // Nobody may want the rows any more, which is no error.
                    let _ = rows.send(importance_rows(batches)).await;
                    Ok(())
                }
                .boxed()
            };
        let description = format!("study={}", self.study);
        RowsExec::new(
            "ImportanceExec",
            description,
            self.schema(),
            Arc::new(start),
        )
        .projected(projection)
    }
}

fn importance_rows(batches: Vec<RecordBatch>) -> Result<RecordBatch> {
    let mut rows = vec![];
    let mut names: Vec<String> = vec![];
    for batch in batches {
        if names.is_empty() {
            let fields = batch.schema_ref().fields().iter();
            let fields = fields.filter(|field| !field.data_type().is_nested());
            names = fields.map(|field| field.name().clone()).collect();
        }
        let structs = StructArray::from(batch);
        for row in 0..structs.len() {
            rows.push(flat(&row_of(&structs, row)?));
        }
    }
    names.retain(|name| !LEFT_OUT.contains(&name.as_str()));
    let found = shares(&names, &rows);
    let (names, rest): (Vec<String>, Vec<(f64, i64)>) = found.into_iter().unzip();
    let (shares, trials): (Vec<f64>, Vec<i64>) = rest.into_iter().unzip();
    Ok(RecordBatch::try_new(
        Arc::clone(&SCHEMA),
        vec![
            Arc::new(StringArray::from(names)),
            Arc::new(Float64Array::from(shares)),
            Arc::new(Int64Array::from(trials)),
        ],
    )?)
}

/// The share of each column that varies, and in how many trials it has a value.
fn shares(names: &[String], rows: &[Map<String, Value>]) -> Vec<(String, (f64, i64))> {
    let columns = names.iter().filter_map(|name| {
        let values: Vec<Option<&Value>> = rows
            .iter()
            .map(|row| row.get(name).filter(|v| !v.is_null()))
            .collect();
        Column::new(name, &values)
    });
    let columns: Vec<Column> = columns.collect();
    let parameters: Vec<Parameter> =
        columns.iter().map(|c| c.parameter.clone()).collect();
    let Ok(space) = Space::new(&parameters) else {
        return vec![];
    };
    let number =
        |row: &Map<String, Value>, name: &str| row.get(name).and_then(Value::as_f64);
    let seen = rows.iter().enumerate().map(|(n, row)| {
        let loss = number(row, "validation_loss");
        // A metric, where the study has one, and else the same but for a constant.
        let score = number(row, "validation_score").map(|score| -score);
        let error = number(row, "validation_accuracy").map(|accuracy| 1.0 - accuracy);
        let succeeded = row.get("status").and_then(Value::as_str) == Some("SUCCEEDED");
        Observation {
            point: columns.iter().map(|column| column.values[n]).collect(),
            state: match score.or(error).or(loss).filter(|_| succeeded) {
                Some(value) => State::Complete(vec![value]),
                None => State::Failed,
            },
        }
    });
    let seen: Vec<Observation> = seen.collect();
    let shares = atoll_search::importance(&space, &seen);
    let found = columns.iter().zip(shares).map(|(column, share)| {
        let trials = column.values.iter().flatten().count();
        (column.parameter.name.clone(), (share, trials as i64))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
    found
}

/// A column that varies.
struct Column {
    parameter: Parameter,
    values: Vec<Option<Drawn>>,
}

impl Column {
    fn new(name: &str, values: &[Option<&Value>]) -> Option<Self> {
        let numbers: Vec<Option<f64>> =
            values.iter().map(|v| v.and_then(Value::as_f64)).collect();
        let there = values.iter().flatten().count();
        let (domain, values) = if there > 0 && numbers.iter().flatten().count() == there {
            let known = || numbers.iter().flatten().copied();
            let (low, high) = (
                known().fold(f64::INFINITY, f64::min),
                known().fold(f64::NEG_INFINITY, f64::max),
            );
            let (log, step) = (low > 0.0 && high / low >= DECADES, None);
            let domain = Domain::Float {
                low,
                high,
                log,
                step,
            };
            let values = numbers
                .iter()
                .map(|number| number.map(Drawn::Float))
                .collect();
            (domain, values)
        } else {
            let mut choices: BTreeMap<String, usize> = BTreeMap::new();
            for value in values.iter().flatten() {
                let next = choices.len();
                choices.entry(value.to_string()).or_insert(next);
            }
            if choices.len() > MOST_TEXTS {
                return None;
            }
            let place = |value: &Value| choices.get(&value.to_string()).copied();
            let values = values
                .iter()
                .map(|v| v.and_then(place).map(Drawn::Choice))
                .collect();
            (Domain::Choice(vec![vec![]; choices.len()]), values)
        };
        let name = name.to_string();
        let parameter = Parameter { name, domain };
        // A column with one value is no hyperparameter that was searched.
        Space::new(std::slice::from_ref(&parameter)).ok()?;
        Some(Self { parameter, values })
    }
}
