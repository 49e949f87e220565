//! What may stand in FROM and needs more than a table's name: samples, and lists.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{
    Column, DFSchema, NullHandling, Result, UnnestOptions, not_impl_err,
    plan_datafusion_err, plan_err,
};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit,
};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, ObjectNamePart,
    Query, TableAlias, TableFactor, TableSample, TableSampleKind, TableSampleQuantity,
    TableSampleUnit, Value, VisitMut, VisitorMut,
};

use super::{call, fields, normalized};
use crate::reads;

/// Plans TABLESAMPLE, which the planner leaves out, and `unnest(..) AS l`, whose element
/// it gives no name.
#[derive(Debug)]
pub(crate) struct Relations;

impl RelationPlanner for Relations {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if let TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } =
            &mut relation
            && let Some(kind) = sample.take()
        {
            let (TableSampleKind::BeforeTableAlias(sample)
            | TableSampleKind::AfterTableAlias(sample)) = kind;
            let rows = context.plan(relation)?;
            let plan = sampled(rows, *sample, context)?;
            return Ok(planned(plan, None));
        }
        if let TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        } = &relation
            && let Some(plan) = elements(array_exprs, alias.as_ref(), context)?
        {
            return Ok(planned(plan, alias.clone()));
        }
        if let Some(query) = names_of_files(&relation)? {
            let (query, alias) = (Box::new(query.clone()), alias_of(&relation));
            let rows = context.plan(TableFactor::Derived {
                lateral: false,
                subquery: query,
                alias: None,
                sample: None,
            })?;
            return Ok(planned(reads::plan(rows)?, alias));
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}

/// The function that reads the files that a query names.
const READ_BLOB: &str = "read_blob";

/// The query of `read_blob((SELECT ..))`.
fn names_of_files(relation: &TableFactor) -> Result<Option<&Query>> {
    let (name, args) = match relation {
        TableFactor::Table {
            name,
            args: Some(args),
            ..
        } => (name, &args.args),
        TableFactor::Function { name, args, .. } => (name, args),
        _ => return Ok(None),
    };
    let [ObjectNamePart::Identifier(name)] = &name.0[..] else {
        return Ok(None);
    };
    if normalized(name) != READ_BLOB {
        return Ok(None);
    }
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(files))] = &args[..] else {
        return Ok(None);
    };
    let mut files = files;
    while let SqlExpr::Nested(inner) = files {
        files = inner;
    }
    match files {
        SqlExpr::Subquery(query) => Ok(Some(query)),
        SqlExpr::Identifier(_) | SqlExpr::CompoundIdentifier(_) => plan_err!(
            "read_blob takes the files of column {files} by a query, as in \
             read_blob((SELECT {files} AS filename FROM ..)); url_download reads them \
             in a SELECT list"
        ),
        _ => Ok(None),
    }
}

fn alias_of(relation: &TableFactor) -> Option<TableAlias> {
    match relation {
        TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => {
            alias.clone()
        }
        _ => None,
    }
}

fn planned(plan: LogicalPlan, alias: Option<TableAlias>) -> RelationPlanning {
    RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias)))
}

/// The column that a sample of so many rows is the beginning of.
const CHANCE: &str = "__chance";

/// Every row with the same chance, or so many rows of equal chances.
fn sampled(
    rows: LogicalPlan,
    sample: TableSample,
    context: &dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let TableSample {
        modifier: _,
        name: _,
        quantity: Some(quantity),
        seed,
        bucket: None,
        offset: None,
    } = sample
    else {
        return plan_err!(
            "TABLESAMPLE takes a percentage or a number of rows, such as \
             TABLESAMPLE (10 PERCENT) or TABLESAMPLE (100 ROWS)"
        );
    };
    if seed.is_some() {
        return plan_err!(
            "a sample cannot be REPEATABLE, because rows have no order; keep a sample \
             with CREATE TABLE, or choose rows by a hash, as in WHERE md5(name) < '1a'"
        );
    }
    let Some(random) = context.context_provider().get_function_meta("random") else {
        return plan_err!("TABLESAMPLE needs the function random");
    };
    let random = Expr::ScalarFunction(ScalarFunction::new_udf(random, vec![]));
    let columns: Vec<Expr> = rows
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let rows = LogicalPlanBuilder::from(rows);
    let rows = match size(&quantity)? {
        // Sorted by a column, since rows without one cannot be sorted: `count(*)` needs
        // none.
        Size::Rows(count) => rows
            .project(columns.iter().cloned().chain([random.alias(CHANCE)]))?
            .sort(vec![
                Expr::Column(Column::new_unqualified(CHANCE)).sort(true, false),
            ])?
            .limit(0, Some(count))?
            .project(columns)?,
        Size::Share(share) => rows.filter(random.lt(lit(share)))?,
    };
    rows.build()
}

