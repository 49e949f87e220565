//! DELETE, UPDATE and MERGE: the files that hold rows to be changed are written anew.
//!
//! A first query finds these files, a second one reads them and gives the rows as they
//! are to be. Both are plans of the session, so every function may stand in them. One
//! commit puts the new files in the place of the old ones; if another commit came between,
//! the statement starts anew from the table as it is then.

use std::collections::HashSet;
use std::sync::Arc;

use atoll_udf_common::as_expensive;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, Result, TableReference, exec_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::dml::MergeIntoOp;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::prelude::SessionContext;
use deltalake_core::kernel::LogicalFileView;
use deltalake_core::protocol::DeltaOperation;

use crate::commit::{Statement, attempt, exchange, files_of, pause, remember};
use crate::guard::refuse_to_change;
use crate::merge;
use crate::open::Table;
use crate::table::{FILE, Source, numbered_files};
use crate::write::{DataFile, Provenance, Sink, Writer, Written};
use atoll_compute::warnings::Warnings;
use atoll_udf_common::Location;

/// The column that says what became of a row, see [`Action`].
pub(crate) const ACTION: &str = "__atoll_action";

/// Files of fewer bytes in all are written as one.
const SMALL: i64 = 32 << 20;

/// What becomes of a row of a file that is written anew.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// It stays as it was.
    Keep = 0,
    /// It is new or has new values.
    Change = 1,
    /// It goes.
    Delete = 2,
}

impl Action {
    pub(crate) fn lit(self) -> Expr {
        lit(self as i8)
    }
}

/// What a statement does to the rows of a table.
#[derive(Debug, Clone)]
pub enum Change {
    /// Rows for which the condition is true go; without one, all.
    Delete {
        /// What the columns are qualified with.
        qualifier: TableReference,
        /// The condition.
        condition: Option<Expr>,
    },
    /// Rows for which the condition is true get new values.
    Update {
        /// What the columns are qualified with.
        qualifier: TableReference,
        /// The condition.
        condition: Option<Expr>,
        /// A value for each column of the table.
        values: Vec<Expr>,
    },
    /// MERGE INTO.
    Merge {
        /// What the columns of the table are qualified with.
        qualifier: TableReference,
        /// The rows of USING, which are the same each time they are read.
        source: Box<LogicalPlan>,
        /// The condition and the clauses.
        merge: MergeIntoOp,
    },
}

/// Who changes which table.
pub struct Rewrite<'a> {
    /// Plans and runs the queries.
    pub context: &'a SessionContext,
    /// The folder of the table.
    pub location: &'a Location,
    /// What the commit says.
    pub statement: &'a Statement,
    /// What the files say.
    pub provenance: Provenance,
    /// Hears of what the new rows lost.
    pub warnings: Warnings,
    /// Writes the new files.
    pub writer: &'a dyn Writer,
}

/// How a change is to be carried out on one version.
pub(crate) struct Plan {
    /// The rows of the new files, with [`ACTION`] as the last column.
    pub(crate) rows: Option<LogicalPlan>,
    /// The numbers of the files that go.
    pub(crate) files: HashSet<usize>,
    pub(crate) operation: DeltaOperation,
    /// Rows that are deleted are not among the rows, instead of marked there.
    pub(crate) leaves_out: bool,
    /// How often the log may look for itself whether another commit is in the way.
    pub(crate) retries: usize,
}

/// What a statement changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// How many rows it added, changed or deleted.
    pub rows: u64,
    /// The files that it wrote, with their sizes.
    pub files: Vec<DataFile>,
    /// The same statement had committed before, and nothing was done.
    pub was_done: bool,
}

