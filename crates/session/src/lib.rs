//! Builds the SQL session that every entry point shares.
//!
//! The prompt, a job and the tests all get their functions, options and rules from
//! [`Session::new`], so that a statement means the same everywhere. A statement runs
//! while its stream is polled and stops when the stream is dropped.
//!
//! Nothing here prints, and nothing here knows how a function works.

mod cluster;
mod copy;
mod expensive;
mod files;
mod functions;
mod parquet_files;
mod tables;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use atoll_compute::pool;
use atoll_udf_common::{AtollOptions, Location, Stores};
use datafusion::catalog::{CatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::{
    Result, exec_datafusion_err, internal_datafusion_err, internal_err, plan_err,
};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{
    FunctionRegistry, SendableRecordBatchStream, SessionState, SessionStateBuilder,
};
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::cluster::DealExpensiveCalls;
use crate::expensive::{AtollQueryPlanner, ExtractExpensiveCalls};
use crate::tables::StoredTables;

pub use cluster::{Job, Task, TaskOutput, TaskRunner, TaskRuntime};
pub use functions::{FunctionDoc, FunctionKind, function_docs};

/// The version of Atoll.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many of the largest memory consumers an out-of-memory error names.
const CONSUMERS_NAMED: usize = 3;

/// What a session may use.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Folder or URL that keeps snapshots, trials, models and tables; by default
    /// `atoll/storage` in the user's data folder.
    pub storage: Option<String>,
    /// How many bytes operators may hold before they spill to disk or fail.
    pub memory_limit: Option<usize>,
    /// How many trials, images and partitions run at once; by default one a core.
    pub threads: Option<NonZeroUsize>,
    /// Who runs expensive calls, if not this process.
    pub cluster: Option<Arc<dyn TaskRunner>>,
}

/// A SQL session with all of Atoll's functions.
pub struct Session {
    context: SessionContext,
    /// The default catalog itself, not the view of it that also finds files.
    catalog: Arc<dyn CatalogProvider>,
    tables: RwLock<Option<Arc<StoredTables>>>,
}

impl Session {
    /// Opens a session; tables that earlier sessions stored are there at once.
    pub async fn new(options: SessionOptions) -> Result<Self> {
        let storage = match &options.storage {
            // Absolute from the start, so that it means the same after a `cd`.
            Some(storage) => Location::parse(storage)?.to_string(),
            None => default_storage()?.to_string_lossy().into_owned(),
        };
        let state = session_state(&options, storage)?;
        let context = SessionContext::new_with_state(state);
        for (name, function, _) in functions::table_functions() {
            context.register_udtf(&name, function);
        }
        let Some(catalog) = context.catalog(tables::CATALOG) else {
            return internal_err!("the catalog {} is missing", tables::CATALOG);
        };
        let context = files::with_files_as_tables(context);
        let session = Self {
            context,
            catalog,
            tables: RwLock::default(),
        };
        session.open_storage().await?;
        Ok(session)
    }

    /// DataFusion's own session, for looking things up.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Where snapshots, trials, models and tables are kept.
    pub fn storage(&self) -> String {
        AtollOptions::get(self.context.state().config().options()).storage
    }

