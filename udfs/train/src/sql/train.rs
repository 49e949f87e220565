//! `train`: one network per row.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_compute::CancellationToken;
use atoll_nn::{Augmentation, Hyperparameters};
use atoll_udf_common::args::string_at;
use atoll_udf_common::structs::{TRAIN_KEYS, check_keys};
use atoll_udf_common::{
    Argument, Call, CallContext, EXECUTOR_DIED, ExpensiveFunction, Grain, PreparedCall,
    Price, Usage, storage_root, usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::arguments::{DatasetArgument, arrays, dataset, is_null};
use super::backbones::{self, Shipped};
use super::given::Given;
use super::options::{TrainOptions, check_metric};
use super::result_struct::{TrialRow, trial_array, trial_type};
use super::{documentation, literals};
use crate::backbone::{BACKBONE, Backbone};
use crate::dataset::{DatasetSource, Drawing, SharedSnapshot, Snapshot, Wanted};
use crate::record::{Status, TrialRecord};
use crate::shared::TrainShared;
use crate::single_flight::Memo;
use crate::store::TrialStore;
use crate::trial::{RunnerBackbone, Trial, TrialRunner, refused};

/// The key of a row's hyperparameters that names the checkpoint it goes on from. It is no
/// hyperparameter and no part of the trial's name: it only lets training continue.
pub(super) const RESUME_FROM: &str = "resume_from";

/// The keys of the hyperparameters argument.
pub(super) static HYPERPARAMETER_KEYS: LazyLock<Vec<&str>> =
    LazyLock::new(|| [Hyperparameters::keys(), &[BACKBONE, RESUME_FROM]].concat());

pub(super) const USAGE: Usage = Usage {
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

    fn settle(&self, args: Vec<Expr>) -> Result<Vec<Expr>> {
        backbones::settle(args)
    }

    fn models(&self, args: &[Expr]) -> Vec<(String, String)> {
        backbones::models(args)
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let options = TrainOptions::from_argument(call.args.get(2))?;
        let backbones = backbones::open(call, &options).await?;
        let data = match DatasetArgument::new(&call.args[0]) {
            DatasetArgument::Literal(name) => {
                let columns = &options.columns;
                let source = DatasetSource::open(call.session, "train", &name, columns);
                let source = source.await?;
                for backbone in &backbones {
                    backbone.check(&source)?;
                }
                check_labels(&source, &options)?;
                TrialData::Named(Box::new(source))
            }
            DatasetArgument::Null | DatasetArgument::Column => TrialData::PerRow,
        };
        Ok(Arc::new(TrainCall::new(call, options, data, backbones)?))
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
        let shipped = Shipped::decode(shipped)?;
        let backbones = shipped.backbones();
        let data = TrialData::Shipped(shipped);
        Ok(Arc::new(TrainCall::new(call, options, data, backbones)?))
    }

    fn grain(&self) -> Grain {
        Grain::Rows
    }
}

/// What the trials of a call are trained on.
enum TrialData {
    /// One dataset for all rows, named in the statement.
    Named(Box<DatasetSource>),
    /// The same, as snapshots that another process took.
    Shipped(Shipped),
    /// The path or URL in each row.
    PerRow,
}

/// One call of `train` in a statement.
struct TrainCall {
    data: TrialData,
    /// What rows may name as their backbone.
    backbones: Vec<Arc<Backbone>>,
    options: TrainOptions,
    store: TrialStore,
    session: SessionState,
    statement: String,
    shared: Arc<TrainShared>,
    runners: Memo<Arc<TrialRunner>>,
}

/// Without the session, which prints its whole catalog.
impl Debug for TrainCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("TrainCall");
        call.field("options", &self.options).finish_non_exhaustive()
    }
}

/// Names a statement: its session, and when it started.
fn statement(session: &SessionState, shared: &TrainShared) -> String {
    let id = session.session_id();
    match session.execution_props().query_execution_start_time {
        Some(start) => format!("{id} {start:?}"),
        None => format!("{id} unnamed {}", shared.number()),
    }
}

