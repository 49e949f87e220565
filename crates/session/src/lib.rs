//! Builds the SQL session that every entry point shares.
//!
//! The prompt, a job and the tests all get their functions, options and rules from
//! [`Session::new`], so that a statement means the same everywhere. A statement runs
//! while its stream is polled and stops when the stream is dropped.
//!
//! Nothing here prints, and nothing here knows how a function works.

mod as_they_come;
mod checks;
mod cluster;
mod copy;
mod expensive;
mod external;
mod extremes;
mod files;
mod functions;
mod models;
mod nans;
mod nulls;
mod origin;
mod parquet_files;
mod reads;
mod refresh;
mod runs;
mod size;
mod sql;
mod tables;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use atoll_compute::pool;
use atoll_compute::warnings::Warnings;
use atoll_delta::Clock;
use atoll_udf_blob::Listings;
use atoll_udf_common::files::ParquetFactory;
use atoll_udf_common::{AtollOptions, CallContext, Stores};
use atoll_udf_train::TrainShared;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::{
    Result, exec_datafusion_err, internal_datafusion_err, internal_err, plan_err,
};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{
    FunctionRegistry, SendableRecordBatchStream, SessionState, SessionStateBuilder,
};
use datafusion::logical_expr::{
    DdlStatement, Explain, LogicalPlan, PlanType, Statement, StringifiedPlan,
};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

use crate::as_they_come::RowsAsTheyCome;
use crate::checks::ExtractChecks;
use crate::cluster::{Cluster, DealExpensiveCalls, ListingTables};
use crate::copy::DeltaFactory;
use crate::expensive::{AtollQueryPlanner, ExtractExpensiveCalls};
use crate::nans::NansAreOne;
use crate::nulls::{FieldsOfScans, NullsReachInside};
use crate::origin::{Origin, WriteIds};
use crate::reads::ReadsWhatIsUsed;
use crate::sql::{
    Action, FieldNames, ModelAction, ModelCommand, NamedModels, PeersOfAnyType,
    Relations, TableCommand, UnnestBesideTables,
};
use crate::tables::StoredTables;

pub use atoll_udf_common::{Erased, Location, StoreError, explain_store_error};
pub use atoll_udf_train::hyperparameters;
pub use cluster::{
    Job, Left, LocalRange, Output, PartsExec, Range, RunningTask, Shuffle, Stage, Task,
    TaskOutput, TaskPlan, TaskRunner, TaskRuntime, is_expensive,
};
pub use functions::{FunctionDoc, FunctionKind, function_docs};
pub use models::ModelState;
pub use origin::WriteLog;
pub use runs::run_store;
pub use size::parse_size;
pub use sql::{changes_something, without_version};
pub use tables::{STORAGE_VERSION, TableState};

/// The version of Atoll.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many of the largest memory consumers an out-of-memory error names.
const CONSUMERS_NAMED: usize = 3;

/// The trainer's version, revision and CPU level, which decide the bits of a trial.
pub fn training_engine() -> String {
    atoll_udf_train::engine()
}

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
    /// Hears each warning when its statement is over. Without it they wait for
    /// [`Session::warnings`].
    pub warn: Option<fn(&str)>,
}

/// A SQL session with all of Atoll's functions.
pub struct Session {
    options: SessionOptions,
    context: Erased<SessionContext>,
    /// The default catalog itself, not the view of it that also finds files.
    catalog: Arc<dyn CatalogProvider>,
    tables: RwLock<Option<Arc<StoredTables>>>,
    warnings: Warnings,
    /// When the last statement began.
    clock: Arc<Clock>,
    write_ids: WriteIds,
    /// On a cluster, the listings that are tables.
    listings: Option<Arc<ListingTables>>,
}

impl Session {
    /// Opens a session; tables that earlier sessions stored are there at once.
    pub async fn new(options: SessionOptions) -> Result<Self> {
        let runtime = runtime(&options)?;
        Self::open(options, runtime, Arc::default()).await
    }

