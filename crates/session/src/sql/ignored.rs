//! Refuses what the parser reads and the planner would leave out without a word.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, GroupByExpr, Join, JoinConstraint, JoinOperator,
    LimitClause, OrderByKind, Query, Select, SetExpr, TableFactor, TableWithJoins, Value,
    VisitorMut,
};

use super::{normalized, visit};

/// Finds what would be left out; FETCH becomes the LIMIT that the planner knows.
pub(super) fn refuse(statement: &mut Statement, state: &SessionState) -> Result<()> {
    visit(statement, &mut Ignored { state })
}

struct Ignored<'a> {
    state: &'a SessionState,
}

/// What is there, what it is called, and what to write instead.
type Clause = (bool, &'static str, &'static str);

fn first(clauses: &[Clause]) -> ControlFlow<DataFusionError> {
    match clauses.iter().find(|(is_there, ..)| *is_there) {
        Some((_, name, instead)) => {
            ControlFlow::Break(plan_datafusion_err!("{name} is not supported; {instead}"))
        }
        None => ControlFlow::Continue(()),
    }
}

impl VisitorMut for Ignored<'_> {
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        match expr {
            Expr::Function(call) => self.clauses_of_aggregates(call),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        let order_by = query.order_by.as_ref().map(|order_by| &order_by.kind);
        let is_select = matches!(query.body.as_ref(), SetExpr::Select(_));
        first(&[
            (
                !query.locks.is_empty(),
                "FOR UPDATE",
                "leave it out: a statement reads tables as they are when it starts",
            ),
            (
                query.for_clause.is_some(),
                "FOR XML or FOR JSON",
                "choose how rows are written with --format",
            ),
            (
                query.settings.is_some(),
                "SETTINGS",
                "write SET name = value; before the statement",
            ),
            (
                query.format_clause.is_some(),
                "FORMAT",
                "choose how rows are written with --format, or write COPY .. STORED AS",
            ),
            (
                !is_select && matches!(order_by, Some(OrderByKind::All(_))),
                "ORDER BY ALL after UNION, EXCEPT, INTERSECT or VALUES",
                "name the columns",
            ),
        ])?;
        fetch(query)
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let modifiers = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => {
                modifiers
            }
        };
        first(&[
            (
                select.top.is_some(),
                "TOP",
                "write LIMIT at the end of the query",
            ),
            (
                select.select_modifiers.is_some(),
                "a word of MySQL after SELECT",
                "leave it out",
            ),
            (
                select.exclude.is_some(),
                "EXCLUDE after other columns",
                "write it after the star, as in * EXCLUDE (a, b)",
            ),
            (select.prewhere.is_some(), "PREWHERE", "write WHERE"),
            (
                !select.connect_by.is_empty(),
                "CONNECT BY",
                "write WITH RECURSIVE",
            ),
            (
                !modifiers.is_empty(),
                "WITH after GROUP BY",
                "write GROUP BY ROLLUP (a, b) or GROUP BY CUBE (a, b)",
            ),
            (
                !select.cluster_by.is_empty(),
                "CLUSTER BY",
                "write ORDER BY",
            ),
            (
                !select.distribute_by.is_empty(),
                "DISTRIBUTE BY",
                "leave it out, or write COPY .. PARTITIONED BY",
            ),
            (!select.sort_by.is_empty(), "SORT BY", "write ORDER BY"),
            (
                !select.lateral_views.is_empty(),
                "LATERAL VIEW",
                "write FROM t, unnest(t.list) AS element",
            ),
            (
                select.value_table_mode.is_some(),
                "SELECT AS STRUCT or AS VALUE",
                "write SELECT named_struct('a', a)",
            ),
        ])?;
        select.from.iter().try_for_each(joins)
    }

    fn pre_visit_table_factor(
        &mut self,
        table: &mut TableFactor,
    ) -> ControlFlow<DataFusionError> {
        const WITHOUT: &str = "leave it out";
        match table {
            TableFactor::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample: _,
                index_hints,
            } => first(&[
                (!with_hints.is_empty(), "WITH after a table", WITHOUT),
                (
                    version.is_some(),
                    "AT, BEFORE or CHANGES after a table",
                    "write VERSION AS OF 3, or TIMESTAMP AS OF '2026-11-30 01:00:00'",
                ),
                (
                    *with_ordinality,
                    "WITH ORDINALITY",
                    "number the rows with row_number() OVER ()",
                ),
                (
                    !partitions.is_empty(),
                    "PARTITION after a table",
                    "write WHERE with the column that the table is partitioned by",
                ),
                (
                    json_path.is_some(),
                    "a path after a table",
                    "write unnest(t.list) AS element",
                ),
                (!index_hints.is_empty(), "an index hint", WITHOUT),
                (
                    args.as_ref().is_some_and(|args| args.settings.is_some()),
                    "SETTINGS",
                    "write SET name = value; before the statement",
                ),
                (
                    alias.as_ref().is_some_and(|alias| alias.at.is_some()),
                    "AT after a table's name",
                    "number the rows with row_number() OVER ()",
                ),
            ]),
            TableFactor::Function {
                with_ordinality, ..
            } => first(&[(
                *with_ordinality,
                "WITH ORDINALITY",
                "number the rows with row_number() OVER ()",
            )]),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Ignored<'_> {
    /// `upper(DISTINCT x)`, which is `upper(x)` to the planner.
    fn clauses_of_aggregates(&self, call: &Function) -> ControlFlow<DataFusionError> {
        let [name] = call.name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let name = name.as_ident().map(normalized).unwrap_or_default();
        let is_scalar = self.state.scalar_functions().contains_key(&name)
            && !self.state.aggregate_functions().contains_key(&name)
            && !self.state.window_functions().contains_key(&name);
        let has_clauses = match &call.args {
            FunctionArguments::List(list) => {
                list.duplicate_treatment.is_some() || !list.clauses.is_empty()
            }
            _ => false,
        };
        let is_aggregate = has_clauses
            || call.filter.is_some()
            || call.null_treatment.is_some()
            || call.over.is_some()
            || !call.within_group.is_empty();
        if is_scalar && is_aggregate {
            return ControlFlow::Break(plan_datafusion_err!(
                "{name} gives a value for each row and takes no DISTINCT, ORDER BY, \
                 FILTER or OVER, which are for aggregates"
            ));
        }
        ControlFlow::Continue(())
    }
}