/// Refuses options that do not go with the labels of the dataset.
fn check_labels(source: &DatasetSource, options: &TrainOptions) -> Result<()> {
    let name = source.name();
    check_metric(USAGE.name, source, options.metric)?;
    let other = match (source.has_numbers(), source.has_sets()) {
        (true, _) => "numbers to predict",
        (_, true) => "lists",
        _ => return Ok(()),
    };
    if options.stratify == Some(true) {
        return plan_err!(
            "train: the labels of {name} are {other}, and stratify is for classes; leave it \
             out"
        );
    }
    Ok(())
}

/// What is known of a row before anything trains.
enum Row {
    /// NULL in, NULL out.
    Null,
    /// It needs no training.
    Done(Box<TrialRecord>),
    /// It may have to train.
    Open(Arc<TrialRunner>, Arc<Trial>),
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
        let TrialData::Named(source) = &self.data else {
            return Ok(vec![]);
        };
        let mut shipped = Shipped::default();
        for backbone in self.datasets() {
            let runner = self.runner(source.name(), backbone, context).await?;
            for warning in &runner.snapshot.warnings {
                warn(source.name(), warning, context);
            }
            shipped.add(&runner.snapshot.sha256, backbone);
        }
        shipped.encode()
    }

    async fn price(&self, dataset: &str, context: &CallContext) -> Result<Option<Price>> {
        let mut runners = vec![];
        for backbone in self.datasets() {
            runners.push(self.runner(dataset, backbone, context).await?);
        }
        Ok(Some(Arc::new(move |given| {
            // What cannot be trained takes no time.
            let mut given = given.clone();
            let backbone = given.remove(BACKBONE);
            let backbone = backbone.as_ref().and_then(Value::as_str);
            let mut runners = runners.iter();
            let runner = runners.find(|runner| runner.backbone_name() == backbone);
            runner.and_then(|runner| runner.cost(given)).unwrap_or(0.0)
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
                Row::Open(runner, trial) => runner
                    .record(&trial, Status::Failed)
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
        data: TrialData,
        backbones: Vec<Arc<Backbone>>,
    ) -> Result<Self> {
        let root = storage_root(call.session.config_options())?;
        let shared = TrainShared::of(call.session);
        Ok(Self {
            data,
            backbones,
            options,
            store: TrialStore::new(root),
            session: SessionState::clone(call.session),
            statement: statement(call.session, &shared),
            shared,
            runners: Memo::default(),
        })
    }

    /// What trials of this call learn from: images themselves unless there are backbones,
    /// and the features of each.
    fn datasets(&self) -> Vec<Option<&Arc<Backbone>>> {
        match self.backbones.as_slice() {
            [] => vec![None],
            backbones => backbones.iter().map(Some).collect(),
        }
    }

    /// Reads the arguments of all rows and names their trials.
    async fn open_rows(
        &self,
        rows: usize,
        args: &[ArrayRef],
        context: &CallContext,
    ) -> Result<Vec<Row>> {
        let mut runners = HashMap::new();
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
            let given = match Given::read(given, row, &self.backbones) {
                Ok(given) => given,
                Err(refusal) => {
                    open.push(Row::Done(refusal));
                    continue;
                }
            };
            let key = (name, given.backbone.map(|backbone| backbone.name.as_str()));
            let runner = match runners.get(&key) {
                Some(runner) => runner,
                None => {
                    let runner = self.runner_or_refusal(name, given.backbone, context);
                    let runner = runner.await?;
                    &*runners.entry(key).or_insert(runner)
                }
            };
            open.push(match runner {
                Ok(runner)
                    if given.resume_from.is_some() && runner.drawing.folds.is_some() =>
                {
                    let error = format!("{RESUME_FROM} does not go with folds");
                    let code = "INVALID_HYPERPARAMETER";
                    Row::Done(refused(Status::Infeasible, code, error))
                }
                Ok(runner) => {
                    let resume_from = given.resume_from;
                    let resume_from =
                        resume_from.or_else(|| self.options.resume_from.clone());
                    let trial =
                        runner.trial(given.hyperparameters)?.resuming(resume_from);
                    Row::Open(Arc::clone(runner), Arc::new(trial))
                }
                Err(refusal) => Row::Done(refusal.clone()),
            });
        }
        Ok(open)
    }

    /// What runs the trials on a dataset, or the record of every trial on it when a row
    /// named a dataset that cannot be used.
    async fn runner_or_refusal(
        &self,
        name: &str,
        backbone: Option<&Arc<Backbone>>,
        context: &CallContext,
    ) -> Result<Result<Arc<TrialRunner>, Box<TrialRecord>>> {
        match (self.runner(name, backbone, context).await, &self.data) {
            (Ok(runner), _) => Ok(Ok(runner)),
            (Err(error), TrialData::PerRow) if !context.token.is_cancelled() => {
                let error = error.strip_backtrace();
                Ok(Err(refused(Status::Failed, "INVALID_DATASET", error)))
            }
            // A dataset that all rows share was checked when the statement was planned;
            // what is wrong with it now is no row's fault.
            (Err(error), _) => Err(error),
        }
    }

    /// What runs the trials on a dataset; the first row that needs it reads the dataset.
    async fn runner(
        &self,
        name: &str,
        backbone: Option<&Arc<Backbone>>,
        context: &CallContext,
    ) -> Result<Arc<TrialRunner>> {
        let features = backbone.map(|backbone| backbone.key());
        let features = features.as_deref();
        let make = || async {
            let columns = &self.options.columns;
            let root = &self.store.root().url;
            let statement = &self.statement;
            let key = format!("{statement}\n{root}\n{name}\n{columns:?}\n{features:?}");
            let scan = || self.scan(name, backbone, &context.token);
            let snapshot = self.shared.scans.get_or_make(&key, scan).await?;
            let drawing = Drawing {
                seed: self.options.split_seed,
                stratify: self.options.stratify,
                folds: self.options.folds,
            };
            snapshot.check_folds(name, &drawing)?;
            Ok(Arc::new(TrialRunner {
                snapshot,
                backbone: backbone.map(RunnerBackbone::new),
                store: self.store.clone(),
                drawing,
                metric: self.options.metric,
                timeout: self.options.timeout,
                threads: self.options.threads.unwrap_or(1),
                checkpoint: self.options.checkpoint,
                shared: Arc::clone(&self.shared),
            }))
        };
        let key = format!("{name}\n{features:?}");
        self.runners.get_or_make(&key, make).await
    }

    async fn scan(
        &self,
        name: &str,
        backbone: Option<&Arc<Backbone>>,
        token: &CancellationToken,
    ) -> Result<SharedSnapshot> {
        let (root, in_use) = (self.store.root(), &self.shared.snapshots);
        let source = match &self.data {
            TrialData::Shipped(shipped) => {
                let sha256 = shipped.snapshot(backbone)?;
                return Snapshot::load(root, sha256, in_use).await;
            }
            TrialData::Named(source) => DatasetSource::clone(source),
            TrialData::PerRow => {
                let columns = &self.options.columns;
                DatasetSource::open_file(&self.session, USAGE.name, name, columns).await?
            }
        };
        let dataset = source.name().to_string();
        let (source, warnings) = match backbone {
            None => (source, vec![]),
            Some(backbone) => {
                let features = backbone
                    .features_of(source, &self.session, root, token)
                    .await?;
                self.shared.count_features(features.computed);
                (features.source, features.warnings)
            }
        };
        let table = source.read(Wanted::NotTest, token).await?;
        let mut snapshot = Snapshot::from_scan(dataset, table, token).await?;
        snapshot.warnings.splice(0..0, warnings);
        snapshot.features = backbone.map(|backbone| backbone.key());
        snapshot.publish(root, in_use).await
    }

    /// Trains what has to be trained.
    async fn run(&self, row: Row, context: &CallContext) -> Result<Option<TrialRow>> {
        let record = match row {
            Row::Null => return Ok(None),
            Row::Done(record) => {
                context.progress.trial_done();
                *record
            }
            Row::Open(runner, trial) => runner.run(trial, context).await?,
        };
        let sha256 = record.model_sha256.as_deref();
        let model = sha256
            .map(|sha256| self.store.model(sha256))
            .transpose()?
            .map(|location| location.to_string());
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

/// Finds a trial that is finished already.
async fn look_up(row: Row) -> Result<Row> {
    let Row::Open(runner, trial) = row else {
        return Ok(row);
    };
    Ok(match runner.find(&trial).await? {
        Some(record) => Row::Done(Box::new(record)),
        None => Row::Open(runner, trial),
    })
}
