//! `nearest`: the nearest rows of each row of a table.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::pool;
use atoll_near::{Metric, Neighbour, Search, Vectors};
use atoll_udf_common::tables::state_of;
use atoll_udf_common::{CallContext, Erased, OptionStruct, RowsExec, pool_error};
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::TableType;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::Sender;

use crate::columns::{Columns, Given};
use crate::read::{Named, Rows};

pub(crate) const NAME: &str = "nearest";

const OPTIONS: [&str; 6] = ["id", "vector", "k", "metric", "max_distance", "queries"];

/// How many neighbours a row has, unless the options say so.
const K: usize = 10;

/// The table function `nearest(table [, options])`.
#[derive(Debug)]
pub(crate) struct Nearest;

/// What a statement asks for.
#[derive(Debug, Clone)]
struct Question {
    rows: Rows,
    /// The rows whose neighbours are looked for, if they are of another table.
    queries: Option<Rows>,
    k: usize,
    metric: Metric,
    within: f64,
}

/// Reads the metric, which must be one of some.
pub(crate) fn metric(options: &OptionStruct, valid: &[&str]) -> Result<Metric> {
    let Some(name) = options.text("metric")? else {
        return Ok(Metric::default());
    };
    match name.parse() {
        Ok(metric) if valid.contains(&name.as_str()) => Ok(metric),
        _ => {
            let valid: Vec<String> =
                valid.iter().map(|name| format!("'{name}'")).collect();
            options.refuse("metric", &valid.join(" or "), &name.into())
        }
    }
}

impl TableFunctionImpl for Nearest {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let given = Given::of(NAME, &args)?;
        let options = OptionStruct::of_call(NAME, given.options, &OPTIONS, "{k: 10}")?;
        let columns = Columns {
            function: NAME,
            table: &given.table,
            schema: &given.schema,
        };
        let id = columns.id(&options)?;
        let rows = Rows {
            function: NAME,
            value: columns.vector(&options)?,
            id_type: columns.id_type(id.as_ref()),
            id,
            table: given.table.clone(),
        };
        let queries = options.text("queries")?;
        let queries = queries.map(|table| Rows {
            table,
            ..rows.clone()
        });
        let id = |name| Field::new(name, rows.id_type.clone(), true);
        let schema = Schema::new(vec![
            id("id"),
            id("other_id"),
            Field::new("rank", DataType::Int64, false),
            Field::new("distance", DataType::Float64, false),
        ]);
        Ok(Arc::new(NearestTable {
            schema: Arc::new(schema),
            question: Question {
                k: options.size("k")?.unwrap_or(K),
                metric: metric(&options, &Metric::NAMES)?,
                within: options.number("max_distance")?.unwrap_or(f64::INFINITY),
                queries,
                rows,
            },
        }))
    }
}

#[derive(Debug)]
struct NearestTable {
    schema: SchemaRef,
    question: Question,
}

#[async_trait]
impl TableProvider for NearestTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let state = Erased::new(state_of(session, NAME)?.clone());
        let question = &self.question;
        let rows = question.rows.open(&state).await?;
        let queries = match &question.queries {
            Some(queries) => Some(queries.open(&state).await?),
            None => None,
        };
        let of = match &question.queries {
            Some(queries) => format!(", queries={}", queries.table),
            None => String::new(),
        };
        let description = format!(
            "table={}, vector={}{of}, k={}, metric={}",
            question.rows.table,
            question.rows.value,
            question.k,
            question.metric.name()
        );
        let search = Arc::new(Prepared {
            question: question.clone(),
            rows,
            queries,
            schema: self.schema(),
        });
        let start =
            move |context, sender| run(Arc::clone(&search), context, sender).boxed();
        RowsExec::new("NearestExec", description, self.schema(), Arc::new(start))
            .projected(projection)
    }
}

struct Prepared {
    question: Question,
    rows: Erased<DataFrame>,
    queries: Option<Erased<DataFrame>>,
    schema: SchemaRef,
}

