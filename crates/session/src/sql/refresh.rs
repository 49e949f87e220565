//! REFRESH TABLE: the query of a table again, over the files that are new or changed.
//!
//! A table that was made by `CREATE TABLE .. AS SELECT filename, size, last_modified, ..
//! FROM read_blob(..)` has one row for each file, and what is in the row follows from the
//! file alone. So the query need only be asked of files that the table does not have as they
//! are now. Its rows, and a mark for each row whose file is gone, are the source of a MERGE,
//! which is one commit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use atoll_udf_common::as_expensive;
use atoll_udf_common::outcome::MAY_PASS;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    DdlStatement, Expr as PlannedExpr, LogicalPlan, Volatility,
};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement as SqlStatement, TableAlias, TableFactor, VisitMut, VisitorMut,
};

use super::parse::{Parsed, parse};
use super::{normalized, plan, statement_to_plan, visit};
use crate::reads::ReadFilesNode;

/// The columns of `read_blob` by which a file is known again. The first is its name.
const KNOWN_BY: [&str; 3] = ["filename", "size", "last_modified"];

/// Names in the MERGE that something else takes the place of.
const QUERY: &str = "__atoll_query";
const LISTING: &str = "__atoll_listing";
const FILES: &str = "__atoll_files";

/// Functions whose result depends on more than their row.
const OF_TABLES: [&str; 5] = ["train", "evaluate", "explain", "tune", "test_sleep"];

/// The query that a table is made of.
#[derive(Debug)]
pub(crate) struct TableQuery {
    query: Box<Query>,
}

impl TableQuery {
    /// Reads it from the text of CREATE TABLE.
    pub(crate) fn parse(state: &SessionState, create: &str) -> Result<Self> {
        if let Parsed::Statement(statement, _) = parse(state, create)?
            && let Statement::Statement(statement) = *statement
            && let SqlStatement::CreateTable(create) = *statement
            && let Some(query) = create.query
        {
            return Ok(Self { query });
        }
        plan_err!(
            "REFRESH TABLE is for tables that were made by CREATE TABLE .. AS SELECT ..; \
             this one was made by {create}"
        )
    }

    /// The query as a text that does not depend on how it is laid out.
    pub(crate) fn text(&self) -> String {
        self.query.to_string()
    }

    /// Plans CREATE TABLE, whose query is refused unless each row follows from one file.
    pub(crate) async fn plan(state: &SessionState, create: &str) -> Result<LogicalPlan> {
        let mut query = Self::parse(state, create)?.query;
        innermost(&mut query)?;
        let planned = Box::pin(plan(state.clone(), create)).await?;
        if let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = &planned {
            check(&create.input)?;
            return Ok(planned);
        }
        internal_err!("CREATE TABLE is planned as something else")
    }

    /// The MERGE that brings a table up to date, whose columns have these types. With
    /// `everything`, files are taken up that did not change, too.
    pub(crate) async fn merge(
        self,
        state: &SessionState,
        table: &str,
        columns: &Schema,
        everything: bool,
    ) -> Result<LogicalPlan> {
        let table = Ident::with_quote('"', table);
        let mut query = self.query;
        let select = innermost(&mut query)?;
        let Some(from) = select.from.first_mut() else {
            return internal_err!("a SELECT lost its FROM");
        };
        let files = from.relation.clone();
        let condition = select.selection.clone();
        let mut listing = query_of(state, &format!("SELECT filename FROM {FILES}"))?;
        let mut place = Places::default().with(FILES, files.clone());
        place.fill(&mut listing)?;
        if let SetExpr::Select(listed) = listing.body.as_mut() {
            listed.selection.clone_from(&condition);
        }
        if !everything {
            let of_files = new_files(state, &table, columns, files, condition)?;
            from.relation = of_files;
        }
        let names = columns.fields().iter();
        let names: Vec<_> = names
            .map(|field| Ident::with_quote('"', field.name()).to_string())
            .collect();
        let merge = merge_text(&table, &names);
        let Parsed::Statement(mut statement, _) = parse(state, &merge)? else {
            return internal_err!("MERGE is read as something else");
        };
        let mut places = Places::default()
            .with(QUERY, derived(query))
            .with(LISTING, derived(listing));
        visit(&mut statement, &mut places)?;
        statement_to_plan(state.clone(), *statement).await
    }
}

/// The statement, with names in the place of the table's query and of the list of files.
fn merge_text(table: &Ident, names: &[String]) -> String {
    let list = names.join(", ");
    let of_new = |name: &String| format!("new.{name}");
    let values: Vec<_> = names.iter().map(of_new).collect();
    let sets: Vec<_> = names
        .iter()
        .map(|name| format!("{name} = new.{name}"))
        .collect();
    format!(
        "MERGE INTO {table} AS old USING (\
             SELECT {list}, false AS __atoll_gone FROM {QUERY} AS q({list}) \
             UNION ALL \
             SELECT {list}, true AS __atoll_gone FROM {table} AS k \
                 LEFT ANTI JOIN {LISTING} AS l ON k.filename = l.filename\
         ) AS new ON old.filename = new.filename \
         WHEN MATCHED AND new.__atoll_gone THEN DELETE \
         WHEN MATCHED THEN UPDATE SET {} \
         WHEN NOT MATCHED THEN INSERT ({list}) VALUES ({})",
        sets.join(", "),
        values.join(", ")
    )
}