    /// Opens another session with the same options, which shares this one's memory and
    /// running trials and none of its settings and views.
    pub async fn sibling(&self) -> Result<Self> {
        let state = self.context.state();
        let trials = state.config().get_extension().unwrap_or_default();
        Self::open(self.options.clone(), self.context.runtime_env(), trials).await
    }

    async fn open(
        options: SessionOptions,
        runtime: Arc<RuntimeEnv>,
        trials: Arc<TrainShared>,
    ) -> Result<Self> {
        let storage = match &options.storage {
            // Absolute from the start, so that it means the same after a `cd`.
            Some(storage) => Location::parse(storage)?.to_string(),
            None => default_storage()?.to_string_lossy().into_owned(),
        };
        let mut state = session_state(&options, storage, runtime)?;
        let call_context = CallContext::default();
        let warnings = call_context.warnings.clone();
        state.config_mut().set_extension(Arc::new(call_context));
        state.config_mut().set_extension(trials);
        let clock = Arc::new(Clock::default());
        state.config_mut().set_extension(Arc::clone(&clock));
        state
            .config_mut()
            .set_extension(Arc::<NamedModels>::default());
        let listings = options.cluster.as_ref().map(|cluster| {
            let tables = Arc::new(ListingTables::new(Arc::clone(cluster)));
            let made = Listings(Arc::<ListingTables>::clone(&tables) as _);
            state.config_mut().set_extension(Arc::new(made));
            tables
        });
        let context = SessionContext::new_with_state(state);
        for (name, function, _) in functions::table_functions() {
            context.register_udtf(&name, function);
        }
        let Some(catalog) = context.catalog(tables::CATALOG) else {
            return internal_err!("the catalog {} is missing", tables::CATALOG);
        };
        let context = files::with_files_as_tables(context);
        let session = Self {
            options,
            context: Erased::new(context),
            catalog,
            tables: RwLock::default(),
            warnings,
            clock,
            write_ids: WriteIds::default(),
            listings,
        };
        session.open_storage().await?;
        Ok(session)
    }

    /// DataFusion's own session, for looking things up.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Whether a statement changes nothing but its session, such as SET and CREATE VIEW,
    /// so that a session which goes on where another one stopped needs it again.
    pub fn is_of_session(&self, sql: &str) -> bool {
        sql::is_of_session(&self.context.state(), sql)
    }

    /// Where snapshots, trials, models and tables are kept.
    pub fn storage(&self) -> String {
        AtollOptions::get(self.context.state().config().options()).storage
    }

    /// What each stored table holds, and what cleaning it up would save.
    pub async fn table_states(&self) -> Result<Vec<TableState>> {
        self.stored_tables()?.states().await
    }

