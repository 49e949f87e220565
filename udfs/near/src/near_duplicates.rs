//! `near_duplicates`: the rows of a table that are nearly the same, in groups.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::pool;
use atoll_near::{Groups, Hashes, Member, Metric, Pair, Search, Vectors};
use atoll_udf_common::tables::state_of;
use atoll_udf_common::{CallContext, Erased, OptionStruct, RowsExec, pool_error};
use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch, UInt32Array};
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
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;

use crate::columns::{Columns, Given};
use crate::nearest::metric;
use crate::read::{Named, Rows};

pub(crate) const NAME: &str = "near_duplicates";

const OPTIONS: [&str; 5] = ["id", "hash", "vector", "within", "metric"];

/// Hashes that differ in so many bits are of images that look alike.
const BITS: u32 = 4;

/// Images whose features have so small a distance are copies: of 201 photos behind
/// EfficientNet-Lite0 the two most alike are 0.5 apart, and a photo with itself as JPEG less
/// than 0.09.
const DISTANCE: f64 = 0.1;

/// Rows of one record batch.
const BATCH: usize = 8192;

/// The table function `near_duplicates(table [, options])`.
#[derive(Debug)]
pub(crate) struct NearDuplicates;

/// How rows are compared.
#[derive(Debug, Clone, Copy)]
enum Comparison {
    Hashes { within: u32 },
    Vectors { metric: Metric, within: f64 },
}

/// Reads the column that is compared, and how.
fn comparison(
    columns: &Columns<'_>,
    options: &OptionStruct,
) -> Result<(String, Comparison)> {
    let (hash, vector) = (options.text("hash")?, options.text("vector")?);
    if hash.is_some() && vector.is_some() {
        return plan_err!("{NAME}: name either {{hash: '...'}} or {{vector: '...'}}");
    }
    let usual = columns.usual(&["hash"]).filter(|_| vector.is_none());
    let hash = match hash {
        Some(name) => Some(columns.named("hash", name)?),
        None => usual,
    };
    let Some(hash) = hash else {
        let metric = metric(options, &["cosine", "l2"])?;
        let within = match options.number("within")? {
            Some(within) if within < 0.0 => {
                return options.refuse("within", "0 or more", &within.into());
            }
            Some(within) => within,
            None if metric == Metric::Cosine => DISTANCE,
            None => {
                return plan_err!(
                    "{NAME}: how far rows may be apart depends on the vectors; say it: \
                     {{within: ...}}"
                );
            }
        };
        let vector = columns.vector(options)?;
        return Ok((vector, Comparison::Vectors { metric, within }));
    };
    columns.of_kind("hash", &hash, "whole numbers", DataType::is_integer)?;
    if options.text("metric")?.is_some() {
        return plan_err!("{NAME}: hashes have no metric; leave {{metric: ...}} out");
    }
    let within = options.between("within", 0..=64)?;
    // In range.
    let within = within.map_or(BITS, |within| within as u32);
    Ok((hash, Comparison::Hashes { within }))
}

impl TableFunctionImpl for NearDuplicates {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let given = Given::of(NAME, &args)?;
        let options =
            OptionStruct::of_call(NAME, given.options, &OPTIONS, "{hash: 'hash'}")?;
        let columns = Columns {
            function: NAME,
            table: &given.table,
            schema: &given.schema,
        };
        let id = columns.id(&options)?;
        let (value, comparison) = comparison(&columns, &options)?;
        let id_type = columns.id_type(id.as_ref());
        let schema = Schema::new(vec![
            Field::new("group_id", DataType::Int64, false),
            Field::new("id", id_type.clone(), true),
            Field::new("distance", DataType::Float64, false),
        ]);
        Ok(Arc::new(GroupTable {
            schema: Arc::new(schema),
            comparison,
            rows: Rows {
                function: NAME,
                table: given.table,
                id,
                id_type,
                value,
            },
        }))
    }
}

#[derive(Debug)]
struct GroupTable {
    schema: SchemaRef,
    rows: Rows,
    comparison: Comparison,
}

#[async_trait]
impl TableProvider for GroupTable {
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
        let prepared = Arc::new(Prepared {
            frame: self.rows.open(&state).await?,
            rows: self.rows.clone(),
            comparison: self.comparison,
            schema: self.schema(),
        });
        let how = match self.comparison {
            Comparison::Hashes { within } => {
                format!("hash={}, within={within}", self.rows.value)
            }
            Comparison::Vectors { metric, within } => format!(
                "vector={}, metric={}, within={within}",
                self.rows.value,
                metric.name()
            ),
        };
        let description = format!("table={}, {how}", self.rows.table);
        let start =
            move |context, sender| run(Arc::clone(&prepared), context, sender).boxed();
        let name = "NearDuplicatesExec";
        RowsExec::new(name, description, self.schema(), Arc::new(start))
            .projected(projection)
    }
}

