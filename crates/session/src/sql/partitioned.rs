//! `CREATE TABLE t PARTITIONED BY (day) AS ..`.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result, internal_err, plan_err};
use datafusion::logical_expr::{
    DdlStatement, Expr, Extension, LogicalPlan, PlanType, ToStringifiedPlan,
    UserDefinedLogicalNodeCore,
};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::normalized;
use super::tokens::Tokens;

/// The rows of a new table, which says what it is to be partitioned by. It changes
/// nothing of the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct PartitionedBy {
    input: Arc<LogicalPlan>,
    columns: Vec<String>,
}

impl PartitionedBy {
    fn try_new(input: Arc<LogicalPlan>, columns: Vec<String>) -> Result<Self> {
        let fields = input.schema().fields();
        for (index, column) in columns.iter().enumerate() {
            if !fields.iter().any(|field| field.name() == column) {
                let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
                return plan_err!(
                    "PARTITIONED BY names the column {column}, which the table has not; \
                     its columns are {}",
                    names.join(", ")
                );
            }
            if columns[..index].contains(column) {
                return plan_err!(
                    "PARTITIONED BY names the column {column} twice; name it once"
                );
            }
        }
        if columns.len() == fields.len() {
            return plan_err!(
                "every column is in PARTITIONED BY, so that none is left for the files; \
                 name fewer than {}",
                columns.join(", ")
            );
        }
        Ok(Self { input, columns })
    }

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

/// Takes the clause out of CREATE TABLE, and gives the columns that it names. CREATE
/// EXTERNAL TABLE and COPY keep theirs, which DataFusion's parser reads.
pub(super) fn take(tokens: &mut Tokens) -> Result<Option<Vec<String>>> {
    const MODIFIERS: [&str; 6] =
        ["OR", "REPLACE", "TEMP", "TEMPORARY", "LOCAL", "GLOBAL"];
    let mut index = tokens.start();
    if !tokens.are(index, &["CREATE"]) {
        return Ok(None);
    }
    index += 1;
    while tokens.is_one_of(index, &MODIFIERS) {
        index += 1;
    }
    if !tokens.are(index, &["TABLE"]) {
        return Ok(None);
    }
    let mut columns = None;
    let mut is_query = false;
    while index < tokens.len() {
        is_query |= tokens.are(index, &["AS"]);
        if tokens.are(index, &["PARTITIONED", "BY"])
            && tokens.token(index + 2) == Some(&Token::LParen)
        {
            if is_query {
                return plan_err!(
                    "PARTITIONED BY stands before the AS of CREATE TABLE, got it after"
                );
            }
            let end = tokens.after_bracket(index + 2);
            let named = names(tokens, index + 3, end)?;
            if columns.replace(named).is_some() {
                return plan_err!("CREATE TABLE takes PARTITIONED BY once, got it twice");
            }
            tokens.replace(index..end, []);
            continue;
        }
        index = match tokens.token(index) {
            Some(Token::LParen) => tokens.after_bracket(index),
            _ => index + 1,
        };
    }
    Ok(columns)
}

/// Names with commas between them, up to the bracket that is before `end`.
fn names(tokens: &Tokens, start: usize, end: usize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut index = start;
    loop {
        match (tokens.part(index), tokens.token(index + 1)) {
            (Some(name), Some(Token::Comma)) => names.push(normalized(&name)),
            (Some(name), Some(Token::RParen)) if index + 2 == end => {
                names.push(normalized(&name));
                return Ok(names);
            }
            (Some(name), Some(_)) => {
                return plan_err!(
                    "PARTITIONED BY takes names of the table's columns and no types or \
                     expressions, got {} after {name}",
                    tokens.text(index + 1)
                );
            }
            _ => return Err(tokens.expected("the name of a column", index)),
        }
        index += 2;
    }
}

/// Has the table that a plan creates be partitioned.
pub(super) fn wrap(plan: LogicalPlan, columns: Vec<String>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(mut create)) => {
            let node = PartitionedBy::try_new(create.input, columns)?;
            let node = Arc::new(node);
            create.input = Arc::new(LogicalPlan::Extension(Extension { node }));
            Ok(LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)))
        }
        LogicalPlan::Explain(mut explain) => {
            let plan = wrap(Arc::unwrap_or_clone(explain.plan), columns)?;
            let shown = plan.to_stringified(PlanType::InitialLogicalPlan);
            explain.stringified_plans = vec![shown];
            explain.plan = Arc::new(plan);
            Ok(LogicalPlan::Explain(explain))
        }
        LogicalPlan::Analyze(mut analyze) => {
            let plan = wrap(Arc::unwrap_or_clone(analyze.input), columns)?;
            analyze.input = Arc::new(plan);
            Ok(LogicalPlan::Analyze(analyze))
        }
        // PREPARE refuses to make a table, whatever it is partitioned by.
        plan => Ok(plan),
    }
}

