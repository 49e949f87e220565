//! Names of models in calls: `classify('digits@champion', image)`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atoll_udf_common::model::names::{self, Reference};
use atoll_udf_common::{AtollOptions, CallContext, as_expensive};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value, VisitorMut,
};

use crate::sql::{call, normalized, visit};

/// What functions call the argument that says which model to use.
const MODEL: &str = "model";

/// The names of models that the statements of a session used.
#[derive(Debug, Default)]
pub(crate) struct NamedModels {
    /// The name behind a path, with its version, for what files say of themselves.
    used: Mutex<HashMap<String, String>>,
    /// Names that statements before would have made, had they been run.
    rehearsed: Mutex<BTreeSet<String>>,
}

impl NamedModels {
    /// A later statement may use the name though there is no model.
    pub(crate) fn rehearse(&self, name: &str) {
        locked(&self.rehearsed).insert(name.to_string());
    }

    /// The same models, by the names with which statements named them.
    pub(crate) fn by_name(
        &self,
        models: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let used = locked(&self.used);
        let models = models.into_iter();
        let models = models.map(|(path, sha256)| match used.get(&path) {
            Some(name) => (name.clone(), sha256),
            None => (path, sha256),
        });
        models.collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves a value that can be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the path of a model where a call has its name, and leaves paths alone.
pub(crate) async fn resolve(
    statement: &mut Statement,
    state: &SessionState,
) -> Result<()> {
    let mut found = BTreeMap::new();
    visit(
        statement,
        &mut Models::new(state, |function, text| {
            found
                .entry(text.to_string())
                .or_insert(function.to_string());
            None
        }),
    )?;
    if found.is_empty() {
        return Ok(());
    }
    let context = CallContext::of(state.config());
    let storage = AtollOptions::get(state.config().options()).storage;
    let session = state.config().get_extension::<NamedModels>();
    let mut models: HashMap<String, Expr> = HashMap::new();
    for (text, function) in found {
        let resolved = names::resolve(&text, &storage, &context).await;
        let is_rehearsed = || {
            let name = Reference::parse(&text)?.name;
            let session = session.as_ref()?;
            locked(&session.rehearsed).contains(&name).then_some(())
        };
        match resolved {
            Ok(None) => {}
            Ok(Some(model)) => {
                let path = model.location.to_string();
                if let Some(session) = &session {
                    locked(&session.used).insert(path.clone(), model.name);
                }
                models.insert(text, literal(path));
            }
            // Planned as a column: nothing is known of it before a row names it.
            Err(_) if is_rehearsed().is_some() => {
                models.insert(text, call("concat", vec![call("uuid", vec![])]));
            }
            Err(error) => return Err(error.at_plan_time(&function)),
        }
    }
    visit(
        statement,
        &mut Models::new(state, |_, text| models.get(text).cloned()),
    )
}

fn literal(text: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(text).into())
}

/// Shows each literal in the place of a model to a closure, which may replace it.
struct Models<'a, F> {
    state: &'a SessionState,
    replace: F,
}

impl<'a, F> Models<'a, F>
where
    F: FnMut(&str, &str) -> Option<Expr>,
{
    fn new(state: &'a SessionState, replace: F) -> Self {
        Self { state, replace }
    }

    fn visit_call(&mut self, call: &mut Function) -> Option<()> {
        let [name] = &call.name.0[..] else {
            return None;
        };
        let name = normalized(name.as_ident()?);
        let function = self.state.scalar_functions().get(&name)?;
        let usage = as_expensive(function)?.usage();
        let at = usage
            .arguments
            .iter()
            .position(|argument| argument.0 == MODEL)?;
        let FunctionArguments::List(list) = &mut call.args else {
            return None;
        };
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = list.args.get_mut(at)?
        else {
            return None;
        };
        let Expr::Value(value) = expr else {
            return None;
        };
        let text = value.value.clone().into_string()?;
        Reference::parse(&text)?;
        *expr = (self.replace)(&name, &text)?;
        Some(())
    }
}

impl<F> VisitorMut for Models<'_, F>
where
    F: FnMut(&str, &str) -> Option<Expr>,
{
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if let Expr::Function(call) = expr {
            self.visit_call(call);
        }
        ControlFlow::Continue(())
    }
}
