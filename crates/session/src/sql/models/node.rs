//! What a statement asks of a model that has a name.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use atoll_udf_common::model::names::Which;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore,
};

/// A statement about a model that no operator runs: the session does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelCommand {
    /// The name of the model, without a version.
    pub(crate) name: String,
    /// What is to be done.
    pub(crate) action: ModelAction,
    /// The query of CREATE MODEL .. AS.
    pub(crate) input: Option<LogicalPlan>,
    schema: DFSchemaRef,
}

/// What is to be done with a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) enum ModelAction {
    /// Gives a model a name, as its next version.
    Create {
        or_replace: bool,
        if_not_exists: bool,
        from: Source,
    },
    /// Lets an alias stand for a version.
    SetAlias { alias: String, to: Which },
    /// Removes an alias.
    DropAlias { alias: String },
    /// Removes a version.
    DropVersion { number: u64 },
    /// Writes the ONNX file of a version somewhere.
    Copy { which: Which, target: String },
    /// Removes the name with its versions and aliases.
    Drop { if_exists: bool },
}

/// What gets a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) enum Source {
    /// A file by its path or URL, or another model by its name.
    Named(String),
    /// What a query gives.
    Query,
}

impl ModelCommand {
    pub(crate) fn try_new(
        name: String,
        action: ModelAction,
        input: Option<LogicalPlan>,
    ) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(action.schema())?);
        Ok(Self {
            name,
            action,
            input,
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

impl ModelAction {
    /// The columns of what the statement reports.
    pub(crate) fn schema(&self) -> Schema {
        let bigint = |name: &str| Field::new(name, DataType::Int64, true);
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        Schema::new(match self {
            Self::Create { .. } => {
                vec![
                    text("name"),
                    bigint("version"),
                    text("sha256"),
                    text("model"),
                ]
            }
            Self::SetAlias { .. } => {
                vec![text("name"), text("alias"), bigint("version")]
            }
            Self::Copy { .. } => vec![
                text("path"),
                bigint("bytes"),
                text("sha256"),
                bigint("version"),
            ],
            Self::DropAlias { .. } | Self::DropVersion { .. } | Self::Drop { .. } => {
                vec![]
            }
        })
    }
}

impl Display for ModelCommand {
    /// As it may be written.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.action {
            ModelAction::Create {
                or_replace,
                if_not_exists,
                from,
            } => {
                let replace = if *or_replace { "OR REPLACE " } else { "" };
                let exists = if *if_not_exists { "IF NOT EXISTS " } else { "" };
                write!(f, "CREATE {replace}MODEL {exists}{name} ")?;
                match from {
                    Source::Named(file) => write!(f, "FROM '{file}'"),
                    Source::Query => write!(f, "AS"),
                }
            }
            ModelAction::SetAlias { alias, to } => {
                write!(f, "ALTER MODEL {name} SET ALIAS {alias} = {to}")
            }
            ModelAction::DropAlias { alias } => {
                write!(f, "ALTER MODEL {name} DROP ALIAS {alias}")
            }
            ModelAction::DropVersion { number } => {
                write!(f, "ALTER MODEL {name} DROP VERSION {number}")
            }
            ModelAction::Copy { which, target } => match which {
                Which::Newest => write!(f, "COPY MODEL {name} TO '{target}'"),
                which => write!(f, "COPY MODEL {name}@{which} TO '{target}'"),
            },
            ModelAction::Drop { if_exists } => {
                let exists = if *if_exists { "IF EXISTS " } else { "" };
                write!(f, "DROP MODEL {exists}{name}")
            }
        }
    }
}

impl PartialOrd for ModelCommand {
    /// The schema follows from the action and has no order of its own.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let (mine, its) = ((&self.name, &self.action), (&other.name, &other.action));
        match mine.partial_cmp(&its) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}

impl UserDefinedLogicalNodeCore for ModelCommand {
    fn name(&self) -> &'static str {
        "ModelCommand"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.input.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ModelCommand: {self}")
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        if !exprs.is_empty() || inputs.len() != self.inputs().len() {
            return internal_err!("{} takes another number of inputs", self.name());
        }
        Ok(Self {
            input: inputs.pop(),
            ..self.clone()
        })
    }
}
