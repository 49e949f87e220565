//! `train`: one network per row.

mod documentation;
mod literals;

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_nn::{Augmentation, Hyperparameters};
use atoll_udf_common::args::string_at;
use atoll_udf_common::structs::{TRAIN_KEYS, check_keys, row_to_json};
use atoll_udf_common::{
    Argument, Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, Grain, PreparedCall,
    Price, Usage, storage_root, usage,
};
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value};

use crate::arguments::{DatasetArgument, arrays, dataset, is_null};
use crate::options::TrainOptions;
use crate::record::{Status, TrialRecord, TrialRow, trial_array, trial_type};
use crate::single_flight::{Memo, SingleFlight};
use crate::snapshot::{SharedSnapshot, Snapshot};
use crate::source::{Source, Wanted};
use crate::store::TrialStore;
use crate::trial::{Study, Trial, refused};

/// The key of a row's hyperparameters that names the checkpoint it goes on from. It is
/// none of them: it saves time and changes nothing of the trial.
const RESUME_FROM: &str = "resume_from";

/// The keys of the hyperparameters argument.
static HYPERPARAMETER_KEYS: LazyLock<Vec<&str>> =
    LazyLock::new(|| [Hyperparameters::keys(), &[RESUME_FROM]].concat());

pub(crate) const USAGE: Usage = Usage {
    name: "train",
    syntax: "train(dataset [, hyperparameters [, options]])",
    arguments: &[
        Argument("dataset", dataset),
        Argument("hyperparameters", usage::any),
        Argument("options", usage::any),
    ],
    optional: 2,
};

/// Lookups in the trial store at once. They wait for a disk or a network, not for a
/// core, so there are more of them than threads.
const LOOKUPS: usize = 64;

/// The SQL function `train(dataset [, hyperparameters [, options]])`.
#[derive(Debug)]
pub struct Train;

#[async_trait]
impl ExpensiveFunction for Train {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&documentation::DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        let keys = [
            ("hyperparameter", HYPERPARAMETER_KEYS.as_slice()),
            ("option", &TRAIN_KEYS),
        ];
        for (field, (what, keys)) in args.arg_fields.iter().skip(1).zip(keys) {
            check_keys(USAGE.name, what, field.data_type(), keys)?;
        }
        if let Some(DataType::Struct(fields)) =
            args.arg_fields.get(1).map(|f| f.data_type())
            && let Some((_, augmentation)) = fields.find("augmentation")
        {
            let keys = Augmentation::keys();
            check_keys(USAGE.name, "augmentation", augmentation.data_type(), keys)?;
        }
        Ok(trial_type())
    }

    fn check(&self, args: &[Expr]) -> Result<()> {
        args.get(1).map_or(Ok(()), literals::check)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = TrainOptions::from_argument(call.args.get(2))?;
        let source = match DatasetArgument::new(&call.args[0]) {
            DatasetArgument::Literal(name) => {
                Some(Source::open(call.session, "train", &name, &options.columns).await?)
            }
            DatasetArgument::Null | DatasetArgument::Column => None,
        };
        Ok(Arc::new(TrainCall::new(call, options, source)?))
    }

    async fn receive(
        &self,
        call: &Call<'_>,
        shipped: &[u8],
    ) -> Result<Arc<dyn PreparedCall>> {
        if shipped.is_empty() {
            return self.prepare(call).await;
        }
        let options = TrainOptions::from_argument(call.args.get(2))?;
        Ok(Arc::new(TrainCall {
            snapshot: Some(String::from_utf8_lossy(shipped).into_owned()),
            ..TrainCall::new(call, options, None)?
        }))
    }

    fn grain(&self) -> Grain {
        Grain::Rows
    }
}

/// One call of `train` in a statement.
struct TrainCall {
    /// The dataset, when it is the same for all rows.
    source: Option<Source>,
    /// The digest of its snapshot, where another process took it.
    snapshot: Option<String>,
    options: TrainOptions,
    store: TrialStore,
    session: SessionState,
    statement: String,
    studies: Memo<Arc<Study>>,
}

/// Without the session, which prints its whole catalog.
impl Debug for TrainCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("TrainCall");
        call.field("options", &self.options).finish_non_exhaustive()
    }
}

/// Datasets that running statements read, so that two calls in one statement read a
/// table once and train on the same rows.
static SCANS: LazyLock<SingleFlight<SharedSnapshot>> = LazyLock::new(Default::default);

