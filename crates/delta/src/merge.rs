//! MERGE INTO: rows of a source that change, delete or add rows of a table.
//!
//! The first query joins source and table and finds the files that hold a row with a
//! match. The second gives their rows as they are to be, and the rows of the source that
//! match none. A row of the table that two rows of the source match is an error, because
//! nothing says which of them is to win.

use std::collections::HashSet;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::{
    Column, JoinType, Result, ScalarValue, TableReference, exec_err,
};
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::logical_expr::dml::{
    MergeIntoAction, MergeIntoClause, MergeIntoClauseKind, MergeIntoOp,
};
use datafusion::logical_expr::{
    Case, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, cast, lit,
};
use datafusion::prelude::SessionContext;
use deltalake_core::protocol::{DeltaOperation, MergePredicate};

use crate::open::Table;
use crate::rewrite::{ACTION, Action, Plan, columns_of, numbers, scan};
use crate::row_number::RowNumber;
use crate::table::{FILE, numbered_files};

/// Columns that the queries have beside those of table and source.
const ROW: &str = "__atoll_row";
const MATCHES: &str = "__atoll_matches";
const MATCHED: &str = "__atoll_matched";

pub(crate) fn is_reserved(name: &str) -> bool {
    [ROW, MATCHES, MATCHED].contains(&name)
}

pub(crate) async fn plan(
    context: &SessionContext,
    table: &Table,
    target: &TableReference,
    source: &LogicalPlan,
    merge: &MergeIntoOp,
) -> Result<Plan> {
    let of_kind = |kind| {
        let clauses = merge.clauses.iter().cloned();
        let clauses = clauses.filter(move |clause| clause.kind.canonical() == kind);
        clauses.collect::<Vec<MergeIntoClause>>()
    };
    let matched = of_kind(MergeIntoClauseKind::Matched);
    let unmatched = of_kind(MergeIntoClauseKind::NotMatchedBySource);
    let added = of_kind(MergeIntoClauseKind::NotMatchedByTarget);
    let columns = columns_of(table, target)?;
    let merging = Merging {
        table,
        target,
        source,
        on: &merge.on,
        columns: &columns,
    };
    let mut files = HashSet::new();
    if !matched.is_empty() {
        files = merging.files_with_matches(context, &matched).await?;
    }
    if !unmatched.is_empty() {
        files = (0..numbered_files(table)?.len()).collect();
    }
    let mut parts = vec![];
    let leaves_out = unmatched.is_empty() && only_deletes(&matched);
    if !files.is_empty() {
        parts.push(match leaves_out {
            true => merging.without_matches(&files)?,
            false => merging.changed(&files, &matched, &unmatched)?,
        });
    }
    if !added.is_empty() {
        // A row of the source that matches one in a file that stays has no place here.
        let others = (!matched.is_empty()).then(|| files.clone());
        parts.push(merging.added(others, &added)?);
    }
    let rows = match parts.pop() {
        None => None,
        Some(last) => match parts.pop() {
            None => Some(last),
            Some(first) => Some(LogicalPlanBuilder::from(first).union(last)?.build()?),
        },
    };
    Ok(Plan {
        rows: Some(match rows {
            Some(rows) => rows,
            None => merging.nothing()?,
        }),
        files,
        operation: operation(merge),
        leaves_out,
        // A row that was added meanwhile may be one that the source has too.
        retries: 0,
    })
}

/// What the log says of the statement.
fn operation(merge: &MergeIntoOp) -> DeltaOperation {
    let of_kind = |kind| {
        let clauses = merge.clauses.iter();
        let clauses = clauses.filter(|clause| clause.kind.canonical() == kind);
        let predicates = clauses.map(|clause| MergePredicate {
            action_type: match clause.action {
                MergeIntoAction::Update(_) => "update".to_string(),
                MergeIntoAction::Insert { .. } => "insert".to_string(),
                MergeIntoAction::Delete => "delete".to_string(),
            },
            predicate: clause.predicate.as_ref().map(ToString::to_string),
        });
        predicates.collect()
    };
    DeltaOperation::Merge {
        predicate: None,
        merge_predicate: Some(merge.on.to_string()),
        matched_predicates: of_kind(MergeIntoClauseKind::Matched),
        not_matched_predicates: of_kind(MergeIntoClauseKind::NotMatchedByTarget),
        not_matched_by_source_predicates: of_kind(
            MergeIntoClauseKind::NotMatchedBySource,
        ),
    }
}