/// Reads the vectors, and sends the neighbours of each in their order.
async fn run(
    prepared: Arc<Prepared>,
    context: Arc<TaskContext>,
    sender: Sender<Result<RecordBatch>>,
) -> Result<()> {
    let question = &prepared.question;
    let memory = MemoryConsumer::new("NearestExec").register(context.memory_pool());
    let Named { ids, values } = question.rows.vectors(&prepared.rows, &memory).await?;
    let mut queries = None;
    if let (Some(rows), Some(frame)) = (&question.queries, &prepared.queries) {
        queries = Some(rows.vectors(frame, &memory).await?);
    }
    let (from, searchers) = match queries {
        Some(queries) => (queries.ids, Some(queries.values)),
        None => (Arc::clone(&ids), None),
    };
    check_width(question, &values, searchers.as_ref())?;
    let context = CallContext::of(context.session_config());
    let _stop = context.token.clone().drop_guard();
    let progress = context.progress.rows(NAME);
    let search = Arc::new(Search::new(values, searchers, question.metric));
    let all = search.searchers();
    progress.add_total(all as u64);
    let piece = search.piece(pool::threads()).max(1);
    let pieces = (0..all).step_by(piece).map(|start| {
        let rows = start..(start + piece).min(all);
        let (search, token) = (Arc::clone(&search), context.token.clone());
        let (k, within) = (question.k, question.within);
        async move {
            let stop = token.clone();
            let work = {
                let rows = rows.clone();
                move || search.nearest(rows, k, within, &|| stop.is_cancelled())
            };
            let found = pool::run(&token, work).await.map_err(pool_error)?;
            Ok::<_, DataFusionError>((rows, found))
        }
    });
    let mut pieces = pin!(stream::iter(pieces).buffered(2 * pool::threads()));
    while let Some((rows, found)) = pieces.try_next().await? {
        let Some(found) = found else {
            return exec_err!("cancelled");
        };
        progress.advance(rows.len() as u64);
        let batch = batch(&prepared.schema, &from, &ids, rows, &found)?;
        if sender.send(Ok(batch)).await.is_err() {
            // Nobody wants the rest.
            break;
        }
    }
    Ok(())
}

/// Refuses vectors of two lengths.
fn check_width(
    question: &Question,
    vectors: &Vectors,
    searchers: Option<&Vectors>,
) -> Result<()> {
    let Some((queries, searchers)) = question.queries.as_ref().zip(searchers) else {
        return Ok(());
    };
    let either_is_empty = vectors.is_empty() || searchers.is_empty();
    if either_is_empty || vectors.width() == searchers.width() {
        return Ok(());
    }
    plan_err!(
        "{NAME}: the vectors of {} have {} numbers, those of {} have {}",
        question.rows.table,
        vectors.width(),
        queries.table,
        searchers.width()
    )
}

/// The neighbours of some rows.
fn batch(
    schema: &SchemaRef,
    from: &ArrayRef,
    ids: &ArrayRef,
    rows: Range<usize>,
    found: &[Vec<Neighbour>],
) -> Result<RecordBatch> {
    // As many as a table of vectors may have.
    let rows = rows.map(|row| row as u32).zip(found);
    let rows = rows.flat_map(|(row, found)| {
        let ranked = (1..).zip(found);
        ranked.map(move |(rank, other)| (row, rank, other))
    });
    let rows: Vec<(u32, i64, &Neighbour)> = rows.collect();
    let searchers = UInt32Array::from_iter_values(rows.iter().map(|row| row.0));
    let others = UInt32Array::from_iter_values(rows.iter().map(|row| row.2.row));
    let ranks = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let distances = Float64Array::from_iter_values(rows.iter().map(|row| row.2.distance));
    Ok(RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            take(from, &searchers, None)?,
            take(ids, &others, None)?,
            Arc::new(ranks),
            Arc::new(distances),
        ],
    )?)
}