impl Rewrite<'_> {
    /// Changes the rows and commits once.
    pub async fn run(&self, change: &Change) -> Result<Changed> {
        check(change)?;
        let mut tries = 0;
        loop {
            let Some(table) = Table::open(self.location).await? else {
                return exec_err!("the table {} is not there any more", self.location);
            };
            refuse_to_change(&table)?;
            if self.statement.is_done(&table).await? {
                return Ok(Changed {
                    was_done: true,
                    ..Changed::default()
                });
            }
            let plan = self.plan(&table, change).await?;
            let (written, rows) = self.write(&table, &plan).await?;
            let old = files_of(&table, &plan.files)?;
            let actions = exchange(old, &written.adds, true);
            if actions.is_empty() {
                remember(table, &plan.operation, self.statement).await?;
                return Ok(Changed::default());
            }
            let (retries, operation) = (plan.retries, plan.operation);
            let tried = attempt(&table, actions, retries, operation, self.statement);
            let Some(lost) = tried.await? else {
                return Ok(Changed {
                    rows,
                    files: written.files(),
                    was_done: false,
                });
            };
            written.discard(self.location).await;
            if !lost.may_try_again(tries) {
                return Err(lost.explain(&table, "change"));
            }
            tries += 1;
            pause(tries).await;
        }
    }

    async fn write(&self, table: &Table, plan: &Plan) -> Result<(Written, u64)> {
        let Some(rows) = &plan.rows else {
            let rows = self.rows_of(table, &plan.files).await?;
            return Ok((Written::default(), rows));
        };
        let provenance = (self.provenance.clone(), self.warnings.clone());
        let sink = Sink::of(table, provenance)?.with_actions();
        let frame = self.context.execute_logical_plan(rows.clone()).await?;
        let mut exec = frame.create_physical_plan().await?;
        let files = files_of(table, &plan.files)?;
        if files.iter().map(LogicalFileView::size).sum::<i64>() < SMALL {
            exec = Arc::new(CoalescePartitionsExec::new(exec)) as Arc<dyn ExecutionPlan>;
        }
        let context = self.context.task_ctx();
        let written = self.writer.write(sink, exec, context).await?;
        let mut changed = written.changed;
        if plan.leaves_out {
            let before = self.rows_of(table, &plan.files).await?;
            let kept = written.rows.saturating_sub(changed);
            changed += before.saturating_sub(kept);
        }
        Ok((written, changed))
    }

    async fn rows_of(&self, table: &Table, files: &HashSet<usize>) -> Result<u64> {
        let views = files_of(table, files)?;
        let known: Option<Vec<usize>> =
            views.iter().map(|view| view.num_records()).collect();
        if let Some(known) = known {
            return Ok(known.iter().sum::<usize>() as u64);
        }
        let source = Source::with_file_numbers(table.clone(), Some(files.clone()))?;
        let count = self.context.read_table(Arc::new(source))?.count().await?;
        Ok(count as u64)
    }

    async fn plan(&self, table: &Table, change: &Change) -> Result<Plan> {
        match change {
            Change::Delete {
                qualifier,
                condition,
            } => {
                let operation = DeltaOperation::Delete { predicate: None };
                let Some(condition) = condition else {
                    return Ok(Plan {
                        rows: None,
                        files: (0..numbered_files(table)?.len()).collect(),
                        operation,
                        leaves_out: false,
                        retries: 0,
                    });
                };
                let rows = scan(table, qualifier, None)?;
                let files = self.files_where(rows, condition).await?;
                let rows = scan(table, qualifier, Some(files.clone()))?;
                let columns = columns_of(table, qualifier)?.into_iter();
                let columns = columns.map(Expr::Column);
                // By a filter, because only there may a condition have a query in it.
                let rows = LogicalPlanBuilder::from(rows)
                    .filter(condition.clone().is_not_true())?
                    .project(columns.chain([Action::Keep.lit().alias(ACTION)]))?
                    .build()?;
                Ok(Plan {
                    rows: Some(rows),
                    files,
                    operation,
                    leaves_out: true,
                    retries: 10,
                })
            }
            Change::Update {
                qualifier,
                condition,
                values,
            } => {
                let condition = condition.clone().unwrap_or(lit(true));
                let rows = scan(table, qualifier, None)?;
                let files = self.files_where(rows, &condition).await?;
                let rows = || scan(table, qualifier, Some(files.clone()));
                let columns = columns_of(table, qualifier)?;
                let names = columns.iter().map(|column| column.name.clone());
                let values = values.iter().cloned().zip(names);
                let values = values.map(|(value, name)| value.alias(name));
                // Each kind of rows by itself, so that what the new values cost, and how
                // they may fail, is of the rows that get them.
                let changed = LogicalPlanBuilder::from(rows()?)
                    .filter(condition.clone())?
                    .project(values.chain([Action::Change.lit().alias(ACTION)]))?;
                let names = columns
                    .into_iter()
                    .map(|column| Expr::Column(column.clone()).alias(column.name));
                let kept = LogicalPlanBuilder::from(rows()?)
                    .filter(condition.is_not_true())?
                    .project(names.chain([Action::Keep.lit().alias(ACTION)]))?;
                Ok(Plan {
                    rows: Some(changed.union(kept.build()?)?.build()?),
                    files,
                    operation: DeltaOperation::Update { predicate: None },
                    leaves_out: false,
                    retries: 10,
                })
            }
            Change::Merge {
                qualifier,
                source,
                merge,
            } => merge::plan(self.context, table, qualifier, source, merge).await,
        }
    }

    /// The numbers of the files that have a row for which the condition is true.
    async fn files_where(
        &self,
        rows: LogicalPlan,
        condition: &Expr,
    ) -> Result<HashSet<usize>> {
        let number = rows.schema().columns().pop();
        let files = LogicalPlanBuilder::from(rows)
            .filter(condition.clone())?
            .project(number.map(Expr::Column))?
            .distinct()?
            .build()?;
        let files = self.context.execute_logical_plan(files).await?;
        Ok(numbers(&files.collect().await?))
    }
}

