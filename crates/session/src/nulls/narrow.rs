//! Scans that read only those fields of a struct that are used.
//!
//! DataFusion's `get_field` lets a scan of Parquet leave the other fields in the file. It
//! knows that function by its type, and for a required field of a struct that is NULL its
//! reader gives a value, so ours stays over it. A scan also understands a cast to a struct
//! of fewer fields, and keeps the NULLs of the struct. The cast comes so late because the
//! rules before know it for work, which they would not leave to a scan.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::field;

/// The rule that hands projections to scans.
const PUSHES_PROJECTIONS: &str = "ProjectionPushdown";

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// Narrows the structs of projections over scans.
#[derive(Debug)]
pub(crate) struct FieldsOfScans;

impl FieldsOfScans {
    /// Puts the rule where projections are not yet part of their scans.
    pub(crate) fn among(mut rules: Vec<Rule>) -> Vec<Rule> {
        let pushes = rules
            .iter()
            .position(|rule| rule.name() == PUSHES_PROJECTIONS);
        rules.insert(pushes.unwrap_or(rules.len()), Arc::new(Self));
        rules
    }
}

impl PhysicalOptimizerRule for FieldsOfScans {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<ProjectionExec>() {
            Some(projection) if is_over_scan(projection.input()) => {
                match narrow(projection)? {
                    Some(narrower) => Ok(Transformed::yes(narrower)),
                    None => Ok(Transformed::no(plan)),
                }
            }
            _ => Ok(Transformed::no(plan)),
        })
        .map(|plan| plan.data)
    }

    fn name(&self) -> &'static str {
        "fields_of_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether rows come from a scan as they are.
fn is_over_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.is::<DataSourceExec>() {
        return true;
    }
    match plan.children().as_slice() {
        // A filter stays where it is, and the projection over it.
        [_] if plan.is::<FilterExec>() => false,
        [input] => plan.schema() == input.schema() && is_over_scan(input),
        _ => false,
    }
}

fn narrow(projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = projection.input().schema();
    let mut used = Used::default();
    for expr in projection.expr() {
        used.add(&expr.expr)?;
    }
    let mut narrower = BTreeMap::new();
    for (column, paths) in used.paths {
        let field = schema.field(column);
        if let DataType::Struct(fields) = field.data_type()
            && !used.whole.contains(&column)
        {
            let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
            let some = some_of(fields, &paths);
            if some != *fields {
                let field = field.clone().with_data_type(DataType::Struct(some));
                narrower.insert(column, Arc::new(field));
            }
        }
    }
    if narrower.is_empty() {
        return Ok(None);
    }
    let exprs = projection.expr().iter().map(|expr| {
        Ok(ProjectionExpr {
            expr: with_casts(&expr.expr, &narrower)?,
            alias: expr.alias.clone(),
        })
    });
    let exprs: Vec<ProjectionExpr> = exprs.collect::<Result<_>>()?;
    let input = Arc::clone(projection.input());
    Ok(Some(Arc::new(ProjectionExec::try_new(exprs, input)?)))
}

/// What expressions use of columns.
#[derive(Default)]
struct Used {
    paths: BTreeMap<usize, Vec<Vec<String>>>,
    whole: HashSet<usize>,
}

impl Used {
    fn add(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<()> {
        expr.apply(|expr| {
            if let Some((column, path)) = path(expr) {
                self.paths.entry(column.index()).or_default().push(path);
                return Ok(TreeNodeRecursion::Jump);
            }
            if let Some(column) = expr.downcast_ref::<Column>() {
                self.whole.insert(column.index());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }
}

/// The column that a call looks into, and the names of the fields.
fn path(expr: &Arc<dyn PhysicalExpr>) -> Option<(&Column, Vec<String>)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let (column, names) = call.args().split_first()?;
    let name = |expr: &Arc<dyn PhysicalExpr>| {
        let literal = expr.downcast_ref::<Literal>()?;
        literal.value().try_as_str().flatten().map(str::to_string)
    };
    let path = names.iter().map(name).collect::<Option<Vec<_>>>()?;
    let column = column.downcast_ref::<Column>()?;
    field::is_ours(call.fun()).then_some((column, path))
}

/// The fields that are on a path, each with those inside of it that are.
fn some_of(fields: &Fields, paths: &[&[String]]) -> Fields {
    let kept = fields.iter().filter_map(|field| {
        let inside: Vec<&[String]> = paths
            .iter()
            .filter(|path| path.first() == Some(field.name()))
            .map(|path| &path[1..])
            .collect();
        let is_whole = inside.iter().any(|path| path.is_empty());
        let some: FieldRef = match field.data_type() {
            DataType::Struct(fields) if !is_whole && !inside.is_empty() => {
                let some = DataType::Struct(some_of(fields, &inside));
                Arc::new(Field::clone(field).with_data_type(some))
            }
            _ => Arc::clone(field),
        };
        (!inside.is_empty()).then_some(some)
    });
    kept.collect()
}

fn with_casts(
    expr: &Arc<dyn PhysicalExpr>,
    narrower: &BTreeMap<usize, FieldRef>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let cast = |expr: Arc<dyn PhysicalExpr>| {
        let field = path(&expr).and_then(|(column, _)| narrower.get(&column.index()));
        let Some(field) = field else {
            return Ok(Transformed::no(expr));
        };
        let mut args: Vec<_> = expr.children().into_iter().map(Arc::clone).collect();
        let cast = CastExpr::new_with_target_field(
            Arc::clone(&args[0]),
            Arc::clone(field),
            None,
        );
        args[0] = Arc::new(cast);
        let call = expr.with_new_children(args)?;
        Ok(Transformed::new(call, true, TreeNodeRecursion::Jump))
    };
    Arc::clone(expr).transform_down(cast).map(|expr| expr.data)
}