/// Names a statement: its session, and when it started.
fn statement(session: &SessionState) -> String {
    static UNNAMED: AtomicU64 = AtomicU64::new(0);
    let id = session.session_id();
    match session.execution_props().query_execution_start_time {
        Some(start) => format!("{id} {start:?}"),
        None => format!("{id} unnamed {}", UNNAMED.fetch_add(1, Ordering::Relaxed)),
    }
}

/// What is known of a row before anything trains.
enum Row {
    /// NULL in, NULL out.
    Null,
    /// It needs no training.
    Done(Box<TrialRecord>),
    /// It may have to train.
    Open(Arc<Study>, Arc<Trial>),
}

#[async_trait]
impl PreparedCall for TrainCall {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let args = arrays(args)?;
        let open = self.open_rows(rows, &args, context).await?;
        let announced = open.iter().filter(|row| !matches!(row, Row::Null)).count();
        context.progress.expect_trials(announced as u64);
        // All lookups come before the first training, or a finished trial would wait
        // for one that is not.
        let looked_up: Vec<Row> = futures::stream::iter(open)
            .map(look_up)
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        let running = looked_up.into_iter().map(|row| self.run(row, context));
        let trials = try_join_all(running).await?;
        note(&args[0], &trials, context);
        trial_array(&trials)
    }

    async fn ship(&self, context: &CallContext) -> Result<Vec<u8>> {
        let Some(source) = &self.source else {
            return Ok(vec![]);
        };
        let study = self.study(source.name(), &context.token).await?;
        for warning in &study.snapshot.warnings {
            warn(source.name(), warning, context);
        }
        Ok(study.snapshot.sha256.clone().into_bytes())
    }

    async fn price(&self, dataset: &str, context: &CallContext) -> Result<Option<Price>> {
        let study = self.study(dataset, &context.token).await?;
        Ok(Some(Arc::new(move |given| {
            // What cannot be trained takes no time.
            let cost = Hyperparameters::from_json(given)
                .and_then(|complete| complete.cost(&study.snapshot.dataset));
            cost.unwrap_or(0.0)
        })))
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        let rows = args.number_rows;
        let args = arrays(args)?;
        let open = self.open_rows(rows, &args, context).await?;
        let failed = open.into_iter().map(|row| {
            let record = match row {
                Row::Null => return None,
                Row::Done(record) => *record,
                Row::Open(study, trial) => trial
                    .record(&study, Status::Failed)
                    .because(EXECUTOR_DIED, reason),
            };
            Some(TrialRow {
                record,
                model: None,
                checkpoint: None,
            })
        });
        let failed: Vec<_> = failed.collect();
        note(&args[0], &failed, context);
        trial_array(&failed)
    }
}

impl TrainCall {
    fn new(
        call: &Call<'_>,
        options: TrainOptions,
        source: Option<Source>,
    ) -> Result<Self> {
        let root = storage_root(call.session.config_options())?;
        Ok(Self {
            source,
            snapshot: None,
            options,
            store: TrialStore::new(root),
            session: SessionState::clone(call.session),
            statement: statement(call.session),
            studies: Memo::default(),
        })
    }

    /// Reads the arguments of all rows and names their trials.
    async fn open_rows(
        &self,
        rows: usize,
        args: &[ArrayRef],
        context: &CallContext,
    ) -> Result<Vec<Row>> {
        let mut studies = HashMap::new();
        let mut open = Vec::with_capacity(rows);
        for row in 0..rows {
            let given = args.get(1);
            let name = string_at(&args[0], row);
            let (Some(name), false) =
                (name, given.is_some_and(|given| is_null(given, row)))
            else {
                open.push(Row::Null);
                continue;
            };
            let study = match studies.get(name) {
                Some(study) => study,
                None => {
                    let study = self.study_or_refusal(name, &context.token).await?;
                    &*studies.entry(name).or_insert(study)
                }
            };
            open.push(match study {
                Ok(study) => {
                    let resume_from = self.options.resume_from.as_deref();
                    open_row(study, given, resume_from, row)?
                }
                Err(refusal) => Row::Done(refusal.clone()),
            });
        }
        Ok(open)
    }

    /// The study on a dataset, or the record of every trial on it when a row named a
    /// dataset that cannot be used.
    async fn study_or_refusal(
        &self,
        name: &str,
        token: &CancellationToken,
    ) -> Result<Result<Arc<Study>, Box<TrialRecord>>> {
        match self.study(name, token).await {
            Ok(study) => Ok(Ok(study)),
            // A dataset that all rows share was checked when the statement was planned;
            // what is wrong with it now is no row's fault.
            Err(error)
                if self.source.is_some()
                    || self.snapshot.is_some()
                    || token.is_cancelled() =>
            {
                Err(error)
            }
            Err(error) => {
                let error = error.strip_backtrace();
                Ok(Err(refused(Status::Failed, "INVALID_DATASET", error)))
            }
        }
    }