    /// What the statements since the last call noticed, for their user to read.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.take().into_sentences()
    }

    /// Runs one SQL statement.
    ///
    /// Rows come as a stream. Statements that change the session or write files do so
    /// before this returns, and give a stream of what they report: COPY and INSERT one
    /// row with the column `count`, DDL and SET no rows.
    ///
    /// ```
    /// use atoll_session::{Session, SessionOptions};
    /// use futures::TryStreamExt;
    ///
    /// # async fn example() -> datafusion::common::Result<()> {
    /// let session = Session::new(SessionOptions::default()).await?;
    /// let rows = session.execute("SELECT length('atoll') AS letters").await?;
    /// let batches: Vec<_> = rows.try_collect().await?;
    /// assert_eq!(batches[0].num_rows(), 1);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the statement, before anything ran. What goes wrong while rows are
    /// made is an item of the stream, its last one.
    pub async fn execute(&self, sql: &str) -> Result<SendableRecordBatchStream> {
        self.execute_from(sql, None).await
    }

    /// The same; what the statement writes is added to `log`.
    pub async fn execute_logged(
        &self,
        sql: &str,
        log: &WriteLog,
    ) -> Result<SendableRecordBatchStream> {
        self.execute_from(sql, Some(log.clone())).await
    }

    async fn execute_from(
        &self,
        sql: &str,
        log: Option<WriteLog>,
    ) -> Result<SendableRecordBatchStream> {
        self.clock.start();
        let plan = self.plan(sql).await?;
        self.run_named(plan, sql, log).await
    }

    /// Runs a planned statement. Its text tells its commits from those of others.
    async fn run_named(
        &self,
        plan: LogicalPlan,
        sql: &str,
        log: Option<WriteLog>,
    ) -> Result<SendableRecordBatchStream> {
        let id = log.as_ref().and_then(WriteLog::id).map(str::to_string);
        let write_id =
            AtollOptions::get(self.context.state().config().options()).write_id;
        let is_named = !write_id.is_empty() && changes_something(&plan);
        let own = is_named.then(|| self.write_ids.take(&write_id, sql));
        let origin = Origin {
            statement: Some(sql.to_string()),
            id: own.as_ref().map(|own| own.id.clone()).or(id),
            log,
            ..Origin::default()
        };
        let rows = self.run(plan, origin).await?;
        if let Some(own) = own {
            own.keep();
        }
        Ok(rows)
    }

    /// Plans a statement to its end and touches nothing that outlives the session.
    ///
    /// What it would create is there for the statements after it, without rows.
    pub async fn rehearse(&self, sql: &str) -> Result<()> {
        let state = self.context.state();
        let plan = self.plan(sql).await?;
        if let Some(command) = TableCommand::of(&plan) {
            if let Action::Refresh {
                create: Some(create),
                ..
            } = &command.action
            {
                return Box::pin(self.rehearse(create)).await;
            }
            return self.stored_tables()?.rehearse_command(command).await;
        }
        if let Some(command) = ModelCommand::of(&plan) {
            if let ModelAction::Create { .. } = command.action {
                self.named_models().rehearse(&command.name);
            }
            return match &command.input {
                Some(query) => state.optimize(query).map(drop),
                None => Ok(()),
            };
        }
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                state.optimize(&create.input)?;
                self.stored_tables()?.rehearse(&create)
            }
            LogicalPlan::Ddl(DdlStatement::DropTable(_)) => Ok(()),
            LogicalPlan::Copy(copy) => copy::rehearse(&self.context, copy).await,
            plan @ (LogicalPlan::Ddl(_) | LogicalPlan::Statement(_)) => {
                // Views and settings are the session's own.
                self.run(plan, Origin::default()).await.map(drop)
            }
            plan => state.optimize(&plan).map(drop),
        }
    }

    /// Reads and checks one SQL statement, and runs none of it.
    pub async fn plan(&self, sql: &str) -> Result<LogicalPlan> {
        sql::plan(self.context.state(), sql).await
    }

    /// The columns that [`Self::execute_plan`] gives, without running anything.
    pub fn result_schema(&self, plan: &LogicalPlan) -> Result<SchemaRef> {
        if TableCommand::of(plan).is_some() || ModelCommand::of(plan).is_some() {
            return Ok(Arc::clone(plan.schema().inner()));
        }
        let schema = match plan {
            LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => {
                return Ok(SchemaRef::new(Schema::empty()));
            }
            LogicalPlan::Copy(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_) => Arc::clone(plan.schema()),
            plan => {
                // Types are what they are after coercion.
                let state = self.context.state();
                let options = state.config_options();
                let plan = state.analyzer().execute_and_check(
                    plan.clone(),
                    options,
                    |_, _| {},
                )?;
                Arc::clone(plan.schema())
            }
        };
        Ok(Arc::clone(schema.inner()))
    }

    /// What EXECUTE runs; any other statement as it is.
    pub async fn resolve(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::Statement(Statement::Execute(_)) => {
                // Runs nothing: what it would run is not prepared, see `Self::run`.
                let frame = self.context.execute_logical_plan(plan).await?;
                Ok(frame.into_unoptimized_plan())
            }
            plan => Ok(plan),
        }
    }

    /// Runs a statement that was planned from a text; see [`Self::execute`].
    pub async fn execute_plan(
        &self,
        plan: LogicalPlan,
        sql: &str,
    ) -> Result<SendableRecordBatchStream> {
        self.clock.start();
        self.run_named(plan, sql, None).await
    }

    async fn run(
        &self,
        plan: LogicalPlan,
        origin: Origin,
    ) -> Result<SendableRecordBatchStream> {
        let Some(warn) = self.options.warn else {
            return self.run_cleanly(plan, origin).await;
        };
        let end = SayAtEnd {
            warnings: self.warnings.clone(),
            warn,
        };
        let rows = self.run_cleanly(plan, origin).await?;
        let schema = rows.schema();
        let rows = rows.inspect(move |_| {
            // Held until the stream is over or nobody wants the rest.
            let _ = &end;
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// Runs a statement and deletes what it listed when it is over.
    async fn run_cleanly(
        &self,
        plan: LogicalPlan,
        origin: Origin,
    ) -> Result<SendableRecordBatchStream> {
        let Some(listings) = &self.listings else {
            return self.run_quietly(plan, origin).await;
        };
        // What a statement listed whose rows nobody took to their end.
        listings.clean().await;
        let rows = match self.run_quietly(plan, origin).await {
            Ok(rows) => rows,
            Err(error) => {
                listings.clean().await;
                return Err(error);
            }
        };
        let (schema, listings) = (rows.schema(), Arc::clone(listings));
        let end = futures::stream::once(async move { listings.clean().await });
        // The rows' own stream is gone when the end begins, and with it its plan.
        let rows = rows.chain(end.filter_map(|()| std::future::ready(None)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    async fn run_quietly(
        &self,
        plan: LogicalPlan,
        mut origin: Origin,
    ) -> Result<SendableRecordBatchStream> {
        if let Some(command) = TableCommand::of(&plan) {
            if let Action::Refresh { .. } = command.action {
                return self.refresh(command, origin).await;
            }
            return self.command(command, &origin).await;
        }
        if let Some(command) = ModelCommand::of(&plan) {
            let report = self.model_command(command, &origin).await?;
            let (schema, rows) = (report.schema(), vec![report]);
            return Ok(Box::pin(MemoryStream::try_new(rows, schema, None)?));
        }
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                self.note_models(&mut origin, &create.input)?;
                origin.made_of = refresh::made_of(&origin)?;
                let tables = self.stored_tables()?;
                tables.create(&self.context, create, &origin).await?;
                self.nothing().await
            }
            LogicalPlan::Ddl(DdlStatement::DropTable(drop)) => {
                self.stored_tables()?
                    .drop_table(&self.context, drop)
                    .await?;
                self.nothing().await
            }
            LogicalPlan::Copy(copy) => {
                self.note_models(&mut origin, &copy.input)?;
                copy::execute(&self.context, copy, &origin).await
            }
            LogicalPlan::Dml(dml) => {
                self.note_models(&mut origin, &dml.input)?;
                let tables = self.stored_tables()?;
                match tables.change(&self.context, &dml, &origin).await? {
                    Some(count) => Ok(count),
                    None => {
                        let plan = LogicalPlan::Dml(dml);
                        let frame = self.context.execute_logical_plan(plan).await?;
                        frame.execute_stream().await
                    }
                }
            }
            LogicalPlan::Statement(Statement::Execute(_)) => {
                let plan = self.resolve(plan).await?;
                Box::pin(self.run_quietly(plan, origin)).await
            }
            LogicalPlan::Statement(Statement::Prepare(prepare))
                if matches!(*prepare.input, LogicalPlan::Ddl(_)) =>
            {
                plan_err!(
                    "PREPARE takes a query, COPY or INSERT; write what makes or drops \
                     something by itself"
                )
            }
            LogicalPlan::Explain(explain) => self.explain(explain).await,
            LogicalPlan::Statement(Statement::TransactionStart(_))
            | LogicalPlan::Statement(Statement::TransactionEnd(_)) => {
                plan_err!(
                    "transactions are not supported; every statement commits by itself"
                )
            }
            plan => {
                let set = option_set(&plan).map(str::to_string);
                let frame = self.context.execute_logical_plan(plan).await?;
                match set.as_deref() {
                    Some("atoll.storage") => self.open_storage().await?,
                    Some("atoll.write_id") => self.write_ids.restart(),
                    _ => {}
                }
                frame.execute_stream().await
            }
        }
    }

    async fn command(
        &self,
        command: &TableCommand,
        origin: &Origin,
    ) -> Result<SendableRecordBatchStream> {
        let tables = self.stored_tables()?;
        let report = tables.command(&self.context, command, origin).await?;
        let (schema, rows) = (report.schema(), vec![report]);
        Ok(Box::pin(MemoryStream::try_new(rows, schema, None)?))
    }

    /// Notes the models of a plan, by the names and paths with which the statement names
    /// them, and what computes their answers.
    fn note_models(&self, origin: &mut Origin, plan: &LogicalPlan) -> Result<()> {
        origin.models = self.named_models().by_name(origin::models(plan)?);
        if !origin.models.is_empty() {
            let state = self.context.state();
            // Settings that contradict each other are an error of the plan.
            let inference =
                AtollOptions::inference(state.config().options(), &Warnings::default());
            let described = inference.ok().map(|inference| inference.describe());
            origin.inference = described.and_then(Result::ok);
        }
        Ok(())
    }

    fn named_models(&self) -> Arc<NamedModels> {
        let models = self.context.state().config().get_extension();
        models.unwrap_or_default()
    }

    /// Shows a plan. DataFusion shows an error of the planner as a part of the plan; here
    /// the statement fails with it, as it would without EXPLAIN.
    async fn explain(&self, explain: Explain) -> Result<SendableRecordBatchStream> {
        let state = self.context.state();
        let mut explain = explain;
        // A table is not made or changed by showing how its rows would be.
        match explain.plan.as_ref() {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                explain.plan = Arc::clone(&create.input);
            }
            LogicalPlan::Dml(dml) if tables::is_changed_here(dml)? => {
                explain.plan = Arc::clone(&dml.input);
            }
            _ => {}
        }
        let inner = Arc::clone(&explain.plan);
        let optimized = state.optimize(&LogicalPlan::Explain(explain))?;
        let is_optimized = matches!(
            &optimized,
            LogicalPlan::Explain(explain) if explain.logical_optimization_succeeded
        );
        let planner = Arc::clone(state.query_planner());
        let plan = planner.create_physical_plan(&optimized, &state).await?;
        let failed = |plan: &StringifiedPlan| {
            matches!(plan.plan_type, PlanType::PhysicalPlanError)
        };
        let shown = plan.downcast_ref::<ExplainExec>();
        let shown = shown
            .map(ExplainExec::stringified_plans)
            .unwrap_or_default();
        if !is_optimized || shown.iter().any(failed) {
            state.create_physical_plan(&inner).await?;
        }
        execute_stream(plan, self.context.task_ctx())
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

/// Says what a statement noticed when it is over, however it ends.
struct SayAtEnd {
    warnings: Warnings,
    warn: fn(&str),
}

impl Drop for SayAtEnd {
    fn drop(&mut self) {
        for sentence in self.warnings.take().into_sentences() {
            (self.warn)(&sentence);
        }
    }
}

/// What sessions share: their memory and where files are.
pub(crate) fn runtime(options: &SessionOptions) -> Result<Arc<RuntimeEnv>> {
    let mut runtime =
        RuntimeEnvBuilder::new().with_object_store_registry(Stores::shared());
    if let Some(limit) = options.memory_limit {
        let top = NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(NonZeroUsize::MIN);
        let pool = TrackConsumersPool::new(FairSpillPool::new(limit), top);
        runtime = runtime.with_memory_pool(Arc::new(pool));
    }
    Ok(Arc::new(runtime.build()?))
}

/// What a session plans and runs with, all functions included.
pub(crate) fn session_state(
    options: &SessionOptions,
    storage: String,
    runtime: Arc<RuntimeEnv>,
) -> Result<SessionState> {
    if let Some(threads) = options.threads {
        pool::configure(threads);
    }
    let mut config = config(storage).with_extension(Arc::<TrainShared>::default());
    if let Some(cluster) = &options.cluster {
        config = config
            .with_extension(Arc::new(Cluster(Arc::clone(cluster))))
            // The result of a subquery would be a value of this process.
            .set_bool(
                "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery",
                false,
            );
    }
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        // Before DataFusion's own, which come with the features.
        .with_expr_planners(vec![Arc::new(FieldNames)])
        .with_default_features()
        .with_query_planner(Arc::new(AtollQueryPlanner))
        .with_relation_planners(vec![Arc::new(Relations)])
        .with_analyzer_rules(analyzer_rules())
        .with_physical_optimizer_rules(FieldsOfScans::among(
            PhysicalOptimizer::new().rules,
        ))
        .with_physical_optimizer_rule(Arc::new(RowsAsTheyCome))
        .with_physical_optimizer_rule(Arc::new(ReadsWhatIsUsed));
    let mut rules = Optimizer::new().rules;
    if let Some(cluster) = &options.cluster {
        rules = cluster.shuffle().optimizer_rules(&rules);
        let cluster = Arc::clone(cluster);
        builder = builder
            .with_physical_optimizer_rule(Arc::new(DealExpensiveCalls { cluster }));
    }
    rules.insert(0, Arc::new(NansAreOne::InConstants));
    rules.push(Arc::new(NansAreOne::Everywhere));
    let mut state = builder.with_optimizer_rules(rules).build();
    // Whatever reads Parquet takes its format from here.
    state.register_file_format(Arc::new(ParquetFactory::default()), true)?;
    state.register_file_format(Arc::new(DeltaFactory), true)?;
    external::register(&mut state);
    for function in extremes::functions() {
        state.register_udaf(Arc::new(function))?;
    }
    for function in nulls::functions() {
        state.register_udf(function)?;
    }
    for function in functions::scalar_functions() {
        state.register_udf(Arc::new(function))?;
    }
    Ok(state)
}

/// DataFusion's rules, and ours around them.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    // Before the types are checked, which it is about.
    rules.insert(0, Arc::new(PeersOfAnyType));
    rules.push(Arc::new(UnnestBesideTables));
    rules.push(Arc::new(NullsReachInside));
    rules.push(Arc::new(ExtractExpensiveCalls));
    rules.push(Arc::new(ExtractChecks));
    rules
}

/// The option that a statement sets.
fn option_set(plan: &LogicalPlan) -> Option<&str> {
    match plan {
        LogicalPlan::Statement(Statement::SetVariable(set)) => Some(&set.variable),
        LogicalPlan::Statement(Statement::ResetVariable(reset)) => Some(&reset.variable),
        _ => None,
    }
}

fn config(storage: String) -> SessionConfig {
    SessionConfig::new()
        .with_information_schema(true)
        .with_target_partitions(pool::threads())
        .with_option_extension(AtollOptions {
            storage,
            ..AtollOptions::default()
        })
        // A trial that failed has no accuracy, and is the best one in neither direction.
        .set_str("datafusion.sql_parser.default_null_ordering", "nulls_last")
        // So that errors can show where in the statement they are.
        .set_bool("datafusion.sql_parser.collect_spans", true)
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
