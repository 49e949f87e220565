//! The logical operator that evaluates expensive calls.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore,
};

/// Columns that name the file or URL a row came from, best first.
const SOURCES: [&str; 5] = ["filename", "url", "uri", "path", "file"];

/// The rows of `input`, with one more column for each call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ExpensiveNode {
    /// Calls whose arguments are columns and literals only, with their output names.
    pub(crate) calls: Vec<(Expr, String)>,
    /// The column that names a row's file, for error messages.
    pub(crate) source: Option<Expr>,
    /// Where the rows come from.
    pub(crate) input: LogicalPlan,
    schema: DFSchemaRef,
}

impl ExpensiveNode {
    pub(crate) fn try_new(
        calls: Vec<(Expr, String)>,
        input: LogicalPlan,
    ) -> Result<Self> {
        let source = source_column(&input);
        Self::with_source(calls, source, input)
    }

    fn with_source(
        calls: Vec<(Expr, String)>,
        source: Option<Expr>,
        input: LogicalPlan,
    ) -> Result<Self> {
        let mut fields: Vec<(Option<TableReference>, FieldRef)> = input
            .schema()
            .iter()
            .map(|(relation, field)| (relation.cloned(), Arc::clone(field)))
            .collect();
        for (call, name) in &calls {
            let (_, field) = call.to_field(input.schema())?;
            let field = field.as_ref().clone().with_name(name).with_nullable(true);
            fields.push((None, Arc::new(field)));
        }
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self {
            calls,
            source,
            input,
            schema,
        })
    }
}

/// A column of the input that names each row's file, if there is exactly one choice.
fn source_column(input: &LogicalPlan) -> Option<Expr> {
    let columns = input.schema().columns();
    SOURCES.iter().find_map(|source| {
        let mut named = columns.iter().filter(|column| column.name == *source);
        let column = named.next()?;
        named.next().is_none().then(|| Expr::Column(column.clone()))
    })
}

impl PartialOrd for ExpensiveNode {
    /// The schema follows from the other fields and has no order of its own.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.calls, &self.input).partial_cmp(&(&other.calls, &other.input))
    }
}

impl UserDefinedLogicalNodeCore for ExpensiveNode {
    fn name(&self) -> &'static str {
        "ExpensiveCalls"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// The source column is among them, so that it is not pruned from the input.
    fn expressions(&self) -> Vec<Expr> {
        let calls = self.calls.iter().map(|(call, _)| call.clone());
        calls.chain(self.source.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExpensiveCalls: ")?;
        for (i, (call, name)) in self.calls.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{call} AS {name}")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let expected = self.calls.len() + usize::from(self.source.is_some());
        let (1, Some(input)) = (inputs.len(), inputs.pop()) else {
            return internal_err!("{} takes one input", self.name());
        };
        if exprs.len() != expected {
            return internal_err!("{} takes {expected} expressions", self.name());
        }
        let source = self.source.is_some().then(|| exprs.pop()).flatten();
        let names = self.calls.iter().map(|(_, name)| name.clone());
        Self::with_source(exprs.into_iter().zip(names).collect(), source, input)
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Columns that only the calls read are added from `expressions` by the caller.
        let width = self.input.schema().fields().len();
        Some(vec![
            output
                .iter()
                .copied()
                .filter(|column| *column < width)
                .collect(),
        ])
    }

    /// A row in is a row out: rows that a LIMIT drops need no training.
    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    /// A filter on other columns runs first, one on a call's result cannot.
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        self.calls.iter().map(|(_, name)| name.clone()).collect()
    }
}