    /// The study on a dataset; the first row that needs it reads it.
    async fn study(&self, name: &str, token: &CancellationToken) -> Result<Arc<Study>> {
        let make = || async {
            let columns = &self.options.columns;
            let root = &self.store.root().url;
            let key = format!("{}\n{root}\n{name}\n{columns:?}", self.statement);
            let scan = SCANS.cell(&key);
            let snapshot = scan
                .get_or_try_init(|| self.scan(name, token))
                .await?
                .clone();
            Ok(Arc::new(Study {
                snapshot,
                store: self.store.clone(),
                split_seed: self.options.split_seed,
                timeout: self.options.timeout,
                threads: self.options.threads.unwrap_or(1),
                checkpoint: self.options.checkpoint,
                _scan: scan,
            }))
        };
        self.studies.get_or_make(name, make).await
    }

    async fn scan(
        &self,
        name: &str,
        token: &CancellationToken,
    ) -> Result<SharedSnapshot> {
        if let Some(sha256) = &self.snapshot {
            return Snapshot::load(self.store.root(), sha256).await;
        }
        let columns = &self.options.columns;
        let source = match &self.source {
            Some(source) => source.clone(),
            None => Source::open_file(&self.session, "train", name, columns).await?,
        };
        let rows = source.read(Wanted::NotTest, token).await?;
        Snapshot::from_scan(source.name().to_string(), rows, token)
            .await?
            .publish(self.store.root())
            .await
    }

    /// Trains what has to be trained.
    async fn run(&self, row: Row, context: &CallContext) -> Result<Option<TrialRow>> {
        let record = match row {
            Row::Null => return Ok(None),
            Row::Done(record) => {
                context.progress.trial_done();
                *record
            }
            Row::Open(study, trial) => study.run(trial, context).await?,
        };
        let sha256 = record.model_sha256.as_deref();
        let model = sha256
            .map(|sha256| self.store.model_uri(sha256))
            .transpose()?;
        let sha256 = record.checkpoint_sha256.as_deref();
        let checkpoint = sha256
            .map(|sha256| self.store.checkpoint(sha256))
            .transpose()?
            .map(|location| location.to_string());
        Ok(Some(TrialRow {
            record,
            model,
            checkpoint,
        }))
    }
}

/// Says what the user of a statement should know of its trials.
fn note(datasets: &ArrayRef, trials: &[Option<TrialRow>], context: &CallContext) {
    for (row, trial) in trials.iter().enumerate() {
        let Some(TrialRow { record, .. }) = trial else {
            continue;
        };
        context.warnings.trial(record.failure().as_deref());
        for warning in &record.warnings {
            let dataset = string_at(datasets, row).unwrap_or_default();
            warn(dataset, warning, context);
        }
    }
}

fn warn(dataset: &str, warning: &str, context: &CallContext) {
    context.warnings.add(format!("train: {dataset}: {warning}"));
}

fn open_row(
    study: &Arc<Study>,
    given: Option<&ArrayRef>,
    resume_from: Option<&str>,
    row: usize,
) -> Result<Row> {
    let given = match given {
        Some(given) => row_to_json(given.as_struct(), row),
        None => Ok(Map::new()),
    };
    Ok(match given {
        Ok(mut given) => {
            let resume_from = match given.remove(RESUME_FROM) {
                None | Some(Value::Null) => resume_from.map(ToString::to_string),
                Some(Value::String(name)) => Some(name),
                Some(other) => {
                    let error = format!(
                        "{RESUME_FROM} must be the path or URL of a checkpoint, got {other}"
                    );
                    let code = "INVALID_HYPERPARAMETER";
                    return Ok(Row::Done(refused(Status::Infeasible, code, error)));
                }
            };
            let trial = study.trial(given)?.resuming(resume_from);
            Row::Open(Arc::clone(study), Arc::new(trial))
        }
        // Such as an integer that is out of range.
        Err(error) => {
            let error = error.strip_backtrace();
            Row::Done(refused(Status::Infeasible, "INVALID_HYPERPARAMETER", error))
        }
    })
}

/// Finds a trial that is finished already.
async fn look_up(row: Row) -> Result<Row> {
    let Row::Open(study, trial) = row else {
        return Ok(row);
    };
    Ok(match study.find(&trial).await? {
        Some(record) => Row::Done(Box::new(record)),
        None => Row::Open(study, trial),
    })
}