    /// Runs one SQL statement.
    ///
    /// Rows come as a stream. Statements that change the session or write files do so
    /// before this returns, and give a stream of what they report: COPY and INSERT one
    /// row with the column `count`, DDL and SET no rows.
    pub async fn execute(&self, sql: &str) -> Result<SendableRecordBatchStream> {
        let state = self.context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(sql, &dialect)?;
        let plan = match functions::show_functions(&statement) {
            Some(sql) => state.create_logical_plan(&sql).await?,
            None => state.statement_to_plan(statement).await?,
        };
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                self.stored_tables()?.create(&self.context, create).await?;
                self.nothing().await
            }
            LogicalPlan::Ddl(DdlStatement::DropTable(drop)) => {
                self.stored_tables()?
                    .drop_table(&self.context, drop)
                    .await?;
                self.nothing().await
            }
            LogicalPlan::Copy(copy) => copy::execute(&self.context, copy).await,
            LogicalPlan::Statement(Statement::TransactionStart(_))
            | LogicalPlan::Statement(Statement::TransactionEnd(_)) => {
                plan_err!(
                    "transactions are not supported; every statement commits by itself"
                )
            }
            plan => {
                let sets_storage = changes_storage(&plan);
                let frame = self.context.execute_logical_plan(plan).await?;
                if sets_storage {
                    self.open_storage().await?;
                }
                frame.execute_stream().await
            }
        }
    }

    async fn nothing(&self) -> Result<SendableRecordBatchStream> {
        self.context
            .read_empty()?
            .limit(0, Some(0))?
            .execute_stream()
            .await
    }

    /// Makes the tables of the storage visible under the default schema.
    async fn open_storage(&self) -> Result<()> {
        let root = Location::parse(&self.storage())?;
        let memory = match self.stored_tables() {
            Ok(tables) => tables.memory(),
            Err(_) => Arc::new(MemorySchemaProvider::new()),
        };
        let tables = Arc::new(StoredTables::open(&self.context, memory, &root).await?);
        self.catalog.register_schema(
            tables::SCHEMA,
            Arc::clone(&tables) as Arc<dyn SchemaProvider>,
        )?;
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Some(tables);
        Ok(())
    }

    fn stored_tables(&self) -> Result<Arc<StoredTables>> {
        let tables = self
            .tables
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        tables.ok_or_else(|| internal_datafusion_err!("the storage is not open"))
    }
}

/// What a session plans and runs with, all functions included.
pub(crate) fn session_state(
    options: &SessionOptions,
    storage: String,
) -> Result<SessionState> {
    if let Some(threads) = options.threads {
        pool::configure(threads);
    }
    let mut runtime =
        RuntimeEnvBuilder::new().with_object_store_registry(Stores::shared());
    if let Some(limit) = options.memory_limit {
        let top = NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(NonZeroUsize::MIN);
        let pool = TrackConsumersPool::new(FairSpillPool::new(limit), top);
        runtime = runtime.with_memory_pool(Arc::new(pool));
    }
    let mut builder = SessionStateBuilder::new()
        .with_config(config(storage))
        .with_runtime_env(Arc::new(runtime.build()?))
        .with_default_features()
        .with_query_planner(Arc::new(AtollQueryPlanner))
        .with_analyzer_rule(Arc::new(ExtractExpensiveCalls));
    if let Some(cluster) = &options.cluster {
        let cluster = Arc::clone(cluster);
        builder = builder
            .with_physical_optimizer_rule(Arc::new(DealExpensiveCalls { cluster }));
    }
    let mut state = builder.build();
    for function in functions::scalar_functions() {
        state.register_udf(Arc::new(function))?;
    }
    Ok(state)
}

fn changes_storage(plan: &LogicalPlan) -> bool {
    let variable = match plan {
        LogicalPlan::Statement(Statement::SetVariable(set)) => &set.variable,
        LogicalPlan::Statement(Statement::ResetVariable(reset)) => &reset.variable,
        _ => return false,
    };
    variable == "atoll.storage"
}

fn config(storage: String) -> SessionConfig {
    SessionConfig::new()
        .with_information_schema(true)
        .with_target_partitions(pool::threads())
        .with_option_extension(AtollOptions {
            storage,
            ..AtollOptions::default()
        })
        // COPY writes a file for each partition; more files would tear ordered rows apart.
        .set_usize("datafusion.execution.minimum_parallel_output_files", 1)
        // On by default, this copies the call below a struct field access, whatever
        // its volatility. Expensive calls are out of its reach as columns; cheap
        // volatile functions such as random() are not.
        .set_bool(
            "datafusion.optimizer.enable_leaf_expression_pushdown",
            false,
        )
}

fn default_storage() -> Result<PathBuf> {
    let data = dirs::data_dir().ok_or_else(|| {
        exec_datafusion_err!(
            "this user has no data folder; name a storage with --storage FOLDER"
        )
    })?;
    Ok(data.join("atoll").join("storage"))
}

/// A name that no other process or statement gives to a file beside this one.
fn unique_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |time| time.as_nanos());
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{now:x}-{:x}-{count:x}", std::process::id())
}