/// `FETCH FIRST 5 ROWS ONLY` is `LIMIT 5`.
fn fetch(query: &mut Query) -> ControlFlow<DataFusionError> {
    let Some(fetch) = query.fetch.take() else {
        return ControlFlow::Continue(());
    };
    let (offset, is_limited) = match query.limit_clause.take() {
        Some(LimitClause::LimitOffset {
            limit: None,
            offset,
            limit_by,
        }) if limit_by.is_empty() => (offset, false),
        None => (None, false),
        Some(_) => (None, true),
    };
    first(&[
        (
            fetch.with_ties,
            "FETCH .. WITH TIES",
            "write QUALIFY rank() OVER (ORDER BY a) <= 5",
        ),
        (
            fetch.percent,
            "FETCH .. PERCENT",
            "write QUALIFY percent_rank() OVER (ORDER BY a) <= 0.1",
        ),
        (is_limited, "FETCH beside LIMIT", "write one of them"),
    ])?;
    let one = || Expr::Value(Value::Number("1".to_string(), false).into());
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(fetch.quantity.unwrap_or_else(one)),
        offset,
        limit_by: vec![],
    });
    ControlFlow::Continue(())
}

fn joins(table: &TableWithJoins) -> ControlFlow<DataFusionError> {
    if let TableFactor::NestedJoin {
        table_with_joins, ..
    } = &table.relation
    {
        joins(table_with_joins)?;
    }
    for Join {
        relation,
        global,
        join_operator,
    } in &table.joins
    {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = relation
        {
            joins(table_with_joins)?;
        }
        let constraint = match join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => Some(constraint),
            _ => None,
        };
        let is_lateral = matches!(
            relation,
            TableFactor::UNNEST { .. } | TableFactor::Derived { lateral: true, .. }
        );
        first(&[
            (*global, "GLOBAL before JOIN", "leave it out"),
            (
                !is_lateral && constraint.is_some_and(|c| *c == JoinConstraint::None),
                "JOIN without ON or USING",
                "write CROSS JOIN for every row with every row",
            ),
        ])?;
    }
    ControlFlow::Continue(())
}
