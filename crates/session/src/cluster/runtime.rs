//! Tasks, as the process sees them that runs them.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atoll_compute::CancellationToken;
use atoll_compute::warnings::Noticed;
use atoll_udf_common::files::{parquet_scan, without_bounds};
use atoll_udf_common::{
    AtollOptions, CallContext, Location, PreparedCall, StoreError, explain_store_error,
};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err, internal_datafusion_err, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec,
    physical_plan_to_bytes_with_extension_codec,
};
use object_store::ObjectStoreExt;
use prost::Message;
use sha2::{Digest, Sha256};

use super::messages::WireTask;
use super::notes::{Notes, RowGroups};
use super::pieces::PieceExec;
use super::source::compact;
use super::stages::Shuffle;
use super::wire::{PlanCodec, Received, to_ipc};
use crate::SessionOptions;

/// The file that tells one storage from another.
const STORAGE_ID: &str = "storage.id";

/// How long a storage may take to give its name.
const STORAGE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a prepared call, with its dataset or model, is kept for the next task.
const KEPT: Duration = Duration::from_secs(120);

/// How many prepared calls are kept.
const KEPT_CALLS: usize = 16;

/// The prefixes of the session options that change what a plan does.
const OPTIONS: [&str; 4] = [
    "datafusion.execution.",
    "atoll.execution_provider",
    "atoll.inference",
    "atoll.precision",
];

/// Writes a physical plan.
pub(super) fn encode_plan(plan: Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
    let codec = PlanCodec { calls: None };
    let bytes = physical_plan_to_bytes_with_extension_codec(plan, &codec)?;
    Ok(bytes.to_vec())
}

/// The session options that differ from DataFusion's own.
pub(super) fn changed_options(options: &ConfigOptions) -> HashMap<String, String> {
    let usual: HashMap<_, _> = ConfigOptions::new()
        .entries()
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    options
        .entries()
        .into_iter()
        .filter(|entry| OPTIONS.iter().any(|prefix| entry.key.starts_with(prefix)))
        .filter(|entry| usual.get(&entry.key) != Some(&entry.value))
        .filter_map(|entry| Some((entry.key, entry.value?)))
        .collect()
}

/// Names a storage, so that an executor can tell whether it reaches the same one.
pub(super) async fn identify_storage(storage: &Location) -> Result<String> {
    let file = storage.join(STORAGE_ID)?;
    let id = crate::unique_id();
    match file.create(id.clone().into()).await {
        Ok(true) => Ok(id),
        Ok(false) => Ok(String::from_utf8_lossy(&file.read().await?).into_owned()),
        Err(error) => {
            let what = format!("cannot write {file}");
            Err(StoreError::new(&what, &file, error).into())
        }
    }
}

/// A task, or some rows of one, that runs.
pub struct RunningTask {
    /// What it gives.
    pub rows: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
}

impl RunningTask {
    fn start(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<Self> {
        let rows = plan.execute(0, context)?;
        Ok(Self { rows, plan })
    }

    /// The last record batch of a task, with what the task noticed and how long it took.
    pub fn annotate(
        self,
        last: RecordBatch,
        noticed: Noticed,
        took: Duration,
    ) -> Result<RecordBatch> {
        let notes = Notes {
            noticed,
            seconds: Some(took.as_secs_f64()),
            row_groups: RowGroups::of(&self.plan),
        };
        notes.annotate(last)
    }
}

impl Debug for RunningTask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut task = f.debug_struct("RunningTask");
        task.field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Evaluates tasks: the same functions as every session, without tables.
#[derive(Debug)]
pub struct TaskRuntime {
    state: SessionState,
    calls: Arc<PreparedCalls>,
    /// Storages that were found to be the client's.
    reached: Mutex<HashSet<(String, String)>>,
}

impl TaskRuntime {
    /// What a worker of a cluster needs. The storage comes with each task.
    pub fn new(options: &SessionOptions, shuffle: Arc<dyn Shuffle>) -> Result<Self> {
        let state =
            crate::session_state(options, String::new(), crate::runtime(options)?)?;
        let calls = Arc::new(PreparedCalls {
            state: state.clone(),
            shuffle,
            kept: Mutex::default(),
        });
        Ok(Self {
            state,
            calls,
            reached: Mutex::default(),
        })
    }

    /// Starts a task; its rows come as the stream is polled.
    pub async fn start(&self, task: &[u8], context: CallContext) -> Result<RunningTask> {
        let (plan, context) = self.open(task, context).await?;
        RunningTask::start(plan, context)
    }

    /// Starts some rows of a task.
    pub async fn start_rows(
        &self,
        task: &[u8],
        rows: Range<usize>,
        context: CallContext,
    ) -> Result<RunningTask> {
        let (plan, context) = self.open(task, context).await?;
        RunningTask::start(only_rows(&plan, rows)?, context)
    }

    /// A record batch as it travels.
    pub fn encode(batch: &RecordBatch) -> Result<Bytes> {
        Ok(to_ipc(&compact(batch)?)?.into())
    }

    async fn open(
        &self,
        task: &[u8],
        context: CallContext,
    ) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        let task = WireTask::decode(task)
            .map_err(|error| internal_datafusion_err!("not a task: {error}"))?;
        self.check_storage(&task).await?;
        let context = CallContext {
            directory: Some(PathBuf::from(&task.directory).into()),
            ..context
        };
        let mut state = self.state.clone();
        let config = state.config_mut();
        let mut config = std::mem::take(config).with_extension(Arc::new(context));
        let options = config.options_mut();
        for (key, value) in &task.options {
            options.set(key, value)?;
        }
        options.set("atoll.storage", &task.storage)?;
        *state.config_mut() = config;
        let context = state.task_ctx();
        let codec = PlanCodec {
            calls: Some(Arc::clone(&self.calls)),
        };
        let plan =
            physical_plan_from_bytes_with_extension_codec(&task.plan, &context, &codec)?;
        let runtime = context.runtime_env();
        let plan = plan.transform_up(|node| {
            Ok(match parquet_scan(node.as_ref()).is_some() {
                true => Transformed::yes(without_bounds(&node, &runtime)?),
                false => Transformed::no(node),
            })
        })?;
        Ok((plan.data, context))
    }

