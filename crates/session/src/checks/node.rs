//! The logical operator that checks rows.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The rows of `input`, each of which passes every check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct CheckNode {
    /// Calls that fail for a row that does not pass, in their order.
    pub(crate) checks: Vec<Expr>,
    /// Where the rows come from.
    pub(crate) input: Arc<LogicalPlan>,
}

impl UserDefinedLogicalNodeCore for CheckNode {
    fn name(&self) -> &'static str {
        "Check"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![self.input.as_ref()]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.checks.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check: ")?;
        for (i, check) in self.checks.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{check}")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(
        &self,
        checks: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (1, Some(input)) = (inputs.len(), inputs.pop()) else {
            return internal_err!("{} takes one input", self.name());
        };
        let input = Arc::new(input);
        Ok(Self { checks, input })
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Columns that only the checks read are added from `expressions` by the caller.
        Some(vec![output.to_vec()])
    }
}