/// Whether every row with a match goes, however many it has.
fn only_deletes(matched: &[MergeIntoClause]) -> bool {
    matches!(
        matched,
        [MergeIntoClause {
            predicate: None,
            action: MergeIntoAction::Delete,
            ..
        }]
    )
}

struct Merging<'a> {
    table: &'a Table,
    target: &'a TableReference,
    source: &'a LogicalPlan,
    on: &'a Expr,
    columns: &'a [Column],
}

impl Merging<'_> {
    /// The files that hold a row which some row of the source matches.
    async fn files_with_matches(
        &self,
        context: &SessionContext,
        clauses: &[MergeIntoClause],
    ) -> Result<HashSet<usize>> {
        let rows = scan(self.table, self.target, None)?;
        let mut columns: Vec<Expr> = rows
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        columns.push(
            ScalarUDF::from(RowNumber::default())
                .call(vec![])
                .alias(ROW),
        );
        let rows = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
        let file = Expr::Column(Column::new(Some(self.target.clone()), FILE));
        let row = Expr::Column(Column::new_unqualified(ROW));
        let matches = Expr::Column(Column::new_unqualified(MATCHES));
        let files = LogicalPlanBuilder::from(self.source.clone())
            .join_on(rows, JoinType::Inner, [self.on.clone()])?
            .aggregate([file.clone(), row], [count(lit(1)).alias(MATCHES)])?
            .aggregate([file], [max(matches).alias(MATCHES)])?
            .build()?;
        let files = context.execute_logical_plan(files).await?.collect().await?;
        let most = files.iter().flat_map(|batch| {
            let matches = batch.column(1).as_primitive::<Int64Type>();
            matches.iter().flatten().collect::<Vec<_>>()
        });
        let most = most.max().unwrap_or_default();
        if most > 1 && !only_deletes(clauses) {
            return exec_err!(
                "MERGE INTO {}: {most} rows of the source match one row of the table ON \
                 {}, and nothing says which of them is to win; make the source have one \
                 row for each match, for example with DISTINCT or GROUP BY",
                self.target,
                self.on
            );
        }
        Ok(numbers(&files))
    }

    /// The rows of the files as they are to be.
    fn changed(
        &self,
        files: &HashSet<usize>,
        matched: &[MergeIntoClause],
        unmatched: &[MergeIntoClause],
    ) -> Result<LogicalPlan> {
        let mut columns: Vec<Expr> = self
            .source
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        columns.push(lit(true).alias(MATCHED));
        let source = LogicalPlanBuilder::from(self.source.clone());
        let source = source.project(columns)?.build()?;
        let rows = scan(self.table, self.target, Some(files.clone()))?;
        let rows = LogicalPlanBuilder::from(rows).join_on(
            source,
            JoinType::Left,
            [self.on.clone()],
        )?;
        let is_matched = Expr::Column(Column::new_unqualified(MATCHED)).is_not_null();
        let with = |condition: Expr, clause: &MergeIntoClause| match &clause.predicate {
            Some(predicate) => condition.and(predicate.clone()),
            None => condition,
        };
        let cases: Vec<(Expr, &MergeIntoAction)> = matched
            .iter()
            .map(|clause| (with(is_matched.clone(), clause), &clause.action))
            .chain(unmatched.iter().map(|clause| {
                let condition = is_matched.clone().is_not_true();
                (with(condition, clause), &clause.action)
            }))
            .collect();
        let values = self.columns.iter().map(|column| {
            let stays = Expr::Column(column.clone());
            let value = |action: &MergeIntoAction| match action {
                MergeIntoAction::Update(values) => {
                    let found = values.iter().find(|(name, _)| *name == column.name);
                    found.map(|(_, value)| value.clone())
                }
                _ => None,
            };
            self.of_column(column, &cases, value, &stays)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let action = case(
            cases.iter().map(|(condition, action)| {
                let action = match action {
                    MergeIntoAction::Delete => Action::Delete,
                    _ => Action::Change,
                };
                (condition.clone(), action.lit())
            }),
            Action::Keep.lit(),
        );
        rows.project(values.into_iter().chain([action.alias(ACTION)]))?
            .build()
    }

    /// The rows of the files that no row of the source matches.
    fn without_matches(&self, files: &HashSet<usize>) -> Result<LogicalPlan> {
        let rows = scan(self.table, self.target, Some(files.clone()))?;
        let columns = self.columns.iter().cloned().map(Expr::Column);
        LogicalPlanBuilder::from(rows)
            .join_on(self.source.clone(), JoinType::LeftAnti, [self.on.clone()])?
            .project(columns.chain([Action::Keep.lit().alias(ACTION)]))?
            .build()
    }

    /// The rows of the source that no row of the table matches and that a clause adds.
    fn added(
        &self,
        files: Option<HashSet<usize>>,
        clauses: &[MergeIntoClause],
    ) -> Result<LogicalPlan> {
        let table = scan(self.table, self.target, files)?;
        let rows = LogicalPlanBuilder::from(self.source.clone()).join_on(
            table,
            JoinType::LeftAnti,
            [self.on.clone()],
        )?;
        let cases: Vec<(Expr, &MergeIntoAction)> = clauses
            .iter()
            .map(|clause| {
                let predicate = clause.predicate.clone();
                (predicate.unwrap_or(lit(true)), &clause.action)
            })
            .collect();
        let wanted = cases.iter().map(|(condition, _)| condition.clone());
        let wanted = wanted.reduce(Expr::or).unwrap_or(lit(false));
        let values = self.columns.iter().enumerate().map(|(at, column)| {
            let value = |action: &MergeIntoAction| match action {
                MergeIntoAction::Insert { columns, values } => {
                    let place = match columns.is_empty() {
                        true => Some(at),
                        false => columns.iter().position(|name| *name == column.name),
                    };
                    let value = place.and_then(|place| values.get(place)).cloned();
                    Some(value.unwrap_or(lit(ScalarValue::Null)))
                }
                _ => None,
            };
            self.of_column(column, &cases, value, &lit(ScalarValue::Null))
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let action = Action::Change.lit().alias(ACTION);
        rows.filter(wanted)?
            .project(values.into_iter().chain([action]))?
            .build()
    }

    /// No row of the table.
    fn nothing(&self) -> Result<LogicalPlan> {
        let rows = scan(self.table, self.target, Some(HashSet::new()))?;
        let columns = self.columns.iter().cloned().map(Expr::Column);
        let action = Action::Keep.lit().alias(ACTION);
        let rows = LogicalPlanBuilder::from(rows);
        rows.project(columns.chain([action]))?.build()
    }

    /// The value of a column: that of the first clause whose condition is true.
    fn of_column(
        &self,
        column: &Column,
        cases: &[(Expr, &MergeIntoAction)],
        value: impl Fn(&MergeIntoAction) -> Option<Expr>,
        otherwise: &Expr,
    ) -> Result<Expr> {
        let schema = self.table.schema()?;
        let field = schema.field_with_name(&column.name)?;
        let to = field.data_type();
        let values = cases.iter().map(|(condition, action)| {
            let value = value(action).map(|value| cast(value, to.clone()));
            (condition.clone(), value.unwrap_or(otherwise.clone()))
        });
        let value = case(values, otherwise.clone());
        Ok(cast(value, to.clone()).alias(&column.name))
    }
}

/// The value beside the first condition that is true.
fn case(values: impl Iterator<Item = (Expr, Expr)>, otherwise: Expr) -> Expr {
    let values: Vec<_> = values
        .map(|(condition, value)| (Box::new(condition), Box::new(value)))
        .collect();
    if values.is_empty() {
        return otherwise;
    }
    Expr::Case(Case {
        expr: None,
        when_then_expr: values,
        else_expr: Some(Box::new(otherwise)),
    })
}

/// The columns of a source by their place, for a copy of its rows.
pub(crate) fn copied_name(at: usize) -> String {
    format!("column{at}")
}

/// The columns of a copy of a source under the names that statements know.
pub fn as_source(copy: LogicalPlan, source: &LogicalPlan) -> Result<LogicalPlan> {
    let columns = source.schema().iter().zip(copy.schema().columns());
    let columns = columns.map(|((qualifier, field), column)| {
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(copy).project(columns)?.build()
}

/// The rows of a source with columns that are called by their places, to be copied.
pub fn to_copy(source: &LogicalPlan) -> Result<LogicalPlan> {
    let columns = source.schema().columns().into_iter().enumerate();
    let columns = columns.map(|(at, column)| Expr::Column(column).alias(copied_name(at)));
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(source.clone())
        .project(columns)?
        .build()
}
