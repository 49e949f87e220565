//! `tune`: a search for hyperparameters as a table.

mod documentation;
pub(crate) mod earlier;
mod options;
mod run;
mod template;
mod tree;

use std::sync::Arc;

use async_trait::async_trait;
use atoll_search::Study;
use atoll_udf_common::Erased;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{
    Result, ScalarValue, internal_datafusion_err, plan_datafusion_err, plan_err,
};
use datafusion::datasource::TableType;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;

use crate::rows_exec::RowsExec;
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
}

impl TableFunctionImpl for Tune {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let session = args.session().as_any().downcast_ref::<SessionState>();
        let result = session
            .and_then(|session| session.scalar_functions().get("train"))
            .ok_or_else(|| internal_datafusion_err!("tune needs the function train"))?
            .return_type(&[])?;
        let search = Search::parse(args.exprs(), result)?;
        Ok(Arc::new(TuneTable(Arc::new(search))))
    }
}

impl Search {
    fn parse(args: &[Expr], result: DataType) -> Result<Self> {
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
        let dataset = literal("dataset", dataset)?;
        let Some(Some(dataset)) = dataset.try_as_str() else {
            return plan_err!(
                "tune: dataset must be the name of a table, a file or a folder, got {dataset}"
            );
        };
        let tree = Tree::parse(literal("space", space)?)?;
        for name in RESERVED {
            let is_constant = tree.constants.iter().any(|(other, _)| other == name);
            if is_constant || tree.varying.iter().any(|(other, _)| other == name) {
                return plan_err!(
                    "tune: {name} is what the search decides; leave it out of the space"
                );
            }
        }
        for name in [TRIAL, RUNG, RESULT] {
            if tree.varying.iter().any(|(other, _)| other == name) {
                return plan_err!(
                    "tune: {name} is no hyperparameter of train, and a column of the study"
                );
            }
        }
        let epochs = epochs(&tree)?;
        let options = options
            .map(|options| literal("options", options))
            .transpose()?;
        let options = TuneOptions::parse(options, epochs)?;
        // Whether the options go together, and with the space.
        Study::new(tree.space.clone(), options.study, vec![])
            .map_err(|error| plan_datafusion_err!("tune: {error}"))?;
        let mut fields = vec![Field::new(TRIAL, DataType::Int64, false)];
        let varying = tree.varying.iter();
        fields.extend(varying.map(|(name, found)| Field::new(name, found.clone(), true)));
        fields.push(Field::new(RUNG, DataType::Int64, false));
        fields.push(Field::new(RESULT, result, true));
        Ok(Self {
            dataset: dataset.to_string(),
            tree,
            options,
            epochs,
            schema: Arc::new(Schema::new(fields)),
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
        format!(
            "dataset={}, space=[{}], trials={trials}, sampler={}, pruner={}, window={}, \
             objective=[{}]{rungs}",
            self.dataset,
            self.tree.describe(),
            study.sampler.name(),
            study.pruner.name(),
            study.parallel,
            objectives.collect::<Vec<_>>().join(", ")
        )
    }
}

fn literal<'a>(what: &str, expr: &'a Expr) -> Result<&'a ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Ok(value),
        other => plan_err!("tune: {what} must be a literal, got {other}"),
    }
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
        let description = search.describe();
        let start = move |context, rows| {
            let (search, earlier) = (Arc::clone(&search), earlier.clone());
            run(search, earlier, Arc::clone(&template), context, rows).boxed()
        };
        let schema = self.schema();
        RowsExec::new("TuneExec", description, schema, Arc::new(start))
            .projected(projection)
    }
}