/// The whole numbers of a first column.
pub(crate) fn numbers(batches: &[RecordBatch]) -> HashSet<usize> {
    let numbers = batches.iter().flat_map(|batch| {
        let numbers = batch.column(0).as_primitive::<UInt64Type>();
        numbers.iter().flatten().collect::<Vec<_>>()
    });
    numbers
        .filter_map(|number| usize::try_from(number).ok())
        .collect()
}

/// The rows of some files, or of all, of which the last column is [`FILE`].
pub(crate) fn scan(
    table: &Table,
    qualifier: &TableReference,
    files: Option<HashSet<usize>>,
) -> Result<LogicalPlan> {
    let source = Source::with_file_numbers(table.clone(), files)?;
    let source = provider_as_source(Arc::new(source));
    LogicalPlanBuilder::scan(qualifier.clone(), source, None)?.build()
}

/// The columns of a table as [`scan`] has them, without the number of the file.
pub(crate) fn columns_of(
    table: &Table,
    qualifier: &TableReference,
) -> Result<Vec<Column>> {
    let schema = table.schema()?;
    let names = schema.fields().iter().map(|field| field.name());
    let columns = names.map(|name| Column::new(Some(qualifier.clone()), name));
    Ok(columns.collect())
}

/// Refuses conditions that are asked twice and would answer otherwise, and a table that
/// has a column of ours.
fn check(change: &Change) -> Result<()> {
    let conditions: Vec<&Expr> = match change {
        Change::Delete { condition, .. } | Change::Update { condition, .. } => {
            condition.iter().collect()
        }
        Change::Merge { merge, .. } => {
            let of_clauses = merge.clauses.iter().filter_map(|c| c.predicate.as_ref());
            std::iter::once(&merge.on).chain(of_clauses).collect()
        }
    };
    for condition in conditions {
        let changes = condition.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::ScalarFunction(call)
                    if call.func.signature().volatility == Volatility::Volatile
                        && as_expensive(&call.func).is_none()
            ))
        })?;
        if changes {
            return plan_err!(
                "the condition {condition} has another value each time it is asked; write \
                 the chosen rows to a table first, and use that"
            );
        }
    }
    Ok(())
}

/// Whether a name is one that a statement gives to columns of its own.
pub fn is_reserved(name: &str) -> bool {
    [FILE, ACTION].contains(&name) || merge::is_reserved(name)
}