enum Size {
    Rows(usize),
    Share(f64),
}

fn size(quantity: &TableSampleQuantity) -> Result<Size> {
    let number = match &quantity.value {
        SqlExpr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.to_string()),
            _ => None,
        },
        _ => None,
    };
    if let Some(TableSampleUnit::Rows) = quantity.unit {
        let rows = number.and_then(|number| number.parse().ok());
        return rows.map(Size::Rows).ok_or_else(|| {
            plan_datafusion_err!(
                "TABLESAMPLE takes a whole number of rows, got {}",
                quantity.value
            )
        });
    }
    let percent: Option<f64> = number.and_then(|number| number.parse().ok());
    match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => Ok(Size::Share(percent / 100.0)),
        None => plan_err!(
            "TABLESAMPLE takes a percentage from 0 to 100, got {}; for a number of rows \
             write TABLESAMPLE (.. ROWS)",
            quantity.value
        ),
    }
}

/// A row for each element of the lists, in columns named after the alias; nothing for
/// what is not a list, of which the planner knows more.
fn elements(
    lists: &[SqlExpr],
    alias: Option<&TableAlias>,
    context: &mut dyn RelationPlannerContext,
) -> Result<Option<LogicalPlan>> {
    if alias.is_some_and(|alias| alias.at.is_some()) {
        return not_impl_err!("AT after a table's name");
    }
    let schema = DFSchema::empty();
    let single = match lists {
        [_] => alias.map(|alias| normalized(&alias.name)),
        _ => None,
    };
    let mut columns = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        let list = argument(list, context)?;
        let is_list = matches!(
            list.get_type(&schema),
            Ok(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
        );
        if !is_list {
            return Ok(None);
        }
        let name = match (&single, index) {
            (Some(name), _) => name.clone(),
            (None, 0) => "unnest".to_string(),
            (None, index) => format!("unnest_{}", index + 1),
        };
        columns.push((list, name));
    }
    let names = columns
        .iter()
        .map(|(_, name)| Column::new_unqualified(name));
    let names = names.collect();
    let columns = columns.into_iter().map(|(list, name)| list.alias(name));
    // A row whose list is NULL or empty has no elements.
    let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
    LogicalPlanBuilder::empty(true)
        .project(columns)?
        .unnest_columns_with_options(names, options)?
        .build()
        .map(Some)
}

/// A list, which may be a column of a table beside it, or a field of one.
fn argument(list: &SqlExpr, context: &mut dyn RelationPlannerContext) -> Result<Expr> {
    let schema = DFSchema::empty();
    let mut list = list.clone();
    let _ = list.visit(&mut LiteralsAsCalls);
    let plain = context.sql_expr_to_logical_expr(list.clone(), &schema);
    let Err(error) = &plain else { return plain };
    if !error.to_string().contains("Nested identifiers") {
        return plain;
    }
    // The planner finds `t.labels` of a table beside this one only as a column.
    for column in 1..=2 {
        let mut list = list.clone();
        let _ = list.visit(&mut FieldsOfColumns { column });
        // A column that is not found has no type.
        if let Ok(found) = context.sql_expr_to_logical_expr(list, &schema)
            && found.get_type(&schema).is_ok()
        {
            return Ok(found);
        }
    }
    plain
}

/// Writes `[t.a, t.b]` as `make_array(t.a, t.b)`: the planner forgets the tables around a
/// list that is written with brackets.
struct LiteralsAsCalls;

impl VisitorMut for LiteralsAsCalls {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> std::ops::ControlFlow<()> {
        if let SqlExpr::Array(list) = expr
            && !list.elem.is_empty()
        {
            *expr = call("make_array", std::mem::take(&mut list.elem));
        }
        std::ops::ControlFlow::Continue(())
    }
}

/// Writes `a.b.c` as `a['b']['c']`, or as `a.b['c']`.
struct FieldsOfColumns {
    /// How many names make a column.
    column: usize,
}

impl VisitorMut for FieldsOfColumns {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> std::ops::ControlFlow<()> {
        if let SqlExpr::CompoundIdentifier(names) = expr
            && names.len() > self.column
        {
            let (column, path) = names.split_at(self.column);
            let root = match column {
                [name] => SqlExpr::Identifier(name.clone()),
                column => SqlExpr::CompoundIdentifier(column.to_vec()),
            };
            let access = |name: &Ident| fields::subscript(normalized(name));
            let access_chain: Vec<AccessExpr> = path.iter().map(access).collect();
            *expr = SqlExpr::CompoundFieldAccess {
                root: Box::new(root),
                access_chain,
            };
        }
        std::ops::ControlFlow::Continue(())
    }
}
