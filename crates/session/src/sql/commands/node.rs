//! What a statement asks of a table as a whole.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore,
};

use crate::sql::at::At;

/// A statement about a table that no operator runs: the session does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TableCommand {
    /// The table, by its name or by a folder's.
    pub(crate) table: TableReference,
    /// What is to be done.
    pub(crate) action: Action,
    schema: DFSchemaRef,
}

/// What is to be done with a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) enum Action {
    /// Writes small files as few large ones.
    Optimize {
        /// Which partitions; a condition on columns of the table without qualifiers,
        /// whose types are coerced.
        predicate: Option<Expr>,
    },
    /// Deletes files that no version within the retention needs.
    Vacuum {
        /// The retention, if it is not the default one.
        retain: Option<Duration>,
        /// Counts the files and deletes none.
        dry_run: bool,
    },
    /// Makes an older version the current one, in a new commit.
    Restore {
        /// The older version.
        to: At,
    },
    /// Adds columns, which are NULL in the rows that are there.
    AddColumns {
        /// The columns in their order, each name once.
        columns: Vec<NewColumn>,
    },
    /// Brings a table up to date with the files that its query reads.
    Refresh {
        /// Takes up also files that did not change.
        full: bool,
        /// The text of the CREATE TABLE that CREATE OR REFRESH TABLE stands for.
        create: Option<String>,
    },
    /// Says what the table consists of, in a row.
    Detail,
    /// Lists the columns and then, a row each, what the table consists of.
    Extended,
    /// Lists the commits, the newest first.
    History,
}

/// A column that a table is to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct NewColumn {
    /// Its name and type; it may be NULL.
    pub(crate) field: FieldRef,
    /// A table that has the column is left as it is.
    pub(crate) if_not_exists: bool,
}

impl TableCommand {
    pub(crate) fn try_new(table: TableReference, action: Action) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(action.schema())?);
        Ok(Self {
            table,
            action,
            schema,
        })
    }

    /// The command that a plan consists of, if it is one.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The plan that consists of the command.
    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: Arc::new(self),
        })
    }
}

impl Action {
    /// The words that begin the statement.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Optimize { .. } => "OPTIMIZE",
            Self::Vacuum { .. } => "VACUUM",
            Self::Restore { .. } => "RESTORE",
            Self::AddColumns { .. } => "ALTER TABLE",
            Self::Refresh {
                create: Some(_), ..
            } => "CREATE OR REFRESH TABLE",
            Self::Refresh { create: None, .. } => "REFRESH TABLE",
            Self::Detail => "DESCRIBE DETAIL",
            Self::Extended => "DESCRIBE EXTENDED",
            Self::History => "DESCRIBE HISTORY",
        }
    }

    /// Whether the table or its files are others afterwards.
    pub(crate) fn changes_table(&self) -> bool {
        match self {
            Self::Optimize { .. }
            | Self::Restore { .. }
            | Self::AddColumns { .. }
            | Self::Refresh { .. }
            | Self::Vacuum { dry_run: false, .. } => true,
            Self::Detail
            | Self::Extended
            | Self::History
            | Self::Vacuum { dry_run: true, .. } => false,
        }
    }

    /// The columns of what the command reports.
    pub(crate) fn schema(&self) -> Schema {
        let bigint = |name: &str| Field::new(name, DataType::Int64, true);
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let fields = match self {
            Self::Optimize { .. } => vec![
                bigint("files_removed"),
                bigint("files_added"),
                bigint("bytes_removed"),
                bigint("bytes_added"),
            ],
            Self::Vacuum { .. } => vec![bigint("files_deleted"), bigint("bytes_deleted")],
            Self::Restore { .. } => vec![bigint("version")],
            Self::AddColumns { .. } => vec![],
            // As INSERT and MERGE have it.
            Self::Refresh { .. } => {
                vec![Field::new("count", DataType::UInt64, false)]
            }
            Self::Detail => vec![
                text("format"),
                text("name"),
                text("location"),
                bigint("version"),
                bigint("rows"),
                bigint("files"),
                bigint("bytes"),
                Field::new_list(
                    "partition_columns",
                    Field::new_list_field(DataType::Utf8, true),
                    true,
                ),
            ],
            // As DESCRIBE has them.
            Self::Extended => {
                vec![text("column_name"), text("data_type"), text("is_nullable")]
            }
            // A commit's time is in milliseconds. What a commit does not say is NULL.
            Self::History => vec![
                bigint("version"),
                Field::new(
                    "timestamp",
                    DataType::Timestamp(TimeUnit::Millisecond, None),
                    true,
                ),
                text("operation"),
                text("parameters"),
                text("statement"),
                text("engine"),
            ],
        };
        Schema::new(fields)
    }
}

impl Display for TableCommand {
    /// As it may be written.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action.name(), self.table)?;
        match &self.action {
            Action::Optimize { predicate } => match predicate {
                Some(predicate) => write!(f, " WHERE {predicate}"),
                None => Ok(()),
            },
            Action::Vacuum { retain, dry_run } => {
                if let Some(retain) = retain {
                    write!(f, " RETAIN {} HOURS", retain.as_secs() / 3600)?;
                }
                if *dry_run {
                    write!(f, " DRY RUN")
                } else {
                    Ok(())
                }
            }
            Action::Restore { to } => write!(f, " TO {to}"),
            Action::AddColumns { columns } => {
                for (index, NewColumn { field, .. }) in columns.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let (name, data_type) = (field.name(), field.data_type());
                    write!(f, "{comma} ADD COLUMN {name} {data_type}")?;
                }
                Ok(())
            }
            Action::Refresh { full, .. } => f.write_str(if *full { " FULL" } else { "" }),
            Action::Detail | Action::Extended | Action::History => Ok(()),
        }
    }
}

impl PartialOrd for TableCommand {
    /// The schema follows from the action and has no order of its own.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.table, &self.action).partial_cmp(&(&other.table, &other.action))
    }
}

impl UserDefinedLogicalNodeCore for TableCommand {
    fn name(&self) -> &'static str {
        "TableCommand"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// None: the predicate is about columns of the table, which is no input.
    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "TableCommand: {self}")
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        if !exprs.is_empty() || !inputs.is_empty() {
            return internal_err!("{} takes no inputs", self.name());
        }
        Ok(self.clone())
    }
}
