//! The logical operator that opens the file that each row names.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use atoll_udf_blob::Part;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The rows of `input`, with more columns for the file that each of them names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReadFilesNode {
    /// The column that names the file.
    pub(crate) filename: Expr,
    /// What is read of it.
    pub(crate) parts: Vec<Part>,
    /// Where the names come from.
    pub(crate) input: LogicalPlan,
    schema: DFSchemaRef,
}

impl ReadFilesNode {
    pub(crate) fn try_new(
        filename: Expr,
        parts: Vec<Part>,
        input: LogicalPlan,
    ) -> Result<Self> {
        let mut fields: Vec<(Option<TableReference>, FieldRef)> = input
            .schema()
            .iter()
            .map(|(relation, field)| (relation.cloned(), Arc::clone(field)))
            .collect();
        fields.extend(parts.iter().map(|part| (None, Arc::new(part.field(true)))));
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self {
            filename,
            parts,
            input,
            schema,
        })
    }
}

impl PartialOrd for ReadFilesNode {
    /// The schema follows from the other fields and has no order of its own.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let all = |node: &Self| (node.filename.clone(), node.parts.clone());
        let parts = all(self).partial_cmp(&all(other));
        match parts {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            parts => parts,
        }
    }
}

impl UserDefinedLogicalNodeCore for ReadFilesNode {
    fn name(&self) -> &'static str {
        "ReadFiles"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.filename.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadFiles: {}", self.filename)
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (1, Some(input)) = (inputs.len(), inputs.pop()) else {
            return internal_err!("{} takes one input", self.name());
        };
        let (1, Some(filename)) = (exprs.len(), exprs.pop()) else {
            return internal_err!("{} takes one expression", self.name());
        };
        Self::try_new(filename, self.parts.clone(), input)
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        // The column of names is added from `expressions` by the caller.
        let width = self.input.schema().fields().len();
        let of_input = output.iter().copied().filter(|column| *column < width);
        Some(vec![of_input.collect()])
    }

    /// A row in is a row out: files of rows that a LIMIT drops are not read.
    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    /// A filter on other columns runs first.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let parts = self.parts.iter();
        parts.map(|part| part.field(true).name().clone()).collect()
    }
}