/// `read_blob` of the files that the table does not have as they are.
fn new_files(
    state: &SessionState,
    table: &Ident,
    columns: &Schema,
    files: TableFactor,
    condition: Option<Expr>,
) -> Result<TableFactor> {
    let alias = alias_of(&files).cloned();
    let name = alias.as_ref().map(|alias| alias.name.clone());
    let name = name.unwrap_or(Ident::new("read_blob"));
    let passes = may_pass(columns);
    // Of which the list does not say the size or the time, such as a URL, is not taken to
    // have changed.
    let sql = format!(
        "SELECT 1 FROM read_blob((\
             SELECT {name}.filename, {name}.size, {name}.last_modified \
             FROM {FILES} AS {name} LEFT ANTI JOIN {table} AS __atoll_known \
             ON {name}.filename = __atoll_known.filename \
             AND ({name}.size IS NULL OR {name}.size = __atoll_known.size) \
             AND ({name}.last_modified IS NULL \
                 OR {name}.last_modified = __atoll_known.last_modified) \
             {passes}))"
    );
    let mut query = query_of(state, &sql)?;
    let mut places = Places::default().with(FILES, files);
    places.condition = condition;
    places.fill(&mut query)?;
    let SetExpr::Select(mut select) = *query.body else {
        return internal_err!("SELECT is read as something else");
    };
    let Some(from) = select.from.pop() else {
        return internal_err!("a SELECT lost its FROM");
    };
    Ok(with_alias(from.relation, alias))
}

/// The condition that a known row did not fail for a reason that may have passed.
fn may_pass(columns: &Schema) -> String {
    let codes = MAY_PASS.map(|code| format!("'{code}'")).join(", ");
    let is_text = |data_type: &DataType| data_type.is_string();
    let fields = columns.fields().iter();
    let found = fields.filter_map(|field| {
        let name = Ident::with_quote('"', field.name());
        match field.data_type() {
            data_type if is_text(data_type) && field.name() == "error_code" => {
                Some(format!("__atoll_known.{name}"))
            }
            DataType::Struct(parts) => parts
                .iter()
                .any(|part| part.name() == "error_code" && is_text(part.data_type()))
                .then(|| format!("__atoll_known.{name}['error_code']")),
            _ => None,
        }
    });
    let conditions =
        found.map(|code| format!("AND NOT coalesce({code} IN ({codes}), false)"));
    conditions.collect::<Vec<_>>().join(" ")
}

/// What takes the place of tables with certain names.
#[derive(Default)]
struct Places {
    tables: BTreeMap<&'static str, TableFactor>,
    /// A condition for the SELECT that reads [`FILES`].
    condition: Option<Expr>,
}

impl Places {
    fn with(mut self, name: &'static str, table: TableFactor) -> Self {
        self.tables.insert(name, table);
        self
    }