struct Prepared {
    rows: Rows,
    frame: Erased<DataFrame>,
    comparison: Comparison,
    schema: SchemaRef,
}

/// Reads what is compared, and sends the groups.
async fn run(
    prepared: Arc<Prepared>,
    context: Arc<TaskContext>,
    sender: Sender<Result<RecordBatch>>,
) -> Result<()> {
    let memory =
        MemoryConsumer::new("NearDuplicatesExec").register(context.memory_pool());
    let context = CallContext::of(context.session_config());
    let _stop = context.token.clone().drop_guard();
    let (rows, frame) = (&prepared.rows, &prepared.frame);
    let (ids, groups) = match prepared.comparison {
        Comparison::Hashes { within } => {
            let Named { ids, values } = rows.hashes(frame).await?;
            let work = move || of_hashes(&values, within);
            let groups = pool::run(&context.token, work).await;
            (ids, groups.map_err(pool_error)?)
        }
        Comparison::Vectors { metric, within } => {
            let Named { ids, values } = rows.vectors(frame, &memory).await?;
            (ids, of_vectors(values, metric, within, &context).await?)
        }
    };
    let members = groups.members();
    let mut number = 0;
    let mut last = None;
    for members in members.chunks(BATCH) {
        let numbers = members.iter().map(|member| {
            number += i64::from(last != Some(member.first));
            last = Some(member.first);
            number
        });
        let numbers = Int64Array::from_iter_values(numbers);
        let at = |of: fn(&Member) -> u32| {
            UInt32Array::from_iter_values(members.iter().map(of))
        };
        let distances = members.iter().map(|member| member.distance);
        let batch = RecordBatch::try_new(
            Arc::clone(&prepared.schema),
            vec![
                Arc::new(numbers),
                take(&ids, &at(|member| member.row), None)?,
                Arc::new(Float64Array::from_iter_values(distances)),
            ],
        )?;
        if sender.send(Ok(batch)).await.is_err() {
            // Nobody wants the rest.
            break;
        }
    }
    Ok(())
}

/// Joins rows whose hashes differ in few bits.
fn of_hashes(hashes: &[u64], within: u32) -> Groups {
    let mut groups = Groups::new(hashes.len());
    // Equal ones are found by themselves: there may be many.
    let mut firsts: HashMap<u64, u32> = HashMap::new();
    let (mut near, mut rows) = (Hashes::new(within), vec![]);
    for (row, hash) in (0..).zip(hashes) {
        if let Some(first) = firsts.get(hash) {
            groups.join(*first, row, 0.0);
            continue;
        }
        for (number, distance) in near.find(*hash) {
            groups.join(rows[number as usize], row, f64::from(distance));
        }
        firsts.insert(*hash, row);
        near.add(*hash);
        rows.push(row);
    }
    groups
}

/// Joins rows whose vectors are near each other, on all threads. In which order they are
/// joined makes no difference.
async fn of_vectors(
    vectors: Vectors,
    metric: Metric,
    within: f64,
    context: &CallContext,
) -> Result<Groups> {
    let all = vectors.len();
    let progress = context.progress.rows(NAME);
    progress.add_total(all as u64);
    let groups = Arc::new(Mutex::new(Groups::new(all)));
    let search = Arc::new(Search::new(vectors, None, metric));
    let piece = search.piece(pool::threads()).max(1);
    let pieces = (0..all).step_by(piece).map(|start| {
        let rows = start..(start + piece).min(all);
        let (search, groups) = (Arc::clone(&search), Arc::clone(&groups));
        let token = context.token.clone();
        async move {
            let stop = token.clone();
            let count = rows.len();
            let work = move || {
                let mut join = |pairs: &[Pair]| {
                    let mut groups = groups.lock();
                    for (row, other) in pairs {
                        groups.join(*row, other.row, other.distance);
                    }
                };
                search.pairs(rows, within, &mut join, &|| stop.is_cancelled())
            };
            let done = pool::run(&token, work).await.map_err(pool_error)?;
            Ok::<_, DataFusionError>(done.map(|()| count))
        }
    });
    let mut pieces = pin!(stream::iter(pieces).buffer_unordered(2 * pool::threads()));
    while let Some(done) = pieces.try_next().await? {
        match done {
            Some(count) => progress.advance(count as u64),
            None => return exec_err!("cancelled"),
        }
    }
    // Threads may still hold it, though none changes it any more.
    let groups = std::mem::replace(&mut *groups.lock(), Groups::new(0));
    Ok(groups)
}