impl UserDefinedLogicalNodeCore for PartitionedBy {
    fn name(&self) -> &'static str {
        "PartitionedBy"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![self.input().as_ref()]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input().schema()
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

#[cfg(test)]
mod tests {
    use super::super::testing::{check, check_error, plan, run, session};
    use super::*;

    const ROWS: [&str; 2] = ["Projection: t.id, t.name, t.day", "TableScan: t"];

    #[test]
    fn columns_are_named_before_the_query() {
        for (sql, columns) in [
            (
                "CREATE TABLE n PARTITIONED BY (Day) AS SELECT * FROM t",
                "day",
            ),
            (
                "create or replace table n partitioned by (day, \"name\") as select * from t",
                "day, name",
            ),
            (
                "CREATE TABLE IF NOT EXISTS n /* by day */ PARTITIONED BY (day) AS (SELECT * FROM t)",
                "day",
            ),
        ] {
            let plan = run(plan(sql)).unwrap();
            let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = plan else {
                panic!("{sql} creates a table");
            };
            let node = PartitionedBy::of(&create.input).unwrap();
            assert_eq!(node.columns().join(", "), columns, "{sql}");
            assert_eq!(node.schema().fields().len(), 3);
        }
    }

    #[test]
    fn tables_without_a_query_have_partitions() {
        check(
            "CREATE TABLE n (id BIGINT, day DATE) PARTITIONED BY (day)",
            &[
                "CreateMemoryTable: Bare { table: \"n\" }",
                "PartitionedBy: day",
                "EmptyRelation: rows=0",
            ],
        );
    }

    #[test]
    fn explain_shows_the_columns() {
        let sql = "EXPLAIN CREATE TABLE n PARTITIONED BY (day) AS SELECT * FROM t";
        let create = "CreateMemoryTable: Bare { table: \"n\" }";
        let mut expected = vec!["Explain", create, "PartitionedBy: day"];
        expected.extend(ROWS);
        check(sql, &expected);
    }

    #[test]
    fn wrong_columns_are_refused() {
        for (columns, expected) in [
            (
                "(month)",
                "names the column month, which the table has not; its columns are id, \
                 name, day",
            ),
            (
                "(\"Day\")",
                "which the table has not; its columns are id, name, day",
            ),
            ("(day, DAY)", "names the column day twice; name it once"),
            (
                "(day, name, id)",
                "so that none is left for the files; name fewer than day, name, id",
            ),
            (
                "(day DATE)",
                "takes names of the table's columns and no types or expressions, got DATE \
                 after day",
            ),
            (
                "(year(day))",
                "takes names of the table's columns and no types or expressions, got ( \
                 after year",
            ),
            (
                "(day) PARTITIONED BY (name)",
                "CREATE TABLE takes PARTITIONED BY once, got it twice",
            ),
        ] {
            let sql =
                format!("CREATE TABLE n PARTITIONED BY {columns} AS SELECT * FROM t");
            check_error(&sql, expected);
        }
    }

    #[test]
    fn the_clause_is_misplaced_or_misspelt() {
        check_error(
            "CREATE TABLE n AS SELECT * FROM t PARTITIONED BY (day)",
            "PARTITIONED BY stands before the AS of CREATE TABLE, got it after",
        );
        check_error(
            "CREATE TABLE n PARTITIONED BY () AS SELECT * FROM t",
            "Expected: the name of a column, found: ) at Line: 1, Column: 32\")",
        );
        check_error(
            "CREATE TABLE n (id BIGINT, day DATE) PARTITION BY (day)",
            "PARTITION BY (day) of table n is not supported; write PARTITIONED BY and names of columns",
        );
    }

    /// Whatever the rows are computed with, they are planned as without the clause.
    #[test]
    fn rows_stay_as_they_are() {
        let sql = "CREATE TABLE n PARTITIONED BY (day) AS \
                   SELECT day, image_info(arrow_cast(name, 'Binary')) AS info FROM t";
        run(async {
            let (session, _storage) = session().await;
            let plan = session.plan(sql).await.unwrap();
            let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = plan else {
                panic!("{sql} creates a table");
            };
            let state = session.context().state();
            let rows = state.create_physical_plan(&create.input).await.unwrap();
            let schema = rows.schema();
            let names: Vec<&str> = schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            assert_eq!(names, ["day", "info"]);
            session.rehearse(sql).await.unwrap();
        });
    }

    #[test]
    fn copy_keeps_its_clause() {
        check(
            "COPY t TO 'out/' STORED AS PARQUET PARTITIONED BY (day)",
            &[
                "CopyTo: format=parquet output_url=out/ options: ()",
                "TableScan: t",
            ],
        );
    }
}
