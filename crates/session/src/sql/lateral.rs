//! `FROM p, unnest(p.labels) AS l`: lists of a table beside them.
//!
//! The planner makes a join of it whose right side refers to the left, which no operator
//! can run. Where the right side is made of projections, filters and unnests of one row,
//! as `unnest(..)` and `LATERAL (SELECT ..)` without FROM are, they are put on top of
//! the left side instead: every row of it brings its own.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    Column, DFSchemaRef, NullHandling, Result, ScalarValue, UnnestOptions,
};
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection,
};
use datafusion::optimizer::AnalyzerRule;

/// Runs lateral joins that need no join.
#[derive(Debug, Default)]
pub(crate) struct UnnestBesideTables;

impl AnalyzerRule for UnnestBesideTables {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match &plan {
            LogicalPlan::Join(join) => match without_join(join)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => Ok(Transformed::no(plan)),
            },
            _ => Ok(Transformed::no(plan)),
        })
        .map(|plan| plan.data)
    }

    fn name(&self) -> &'static str {
        "unnest_beside_tables"
    }
}

fn without_join(join: &Join) -> Result<Option<LogicalPlan>> {
    let right = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        right => right,
    };
    let LogicalPlan::Subquery(lateral) = right else {
        return Ok(None);
    };
    let always = |filter: &Expr| {
        matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
    };
    let is_plain = join.filter.as_ref().is_none_or(always);
    let keeps_rows = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left if is_plain => true,
        _ => return Ok(None),
    };
    if !join.on.is_empty() {
        return Ok(None);
    }
    let graft = Graft::new(&join.left, keeps_rows);
    let Some(rows) = graft.onto_left(&lateral.subquery)? else {
        return Ok(None);
    };
    let right = lateral.subquery.schema().columns();
    let names = join.right.schema().iter();
    let right = right.iter().zip(names).map(|(column, (qualifier, field))| {
        graft
            .column(column)
            .alias_qualified(qualifier.cloned(), field.name())
    });
    let left = join.left.schema().columns().into_iter().map(Expr::Column);
    let exprs: Vec<Expr> = left.chain(right).collect();
    let joined = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows))?);
    Ok(Some(match &join.filter {
        Some(filter) if !is_plain => {
            LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(joined))?)
        }
        _ => joined,
    }))
}

/// Puts the operators of a lateral subquery on top of the table beside it.
struct Graft<'a> {
    left: &'a LogicalPlan,
    /// A row without elements is kept, with NULL for the element.
    keeps_rows: bool,
    /// Stands in front of the names of the subquery's columns.
    name: String,
    /// The subquery's columns. They are numbered, because those of the table may have
    /// their names, and because unnest takes a dot in a name for a qualifier.
    columns: RefCell<Vec<String>>,
}

impl<'a> Graft<'a> {
    fn new(left: &'a LogicalPlan, keeps_rows: bool) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            left,
            keeps_rows,
            name: format!("__lateral_{number}"),
            columns: RefCell::default(),
        }
    }

    fn onto_left(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let grafted = match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
                self.left.clone()
            }
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.onto_left(&projection.input)? else {
                    return Ok(None);
                };
                return self.projected(&projection.expr, &projection.schema, input);
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.onto_left(&alias.input)? else {
                    return Ok(None);
                };
                let columns = alias.input.schema().columns();
                let exprs: Vec<_> = columns.into_iter().map(Expr::Column).collect();
                return self.projected(&exprs, &alias.schema, input);
            }
            // What a filter takes away, a left join would have to bring back.
            LogicalPlan::Filter(filter) if !self.keeps_rows => {
                let Some(input) = self.onto_left(&filter.input)? else {
                    return Ok(None);
                };
                let Some(predicate) = self.expression(&filter.predicate)? else {
                    return Ok(None);
                };
                LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)
            }
            LogicalPlan::Unnest(unnest) => {
                let Some(input) = self.onto_left(&unnest.input)? else {
                    return Ok(None);
                };
                let columns = unnest.exec_columns.iter();
                let columns = columns.map(|column| self.renamed(column)).collect();
                let options = self.options(&unnest.options);
                LogicalPlanBuilder::from(input)
                    .unnest_columns_with_options(columns, options)?
                    .build()?
            }
            // `unnest` in the subquery's own FROM is a lateral subquery again.
            LogicalPlan::Subquery(inner) => return self.onto_left(&inner.subquery),
            _ => return Ok(None),
        };
        Ok(Some(grafted))
    }

    /// The table's columns and the subquery's.
    fn projected(
        &self,
        exprs: &[Expr],
        schema: &DFSchemaRef,
        input: LogicalPlan,
    ) -> Result<Option<LogicalPlan>> {
        let left = self.left.schema().columns().into_iter().map(Expr::Column);
        let mut all: Vec<Expr> = left.collect();
        for (expr, column) in exprs.iter().zip(schema.columns()) {
            let Some(expr) = self.expression(expr)? else {
                return Ok(None);
            };
            all.push(expr.unalias().alias(self.renamed(&column).name));
        }
        let projection = Projection::try_new(all, Arc::new(input))?;
        Ok(Some(LogicalPlan::Projection(projection)))
    }

    /// An expression over the table's columns and the subquery's; nothing if it refers
    /// to a query further out.
    fn expression(&self, expr: &Expr) -> Result<Option<Expr>> {
        let mut is_here = true;
        let expr = expr.clone().transform_up(|expr| {
            Ok(match expr {
                Expr::OuterReferenceColumn(field, column) => {
                    if self.left.schema().has_column(&column) {
                        Transformed::yes(Expr::Column(column))
                    } else {
                        is_here = false;
                        Transformed::no(Expr::OuterReferenceColumn(field, column))
                    }
                }
                Expr::Column(column) => Transformed::yes(self.column(&column)),
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => {
                    is_here = false;
                    Transformed::no(expr)
                }
                expr => Transformed::no(expr),
            })
        })?;
        Ok(is_here.then_some(expr.data))
    }

    fn column(&self, column: &Column) -> Expr {
        Expr::Column(self.renamed(column))
    }

    /// A column of the subquery, as it is called among those of the table.
    fn renamed(&self, column: &Column) -> Column {
        let flat_name = column.flat_name();
        let mut columns = self.columns.borrow_mut();
        let known = columns.iter().position(|name| *name == flat_name);
        let number = known.unwrap_or_else(|| {
            columns.push(flat_name);
            columns.len() - 1
        });
        Column::new_unqualified(format!("{}_{number}", self.name))
    }

    fn options(&self, options: &UnnestOptions) -> UnnestOptions {
        let mut options = options.clone();
        if self.keeps_rows {
            options.null_handling = NullHandling::PreserveAndExpandEmpty;
        }
        for recursion in &mut options.recursions {
            recursion.input_column = self.renamed(&recursion.input_column);
            recursion.output_column = self.renamed(&recursion.output_column);
        }
        options
    }
}
