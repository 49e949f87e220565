//! `CREATE TABLE t PARTITIONED BY (day) AS ..`.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The rows of a new table, which says what it is to be partitioned by. It changes
/// nothing of the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct PartitionedBy {
    input: Arc<LogicalPlan>,
    columns: Vec<String>,
}

impl PartitionedBy {
    /// The rows.
    pub(crate) fn input(&self) -> &Arc<LogicalPlan> {
        &self.input
    }

    /// Names of columns of the input, each once, and not all of them.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The node that a plan consists of, if it is one. What CREATE TABLE is given is
    /// one if it has the clause.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

impl UserDefinedLogicalNodeCore for PartitionedBy {
    fn name(&self) -> &'static str {
        "PartitionedBy"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![self.input.as_ref()]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionedBy: {}", self.columns.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (1, Some(input)) = (inputs.len(), inputs.pop()) else {
            return internal_err!("{} takes one input", self.name());
        };
        Ok(Self {
            input: Arc::new(input),
            columns: self.columns.clone(),
        })
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output.to_vec()])
    }
}
