//! `tune`: a search for hyperparameters as a table.

mod cut;
mod documentation;
pub(crate) mod earlier;
mod live;
mod options;
mod run;
mod template;
mod tree;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_search::Study;
use atoll_udf_common::{Erased, RowsExec};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{
    DFSchema, Result, ScalarValue, internal_datafusion_err, plan_datafusion_err, plan_err,
};
use datafusion::datasource::TableType;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::node;
pub(crate) use documentation::documentation;
use options::{DEFAULT_EPOCHS, TuneOptions};
use run::run;
use template::Template;
use tree::Tree;

/// The column with what `train` returned.
pub(crate) const RESULT: &str = "t";

/// The names of the columns that are no hyperparameters.
const TRIAL: &str = "trial";
const RUNG: &str = "rung";

/// The column with what a study made small, where that is several things.
const OBJECTIVES: &str = "objectives";

/// Keys of the space that the search gives itself.
const RESERVED: [&str; 2] = ["stop_after", "resume_from"];

/// The table function `tune(dataset, space [, options])`.
#[derive(Debug)]
pub(crate) struct Tune;

/// What a statement asks for.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) dataset: String,
    pub(crate) tree: Tree,
    pub(crate) options: TuneOptions,
    /// The epochs of a trial, if all have the same.
    pub(crate) epochs: Option<u32>,
    pub(crate) schema: SchemaRef,
    /// A digest of all that decides its rows but for budgets.
    pub(crate) id: String,
}

impl TableFunctionImpl for Tune {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let session = args.session().as_any().downcast_ref::<SessionState>();
        let result = session
            .and_then(|session| session.scalar_functions().get("train"))
            .ok_or_else(|| internal_datafusion_err!("tune needs the function train"))?
            .return_type(&[])?;
        let search = Search::parse(args.session(), args.exprs(), result)?;
        Ok(Arc::new(TuneTable(Arc::new(search))))
    }
}

impl Search {
    fn parse(session: &dyn Session, args: &[Expr], result: DataType) -> Result<Self> {
        let (dataset, space, options) = match args {
            [dataset, space] => (dataset, space, None),
            [dataset, space, options] => (dataset, space, Some(options)),
            _ => {
                return plan_err!(
                    "tune takes a dataset, a space and maybe options, tune(dataset, space, \
                     options), got {} arguments",
                    args.len()
                );
            }
        };
        let dataset = constant(session, "dataset", dataset)?;
        let Some(Some(dataset)) = dataset.try_as_str() else {
            return plan_err!(
                "tune: dataset must be the name of a table, a file or a folder, got {dataset}"
            );
        };
        let space = constant(session, "space", space)?;
        let tree = Tree::parse(&space)?;
        for name in RESERVED {
            let is_constant = tree.constants.iter().any(|(other, _)| other == name);
            if is_constant || tree.varying.iter().any(|(other, _)| other == name) {
                return plan_err!(
                    "tune: {name} is what the search decides; leave it out of the space"
                );
            }
        }
        for name in [TRIAL, RUNG, OBJECTIVES, RESULT] {
            if tree.varying.iter().any(|(other, _)| other == name) {
                return plan_err!(
                    "tune: {name} is no hyperparameter of train, and a column of the study"
                );
            }
        }
        let epochs = epochs(&tree)?;
        let options = options
            .map(|options| constant(session, "options", options))
            .transpose()?;
        let options = options.as_deref();
        let id = identity(dataset, &space, options)?;
        let options = TuneOptions::parse(options, epochs)?;
        // Whether the options go together, and with the space.
        Study::new(tree.space.clone(), options.study, vec![])
            .map_err(|error| plan_datafusion_err!("tune: {error}"))?;
        let mut fields = vec![Field::new(TRIAL, DataType::Int64, false)];
        let varying = tree.varying.iter();
        fields.extend(varying.map(|(name, found)| Field::new(name, found.clone(), true)));
        fields.push(Field::new(RUNG, DataType::Int64, false));
        if options.objectives.len() > 1 {
            let names = options.objectives.iter().map(|objective| objective.name());
            let values = names.map(|name| Field::new(name, DataType::Float64, true));
            let values = DataType::Struct(values.collect());
            fields.push(Field::new(OBJECTIVES, values, true));
        }
        fields.push(Field::new(RESULT, result, true));
        Ok(Self {
            dataset: dataset.to_string(),
            tree,
            options,
            epochs,
            schema: Arc::new(Schema::new(fields)),
            id,
        })
    }