    fn fill(&mut self, query: &mut Query) -> Result<()> {
        match query.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

impl VisitorMut for Places {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let reads_files = select.from.first().is_some_and(|from| {
            matches!(&from.relation, TableFactor::Table { name, .. } if is_called(name, FILES))
        });
        if reads_files && let Some(condition) = self.condition.take() {
            select.selection = Some(condition);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(
        &mut self,
        table: &mut TableFactor,
    ) -> ControlFlow<DataFusionError> {
        if let TableFactor::Table { name, alias, .. } = table {
            let found = self.tables.iter().find(|(known, _)| is_called(name, known));
            if let Some((_, other)) = found {
                let alias = alias.take();
                *table = with_alias(other.clone(), alias);
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_called(name: &ObjectName, wanted: &str) -> bool {
    match &name.0[..] {
        [part] => part
            .as_ident()
            .is_some_and(|part| normalized(part) == wanted),
        _ => false,
    }
}

fn alias_of(table: &TableFactor) -> Option<&TableAlias> {
    match table {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => {
            alias.as_ref()
        }
        _ => None,
    }
}

/// A table under an alias, or as it is called if there is none.
fn with_alias(mut table: TableFactor, other: Option<TableAlias>) -> TableFactor {
    if let TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } =
        &mut table
        && other.is_some()
    {
        *alias = other;
    }
    table
}

fn derived(query: Box<Query>) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: None,
        sample: None,
    }
}

/// Parses a query of our own.
fn query_of(state: &SessionState, sql: &str) -> Result<Box<Query>> {
    if let Parsed::Statement(statement, _) = parse(state, sql)?
        && let Statement::Statement(statement) = *statement
        && let SqlStatement::Query(query) = *statement
    {
        return Ok(query);
    }
    internal_err!("a query is read as something else: {sql}")
}

/// The SELECT that reads `read_blob`, behind the subqueries around it, if the query is such
/// that each of its rows is about one file.
fn innermost(query: &mut Query) -> Result<&mut Select> {
    innermost_among(query, vec![])
}

fn innermost_among<'a>(
    query: &'a mut Query,
    mut known: Vec<&'a mut Cte>,
) -> Result<&'a mut Select> {
    if let Some(with) = &mut query.with {
        known.extend(&mut with.cte_tables);
    }
    let select = match query.body.as_mut() {
        SetExpr::Select(select) => select.as_mut(),
        SetExpr::Query(query) => return innermost_among(query, known),
        other => return refuse(&format!("is not one SELECT but {other}")),
    };
    let [from] = &select.from[..] else {
        return refuse("reads not one table, but several or none");
    };
    if !from.joins.is_empty() {
        return refuse(&format!("reads a join: {from}"));
    }
    for name in KNOWN_BY {
        if !passes(select, name) {
            return refuse(&format!(
                "does not give read_blob's column {name} as it is; files are known again by \
                 filename, size and last_modified, so select all three"
            ));
        }
    }
    match &from.relation {
        TableFactor::Table {
            name,
            args: Some(_),
            ..
        } if is_called(name, "read_blob") => {
            if let Some(condition) = &mut select.selection {
                check_condition(condition)?;
            }
            return Ok(select);
        }
        _ => {}
    }
    if let Some(condition) = &select.selection {
        return refuse(&format!(
            "has WHERE {condition} around a subquery; write the condition beside FROM \
             read_blob(..)"
        ));
    }
    let Some(from) = select.from.first_mut() else {
        return internal_err!("a SELECT lost its FROM");
    };
    match &mut from.relation {
        TableFactor::Derived { subquery, .. } => innermost_among(subquery, known),
        TableFactor::Table {
            name, args: None, ..
        } => {
            let place = known
                .iter()
                .position(|cte| is_called(name, &normalized(&cte.alias.name)));
            match place {
                Some(place) => {
                    let cte = known.swap_remove(place);
                    innermost_among(&mut cte.query, known)
                }
                None => refuse(&format!("reads {name} and not read_blob(..)")),
            }
        }
        other => refuse(&format!("reads {other} and not read_blob(..)")),
    }
}

fn refuse<T>(why: &str) -> Result<T> {
    plan_err!(
        "REFRESH TABLE is for a query that gives a row for each file of read_blob(..), and \
         this one {why}"
    )
}

/// Whether a SELECT gives a column of its FROM as it is.
fn passes(select: &Select, wanted: &str) -> bool {
    let mut given = vec![];
    for item in &select.projection {
        given.push(match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => normalized(name) == wanted,
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                parts.last().is_some_and(|name| normalized(name) == wanted)
            }
            SelectItem::ExprWithAlias { expr, alias } if normalized(alias) == wanted => {
                match expr {
                    Expr::Identifier(name) => normalized(name) == wanted,
                    // Something else that only has the name.
                    _ => return false,
                }
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
            _ => false,
        });
    }
    given.contains(&true)
}

/// A condition is decided before a file is read, again each time.
fn check_condition(condition: &mut Expr) -> Result<()> {
    struct Names(Option<String>);
    impl VisitorMut for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let name = match expr {
                Expr::Identifier(name) => Some(&*name),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            if let Some(name) = name.map(normalized)
                && !KNOWN_BY.contains(&name.as_str())
            {
                self.0 = Some(name);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }
    let shown = condition.to_string();
    let mut names = Names(None);
    let _ = condition.visit(&mut names);
    match names.0 {
        Some(name) => refuse(&format!(
            "has WHERE {shown}, which asks for {name}; a file is chosen by filename, size \
             and last_modified, and what follows from its content is a column"
        )),
        None => Ok(()),
    }
}

/// Checks that each row of a query follows from its file alone.
fn check(query: &LogicalPlan) -> Result<()> {
    query.apply(|node| {
        match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_) => {}
            // The list of files is made anew each time, whatever it is made of.
            LogicalPlan::TableScan(_) => return Ok(TreeNodeRecursion::Jump),
            LogicalPlan::Extension(node) if node.node.as_any().is::<ReadFilesNode>() => {
                return Ok(TreeNodeRecursion::Jump);
            }
            other => {
                return refuse(&format!(
                    "has rows that depend on others: {}",
                    other.display()
                ));
            }
        }
        node.apply_expressions(|expr| {
            if let Some(what) = depends_on_more(expr)? {
                return refuse(&format!(
                    "calls {what}, whose result may be another when \
                     the file is the same"
                ));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// What in an expression depends on more than the row, or changes from time to time.
fn depends_on_more(expr: &PlannedExpr) -> Result<Option<String>> {
    let mut found = None;
    expr.apply(|expr| {
        match expr {
            PlannedExpr::ScalarFunction(function) => {
                let name = function.func.name();
                let is_volatile = as_expensive(&function.func).is_none()
                    && function.func.signature().volatility == Volatility::Volatile;
                if is_volatile || OF_TABLES.contains(&name) {
                    found = Some(name.to_string());
                }
            }
            PlannedExpr::ScalarSubquery(_)
            | PlannedExpr::InSubquery(_)
            | PlannedExpr::Exists(_)
            | PlannedExpr::SetComparison(_) => found = Some("a subquery".to_string()),
            _ => {}
        }
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}