    /// Says so when this machine sees another storage than the client, which would
    /// otherwise show as missing files.
    async fn check_storage(&self, task: &WireTask) -> Result<()> {
        let key = (task.storage.clone(), task.storage_id.clone());
        let known = |set: &Mutex<HashSet<_>>| {
            set.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&key)
        };
        if known(&self.reached) {
            return Ok(());
        }
        let file = Location::parse(&task.storage)?.join(STORAGE_ID)?;
        let read = async { file.store.get(&file.path).await?.bytes().await };
        // A store is asked again for minutes, which suits a busy one but not a wrong
        // address.
        let problem = match tokio::time::timeout(STORAGE_PATIENCE, read).await {
            Ok(Ok(id)) if id == task.storage_id.as_bytes() => None,
            Ok(Ok(_)) => Some("it is another folder there".to_string()),
            Ok(Err(object_store::Error::NotFound { .. })) => {
                Some("it is not there".to_string())
            }
            Ok(Err(error)) => {
                let explained = explain_store_error(&error);
                Some(explained.unwrap_or_else(|| error.to_string()))
            }
            Err(_) => {
                let seconds = STORAGE_PATIENCE.as_secs();
                Some(format!("it does not answer within {seconds} s"))
            }
        };
        if let Some(problem) = problem {
            return exec_err!(
                "an executor cannot reach the storage {}: {problem}; give all nodes \
                 one storage, such as --storage s3://bucket/atoll or a shared mount, \
                 and the environment that opens it",
                task.storage
            );
        }
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.insert(key);
        Ok(())
    }
}

/// The plan with some rows of its input.
fn only_rows(
    plan: &Arc<dyn ExecutionPlan>,
    rows: Range<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let [child] = plan.children()[..] {
        let child = only_rows(child, rows)?;
        return replace_children_if_necessary(Arc::clone(plan), vec![child]);
    }
    if let Some(files) = atoll_udf_blob::scan_piece(plan.as_ref(), 0, rows.clone()) {
        return Ok(files);
    }
    if let Some(piece) = plan.downcast_ref::<PieceExec>() {
        return match piece.narrow(rows.clone()) {
            Some(piece) => Ok(Arc::new(piece)),
            None => internal_err!("a task has no rows {rows:?}"),
        };
    }
    let memory = plan.downcast_ref::<DataSourceExec>().and_then(|exec| {
        let source: &dyn std::any::Any = exec.data_source().as_ref();
        source.downcast_ref::<MemorySourceConfig>()
    });
    let batch = memory.and_then(|memory| memory.partitions().first()?.first());
    match batch.filter(|batch| rows.end <= batch.num_rows()) {
        Some(batch) => {
            let rows = [vec![batch.slice(rows.start, rows.len())]];
            Ok(MemorySourceConfig::try_new_exec(
                &rows,
                batch.schema(),
                None,
            )?)
        }
        None => internal_err!("a task has no rows {rows:?}"),
    }
}

/// Calls by their content, and when each was used last.
type Kept = HashMap<[u8; 32], (Arc<Received>, Instant)>;

/// Calls of other processes, prepared once for all their tasks: a dataset or a model is
/// loaded once, however many rows need it.
pub(super) struct PreparedCalls {
    state: SessionState,
    shuffle: Arc<dyn Shuffle>,
    kept: Mutex<Kept>,
}

impl Debug for PreparedCalls {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedCalls").finish_non_exhaustive()
    }
}

impl PreparedCalls {
    /// The session of this process.
    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    /// What sorts the rows of tasks that others read.
    pub(super) fn shuffle(&self) -> Arc<dyn Shuffle> {
        Arc::clone(&self.shuffle)
    }

    /// The call with this content, received before or now.
    pub(super) fn shared(
        &self,
        call: &[u8],
        config: &SessionConfig,
        receive: impl FnOnce(SessionState) -> Received,
    ) -> Arc<dyn PreparedCall> {
        let context = CallContext::of(config);
        let directory = context.directory.as_deref();
        let options = AtollOptions::get(config.options());
        let computed_by = [
            options.execution_provider.name(),
            options.inference.name(),
            options.precision.name(),
        ];
        let mut key = Sha256::new();
        let computed_by = computed_by.iter().map(|name| name.as_bytes());
        for part in [call, options.storage.as_bytes()]
            .into_iter()
            .chain(computed_by)
        {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        if let Some(directory) = directory {
            key.update(directory.as_os_str().as_encoded_bytes());
        }
        let key: [u8; 32] = key.finalize().into();
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((call, used)) = kept.get_mut(&key) {
            *used = now;
            return Arc::<Received>::clone(call);
        }
        kept.retain(|_, (_, used)| now.duration_since(*used) < KEPT);
        if kept.len() >= KEPT_CALLS {
            let oldest = kept.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                kept.remove(&oldest);
            }
        }
        // Outlives the task that brought it, and so must not end with its token.
        let context = CallContext {
            token: CancellationToken::new(),
            given_up: None,
            rescue: None,
            ..context
        };
        let mut state = self.state.clone();
        *state.config_mut() = config.clone().with_extension(Arc::new(context));
        let call = Arc::new(receive(state));
        kept.insert(key, (Arc::clone(&call), now));
        call
    }
}