    /// The options in words, for EXPLAIN.
    pub(crate) fn describe(&self) -> String {
        let study = &self.options.study;
        let objectives = self
            .options
            .objectives
            .iter()
            .map(|objective| objective.name());
        let trials = match study.trials {
            u64::MAX => "all".to_string(),
            trials => trials.to_string(),
        };
        let rungs = Study::new(self.tree.space.clone(), *study, vec![]);
        let rungs = rungs
            .map(|study| format!("{:?}", study.rungs()))
            .unwrap_or_default();
        let rungs = match self.epochs {
            Some(_) => format!(", epochs={rungs}"),
            None => String::new(),
        };
        let trainings = self.options.trainings;
        let trainings = trainings.map(|n| format!(", trainings={n}"));
        let seconds = self.options.budget_seconds;
        let seconds = seconds.map(|n| format!(", budget_seconds={n}"));
        let budgets = trainings.into_iter().chain(seconds).collect::<String>();
        format!(
            "dataset={}, space=[{}], trials={trials}, sampler={}, pruner={}, window={}, \
             objective=[{}]{rungs}{budgets}",
            self.dataset,
            self.tree.describe(),
            study.sampler.name(),
            study.pruner.name(),
            study.parallel,
            objectives.collect::<Vec<_>>().join(", ")
        )
    }
}

/// A digest of a statement without its budgets.
fn identity(
    dataset: &str,
    space: &ScalarValue,
    options: Option<&ScalarValue>,
) -> Result<String> {
    let is_budget = |pair: &Value| {
        let name = pair.get(0).and_then(Value::as_str);
        name.is_some_and(|name| options::BUDGETS.contains(&name))
    };
    let mut options = options.map(node).transpose()?.unwrap_or_default();
    if let Some(pairs) = options.get_mut("fields").and_then(Value::as_array_mut) {
        pairs.retain(|pair| !is_budget(pair));
    }
    let all = json!({"dataset": dataset, "space": node(space)?, "options": options});
    Ok(hex::encode(Sha256::digest(all.to_string())))
}

/// The value of an argument, which is the same in every row. What cannot be evaluated, such
/// as a domain up to infinity, says why.
fn constant<'a>(
    session: &dyn Session,
    what: &str,
    expr: &'a Expr,
) -> Result<Cow<'a, ScalarValue>> {
    if let Expr::Literal(value, _) = expr {
        return Ok(Cow::Borrowed(value));
    }
    let physical = match expr.is_volatile() {
        true => None,
        false => session
            .create_physical_expr(expr.clone(), &DFSchema::empty())
            .ok(),
    };
    let Some(physical) = physical else {
        return plan_err!("tune: {what} must be a literal, got {expr}");
    };
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let one_row =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &one_row)?;
    let value = physical.evaluate(&one_row).map_err(|error| {
        let reason = error.strip_backtrace();
        let reason = reason.strip_prefix("Execution error: ").unwrap_or(&reason);
        plan_datafusion_err!("tune: {reason}")
    })?;
    Ok(Cow::Owned(match value {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
    }))
}

/// The epochs of a trial; `None` where they are searched.
fn epochs(tree: &Tree) -> Result<Option<u32>> {
    if tree.varying.iter().any(|(name, _)| name == "epochs") {
        return Ok(None);
    }
    let given = tree.constants.iter().find(|(name, _)| name == "epochs");
    let Some((_, value)) = given.filter(|(_, value)| !value.is_null()) else {
        return Ok(Some(DEFAULT_EPOCHS));
    };
    match value.cast_to(&DataType::UInt32) {
        Ok(ScalarValue::UInt32(Some(epochs @ 1..))) => Ok(Some(epochs)),
        _ => plan_err!("tune: epochs must be an integer from 1, got {value}"),
    }
}

/// A study as a table: its trials run whenever it is read, and are found if they ran before.
#[derive(Debug)]
struct TuneTable(Arc<Search>);

#[async_trait]
impl TableProvider for TuneTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
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
            return Err(internal_datafusion_err!("tune needs a session of its own"));
        };
        let state = Erased::new(state.clone());
        let template = Template::plan(&self.0, &state).await?;
        let earlier = match &self.0.options.start {
            Some(start) => Some(earlier::plan(earlier::START, start, &state).await?),
            None => None,
        };
        let (search, template) = (Arc::clone(&self.0), Arc::new(template));
        let mut description = search.describe();
        if let Some(cut) = cut::latest(&search.id, session.config_options()).await {
            let cut::Cut {
                trainings,
                trials,
                at,
                ..
            } = cut;
            description +=
                &format!(", cut=[after {trainings} trainings, {trials} trials, at {at}]");
        }
        let start = move |context, rows| {
            let (search, earlier) = (Arc::clone(&search), earlier.clone());
            run(search, earlier, Arc::clone(&template), context, rows).boxed()
        };
        let schema = self.schema();
        RowsExec::new("TuneExec", description, schema, Arc::new(start))
            .projected(projection)
    }
}
